"""What a churn model is worth at a cut-off and a horizon it had not seen, and what each family of features brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.learned.rhythm import NEEDED
from training import churn_peers, metrics
from training.churn import ChurnConfig, Shape, fit, measure
from training.churn_rows import rows_of, slice_of
from training.comparison import paired_auc
from training.frames import Cuts
from training.metrics import Interval

_SMALL = Shape(leaves=6, trees=40, share=0.5)
"""What families are compared with: enough to rank by, in a fraction of the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """How a churn model fared on members and a horizon it had not seen."""

    metrics: Mapping[str, float]
    against_yardstick: Interval
    """Its AUC minus that of the tuned logistic."""
    ablation: pd.DataFrame
    """family, features, auc_change, low, high: what the family brings, as AUC with it minus AUC without it."""
    churned: NDArray[np.bool_]
    chance: NDArray[np.float64]


def report(
    frame: pd.DataFrame,
    cuts: Cuts,
    judged_at: datetime,
    families: Mapping[str, Sequence[str]],
    config: ChurnConfig,
    seed: int,
) -> Report:
    """Fit at `cuts`, and say what it is worth at the later cut-off `judged_at`.

    Args:
        frame: as for `churn.fit`, with rows at `judged_at` too.
        cuts: every label of theirs is known by `judged_at`.
        judged_at: the cut-off whose members and horizon nothing was fitted on.
        families: family → its features; all of them are used.
        config: the model's configuration.
        seed: for trees and resamples.
    """
    names = tuple(name for members in families.values() for name in members)
    later = slice_of(frame, (judged_at,))
    churned = later["churned"].to_numpy(dtype=bool)
    model = fit(frame, cuts, names, config, seed)
    chance = model.probability(rows_of(later, names))
    yardstick = churn_peers.logistic(frame, cuts)(later)
    gap = paired_auc(churned, chance, yardstick, seed, config.resamples)
    measured = measure(churned, chance) | {
        "yardstick_auc": metrics.auc(churned, yardstick),
        "auc_over_yardstick": gap.value,
        "auc_over_yardstick_low": gap.low,
        "auc_over_yardstick_high": gap.high,
        "trees": float(len(model.trees.split_starts) - 1),
        "share_of_trees": model.share,
    }
    without = _ablation(frame, cuts, later, families, config, seed) if config.ablation else pd.DataFrame()
    return Report(measured, gap, without, churned, chance)


def _ablation(
    frame: pd.DataFrame,
    cuts: Cuts,
    later: pd.DataFrame,
    families: Mapping[str, Sequence[str]],
    config: ChurnConfig,
    seed: int,
) -> pd.DataFrame:
    """Each family hidden in turn (all of it missing, in learning and in judging), at the programme's horizon alone."""
    names = tuple(name for members in families.values() for name in members)
    lean = replace(config, other_horizons=0)
    churned = later["churned"].to_numpy(dtype=bool)

    def without(hidden: Sequence[str]) -> NDArray[np.float64]:
        blind = dict.fromkeys(hidden, np.nan)
        kept = tuple(name for name in names if name not in hidden or name in NEEDED)
        model = fit(frame.assign(**blind), cuts, kept, lean, seed, _SMALL)
        return model.probability(rows_of(later.assign(**blind), kept))

    whole = without(())
    gaps = {
        name: paired_auc(churned, whole, without(members), seed, config.resamples) for name, members in families.items()
    }
    columns = ["family", "features", "auc_change", "low", "high"]
    rows = [(name, len(families[name]), gap.value, gap.low, gap.high) for name, gap in gaps.items()]
    return pd.DataFrame(rows, columns=columns).sort_values("auc_change", ascending=False, ignore_index=True)
