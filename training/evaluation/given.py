"""Purchases from a file or frame of somebody else's: their names for columns, ids of any type, times or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.ledger import Ledger
from training.protocols import ProtocolError, Split, by_name, made_elsewhere

COLUMNS = ("member_id", "product_id", "occurred_at", "quantity", "value", "basket_id")
"""What is read; the first two must be there. Without `basket_id` a member's lines of one moment are one basket, and
without times, or with one for all, every line is one. `value` (a price, a rating) is allowed, and read by no recipe."""
_NO_TIME = pd.Timestamp("2000-01-01", tz="UTC")
_SHORT = {"member": "member_id", "product": "product_id", "time": "occurred_at", "basket": "basket_id"}
_EPOCH_UNITS = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (0.0, "s"))
"""Whole numbers as times are seconds since 1970, or finer if seconds would lie beyond the year 5138."""


class GivenError(ValueError):
    """A file or frame cannot be used; the text names it, the rule and the way out."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Typed purchases, and whether they came with times."""

    purchases: pd.DataFrame
    timed: bool

    @property
    def tells_order(self) -> bool:
        """Whether the times say what came first: not if there are none, or all are the same."""
        return self.timed and self.purchases["occurred_at"].nunique() > 1

    @property
    def ends_at(self) -> datetime:
        """The last purchase."""
        last: datetime = self.purchases["occurred_at"].max().to_pydatetime()
        return last


def cut(
    train: pd.DataFrame | Path | str,
    test: pd.DataFrame | Path | str | None,
    columns: Mapping[str, str] | None,
    protocol: str,
    *,
    days: float,
    share: float,
    seed: int,
) -> Split:
    """The split that two files make, or that a protocol makes of one; arguments as in `training.evaluate.evaluate`.

    Raises:
        GivenError: A column is missing or holds what cannot be read.
        ProtocolError: The protocol is unknown, or needs times that are not there.
    """
    before = typed(train, columns, "train")
    if test is not None:
        after = typed(test, columns, "test")
        return made_elsewhere(ledger(before), after.purchases, timed=before.tells_order and after.timed)
    if not before.tells_order and protocol != "random":
        raise ProtocolError(
            f"protocol {protocol}: needs the column occurred_at, with times that differ; without there is only random"
        )
    return by_name(protocol, ledger(before), before.ends_at, days=days, share=share, seed=seed)


def ledger(given: Given) -> Ledger:
    """The purchases as a ledger with no other facts about products and members."""
    nothing = pd.DataFrame({"occurred_at": given.purchases["occurred_at"][:0]})
    nothing["known_at"] = nothing["occurred_at"]
    return Ledger(given.purchases, nothing.assign(product_id=[]), nothing.assign(member_id=[]))


def typed(source: pd.DataFrame | Path | str, columns: Mapping[str, str] | None = None, name: str = "frame") -> Given:
    """The rows as typed purchases; rows without member or product are an error, not left out in silence."""
    frame, name = (source, name) if isinstance(source, pd.DataFrame) else (_read(Path(source)), Path(source).name)
    found = _named(frame, columns or {}, name)
    timed = "occurred_at" in found
    moments = _times(found["occurred_at"], name) if timed else pd.Series(_NO_TIME, index=found.index)
    moments = moments.astype("datetime64[us, UTC]")
    line = pd.Series(np.arange(len(found)), index=found.index).astype(str)
    basket = moments.astype("int64").astype(str) if moments.nunique() > 1 else line
    purchases = pd.DataFrame(
        {
            "purchase_id": line,
            "basket_id": _text(found["basket_id"], name) if "basket_id" in found else basket,
            "member_id": _text(found["member_id"], name),
            "product_id": _text(found["product_id"], name),
            "quantity": _numbers(found["quantity"], name) if "quantity" in found else 1.0,
            "reverses": None,
            "occurred_at": moments,
            "known_at": moments,
        }
    )
    return Given(purchases, timed)


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise GivenError(f"{path}: there is no such file")
    if path.suffix.lower() in {".parquet", ".pq"}:
        return pd.read_parquet(path)
    return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")


def _named(frame: pd.DataFrame, columns: Mapping[str, str], name: str) -> pd.DataFrame:
    wanted = {_SHORT.get(ours, ours): theirs for ours, theirs in columns.items()}
    for ours, theirs in wanted.items():
        if ours not in COLUMNS:
            raise GivenError(f'columns: "{ours}" is none of ours; use {", ".join((*_SHORT, *COLUMNS))}')
        if theirs not in frame:
            raise GivenError(f'{name}: has no column "{theirs}"; it has {", ".join(map(str, frame.columns))}')
    found = pd.DataFrame({ours: frame[wanted.get(ours, ours)] for ours in COLUMNS if wanted.get(ours, ours) in frame})
    for ours in COLUMNS[:2]:
        if ours not in found:
            raise GivenError(
                f"{name}: has no column {ours}; name yours with --columns {ours.removesuffix('_id')}=…; "
                f"it has {', '.join(map(str, frame.columns))}"
            )
    return found


def _text(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Ids as text: 7, 7.0 and "7" are the same id."""
    if (empty := int(column.isna().sum())) > 0:
        raise GivenError(f"{name}: {empty} rows have no {column.name}; leave them out before")
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype("int64")
    return column.astype(str)


def _numbers(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    found = pd.to_numeric(column, errors="coerce")
    if (bad := found.isna()).any():
        raise GivenError(f"{name}: quantity {column[bad].iloc[0]!r} is no number")
    return found.astype(np.float64)


def _times(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Aware times from times, texts, or numbers since 1970."""
    try:
        if pd.api.types.is_numeric_dtype(column):
            largest = float(column.max())
            unit: Any = next(unit for least, unit in _EPOCH_UNITS if largest >= least)
            return pd.to_datetime(column, unit=unit, utc=True)
        return pd.to_datetime(column, utc=True)
    except (ValueError, TypeError, StopIteration) as error:
        raise GivenError(
            f"{name}: occurred_at cannot be read as times ({error}); give ISO times or seconds since 1970, or leave "
            "the column out"
        ) from error
