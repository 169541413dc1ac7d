"""Earning rules: what each issues, worked out by hand; and that the order of rows says nothing.

The programme: basic earns 1 point per euro, gold 2; gold is 100 euro in 30 days; points live 90 days; zone Rome.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features import catalog, history, points
from features.entities import Programme
from features.ledger import written
from features.ledger.rules import Earning, EarningLimit, EarningRule
from tests.features.test_points import DAY0, back, day, sale

GOODS = pd.DataFrame(
    {
        "product_id": ["p", "tea"],
        "category": ["rest", "drinks"],
        "name": None,
        "brand": None,
        "unit_price": 1.0,
        "unit_margin": 0.2,
        "margin_basis": "given",
        "occurred_at": DAY0,
        "known_at": DAY0,
    }
)


def did(key: str, number: float, kind: str, member: str = "m", topic: str | None = None) -> dict[str, Any]:
    times = {"occurred_at": day(number), "known_at": day(number)}
    return {"engagement_id": key, "member_id": member, "type": kind, "topic": topic, "value": None, **times}


def issued(
    programme: Programme, rules: list[EarningRule], lines: list[dict[str, Any]], *engaged: dict[str, Any], **more: Any
) -> list[tuple[str, float]]:
    """`(entry, points)` of what rules beside spend did until day 60."""
    lines = lines or [sale("none", -900, 0.0)]
    ledger = points.derive(
        pd.DataFrame(lines),
        replace(programme, earning=Earning(tuple(rules))),
        day(60),
        engagements=pd.DataFrame(engaged) if engaged else None,
        products=GOODS,
        **more,
    )
    shuffled = points.derive(
        pd.DataFrame(random.Random(1).sample(lines, len(lines))),
        replace(programme, earning=Earning(tuple(rules[::-1]))),
        day(60),
        engagements=pd.DataFrame(engaged[::-1]) if engaged else None,
        products=GOODS[::-1],
        **more,
    )
    pd.testing.assert_frame_equal(ledger, shuffled)
    names = tuple(rule.id for rule in rules)
    own = ledger[ledger["lot_id"].str.endswith(tuple(f":{name}" for name in names)).astype(bool)]
    return list(zip(own["entry_id"], own["points"], strict=True))


def test_a_bonus_category_multiplies_what_its_lines_earn_at_the_rate_of_the_tier(programme: Programme) -> None:
    rule = EarningRule("drinks", "purchase", multiplier=3, categories=("drinks",))
    first = [sale("a", 0, 100.0), sale("b", 0, 10.5, basket_id="a", product_id="tea")]
    second = [sale("c", 1, 10.0, product_id="tea")]
    assert issued(programme, [rule], first + second) == [
        ("earn:m:a:drinks", 21),  # twice 10.5 more at rate 1
        ("earn:m:c:drinks", 40),  # gold by then: 10 · 2 · (3 − 1)
    ]


def test_a_return_takes_back_the_bonus_of_the_lines_that_came_back_and_of_no_others(programme: Programme) -> None:
    rules = [
        EarningRule("drinks", "purchase", multiplier=2, products=("tea",)),
        EarningRule("big", "purchase", points=50, min_spend=25.0),
    ]
    lines = [sale("a", 0, 20.0), sale("b", 0, 10.0, basket_id="a", product_id="tea")]
    assert issued(programme, rules, [*lines, back("r", 1, 20.0, "a")]) == [
        ("earn:m:a:big", 50),
        ("earn:m:a:drinks", 10),
        ("reverse:m:a:big:r", -50),  # 10 are left of 30, below the 25 asked for
    ]
    assert issued(programme, rules, [*lines, back("r", 1, 4.0, "b")]) == [
        ("earn:m:a:big", 50),
        ("earn:m:a:drinks", 10),
        ("reverse:m:a:drinks:r", -4),
    ]


def test_a_campaign_holds_in_its_window_for_its_tier_and_its_audience(programme: Programme) -> None:
    window: dict[str, Any] = {"starts": day(10), "ends": day(20)}
    rules = [
        EarningRule("gold-days", "purchase", points=5, tiers=("gold",), **window),
        EarningRule("friends", "purchase", points=7, segments=("friends",), **window),
    ]
    lines = [sale("a", 9.9, 100.0), sale("b", 10, 1.0), sale("c", 19.9, 1.0), sale("d", 20, 1.0)]
    lines += [sale("e", 12, 1.0, member_id="n")]
    found = issued(programme, rules, lines, audience={"friends": frozenset({"n"})})
    assert found == [("earn:m:b:gold-days", 5), ("earn:m:c:gold-days", 5), ("earn:n:e:friends", 7)]


def test_days_in_a_row_are_counted_in_the_time_of_the_programme_and_begin_anew(programme: Programme) -> None:
    rule = EarningRule("three", "check_in_streak", points=30, days=3)
    hours = [0.0, 0.2, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0]  # two on the first day; none on the sixth
    visits = [did(f"v{i}", at, "check_in") for i, at in enumerate(hours)]
    assert issued(programme, [rule], [], *visits) == [("earn:m:v3:three", 30)]
    # 23:30 in Rome and 00:30 the next morning are two days there, and one in UTC.
    night = [did(f"n{i}", at + 10.5 / 24, "check_in") for i, at in enumerate((0.0, 1 / 24, 25 / 24))]
    assert issued(programme, [rule], [], *night) == [("earn:m:n2:three", 30)]


def test_a_late_check_in_closes_a_streak_and_it_is_known_once_all_days_are(programme: Programme) -> None:
    rule = EarningRule("three", "check_in_streak", points=30, days=3)
    visits = [did("a", 0, "check_in"), did("b", 1, "check_in") | {"known_at": day(9)}, did("c", 2, "check_in")]
    with_rule = replace(programme, earning=Earning((rule,)))
    nobody = pd.DataFrame([sale("none", -900, 0.0)])
    ledger = points.derive(nobody, with_rule, day(60), engagements=pd.DataFrame(visits))
    assert ledger["occurred_at"].tolist() == [day(2)]
    assert ledger["known_at"].tolist() == [day(9)]


def test_limits_count_in_order_of_time_within_their_period(programme: Programme) -> None:
    some = [did(f"s{i}", at, "share") for i, at in enumerate((0, 1, 2, 40, 41))]  # January, then February
    often = EarningRule("often", "share", points=10, limit=EarningLimit(times=2))
    assert [name for name, _ in issued(programme, [often], [], *some)] == [
        "earn:m:s0:often", "earn:m:s1:often", "earn:m:s3:often", "earn:m:s4:often",
    ]  # fmt: skip
    much = EarningRule("much", "share", points=10, limit=EarningLimit(points=25, per="ever"))
    assert [given for _, given in issued(programme, [much], [], *some)] == [10, 10, 5]


def test_a_rule_with_a_life_of_its_own_expires_then(programme: Programme) -> None:
    rule = EarningRule("quick", "review", points=10, expiry_days=14)
    assert issued(programme, [rule], [], did("r", 0, "review")) == [
        ("earn:m:r:quick", 10),
        ("expire:m:r:quick", -10),
    ]


def test_a_referral_credits_both_once_the_newcomer_has_spent_enough(programme: Programme) -> None:
    rule = EarningRule("bring", "referral", points=100, points_referred=40, min_spend=20.0)
    came = [did("x", 0, "enrol", "new", "m"), did("y", 1, "enrol", "new", "other"), did("z", 0, "enrol", "m", "m")]
    lines = [sale("a", 1, 19.0, member_id="new"), sale("b", 2, 25.0, member_id="new")]
    both = [("earn:m:x:referrer:bring", 100), ("earn:new:x:referred:bring", 40)]
    assert issued(programme, [rule], lines, *came) == both
    undone = {**back("r", 3, 25.0, "b"), "member_id": "new"}
    assert issued(programme, [rule], [*lines, undone], *came) == [
        both[0],
        ("reverse:m:x:referrer:bring:r", -100),
        both[1],
        ("reverse:new:x:referred:bring:r", -40),
    ]
    at_once = replace(rule, min_spend=0.0)
    assert issued(programme, [at_once], [], *came) == both


def test_redeemed_bonus_points_of_a_returned_basket_come_out_of_the_next_lots(programme: Programme) -> None:
    rules = replace(programme, earning=Earning((EarningRule("fifty", "purchase", points=50, min_spend=30.0),)))
    lines = [sale("a", 0, 30.0), back("r", 2, 30.0, "a"), sale("b", 3, 20.0), sale("c", 4, 45.0)]
    wish = {"entry_id": "w", "member_id": "m", "points": 80.0, "occurred_at": day(1), "known_at": day(1)}
    ledger = points.derive(pd.DataFrame(lines), rules, day(10), pd.DataFrame([wish]))
    table = points.statement(ledger, day(-1), day(10))
    assert table[["issued", "redeemed", "reversed", "closing"]].T.to_dict("list") == {
        "m:a": [30, 30, 0, 0],
        "m:a:fifty": [50, 50, 0, 0],
        "m:b": [20, 0, 20, 0],  # 80 are owed: 20 here,
        "m:c": [45, 0, 45, 0],  # 45 here,
        "m:c:fifty": [50, 0, 15, 35],  # and the last 15 here
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{id: a, type: shopping, points: 1}", 'rule "a": type "shopping" is unknown'),
        ("{id: a, type: purchase}", 'rule "a": gives nothing: write points'),
        ("{id: a, type: share, multiplier: 2}", "multiplier 2 needs money to multiply"),
        ("{id: a, type: purchase, multiplier: 2, points: 5}", "make two rules of it"),
        ("{id: a, type: share, points: 5, categories: [x]}", "categories means nothing for type share"),
        ("{id: a, type: check_in_streak, points: 5}", "days 1 is no streak"),
        ("{id: a, type: share, points: 5, tiers: [goldd]}", 'tiers names "goldd"; did you mean "gold"?'),
        ("{id: a, type: share, points: 5, segments: [regulars]}", "segments need `starts`"),
        (
            "{id: a, type: share, points: 5, starts: 2026-01-01, segments: [points-hoarders]}",
            "asks about points, which this rule itself changes",
        ),
        ("{id: spend, type: share, points: 5}", 'the id "spend" is kept'),
        ("{id: a, type: share, points: 5, ends: 2026-01-01, starts: 2026-02-01}", "is not after it starts"),
        ("{id: a, type: share, points: 5, limit: {per: fortnight}}", 'limit.per "fortnight" is unknown'),
        ("{id: a, type: share, points: 5.5}", 'rule "a": points 5.5'),
    ],
)
def test_a_wrong_rule_is_refused_in_plain_words(tmp_path: Path, rule: str, said: str) -> None:
    import shutil

    shutil.copytree(Path("configs/catalog"), tmp_path / "catalog")
    (tmp_path / "catalog" / written.FILE).write_text(f"rules:\n  - {rule}\n")
    with pytest.raises(catalog.CatalogError) as refused:
        catalog.load(tmp_path / "catalog")
    assert said in "\n".join(refused.value.errors)
    assert all(one.startswith("earning.yaml: ") for one in refused.value.errors)


def test_the_rules_come_back_from_the_catalogue_that_a_decision_kept() -> None:
    found = catalog.load(Path("configs/catalog"))
    assert found.programme.earning.rules
    assert found.programme.earning.channels
    assert catalog.from_json(catalog.to_json(found)) == found


def test_engagements_of_a_history_earn_when_it_is_loaded(programme: Programme, tmp_path: Path) -> None:
    rules = replace(programme, earning=Earning((EarningRule("say", "review", points=15),)))
    rows = {"purchases": pd.DataFrame([sale("a", 0, 10.0)]), "engagements": pd.DataFrame([did("e", 1, "review")])}
    history.merge(tmp_path, rows)
    points.refresh(tmp_path, rules)
    assert history.read(tmp_path, "points")["entry_id"].tolist() == ["earn:m:a", "earn:m:e:say"]
    points.refresh(tmp_path, programme)
    assert history.read(tmp_path, "points")["entry_id"].tolist() == ["earn:m:a"]


def test_what_the_service_was_told_of_is_spread_over_the_lots_and_stays_so(
    programme: Programme, tmp_path: Path
) -> None:
    burn = {"entry_id": "w", "member_id": "m", "type": "redeem", "points": -25.0, "lot_id": "w", "source": "event"}
    given = {"entry_id": "g", "member_id": "m", "type": "earn", "points": 9.0, "lot_id": "g", "source": "event"}
    rows = [
        {**burn, "occurred_at": day(5), "known_at": day(5)},
        {**given, "expires_at": day(50), "occurred_at": day(2), "known_at": day(2)},
    ]
    lines = [sale("a", 0, 20.0), sale("b", 1, 20.0), sale("late", 120, 1.0)]
    history.merge(tmp_path, {"purchases": pd.DataFrame(lines), "points": pd.DataFrame(rows)})
    points.refresh(tmp_path, programme)
    once = history.read(tmp_path, "points")
    assert dict(zip(once["entry_id"], once["points"], strict=True)) == {
        "earn:m:a": 20, "earn:m:b": 20, "earn:m:late": 1, "g": 9, "redeem:w:g": -9, "redeem:w:m:a": -16,
        "expire:m:a": -4, "expire:m:b": -20,
    }  # fmt: skip
    points.refresh(tmp_path, programme)
    pd.testing.assert_frame_equal(history.read(tmp_path, "points"), once)
    history.merge(tmp_path, {"purchases": pd.DataFrame([sale("before", -1, 30.0)])})
    points.refresh(tmp_path, programme)
    again = history.read(tmp_path, "points")
    assert again.loc[again["type"] == "redeem", ["entry_id", "points"]].to_numpy().tolist() == [
        ["redeem:w:g", -9],
        ["redeem:w:m:before", -16],
    ]


def test_dates_without_a_time_begin_in_the_programmes_zone(programme: Programme) -> None:
    errors: list[str] = []
    raw = {"rules": [{"id": "a", "type": "share", "points": 1, "starts": datetime(2026, 1, 1).date()}]}  # noqa: DTZ001
    found = written.parse(raw, programme, errors)
    assert errors == []
    assert found.rules[0].starts == datetime(2026, 1, 1, tzinfo=UTC) - timedelta(hours=1)
