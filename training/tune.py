"""What a search for better settings is and what it finds; `training.studies` runs it (library: Optuna).

`Plan` says what is searched, `measure` what settings are worth on one fold, `best` and `frontier` what came out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from training import metrics
from training.evaluation.contest import configured, novelty_of
from training.evaluation.lists import ask, questions
from training.protocols import Split
from training.recipes import RecipeError
from training.search import space

Direction = Literal["maximize", "minimize"]
OBJECTIVES: Mapping[str, Direction] = {
    "ndcg": "maximize",
    "recall": "maximize",
    "map": "maximize",
    "mrr": "maximize",
    "hit_rate": "maximize",
    "novelty": "maximize",
    "coverage": "maximize",
    "seconds": "minimize",
}
"""What may be searched for. `seconds` is the processor time of a fit, and so the only one that chance decides too."""
SAMPLERS = ("tpe", "nsga2", "random")


class TuneError(ValueError):
    """A search that cannot be carried out; the text names the value, the rule and the way out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One search. Two plans that differ in anything but `trials` and `workers` are not the same study."""

    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe's present settings; those without a range stay as they are."""
    objectives: tuple[str, ...] = ("ndcg",)
    trials: int = 30
    workers: int = 1
    sampler: str = "tpe"
    k: int = 10
    only_new: bool = False
    """Judge discovery alone."""
    members: int = 5_000
    """Of more members in a fold a sample is judged."""
    seed: int = 0
    data: str = ""
    """What the folds were made of, so that a study is never continued on another history."""

    def checked(self) -> Plan:
        """This plan.

        Raises:
            TuneError: An objective or the sampler is unknown, or there is nothing to search.
        """
        for name in self.objectives:
            if name not in OBJECTIVES:
                raise TuneError(f'objective "{name}" is unknown; use some of {", ".join(OBJECTIVES)}')
        if len(set(self.objectives)) < max(1, len(self.objectives)) or not self.objectives:
            raise TuneError(f"objectives {','.join(self.objectives)!r}: name each once, for example ndcg,seconds")
        if self.sampler not in SAMPLERS:
            raise TuneError(f'sampler "{self.sampler}" is unknown; use one of {", ".join(SAMPLERS)}')
        if not space(self.recipe):
            raise TuneError(f'recipe "{self.recipe}" has no setting that can be searched; give it a SEARCH mapping')
        return self

    def identity(self) -> dict[str, Any]:
        """What makes the study, as JSON."""
        return {key: value for key, value in asdict(self).items() if key not in {"trials", "workers"}} | {
            "objectives": list(self.objectives)
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """One finished trial."""

    number: int
    state: str
    """complete, pruned (stopped early) or failed."""
    settings: Mapping[str, Any]
    values: tuple[float, ...]
    """One for each objective, the mean of the folds; of those that were run, if pruned; empty if it failed."""
    folds: Mapping[str, Sequence[float]]
    """Figure → its value in each fold that was run."""
    reason: str = ""


def best(found: Sequence[Tried], plan: Plan) -> Tried:
    """The complete trial with the best first objective; of equals the first.

    Raises:
        TuneError: No trial was completed; the text holds the reason of the last one.
    """
    done = [one for one in found if one.state == "complete"]
    if not done:
        raise TuneError(f"{plan.recipe}: no trial was completed: {found[-1].reason if found else 'none was run'}")
    sign = 1.0 if OBJECTIVES[plan.objectives[0]] == "maximize" else -1.0
    return max(done, key=lambda one: (sign * one.values[0], -one.number))


def frontier(found: Sequence[Tried], plan: Plan) -> list[Tried]:
    """The complete trials that no other beats in one objective without losing in another, the best first."""
    signs = np.array([1.0 if OBJECTIVES[name] == "maximize" else -1.0 for name in plan.objectives])
    done = [one for one in found if one.state == "complete"]
    values = np.array([one.values for one in done]).reshape(len(done), len(signs)) * signs
    beaten = [bool(((values >= own).all(axis=1) & (values > own).any(axis=1)).any()) for own in values]
    left = [one for one, lost in zip(done, beaten, strict=True) if not lost]
    return sorted(left, key=lambda one: -signs[0] * one.values[0])


def settings_of(plan: Plan, params: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's present settings with those that a trial drew."""
    return {**plan.settings, **params}


def measure(plan: Plan, fold: Split, settings: Mapping[str, Any]) -> dict[str, float]:
    """Every figure of `OBJECTIVES` on one fold.

    Raises:
        RecipeError: The recipe cannot be fitted with these settings.
    """
    rows = np.flatnonzero((fold.explore() if plan.only_new else fold.bought).getnnz(axis=1))
    if len(rows) > plan.members:
        rows = np.sort(np.random.default_rng(plan.seed).choice(rows, plan.members, replace=False))
    asked = questions(fold, ("explore" if plan.only_new else "all",), rows, unseen_only=fold.unseen_only)
    config = configured(plan.recipe, settings, plan.seed, fold.inner)
    answer, _ = ask(fold, plan.recipe, config, asked, plan.k, novelty_of(fold))
    if answer.skipped:
        raise RecipeError(answer.skipped)
    part = asked[0].part
    found = {name: float(np.nanmean(answer.figures[part][name])) for name in OBJECTIVES if name in answer.figures[part]}
    covered = metrics.coverage(answer.lists[part], len(fold.before.product_ids))
    return found | {"coverage": covered, "seconds": answer.fit_seconds}
