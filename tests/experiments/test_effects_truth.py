"""Who is given an offer before and after effects were learned, in worlds whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from experiments.programme.people import PERSUADABLE, SLEEPING_DOG, SURE_THING, Truth
from experiments.simulate import respond, simulate_to, truth
from experiments.worlds import ARMS, EFFECT_TYPES, WORLDS, World
from features import behavior, catalog
from serving import policy, value
from serving.caused import CausedModel
from serving.portrait import portrait
from serving.snapshot import Ask, Learned, Placement, Snapshot
from training.effects import EffectConfig, fit

CONFIGS = Path(__file__).parents[2] / "configs"
END = datetime(2026, 1, 1, tzinfo=UTC)
BOOK, POLICY = catalog.load(CONFIGS / "catalog"), policy.load(CONFIGS / "policy.yaml")
NAMES = behavior.names(BOOK.programme)
OFFERS = {one.id: value.terms(one, POLICY) for one in BOOK.offers if one.id in {arm.offer_id for arm in ARMS}}
CHANCES = np.array([0.25, *[0.75 / len(OFFERS)] * len(OFFERS)])
FAST = EffectConfig(folds=3, trees=80, rounds=(30, 60), shallow_leaves=(4,), ridges=(0.03, 0.1, 0.3, 1.0))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Given:
    """Shares of members that get an offer, by kind, and what a decision truly brings."""

    dogs: float
    sure: float
    persuadable: float
    losing: float
    """Share of those whom no offer is worth it, as far as features can tell."""
    money: float
    """True margin caused, less discount and points of true responses; a member."""


def changed(name: str, **factors: float) -> World:
    """A world with its effects multiplied."""
    world = WORLDS[name]
    return replace(
        world,
        lift={kind: each * factors.get("lift", 1.0) for kind, each in world.lift.items()},
        drop={kind: min(each * factors.get("drop", 1.0), 0.9) for kind, each in world.drop.items()},
    )


def before_and_after(
    world: World, folder: Path, seed: int, learn: int = 9000, judge: int = 3000
) -> tuple[Given, Given]:
    """Half are drawn by lot and learned from; the others are decided for, by priors and by what was learned."""
    members = learn + judge
    simulate_to(folder, world, members=members, products=200, days=300, ends_at=END, seed=seed)
    who = truth(world, members=members, products=200, seed=seed)
    pairs = pd.DataFrame({"member_id": who.member_ids, "at": pd.Timestamp(END)})
    rows = behavior.historical(folder, pairs, BOOK.programme)[list(NAMES)].to_numpy(np.float64)
    arm = (
        (np.random.default_rng(seed).random((learn, 1)) > CHANCES.cumsum())
        .sum(axis=1)
        .clip(0, len(OFFERS))
        .astype(np.int64)
    )
    ids = ("do_nothing", *OFFERS)
    kinds = ("do_nothing", *(one.type for one in OFFERS.values()))
    drawn = pd.DataFrame(
        {
            "member_id": who.member_ids[:learn],
            "decision_id": [f"d{each}" for each in range(learn)],
            "candidate_id": [ids[each] for each in arm],
            "candidate_type": [kinds[each] for each in arm],
            "at": pd.Timestamp(END),
        }
    )
    came = respond(who, drawn, world=world, seed=seed)
    bought = came["purchases"].loc[lambda one: one["quantity"] > 0].groupby("member_id")["basket_id"].nunique()
    answered = came["offer_events"].loc[lambda one: one["type"].isin(["accept", "redeem"])]["member_id"]
    baskets: Floats = bought.reindex(who.member_ids[:learn]).fillna(0).to_numpy().astype(np.float64)
    model = fit(
        rows[:learn], arm, np.tile(CHANCES, (learn, 1)), baskets, FAST, kinds,
        feature_names=NAMES, arms=ids, responded=np.isin(who.member_ids[:learn], answered).astype(float),
    )  # fmt: skip
    caused = CausedModel("1", model, np.arange(len(NAMES)))
    later = np.arange(learn, members)
    told = [caused.told(rows[each])[0] for each in later]
    losing = _losing(who, rows, learn)
    return (
        _given(who, later, losing, [_best(rows[each], Learned()) for each in later]),
        _given(
            who,
            later,
            losing,
            [_best(rows[each], Learned(effects=said)) for each, said in zip(later, told, strict=True)],
        ),
    )


def _best(row: Floats, learned: Learned) -> str | None:
    """The offer with the highest net value above that of doing nothing."""
    snapshot = Snapshot(
        "m",
        END.timestamp(),
        known=True,
        features=dict(zip(NAMES, row.tolist(), strict=True)),
        consents={"personalisation": True},
    )
    ask = Ask("offer", (Placement("home"),))
    seen = portrait(snapshot, ask, learned, BOOK.programme, replaced())
    worths = {
        one: value.worth(terms, seen, learned, replaced(), BOOK.programme, None, 0).net for one, terms in OFFERS.items()
    }
    best = max(worths, key=lambda one: worths[one])
    return best if worths[best] > 0 else None


def replaced() -> policy.Policy:
    """The shipped policy without the lifetime line, which rests on priors here."""
    return POLICY.model_copy(update={"delta": 0.0})


def _given(people: Truth, rows: NDArray[np.int64], losing: NDArray[np.bool_], chosen: list[str | None]) -> Given:
    kind, names = people.kind[rows], list(OFFERS)
    got = np.array([one is not None for one in chosen])
    worth = true_money(people)[rows]
    money = [0.0 if one is None else worth[place, names.index(one)] for place, one in enumerate(chosen)]
    dogs, sure, persuadable = (float(got[kind == each].mean()) for each in (SLEEPING_DOG, SURE_THING, PERSUADABLE))
    return Given(dogs, sure, persuadable, float(got[losing].mean()), float(np.mean(money)))


def true_money(people: Truth) -> Floats:
    """(n_members, n_offers): margin truly caused, less discount and points of true responses."""
    found = []
    for terms in OFFERS.values():
        column = EFFECT_TYPES.index(terms.type)
        lift, drop, uses = (table[:, column] for table in (people.lift, people.drop, people.uses))
        planned = 14 / people.gap_days
        response = lift + (1 - lift) * uses * (1 - np.exp(-planned)) * (1 - drop)
        basket = people.impulse_amount
        points = (terms.points + terms.more_points * basket) * BOOK.programme.points.cost_per_point
        cost = terms.share_off * basket + np.minimum(terms.money_off, basket) + terms.cost + points
        found.append((lift - drop * planned) * people.impulse_margin - cost * response)
    return np.column_stack(found)


def _losing(people: Truth, rows: Floats, learn: int) -> NDArray[np.bool_]:
    """Of those decided for: whom no offer is worth it, as far as features can tell at best (learned from the truth)."""
    import lightgbm

    settings = {"num_leaves": 12, "learning_rate": 0.05, "verbosity": -1, "num_threads": 1, "seed": 1}
    best = [
        lightgbm.train(settings, lightgbm.Dataset(rows[:learn], column[:learn]), 120).predict(rows[learn:])
        for column in true_money(people).T
    ]
    found: NDArray[np.bool_] = np.max(best, axis=0) < 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "factors"), [("strong", {}), ("strong", {"lift": 0.7, "drop": 1.8})])
def test_fewer_sleeping_dogs_and_sure_things_are_given_an_offer_and_more_is_earned(
    name: str, factors: dict[str, float], tmp_path: Path
) -> None:
    before, after = before_and_after(changed(name, **factors), tmp_path, seed=11)
    assert after.money > max(before.money, 0.0)
    assert after.dogs < before.dogs
    assert after.sure < before.sure
    assert after.losing < before.losing


@pytest.mark.slow
def test_where_nothing_has_an_effect_hardly_anybody_is_given_an_offer(tmp_path: Path) -> None:
    before, after = before_and_after(changed("none"), tmp_path, seed=11)
    assert before.money < after.money <= 1e-9
    assert after.money > -0.01
    assert max(after.dogs, after.sure, after.persuadable) < 0.05
