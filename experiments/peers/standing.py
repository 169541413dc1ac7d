"""How a side by side stands, from its records alone: who was judged, with how many trials and seeds, who was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiments.peers import trials
from experiments.peers.records import Answered, Records, RecordsError, Session, Trial
from experiments.peers.side_by_side import TUNED, figured
from training.evaluation.contest import Evaluation, Terms, contest
from training.evaluation.lists import Asked, Question
from training.metrics import Values
from training.protocols import Split


@dataclass(frozen=True, slots=True)
class State:
    """One entrant, by default or tuned."""

    title: str
    trials: int
    """Finished ones; 0 for defaults."""
    wanted: int
    failed: int
    """Of the trials, those that did not run (an error, or the limit of time)."""
    best: float | None
    """The highest NDCG on the inner fold."""
    tuning_seconds: float
    """By the clock on the wall."""
    seeds: tuple[int, ...]
    """With which it was judged."""
    judging_seconds: float
    """By the clock on the wall, of all seeds together."""
    said: str
    """judged; did not run: why; or not yet."""


def last(records: Records) -> Session:
    """The last call of the run.

    Raises:
        RecordsError: There are no records.
    """
    found = records.sessions()
    if not found:
        raise RecordsError(f"{records.folder}: no run was begun here; name its folder with --out")
    return found[-1]


def states(records: Records) -> list[State]:
    """Everybody the last call asked for, by default and tuned, in its order."""
    session, answers = last(records), records.answers()
    found = []
    for name in session.entrants:
        done = records.trials(name)
        for title, tried in ((name, None), (name + TUNED, done)):
            if tried is None or session.trials:
                given = [answers[title, seed] for seed in session.seeds if (title, seed) in answers]
                found.append(_state(title, tried, given, session.trials))
    return found


def evaluation(records: Records, split: Split, terms: Terms) -> Evaluation:
    """What has been judged so far, as `training.evaluation.contest` tells it.

    Figures of an entrant judged with several seeds are each member's mean over them, its lists those of the first;
    intervals are over members alone. Popularity is always among them.

    Args:
        records: Of the run.
        split: What it judged on, cut again.
        terms: As it judged.
    """
    session, answers = last(records), records.answers()
    asked = contest(split, {}, replace(terms, draws=2)).questions
    others = {}
    for state in states(records):
        given = [answers[state.title, seed] for seed in session.seeds if (state.title, seed) in answers]
        if state.said != "judged":
            others[state.title] = Asked({}, {}, skipped=state.said)
        else:
            others[state.title] = _mean([_judged(records, one, split, asked, terms) for one in given if not one.reason])
    return contest(split, {}, terms, others=others)


def _state(title: str, tried: Sequence[Trial] | None, given: Sequence[Answered], wanted: int) -> State:
    ran = [one for one in given if not one.reason]
    said = "judged" if ran else f"did not run: {given[0].reason}" if given else "not yet"
    best = trials.best(tried or ())
    return State(
        title=title,
        trials=len(tried or ()),
        wanted=0 if tried is None else wanted,
        failed=sum(each.ndcg is None for each in tried or ()),
        best=best.ndcg if best else None,
        tuning_seconds=sum(each.seconds for each in tried or ()),
        seeds=tuple(one.seed for one in ran),
        judging_seconds=sum(one.seconds for one in given),
        said=said,
    )


def _judged(records: Records, one: Answered, split: Split, asked: Sequence[Question], terms: Terms) -> Asked:
    lists = pd.read_parquet(records.lists(one))
    nothing = float("nan")
    return figured(lists, split, asked, terms.k, one.fit_seconds or nothing, one.answer_seconds or nothing)


def _mean(found: Sequence[Asked]) -> Asked:
    first = found[0]
    figures: Mapping[str, Mapping[str, Values]] = {
        part: {name: np.mean([one.figures[part][name] for one in found], axis=0) for name in values}
        for part, values in first.figures.items()
    }
    fit, listed = (np.mean([(one.fit_seconds, one.answer_seconds) for one in found], axis=0)).tolist()
    return Asked(first.lists, figures, fit, listed)
