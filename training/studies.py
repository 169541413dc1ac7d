"""The study behind a search, in Optuna's journal file: begun, continued after a kill, shared by workers.

A trial fits the recipe with drawn settings on each fold in turn, and stops early where the mean so far is below the
median of the earlier trials at the same fold (one objective only). The recipe's present settings are the first trial,
so that the best is never below them on the same folds.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from typing import IO, Any

import numpy as np

from training.protocols import Split
from training.recipes import RecipeError
from training.search import Between, Range, defaults, kind_of, space
from training.tune import OBJECTIVES, Plan, Tried, TuneError, measure, settings_of

_UNDECIDED = 5
"""So many trials run through before any is stopped early."""
_APART = 10_007
"""Between the seeds of two workers: no sessions of a study come near it."""
_TOLD_EVERY_S = 15.0


def search(
    plan: Plan,
    folds: Sequence[Split],
    journal: Path,
    *,
    resume: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Any:
    """Run the trials that are left of a plan.

    Args:
        plan: What is searched.
        folds: From `training.folds`; each is a step of a trial.
        journal: The study's file.
        resume: Continue the study in the file; otherwise the file must not exist.
        progress: Told a line for each trial that ends here (one worker) or each session.

    Returns:
        The Optuna study; `tried`, `best` and `frontier` read it.

    Raises:
        TuneError: The plan cannot be carried out, or the file holds another study or is in use.
    """
    plan.checked()
    if journal.exists() and not resume:
        raise TuneError(f"{journal}: holds a study already; continue it with --resume, or move it away")
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.with_suffix(".session").open("w") as session:
        try:
            fcntl.flock(session, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as busy:
            raise TuneError(f"{journal}: is being tuned by another process; wait for it, or stop it") from busy
        study = _begun(plan, journal)
        left = plan.trials - len(tried(study, plan))
        if left > 0:
            _run(plan, folds, journal, left, progress)
    return _opened(journal)


def tried(study: Any, plan: Plan) -> list[Tried]:
    """Every finished trial, in order; those that a killed process left behind do not count."""
    return [_tried(trial, plan) for trial in study.trials if _counts(trial)]


def importances(study: Any, plan: Plan) -> dict[str, float]:
    """How much each setting decides about the first objective (PED-ANOVA, Watanabe et al. 2023); empty if unknown."""
    import optuna

    if len([one for one in tried(study, plan) if one.state == "complete"]) < 2 * _UNDECIDED:
        return {}
    lower = -1.0 if OBJECTIVES[plan.objectives[0]] == "maximize" else 1.0  # it asks what makes a target low
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says what the line above does
            found = optuna.importance.get_param_importances(study, target=lambda trial: lower * trial.values[0])
    except (ValueError, RuntimeError):  # all trials alike
        return {}
    return {str(name): float(value) for name, value in found.items()}


def _begun(plan: Plan, journal: Path) -> Any:
    """The study in the file, made if new, with what a killed process left behind queued again."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    fresh = not journal.exists()
    storage = _storage(journal)
    directions = [OBJECTIVES[name] for name in plan.objectives]
    if fresh:
        study = optuna.create_study(study_name=plan.recipe, storage=storage, directions=directions)
        study.set_user_attr("plan", plan.identity())
        study.enqueue_trial(defaults(plan.recipe, plan.settings))
        return study
    study = _opened(journal)
    before, now = study.user_attrs.get("plan", {}), plan.identity()
    if differs := [key for key in now if before.get(key) != _as_json(now[key])]:
        key = differs[0]
        raise TuneError(
            f"{journal}: was begun with {key} {before.get(key)!r}, not {now[key]!r}; give what it was begun with, or "
            "begin another study"
        )
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _run(plan: Plan, folds: Sequence[Split], journal: Path, left: int, progress: Callable[[str], None]) -> None:
    workers = max(1, min(plan.workers, left))
    study = _opened(journal)
    begun = len(study.get_trials(deepcopy=False))
    if workers == 1:
        work(plan, folds, journal, left, plan.seed + begun, progress=progress)
        return
    shares = [left // workers + (number < left % workers) for number in range(workers)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        seeds = [plan.seed + begun + _APART * at for at in range(workers)]
        running = {
            pool.submit(work, plan, folds, journal, share, seed, os.getpid())
            for share, seed in zip(shares, seeds, strict=True)
        }
        while running:
            ended, running = wait(running, timeout=_TOLD_EVERY_S)
            for each in ended:
                each.result()
            progress(f"{len(tried(study, plan))} of {plan.trials} trials")


def work(
    plan: Plan,
    folds: Sequence[Split],
    journal: Path,
    trials: int,
    seed: int,
    parent: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Run some trials of a study in this process; a worker whose `parent` process has gone ends with its trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = _opened(journal)
    study.sampler = _sampler(plan, seed)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_UNDECIDED)

    def told(_study: Any, trial: Any) -> None:
        one = _tried(trial, plan)
        progress(f"trial {one.number}: {one.state} {' '.join(f'{v:.4f}' for v in one.values)} {_short(one.settings)}")
        if parent is not None and os.getppid() != parent:
            study.stop()

    study.optimize(
        lambda trial: _objective(trial, plan, folds),
        n_trials=trials,
        callbacks=[told],
        catch=(RecipeError, MemoryError),
    )


def _objective(trial: Any, plan: Plan, folds: Sequence[Split]) -> tuple[float, ...]:
    import optuna

    drawn = {name: _drawn(trial, plan.recipe, name, given) for name, given in space(plan.recipe).items()}
    figures: dict[str, list[float]] = {}
    for step, fold in enumerate(folds):
        try:
            found = measure(plan, fold, settings_of(plan, drawn))
        except (RecipeError, MemoryError) as error:
            trial.set_user_attr("reason", str(error) or "out of memory")
            raise
        for name, value in found.items():
            figures.setdefault(name, []).append(value)
        trial.set_user_attr("folds", figures)
        if len(plan.objectives) == 1:
            trial.report(float(np.mean(figures[plan.objectives[0]])), step)
            if trial.should_prune() and step + 1 < len(folds):
                raise optuna.TrialPruned
    return tuple(float(np.mean(figures[name])) for name in plan.objectives)


def _drawn(trial: Any, recipe: str, name: str, given: Range) -> Any:
    if not isinstance(given, Between):
        return trial.suggest_categorical(name, list(given.values))
    if kind_of(recipe, name) is int:
        return trial.suggest_int(name, int(given.low), int(given.high), log=given.log)
    return trial.suggest_float(name, given.low, given.high, log=given.log)


def _sampler(plan: Plan, seed: int) -> Any:
    from optuna import samplers

    if plan.sampler == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, plan.trials // 4)))
    return samplers.RandomSampler(seed=seed) if plan.sampler == "random" else samplers.TPESampler(seed=seed)


def _counts(trial: Any) -> bool:
    name = trial.state.name
    return name in {"COMPLETE", "PRUNED"} or (name == "FAIL" and "reason" in trial.user_attrs)


def _tried(trial: Any, plan: Plan) -> Tried:
    folds = {str(name): list(values) for name, values in trial.user_attrs.get("folds", {}).items()}
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    values = tuple(float(np.mean(folds[name])) for name in plan.objectives) if folds and state != "failed" else ()
    return Tried(trial.number, state, dict(trial.params), values, folds, str(trial.user_attrs.get("reason", "")))


def _opened(journal: Path) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=None, storage=_storage(journal))


def _storage(journal: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(journal), lock_obj=_FileLock(journal.with_suffix(".lock"))))


class _FileLock:
    """A lock that the kernel takes away from a killed process (Optuna's own stays behind for 30 seconds)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for it."""
        held = self._path.open("wb")
        fcntl.flock(held, fcntl.LOCK_EX)
        self._held = held
        return True

    def release(self) -> None:
        """Give it back."""
        if self._held is not None:
            self._held.close()
            self._held = None


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _short(settings: Mapping[str, Any]) -> str:
    texts = {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in settings.items()}
    return " ".join(f"{name}={text}" for name, text in texts.items())
