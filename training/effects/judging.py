"""What learned effects are worth on decisions that came after those they were learned from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from features.learned.effects import Effects
from training.effects import inputs
from training.effects.config import EffectConfig
from training.effects.inputs import Floats, Whole
from training.effects.learner import NothingToCompareError, learn
from training.effects.pseudo import Pseudo, pseudo
from training.effects.reading import by_quantile, gain, mean, policy_value
from training.effects.units import Found
from training.metrics import Interval

_BINS = 10
_TARGETED = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Effects learned on the older decisions, read on the younger ones."""

    later: Found
    seen: Pseudo
    """Of the later decisions, with outcomes to expect learned among themselves."""
    model: Effects
    effect: Floats
    """(n, k − 1), of the later decisions."""
    response: Floats
    """(n, k − 1)"""

    @property
    def choice(self) -> Whole:
        """(n,): the arm with the highest effect above 0 among those that were possible; 0 is doing nothing."""
        return chosen(self.effect, self.seen)

    @property
    def value(self) -> Interval:
        """Baskets a decision gains by choosing so, over doing nothing; doubly robust."""
        return policy_value(self.seen.said, self.choice, self.later.units.member)

    def gap(self, other: Judged) -> Interval:
        """By how much this choice is better, on the same decisions."""
        return paired(self.seen, self.choice, other.choice, self.later.units.member)

    @property
    def without_differences(self) -> Interval:
        """The gain over choosing the best arm on average for everybody."""
        return paired(self.seen, self.choice, chosen(self.levels, self.seen), self.later.units.member)

    @property
    def level_value(self) -> Interval:
        """What choosing the best arm on average for everybody gains over doing nothing."""
        return policy_value(self.seen.said, chosen(self.levels, self.seen), self.later.units.member)

    @property
    def curves(self) -> pd.DataFrame:
        """A row for each arm that was drawn: Qini, and the gain at 30 % treated, against doing nothing."""
        units, rows = self.later.units, []
        for column in range(self.effect.shape[1]):
            two = (self.seen.weight[:, column] > 0) & ((units.arm == 0) | (units.arm == column + 1))
            treated = units.arm[two] == column + 1
            if treated.any() and not treated.all():
                pair = units.chances[two][:, [0, column + 1]]
                curve = gain(self.effect[two, column], treated, units.outcome[two], pair[:, 1] / pair.sum(axis=1))
                rows.append(
                    (self.later.arms[column + 1], int(treated.sum()), curve.qini, curve.at(_TARGETED), curve.at(1.0))
                )
        return pd.DataFrame(rows, columns=["candidate", "n", "qini", "gain_30_percent", "gain_all"])

    @property
    def levels(self) -> Floats:
        """(n, k − 1): every arm's mean effect, the same for all."""
        return np.tile(self.effect.mean(axis=0), (len(self.effect), 1))

    @property
    def calibration(self) -> pd.DataFrame:
        """Predicted against observed effect of what was possible, in fifths."""
        unit, arm = np.nonzero(self.seen.weight)
        return by_quantile(self.effect[unit, arm], self.seen.said[unit, arm], self.later.units.member[unit])

    @property
    def response_error(self) -> float:
        """Expected calibration error of the chance of an answer, over what was given; NaN where none is said."""
        given = np.flatnonzero(self.later.units.arm > 0)
        said = self.response[given, self.later.units.arm[given] - 1]
        if not len(said) or np.isnan(said).any():
            return float("nan")
        parts = np.array_split(np.argsort(said, kind="stable"), _BINS)
        answered = self.later.responded[given]
        return float(sum(len(part) * abs(said[part].mean() - answered[part].mean()) for part in parts) / len(said))


def chosen(effect: Floats, seen: Pseudo) -> Whole:
    """(n,): the highest effect above 0 among the possible; 0 is doing nothing."""
    open_ = np.where(seen.weight > 0, effect, -np.inf)
    best = open_.argmax(axis=1)
    found: Whole = np.where(open_[np.arange(len(best)), best] > 0, best + 1, 0)
    return found


def paired(seen: Pseudo, one: Whole, other: Whole, member: Whole) -> Interval:
    """Difference of two choices on the same decisions."""
    full = np.concatenate((np.zeros((len(one), 1)), seen.said), axis=1)
    rows = np.arange(len(one))
    return mean(full[rows, one] - full[rows, other], member)


def judged(found: Found, names: tuple[str, ...], config: EffectConfig) -> Judged | None:
    """Learn on the older decisions and read on the rest; None where either side has too few.

    No member's reward window reaches over the cut: decisions inside the last window before it are left out, as far as
    `found` says when windows end is for the caller to see to.
    """
    cut = float(np.quantile(found.at_us, 1 - config.judged_share))
    older, later = found.rows(found.at_us < cut), found.rows(found.at_us >= cut)
    if min(len(older.units.arm), len(later.units.arm)) < config.enough:
        return None
    try:
        model, _ = learn(older.units, names, found.arms, config, older.responded)
    except NothingToCompareError:
        return None
    member = np.unique(later.units.member, return_inverse=True)[1].astype(np.int64)
    units = inputs.Drawn(
        later.units.features, later.units.arm, later.units.chances, later.units.outcome, member, later.units.groups
    )
    seen = pseudo(units, inputs.parts(member, config.folds, config.seed), config)
    told = model.everything(units.features)
    k = model.known
    kept = Found(units, later.responded, later.at_us, later.arms)
    return Judged(kept, seen, model, told.effect[:, 1:k], told.response[:, 1:k])
