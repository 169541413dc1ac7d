"""What the programme's systems wrote down of a block's life: typed tables, some of it late."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from experiments.programme import ledger, offers
from experiments.programme.assortment import CATEGORIES, Assortment
from experiments.programme.chance import Floats, Texts, Whole
from experiments.programme.life import Life
from experiments.programme.profiles import CHANNELS, COMPOSITIONS, CONSENTS, INCOMES, REGIONS
from experiments.worlds import World
from features.tables import TABLES, Table

_ENGAGEMENTS = ("check_in", "share", "review", "event_attended", "community_post", "survey_answer")
_ENGAGEMENT_SHARE = np.cumsum([0.50, 0.12, 0.13, 0.07, 0.10, 0.08])
_TOPICS = ("recipes", "home", "sport", "family", "travel")


@dataclass(frozen=True, slots=True)
class Desk:
    """Where papers are written: the history's start and length, and the block's own chance."""

    starts_at: datetime
    days: int
    rng: np.random.Generator


def papers(life: Life, desk: Desk, block: int) -> dict[str, pd.DataFrame]:
    """All tables of one block except products and offers, which belong to the whole programme."""
    purchases, points = _till(life, desk)
    return {
        "members": _members(life, desk, block),
        "households": _households(life, desk, block),
        "purchases": purchases,
        "points": points,
        "engagements": _engagements(life, desk),
        "offer_events": _offer_events(life, desk),
        "decisions": _decisions(life, desk),
    }


def product_table(shop: Assortment, desk: Desk) -> pd.DataFrame:
    """The assortment as the shop's own master data states it."""
    at = np.where(shop.launched > 0, shop.launched * desk.days, -30.0)
    return _typed(
        "products", desk, at, at,
        product_id=shop.product_ids, name=shop.names, brand=shop.brands, unit_price=shop.price, unit_margin=shop.margin,
        category=_words([c.name for c in CATEGORIES])[shop.category], margin_basis=_same("given", len(at)),
    )  # fmt: skip


def offer_table(world: World, desk: Desk) -> pd.DataFrame:
    """The offers of campaigns and stretch, as facts."""
    arms = [arm for arm in world.arms if arm.type != "do_nothing"]
    at = np.full(len(arms), -30.0)
    return _typed(
        "offers", desk, at, at,
        offer_id=_words([a.offer_id for a in arms]), name=_words([a.name for a in arms]), type=_words([a.type for a in arms]),
        discount=np.array([a.discount for a in arms]), points=np.array([a.points for a in arms]),
    )  # fmt: skip


def empty(name: str) -> pd.DataFrame:
    """A typed table without rows."""
    desk = Desk(datetime.fromtimestamp(0).astimezone(), 0, np.random.default_rng(0))
    none: Texts = np.empty(0, dtype=object)
    return _typed(
        name, desk, np.empty(0), np.empty(0), **{c.name: none for c in TABLES[name].columns if c.kind != "time"}
    )


def _till(life: Life, desk: Desk) -> tuple[pd.DataFrame, pd.DataFrame]:
    number, member, at, arm, lot, points = life.log.columns("basket", "number", "member", "at", "arm", "lot", "points")
    order = np.argsort(number)
    known = at + _delay(desk, len(at), life.world.late_share)
    basket_ids = _ids(life.shelf.truth.member_ids, member, "-B", lot)
    # Lots open one by one with a member's baskets, so a lot is named by its basket.
    by_number = basket_ids[order]
    known_by_number = known[order]
    purchases, returns = _purchases(life, desk, by_number, known_by_number)
    points_table = _points(life, desk, basket_ids, known, by_number, known_by_number, returns)
    return purchases, points_table


@dataclass(frozen=True, slots=True)
class _Returns:
    member: Whole
    lot: Whole
    points: Floats
    at: Floats
    known: Floats
    ids: Texts


