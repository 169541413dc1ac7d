from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st

from features import behavior, catalog_json, cutoffs, points, standing
from features.catalog import load
from features.entities import Programme, Tier, TierRules
from features.finishing import finisher
from features.member_facts import of
from features.member_states import state_blobs
from features.relations import counted, to_spark, with_derived
from features.states import decode, empty
from tests.features.small_history import PROGRAMME, T0, drawn, pairs, typed, write

ZONE = ZoneInfo("Europe/Amsterdam")
LADDER = (
    Tier("basic", "Basic", 0.0, 200, 1.0),
    Tier("silver", "Silver", 100.0, 200, 1.0),
    Tier("gold", "Gold", 300.0, 200, 1.0),
    Tier("platinum", "Platinum", 600.0, 200, 1.0),
)
RULES = {
    "calendar": TierRules("calendar_year", hold="next_year"),
    "calendar, softly, with grace": TierRules(
        "calendar_year", hold="next_year", grace_days=45, soft_landing=True, upgrade="review"
    ),
    "membership": TierRules("membership_year", hold="next_year", soft_landing=True),
    "window, held": TierRules(hold="next_year", grace_days=30),
    "window, held for the year, softly": TierRules(hold="year", soft_landing=True),
    "window, grace": TierRules(grace_days=60),
    "window, landing in stretches": TierRules(grace_days=40, soft_landing=True),
}


def programme(rules: TierRules) -> Programme:
    return replace(PROGRAMME, tiers=LADDER, tier_rules=rules)


def noon(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, 12, tzinfo=ZONE).astimezone(UTC)


def bought(folder: Path, *spent: tuple[datetime, float], enrolled: datetime | None = None) -> Path:
    rows = [
        {"member_id": "m", "basket_id": f"b{i}", "occurred_at": at, "amount": money, "unit_price": money}
        for i, (at, money) in enumerate(spent)
    ]
    tables = {"purchases": typed("purchases", rows)}
    if enrolled is not None:
        tables["members"] = typed("members", [{"member_id": "m", "occurred_at": enrolled}])
    return write(folder, tables)


def stood(folder: Path, rules: TierRules, *moments: datetime, name: str = "tier_rank") -> list[float]:
    known = programme(rules)
    chosen = [one for one in standing.tier_features(known) if one.name == name]
    found: list[float] = cutoffs.compute(folder, pairs(["m"], *moments), chosen, of(known))[name].tolist()
    return found


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_stored_state_stands_where_training_says(tmp_path: Path, rules: TierRules) -> None:
    """At once, and at moments of which the state cannot know more: over reviews that lie ahead of it."""
    known = programme(rules)
    tables = drawn(5, n_members=15, days=1500)
    tables = {n: rows if n == "products" else rows[rows["known_at"] <= T0] for n, rows in tables.items()}
    write(tmp_path, tables)
    members = [*sorted(tables["members"]["member_id"]), "nobody"]
    states = {member: decode(blob) for member, blob, _ in state_blobs(tmp_path, T0, known)}
    features = [one for one in behavior.definitions(known) if one.family == "tier"]
    finish = finisher(features)
    moments = [T0 + timedelta(days=days, seconds=7) for days in (0, 20, 320, 700)]
    expected = cutoffs.compute(tmp_path, pairs(members, *moments), features, of(known))
    online = [finish(states.get(member, empty()), at) for at in moments for member in members]
    np.testing.assert_allclose(online, expected[[one.name for one in features]].to_numpy(), rtol=1e-12, atol=0)
    assert len(set(expected["tier_rank"])) > 2


def _by_walking(spent: Sequence[tuple[datetime, float]], rules: TierRules, at: datetime) -> int:
    """The status walked through review by review, as a clerk would: the year's rank, or one less than before."""
    years = [when.astimezone(ZONE).year for when, _ in spent]
    total = dict.fromkeys(range(2015, 2040), 0.0)
    for year, (when, money) in zip(years, spent, strict=True):
        if when <= at:
            total[year] += money
    rank = {year: max(i for i, tier in enumerate(LADDER) if money >= tier.min_spend) for year, money in total.items()}
    last = (at - timedelta(days=rules.grace_days)).astimezone(ZONE).year
    status = 0
    for year in range(2016, last + 1):
        status = max(rank[year - 1], status - 1 if rules.soft_landing else 0)
        if rules.upgrade == "at_once":
            status = max(status, rank[year])
    now = at.astimezone(ZONE).year
    newer = range(last, now) if rules.upgrade == "review" else range(last, now + 1)
    return max([status, *(rank[year] for year in newer)])


