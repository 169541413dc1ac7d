"""Effects, challenger against champion: both learned again on the older decisions, read on the youngest.

A challenger is objected to if choosing by it is not shown to be at most the allowed share worse than choosing by the
champion; without a champion, if it is surely worse than the mean effects it started from, or than doing nothing.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic import TypeAdapter

from experiments.contests import Court, Verdict
from features import behavior
from training.challengers import Task
from training.effects.challenger import read
from training.effects.config import EffectConfig
from training.effects.judging import Judged, judged
from training.metrics import Interval
from training.records import Version


def judge_effects(court: Court, challenger: Version, champion: Version | None) -> Verdict:
    """Judge on the decisions that the challenger's own settings hold back."""
    names = behavior.names(court.programme)
    mine_config = _config(challenger)
    with tempfile.TemporaryDirectory() as nowhere:
        task = Task(
            court.ws, court.programme, court.config, court.present, "", Path(nowhere), court.progress,
            lambda pairs: behavior.historical(court.ws.tables, pairs, court.programme),
        )  # fmt: skip
        court.progress("gate: effects on the youngest decisions")
        found = read(task, names)
    mine = judged(found, names, mine_config)
    number = champion.number if champion else None
    if mine is None:
        return Verdict("effects", challenger.number, number, None, {}, {}, ())
    against = {"levels": mine.without_differences}
    if champion is not None:
        theirs = mine if _config(champion) == mine_config else judged(found, names, _config(champion))
        if theirs is not None:
            against["champion"] = mine.gap(theirs)
    objections = objections_to(mine.value, against, court.config.gate.inferior_share, len(mine.later.units.arm))
    return Verdict("effects", challenger.number, number, None, _figures(mine), against, objections)


def _config(version: Version) -> EffectConfig:
    found: EffectConfig = TypeAdapter(EffectConfig).validate_python(version.config)
    return found


def _figures(mine: Judged) -> dict[str, float]:
    value = mine.value
    said = {"policy_value": value.value, "policy_value_low": value.low, "policy_value_high": value.high}
    error = mine.response_error
    return said | ({} if error != error else {"response_calibration_error": error})


def objections_to(value: Interval, against: dict[str, Interval], share: float, decisions: int) -> tuple[str, ...]:
    """Why it may not serve: the rule of the other models, on what choosing by it gains over doing nothing.

    Args:
        value: of the challenger, in baskets a decision.
        against: paired differences to `levels`, and to `champion` where there is one.
        share: of the champion's value that may be lost at worst.
        decisions: that it was read on; so many more would have to be drawn to show what these cannot.
    """
    found = []
    if value.high < 0:
        found.append(f"choosing by it gains {_told(value)} baskets a decision: doing nothing is certainly better")
    if against["levels"].high < 0:
        found.append(f"choosing by it gains {_told(against['levels'])} over mean effects: certainly worse")
    gap = against.get("champion")
    if gap is not None:
        allowed = share * max(value.value - gap.value, 0.0)
        if gap.low < -allowed:
            found.append(_not_shown(gap, allowed, share, decisions))
    return tuple(found)


def _not_shown(gap: Interval, allowed: float, share: float, decisions: int) -> str:
    said = f"choosing by it gains {_told(gap)} over the champion: not shown to be at most {share:.0%} below"
    if gap.high < -allowed:
        return f"{said}, it is certainly worse"
    room, half = gap.value + allowed, gap.value - gap.low
    if room <= 0:
        return f"{said}, and the estimate itself is below that"
    needed = decisions * (half / room) ** 2
    return f"{said}; at this difference {needed:,.0f} decisions would show it, {decisions:,} were read"


def _told(one: Interval) -> str:
    return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
