"""What points will cost: planted hazards, the simulated programme, and the vectors of the books."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features.ledger import accounting, liability, lots, outlook

END = datetime(2026, 1, 1, tzinfo=UTC)


def planted(hazard: float, members: int = 300, days: int = 720) -> pd.DataFrame:
    """One lot a month for each member; in each 30 days of its life a share of what it holds is redeemed; 360 days."""
    rng = np.random.default_rng(3)
    rows = []
    for member in range(members):
        for birth in range(0, days, 30):
            lot, left, born = f"{member}-{birth}", 1000.0, END - timedelta(days=days - birth)
            base = {"member_id": f"m{member}", "lot_id": lot, "expires_at": born + timedelta(days=360)}
            rows.append({**base, "type": "earn", "points": left, "occurred_at": born})
            for step in range(12):
                taken = float(rng.binomial(int(left), hazard))
                at = born + timedelta(days=30 * step + 15)
                left -= taken
                rows.append({**base, "type": "redeem", "points": -taken, "occurred_at": at})
            rows.append({**base, "type": "expire", "points": -left, "occurred_at": base["expires_at"]})
    frame = pd.DataFrame(rows)
    return frame[frame["occurred_at"] <= END].assign(entry_id=lambda one: one.index.astype(str))


def test_a_planted_hazard_is_found_from_every_age_and_to_every_end() -> None:
    model = liability.fitted(lots.counted(planted(0.05), END, 360))
    ages = np.array([0.0, 30.0, 180.0, 330.0, 345.0])
    found = liability.redemption_chance(model, ages, 360 - ages, 5000.0)
    assert found == pytest.approx(1 - 0.95 ** ((360 - ages) / 30), abs=0.004)
    assert liability.redemption_chance(model, 0.0, 60.0, 100.0) == pytest.approx(1 - 0.95**2, abs=0.004)
    assert liability.redemption_chance(model, 360.0, 0.0, 100.0) == 0


def test_open_lots_count_only_for_the_steps_they_completed() -> None:
    """Half the history says nothing of old ages; what is known of young ones must not be blunted by it."""
    young = planted(0.05, days=90)
    model = liability.fitted(lots.counted(young, END, 360))
    assert model.observed_days == 90
    assert liability.redemption_chance(model, 0.0, 90.0, 0.0) == pytest.approx(1 - 0.95**3, abs=0.01)
    # Beyond, the last hazard is carried forward.
    assert liability.redemption_chance(model, 0.0, 360.0, 0.0) == pytest.approx(1 - 0.95**12, abs=0.02)


def test_members_who_hold_much_redeem_more_and_the_model_says_so() -> None:
    rich, poor = planted(0.12, 150), planted(0.01, 150)
    poor["points"] /= 100
    poor["member_id"] += "p"
    poor["lot_id"] += "p"
    model = liability.fitted(lots.counted(pd.concat([rich, poor]), END, 360))
    chance = liability.redemption_chance(model, 0.0, 360.0, np.array([10.0, 5000.0]))
    assert chance == pytest.approx([1 - 0.99**12, 1 - 0.88**12], abs=0.05)


def test_what_is_expected_of_a_simulated_programme_comes_true() -> None:
    """Learn until half a year before the end, and compare with what was redeemed of the lots that were open then."""
    tables = simulate(WORLDS["strong"], members=1500, products=60, days=730, ends_at=END, seed=11)
    entries = tables["points"]
    cut, ahead = END - timedelta(days=180), 180.0
    counts = lots.counted(entries, cut, 365)
    held = lots.open_lots(entries, cut)
    left = held["days_left"].clip(upper=ahead)

    def expected(model: liability.RedemptionModel) -> float:
        chance = liability.redemption_chance(model, held["age_days"], left, held["balance"])
        return float((chance * held["points"]).sum())

    later = entries[(entries["occurred_at"] > cut) & (entries["type"] == "redeem")]
    actual = -later.loc[later["lot_id"].isin(held["lot_id"]), "points"].sum()
    low, high = np.quantile([expected(one) for one in liability.resampled(counts, 100, 5)], [0.025, 0.975])
    assert expected(liability.fitted(counts)) == pytest.approx(actual, rel=0.12)
    assert low * 0.93 < actual < high * 1.07
    assert high / low < 1.3


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 500), st.floats(0, 500), st.floats(0, 500), st.floats(0, 1e5))
def test_a_chance_is_a_chance_and_more_time_never_lowers_it(age: float, left: float, more: float, held: float) -> None:
    model = _MODEL
    short = liability.redemption_chance(model, age, left, held)
    long = liability.redemption_chance(model, age, left + more, held)
    assert 0 <= short <= long + 1e-12 <= 1 + 1e-9


_MODEL = liability.fitted(lots.counted(planted(0.2, 20), END, 360))


def test_nobody_ever_redeemed_and_nothing_is_known_both_expect_nothing() -> None:
    nothing = planted(0.05, 3)[:0]
    assert liability.redemption_chance(liability.fitted(lots.counted(nothing, END, 365)), 0.0, 365.0, 100.0) == 0
    never = planted(0.0, 5)
    assert liability.redemption_chance(liability.fitted(lots.counted(never, END, 360)), 0.0, 360.0, 100.0) == 0


def test_a_decision_reads_the_same_chance_from_the_kept_model() -> None:
    kept, _ = outlook.from_json(outlook.to_json(_MODEL))
    shares = outlook.fresh_shares(kept, 360.0)
    for held in (0.0, 999.0, *_MODEL.edges.tolist(), 1e9):
        assert shares.of(held) == liability.redemption_chance(_MODEL, 0.0, 360.0, held)
    assert shares.of(np.nan) == shares.of(0.0)
    with pytest.raises(ValueError, match="write it again"):
        outlook.from_json(b'{"model": {"edges": [1.0]}}')


def test_the_order_of_rows_says_nothing() -> None:
    rows = planted(0.1, 30)
    one, other = lots.counted(rows, END, 360), lots.counted(rows.sample(frac=1, random_state=1), END, 360)
    np.testing.assert_allclose(one.at_risk, other.at_risk)
    np.testing.assert_allclose(one.redeemed, other.redeemed)


def test_revenue_of_points_follows_what_is_expected_to_be_redeemed() -> None:
    # 100,000 of sales; the points alone would be sold for 9,890.11, so that 9,000 are theirs: s / (100,000 + s).
    allocated = accounting.allocated_to_points(100_000, 100_000 * 9 / 91)
    assert allocated == pytest.approx(9_000, abs=1e-9)
    first = accounting.revenue(allocated, 4_500, 9_700)
    assert round(first) == 4_175
    assert round(accounting.revenue(allocated, 8_500, 9_900, first)) == 3_552
    assert round(accounting.revenue(allocated, 8_500, 9_200, first)) == 4_140
    # Once all that is expected is redeemed, all is revenue, whatever the way there.
    assert accounting.recognised(allocated, 9_900, 9_900) == allocated
    with pytest.raises(ValueError, match="cannot be smaller"):
        accounting.recognised(allocated, 9_000, 8_999)
