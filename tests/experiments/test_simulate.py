from __future__ import annotations

import doctest
import functools
import json
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy.stats import chisquare

from experiments import simulate as module
from experiments.simulate import planted, simulate, simulate_chunks, simulate_to, truth
from experiments.worlds import ARMS, EFFECT_TYPES, WORLDS
from features.border import check
from features.tables import TABLES
from tests.experiments.readings import baskets_within, effects

END = datetime(2026, 1, 1, tzinfo=UTC)
NOT_SIMULATED = {"outcomes", "identities"}
"""Nothing in the programme answers a decision of the service, and every member has one card."""


@functools.cache
def history(world: str, members: int = 1200, products: int = 60, days: int = 430) -> Mapping[str, pd.DataFrame]:
    return simulate(WORLDS[world], members=members, products=products, days=days, ends_at=END, seed=5)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    def files(name: str, seed: int) -> dict[str, bytes]:
        paths = simulate_to(tmp_path / name, WORLDS["weak"], members=300, products=40, days=200, ends_at=END, seed=seed)
        return {table: path.read_bytes() for table, path in paths.items()}

    first = files("first", 1)
    assert files("again", 1) == first
    assert files("other", 2)["purchases"] != first["purchases"]


@pytest.mark.parametrize("chunk", [1, 1700])
def test_chunks_of_any_size_give_the_same_rows(chunk: int) -> None:
    whole = history("strong", members=2100, products=20, days=150)
    parts = list(
        simulate_chunks(WORLDS["strong"], members=2100, products=20, days=150, ends_at=END, seed=5, chunk=chunk)
    )
    assert len(parts) == (3 if chunk <= 1000 else 2)
    for name, frame in whole.items():
        together = pd.concat([part[name] for part in parts if name in part], ignore_index=True)
        pd.testing.assert_frame_equal(together, frame)


def test_files_hold_the_rows_of_the_frames(tmp_path: Path) -> None:
    paths = simulate_to(tmp_path, WORLDS["strong"], members=2100, products=20, days=150, ends_at=END, seed=5)
    for name, frame in history("strong", members=2100, products=20, days=150).items():
        written = pd.read_parquet(paths[name])
        assert len(written) == len(frame)
        assert (written[list(TABLES[name].key)] == frame[list(TABLES[name].key)]).all(axis=None)


@pytest.mark.parametrize("name", sorted(set(TABLES) - NOT_SIMULATED))
def test_every_table_is_typed_and_nothing_required_is_missing(name: str) -> None:
    frame, table = history("strong")[name], TABLES[name]
    dtypes = {"text": "object", "money": "float64", "number": "float64", "time": "datetime64[us, UTC]", "flag": "bool"}
    assert len(frame) > 0
    assert list(frame.columns) == [column.name for column in table.columns]
    assert not frame.duplicated(list(table.key)).any()
    for column in table.columns:
        values = frame[column.name]
        assert str(values.dtype) == dtypes.get(column.kind, str(values.dtype)), column.name
        if column.required:
            assert values.notna().all(), column.name
        if column.among:
            assert set(values.dropna()) <= set(column.among), column.name
    accepted, rejected = check(frame, table, file=f"{name}.parquet")
    assert len(rejected) == 0
    assert len(accepted) == len(frame)


def test_nothing_is_known_before_it_occurs_or_after_the_end_and_some_rows_are_late() -> None:
    tables = history("strong")
    for name, frame in tables.items():
        assert (frame["known_at"] >= frame["occurred_at"]).all(), name
        assert (frame["known_at"] <= pd.Timestamp(END)).all(), name
    for name in ("purchases", "points", "engagements", "offer_events"):
        late = tables[name]["known_at"] - tables[name]["occurred_at"] > pd.Timedelta(days=1)
        assert 0.001 < late.mean() < 0.05, name


def test_a_return_takes_back_a_sale_and_is_heard_of_after_it() -> None:
    purchases = history("strong")["purchases"]
    back = purchases[purchases["quantity"] < 0]
    sale = purchases.set_index("purchase_id").loc[back["reverses"]].reset_index(drop=True)
    back = back.reset_index(drop=True)
    assert len(back) > 50
    assert (back["occurred_at"] > sale["occurred_at"]).all()
    assert (back["known_at"] >= sale["known_at"]).all()
    np.testing.assert_allclose(back["amount"], -sale["amount"], atol=0.01)
    np.testing.assert_allclose(back["quantity"], -sale["quantity"])
    amount = purchases["quantity"] * purchases["unit_price"] - purchases["discount"]
    np.testing.assert_allclose(purchases["amount"], amount, atol=0.006)


