"""The gate: a challenger becomes champion if nothing speaks against it, or if somebody says why it should all the same.

What speaks against it is said in `experiments.contests`. Every verdict and every reason is written into the version's
tags.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from experiments import contests
from experiments.contests import Court, Verdict
from experiments.effects_contest import judge_effects
from experiments.lifetime_contest import judge_lifetime
from features.learned import ProductForm, golden, load
from features.learned.churn import load_churn
from features.learned.effects import Effects
from features.learned.effects_golden import check_effects
from features.learned.lifetime import load_lifetime
from features.learned.lifetime_golden import check_lifetime
from features.workspace import Workspace
from training import registry, vectors
from training.records import Version

JUDGES = {**contests.JUDGES, "lifetime": judge_lifetime, "effects": judge_effects}


class GateError(ValueError):
    """A promotion that cannot be made; the text names the model and the way out."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of a promotion."""

    verdict: Verdict
    promoted: bool
    forced: str | None
    """The reason given for promoting it all the same."""
    vectors: int
    """Members whose own vector went to the online store."""


def judge(court: Court, name: str) -> Verdict:
    """Judge the challenger of this name, write the verdict into its tags, and change nothing else.

    Raises:
        GateError: there is no challenger.
    """
    challenger = registry.find(court.ws, name, "challenger")
    if challenger is None:
        raise GateError(f"{name}: no challenger waits; `tessera train --model {name}` makes one")
    champion = registry.find(court.ws, name, "champion")
    verdict = JUDGES[name](court, challenger, champion)
    registry.annotate(court.ws, name, challenger.number, _notes(verdict))
    return verdict


def promote(court: Court, name: str, force_reason: str | None = None) -> Promotion:
    """Judge the challenger; if it passes, or a reason is given for letting it, make it champion and export it.

    The bundle is written and checked, the members' vectors are pushed, and only then serving is told.

    Raises:
        GateError: there is no challenger, or the reason is empty.
    """
    if force_reason is not None and not force_reason.strip():
        raise GateError(f"{name}: forcing a promotion takes a reason, which is recorded")
    verdict = judge(court, name)
    if not verdict.passed and force_reason is None:
        return Promotion(verdict, promoted=False, forced=None, vectors=0)
    forced = None if verdict.passed else force_reason
    if forced is not None:
        registry.annotate(court.ws, name, verdict.challenger, {"gate_forced": forced})
    if verdict.champion is not None and verdict.champion != verdict.challenger:
        registry.point(court.ws, name, "previous", verdict.champion)
    pushed = _serve(court.ws, registry.get(court.ws, name, verdict.challenger), court.at)
    registry.unpoint(court.ws, name, "challenger")
    return Promotion(verdict, promoted=True, forced=forced, vectors=pushed)


def rollback(ws: Workspace, name: str, at: datetime) -> Version:
    """Let the previous champion serve again; the present one becomes `previous`: a second call undoes the first.

    Raises:
        GateError: there is no previous champion.
    """
    previous, champion = registry.find(ws, name, "previous"), registry.find(ws, name, "champion")
    if previous is None or champion is None:
        raise GateError(f"{name}: there is no previous champion to go back to")
    registry.point(ws, name, "previous", champion.number)
    _serve(ws, previous, at)
    return previous


def _serve(ws: Workspace, version: Version, at: datetime) -> int:
    """Export a version, check that it answers, bring its vectors online, and let serving take it up."""
    folder = registry.export(ws, version)
    _check(version, folder)
    pushed = vectors.push(ws, version.number, at) if version.name == "taste" else 0
    registry.point(ws, version.name, "champion", version.number)
    registry.crown(ws, version.name, version.number)
    if version.name == "taste":
        vectors.forget(ws, but=set(registry.aliases(ws, "taste").values()))
    return pushed


def _check(version: Version, folder: Path) -> None:
    if version.name == "churn":
        golden.check_churn(load_churn(folder), version.record["golden"])
    elif version.name == "lifetime":
        check_lifetime(load_lifetime(folder), version.record["golden"])
    elif version.name == "effects":
        form = load(folder)
        if not isinstance(form, Effects):
            raise GateError(f"effects {version.number}: holds {version.record['form']}; train again")
        check_effects(form, version.record["golden"])
    elif version.name == "taste":
        form = load(folder)
        if not isinstance(form, ProductForm):
            raise GateError(
                f"taste {version.number}: holds {version.record['form']}, which rank no products; train again"
            )
        golden.check_products(form, version.record["golden"])


def _notes(verdict: Verdict) -> dict[str, str]:
    said = {f"gate_{key}": f"{value:.6f}" for key, value in verdict.figures.items()}
    said |= {
        f"gate_against_{rival}": f"{gap.value:+.6f} [{gap.low:+.6f}, {gap.high:+.6f}]"
        for rival, gap in verdict.against.items()
    }
    said["gate"] = "passed" if verdict.passed else "refused: " + "; ".join(verdict.objections)
    said["gate_champion"] = verdict.champion or "none"
    said["gate_cut"] = verdict.cut.isoformat() if verdict.cut else "none"
    return said
