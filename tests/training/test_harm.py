from __future__ import annotations

from pathlib import Path

from tests.training.turning import WINDOW, after, programme
from training.effects.harm import Harm, HarmConfig, harms


def by_id(found: tuple[Harm, ...]) -> dict[str, Harm]:
    return {one.candidate_id: one for one in found}


def test_an_effect_that_turned_is_flagged_after_it_turned_and_what_helps_is_not(tmp_path: Path) -> None:
    tables = programme(tmp_path / "tables", effect=-0.6, turns=4)
    found = by_id(harms(tables, after(10), WINDOW))
    assert not found["gift"].flagged
    flagged = found["ten"].flagged_at
    assert flagged is not None and after(4) < flagged <= after(10)
    assert found["ten"].effect < -0.3
    assert not by_id(harms(tables, after(4), WINDOW))["ten"].flagged


def test_what_was_seen_before_a_given_moment_does_not_count(tmp_path: Path) -> None:
    tables = programme(tmp_path / "tables", effect=-0.6, turns=0, windows=8)
    assert by_id(harms(tables, after(8), WINDOW))["ten"].flagged
    assert not by_id(harms(tables, after(8), WINDOW, begins={"ten": after(8)}))["ten"].flagged


def test_looking_every_night_flags_hardly_anything_that_does_nothing(tmp_path: Path) -> None:
    """The highest stake of all nights is compared, so one reading stands for having looked every night."""
    flagged = 0
    for seed in range(12):
        tables = programme(tmp_path / str(seed), effect=0.0, turns=0, windows=6, members=150, seed=seed)
        flagged += any(one.flagged for one in harms(tables, after(6), WINDOW, HarmConfig(error=0.2)))
    assert flagged <= 5


def test_nothing_drawn_says_nothing(tmp_path: Path) -> None:
    assert harms(tmp_path, after(1), WINDOW) == ()