def test_every_lot_is_earned_once_never_overdrawn_and_gone_when_it_expires() -> None:
    points = history("strong")["points"]
    by_type = points.pivot_table(index="lot_id", columns="type", values="points", aggfunc="sum", fill_value=0.0)
    assert set(by_type.columns) == {"earn", "redeem", "expire", "reverse"}
    assert (by_type["earn"] > 0).all()
    assert (by_type[["redeem", "expire", "reverse"]] <= 0).all(axis=None)
    left = by_type.sum(axis=1)
    assert (left >= 0).all()
    expires = points.groupby("lot_id")["expires_at"].first()
    assert (left[expires <= pd.Timestamp(END)] == 0).all()
    assert (expires <= pd.Timestamp(END)).any()
    expired = points[points["type"] == "expire"]
    assert (expired["occurred_at"] == expired["expires_at"]).all()
    running = points.sort_values("occurred_at", kind="stable").groupby("member_id")["points"].cumsum()
    assert running.min() >= 0


def test_points_are_redeemed_from_the_oldest_lot_that_still_has_any() -> None:
    points = history("strong")["points"]
    order = {"expire": 0, "redeem": 1, "earn": 2, "reverse": 3}
    held = points[points["type"] == "reverse"].groupby("lot_id")["points"].sum()
    rows = points.assign(order=points["type"].map(order)).sort_values(["occurred_at", "order", "lot_id"], kind="stable")
    lots: dict[str, dict[str, float]] = defaultdict(dict)
    redeemed = 0
    for member, kind, lot, amount in zip(rows["member_id"], rows["type"], rows["lot_id"], rows["points"], strict=True):
        mine = lots[member]
        if kind == "earn":
            # What a coming return will take back is never spent.
            mine[lot] = amount + held.get(lot, 0.0)
        elif kind in ("redeem", "expire"):
            oldest = min(name for name, left in mine.items() if left > 0)
            assert lot == oldest
            mine[lot] += amount
            redeemed += kind == "redeem"
    assert redeemed > 500


def test_the_frequencies_of_the_stretch_are_those_of_the_logged_probabilities() -> None:
    decisions = history("none")["decisions"]
    assert decisions["occurred_at"].min() > pd.Timestamp(END - timedelta(days=127))
    for propensities, drawn in decisions.groupby("propensities"):
        chances = pd.Series(json.loads(str(propensities)))
        counts = drawn["candidate_id"].value_counts().reindex(chances.index)
        assert chances.sum() == pytest.approx(1.0)
        assert chisquare(counts, chances * len(drawn)).pvalue > 0.001
        np.testing.assert_allclose(drawn["probability"], chances[drawn["candidate_id"]])


def test_who_is_warm_can_be_told_from_the_purchases() -> None:
    tables = history("weak")
    decisions, sales = tables["decisions"], tables["purchases"].query("quantity > 0")
    pairs = decisions[["decision_id", "member_id", "occurred_at"]].merge(sales, on="member_id")
    age = pairs["occurred_at_x"] - pairs["occurred_at_y"]
    recent = pairs[(age > pd.Timedelta(0)) & (age < pd.Timedelta(days=45))]["decision_id"].unique()
    warm = decisions["decision_id"].isin(recent)
    by_offer = {arm.offer_id: (arm.cold, arm.warm) for arm in ARMS}
    expected = [by_offer[offer][int(w)] for offer, w in zip(decisions["candidate_id"], warm, strict=True)]
    assert 0.2 < warm.mean() < 0.9
    np.testing.assert_allclose(decisions["probability"], expected)


def test_sent_offers_are_the_decisions_that_were_not_nothing() -> None:
    tables = history("strong")
    sent = tables["offer_events"].query("type == 'sent' and probability == probability")
    told = tables["decisions"].query("candidate_id != 'do_nothing'")
    joined = told.merge(sent, on="decision_id", suffixes=("", "_sent"))
    assert len(joined) == len(told) == len(sent)
    assert (joined["offer_id"] == joined["candidate_id"]).all()
    assert (joined["probability"] == joined["probability_sent"]).all()
    redeemed = (
        tables["offer_events"]
        .query("type == 'redeem'")
        .merge(
            tables["offer_events"].query("type == 'sent'"),
            on=["member_id", "decision_id", "offer_id"],
            suffixes=("", "_sent"),
        )
    )
    waited = (redeemed["occurred_at"] - redeemed["occurred_at_sent"])[redeemed["decision_id"].notna()]
    assert (waited > pd.Timedelta(0)).all()
    assert (waited <= pd.Timedelta(days=14, seconds=1)).all()