_SPENT = st.lists(
    st.tuples(st.integers(0, 1500), st.sampled_from([20.0, 60.0, 100.0, 250.0, 400.0])), min_size=1, max_size=12
)
_FROM = noon(2021, 1, 20)


_MEMBERS = st.lists(_SPENT, min_size=8, max_size=8)
Drawn = list[list[tuple[int, float]]]


def all_stood(folder: Path, members: Drawn, rules: TierRules, moments: Sequence[datetime]) -> list[list[float]]:
    """The rank of each member at each moment."""
    rows = [
        {
            "member_id": f"m{i}",
            "basket_id": f"m{i}-{j}",
            "occurred_at": _FROM + timedelta(days=day),
            "unit_price": money,
        }
        for i, spent in enumerate(members)
        for j, (day, money) in enumerate(spent)
    ]
    known, ids = programme(rules), [f"m{i}" for i in range(len(members))]
    enrolled = typed("members", [{"member_id": name, "occurred_at": _FROM} for name in ids])
    write(folder, {"purchases": typed("purchases", rows), "members": enrolled})
    chosen = standing.tier_features(known)[:1]
    found = cutoffs.compute(folder, pairs(ids, *moments), chosen, of(known))["tier_rank"].to_numpy()
    ranks: list[list[float]] = found.reshape(len(moments), len(ids)).T.tolist()
    return ranks


@given(members=_MEMBERS, rules=st.sampled_from([RULES["calendar"], RULES["calendar, softly, with grace"]]))
@settings(max_examples=3, deadline=None)
def test_years_are_what_a_walk_through_the_reviews_says(
    tmp_path_factory: pytest.TempPathFactory, members: Drawn, rules: TierRules
) -> None:
    moments = [_FROM + timedelta(days=53 * step) for step in range(40)]
    found = all_stood(tmp_path_factory.mktemp("walk"), members, rules, moments)
    for spent, ranks in zip(members, found, strict=True):
        baskets = [(_FROM + timedelta(days=day), money) for day, money in spent]
        assert ranks == [_by_walking(baskets, rules, at) for at in moments]


@given(members=_MEMBERS, more=_MEMBERS, rules=st.sampled_from(list(RULES.values())))
@settings(max_examples=5, deadline=None)
def test_more_spend_never_lowers_a_tier(
    tmp_path_factory: pytest.TempPathFactory, members: Drawn, more: Drawn, rules: TierRules
) -> None:
    moments = [_FROM + timedelta(days=97 * step) for step in range(25)]
    both = [[*others, *spent] for spent, others in zip(members, more, strict=True)]
    before = np.array(all_stood(tmp_path_factory.mktemp("less"), members, rules, moments))
    after = np.array(all_stood(tmp_path_factory.mktemp("more"), both, rules, moments))
    assert (after >= before).all()


@given(members=_MEMBERS, rules=st.sampled_from([rules for rules in RULES.values() if rules.soft_landing]))
@settings(max_examples=3, deadline=None)
def test_a_soft_landing_takes_one_tier_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, members: Drawn, rules: TierRules
) -> None:
    moments = [_FROM + timedelta(days=20 * step) for step in range(150)]
    days = np.array(all_stood(tmp_path_factory.mktemp("soft"), members, rules, moments))
    assert np.diff(days).min() >= -1
    assert (days[:, -1] == 0).all()


def test_a_tier_is_held_to_the_end_of_the_next_year_and_its_grace(tmp_path: Path) -> None:
    folder = bought(tmp_path, (noon(2024, 5, 1), 700.0))
    ends = datetime(2026, 1, 1, tzinfo=ZONE).astimezone(UTC)
    around = (ends - timedelta(seconds=1), ends, ends + timedelta(days=40))
    assert stood(folder, RULES["calendar"], noon(2024, 5, 2), *around) == [3, 3, 0, 0]
    softly = RULES["calendar, softly, with grace"]
    assert stood(folder, softly, noon(2024, 5, 2), noon(2025, 1, 2), *around) == [0, 3, 3, 3, 3]
    lost = ends + timedelta(days=45)
    assert stood(folder, softly, lost - timedelta(seconds=1), lost, noon(2027, 3, 1)) == [3, 2, 1]
    left = stood(folder, softly, noon(2025, 12, 1), noon(2026, 1, 31), name="tier_days_left")
    assert left == pytest.approx([30.5 + 45, 14.5])


def test_years_of_membership_begin_on_the_day_of_enrolment(tmp_path: Path) -> None:
    enrolled = noon(2022, 9, 10)
    folder = bought(tmp_path, (noon(2023, 9, 9), 200.0), (noon(2023, 9, 11), 200.0), enrolled=enrolled)
    rules = TierRules("membership_year", hold="next_year")
    assert stood(folder, rules, noon(2024, 9, 9), noon(2025, 9, 9), noon(2025, 9, 10)) == [1, 1, 0]
    assert stood(folder, rules, noon(2024, 3, 1), name="spend_to_next_tier") == [100.0]


