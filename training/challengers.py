"""How each model is trained: from the tables of a workspace to a draft that the registry can take.

What a draft is worth is measured on the end of the history, which was held back; then the same recipe learns from all
of it, and that is what is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features import behavior, history
from features.entities import Programme
from features.learned import form_name, golden, save
from features.learned.churn import save_churn
from features.workspace import Workspace
from training import churn, churn_report, evaluate, fatigue, frames, recipes, response
from training.churn import ChurnConfig
from training.frames import Cuts
from training.ledger import Ledger
from training.pictures import calibration_picture
from training.records import Draft, Lineage
from training.settings import TrainingConfig, as_json
from training.split import cut_before

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Task:
    """What every model is trained from."""

    ws: Workspace
    programme: Programme
    config: TrainingConfig
    at: datetime
    """The cut: nothing known after it is used."""
    code: str
    folder: Path
    """Where drafts are laid down, one folder for each."""
    progress: Callable[[str], None]
    features: Callable[[pd.DataFrame], pd.DataFrame]
    """Pairs of member_id and at → the same with all features as they were known then."""

    def lineage(self, feature_names: Sequence[str], config: Mapping[str, Any]) -> Lineage:
        """Where a version of this task comes from."""
        fingerprint = history.fingerprint(self.ws.tables)
        return Lineage(fingerprint, self.at, tuple(feature_names), self.config.seed, self.code, config)

    def exhibit(self, name: str) -> Path:
        """Where a picture or a table for people is laid down."""
        place = self.folder / "exhibits"
        place.mkdir(parents=True, exist_ok=True)
        return place / name


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A draft, and the members' vectors that belong to it, if it has any."""

    draft: Draft
    summary: str
    """One line for people."""
    member_ids: NDArray[np.str_] | None = None
    vectors: NDArray[np.float32] | None = None
    """(n_members, k) in the order of `member_ids`."""


def taste(task: Task) -> Trained:
    """Let the configured recipes compete on the held-back days; the best learns again from the whole history."""
    wanted, k = task.config.taste, task.config.taste.k
    ledger = Ledger.read(task.ws)
    cut = cut_before(task.at, wanted.slice_days)
    chosen = {name: recipe_config(name, given, task.config.seed) for name, given in wanted.recipes.items()}
    table = evaluate.compare(
        ledger.at(cut),
        ledger.after(cut, wanted.slice_days),
        chosen,
        k,
        seed=task.config.seed,
        limits=wanted.limits,
        progress=lambda name: task.progress(f"taste: {name}"),
    )
    best = table.iloc[0]
    name = str(best["recipe"])
    task.progress(f"taste: {name} from the whole history")
    known = ledger.at(task.at)
    fitted = recipes.fit(name, known, chosen[name])
    if fitted.note:
        task.progress(f"taste: {name}: {fitted.note}")
    save(fitted.form, task.folder / "taste")
    table.to_csv(task.exhibit("recipes.csv"), index=False)
    title = f"the {wanted.slice_days} days after {cut:%Y-%m-%d}"
    settings = {"recipe": name, "settings": plain(chosen[name]), "slice_days": wanted.slice_days, "k": k}
    draft = Draft(
        name="taste",
        form=form_name(fitted.form),
        folder=task.folder / "taste",
        lineage=task.lineage((), settings),
        metrics=_taste_metrics(best, k),
        golden=golden.of_products(fitted.form, task.at.timestamp()),
        exhibits=(task.exhibit("recipes.csv"), evaluate.picture(table, task.exhibit("recipes.png"), title)),
    )
    said = (
        f"taste: {name}, NDCG@{k} {best['ndcg']:.4f} ({best['gain']:+.4f} over popularity, {best['members']} members)"
    )
    return Trained(draft, said, known.member_ids, fitted.member_vectors)


def churned(task: Task) -> Trained:
    """Learn who leaves, as of one horizon ago for the figures and as of now for the version."""
    config = churn_config(task.config.churn, task.programme)
    families = behavior.by_family(task.programme)
    names = behavior.names(task.programme)
    begins = frames.begins(task.ws.tables)
    judged_at = task.at - timedelta(days=config.horizon)
    past, now = (churn_cuts(config, begins, at) for at in (judged_at, task.at))
    task.progress("churn: features at every cut-off")
    judged, final = churn_frames(task, config, (past, now), judged_at)
    task.progress("churn: what it is worth, and what each family brings")
    report = churn_report.report(judged, past, judged_at, families, config, task.config.seed)
    task.progress("churn: from the whole history")
    model = churn.fit(final, now, names, config, task.config.seed)
    save_churn(model, task.folder / "churn")
    counted = frames.denominators(task.ws.tables, (*past.every, judged_at), config.horizon, config.max_lapse_days)
    counted.to_csv(task.exhibit("churn_members.csv"), index=False)
    report.ablation.to_csv(task.exhibit("churn_families.csv"), index=False)
    draft = Draft(
        name="churn",
        form="churn",
        folder=task.folder / "churn",
        lineage=task.lineage(names, as_json(config)),
        metrics=report.metrics,
        golden=golden.of_churn(model, typical_rows(final, names)),
        exhibits=(
            task.exhibit("churn_members.csv"),
            task.exhibit("churn_families.csv"),
            calibration_picture(report.churned, report.chance, task.exhibit("churn_calibration.png")),
        ),
    )
    said = (
        f"churn: AUC {report.metrics['auc']:.4f} ({_told(report.against_yardstick)} over recency-frequency-spend), "
        f"Brier skill {report.metrics['brier_skill']:.4f}, {report.metrics['members']:.0f} members"
    )
    return Trained(draft, said)


