"""What members do after the service's own decisions.

A member's planned baskets are a Poisson process that hangs on the seed alone: whatever is decided, however the
decisions are split over calls, the same baskets are planned. What is decided adds a basket or calls planned ones off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.special import pdtr

from experiments.programme.chance import BLOCK, Flags, Floats, Texts, Whole, draw, stacked, uniform
from experiments.programme.effects import ACTION_SHARE, counted_days
from experiments.programme.people import Truth, tastes
from experiments.programme.typed import Desk, same, typed, words
from experiments.worlds import EFFECT_TYPES, World
from features.entities import OFFER_TYPES

_PLANNED, _DECIDED, _FILLED, _LINES = range(10, 14)
"""Purposes of chances."""
_SLOTS = 4
"""Baskets planned on one day at most."""
_MOST_LINES = 40
_ANSWERS = {
    "event_invitation": "event_attended",
    "community_invitation": "community_post",
    "review_request": "review",
    "satisfaction_survey": "survey_answer",
}
_COLUMNS = ("member_id", "decision_id", "candidate_id", "candidate_type", "at")


@dataclass(frozen=True, slots=True)
class _Decided:
    """Rows are decisions; times are days since 1970."""

    row: Whole
    """Of the member, in the truth."""
    at: Floats
    key: Whole
    decision_id: Texts
    candidate_id: Texts
    type: Texts
    discount: Floats
    lift: Floats
    drop: Floats
    uses: Floats


@dataclass(frozen=True, slots=True)
class _Baskets:
    """Rows are baskets; `decision` is the one that the basket answers, −1 for none."""

    ids: Texts
    row: Whole
    at: Floats
    key: Whole
    decision: Whole


def respond(
    truth: Truth, decisions: pd.DataFrame, *, world: World, seed: int, window_days: float | None = None
) -> Mapping[str, pd.DataFrame]:
    """What members do in the reward window after each decision.

    Planned baskets in any of the windows come whatever was decided, unless they are called off. Rows with a type of
    no effect, such as `do_nothing`, open a window and cause nothing. There is no fatigue here unless `reach` says so: a
    decision has the same effect whatever came before, and `true_effect` holds exactly while windows do not overlap.

    Args:
        truth: Of the members that appear in the decisions.
        decisions: Columns member_id, decision_id, candidate_id, candidate_type and at (UTC); optionally `discount`,
            a share for `discount_percent` and money for `discount_amount`, taken off the basket that uses it; and
            `reach`, a factor on the lift.
        world: The world of the truth.
        seed: The same seed plans the same baskets and answers the same decisions in the same way.
        window_days: Days after each decision in which planned baskets are told; at least those of the world's reward
            window (the default), in which all that is caused happens.

    Returns:
        Typed tables `purchases`, `offer_events` (accept, redeem) and `engagements`.

    Raises:
        ValueError: A column is missing, a member is not in the truth, or `window_days` is too short.
    """
    days = counted_days(world, window_days)
    decided = _decided(truth, decisions)
    firsts = range(0, len(truth.member_ids), BLOCK)
    blocks = [np.flatnonzero((decided.row >= first) & (decided.row < first + BLOCK)) for first in firsts]
    parts = [_block(truth, _only(decided, rows), world, seed, days) for rows in blocks]
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


def _decided(truth: Truth, decisions: pd.DataFrame) -> _Decided:
    if missing := [name for name in _COLUMNS if name not in decisions]:
        raise ValueError(f"decisions: no column {missing[0]!r}; needed are {', '.join(_COLUMNS)}")
    row = pd.Index(truth.member_ids).get_indexer(pd.Index(decisions["member_id"])).astype(np.int64)
    if (row < 0).any():
        member = decisions["member_id"].iloc[int(np.argmax(row < 0))]
        raise ValueError(f"decisions: member {member!r} is not in the truth; ask `truth` for at least as many members")
    types = decisions["candidate_type"].to_numpy(dtype=object)
    column = pd.Index(EFFECT_TYPES).get_indexer(pd.Index(types)).astype(np.int64)
    ids = decisions["decision_id"].astype(str) + "|" + decisions["candidate_id"].astype(str)
    micros = pd.to_datetime(decisions["at"], utc=True).dt.as_unit("us").astype("int64").to_numpy()
    known = column >= 0
    given = decisions["discount"] if "discount" in decisions else pd.Series(0.0, index=decisions.index)
    reach = decisions["reach"].to_numpy() if "reach" in decisions else 1.0
    lift, drop, uses = (np.where(known, table[row, column], 0.0) for table in (truth.lift, truth.drop, truth.uses))
    return _Decided(
        row=row,
        at=micros / 86_400e6,
        key=pd.util.hash_array(ids.to_numpy(dtype=object)).astype(np.int64),
        decision_id=decisions["decision_id"].to_numpy(dtype=object),
        candidate_id=decisions["candidate_id"].to_numpy(dtype=object),
        type=types,
        discount=np.asarray(given.fillna(0.0), dtype=np.float64),
        lift=lift * reach,
        drop=drop,
        uses=uses,
    )


def _only(decided: _Decided, rows: Whole) -> _Decided:
    return _Decided(*(getattr(decided, name)[rows] for name in _Decided.__dataclass_fields__))


def _block(truth: Truth, decided: _Decided, world: World, seed: int, days: float) -> dict[str, pd.DataFrame]:
    chance = [uniform(seed, _DECIDED, decided.key, np.full(len(decided.key), i)) for i in range(4)]
    extra, away = chance[0] < decided.lift, chance[0] < decided.drop
    offer = np.isin(decided.type, OFFER_TYPES)
    willing = chance[1] < decided.uses * np.where(offer, 1.0, ACTION_SHARE)
    extra_at = decided.at + world.window_days * (0.02 + 0.96 * chance[2] ** 1.5)
    planned, of = _planned(truth, decided, seed, days)
    in_window = planned.at <= decided.at[of] + world.window_days
    planned, of, in_window = _kept(planned, of, in_window, np.unique(planned.key[away[of] & in_window]))
    uses_planned = willing & ~extra & offer
    planned = _answering(planned, of, in_window & uses_planned[of])
    causes = np.flatnonzero(extra)
    caused = _Baskets(
        ids=words(f"{truth.member_ids[decided.row[i]]}-X{decided.key[i] & 0xFFFFFFFFFF:010x}" for i in causes),
        row=decided.row[causes],
        at=extra_at[causes],
        key=decided.key[causes],
        decision=causes,
    )
    baskets = _Baskets(
        *(np.concatenate([getattr(planned, n), getattr(caused, n)]) for n in _Baskets.__dataclass_fields__)
    )
    purchases, saved = _purchases(truth, decided, baskets, offer, seed)
    # An action is answered without a basket too, some time between the decision and the end of its window.
    answer_at = np.where(extra, extra_at, np.where(willing & ~offer, decided.at + 7 * chance[3], np.nan))
    used = np.flatnonzero(baskets.decision >= 0)
    answer_at[baskets.decision[used]] = baskets.at[used]
    return {
        "purchases": purchases,
        "offer_events": _events(truth, decided, answer_at, offer, saved),
        "engagements": _engagements(truth, decided, answer_at),
    }


def _planned(truth: Truth, decided: _Decided, seed: int, days: float) -> tuple[_Baskets, Whole]:
    """Planned baskets within `days` of each decision, in order of time, and of which; a basket may appear twice."""
    span = int(np.ceil(days)) + 1
    of = np.repeat(np.arange(len(decided.row)), span * _SLOTS)
    step = np.tile(np.arange(span * _SLOTS), len(decided.row))
    row, day, slot = decided.row[of], np.floor(decided.at[of]).astype(np.int64) + step // _SLOTS, step % _SLOTS
    there = uniform(seed, _PLANNED, row, day) > pdtr(slot, 1 / truth.gap_days[row])
    of, row, day, slot = of[there], row[there], day[there], slot[there]
    at = day + uniform(seed, _PLANNED, row, day, slot)
    inside = (at > decided.at[of]) & (at <= decided.at[of] + days)
    order = np.flatnonzero(inside)[np.lexsort((at[inside], of[inside]))]
    of, row, day, slot = of[order], row[order], day[order], slot[order]
    ids = words(
        f"{truth.member_ids[r]}-N{d:05d}{s}" for r, d, s in zip(row.tolist(), day.tolist(), slot.tolist(), strict=True)
    )
    key = (row * 100_000 + day) * _SLOTS + slot
    return _Baskets(ids, row, at[order], key, np.full(len(of), -1)), of


def _kept(baskets: _Baskets, of: Whole, in_window: Flags, called_off: Whole) -> tuple[_Baskets, Whole, Flags]:
    keep = np.flatnonzero(~np.isin(baskets.key, called_off))
    return _take(baskets, keep), of[keep], in_window[keep]


def _take(baskets: _Baskets, rows: Whole) -> _Baskets:
    return _Baskets(*(getattr(baskets, name)[rows] for name in _Baskets.__dataclass_fields__))


def _answering(baskets: _Baskets, of: Whole, uses: Flags) -> _Baskets:
    """Each basket once; the first after a decision answers it where `uses` says so."""
    _, first = np.unique(of, return_index=True)
    answers = np.full(len(of), -1)
    answers[first] = np.where(uses[first], of[first], -1)
    keys, once, group = np.unique(baskets.key, return_index=True, return_inverse=True)
    best = np.full(len(keys), -1)
    np.maximum.at(best, group, answers)
    kept = _take(baskets, once)
    return _Baskets(kept.ids, kept.row, kept.at, kept.key, best)


def _purchases(
    truth: Truth, decided: _Decided, baskets: _Baskets, offer: Flags, seed: int
) -> tuple[pd.DataFrame, Floats]:
    """The lines of the baskets, and what each decision's offer took off."""
    shop, n = truth.shop, len(baskets.row)
    chance = uniform(seed, _FILLED, baskets.row, baskets.key)
    mean = truth.extras[baskets.row]
    size = 1 + sum((chance > pdtr(k, mean)).astype(np.int64) for k in range(_MOST_LINES))
    which = np.repeat(np.arange(n), size)
    line = np.arange(len(which)) - np.repeat(np.cumsum(size) - size, size)
    members, local = np.unique(baskets.row, return_inverse=True)
    by_taste = stacked(tastes(shop, truth.taste[members]))
    chance = uniform(seed, _LINES, baskets.row[which], baskets.key[which], line)
    product = draw(by_taste, len(shop.price), local[which], chance)
    price = shop.price[product]
    answers = (baskets.decision >= 0) & offer[np.maximum(baskets.decision, 0)] if len(offer) else np.zeros(n, np.bool_)
    off = np.round(
        price * _share_off(decided, baskets, answers, np.bincount(which, price, n).astype(np.float64))[which], 2
    )
    saved = np.zeros(len(decided.row))
    np.add.at(saved, baskets.decision[which][answers[which]], off[answers[which]])
    ids = zip(baskets.ids[which].tolist(), line.tolist(), strict=True)
    at = baskets.at[which]
    offer_ids = np.append(decided.candidate_id, np.array([None], dtype=object))[np.where(answers, baskets.decision, -1)]
    table = typed(
        "purchases",
        _desk(),
        at,
        at,
        purchase_id=words(f"{basket}-{i}" for basket, i in ids),
        basket_id=baskets.ids[which],
        member_id=truth.member_ids[baskets.row[which]],
        product_id=shop.product_ids[product],
        quantity=np.ones(len(which)),
        unit_price=price,
        discount=off,
        amount=np.round(price - off, 2),
        channel=same("till", len(which)),
        offer_id=offer_ids[which],
    )
    return table, saved


