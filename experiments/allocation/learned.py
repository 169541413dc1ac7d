"""What a log of decisions drawn by lot teaches about every member: the economics of each candidate, estimated."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

from experiments.allocation.ground import Ground
from experiments.allocation.truth import CANDIDATES, Economy, Floats, economy, of_rows
from serving.prices import solve
from training.effects import fit

_ROUNDS = 120
_TREES: dict[str, Any] = {
    "objective": "regression",
    "num_leaves": 8,
    "min_data_in_leaf": 150,
    "learning_rate": 0.05,
    "num_threads": 1,
    "seed": 5,
    "verbosity": -1,
}


def estimated(ground: Ground) -> Economy:
    """The economics as they look from the log and the features alone; effects and responses by what serves."""
    log = ground.log
    model = fit(
        ground.features[log.rows],
        log.arm,
        log.chances,
        log.baskets,
        groups=["do_nothing", *(one.type for one in CANDIDATES)],
        feature_names=ground.names,
        arms=["do_nothing", *(one.id for one in CANDIDATES)],
        responded=log.responded.astype(np.float64),
    )
    told, known = model.everything(ground.features), slice(1, len(CANDIDATES) + 1)
    return economy(told.effect[:, known], told.response[:, known], *baskets(ground))


def baskets(ground: Ground) -> tuple[Floats, Floats]:
    """(n,) margin and (n,) amount of a basket, from those of the log."""
    log = ground.log
    had = np.flatnonzero(log.baskets > 0)
    found = []
    for total in (log.margin, log.amount):
        table = ground.features[log.rows[had]]
        data = lightgbm.Dataset(table, total[had] / log.baskets[had], weight=log.baskets[had])
        model = lightgbm.train(_TREES, data, _ROUNDS)
        found.append(np.maximum(np.asarray(model.predict(ground.features), np.float64), 0.0))
    return found[0], found[1]


def held_back(ground: Ground, seen: Economy, amounts: Floats) -> Floats:
    """(3,) budgets to plan with: less one standard error of what a plan takes beyond what is expected of it.

    Read from the decisions of the log that a plan for its members agrees with, weighted by their chances. A budget
    that is spent early is dearer than one of which a little is left: whoever comes after gets nothing. Messages are
    what they are.
    """
    log, n = ground.log, len(ground.features)
    economy = of_rows(seen, log.rows)
    choice = solve(economy.value, economy.costs, amounts * len(log.rows) / n).choice
    agreed = np.flatnonzero((choice >= 0) & (log.arm == choice + 1))
    column = choice[agreed]
    weight, chance = 1.0 / log.chances[agreed, column + 1], economy.response[agreed, column]
    found = amounts.copy()
    for place, table in enumerate(economy.costs[:2]):
        expected = table[agreed, column]
        off = weight * expected / chance * (log.responded[agreed] - chance)
        found[place] /= 1.0 + float(np.sqrt((off**2).sum())) / max(float((weight * expected).sum()), 1e-12)
    return found
