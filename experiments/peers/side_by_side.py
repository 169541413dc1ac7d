"""Ours and theirs on one split: defaults and settings tuned with equal budgets, judged by the same figures.

Everybody is tuned with the same number of trials of the same sampler on the same inner fold, the first trial being the
defaults. Peers answer with ranked lists in Parquet; lists of ours and of theirs go through the same code.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.peers.environment import Desk
from experiments.peers.rivals import RIVALS, Rival
from training import studies, tune
from training.evaluation.contest import Evaluation, Terms, contest, entered, novelty_of
from training.evaluation.lists import Asked, Question, judged
from training.interactions import Interactions
from training.protocols import Split
from training.search import Between

_MASKS = {"any product": "any", "new to the member": "new", "bought before": "own"}


@dataclass(frozen=True, slots=True)
class Budget:
    """How everybody is tuned."""

    trials: int = 10
    """Of each; 0 for defaults alone."""
    members: int = 2_000
    """Of more members in the inner fold a sample is judged."""
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SideBySide:
    """What came out."""

    evaluation: Evaluation
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Entrant → the settings it was judged with."""


def side_by_side(
    split: Split,
    inner: Split,
    ours: Mapping[str, Mapping[str, Any]],
    theirs: Sequence[str],
    peers: Desk,
    budget: Budget,
    terms: Terms,
    progress: Callable[[str], None] = lambda _: None,
) -> SideBySide:
    """Judge recipes and peers, by default and tuned (`name (tuned)`); a peer that fails stands there as not run.

    Args:
        split: What everybody is judged on.
        inner: What everybody is tuned on: cut out of `split.before`.
        ours: Recipe → settings that count as its defaults.
        theirs: Names in `RIVALS`.
        peers: The process that fits them.
        budget: Of the tuning.
        terms: Of the judgement.
        progress: Told what is being done.
    """
    used: dict[str, Mapping[str, Any]] = {}
    answers: dict[str, Asked] = {}
    with tempfile.TemporaryDirectory(prefix="tessera-peers-") as folder:
        place = Path(folder)
        asked = contest(split, {}, replace(terms, draws=2)).questions
        for name in theirs:
            for title, settings in _of_peer(name, inner, peers, budget, terms, place, progress):
                progress(title)
                used[title] = settings
                answers[title] = answer(RIVALS[name], settings, split, asked, peers, budget.seed, terms.k, place)
        entrants: dict[str, tuple[str, Mapping[str, Any]]] = {}
        for name, given in ours.items():
            entrants[name] = name, given
            if budget.trials:
                entrants[f"{name} (tuned)"] = name, _tuned_recipe(name, given, inner, budget, terms, place, progress)
        used |= {title: settings for title, (_, settings) in entrants.items()}
        found = contest(split, entered(entrants), terms, others=answers, progress=progress)
    return SideBySide(found, used)


def answer(
    rival: Rival,
    settings: Mapping[str, Any],
    split: Split,
    asked: Sequence[Question],
    peers: Desk,
    seed: int,
    k: int,
    place: Path,
) -> Asked:
    """The lists of one peer, judged by our figures; or `did not run` and why."""
    train, out = place / "train.parquet", place / f"{rival.name}.parquet"
    purchases(split.before).to_parquet(train, index=False)
    request = {
        "peer": rival.name,
        "params": dict(settings),
        "train": str(train),
        "members": split.before.counts.shape[0],
        "products": len(sold(split.before)),
        "asked": {_MASKS[question.said]: question.rows.tolist() for question in asked},
        "seed": seed,
        "k": k,
        "out": str(out),
    }
    said = peers.ask(request)
    if "reason" in said:
        return Asked({}, {}, skipped=f"did not run: {said['reason']}")
    found = pd.read_parquet(out)
    found["column"] = sold(split.before)[found["column"].to_numpy()]
    lists = {question.part: ranked(found, question, k) for question in asked}
    novelty = novelty_of(split)
    figures = {question.part: judged(lists[question.part], question.wanted, novelty) for question in asked}
    return Asked(lists, figures, said["fit_seconds"], said["answer_seconds"])


