"""One decision: filter, then price, then draw. Pure: the same inputs give the same decision, on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from features.entities import DO_NOTHING, Budget, Candidate, Catalog
from serving import assignment, budget_use, contact_policy, contents, eligibility, explain, mixing, product_list, value
from serving.assignment import Enrolment, Experiments
from serving.policy import Policy, period, varied
from serving.portrait import Portrait, history, portrait
from serving.slate import Choice, Drawn, arrange
from serving.snapshot import Ask, Decision, Learned, Mode, Result, Snapshot, Suppressed, Value

_KEPT = 16


@dataclass(frozen=True, slots=True)
class Appraisal:
    """What is known once everything is filtered and priced, before anything is drawn."""

    policy: Policy
    """With the overrides of the member's variants in it."""
    portrait: Portrait
    enrolment: Enrolment
    held_out: bool
    allowed: tuple[tuple[Candidate, value.Worth], ...]
    suppressed: tuple[Suppressed, ...]


_Entry = tuple[eligibility.Rules, value.Terms]
_Settled = tuple[tuple[eligibility.Rules, value.Terms, Suppressed | None], ...]


@dataclass(frozen=True, slots=True)
class _Book:
    """A catalogue with all that does not depend on the member, and with what is the same for many members."""

    catalog: Catalog
    families: Mapping[str, tuple[_Entry, ...]]
    places: frozenset[str]
    """The placements that some candidate is made for."""
    payers: Mapping[str, tuple[Budget, ...]]
    """Candidate → the budgets that may pay for it."""
    names: Mapping[str, frozenset[str]]
    """Candidate → their ids."""
    settled: dict[tuple[object, ...], _Settled] = field(default_factory=dict)

    def entries(self, ask: Ask, who: Portrait) -> _Settled:
        """The candidates of the family with their settled reasons; kept, as there are few kinds of members."""
        asked = self.places.intersection([place.id for place in ask.placements]) if self.places else None
        key = (ask.family, ask.channel, asked, who.tier.id, who.lifecycle, who.value, who.segments)
        found = self.settled.get(key)
        if found is None:
            many = self.families.get(ask.family, ())
            found = tuple((rules, terms, eligibility.settled(rules, ask, who)) for rules, terms in many)
            if len(self.settled) < _KEPT_KINDS:
                self.settled[key] = found
        return found


Books = dict[tuple[int, str], _Book]
"""Catalogues worked out, by identity and version of the policy."""
_KEPT_KINDS = 4096
_books: Books = {}


def _book(catalog: Catalog, policy: Policy, books: Books) -> _Book:
    """The catalogue with all that does not depend on the member worked out; kept for the last few catalogues."""
    key = (id(catalog), policy.version)
    kept = books.get(key)
    if kept is not None and kept.catalog is catalog:
        return kept
    # An offer is one of the actions that may come next; an answer about offers alone leaves the others out.
    families = {
        "offer": catalog.offers,
        "action": (*catalog.actions, *catalog.offers),
        "benefit": catalog.benefits,
    }
    ready = {
        family: tuple((eligibility.ready(one), value.terms(one, policy)) for one in many if one.type != "do_nothing")
        for family, many in families.items()
    }
    every = (*catalog.offers, *catalog.actions, *catalog.benefits)
    places = frozenset(place for one in every for place in one.placements)
    payers = budget_use.payers(catalog.budgets, every)
    names = {candidate: frozenset([one.id for one in many]) for candidate, many in payers.items()}
    book = _Book(catalog, ready, places, payers, names)
    while len(books) >= _KEPT:
        books.pop(next(iter(books)), None)
    books[key] = book
    return book