def test_baskets_can_be_what_counts(tmp_path: Path) -> None:
    folder = bought(tmp_path, *[(noon(2025, month, 1), 1.0) for month in range(1, 4)])
    known = replace(
        PROGRAMME, tiers=(LADDER[0], replace(LADDER[1], min_spend=3.0)), tier_rules=TierRules(measure="baskets")
    )
    features = standing.tier_features(known)
    found = cutoffs.compute(folder, pairs(["m"], noon(2025, 2, 2), noon(2025, 3, 2)), features, of(known))
    assert found["tier_rank"].tolist() == [0, 1]
    assert found["spend_to_next_tier"].iloc[0] == 1


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_what_is_to_spend_is_what_has_to_be_spent(tmp_path: Path, rules: TierRules) -> None:
    """Spending what `spend_to_next_tier` says moves up at once; a cent less does not."""
    rules, now = replace(rules, upgrade="at_once"), noon(2025, 10, 1)
    spent = ((noon(2025, 6, 1), 130.0), (noon(2025, 9, 1), 40.0))
    (gap,) = stood(bought(tmp_path / "now", *spent), rules, now, name="spend_to_next_tier")
    at = now + timedelta(minutes=1)
    when = now + timedelta(minutes=2)
    enough = stood(bought(tmp_path / "enough", *spent, (at, gap)), rules, when)
    short = stood(bought(tmp_path / "short", *spent, (at, gap - 0.01)), rules, when)
    assert (short, enough) == ([1], [2])


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_every_rule_is_also_spark_sql(rules: TierRules) -> None:
    relation = of(programme(rules))["standing"]
    features = standing.tier_features(programme(rules))
    for text in (relation.facts, with_derived(relation, counted(relation)), cutoffs.feature_sql(relation, features)):
        sqlglot.parse_one(to_spark(text), read="spark", error_level=sqlglot.ErrorLevel.RAISE)


def test_rules_that_contradict_themselves_are_refused_in_plain_words() -> None:
    wrong = (
        TierRules("calendar_year"),
        TierRules(upgrade="review"),
        TierRules(soft_landing=True),
        TierRules(grace_days=3000),
    )
    said = [" ".join(standing.faults(rules, LADDER)) for rules in wrong]
    assert ["hold: next_year" in said[0], "upgrade review" in said[1], "soft_landing" in said[2]] == [True] * 3
    assert "3200 days old and 2922 are kept" in said[3]
    assert not any(list(standing.faults(rules, LADDER)) for rules in RULES.values())


def test_rules_are_read_from_the_catalogue_and_survive_json(tmp_path: Path) -> None:
    for file in Path("configs/catalog").glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        more = "tier_rules: {window: calendar_year, hold: next_year, grace_days: 30}\n" if file.stem == "tiers" else ""
        (tmp_path / file.name).write_text(text + more, encoding="utf-8")
    found = load(tmp_path)
    assert found.programme.tier_rules == TierRules("calendar_year", hold="next_year", grace_days=30)
    assert catalog_json.from_json(catalog_json.to_json(found)) == found


def test_a_period_begins_at_local_midnight(tmp_path: Path) -> None:
    first = datetime(2025, 1, 1, 0, 30, tzinfo=ZONE).astimezone(UTC)
    assert first.date() == date(2024, 12, 31)
    folder = bought(tmp_path, (first, 150.0))
    assert stood(folder, RULES["calendar"], noon(2026, 12, 31)) == [1]
    assert pd.Timestamp(first).year == 2024


def test_a_ledger_earns_at_the_rate_of_the_tier_that_is_held() -> None:
    """600 in 2024 is platinum to the end of 2025, whatever the window of 200 days says."""
    spent = [(noon(2024, 2, 1), 600.0), (noon(2025, 12, 1), 10.0), (noon(2026, 2, 1), 10.0)]
    rows = [
        {"member_id": "m", "basket_id": f"b{i}", "occurred_at": at, "unit_price": money}
        for i, (at, money) in enumerate(spent)
    ]
    ladder = (*LADDER[:3], replace(LADDER[3], earn_rate=3.0))
    known = replace(PROGRAMME, tiers=ladder, tier_rules=RULES["calendar"])
    entries = points.derive(typed("purchases", rows), known, noon(2026, 3, 1))
    earned = entries[entries["type"] == "earn"].sort_values("occurred_at")["points"].tolist()
    assert earned == [600, 30, 10]
