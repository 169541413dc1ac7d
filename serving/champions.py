"""The promoted models: read from bundles that were checked byte for byte, never from the registry itself.

A bundle that is damaged, of another shape or contradicts its own golden outputs is refused, and the last good one of
that model goes on serving.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from features.learned import (
    Factors,
    LearnedError,
    MemberHistory,
    ProductForm,
    golden,
    history,
    load,
    positions,
    top_k,
)
from features.learned.churn import Churn, load_churn
from features.learned.longest import Longest, longest
from features.states import decode_taste
from features.workspace import Workspace
from serving import lifetime_value
from serving.members import Member
from serving.snapshot import Learned, ResponseEstimate

TASTE, CHURN, LIFETIME, RESPONSE = "taste", "churn", "lifetime", "response"
MODELS = (TASTE, CHURN, LIFETIME, RESPONSE)
BUNDLE = "bundle.json"
_NOBODY = MemberHistory()


class BundleError(ValueError):
    """A bundle that must not serve; the text names the model, the rule and the way out."""


@dataclass(frozen=True, eq=False)
class Taste:
    """A recommender: its arrays, and where each product stands in them."""

    version: str
    form: ProductForm
    positions: Mapping[str, int]
    names: NDArray[np.object_]
    """(n_products,): product ids."""
    longest: Longest | None = None
    """Where the best mostly are; None where there is no such short cut."""

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """(n_products,): the share of products bought no more often, by what is said to a member nobody knows."""
        scores = self.form.score(_NOBODY, 0.0)
        share: NDArray[np.float64] = np.searchsorted(np.sort(scores), scores, side="right") / max(len(scores), 1)
        return share

    def pool(
        self,
        history: MemberHistory,
        at: float,
        count: int,
        allowed: NDArray[np.bool_] | None,
        raised: Sequence[NDArray[np.bool_]],
    ) -> tuple[tuple[str, float, int], ...]:
        """The best of all that is allowed, and as many of each raised mask: (product id, score, rank), best first.

        The rank, from 1, is that among all that is allowed; equal scores share it.
        """
        scores = self.form.score(history, at)
        ordered = np.sort(scores if allowed is None else scores[allowed])
        among = np.zeros(len(scores), bool)
        among[top_k(scores, count, allowed)] = True
        for mask in raised:
            among[top_k(scores, count, mask if allowed is None else mask & allowed)] = True
        best = top_k(scores, int(among.sum()), among)
        ranks = 1 + len(ordered) - np.searchsorted(ordered, scores[best], side="right")
        return tuple(zip(self.names[best].tolist(), scores[best].tolist(), ranks.tolist(), strict=True))

    def best(
        self, history: MemberHistory, at: float, count: int, allowed: NDArray[np.bool_] | None
    ) -> tuple[tuple[str, float], ...]:
        """The best products that are allowed, (product id, score), best first."""
        near = self._near(history, at, count) if allowed is None and history is not _NOBODY else None
        if near is not None:
            return tuple((self.names[position], score) for position, score in near)
        scores = self.form.score(history, at)
        best = top_k(scores, count, allowed)
        return tuple(zip(self.names[best].tolist(), scores[best].tolist(), strict=True))

    def _near(self, history: MemberHistory, at: float, count: int) -> list[tuple[int, float]] | None:
        if self.longest is None or not isinstance(self.form, Factors):
            return None
        vector = self.form.vector(history, at)
        if vector is None or vector.shape != self.form.vectors.shape[1:]:
            return None  # `score` says what then
        return self.longest.best(vector, count)


@dataclass(frozen=True, slots=True, eq=False)
class ChurnModel:
    """A churn model, and where its features stand in a finished row."""

    version: str
    form: Churn
    columns: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Champions:
    """All models that serve. A model that was never promoted is None."""

    taste: Taste | None = None
    churn: ChurnModel | None = None
    lifetime: lifetime_value.LifetimeModel | None = None
    responses: Mapping[str, ResponseEstimate] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Models without which an answer counts as degraded."""
        return tuple(name for name, model in ((TASTE, self.taste), (CHURN, self.churn)) if model is None)

    def learned(
        self, member: Member | None, at: float, count: int, allowed: NDArray[np.bool_] | None = None
    ) -> Learned:
        """What the models say about a member; about nobody in particular where `member` is None.

        Args:
            member: a known member who consents to personalisation, or None.
            at: epoch seconds.
            count: how many products at most; 0 leaves them out.
            allowed: (n_products,), the products that may be named; None allows all.
        """
        return Learned(
            churn=None if member is None else self.churn_of(member),
            products=self.products_for(member, at, count, allowed),
            responses=self.responses,
            versions=self.versions,
            narrowed=allowed is not None,
        )

    def churn_of(self, member: Member) -> float | None:
        """The probability that the member buys nothing within the horizon; None without a churn model."""
        model = self.churn
        return None if model is None else model.form.probability_of_one(member.row[model.columns])

    def products_for(
        self, member: Member | None, at: float, count: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[tuple[str, float], ...]:
        """The best products, (product id, score), best first; nothing without a recommender."""
        taste = self.taste
        if taste is None or not count:
            return ()
        return taste.best(_NOBODY if member is None else _history(taste, member), at, count, allowed)

    def pool_for(
        self,
        member: Member | None,
        at: float,
        count: int,
        allowed: NDArray[np.bool_] | None,
        raised: Sequence[NDArray[np.bool_]],
    ) -> tuple[tuple[str, float, int], ...]:
        """`Taste.pool` for a member; nothing without a recommender."""
        taste = self.taste
        if taste is None:
            return ()
        return taste.pool(_NOBODY if member is None else _history(taste, member), at, count, allowed, raised)

    def why_churn(self, member: Member, top: int = 3) -> tuple[tuple[str, float], ...]:
        """The features that moved the member's churn most: name and the change of the raw score."""
        if self.churn is None:
            return ()
        return self.churn.form.reasons(member.row[self.churn.columns], top)


def _history(taste: Taste, member: Member) -> MemberHistory:
    vector, vector_at = None, None
    if member.taste:
        version, stored, at_us = decode_taste(member.taste)
        if version == taste.version:
            vector, vector_at = stored, at_us / 1e6
    if vector_at is not None and isinstance(taste.form, Factors) and member.state.bought_by(vector_at):
        return MemberHistory(vector=vector)  # the vector says it all: nothing was bought since
    ids, counts, last = member.state.products()
    region = member.state.region or ""
    return history(taste.positions, ids, counts.tolist(), last.tolist(), vector, vector_at, region)


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
    return replace(now, responses=_responses(folder), versions=versions)


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
    scores = form.score(_NOBODY, 0.0)
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
    return {
        str(kind): ResponseEstimate(
            float(one["response"]),
            float(one["effect"]),
            float(one["effect_interval"][0]),
            float(one["effect_interval"][1]),
        )
        for kind, one in found.items()
    }
