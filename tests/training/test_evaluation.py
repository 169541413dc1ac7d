"""The table of all recipes: its figures by hand, its pairs, its parts, and rows that another program can count."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from features.learned import score_many
from training import recipes
from training.evaluate import evaluate
from training.evaluation import contest as contests
from training.evaluation.contest import Terms
from training.evaluation.groups import baskets, by_activity
from training.evaluation.intervals import interval, resampled
from training.evaluation.lists import rank_own
from training.interactions import histories
from training.protocols import Split

DATA = Path(os.environ.get("TESSERA_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
TRAIN = pd.DataFrame(
    [
        ("ann", "milk", 1),
        ("ann", "milk", 9),
        ("ann", "tea", 9),
        ("bob", "milk", 2),
        ("bob", "beer", 2),
        ("cyd", "tea", 3),
    ]
    + [(f"m{i}", "milk", 5) for i in range(6)]
    + [(f"m{i}", "beer", 6) for i in range(3)],
    columns=["member_id", "product_id", "day"],
)
TEST = pd.DataFrame(
    [("ann", "milk", 20), ("ann", "beer", 20), ("bob", "tea", 21), ("cyd", "tea", 22), ("eve", "tea", 22)],
    columns=["member_id", "product_id", "day"],
)


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    times = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame["day"], unit="D")
    return frame.drop(columns="day").assign(occurred_at=times)


def _row(table: pd.DataFrame, recipe: str, part: str = "all", group: str = "everybody") -> dict[str, Any]:
    own = table[(table["recipe"] == recipe) & (table["part"] == part) & (table["group"] == group)]
    assert len(own) == 1
    return {str(key): value for key, value in own.iloc[0].to_dict().items()}


def test_the_figures_are_those_worked_out_by_hand() -> None:
    """Popularity is milk (8 buyers), beer (4), tea (2) for everybody."""
    found = evaluate(_timed(TRAIN), _timed(TEST), ["popularity"], terms=Terms(k=2))
    row = _row(found.table, "popularity")
    best, second = 1 + 1 / math.log2(3), 1 / math.log2(3)
    assert (row["members"], row["wanted"]) == (3, 4)  # eve is unknown
    assert row["ndcg"] == pytest.approx((best / best + 0 + 0) / 3)
    assert row["recall"] == pytest.approx(1 / 3)
    assert row["precision"] == pytest.approx(1 / 3)
    assert row["map"] == row["mrr"] == row["hit_rate"] == pytest.approx(1 / 3)
    assert row["coverage"] == pytest.approx(2 / 3)
    assert row["novelty"] == pytest.approx((math.log2(9 / 8) + math.log2(9 / 4)) / 2)
    repeat = _row(found.table, "popularity", "repeat")
    assert repeat["ndcg"] == pytest.approx(1.0)  # of what they had bought: ann milk first, cyd tea alone
    assert repeat["members"] == 2
    explore = _row(found.table, "popularity", "explore")
    assert explore["members"] == 2  # ann wants beer and gets beer; bob wants tea and gets tea
    assert explore["ndcg"] == pytest.approx(1.0)
    assert second < 1


def test_repeat_and_explore_are_masked_for_every_recipe() -> None:
    found = evaluate(_timed(TRAIN), _timed(TEST), ["popularity", "repeat", "item_item"], terms=Terms(k=3))
    bought = set(TRAIN[["member_id", "product_id"]].itertuples(index=False, name=None))
    for recipe in ("popularity", "repeat", "item_item"):
        for part, inside in (("repeat", True), ("explore", False)):
            lists = found.lists(recipe, part)
            pairs = set(lists[["member_id", "product_id"]].itertuples(index=False, name=None))
            assert pairs
            assert all((pair in bought) is inside for pair in pairs)


def _habits(members: int = 60) -> pd.DataFrame:
    """Everybody buys a staple of their own each week; some buy something popular too."""
    rng = np.random.default_rng(4)
    rows = [
        (1000 + member, product, day)
        for member in range(members)
        for day in np.arange(member % 7, 120 if member % 3 else 119, 7.0)
        for product in {member % 15, 15 + int(rng.integers(0, 3)) if rng.random() < 0.6 else member % 15}
    ]
    return pd.DataFrame(rows, columns=["member_id", "product_id", "day"])


def test_every_recipe_of_ours_is_judged_or_says_why_not_with_and_without_times() -> None:
    history = _habits()
    early, late = history[history["day"] < 90], history[history["day"] >= 90]
    small: dict[str, dict[str, Any]] = {name: {} for name in recipes.RECIPES}
    for timed in (True, False):
        cut = [_timed(part) if timed else part.drop(columns="day") for part in (early, late)]
        found = evaluate(cut[0], cut[1], small, terms=Terms(k=5, draws=50))
        judged = set(found.table.loc[found.table["ndcg"].notna(), "recipe"])
        assert judged | set(found.skipped) == set(recipes.RECIPES)
        assert {"popularity", "repeat", "als", "item_item"} <= judged
        assert all(found.skipped.values())
        assert _row(found.table, "repeat", "all")["ndcg"] > _row(found.table, "popularity", "all")["ndcg"]


def test_a_recipe_too_large_for_a_history_stands_in_the_table_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = recipes.RECIPES["item_item"]

    class Large:
        name, config, fit = before.name, before.config, before.fit

        @staticmethod
        def too_large(_interactions: object, _config: object) -> str:
            return "would need 90 GB, allowed are 8"

    monkeypatch.setitem(recipes.RECIPES, "item_item", Large)
    found = evaluate(_timed(TRAIN), _timed(TEST), ["item_item", "als"], terms=Terms(k=2, draws=20))
    assert found.skipped == {"item_item": "would need 90 GB, allowed are 8"}
    skipped = found.table[found.table["recipe"] == "item_item"]
    assert set(skipped["part"]) == {"all", "repeat", "explore"}
    assert set(skipped["skipped"]) == {"would need 90 GB, allowed are 8"}
    assert skipped["ndcg"].isna().all()


def test_gain_and_lead_are_differences_on_the_same_members() -> None:
    found = evaluate(_timed(_habits()), None, ["repeat", "als"], days=28, terms=Terms(k=5, draws=300))
    rows = {name: _row(found.table, name) for name in ("repeat", "als", "popularity")}
    assert found.best == "repeat"
    for name, row in rows.items():
        assert row["gain"] == pytest.approx(row["ndcg"] - rows["popularity"]["ndcg"])
        others = max(other["ndcg"] for rival, other in rows.items() if rival != name)
        assert row["lead"] == pytest.approx(row["ndcg"] - others)
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert (rows["popularity"]["gain_low"], rows["popularity"]["gain_high"]) == (0.0, 0.0)


def test_a_paired_interval_is_that_of_the_difference_of_each_member() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0.5, 0.3, 2000)
    one, two = hard + rng.normal(0.02, 0.05, 2000), hard
    drawn = resampled(np.stack([one, two], 1), np.ones((1, 2000), bool), seed=1)[0]
    found = interval(float((one - two).mean()), drawn[:, 0] - drawn[:, 1])
    half = 1.96 * float((one - two).std()) / math.sqrt(2000)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.0004)


def test_groups_are_resampled_inside_the_resamples_of_all() -> None:
    values = np.arange(10.0)[:, None]
    groups = np.stack([np.ones(10, bool), np.arange(10) < 2, np.arange(10) == 9])
    drawn = resampled(values, groups, seed=0, draws=200)
    assert drawn.shape == (3, 200, 1)
    assert set(np.unique(drawn[2][np.isfinite(drawn[2])])) == {9.0}
    assert np.isnan(drawn[2]).any()  # a resample without that member says nothing of it
    assert 0.0 <= np.nanmin(drawn[1]) <= np.nanmax(drawn[1]) <= 1.0


def test_activity_is_in_quartiles_of_baskets_and_every_member_has_one_group() -> None:
    split = _random(_timed(_habits()))
    count = baskets(split.before)
    history = _habits()
    expected = history.groupby(history["member_id"].astype(str))["day"].nunique()
    assert (count <= expected.reindex(split.before.member_ids).to_numpy()).all()
    labels = by_activity(split.before, np.arange(len(count)))
    table = evaluate(_timed(history), None, ["repeat"], protocol="random", terms=Terms(k=5, draws=20)).table
    own = table[(table["recipe"] == "repeat") & (table["part"] == "all")]
    groups = own[own["group"] != "everybody"]
    assert groups["members"].sum() == own[own["group"] == "everybody"]["members"].sum()
    assert groups["wanted"].sum() == own[own["group"] == "everybody"]["wanted"].sum()
    assert set(groups["group"]) <= set(labels)


def _random(frame: pd.DataFrame) -> Split:
    from training.evaluation import given

    return given.cut(frame, None, None, "random", days=1, share=0.25, seed=0)


def test_of_many_members_a_stated_sample_is_judged_and_the_same_each_time() -> None:
    terms = Terms(k=5, members=20, seed=3, draws=20)
    one, two = (evaluate(_timed(_habits()), None, ["repeat"], terms=terms) for _ in range(2))
    assert one.sampled == "a sample of 20 of 60 members by lot (seed 3)"
    assert _row(one.table, "repeat")["members"] == 20
    steady = [name for name in one.table.columns if not name.endswith("seconds")]
    pd.testing.assert_frame_equal(one.table[steady], two.table[steady])


def test_only_new_judges_discovery_alone() -> None:
    found = evaluate(_timed(_habits()), None, ["repeat"], terms=Terms(k=5, only_new=True, draws=20))
    assert set(found.table["part"]) == {"explore"}


def test_a_recipe_with_an_inner_cut_is_told_the_protocol() -> None:
    from pydantic.dataclasses import dataclass

    from training.recipes import Recipe

    @dataclass(frozen=True)
    class WithInner:
        inner: str = "time"
        seed: int = 0

    recipe = Recipe("with_inner", WithInner, recipes.RECIPES["popularity"].fit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "with_inner", recipe)
        config = contests.configured("with_inner", {}, 7, "last_basket")
        assert (config.inner, config.seed) == ("last_basket", 7)
        assert contests.configured("with_inner", {"inner": "time"}, 7, "random").inner == "time"


def test_the_picture_has_a_panel_for_each_part(tmp_path: Path) -> None:
    found = evaluate(_timed(_habits()), None, ["repeat"], terms=Terms(k=5, draws=20))
    drawn = matplotlib.image.imread(found.picture(tmp_path / "new" / "evaluation.png"))
    assert drawn.shape[1] > 900
    assert (np.abs(drawn[:, :, :3] - [0.357, 0.545, 0.690]).max(axis=2) < 0.02).mean() > 0.01


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "ml_100k").exists(), reason=f"no MovieLens 100k in {DATA}: set TESSERA_DATA")
@pytest.mark.parametrize("protocol", ["leave_one_out", "time"])
def test_the_most_popular_films_of_movielens_score_what_another_count_of_them_scores(protocol: str) -> None:
    """Published counts of the set: 943 people, 1,682 films, 100,000 ratings (GroupLens). The rest is counted here."""
    rated = pd.read_parquet(DATA / "ml_100k" / "u_data.parquet").astype({"user": str, "item": str})
    assert (len(rated), rated["user"].nunique(), rated["item"].nunique()) == (100_000, 943, 1_682)
    hidden = _last_of_each(rated) if protocol == "leave_one_out" else _last_days(rated, 28)
    expected = _most_popular(rated, hidden, 10, by_time=protocol == "time")
    found = evaluate(
        DATA / "ml_100k" / "u_data.parquet",
        None,
        {"popularity": {"window_days": 1e6}},
        protocol=protocol,
        columns={"member": "user", "product": "item", "time": "timestamp"},
        terms=Terms(draws=20),
    )
    row = _row(found.table, "popularity")
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def _last_of_each(rated: pd.DataFrame) -> Any:
    newest = rated.sort_values(["timestamp", "item"]).groupby("user").tail(1)
    return rated.index.to_series().isin(newest.index)


def _last_days(rated: pd.DataFrame, days: int) -> Any:
    return rated["timestamp"] > rated["timestamp"].max() - days * 86_400


def _most_popular(rated: pd.DataFrame, hidden: Any, k: int, *, by_time: bool) -> dict[str, float]:
    """The most rated unseen films for everybody, counted without any code of ours; films by id among equals.

    By time, films that nobody knew at the cut are asked for by nobody; otherwise all films are known.
    """
    train, test = rated[~hidden], rated[hidden]
    ranking = train.groupby("item").size().reset_index(name="n").sort_values(["n", "item"], ascending=[False, True])
    seen = train.groupby("user")["item"].agg(set)
    known = set(train["item"])
    figures = []
    for user, wanted in test.groupby("user")["item"].agg(set).items():
        wanted = wanted & known if by_time else wanted
        if user not in seen.index or not wanted:
            continue
        shown = [item for item in ranking["item"] if item not in seen[user]][:k]
        gains = [1 / math.log2(place + 2) for place, item in enumerate(shown) if item in wanted]
        best = sum(1 / math.log2(place + 2) for place in range(min(k, len(wanted))))
        places = [place for place, item in enumerate(shown) if item in wanted]
        found = len(places)
        average = sum((nth + 1) / (place + 1) for nth, place in enumerate(places)) / min(k, len(wanted))
        figures.append((sum(gains) / best, found / len(wanted), found / k, average, float(found > 0)))
    means = np.mean(figures, axis=0)
    return dict(zip(("ndcg", "recall", "precision", "map", "hit_rate"), means, strict=True)) | {"members": len(figures)}


def test_lists_of_what_was_bought_are_the_best_of_each_members_own_products() -> None:
    split = _random(_habits())
    fitted = recipes.fit("popularity", split.before, recipes.find("popularity").config())
    rows = np.flatnonzero(split.asked.counts.getnnz(axis=1))
    assert len(rows) > 20
    found = rank_own(split.asked, fitted, rows, 4)
    some = histories(split.asked, rows, None)
    scores = score_many(fitted.form, some, split.asked.seconds)
    for i, own in enumerate(np.split(some.product_index, some.starts[1:-1])):
        best = sorted(own.tolist(), key=lambda product: (-scores[i, product], product))[:4]
        assert found[i].tolist() == best + [-1] * (4 - len(best))
