"""Who accepts or redeems what, and what that says of effects.

One model of the answer for all arms: boosted trees over the member's features and the arm's type, and a shift for each
arm. Who is likelier to answer an arm than others also gains more from it, as far as this is caused:
`τ_a(x) = ρ_a(x) · p_a(x)` with ρ_a(x) = c + β·ranks(x) + c_a, learned by the R-loss
`Σ (Y − m(x) − Σ_a (1{A=a} − π_a) τ_a(x))²` (Nie & Wager 2021), is a second view of effects; it differs between arms for
one and the same member.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from features.learned import from_lightgbm
from features.learned.trees import Trees
from training.effects.config import EffectConfig
from training.effects.inputs import Drawn, Floats, Whole
from training.effects.pseudo import Pseudo, parameters

_CLOSEST = 1e-4
"""No chance of an answer is nearer to 0 or 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The model of the answer, and the second view of effects."""

    trees: Trees
    """Over f features and one column for each of `groups`; the raw sum is a log-odds."""
    groups: tuple[str, ...]
    shift: Floats
    """(k,): added to the log-odds."""
    left_out: Floats
    """(n, k): log-odds of each arm for each row, from other members; column 0 is not used."""
    view: Floats
    """(n, k − 1): ρ·p on members left out."""
    ranks: Floats
    """(f + 1,): β."""
    ratio: Floats
    """(k,): c + c_a."""


def learn_answers(units: Drawn, ranks: Floats, responded: Floats, seen: Pseudo, config: EffectConfig) -> Answers | None:
    """Both from the same units; None where nobody, or everybody, answered.

    Args:
        units: as they were given, without EXPECTED.
        ranks: (n, f + 1), places of features, EXPECTED last.
        responded: (n,), 1 where what was given was accepted or redeemed.
        seen: of the same units.
        config: settings.
    """
    given = units.arm > 0
    if not 0 < responded[given].sum() < given.sum():
        return None
    groups = tuple(sorted(set(units.groups[1:])))
    k = units.chances.shape[1]
    log_odds = np.zeros((len(given), k))
    for each in np.unique(seen.part):
        rest = seen.part == each
        model = _grown(units.rows(given & ~rest), responded[given & ~rest], groups, config)
        log_odds[rest] = _every_arm(model.predict, units.features[rest], units.groups, groups)
    shift = _shifts(log_odds, units.arm, responded, k)
    log_odds += shift
    trees = from_lightgbm(_grown(units.rows(given), responded[given], groups, config).model_to_string())
    chance = chances_of(log_odds[:, 1:])
    view = np.zeros((len(given), k - 1))
    for each in np.unique(seen.part):
        rest = seen.part == each
        beta, ratio = _ratios(units, ranks, chance, seen, ~rest)
        view[rest] = chance[rest] * (ratio[1:] + (ranks[rest] @ beta)[:, None])
    beta, ratio = _ratios(units, ranks, chance, seen, np.ones(len(given), bool))
    return Answers(trees, groups, shift, log_odds, view, beta, ratio)


def chances_of(log_odds: Floats) -> Floats:
    """Log-odds as chances, never quite 0 or 1."""
    found: Floats = np.clip(1.0 / (1.0 + np.exp(-log_odds)), _CLOSEST, 1 - _CLOSEST)
    return found


def calibration(log_odds: Floats, effect: Floats, responded: Floats, arm: Whole, k: int) -> Floats:
    """(k, 4): for each arm the logistic line over 1, log-odds, effect and its square; caused baskets are answers too.

    One line for all units first; each arm's is held to it as if by 25 units. Rows of arms that nobody was given, and
    row 0, are the line of all.

    Args:
        log_odds: (n,), of what each unit was given, from other members.
        effect: (n,), likewise.
        responded: (n,).
        arm: (n,), what each unit was given.
        k: arms, doing nothing included.
    """
    rows = line_rows(log_odds, effect)
    every = _line(rows, responded, 1e-3 * len(rows) * np.array([0.0, 0.01, 0.05, 0.05]), np.array([0.0, 1.0, 0.0, 0.0]))
    hold = _HELD_BY * _USUAL_VARIANCE * np.append(1.0, rows[:, 1:].var(axis=0))
    found = np.tile(every, (k, 1))
    for each in range(1, k):
        if (arm == each).any():
            found[each] = _line(rows[arm == each], responded[arm == each], hold, every)
    return found


_HELD_BY = 25.0
_USUAL_VARIANCE = 0.2
"""Of an answer, which is yes or no."""


def _line(rows: Floats, responded: Floats, hold: Floats, start: Floats) -> Floats:
    """Newton's method; `hold` draws each coefficient to its start."""
    found = start.copy()
    for _ in range(25):
        said = chances_of(rows @ found)
        gradient = rows.T @ (responded - said) - hold * (found - start)
        curve = (rows * (said * (1 - said))[:, None]).T @ rows + np.diag(hold + 1e-9)
        step = np.linalg.solve(curve, gradient)
        found = found + step
        if np.abs(step).max() < 1e-8:
            break
    return found


