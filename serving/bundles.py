"""Promoted models, read from bundles that were checked byte for byte, never from the registry itself.

A bundle that is damaged, of another shape or contradicts its own golden outputs is refused, and the last good one of
that model goes on serving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from features.learned import LearnedError, ProductForm, golden, load, positions
from features.learned.churn import load_churn
from features.learned.longest import longest
from features.workspace import Workspace
from serving import lifetime_value
from serving.caused import load_caused
from serving.champions import CHURN, EFFECTS, LIFETIME, NOBODY, RESPONSE, TASTE, Champions, ChurnModel, Taste
from serving.snapshot import FatigueEstimate, ResponseEstimate

MODELS = (TASTE, CHURN, LIFETIME, RESPONSE, EFFECTS)
BUNDLE = "bundle.json"


class BundleError(ValueError):
    """A bundle that must not serve; the text names the model, the rule and the way out."""


def wanted(ws: Workspace) -> dict[str, str]:
    """Model → version that should serve, as `champions.json` says; empty where nothing was promoted.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        found = orjson.loads(ws.champions.read_bytes())
        return {str(name): str(version) for name, version in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, OSError) as error:
        raise BundleError(f"{ws.champions.name}: cannot be read ({error}); promote again") from error


def take_up(ws: Workspace, names: tuple[str, ...], last: Champions) -> tuple[Champions, list[str]]:
    """The champions that should serve, each replaced by the last good one where its bundle is bad.

    Args:
        ws: where the bundles lie.
        names: the features of a finished row, in order.
        last: what serves now.

    Returns:
        What serves from now on, and a sentence for every bundle that was refused.
    """
    try:
        targets = wanted(ws)
    except BundleError as error:
        return last, [str(error)]
    faults: list[str] = []
    now = last
    for name in MODELS:
        version = targets.get(name)
        if version is None or last.versions.get(name) == version:
            continue
        try:
            now = _with(now, name, version, ws.bundles / name / version, names)
        except (BundleError, LearnedError, OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{name} {version}: {error}; version {last.versions.get(name, 'none')} goes on serving")
    return now, faults


def exactly(ws: Workspace, versions: Mapping[str, str], names: tuple[str, ...]) -> Champions:
    """The champions of these versions and no others, to run a decision again.

    Raises:
        BundleError: one of them cannot be read.
    """
    now = Champions()
    for name, version in versions.items():
        try:
            now = _with(now, name, version, ws.bundles / name / version, names)
        except (LearnedError, OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{name} {version}: {error}") from error
    return now


def _with(now: Champions, name: str, version: str, folder: Path, names: tuple[str, ...]) -> Champions:
    description = _checked(folder, name, version)
    versions = {**now.versions, name: version}
    if name == TASTE:
        return replace(now, taste=_taste(version, folder, description), versions=versions)
    if name == CHURN:
        return replace(now, churn=_churn_model(version, folder, names, description), versions=versions)
    if name == LIFETIME:
        return replace(now, lifetime=lifetime_value.load(version, folder, names, description), versions=versions)
    if name == EFFECTS:
        return replace(now, caused=load_caused(version, folder, names, description), versions=versions)
    return replace(now, responses=_responses(folder), fatigue=_fatigue(folder), versions=versions)


def _checked(folder: Path, name: str, version: str) -> dict[str, Any]:
    """The bundle's description, after every file was compared with its SHA-256, before any of them is read."""
    try:
        description: dict[str, Any] = orjson.loads((folder / BUNDLE).read_bytes())
        files = dict(description["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{BUNDLE} is missing or damaged ({error}); promote again") from error
    said = (description.get("name"), description.get("version"))
    if said != (name, version):
        raise BundleError(f"{BUNDLE} is that of {said[0]} {said[1]}; promote again")
    for file, digest in files.items():
        if Path(file).name != file or (folder / file).is_symlink():
            raise BundleError(f"file {file!r} lies outside the bundle; promote again")
        if hashlib.sha256((folder / file).read_bytes()).hexdigest() != digest:
            raise BundleError(f"{file} differs from its SHA-256; promote again")
    return description


def _taste(version: str, folder: Path, description: Mapping[str, Any]) -> Taste:
    form = load(folder)
    if not isinstance(form, ProductForm):
        raise BundleError("it does not score products; promote a recommender")
    scores = form.score(NOBODY, 0.0)
    if scores.shape != form.product_ids.shape or not np.isfinite(scores).all():
        raise BundleError("it does not give every product a finite score; train it again")
    if description.get("golden"):
        golden.check_products(form, description["golden"])
    return Taste(version, form, positions(form.product_ids), form.product_ids.astype(object), longest(form))


def _churn_model(version: str, folder: Path, names: tuple[str, ...], description: Mapping[str, Any]) -> ChurnModel:
    churn = load_churn(folder)
    unknown = [name for name in churn.feature_names if name not in names]
    if unknown:
        raise BundleError(f"it was trained on features that are not served: {', '.join(unknown[:5])}; train it again")
    if description.get("golden"):
        golden.check_churn(churn, description["golden"])
    return ChurnModel(version, churn, np.array([names.index(name) for name in churn.feature_names], np.intp))


def _responses(folder: Path) -> dict[str, ResponseEstimate]:
    found = orjson.loads((folder / "response.json").read_bytes())
    return {str(kind): _response(one) for kind, one in found.items()}


def _response(one: dict[str, Any]) -> ResponseEstimate:
    """Without an effect where only responses were seen."""
    if "effect" not in one:
        return ResponseEstimate(float(one["response"]), None, None, None)
    low, high = one["effect_interval"]
    return ResponseEstimate(float(one["response"]), float(one["effect"]), float(low), float(high))


def _fatigue(folder: Path) -> FatigueEstimate | None:
    """What a recent contact costs; None in bundles of which no volume of contacts said it."""
    file = folder / "fatigue.json"
    if not file.exists():
        return None
    found = orjson.loads(file.read_bytes())
    return FatigueEstimate(float(found["baskets"]), float(found["low"]), float(found["high"]), int(found["days"]))