def purchases(before: Interactions) -> pd.DataFrame:
    """What peers read: a row for each pair of member and product, as positions, of products among those sold."""
    found = before.counts.tocoo()
    column = np.searchsorted(sold(before), found.col)
    return pd.DataFrame({"row": found.row, "column": column, "count": found.data, "at": before.last_at.tocoo().data})


def sold(before: Interactions) -> NDArray[np.intp]:
    """Positions of the products that anybody bought: of the others no peer can learn anything."""
    return np.flatnonzero(before.counts.getnnz(axis=0))


def ranked(found: pd.DataFrame, question: Question, k: int) -> NDArray[np.int64]:
    """(n, k): a peer's lists in the order of the question's members, −1 where a list is shorter."""
    own = found[found["mask"] == _MASKS[question.said]]
    own = own[own["row"].isin(question.rows) & (own["rank"] <= k)]
    out = np.full((len(question.rows), k), -1, np.int64)
    out[np.searchsorted(question.rows, own["row"].to_numpy()), own["rank"].to_numpy() - 1] = own["column"].to_numpy()
    return out


def _of_peer(
    name: str,
    inner: Split,
    peers: Desk,
    budget: Budget,
    terms: Terms,
    place: Path,
    progress: Callable[[str], None],
) -> list[tuple[str, Mapping[str, Any]]]:
    """The peer by default and tuned."""
    rival = RIVALS[name]
    if not budget.trials:
        return [(name, rival.defaults)]
    progress(f"{name}: {budget.trials} trials")
    return [(name, rival.defaults), (f"{name} (tuned)", _tuned_peer(rival, inner, peers, budget, terms, place))]


def _tuned_peer(
    rival: Rival, inner: Split, peers: Desk, budget: Budget, terms: Terms, place: Path
) -> Mapping[str, Any]:
    """The settings with the best NDCG on the inner fold; the defaults where no trial ran."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    on_fold = replace(terms, members=budget.members, draws=2, seed=budget.seed)
    asked = contest(inner, {}, on_fold).questions[:1]

    def objective(trial: Any) -> float:
        settings = {name: _drawn(trial, rival, name) for name in rival.space}
        found = answer(rival, settings, inner, asked, peers, budget.seed, terms.k, place)
        if found.skipped:
            raise optuna.TrialPruned
        return float(np.mean(found.figures[asked[0].part]["ndcg"]))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=budget.seed))
    study.enqueue_trial(dict(rival.defaults))
    with np.errstate(all="ignore"):
        study.optimize(objective, n_trials=budget.trials)
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    return dict(max(done, key=lambda trial: trial.value).params) if done else rival.defaults


def _drawn(trial: Any, rival: Rival, name: str) -> Any:
    given = rival.space[name]
    if not isinstance(given, Between):
        return trial.suggest_categorical(name, list(given.values))
    if name in rival.whole:
        return trial.suggest_int(name, int(given.low), int(given.high), log=given.log)
    return trial.suggest_float(name, given.low, given.high, log=given.log)


def _tuned_recipe(
    name: str,
    given: Mapping[str, Any],
    inner: Split,
    budget: Budget,
    terms: Terms,
    place: Path,
    progress: Callable[[str], None],
) -> Mapping[str, Any]:
    """As `_tuned_peer`, for one of ours."""
    progress(f"{name}: {budget.trials} trials")
    plan = tune.Plan(
        name,
        settings=given,
        trials=budget.trials,
        k=terms.k,
        only_new=terms.only_new,
        members=budget.members,
        seed=budget.seed,
    )
    study = studies.search(plan, [inner], place / f"{name}.journal")
    try:
        return tune.settings_of(plan, tune.best(studies.tried(study, plan), plan).settings)
    except tune.TuneError:  # no trial ran: the contest says why
        return given