def line_rows(log_odds: Floats, effect: Floats) -> Floats:
    """(n, 4): what `calibration` is a line over."""
    return np.column_stack([np.ones(len(log_odds)), log_odds, effect, effect**2])


def _grown(units: Drawn, responded: Floats, groups: tuple[str, ...], config: EffectConfig):  # type: ignore[no-untyped-def]  # noqa: ANN202
    import lightgbm

    kind = np.array([[group == each for each in groups] for group in units.groups], np.float64)[units.arm]
    rows = np.hstack([units.features, kind])
    settings = parameters(config, config.leaves, min(config.min_leaf, max(1, len(rows) // 20)))
    data = lightgbm.Dataset(rows, responded)
    return lightgbm.train(settings | {"objective": "binary", "feature_fraction": 1.0}, data, config.trees)


def _every_arm(
    predict: Callable[..., Floats], features: Floats, arm_groups: tuple[str, ...], groups: tuple[str, ...]
) -> Floats:
    """(n, k) log-odds; arms of one group are asked once."""
    by_group = {}
    for number, group in enumerate(groups):
        kind = np.zeros((len(features), len(groups)))
        kind[:, number] = 1.0
        by_group[group] = np.asarray(predict(np.hstack([features, kind]), raw_score=True))
    return np.column_stack([by_group.get(group, np.zeros(len(features))) for group in arm_groups])


def _shifts(log_odds: Floats, arm: Whole, responded: Floats, k: int) -> Floats:
    """One Newton step for each arm, held back as if it had 25 units' worth of answers without a shift."""
    found = np.zeros(k)
    for each in range(1, k):
        rows = arm == each
        said = chances_of(log_odds[rows, each])
        found[each] = (responded[rows] - said).sum() / ((said * (1 - said)).sum() + 25 * 0.1)
    return found


def _ratios(units: Drawn, ranks: Floats, chance: Floats, seen: Pseudo, learn: Floats) -> tuple[Floats, Floats]:
    """β and (k,) c + c_a by weighted ridge."""
    k = units.chances.shape[1]
    got = np.zeros((len(units.arm), k))
    got[np.arange(len(units.arm)), units.arm] = 1.0
    pull = ((got - units.chances)[:, 1:] * chance)[learn]
    common = pull.sum(axis=1, keepdims=True)
    rows = np.hstack([common, pull, common * ranks[learn]])
    weight = seen.certain[learn]
    gram = (rows * weight[:, None]).T @ rows
    left = (rows * weight[:, None]).T @ (units.outcome - seen.expected)[learn]
    sizes = np.diag(gram)
    hold = np.concatenate(
        ([1e-9], np.full(k - 1, 0.3 * sizes[1:k].mean()), np.full(ranks.shape[1], 0.1 * sizes[k:].mean()))
    )
    found = np.linalg.solve(gram + np.diag(hold + 1e-12), left)
    return found[k:], np.concatenate(([0.0], found[0] + found[1:k]))
