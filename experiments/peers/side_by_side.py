"""Ours and theirs on one split: defaults and settings tuned with equal budgets, judged by the same figures.

Everybody works in a process of its own kind with one thread, the same memory and the same limits of time, answers with
ranked lists in Parquet, and is tuned by the same sampler on the same inner fold, the first trial being the defaults.
Every trial and every answer is on disk as it ends (`records`): a run that was interrupted goes on, and `standing` reads
what there is. First all are judged by default, then each is tuned and judged, then both again with further seeds.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.peers import trials
from experiments.peers.environment import Desk
from experiments.peers.records import Answered, Records, Trial
from experiments.peers.trials import Budget, Entrant
from training.evaluation.contest import Terms, contest, novelty_of
from training.evaluation.lists import Asked, Question, judged
from training.interactions import Interactions
from training.protocols import Split

MASKS = {"any product": "any", "new to the member": "new", "bought before": "own"}
TUNED = " (tuned)"


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One split written out for the processes that are asked about it."""

    split: Split
    asked: Sequence[Question]
    k: int
    folder: Path

    @classmethod
    def written(cls, split: Split, terms: Terms, folder: Path, *, first_part: bool = False) -> Task:
        """The split with its questions, in a folder of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        asked = contest(split, {}, replace(terms, draws=2)).questions
        purchases(split.before).to_parquet(folder / "train.parquet", index=False)
        (folder / "split.pickle").write_bytes(pickle.dumps(split))
        return cls(split, asked[:1] if first_part else asked, terms.k, folder)


@dataclass(frozen=True, slots=True)
class Desks:
    """The processes that answer."""

    theirs: Desk
    ours: Desk


def side_by_side(
    split: Split,
    inner: Split,
    entrants: Sequence[Entrant],
    desks: Desks,
    records: Records,
    budget: Budget,
    terms: Terms,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Do what is left of a run: judge everybody by default and tuned (`name (tuned)`), each line on disk as it ends.

    Args:
        split: What everybody is judged on.
        inner: What everybody is tuned on: cut out of `split.before`.
        entrants: From `trials.peer` and `trials.recipe`.
        desks: The processes that fit them.
        records: Held by the caller; what stands there is not done again.
        budget: Of tuning and judging.
        terms: Of the judgement.
        progress: Told a line for each trial and each answer.
    """
    with tempfile.TemporaryDirectory(prefix="tessera-peers-") as folder:
        outer = Task.written(split, terms, Path(folder) / "outer")
        tuning = replace(terms, members=budget.members, seed=budget.seed)
        fold = Task.written(inner, tuning, Path(folder) / "inner", first_part=True)
        run = _Run(outer, fold, desks, records, budget, progress)
        for entrant in entrants:
            run.judge(entrant, entrant.rival.name, entrant.given, budget.seed)
        for entrant in entrants:
            run.tune(entrant)
            run.judge_tuned(entrant, budget.seed)
        for seed in range(budget.seed + 1, budget.seed + budget.seeds):
            for entrant in entrants:
                run.judge(entrant, entrant.rival.name, entrant.given, seed)
                run.judge_tuned(entrant, seed)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    outer: Task
    fold: Task
    desks: Desks
    records: Records
    budget: Budget
    progress: Callable[[str], None]

    def tune(self, entrant: Entrant) -> None:
        """The trials that are left."""
        if not self.budget.trials:
            return

        def measure(settings: Mapping[str, Any], seconds: float) -> tuple[float | None, float, str]:
            began = time.monotonic()
            found, _ = answer(entrant, settings, self.fold, self.desks, self.budget.seed, seconds)
            took = time.monotonic() - began
            if found.skipped:
                return None, took, found.skipped
            return float(np.mean(found.figures[self.fold.asked[0].part]["ndcg"])), took, ""

        trials.run(entrant, self.records, self.budget, measure, self._told)

    def judge_tuned(self, entrant: Entrant, seed: int) -> None:
        """Judge the best settings; without any trial that ran there are none."""
        name = entrant.rival.name
        done = self.records.trials(name)
        if not done:
            return
        best = trials.best(done)
        if best is None:
            line = Answered(name + TUNED, seed, {}, 0.0, reason=f"none of {len(done)} trials ran: {done[-1].reason}")
            if self.records.answers().get((line.title, seed)) != line:
                self.records.add(line)
                self.progress(f"{line.title}: {line.reason}")
            return
        self.judge(entrant, name + TUNED, {**entrant.given, **best.settings}, seed)

    def judge(self, entrant: Entrant, title: str, settings: Mapping[str, Any], seed: int) -> None:
        """Judge settings, if these were not judged before; more trials may have found better ones."""
        before = self.records.answers().get((title, seed))
        if before is not None and before.settings == json.loads(json.dumps(settings)):
            return
        began = time.monotonic()
        found, lists = answer(entrant, settings, self.outer, self.desks, seed, self.budget.entrant_seconds)
        took = time.monotonic() - began
        line = Answered(title, seed, settings, took, reason=found.skipped)
        if lists is not None:
            name = f"{title.replace(' ', '-')}-{seed}.parquet"
            line = replace(line, lists=name, fit_seconds=found.fit_seconds, answer_seconds=found.answer_seconds)
            lists.to_parquet(self.records.lists(line), index=False)
        self.records.add(line)
        self.progress(f"{title}, seed {seed}: {found.skipped or 'judged'} ({took:.0f} s)")

    def _told(self, trial: Trial) -> None:
        said = trial.reason if trial.ndcg is None else f"{trial.ndcg:.4f}"
        self.progress(f"{trial.name}, trial {trial.number + 1} of {self.budget.trials}: {said} ({trial.seconds:.0f} s)")