def _purchases(life: Life, desk: Desk, baskets: Texts, known: Floats) -> tuple[pd.DataFrame, _Returns]:
    basket, member, product, at, back_at, back_points, lot, arm, quantity, discount = life.log.columns(
        "line", "basket", "member", "product", "at", "back_at", "back_points", "lot", "arm", "quantity", "discount"
    )
    which = basket.astype(np.int64)
    ordinal = _ordinals(which)
    ids = np.array([f"{b}-{i}" for b, i in zip(baskets[which], ordinal.tolist(), strict=True)], dtype=object)
    price = life.shelf.shop.price[product.astype(np.int64)]
    offer = np.append(_words([a.offer_id for a in life.world.arms]), None)[arm.astype(np.int64)]
    store = desk.rng.integers(12, size=len(life.standing))[member.astype(np.int64)]
    online = desk.rng.random(len(baskets))[which] < 0.2
    columns: dict[str, np.ndarray] = {  # type: ignore[type-arg]
        "purchase_id": ids, "basket_id": baskets[which], "member_id": life.shelf.truth.member_ids[member.astype(np.int64)],
        "product_id": life.shelf.shop.product_ids[product.astype(np.int64)], "quantity": quantity, "unit_price": price,
        "discount": discount, "amount": np.round(quantity * price - discount, 2),
        "store_id": np.where(online, None, _words([f"S{i:02d}" for i in range(12)])[store]),
        "channel": np.where(online, "web", "till").astype(object), "offer_id": offer, "reverses": _same(None, len(ids)),
    }  # fmt: skip
    gone = back_at < desk.days
    back = {name: values[gone] for name, values in columns.items()}
    back_known = back_at[gone] + _delay(desk, int(gone.sum()), life.world.late_share)
    back["reverses"] = back["purchase_id"]
    back["purchase_id"] = back["purchase_id"] + "R"
    back["basket_id"] = back["basket_id"] + "R"
    for name, sign in (("quantity", -1.0), ("amount", -1.0), ("discount", 0.0)):
        back[name] = sign * back[name] + 0.0
    back["unit_price"] = np.round(-back["amount"] / -back["quantity"], 4)
    back["amount"] = back["quantity"] * back["unit_price"]
    back["offer_id"] = _same(None, int(gone.sum()))
    both = {name: np.concatenate([values, back[name]]) for name, values in columns.items()}
    # Nobody hears of a return before its sale.
    back_known = np.maximum(back_known, known[which][gone])
    table = _typed(
        "purchases", desk, np.concatenate([at, back_at[gone]]), np.concatenate([known[which], back_known]), **both
    )
    keep = gone & (back_points > 0)
    returns = _Returns(
        member[keep].astype(np.int64), lot[keep].astype(np.int64), back_points[keep], back_at[keep],
        back_known[back_points[gone] > 0], ids[keep],
    )  # fmt: skip
    return table, returns


def _points(
    life: Life, desk: Desk, baskets: Texts, known: Floats, by_number: Texts, known_by_number: Floats, returns: _Returns
) -> pd.DataFrame:
    ids, expiry = life.shelf.truth.member_ids, life.book.expiry_days
    member, at, points = life.log.columns("basket", "member", "at", "points")
    some = points > 0
    r_member, r_at, r_basket = life.book.log.columns("redeem", "member", "at", "basket")
    which, r_lot, taken = ledger.splits(life.book)
    r_member, r_at, r_basket = r_member[which], r_at[which], r_basket[which].astype(np.int64)
    x_member, x_lot, x_points, x_at = life.book.log.columns("expire", "member", "lot", "points", "at")
    earned, used = baskets[some], _ids(ids, r_member, "-B", r_lot)
    gone, back = _ids(ids, x_member, "-B", x_lot), _ids(ids, returns.member, "-B", returns.lot)
    redeemed_at = by_number[r_basket] if len(r_basket) else used
    members = np.concatenate([member[some], r_member, x_member, returns.member]).astype(np.int64)
    when = np.concatenate([at[some], r_at, x_at, returns.at])
    known_at = np.concatenate([known[some], known_by_number[r_basket], x_at, returns.known])
    types = [
        ("earn", len(earned), "purchase"),
        ("redeem", len(used), "voucher"),
        ("expire", len(gone), "rule"),
        ("reverse", len(back), "return"),
    ]
    lots = np.concatenate([earned, used, gone, back])
    lot_time = life.book.time[
        members,
        np.concatenate([life.log.columns("basket", "lot")[0][some], r_lot, x_lot, returns.lot]).astype(np.int64),
    ]
    entry = np.concatenate([earned + "-E", used + "-U-" + redeemed_at, gone + "-X", returns.ids + "-V"])
    return _typed(
        "points", desk, when, known_at,
        entry_id=entry, member_id=ids[members], lot_id=lots, expires_at=_times(desk, lot_time + expiry),
        points=np.concatenate([points[some], -taken, -x_points, -returns.points]),
        type=np.concatenate([_same(name, size) for name, size, _ in types]),
        source=np.concatenate([_same(source, size) for _, size, source in types]),
    )  # fmt: skip


