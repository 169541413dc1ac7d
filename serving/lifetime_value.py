"""Lifetime value in a profile: the promoted model, loaded once, and what it says of one member when asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.faults import LearnedError
from features.learned.lifetime import MONTHS, Lifetime, load_lifetime
from features.learned.lifetime_golden import check_lifetime

_MONTHS: dict[str, Any] = {
    "type": "object",
    "required": ["value", "low", "high", "extrapolated"],
    "properties": {
        "value": {"type": "number"},
        "low": {"type": "number"},
        "high": {"type": "number"},
        "extrapolated": {"type": "boolean", "description": "Longer than the horizon that was learned."},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "Net margin to come, in the programme's currency, discounted, with the interval that holds a share "
    "`confidence` of members.",
    "required": ["months_12", "months_36", "basis", "measure", "learned_days", "confidence", "discount_per_year"],
    "properties": {
        **{f"months_{count}": _MONTHS for count in MONTHS},
        "basis": {"type": "string", "enum": ["model"]},
        "measure": {"type": "string", "enum": ["net_margin"]},
        "learned_days": {"type": "integer"},
        "confidence": {"type": "number"},
        "discount_per_year": {"type": "number"},
    },
}
"""What `LifetimeModel.told` says, for the OpenAPI document."""


@dataclass(frozen=True, slots=True, eq=False)
class LifetimeModel:
    """A lifetime-value model, and where its features stand in a finished row."""

    version: str
    form: Lifetime
    columns: NDArray[np.intp]

    def told(self, row: NDArray[np.float64]) -> dict[str, Any] | None:
        """What a profile says of the member with this finished row; None for whoever never bought."""
        found = self.form.worth(row[self.columns][None, :])
        if not np.isfinite(found.high).all():
            return None
        ends = {"value": found.value[0], "low": found.low[0], "high": found.high[0]}
        months = {
            f"months_{count}": {name: float(each[i]) for name, each in ends.items()}
            | {"extrapolated": self.form.extrapolated(count)}
            for i, count in enumerate(MONTHS)
        }
        return months | {
            "basis": "model",
            "measure": "net_margin",
            "learned_days": round(self.form.days),
            "confidence": self.form.confidence,
            "discount_per_year": self.form.discount,
        }


def load(version: str, folder: Path, names: tuple[str, ...], description: Mapping[str, Any]) -> LifetimeModel:
    """The model of a bundle whose files were checked.

    Args:
        version: its version.
        folder: the bundle.
        names: the features of a finished row, in order.
        description: `bundle.json`.

    Raises:
        LearnedError: it is damaged, wants features that are not served, or does not answer as when it was trained.
    """
    form = load_lifetime(folder)
    unknown = [name for name in form.feature_names if name not in names]
    if unknown:
        raise LearnedError(f"it was trained on features that are not served: {', '.join(unknown[:5])}; train it again")
    if description.get("golden"):
        check_lifetime(form, description["golden"])
    return LifetimeModel(version, form, np.array([names.index(name) for name in form.feature_names], np.intp))
