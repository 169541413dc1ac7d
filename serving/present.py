"""Everything that decides right now, in one value: it is swapped whole, so that no answer mixes two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features import filters
from features.online import MemberRows
from serving.champions import Champions
from serving.products import Products
from serving.rulebook import Controls, Rulebook
from serving.snapshot import Ask


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """Rules, models, products and the online store (None where there is none yet) of this moment."""

    rulebook: Rulebook
    champions: Champions = field(default_factory=Champions)
    controls: Controls = field(default_factory=Controls)
    products: Products = field(default_factory=Products)
    rows: MemberRows | None = None
    faults: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What was refused at the last look: source → sentences. The last good one goes on."""

    def allowed(self, ask: Ask) -> NDArray[np.bool_] | None:
        """(n_products,): the products a request wants at all; None where it wants any.

        Raises:
            filters.FilterError: the request's filter cannot be read.
        """
        if self.champions.taste is None or not (ask.filter or ask.include):
            return None
        values = tuple(sorted(ask.filter_values.items()))
        return _mask(self, ask.filter, values, ask.include)


@lru_cache(maxsize=64)
def _mask(
    present: Present, text: str | None, values: tuple[tuple[str, str | float | bool], ...], include: tuple[str, ...]
) -> NDArray[np.bool_]:
    taste = present.champions.taste
    names = [] if taste is None else taste.names.tolist()
    wanted = frozenset(include)
    keep = filters.compile(text, dict(values)) if text else None
    facts = present.products.facts
    mask = np.array([(not wanted or name in wanted) and (keep is None or keep(facts.get(name, {}))) for name in names])
    mask.setflags(write=False)
    return mask
