"""Several recipes name candidates, boosted trees rank them: what is bought again and what is new, in one list.

The base recipes are fitted before each inner cut, so that trees can learn from what was bought after it, and on all
that is known, which is what serves. So no base score that the trees learn from has seen its label. The trees serve only
if they are surely ahead of the best base recipe on members they did not learn from (`training.crosscheck`); else that
recipe ranks alone.

Time is that of the base recipes, once more than there are cuts, plus members learned from × candidates × trees; memory
is that of the largest base recipe, plus members learned from × candidates × features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from features.learned import ProductForm, Trees
from features.learned.blend import Blend
from features.learned.candidates import names
from features.learned.traits import Traits
from training.crosscheck import Check, crosscheck
from training.inner import Inner, Way, splits
from training.interactions import Interactions
from training.ranker import Ground, Growth, lesson, no_trees
from training.recipes.recipe import Cost, Fitted, RecipeError
from training.traits import traits

_FEWEST_MEMBERS = 50
"""Fewer members with something to learn from cannot teach trees."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BlendConfig:
    """Configuration of `blend`."""

    parts: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {
            "scaled_als": {"factors": 32, "iterations": 6},
            "ease": {"most_products": 4000},
            "item_item": {},
            "repeat": {},
            "popularity": {},
        }
    )
    """Base recipe → its own settings. The first orders what is no candidate."""
    inner: Way = "time"
    """How the inner split is made; as the history will be asked: `random` where products are held back at random,
    `purchases` where single purchases are. Where all purchases have one time it is one of these two by itself."""
    horizon_days: float = Field(default=28.0, gt=0)
    """Length of the inner slice; a quarter of the history if that is shorter."""
    cuts: int = Field(default=2, ge=1)
    """So many inner splits teach, at most; the base recipes are fitted before each of them."""
    candidates: int = Field(default=20, ge=1, le=1000)
    """Of each part, among products bought before and among new ones."""
    most_members: int = Field(default=6000, ge=1)
    """So many members teach the trees at most, over all cuts."""
    loss: Literal["xendcg", "lambdarank"] = "xendcg"
    """What trees are grown by; `training.ranker` says what each is."""
    trees: int = Field(default=60, ge=1)
    leaves: int = Field(default=15, ge=2, le=64)
    learning_rate: float = Field(default=0.08, gt=0, le=10)
    min_leaf: int = Field(default=50, ge=1)
    feature_share: float = Field(default=0.6, gt=0, le=1)
    l2: float = Field(default=5.0, ge=0)
    depth_of_list: int = Field(default=15, ge=1)
    """Mistakes below this rank do not count while trees are grown by `lambdarank`."""
    proven: bool = True
    """Whether trees only serve if they are surely ahead of the best base recipe."""
    seed: int = 0


@plain_dataclass(frozen=True, slots=True, eq=False)
class Bases:
    """Base models and traits of the products, all as of one moment."""

    product_ids: NDArray[np.str_]
    parts: Mapping[str, ProductForm]
    traits: Traits

    @staticmethod
    def of(interactions: Interactions, config: BlendConfig) -> Bases:
        """Fit every part on these interactions."""
        return Bases(
            interactions.product_ids,
            {name: _part(name, interactions, given, config.seed) for name, given in config.parts.items()},
            traits(interactions, config.horizon_days),
        )

    def only(self, parts: Sequence[str]) -> Bases:
        """With these of the parts."""
        return Bases(self.product_ids, {name: self.parts[name] for name in parts}, self.traits)

    def served(self, found: Taught, config: BlendConfig) -> Blend:
        """The form that serves: all parts and the trees, or one part alone."""
        if found.alone is None:
            return self.ranked_by(found.trees, config.candidates)
        return self.only((found.alone,)).ranked_by(no_trees(names((found.alone,))), config.candidates)

    def ranked_by(self, trees: Trees, depth: int) -> Blend:
        """Parts whose candidates these trees rank."""
        names = np.array(list(self.parts), np.str_)
        return Blend(self.product_ids, names, tuple(self.parts.values()), self.traits, trees, float(depth))


@plain_dataclass(frozen=True, slots=True, eq=False)
class Past:
    """Base models as of an inner cut, and what was bought after it."""

    inner: Inner
    bases: Bases