def _members(life: Life, desk: Desk, block: int) -> pd.DataFrame:
    profile, truth = life.profiles, life.shelf.truth
    born = pd.array(profile.birth_year, dtype="Int64")
    born[profile.birth_year == 0] = pd.NA
    household = np.array(
        [f"H{block:04d}-{h:04d}" if h >= 0 else None for h in profile.household.tolist()], dtype=object
    )
    return _typed(
        "members", desk, profile.enrolled, profile.enrolled,
        member_id=truth.member_ids, household_id=household, enrolled_at=_times(desk, profile.enrolled),
        region=_words(REGIONS)[profile.region], birth_year=born,
        **{f"consent_{name}": profile.consents[:, i] for i, name in enumerate(CONSENTS)},
    )  # fmt: skip


def _households(life: Life, desk: Desk, block: int) -> pd.DataFrame:
    home, first, size = np.unique(life.profiles.household, return_index=True, return_counts=True)
    home, first, size = home[home >= 0], first[home >= 0], size[home >= 0]
    size = size + desk.rng.integers(0, 3, len(size))
    at = life.profiles.enrolled[first]
    return _typed(
        "households", desk, at, at,
        household_id=np.array([f"H{block:04d}-{h:04d}" for h in home.tolist()], dtype=object),
        size=pd.array(size, dtype="Int64"), income_band=_words(INCOMES)[desk.rng.integers(len(INCOMES), size=len(home))],
        composition=_words(COMPOSITIONS)[desk.rng.integers(len(COMPOSITIONS), size=len(home))],
    )  # fmt: skip


def _engagements(life: Life, desk: Desk) -> pd.DataFrame:
    member, at, kind, value = life.log.columns("engagement", "member", "at", "kind", "value")
    types = _words(_ENGAGEMENTS)[np.minimum(np.searchsorted(_ENGAGEMENT_SHARE, kind, side="right"), 5)]
    rated = (types == "review") | (types == "survey_answer")
    ids = life.shelf.truth.member_ids
    return _typed(
        "engagements", desk, at, at + _delay(desk, len(at), 0.01),
        engagement_id=_ids(ids, member, "-G", _ordinals(member.astype(np.int64))), member_id=ids[member.astype(np.int64)],
        type=types, topic=_words(_TOPICS)[(value * 997 % 1 * len(_TOPICS)).astype(np.int64)],
        value=np.where(rated, np.ceil(5 * np.sqrt(value)), np.nan),
    )  # fmt: skip


def _offer_events(life: Life, desk: Desk) -> pd.DataFrame:
    member, at, arm, probability, window = life.log.columns("decided", "member", "at", "arm", "probability", "window")
    told = arm > 0
    sent = pd.DataFrame({"member": member, "at": at, "arm": arm, "probability": probability, "window": window})[told]
    opens = desk.rng.random(len(sent)) < life.shelf.truth.openness[sent["member"].to_numpy().astype(np.int64)]
    opened = sent[opens].assign(at=lambda f: np.minimum(f["at"] + desk.rng.exponential(0.8, len(f)), desk.days))
    used = pd.DataFrame(
        dict(
            zip(
                ("member", "at", "arm", "window", "value"),
                life.log.columns("redeem", "member", "at", "arm", "window", "value"),
                strict=True,
            )
        )
    )
    used = used.merge(sent[["member", "window", "at", "probability"]], on=["member", "window"], suffixes=("", "_sent"))
    accepted = used.assign(
        at=used["at_sent"] + (used["at"] - used["at_sent"]) * desk.rng.random(len(used)), value=np.nan
    )
    parts = {"sent": sent, "opened": opened, "accept": accepted, "redeem": used}
    every = pd.concat([part.assign(type=name) for name, part in parts.items()], ignore_index=True)
    rows, kind = every["member"].to_numpy().astype(np.int64), every["arm"].to_numpy().astype(np.int64)
    lot = every["probability"].notna().to_numpy()
    ids = life.shelf.truth.member_ids
    contact = _contacts(ids, rows, every["window"].to_numpy(), lot)
    when, types = every["at"].to_numpy(), every["type"].to_numpy().astype(object)
    return _typed(
        "offer_events", desk, when, when + np.where(types == "sent", 0, _delay(desk, len(when), 0.02)),
        event_id=contact + "-" + types, member_id=ids[rows], type=types,
        offer_id=_words([a.offer_id for a in life.world.arms])[kind], offer_type=_words([a.type for a in life.world.arms])[kind],
        channel=_words(CHANNELS)[life.profiles.channel[rows]], decision_id=np.where(lot, contact, None),
        probability=np.where(types == "sent", every["probability"], np.nan),
        value=every["value"].to_numpy(dtype=np.float64) if "value" in every else np.full(len(rows), np.nan),
    )  # fmt: skip


