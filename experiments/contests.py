"""Challenger against champion: both fitted again as of one moment, judged on the same members and days after it.

From what was known at that moment, and nothing else: so a champion is never punished for being older, nor a challenger
praised for having seen what it is asked. `experiments.gate` says what follows from a verdict.

A challenger is objected to if
- its primary metric (taste: NDCG@k; churn: AUC) is not shown to be at most 1 % below the champion's: the 95 % interval
  of the paired difference reaches further down. A challenger that is the champion's recipe again equals it and passes;
- taste: it ranks worse than popularity. A challenger that *is* popularity equals it and passes;
- a guardrail is broken (`experiments.guardrails`): taste names far fewer products or takes too long for a list;
  churn's chances are further off, or it rests on a feature that broke since it learned;
- churn: its Brier skill is below the champion's by more than the stated margin, or not above 0 (always saying the base
  rate would be better), or its AUC is not above 0.5;
- lifetime: see `experiments.lifetime_contest`.

Effects of decisions (`response`) predict nothing: what has enough behind it was exported with its interval, and passes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from experiments import guardrails
from features import behavior, history
from features.entities import Programme
from features.workspace import Workspace
from training import churn, frames, metrics, recipes
from training.challengers import Task, churn_config, churn_cuts, churn_frames
from training.churn import ChurnConfig
from training.comparison import paired_auc
from training.evaluate import Judged
from training.evaluate import judge as judge_recipe
from training.ledger import Ledger
from training.metrics import Interval, mean_interval
from training.recipes import Fitted
from training.records import Version
from training.settings import GateConfig, TrainingConfig
from training.split import truth

BASELINE = "popularity"
_CHANCE = 0.5
_OFF = "expected_calibration_error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a challenger, and why."""

    name: str
    challenger: str
    champion: str | None
    cut: datetime | None
    """Both were fitted as of this moment and judged on what followed."""
    figures: Mapping[str, float]
    against: Mapping[str, Interval]
    """Challenger minus `champion`, and minus `popularity`, by the primary metric."""
    objections: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.objections


@dataclass(frozen=True, slots=True)
class Court:
    """Where and by which rules is judged."""

    ws: Workspace
    programme: Programme
    config: TrainingConfig
    at: datetime
    progress: Callable[[str], None] = lambda _: None

    @property
    def present(self) -> datetime:
        """The end of what can be judged by: now, or the end of the history if that is earlier."""
        return min(self.at, history.ends_at(self.ws.tables))


def _judge_taste(court: Court, challenger: Version, champion: Version | None) -> Verdict:
    days, k = int(challenger.config["slice_days"]), int(challenger.config["k"])
    cut = court.present - timedelta(days=days)
    ledger = Ledger.read(court.ws)
    before = ledger.at(cut)
    bought = truth(before, ledger.after(cut, days)).bought

    def fitted(version: Version | None) -> Fitted:
        name = BASELINE if version is None else str(version.config["recipe"])
        court.progress(f"gate: {name} as of {cut:%Y-%m-%d}")
        config = recipes.config_from(name, {} if version is None else version.config["settings"])
        return recipes.fit(name, before, config)

    learned = fitted(challenger)
    mine, popular = (judge_recipe(before, one, bought, k) for one in (learned, fitted(None)))
    theirs = mine if _alike(challenger, champion) else None
    if champion is not None and theirs is None:
        theirs = judge_recipe(before, fitted(champion), bought, k)
    rivals = {BASELINE: popular} | ({} if theirs is None else {"champion": theirs})
    against = {rival: _gap(court, mine, judged) for rival, judged in rivals.items()}
    figures = {
        "ndcg": float(mine.ndcg.mean()),
        "members": float(len(mine.rows)),
        "coverage": mine.coverage,
        "list_ms": guardrails.milliseconds(before, learned, k),
    }
    champions_ndcg = None if theirs is None else float(theirs.ndcg.mean())
    rules = court.config.gate
    objections = (
        *_taste_objections(against, champions_ndcg, rules, f"NDCG@{k}"),
        *guardrails.coverage(mine.coverage, None if theirs is None else theirs.coverage, rules),
        *guardrails.latency(figures["list_ms"], rules),
    )
    return Verdict("taste", challenger.number, champion.number if champion else None, cut, figures, against, objections)


def _alike(one: Version, other: Version | None) -> bool:
    """Whether both are the same recipe with the same settings: fitted again at one cut they are the same arrays."""
    asked = ("recipe", "settings")
    return other is not None and all(one.config[key] == other.config[key] for key in asked)


def _gap(court: Court, mine: Judged, theirs: Judged) -> Interval:
    rng = np.random.default_rng(court.config.seed)
    return mean_interval(mine.ndcg - theirs.ndcg, rng, court.config.gate.resamples)


def _taste_objections(
    against: Mapping[str, Interval], champions: float | None, rules: GateConfig, metric: str
) -> tuple[str, ...]:
    found = [] if champions is None else inferior(against["champion"], champions, rules, metric)
    if not against[BASELINE].value >= 0:
        found.append(f"{metric} is {against[BASELINE].value:+.4f} against popularity: a list of bestsellers is better")
    return tuple(found)