def pasts(interactions: Interactions, config: BlendConfig) -> tuple[Past, ...]:
    """The bases before each inner cut; nothing where there is nothing before it, or nothing after."""
    found = splits(interactions, config.inner, config.horizon_days, config.cuts, config.seed)
    return tuple(
        Past(inner, Bases.of(inner.before, config)) for inner in found if inner.before.counts.nnz and inner.bought.nnz
    )


@plain_dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """The second stage."""

    trees: Trees
    members: int
    """How many taught at all inner cuts together."""
    check: Check | None
    """Against the best base recipe; None where it was not asked for, or too few members taught."""

    @property
    def alone(self) -> str | None:
        """The base recipe that ranks alone, since the trees are not surely ahead of it."""
        return None if self.check is None or self.check.passed else self.check.best


def fit(interactions: Interactions, config: BlendConfig) -> Fitted:
    """Base models of all that is known, and trees that learned inside it.

    With fewer than 50 members to learn from there are no trees, and candidates stand in the order of the mean of their
    base scores.
    """
    known = pasts(interactions, config)
    found = taught(known, config, names(tuple(config.parts)), check=config.proven)
    notes = [one.inner.note for one in known[:1] if one.inner.note]
    if found.members < _FEWEST_MEMBERS:
        notes.append(
            f"fewer than {_FEWEST_MEMBERS} members to learn from: no second stage, the mean of the bases ranks"
        )
    if found.alone:
        notes.append(f"the second stage is not surely ahead: {found.check}; {found.alone} ranks alone")
    parts = {found.alone: config.parts[found.alone]} if found.alone else config.parts
    return Fitted(Bases.of(interactions, replace(config, parts=parts)).served(found, config), note="; ".join(notes))


def taught(known: Sequence[Past], config: BlendConfig, wanted: Sequence[str], *, check: bool = False) -> Taught:
    """Trees that rank by these features, learned at every inner cut, and whether they help."""
    blank = no_trees(tuple(wanted))
    most = -(-config.most_members // max(len(known), 1))
    lessons = [lesson(one.bases.ranked_by(blank, config.candidates), one.inner, most) for one in known]
    members = sum(one.members for one in lessons)
    if members < _FEWEST_MEMBERS:
        return Taught(blank, members, None)

    ground = Ground.of(lessons, tuple(wanted), _growth(config))
    verdict = crosscheck([one.inner for one in known], ground, tuple(config.parts), config.seed) if check else None
    return Taught(ground.grown() if verdict is None or verdict.passed else blank, members, verdict)


def _part(name: str, interactions: Interactions, given: Mapping[str, Any], seed: int) -> ProductForm:
    from training import recipes  # its table holds this recipe too

    if name == "blend":
        raise RecipeError('recipe "blend": a blend cannot be a part of itself; take it out of parts')
    kind = recipes.find(name).config
    takes_seed = "seed" in kind.__dataclass_fields__ and "seed" not in given
    config = recipes.config_from(name, {**given, "seed": seed} if takes_seed else given)
    return recipes.fit(name, interactions, config).form


def _growth(config: BlendConfig) -> Growth:
    return Growth(
        loss=config.loss,
        trees=config.trees,
        leaves=config.leaves,
        learning_rate=config.learning_rate,
        min_leaf=config.min_leaf,
        feature_share=config.feature_share,
        l2=config.l2,
        depth_of_list=config.depth_of_list,
        seed=config.seed,
    )


def cost(interactions: Interactions, config: BlendConfig) -> Cost:
    """The base recipes at every cut and at last, the lists of the members that teach, and the trees."""
    from training import recipes  # its table holds this recipe too

    parts = [
        recipes.find(name).estimate(interactions, recipes.config_from(name, given))
        for name, given in config.parts.items()
    ]
    known = [part for part in parts if part is not None]
    taught = min(config.most_members, interactions.counts.shape[0]) * len(config.parts)
    lists = taught * interactions.counts.shape[1] * 2e-8
    rows = taught * 2 * config.candidates
    return Cost(
        (1 + config.cuts) * sum(part.seconds for part in known) + lists + rows * config.trees * 2e-7,
        max((part.megabytes for part in known), default=0.0) + rows * 4e-4 + 500,
    )
