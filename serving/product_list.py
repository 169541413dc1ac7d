"""A list of products: ranked by score and mixed as the caller wishes, with nothing left to chance. Pure."""

from __future__ import annotations

from serving import explain, mixing, value
from serving.policy import Policy
from serving.snapshot import Ask, Chances, Decision, Learned, Reason, Result, Snapshot, Suppressed

_UNPRICED = value.written(value.NOTHING)


def products(snapshot: Snapshot, ask: Ask, learned: Learned, policy: Policy) -> Decision:
    """A product list: the best by score, in order, with nothing left to chance and no money claimed."""
    suppressed, left = [], []
    for product, score in learned.products:
        code = _product_code(product, snapshot, ask)
        if code is None:
            left.append((product, score))
        else:
            suppressed.append(Suppressed(product, "control" if code == "PAUSED" else "request", code))
    why = (_product_reason(snapshot),) if ask.explain != "none" else ()
    results, taken = [], iter(_mixed(left, ask, learned))
    for place in ask.placements:
        ranked = zip(range(1, place.count + 1), taken, strict=False)
        results += [_product(place.id, rank, product, score, why) for rank, (product, score) in ranked]
    chances = tuple(Chances(one.placement, one.rank, {one.id: 1.0}) for one in results)
    member, version = snapshot.member_id, policy.version
    return Decision(
        member, "product", "exploit", policy.id, version, None, None, tuple(results), chances, tuple(suppressed)
    )


def _mixed(left: list[tuple[str, float]], ask: Ask, learned: Learned) -> list[tuple[str, float]]:
    """The products in the order in which they fill the places."""
    if not mixing.wanted(ask):
        return left
    scores, count = dict(left), sum(place.count for place in ask.placements)
    wishes = mixing.Wishes(ask.diversity, ask.max_per_category)
    return [(one, scores[one]) for one in mixing.mixed([*scores], learned.traits, wishes, count)]


def _product(place: str, rank: int, product: str, score: float, why: tuple[Reason, ...]) -> Result:
    return Result(place, rank, product, "product", 1.0, 1.0, _UNPRICED, why, {"score": f"{score:.6g}"})


def _product_code(product: str, snapshot: Snapshot, ask: Ask) -> str | None:
    if product in snapshot.paused:
        return "PAUSED"
    if product in ask.exclude:
        return "EXCLUDED"
    return "NOT_INCLUDED" if ask.include and product not in ask.include else None


def _product_reason(snapshot: Snapshot) -> Reason:
    if not snapshot.known:
        return explain.POPULAR
    return explain.TASTE if snapshot.consents.get("personalisation", False) else explain.NOT_PERSONALISED
