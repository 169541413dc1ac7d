"""What a challenger may not spoil while it improves: coverage, calibration, latency, and features that broke.

Each guard returns what speaks against the challenger, in words; nothing where all is well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from features import drift
from features.entities import Programme
from features.learned import top_k
from training.interactions import Interactions, member_history
from training.recipes import Fitted
from training.settings import GateConfig

_ASKED = 50
"""Members whose lists are timed."""
_MEMBERS = 1000
"""Members at each moment by which features are watched."""


def coverage(mine: float, theirs: float | None, rules: GateConfig) -> Iterator[str]:
    """A recommender must go on naming a share of the products that the champion named."""
    if theirs is not None and not mine >= rules.coverage_share * theirs:
        yield (
            f"its lists hold {mine:.1%} of the products, the champion's {theirs:.1%}: less than "
            f"{rules.coverage_share:.0%} of that"
        )


def calibration(mine: float, theirs: float | None, rules: GateConfig) -> Iterator[str]:
    """Chances may be off by no more than a margin beyond the champion's (expected calibration error)."""
    if theirs is not None and not mine <= theirs + rules.calibration_margin:
        yield (
            f"its chances are off by {mine:.3f} on average, the champion's by {theirs:.3f}: more than the margin of "
            f"{rules.calibration_margin:g} above it"
        )


def milliseconds(before: Interactions, fitted: Fitted, k: int) -> float:
    """What the list of one member takes on this machine as serving asks for it, the median of some; one thread."""
    rows = np.linspace(0, len(before.member_ids) - 1, _ASKED).astype(np.intp)
    took = []
    for row in rows.tolist():
        member = member_history(before, row, fitted.vector(row))
        began = time.perf_counter()
        top_k(fitted.form.score(member, before.seconds), k)
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1e3


def latency(mine: float, rules: GateConfig) -> Iterator[str]:
    """A list must be ready long before a caller gives up."""
    if not mine <= rules.latency_ms:
        yield f"one list takes {mine:.1f} ms, the limit is {rules.latency_ms:g} ms"


def broken_features(
    tables: Path, programme: Programme, names: Sequence[str], learned_at: Sequence[datetime], now: datetime
) -> Iterator[str]:
    """A model must not rest on a feature that broke between the moments it learned at and now."""
    for shift in drift.watch(tables, programme, learned_at, now, most_moments=1, members=_MEMBERS):
        if shift.level == "broken" and shift.feature in names:
            yield f"it rests on {shift.sentence()}; `tessera report` says more"