def responses(task: Task) -> Trained:
    """Read effects from decisions drawn by lot."""
    config = task.config.response
    task.progress("response: effects of decisions drawn by lot")
    found = response.estimate(task.ws.tables, task.at, config)
    kept = response.exported(found, config)
    if not kept:
        raise response.NothingDrawnError(
            f"response: no type was drawn {config.enough} times with its window of "
            f"{config.window_days} days closed by {task.at:%Y-%m-%d}; decisions go on resting on the policy's priors"
        )
    response.save(kept, task.folder / "response")
    tired = fatigue.estimate(task.ws.tables, task.at, task.config.fatigue)
    if tired is not None and fatigue.says_enough(tired, task.config.fatigue):
        fatigue.save(tired, task.folder / "response")
    table = response.table(found)
    table.to_csv(task.exhibit("responses.csv"), index=False)
    draft = Draft(
        name="response",
        form="response",
        folder=task.folder / "response",
        lineage=task.lineage((), as_json(config)),
        metrics={f"effect_{one.type}": one.effect for one in found if one.nothing} | fatigue.metrics(tired),
        exhibits=(task.exhibit("responses.csv"),),
    )
    compared = sum("effect" in one for one in kept.values())
    rest = f", responses alone of {len(kept) - compared}" if compared < len(kept) else ""
    said = f"response: effects of {compared} types of candidates{rest}, {int(table['n'].sum())} decisions"
    return Trained(draft, said)


def recipe_config(name: str, settings: Mapping[str, Any], seed: int) -> Any:
    """A recipe's configuration; it takes the file's seed where it needs one and is given none."""
    takes_seed = any(field.name == "seed" for field in fields(recipes.find(name).config))
    return recipes.config_from(name, ({"seed": seed} if takes_seed else {}) | dict(settings))


def plain(config: Any) -> dict[str, Any]:
    """A recipe's configuration as JSON can hold it; `config_from` reads it back, the infinite too."""
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(config).items()
    }


def churn_config(config: ChurnConfig, programme: Programme) -> ChurnConfig:
    """The configuration with its horizon filled in."""
    return replace(config, horizon_days=config.horizon_days or programme.churn_horizon_days)


def churn_cuts(config: ChurnConfig, begins: datetime, at: datetime) -> Cuts:
    """The cut-offs of a churn model that stands at `at`."""
    return frames.cuts(at, begins, config.horizon, config.cut_offs, config.every_days)


def churn_frames(
    task: Task, config: ChurnConfig, cuts: tuple[Cuts, ...], judged_at: datetime
) -> tuple[pd.DataFrame, ...]:
    """Features and labels for each of `cuts`; what is the same in several is computed once.

    Those of the first rest on what was known at `judged_at`, and have the members to be judged there beside them; those
    of all others rest on what was known at the task's time.
    """
    known_by = (judged_at, *[task.at] * (len(cuts) - 1))
    labels = [_labels(task, config, each.every, known) for each, known in zip(cuts, known_by, strict=True)]
    labels[0] = pd.concat([labels[0], _labels(task, config, (judged_at,), task.at)], ignore_index=True)
    pairs = pd.concat(labels)[["member_id", "at"]].drop_duplicates(ignore_index=True)
    found = task.features(pairs)
    return tuple(label.merge(found, on=["member_id", "at"], how="left", validate="one_to_one") for label in labels)


def _labels(task: Task, config: ChurnConfig, ats: Sequence[datetime], known_by: datetime) -> pd.DataFrame:
    return frames.labelled(task.ws.tables, ats, config.horizon, config.max_lapse_days, known_by)


def typical_rows(frame: pd.DataFrame, names: Sequence[str]) -> NDArray[np.float64]:
    """Made-up rows, (6, n_features): each feature's own quantiles side by side, and one row in which all is missing."""
    spread = frame[list(names)].quantile(list(_QUANTILES)).to_numpy(dtype=np.float64)
    return np.concatenate([spread, np.full((1, len(names)), np.nan)])


def _taste_metrics(best: pd.Series[Any], k: int) -> dict[str, float]:
    measured = {f"{name}_at_{k}": float(best[name]) for name in ("ndcg", "recall", "map", "coverage")}
    gain = {f"gain_over_popularity{end}": float(best[f"gain{end}"]) for end in ("", "_low", "_high")}
    return measured | gain | {"members": float(best["members"])}


def _told(interval: Any) -> str:
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