def appraise(
    snapshot: Snapshot, ask: Ask, learned: Learned, catalog: Catalog, policy: Policy, experiments: Experiments,
    books: Books | None = None,
) -> Appraisal:  # fmt: skip
    """Filter and price every candidate of the family asked for.

    `books` keeps what is worked out of the catalogue, for whoever tries many catalogues of their own; left out, it is
    kept beside those that decide.
    """
    who = portrait(snapshot, ask, learned, catalog.programme, policy)
    held_out = assignment.held_out(snapshot.member_id, snapshot.at, policy)
    enrolment = Enrolment()
    if experiments.experiments and not held_out:
        enrolment = assignment.enrol(
            experiments, ask.family, snapshot.member_id, snapshot.at, who.tier.id, who.lifecycle, snapshot.exposures
        )
        if enrolment.overrides:
            policy = _under(policy, enrolment)
            who = portrait(snapshot, ask, learned, catalog.programme, policy)
    past = history(snapshot.contacts, snapshot.at, learned.fatigue.days if learned.fatigue else policy.fatigue_days)
    keep = eligibility.caller_filter(ask)
    contacts = contact_policy.contacting(snapshot, ask, past, policy, catalog.programme.timezone)
    now = eligibility.Circumstances(snapshot, ask, who, past, policy, held_out, enrolment.withheld, keep, contacts)
    stages = eligibility.stages(now)
    allowed, suppressed = [], []
    channel = None if ask.channel is None else policy.channel(ask.channel)
    book = _book(catalog, policy, _books if books is None else books)
    shut, prices = _budgets(catalog, snapshot, policy)
    for rules, terms, is_settled in book.entries(ask, who):
        paying = book.payers.get(rules.candidate.id, ())
        reason = eligibility.why_not(rules, now, stages, is_settled) or _empty_handed(rules.candidate, learned)
        if reason is None and paying and not shut.isdisjoint(book.names[rules.candidate.id]):
            route = eligibility.route(rules.candidate, ask)
            reason = budget_use.nobody_pays(paying, rules.candidate, snapshot, who, route)
        if reason is not None:
            suppressed.append(reason)
            continue
        through = channel or policy.channel(eligibility.route(rules.candidate, ask))
        worth = value.worth(terms, who, learned, policy, catalog.programme, through, past.recent)
        if paying and prices:
            route = eligibility.route(rules.candidate, ask)
            worth = budget_use.priced(worth, paying, rules.candidate, terms, who, route, prices)
        allowed.append((rules.candidate, worth))
    return Appraisal(policy, who, enrolment, held_out, tuple(allowed), tuple(suppressed))


def _budgets(catalog: Catalog, snapshot: Snapshot, policy: Policy) -> tuple[frozenset[str], dict[str, float]]:
    """Budgets that cannot pay now, and the prices of the others."""
    prices = budget_use.charged(catalog.budgets, snapshot) if policy.bill.prices else {}
    return budget_use.shut(catalog.budgets, snapshot), prices


def _under(policy: Policy, enrolment: Enrolment) -> Policy:
    for override in enrolment.overrides:
        policy = varied(policy.text, override)
    return policy


def _empty_handed(candidate: Candidate, learned: Learned) -> Suppressed | None:
    if candidate.type == "product_recommendation" and not learned.products:
        return Suppressed(candidate.id, "applicability", "NO_PRODUCTS")
    return None


def decide(
    snapshot: Snapshot, ask: Ask, learned: Learned, catalog: Catalog, policy: Policy, experiments: Experiments
) -> Decision:
    """Choose for every placement, with the exact chance of each choice: see `seen_and_decided`."""
    return seen_and_decided(snapshot, ask, learned, catalog, policy, experiments)[0]


