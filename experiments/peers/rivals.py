"""The peers, what they are by default, and where a search for their settings may look.

Defaults are those of the libraries; they are reported beside the tuned ones. Ranges cover what their papers and
documentation use, and are as wide as those of our own recipes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.search import Between, OneOf, Range


@dataclass(frozen=True, slots=True)
class Rival:
    """One peer: a function of this name in `answering`."""

    name: str
    defaults: Mapping[str, Any]
    """The library's own, written out where a search draws them."""
    space: Mapping[str, Range]
    whole: frozenset[str] = frozenset()
    """Settings that take whole numbers."""


_FACTORS = Between(16, 256, log=True)
RIVALS: Mapping[str, Rival] = {
    rival.name: rival
    for rival in (
        Rival("rectools_popular", {"popularity": "n_users"}, {"popularity": OneOf(("n_users", "n_interactions"))}),
        Rival("rectools_ease", {"regularization": 500.0}, {"regularization": Between(1, 10_000, log=True)}),
        Rival("rectools_svd", {"factors": 10}, {"factors": Between(4, 256, log=True)}, frozenset({"factors"})),
        Rival(
            "rectools_lightfm",
            {"no_components": 10, "learning_rate": 0.05, "epochs": 1, "item_alpha": 0.0, "user_alpha": 0.0},
            {
                "no_components": Between(10, 256, log=True),
                "learning_rate": Between(0.005, 0.15, log=True),
                "epochs": Between(1, 60, log=True),
                "item_alpha": Between(0.0, 1e-4),
                "user_alpha": Between(0.0, 1e-4),
            },
            frozenset({"no_components", "epochs"}),
        ),
        Rival(
            "implicit_als",
            {"factors": 100, "regularization": 0.01, "alpha": 1.0, "iterations": 15},
            {
                "factors": _FACTORS,
                "regularization": Between(0.001, 100, log=True),
                "alpha": Between(0.5, 100, log=True),
                "iterations": Between(5, 30),
            },
            frozenset({"factors", "iterations"}),
        ),
        Rival(
            "implicit_bpr",
            {"factors": 100, "learning_rate": 0.01, "regularization": 0.01, "iterations": 100},
            {
                "factors": _FACTORS,
                "learning_rate": Between(0.001, 0.2, log=True),
                "regularization": Between(0.0001, 0.1, log=True),
                "iterations": Between(20, 300, log=True),
            },
            frozenset({"factors", "iterations"}),
        ),
        Rival(
            "implicit_bm25",
            {"K": 20, "K1": 1.2, "B": 0.75},
            {"K": Between(5, 500, log=True), "K1": Between(0.05, 100, log=True), "B": Between(0.0, 1.0)},
            frozenset({"K"}),
        ),
        Rival(
            "cornac_bpr",
            {"k": 10, "max_iter": 100, "learning_rate": 0.001, "lambda_reg": 0.01},
            {
                "k": Between(10, 256, log=True),
                "max_iter": Between(50, 400, log=True),
                "learning_rate": Between(0.001, 0.2, log=True),
                "lambda_reg": Between(0.0001, 0.1, log=True),
            },
            frozenset({"k", "max_iter"}),
        ),
        Rival(
            "cornac_ease",
            {"lamb": 500.0, "posB": True},
            {"lamb": Between(1, 10_000, log=True), "posB": OneOf((True, False))},
        ),
    )
}
