"""What the programme's other systems wrote down of a block: members, engagements, offers and what became of them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from experiments.programme import offers
from experiments.programme.assortment import CATEGORIES, Assortment
from experiments.programme.chance import Flags, Floats, Texts, Whole
from experiments.programme.profiles import CHANNELS, COMPOSITIONS, CONSENTS, INCOMES, REGIONS
from experiments.programme.state import Life
from experiments.programme.till import till
from experiments.programme.typed import Desk, either, heard, numbered, ordinals, same, times, typed, words
from experiments.worlds import World

_ENGAGEMENTS = words(("check_in", "share", "review", "event_attended", "community_post", "survey_answer"))
_ENGAGEMENT_SHARE = np.cumsum([0.50, 0.12, 0.13, 0.07, 0.10])
_TOPICS = words(("recipes", "home", "sport", "family", "travel"))
_BEFORE = -30.0
"""Days: products and offers were there before the history starts."""


def papers(life: Life, desk: Desk, block: int) -> dict[str, pd.DataFrame]:
    """All tables of one block; products and offers belong to the whole programme."""
    purchases, points = till(life, desk)
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
    at = np.where(shop.launched > 0, shop.launched * desk.days, _BEFORE)
    return typed(
        "products",
        desk,
        at,
        at,
        product_id=shop.product_ids,
        name=shop.names,
        category=words(c.name for c in CATEGORIES)[shop.category],
        brand=shop.brands,
        unit_price=shop.price,
        unit_margin=shop.margin,
        margin_basis=same("given", len(at)),
    )


def offer_table(world: World, desk: Desk) -> pd.DataFrame:
    """The offers of campaigns and stretch, as facts."""
    arms = [arm for arm in world.arms if arm.type != "do_nothing"]
    at = np.full(len(arms), _BEFORE)
    return typed(
        "offers",
        desk,
        at,
        at,
        offer_id=words(a.offer_id for a in arms),
        name=words(a.name for a in arms),
        type=words(a.type for a in arms),
        discount=np.array([a.discount for a in arms]),
        points=np.array([a.points for a in arms]),
    )


def _members(life: Life, desk: Desk, block: int) -> pd.DataFrame:
    profile = life.profiles
    born = pd.array(profile.birth_year, dtype="Int64")
    born[profile.birth_year == 0] = pd.NA
    return typed(
        "members",
        desk,
        profile.enrolled,
        profile.enrolled,
        member_id=life.shelf.truth.member_ids,
        household_id=words(_home(block, h) if h >= 0 else None for h in profile.household.tolist()),
        enrolled_at=times(desk, profile.enrolled),
        region=words(REGIONS)[profile.region],
        birth_year=born,
        **{f"consent_{name}": profile.consents[:, i] for i, name in enumerate(CONSENTS)},
    )


def _households(life: Life, desk: Desk, block: int) -> pd.DataFrame:
    home, first, size = np.unique(life.profiles.household, return_index=True, return_counts=True)
    home, first, size = home[home >= 0], first[home >= 0], size[home >= 0]
    n, at = len(home), life.profiles.enrolled[first]
    return typed(
        "households",
        desk,
        at,
        at,
        household_id=words(_home(block, h) for h in home.tolist()),
        size=pd.array(size + desk.rng.integers(0, 3, n), dtype="Int64"),
        income_band=words(INCOMES)[desk.rng.integers(len(INCOMES), size=n)],
        composition=words(COMPOSITIONS)[desk.rng.integers(len(COMPOSITIONS), size=n)],
    )


def _home(block: int, number: int) -> str:
    return f"H{block:04d}-{number:04d}"


def _engagements(life: Life, desk: Desk) -> pd.DataFrame:
    (member,) = life.log.wholes("engagement", "member")
    at, kind, value = life.log.columns("engagement", "at", "kind", "value")
    types = _ENGAGEMENTS[np.searchsorted(_ENGAGEMENT_SHARE, kind, side="right")]
    rated = (types == "review") | (types == "survey_answer")
    ids = life.shelf.truth.member_ids
    return typed(
        "engagements",
        desk,
        at,
        heard(desk, at, 0.01),
        engagement_id=numbered(ids, member, "-G", ordinals(member)),
        member_id=ids[member],
        type=types,
        topic=_TOPICS[desk.rng.integers(len(_TOPICS), size=len(at))],
        value=np.where(rated, np.ceil(5 * np.sqrt(value)), np.nan),
    )


def _offer_events(life: Life, desk: Desk) -> pd.DataFrame:
    every = _answers(life, desk)
    rows, kind = every["member"].to_numpy().astype(np.int64), every["arm"].to_numpy().astype(np.int64)
    at, lot = every["at"].to_numpy(), every["probability"].notna().to_numpy()
    types = every["type"].to_numpy().astype(object)
    ids, arms = life.shelf.truth.member_ids, life.world.arms
    contact = _contact_ids(ids, rows, every["window"].to_numpy().astype(np.int64), lot)
    return typed(
        "offer_events",
        desk,
        at,
        np.where(types == "sent", at, heard(desk, at, 0.02)),
        event_id=words(f"{c}-{t}" for c, t in zip(contact, types, strict=True)),
        member_id=ids[rows],
        offer_id=words(a.offer_id for a in arms)[kind],
        offer_type=words(a.type for a in arms)[kind],
        type=types,
        channel=words(CHANNELS)[life.profiles.channel[rows]],
        decision_id=either(lot, contact, None),
        probability=every["probability"].where(types == "sent").to_numpy(),
        value=every["value"].to_numpy(),
    )


def _answers(life: Life, desk: Desk) -> pd.DataFrame:
    """Sent → opened; accepted → redeemed: columns type, member, at, arm, window, probability, value."""
    sent = _frame(life, "decided", "member", "window", "at", "arm", "probability")
    sent = sent[sent["arm"] > 0].assign(value=np.nan)
    opens = sent[desk.rng.random(len(sent)) < life.shelf.truth.openness[sent["member"].to_numpy().astype(np.int64)]]
    opened = opens.assign(at=np.minimum(opens["at"] + desk.rng.exponential(0.8, len(opens)), desk.days))
    used = _frame(life, "redeem", "member", "window", "at", "value").merge(
        sent[["member", "window", "arm", "probability", "at"]], on=["member", "window"], suffixes=("", "_sent")
    )
    waited = (used["at"] - used["at_sent"]) * desk.rng.random(len(used))
    accepted = used.assign(at=used["at_sent"] + waited, value=np.nan)
    parts = {"sent": sent, "opened": opened, "accept": accepted, "redeem": used}
    return pd.concat([part.assign(type=name) for name, part in parts.items()], ignore_index=True)


def _decisions(life: Life, desk: Desk) -> pd.DataFrame:
    """What the lot gave, doing nothing included: the only table in which "nothing" can be seen."""
    drawn = _frame(life, "decided", "member", "window", "at", "arm", "probability", "warm")
    drawn = drawn[drawn["probability"].notna()]
    rows, window, kind, warm = (drawn[c].to_numpy().astype(np.int64) for c in ("member", "window", "arm", "warm"))
    at, probability, n = drawn["at"].to_numpy(), drawn["probability"].to_numpy(), len(drawn)
    ids, arms = life.shelf.truth.member_ids, life.world.arms
    return typed(
        "decisions",
        desk,
        at,
        at,
        decision_id=_contact_ids(ids, rows, window, np.ones(n, dtype=np.bool_)),
        member_id=ids[rows],
        family=same("offer", n),
        placement=same("message", n),
        rank=np.ones(n, dtype=np.int64),
        candidate_id=words(a.offer_id for a in arms)[kind],
        candidate_type=words(a.type for a in arms)[kind],
        probability=probability,
        slate_probability=probability,
        propensities=words(json.dumps(offers.chances(life.world, w), sort_keys=True) for w in (False, True))[warm],
        mode=same("explore", n),
        policy_version=same("simulated", n),
        learnable=np.ones(n, dtype=np.bool_),
    )


def _frame(life: Life, name: str, *columns: str) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(columns, life.log.columns(name, *columns), strict=True)))


def _contact_ids(ids: Texts, rows: Whole, window: Whole | Floats, lot: Flags) -> Texts:
    letters = np.where(lot, "D", "C").tolist()
    return words(f"{m}-{x}{w:03d}" for m, x, w in zip(ids[rows].tolist(), letters, window.tolist(), strict=True))