def answer(
    entrant: Entrant,
    settings: Mapping[str, Any],
    task: Task,
    desks: Desks,
    seed: int,
    seconds: float | None = None,
) -> tuple[Asked, pd.DataFrame | None]:
    """The lists of one entrant, judged by our figures, and as they came; or why it did not run, and None."""
    before, name = task.split.before, entrant.rival.name
    out = task.folder / f"{name}.parquet"
    out.unlink(missing_ok=True)
    request = {
        "peer": name,
        "params": dict(settings),
        "train": str(task.folder / "train.parquet"),
        "split": str(task.folder / "split.pickle"),
        "members": before.counts.shape[0],
        "products": len(sold(before)),
        "asked": {MASKS[question.said]: question.rows.tolist() for question in task.asked},
        "seed": seed,
        "k": task.k,
        "out": str(out),
    }
    said = (desks.ours if entrant.ours else desks.theirs).ask(request, seconds)
    if "reason" in said:
        return Asked({}, {}, skipped=said["reason"]), None
    lists = pd.read_parquet(out)
    if not entrant.ours:
        lists["column"] = sold(before)[lists["column"].to_numpy()]
    return figured(lists, task.split, task.asked, task.k, said["fit_seconds"], said["answer_seconds"]), lists


def figured(
    lists: pd.DataFrame,
    split: Split,
    asked: Sequence[Question],
    k: int,
    fit_seconds: float = float("nan"),
    answer_seconds: float = float("nan"),
) -> Asked:
    """Lists as they came (`mask`, `row`, `rank`, `column`: positions in `split.before`), judged by our figures."""
    found = {question.part: ranked(lists, question, k) for question in asked}
    novelty = novelty_of(split)
    figures = {question.part: judged(found[question.part], question.wanted, novelty) for question in asked}
    return Asked(found, figures, fit_seconds, answer_seconds)


def purchases(before: Interactions) -> pd.DataFrame:
    """What peers read: a row for each pair of member and product, as positions, of products among those sold."""
    found = before.counts.tocoo()
    column = np.searchsorted(sold(before), found.col)
    return pd.DataFrame({"row": found.row, "column": column, "count": found.data, "at": before.last_at.tocoo().data})


def sold(before: Interactions) -> NDArray[np.intp]:
    """Positions of the products that anybody bought: of the others no peer can learn anything."""
    return np.flatnonzero(before.counts.getnnz(axis=0))


def ranked(found: pd.DataFrame, question: Question, k: int) -> NDArray[np.int64]:
    """(n, k): an entrant's lists in the order of the question's members, −1 where a list is shorter."""
    own = found[found["mask"] == MASKS[question.said]]
    own = own[own["row"].isin(question.rows) & (own["rank"] <= k)]
    out = np.full((len(question.rows), k), -1, np.int64)
    out[np.searchsorted(question.rows, own["row"].to_numpy()), own["rank"].to_numpy() - 1] = own["column"].to_numpy()
    return out
