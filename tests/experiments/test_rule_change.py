"""Other rules on the same past: what can be worked out by hand, and nothing where nothing changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from experiments import rule_change, rule_worlds
from experiments.rule_change import Past
from experiments.worlds import WORLDS
from features import catalog
from features.entities import PointsRules, Programme, SegmentRules, Tier
from features.ledger import proposal
from features.ledger.rules import Earning, EarningRule
from tests.features.test_points import day, sale

TIERS = (Tier("basic", "Basic", 0.0, 365, 1.0), Tier("gold", "Gold", 500.0, 365, 1.0))
PROGRAMME = Programme("EUR", "UTC", TIERS, PointsRules(120, 0.01, 0.7), SegmentRules(1, 1, 1, 1, 1), 0.2)


def past(members: int = 40) -> Past:
    """Every member buys for 100 once a month for a year; the even ones redeem 150 every second month."""
    lines = [
        sale(f"{member}-{month}", 30 * month + member / members, 100.0, member_id=f"m{member}")
        for member in range(members)
        for month in range(12)
    ]
    wishes = [
        {"entry_id": f"w{member}-{month}", "member_id": f"m{member}", "points": 150.0, "at": 30 * month + 15}
        for member in range(0, members, 2)
        for month in range(1, 12, 2)
    ]
    redemptions = pd.DataFrame(wishes)
    times = [day(at) for at in redemptions.pop("at")]
    redemptions = redemptions.assign(occurred_at=times, known_at=times)
    nothing = pd.DataFrame(
        {name: [] for name in ("engagement_id", "member_id", "type", "topic", "occurred_at", "known_at")}
    )
    goods = pd.DataFrame({"product_id": ["p"], "category": ["c"]})
    return Past(pd.DataFrame(lines), nothing, goods, redemptions, day(360), day(180))


def labels(members: int = 40) -> pd.DataFrame:
    kinds = {f"m{member}": "user" if member % 2 == 0 else "saver" for member in range(members)}
    return pd.DataFrame({"kind": pd.Series(kinds)})


def compared(new: Programme) -> pd.DataFrame:
    now, other = (rule_change.apply(past(), one, {}, 1) for one in (PROGRAMME, new))
    return rule_change.compare(now, other, labels(), 1)


def test_the_same_rules_change_nothing_and_the_interval_says_so() -> None:
    table = compared(PROGRAMME)
    for name in ("margin", "liability", "breakage"):
        assert (table[[name, f"{name}_low", f"{name}_high"]].to_numpy() == 0).all()
    assert (table["issued_now"] == table["issued_new"]).all()


def test_dearer_points_cost_in_proportion_and_only_those_who_redeem() -> None:
    table = compared(replace(PROGRAMME, points=replace(PROGRAMME.points, cost_per_point=0.02)))
    assert rule_change.row(table, "kind", "saver")["redeemed_now"] == 0
    assert (table["liability"] == table["liability_now"]).all()  # twice as much
    assert rule_change.row(table, "all", "all")["margin"] < 0
    assert rule_change.row(table, "all", "all")["margin_high"] < 0
    users, savers = rule_change.row(table, "kind", "user")["margin"], rule_change.row(table, "kind", "saver")["margin"]
    assert users + savers == pytest.approx(rule_change.row(table, "all", "all")["margin"])
    assert users < savers <= 0


def test_a_shorter_life_lets_more_expire_and_frees_margin() -> None:
    table = compared(replace(PROGRAMME, points=replace(PROGRAMME.points, expiry_days=50)))
    whole = rule_change.row(table)
    assert whole["expired_new"] > whole["expired_now"]
    assert whole["liability_high"] < 0
    assert whole["margin"] > 0
    # By hand: a saver's lots of 100 expire after 50 days: of the last 180 days those bought from day 150 to day 300.
    assert rule_change.row(table, "kind", "saver")["expired_new"] == 20 * 100 * 6


def test_a_bonus_is_issued_to_whom_it_is_for() -> None:
    rule = EarningRule("more", "purchase", points=10, starts=day(180))
    table = compared(replace(PROGRAMME, earning=Earning((rule,))))
    # Six baskets lie after day 180, the first at day 180 itself for the members whose hour comes later.
    assert rule_change.row(table, "all", "all")["issued_new"] - rule_change.row(table, "all", "all")[
        "issued_now"
    ] == 10 * (40 * 6 - 1)


def test_redeeming_the_same_share_under_the_same_rules_is_the_same() -> None:
    first = rule_change.apply(past(), PROGRAMME, {}, 1)
    again = rule_change.apply(rule_change.in_shares(past(), first), PROGRAMME, {}, 1)
    pd.testing.assert_frame_equal(first.entries, again.entries)
    double = replace(PROGRAMME, tiers=tuple(replace(tier, earn_rate=2.0) for tier in TIERS))
    twice = rule_change.apply(rule_change.in_shares(past(), first), double, {}, 1)
    moved = [side.entries[side.entries["type"] == "redeem"]["points"].sum() for side in (first, twice)]
    assert moved[1] == pytest.approx(2 * moved[0])


def test_other_thresholds_move_members_between_tiers() -> None:
    higher = replace(PROGRAMME, tiers=(TIERS[0], replace(TIERS[1], min_spend=5000.0)))
    now, new = (rule_change.apply(past(), one, {}, 1) for one in (PROGRAMME, higher))
    assert rule_change.tier_mix(now, new).to_dict("index") == {"gold": {"basic": 40}}


def test_a_proposal_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    shipped = catalog.load(Path("configs/catalog")).programme
    path = tmp_path / "new.yaml"
    path.write_text("points: {expiry_days: 180}\nrules:\n  - {id: a, type: share, points: 3}\n")
    found = proposal.propose(path, shipped)
    assert found.points == replace(shipped.points, expiry_days=180)
    assert found.tiers == shipped.tiers
    assert [rule.id for rule in found.earning.rules] == ["a"]
    assert found.earning.channels == shipped.earning.channels


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pionts: {}\n", 'unknown key "pionts"; did you mean "points"?'),
        ("points: {expiry_days: 0}\n", "points.expiry_days 0"),
        ("rules:\n  - {id: a, type: purchase}\n", 'rule "a": gives nothing'),
        ("tiers:\n  - {id: a, name: A, min_spend: 5, window_days: 9, earn_rate: 1}\n", "one must be 0"),
    ],
)
def test_a_wrong_proposal_is_refused_in_plain_words(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "new.yaml").write_text(text)
    with pytest.raises(catalog.CatalogError) as refused:
        proposal.propose(tmp_path / "new.yaml", PROGRAMME)
    assert said in "\n".join(refused.value.errors)


def test_members_who_do_not_respond_buy_the_same_and_those_who_do_hurry_before_points_expire() -> None:
    """Lots that live 30 days are always about to expire: in the strong world that speeds shopping by up to 0.6."""
    shipped = catalog.load(Path("configs/catalog")).programme
    short = replace(shipped, points=replace(shipped.points, expiry_days=30))
    sold = {}
    for name in ("none", "strong"):
        (_, now), (_, new) = (
            rule_worlds.lived(WORLDS[name], one, 300, 500, day(0), day(-200), 3) for one in (shipped, short)
        )
        sold[name] = float(new.sum() / now.sum() - 1)
    assert abs(sold["none"]) < 0.03
    assert 0.1 < sold["strong"] < 0.6


def test_what_was_redeemed_is_read_once_whatever_lots_it_came_from() -> None:
    row = {"member_id": "m", "type": "redeem", "occurred_at": day(1), "known_at": day(1)}
    rows = [{**row, "points": -10.0, "lot_id": "a"}, {**row, "points": -5.0, "lot_id": "b"}]
    rows.append({**row, "points": -1.0, "lot_id": "b", "occurred_at": day(1) + timedelta(hours=1)})
    assert rule_change.redemptions_of(pd.DataFrame(rows))["points"].tolist() == [15, 1]