def inferior(gap: Interval, champions: float, rules: GateConfig, metric: str) -> list[str]:
    """What is said unless the whole interval of the difference lies above the share that may be lost."""
    allowed = rules.inferior_share * champions
    if gap.low >= -allowed:
        return []
    told = f"{metric} is {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}] against the champion's {champions:.4f}"
    if gap.high < 0:
        return [f"{told}: certainly below it"]
    return [f"{told}: not shown to be at most {rules.inferior_share:.0%} below it"]


def _judge_churn(court: Court, challenger: Version, champion: Version | None) -> Verdict:
    """Both answer the challenger's question: its horizon, its rule of who has lapsed."""
    asked = TypeAdapter(ChurnConfig).validate_python(challenger.config)
    cut = court.present - timedelta(days=asked.horizon)
    court.progress(f"gate: churn as of {cut:%Y-%m-%d}")
    contest = _Contest.prepare(court, asked, cut)
    mine = contest.chances(challenger)
    gap = None
    figures = churn.measure(contest.churned, mine)
    if champion is not None:
        theirs = contest.chances(champion)
        gap = paired_auc(contest.churned, mine, theirs, court.config.seed, court.config.gate.resamples)
        figures |= {"champion_brier_skill": metrics.brier_skill(contest.churned, theirs)}
        figures |= {"champion_" + name: churn.measure(contest.churned, theirs)[name] for name in ("auc", _OFF)}
    rules, names = court.config.gate, challenger.record["feature_names"]
    objections = (
        *_churn_objections(figures, gap, rules),
        *guardrails.calibration(figures[_OFF], figures.get("champion_" + _OFF), rules),
        *guardrails.broken_features(court.ws.tables, court.programme, names, contest.cuts.every, court.present),
    )
    against = {} if gap is None else {"champion": gap}
    return Verdict("churn", challenger.number, champion.number if champion else None, cut, figures, against, objections)


def _churn_objections(figures: Mapping[str, float], gap: Interval | None, rules: GateConfig) -> tuple[str, ...]:
    auc, skill = figures["auc"], figures["brier_skill"]
    champions_skill = figures.get("champion_brier_skill")
    found = [] if gap is None else inferior(gap, figures["champion_auc"], rules, "AUC")
    if champions_skill is not None and not skill >= champions_skill - rules.brier_margin:
        found.append(
            f"Brier skill {skill:.4f} is more than the margin of {rules.brier_margin:g} below the champion's "
            f"{champions_skill:.4f}"
        )
    if not skill > 0:
        found.append(f"Brier skill {skill:.4f} is not above 0: always saying the base rate is better")
    if not auc > _CHANCE:
        found.append(f"AUC {auc:.4f} is not above 0.5: a coin ranks as well")
    return tuple(found)


@dataclass(frozen=True, slots=True, eq=False)
class _Contest:
    """Members, features and labels that both churn models are fitted and judged on."""

    frame: Any
    cuts: frames.Cuts
    cut: datetime
    asked: ChurnConfig
    known: frozenset[str]

    @staticmethod
    def prepare(court: Court, asked: ChurnConfig, cut: datetime) -> _Contest:
        with tempfile.TemporaryDirectory() as nowhere:
            task = Task(
                court.ws,
                court.programme,
                court.config,
                court.present,
                code="",
                folder=Path(nowhere),
                progress=court.progress,
                features=lambda pairs: behavior.historical(court.ws.tables, pairs, court.programme),
            )
            begins = frames.begins(court.ws.tables)
            cuts = churn_cuts(churn_config(asked, court.programme), begins, cut)
            (frame,) = churn_frames(task, asked, (cuts,), cut)
        return _Contest(frame, cuts, cut, asked, frozenset(behavior.names(court.programme)))

    @property
    def _later(self) -> Any:
        return self.frame[self.frame["at"] == self.cut]

    @property
    def churned(self) -> Any:
        return self._later["churned"].to_numpy(dtype=bool)

    def chances(self, version: Version) -> Any:
        """Fit a version's recipe again at the cut; features that no longer exist are left out."""
        config = replace(
            TypeAdapter(ChurnConfig).validate_python(version.config),
            horizon_days=self.asked.horizon_days,
            max_lapse_days=self.asked.max_lapse_days,
        )
        names = [name for name in version.record["feature_names"] if name in self.known]
        model = churn.fit(self.frame, self.cuts, names, config, int(version.record["seed"]))
        return model.probability(self._later[names].to_numpy(dtype=np.float64))


def _judge_response(court: Court, challenger: Version, champion: Version | None) -> Verdict:  # noqa: ARG001 - one shape
    return Verdict("response", challenger.number, champion.number if champion else None, None, {}, {}, ())


JUDGES: Mapping[str, Callable[[Court, Version, Version | None], Verdict]] = {
    "taste": _judge_taste,
    "churn": _judge_churn,
    "response": _judge_response,
}