def seen_and_decided(
    snapshot: Snapshot, ask: Ask, learned: Learned, catalog: Catalog, policy: Policy, experiments: Experiments
) -> tuple[Decision, Portrait | None]:
    """The decision, and the member's portrait it was made with (none for products).

    Args:
        snapshot: all that is known about the member, at a moment.
        ask: what the caller wants; a `filter` in it must compile (`serving.filters`).
        learned: what the champions say.
        catalog: candidates and programme.
        policy: the operator's rules.
        experiments: they must fit catalogue and policy (`serving.assignment.problems` is empty).
    """
    if ask.family == "product":
        return product_list.products(snapshot, ask, learned, policy), None
    seen = appraise(snapshot, ask, learned, catalog, policy, experiments)
    drawn = arrange(seen.allowed, snapshot, ask, seen.policy, held_out=seen.held_out)
    together = 1.0
    for one in drawn.choices:
        together *= one.probability
    results = tuple(_result(one, together, seen, ask, learned, catalog) for one in drawn.choices)
    first = min(seen.enrolment.exposures, default=None)
    decision = Decision(
        member_id=snapshot.member_id,
        family=ask.family,
        mode=_mode(seen, drawn),
        policy_id=policy.id,
        policy_version=policy.version,
        experiment=first,
        variant=None if first is None else seen.enrolment.exposures[first],
        results=results,
        chances=drawn.chances,
        suppressed=seen.suppressed,
        exposures=seen.enrolment.exposures,
    )
    return decision, seen.portrait


def _mode(seen: Appraisal, drawn: Drawn) -> Mode:
    if seen.held_out:
        return "holdout"
    return "explore" if drawn.explored else "exploit"


def _result(one: Choice, together: float, seen: Appraisal, ask: Ask, learned: Learned, catalog: Catalog) -> Result:
    candidate = one.candidate
    if candidate is None:
        return _nothing(one, together, seen, ask, catalog)
    why = explain.reasons(candidate, seen.portrait, catalog.programme.currency) if ask.explain != "none" else ()
    content = contents.shown(candidate, seen.portrait, learned, catalog.programme)
    return Result(
        placement=one.placement,
        rank=one.rank,
        id=candidate.id,
        kind=candidate.family,
        probability=one.probability,
        slate_probability=together,
        value=value.written(one.worth),
        reasons=why,
        content=content,
        expires_at=candidate.ends.timestamp() if candidate.ends else None,
    )


def _nothing(one: Choice, together: float, seen: Appraisal, ask: Ask, catalog: Catalog) -> Result:
    entry = next((action for action in catalog.actions if action.type == "do_nothing"), DO_NOTHING)
    why = explain.NOTHING_FLOOR if one.by_floor else explain.NOTHING_BETTER
    reasons = (explain.HELD_OUT if seen.held_out else why,) if ask.explain != "none" else ()
    worth = value.written(value.NOTHING)
    return Result(
        one.placement, one.rank, DO_NOTHING.id, "action", one.probability, together, worth, reasons, entry.content
    )


def period_key(ask: Ask, member_id: str, at: float, policy: Policy) -> str | None:
    """What one stored first decision stands for; None where the family is decided anew every time.

    Beside member, family and period, the key holds all of the request that can change who is eligible. The draw does
    not hang on that part, so that asking in another way is no second throw of the dice.
    """
    number = period(at, ask.family, policy)
    if number is None:
        return None
    asked = (
        ask.channel,
        [(place.id, place.count) for place in ask.placements],
        ask.context.get("basket_value"),
        ask.filter,
        sorted((name, str(one)) for name, one in ask.filter_values.items()),
        sorted(ask.include),
        sorted(ask.exclude),
        *_mixing(ask),
    )
    digest = hashlib.blake2b(orjson.dumps(asked), digest_size=8).hexdigest()
    return f"{policy.salt}|{member_id}|{ask.family}|{number}|{digest}"


def _mixing(ask: Ask) -> tuple[object, ...]:
    """How a list is mixed; nothing where it is not, so that keys of the time before mixing stay what they were."""
    if not mixing.wanted(ask) and ask.popularity_cap is None:
        return ()
    boosts = [(one.filter, one.factor) for one in ask.boosts]
    return (boosts, ask.diversity, ask.max_per_category, ask.popularity_cap)


__all__ = ["Appraisal", "Books", "Value", "appraise", "decide", "period_key"]