@pytest.mark.parametrize("world", ["none", "weak", "strong"])
def test_what_the_log_says_of_each_effect_covers_the_truth(world: str) -> None:
    tables = history(world, members=5000, products=40, days=180)
    decisions, purchases = tables["decisions"], tables["purchases"]
    true = planted(WORLDS[world], members=5000, products=40, days=180, ends_at=END, seed=5).set_index("type")
    counted = baskets_within(decisions, purchases, 14)
    for outcome, reading in (("purchase", counted.clip(upper=1.0)), ("baskets", counted)):
        found = effects(decisions, reading)
        assert len(found) == 5
        for name, (effect, error) in found.items():
            assert abs(effect - true[outcome][name]) < 3 * error, (name, outcome)
            assert error < (0.011 if outcome == "purchase" else 0.025)
        if world == "none":
            assert (true[outcome] == 0).all()
        if world == "strong":
            assert found["discount_percent"][0] > 3 * found["discount_percent"][1]


def test_the_worlds_share_their_members_and_differ_in_effects_alone() -> None:
    none, strong = (truth(WORLDS[name], members=1200, products=60, seed=5) for name in ("none", "strong"))
    for name in ("gap_days", "hazard", "taste", "kind", "uses", "impulse_margin"):
        np.testing.assert_array_equal(getattr(none, name), getattr(strong, name))
    assert not none.lift.any()
    assert not none.drop.any()
    first = history("none")["members"]["member_id"].iloc[:1200].to_numpy()
    np.testing.assert_array_equal(strong.member_ids, first)
    helped, harmed = strong.lift.any(axis=1), strong.drop.any(axis=1)
    assert helped.mean() > 0.25
    assert 0.03 < harmed.mean() < 0.25
    assert 0.2 < (~helped & ~harmed).mean() < 0.6
    assert strong.lift.shape == (1200, len(EFFECT_TYPES))


def test_own_staples_beat_popularity_and_tastes_are_shared() -> None:
    sales = history("weak", members=1200, products=200, days=430)["purchases"].query("quantity > 0")
    cut = pd.Timestamp(END - timedelta(days=30))
    before, after = (
        pd.crosstab(part["member_id"], part["product_id"])
        for part in (sales[sales["occurred_at"] <= cut], sales[sales["occurred_at"] > cut])
    )
    members, products = before.index.intersection(after.index), before.columns.union(after.columns)
    past = before.reindex(index=members, columns=products, fill_value=0).to_numpy(dtype=np.float64)
    bought = after.reindex(index=members, columns=products, fill_value=0).to_numpy() > 0
    popular = np.broadcast_to(past.sum(axis=0), past.shape)
    assert _hits(past + 1e-6 * popular, bought) > 2 * _hits(popular, bought)
    taken = past > 0
    norm = taken / (np.sqrt(taken.sum(axis=0)) + 1e-9)
    alike = norm.T @ norm
    unseen = np.where(taken, -1e9, 0.0)
    assert _hits(taken @ alike + unseen, bought & ~taken) > 1.3 * _hits(popular + unseen, bought & ~taken)


def _hits(scores: npt.NDArray[np.float64], bought: npt.NDArray[np.bool_]) -> float:
    top = np.argsort(-scores, axis=1)[:, :10]
    return float(np.take_along_axis(bought, top, axis=1).sum() / bought.sum())


def test_how_long_ago_and_how_often_foretell_silence_but_not_perfectly() -> None:
    sales = history("weak")["purchases"].query("quantity > 0").drop_duplicates("basket_id")
    cut = pd.Timestamp(END - timedelta(days=90))
    age = (cut - sales["occurred_at"]).dt.total_seconds() / 86_400
    past = sales.assign(age=age)[age >= 0].groupby("member_id")["age"]
    active = past.min()[past.min() < 90]
    score = active.rank() - past.apply(lambda ages: (ages < 180).sum()).loc[active.index].rank()
    silent = ~active.index.isin(sales[age < 0]["member_id"])
    ranks = score.rank()
    auc = (ranks[silent].sum() - silent.sum() * (silent.sum() + 1) / 2) / (silent.sum() * (~silent).sum())
    assert 0.05 < silent.mean() < 0.3
    assert 0.68 < auc < 0.92


def test_what_cannot_be_simulated_is_said() -> None:
    with pytest.raises(ValueError, match="products=3: a programme needs at least 14"):
        simulate(WORLDS["none"], members=10, products=3, days=30, ends_at=END, seed=1)
    with pytest.raises(ValueError, match="members=0"):
        simulate(WORLDS["none"], members=0, products=30, days=30, ends_at=END, seed=1)
    with pytest.raises(ValueError, match="no timezone"):
        simulate(WORLDS["none"], members=10, products=30, days=30, ends_at=datetime(2026, 1, 1), seed=1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="days=0"):
        simulate(WORLDS["none"], members=10, products=30, days=0, ends_at=END, seed=1)


def test_a_tiny_and_short_programme_still_has_all_tables() -> None:
    tables = simulate(WORLDS["strong"], members=1, products=14, days=5, ends_at=END, seed=3)
    assert set(tables) == set(TABLES) - NOT_SIMULATED
    for name, frame in tables.items():
        assert list(frame.columns) == [column.name for column in TABLES[name].columns]


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0