def _share_off(decided: _Decided, baskets: _Baskets, answers: Flags, total: Floats) -> Floats:
    """The share of each basket that its offer takes off."""
    share = np.zeros(len(baskets.row))
    which = baskets.decision[answers]
    kind, given = decided.type[which], decided.discount[which]
    money = np.minimum(given / total[answers], 1.0)
    share[answers] = np.where(kind == "discount_percent", given, np.where(kind == "discount_amount", money, 0.0))
    return share


def _events(truth: Truth, decided: _Decided, at: Floats, offer: Flags, saved: Floats) -> pd.DataFrame:
    accepted = np.flatnonzero(np.isfinite(at))
    redeemed = accepted[offer[accepted]]
    rows = np.concatenate([accepted, redeemed])
    types = np.concatenate([same("accept", len(accepted)), same("redeem", len(redeemed))])
    # Accepted half-way between the decision and the basket that redeems it.
    when = np.where(offer[rows] & (types == "accept"), (decided.at[rows] + at[rows]) / 2, at[rows])
    names = zip(decided.decision_id[rows], decided.candidate_id[rows], types, strict=True)
    return typed(
        "offer_events",
        _desk(),
        when,
        when,
        event_id=words(f"{d}-{c}-{t}" for d, c, t in names),
        member_id=truth.member_ids[decided.row[rows]],
        offer_id=decided.candidate_id[rows],
        offer_type=decided.type[rows],
        type=types,
        decision_id=decided.decision_id[rows],
        value=np.where(types == "redeem", saved[rows], np.nan),
    )


def _engagements(truth: Truth, decided: _Decided, at: Floats) -> pd.DataFrame:
    answers = words(_ANSWERS.get(kind) for kind in decided.type)
    rows = np.flatnonzero(np.isfinite(at) & (answers != None))  # noqa: E711
    return typed(
        "engagements",
        _desk(),
        at[rows],
        at[rows],
        engagement_id=words(
            f"{d}-{c}" for d, c in zip(decided.decision_id[rows], decided.candidate_id[rows], strict=True)
        ),
        member_id=truth.member_ids[decided.row[rows]],
        type=answers[rows],
    )


def _desk() -> Desk:
    return Desk(datetime(1970, 1, 1, tzinfo=UTC), np.inf, np.random.default_rng(0))
