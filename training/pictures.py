"""Pictures of probabilities, for people; those of rankings are drawn by `training.evaluate`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BINS = 10


def calibration_picture(churned: NDArray[np.bool_], chance: NDArray[np.float64], path: Path) -> Path:
    """Said against happened in ten groups of equal size, with 95 % intervals, above how often each was said."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    said, happened, error = reliability(churned, chance)
    figure = Figure(figsize=(5.5, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    upper.errorbar(said, happened, yerr=error, fmt="o", color="#5b8bb0", ecolor="#333333", capsize=3)
    upper.set(ylabel="share that churned", ylim=(0, 1), title=f"Churn, {len(chance):,} members, 95 % intervals")
    lower.hist(chance, bins=30, range=(0, 1), color="#5b8bb0")
    lower.set(xlabel="probability said", ylabel="members", xlim=(0, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def reliability(
    churned: NDArray[np.bool_], chance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability, share that churned and half the width of its interval, for groups of members by probability."""
    groups = [group for group in np.array_split(np.argsort(chance, kind="stable"), _BINS) if len(group)]
    said = np.array([chance[group].mean() for group in groups])
    happened = np.array([churned[group].mean() for group in groups])
    size = np.array([len(group) for group in groups])
    return said, happened, 1.96 * np.sqrt(happened * (1 - happened) / size)
