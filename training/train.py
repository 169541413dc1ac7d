"""Train: from the tables of a workspace to new challengers in the registry."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from features import history, store
from features.entities import Programme
from features.views import EVERYTHING
from features.workspace import Workspace
from training import registry, vectors
from training.challengers import Task, Trained, churned, responses, taste
from training.churn_rows import OneSidedError
from training.effects.challenger import caused
from training.frames import HistoryTooShortError
from training.lifetime_challenger import worth
from training.lifetime_story import TooFewBuyersError
from training.recipes import RecipeError
from training.records import Version, code_version
from training.response import NothingDrawnError
from training.settings import TrainingConfig

MODELS: Mapping[str, Callable[[Task], Trained]] = {
    "taste": taste,
    "churn": churned,
    "lifetime": worth,
    "response": responses,
    "effects": caused,
}
_CANNOT = (HistoryTooShortError, OneSidedError, NothingDrawnError, RecipeError, TooFewBuyersError)
"""What a history may lack for one model while another can still be trained."""


class TrainingError(ValueError):
    """A model was asked for that does not exist."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training left."""

    versions: tuple[Version, ...]
    """The new challengers."""
    summaries: tuple[str, ...]
    """One line for each."""
    skipped: Mapping[str, str]
    """Model → why it could not be trained on this history, and what would help."""


def train(
    ws: Workspace,
    programme: Programme,
    config: TrainingConfig,
    at: datetime,
    models: Sequence[str] = tuple(MODELS),
    progress: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train models from what was known at `at`, and register each as challenger.

    Args:
        ws: the workspace, with its tables.
        programme: its rules.
        config: `settings.read(ws.training)`.
        at: the cut. A history says nothing after its end: beyond it, the end is the cut.
        models: of `MODELS`.
        progress: told what is being done.

    Raises:
        TrainingError: a model is unknown.
    """
    unknown = sorted(set(models) - set(MODELS))
    if unknown:
        raise TrainingError(f"model {unknown[0]!r} is unknown; use one of {', '.join(MODELS)}")
    at = min(at, history.ends_at(ws.tables))
    made: list[tuple[Version, str]] = []
    skipped: dict[str, str] = {}
    code = code_version()
    for name in models:
        with tempfile.TemporaryDirectory(prefix=f"tessera-{name}-") as folder:
            try:
                task = Task(ws, programme, config, at, code, Path(folder), progress, _through_feast(ws, programme))
                trained = MODELS[name](task)
            except _CANNOT as reason:
                skipped[name] = str(reason)
                continue
            made.append((_register(ws, programme, trained, at), trained.summary))
    return Outcome(tuple(version for version, _ in made), tuple(said for _, said in made), skipped)


def _through_feast(ws: Workspace, programme: Programme) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Training frames come out of Feast's point-in-time retrieval, as any data scientist's would."""

    def features(pairs: pd.DataFrame) -> pd.DataFrame:
        store.write_offline(ws, pairs, programme, only=True)
        store.apply(ws, programme)
        return store.historical(ws, pairs, EVERYTHING)

    return features


def _register(ws: Workspace, programme: Programme, trained: Trained, at: datetime) -> Version:
    version = registry.log_version(ws, trained.draft)
    if trained.member_ids is not None and trained.vectors is not None:
        vectors.keep(ws, version.number, trained.member_ids, trained.vectors, at)
    if version.name == "churn":
        names = tuple(version.record["feature_names"])
        store.apply(ws, programme, {f"churn_v{version.number}": names})
    registry.point(ws, version.name, "challenger", version.number)
    return version
