"""Learned effects become champion by the rule of the other models: shown to be at most so much worse."""

from __future__ import annotations

import pytest

from experiments.effects_contest import objections_to
from training.metrics import Interval

VALUE, LEVELS = Interval(0.10, 0.05, 0.15), Interval(0.01, -0.01, 0.03)


def _against(low: float, value: float, high: float) -> tuple[str, ...]:
    return objections_to(VALUE, {"levels": LEVELS, "champion": Interval(value, low, high)}, 0.01, 4000)


@pytest.mark.parametrize("gap", [(0.0, 0.0, 0.0), (-0.0009, 0.001, 0.0029), (0.001, 0.004, 0.007)])
def test_what_is_shown_to_be_at_most_a_hundredth_worse_passes(gap: tuple[float, float, float]) -> None:
    assert _against(*gap) == ()


def test_a_better_estimate_alone_does_not_pass_and_it_says_how_many_decisions_would() -> None:
    """The champion is worth 0.08 and may be missed by 0.0008; 0.04 ± 0.02 each side: (0.05 ÷ 0.0208)² × 4000."""
    (said,) = _against(-0.03, 0.02, 0.07)
    assert "not shown to be at most 1% below" in said
    assert "23,114 decisions would show it, 4,000 were read" in said


def test_what_is_worse_is_told_from_what_is_not_known() -> None:
    (said,) = _against(-0.03, -0.02, -0.01)
    assert said.endswith("it is certainly worse")
    (said,) = _against(-0.03, -0.01, 0.01)
    assert said.endswith("the estimate itself is below that")


def test_without_a_champion_only_what_is_certain_counts() -> None:
    assert objections_to(VALUE, {"levels": Interval(-0.02, -0.05, 0.01)}, 0.01, 4000) == ()
    assert len(objections_to(Interval(-0.2, -0.3, -0.1), {"levels": Interval(-0.2, -0.3, -0.1)}, 0.01, 4000)) == 2