def _decisions(life: Life, desk: Desk) -> pd.DataFrame:
    """What the lot gave, doing nothing included: the only table in which "nothing" can be seen."""
    columns = life.log.columns("decided", "member", "at", "arm", "probability", "warm", "window")
    lot = np.isfinite(columns[3])
    member, at, arm, probability, warm, window = (values[lot] for values in columns)
    rows, kind = member.astype(np.int64), arm.astype(np.int64)
    texts = _words([json.dumps(offers.chances(life.world, bool(w)), sort_keys=True) for w in (0, 1)])
    ids, n = life.shelf.truth.member_ids, len(rows)
    return _typed(
        "decisions", desk, at, at,
        decision_id=_contacts(ids, rows, window, np.ones(n, dtype=np.bool_)), member_id=ids[rows], family=_same("offer", n),
        placement=_same("weekly", n), rank=np.ones(n, dtype=np.int64), probability=probability, slate_probability=probability,
        candidate_id=_words([a.offer_id for a in life.world.arms])[kind],
        candidate_type=_words([a.type for a in life.world.arms])[kind], propensities=texts[warm.astype(np.int64)],
        mode=_same("explore", n), policy_version=_same("simulated", n), learnable=np.ones(n, dtype=np.bool_),
    )  # fmt: skip


def _contacts(ids: Texts, rows: Whole, window: Floats, lot: np.ndarray) -> Texts:  # type: ignore[type-arg]
    names = [f"{m}-{'D' if by_lot else 'C'}{int(w):03d}" for m, w, by_lot in zip(ids[rows], window, lot, strict=True)]
    return np.array(names, dtype=object)


def _typed(name: str, desk: Desk, occurred: Floats, known: Floats, /, **columns: object) -> pd.DataFrame:
    """The table's columns in its order with its types; what is not given is missing. Known is never before occurred."""
    times = {
        "occurred_at": _times(desk, occurred),
        "known_at": _times(desk, np.maximum(occurred, np.minimum(known, desk.days))),
    }
    table: Table = TABLES[name]
    frame = pd.DataFrame(
        {c.name: times.get(c.name, columns.get(c.name)) for c in table.columns}, index=range(len(occurred))
    )
    return frame.astype({c.name: "float64" for c in table.columns if c.kind in ("money", "number")}).astype(
        {c.name: "datetime64[us, UTC]" for c in table.columns if c.kind == "time"}
    )


def _times(desk: Desk, at: Floats) -> pd.DatetimeIndex:
    start = int(desk.starts_at.timestamp())
    seconds = start + np.round(at * 86_400).astype(np.int64)
    return pd.DatetimeIndex((seconds * 1_000_000).astype("datetime64[us]")).tz_localize("UTC")


def starts_at(ends_at: datetime, days: int) -> datetime:
    """When a history of `days` that ends at `ends_at` begins."""
    return ends_at - timedelta(days=days)


def _delay(desk: Desk, size: int, late_share: float) -> Floats:
    """Days until we hear of it: seconds for most, days for what a till that was offline sends later."""
    soon = desk.rng.uniform(0, 20 / 86_400, size)
    return np.where(desk.rng.random(size) < late_share, desk.rng.exponential(2.5, size), soon)


def _ids(ids: Texts, member: Floats | Whole, mark: str, number: Floats | Whole) -> Texts:
    rows, numbers = ids[member.astype(np.int64)].tolist(), number.astype(np.int64).tolist()
    return np.array([f"{m}{mark}{i:04d}" for m, i in zip(rows, numbers, strict=True)], dtype=object)


def _ordinals(group: Whole) -> Whole:
    """0, 1, 2 … within each group, in the order given."""
    return pd.Series(group).groupby(group).cumcount().to_numpy().astype(np.int64)


def _words(words: Iterable[str]) -> Texts:
    return np.array(list(words), dtype=object)


def _same(word: str | None, size: int) -> Texts:
    return np.full(size, word, dtype=object)
