"""Searching the settings of one entrant, theirs or ours: the same sampler, the same number of trials, the same time.

The sampler is seeded anew for each trial from the run's seed and the trial's number, and sees the trials before it, so
that a run that was interrupted draws what it would have drawn. Library: Optuna (TPE, Bergstra et al. 2011).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.peers.records import Records, Trial
from experiments.peers.rivals import RIVALS, Rival
from training import recipes, search
from training.search import Between, Range

_BY_LOT = 5
"""So many trials are drawn without looking at the earlier ones."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How everybody is tuned and judged."""

    trials: int = 15
    """Of each; 0 for defaults alone."""
    members: int = 2_000
    """Of more members in the inner fold a sample is judged."""
    seed: int = 0
    seeds: int = 1
    """So many seeds, from `seed` on, with which default and tuned settings are judged; tuning has the first alone."""
    trial_seconds: float = 120.0
    """By the clock on the wall; a trial that takes longer did not run."""
    entrant_seconds: float = 600.0
    """The trials of each together; one fit to be judged may take as long."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One of theirs or ours."""

    rival: Rival
    ours: bool
    given: Mapping[str, Any]
    """What it is judged with by default, and what stays under the settings that are drawn."""


Measure = Callable[[Mapping[str, Any], float], tuple[float | None, float, str]]
"""Settings and seconds at most → NDCG on the inner fold (None if it did not run), seconds taken, why not."""


def peer(name: str) -> Entrant:
    """One of `RIVALS`."""
    return Entrant(RIVALS[name], ours=False, given=RIVALS[name].defaults)


def recipe(name: str, given: Mapping[str, Any]) -> Entrant:
    """One of our recipes; what may be tried is what `tessera tune` tries."""
    space = search.space(name)
    whole = frozenset(each for each in space if search.kind_of(name, each) is int)
    recipes.config_from(name, given)
    return Entrant(Rival(name, search.defaults(name, given), space, whole), ours=True, given=given)


def run(entrant: Entrant, records: Records, budget: Budget, measure: Measure, told: Callable[[Trial], None]) -> None:
    """Make the trials that are left, each on disk when it ends.

    Args:
        entrant: Whose settings are searched.
        records: Where earlier trials stand and new ones go.
        budget: Trials and seconds; seconds of an earlier call count.
        measure: Tries settings.
        told: Of each trial.
    """
    name, space = entrant.rival.name, entrant.rival.space
    done = records.trials(name)
    while len(done) < budget.trials and space:
        left = budget.entrant_seconds - sum(each.seconds for each in done)
        if left <= 0:
            return
        drawn = next_settings(entrant.rival, done, budget.seed)
        ndcg, seconds, reason = measure({**entrant.given, **drawn}, min(left, budget.trial_seconds))
        trial = Trial(name, len(done), drawn, ndcg, seconds, budget.seed, reason)
        records.add(trial)
        told(trial)
        done.append(trial)


def next_settings(rival: Rival, done: Sequence[Trial], seed: int) -> dict[str, Any]:
    """What the next trial tries, given those before it: first the defaults. Trials that did not run count as worst."""
    import optuna

    if not done:
        return dict(rival.defaults)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.TPESampler(seed=seed * 10_007 + len(done), n_startup_trials=_BY_LOT)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    ranges = {name: _distribution(given, whole=name in rival.whole) for name, given in rival.space.items()}
    states = optuna.trial.TrialState
    for each in done:
        state = states.PRUNED if each.ndcg is None else states.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=state, value=each.ndcg, params=dict(each.settings), distributions=dict(ranges)
            )
        )
    return dict(study.ask(ranges).params)


def best(done: Sequence[Trial]) -> Trial | None:
    """The trial with the highest NDCG, of equals the first; None if none ran."""
    ran = [each for each in done if each.ndcg is not None]
    return max(ran, key=lambda each: (each.ndcg, -each.number)) if ran else None


def _distribution(given: Range, *, whole: bool) -> Any:
    import optuna

    if not isinstance(given, Between):
        return optuna.distributions.CategoricalDistribution(list(given.values))
    if whole:
        return optuna.distributions.IntDistribution(int(given.low), int(given.high), log=given.log)
    return optuna.distributions.FloatDistribution(given.low, given.high, log=given.log)
