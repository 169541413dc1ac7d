"""Members at cut-offs with their features, and the net margin that each brought in the horizon after it.

Net margin of a line is what was paid less what the product costs; where the cost is only assumed, the assumed share of
what was paid. A return takes its margin back. Money of later days is discounted to the cut-off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from features import cutoffs
from features.behavior import definitions
from features.entities import Programme
from features.member_facts import of
from features.relations import Feature
from training.frames import HistoryTooShortError

_WARM_UP_DAYS = 30
"""A cut-off this close to the first purchase has nothing behind it; nor has one closer than half a horizon."""
HORIZONS = (365, 180, 90, 30)
"""Days; the longest for which a model can be learned and judged is taken."""
_RELATIONS = ("baskets", "lines", "profile")
_DAY_US = 86_400_000_000
_YEAR_DAYS = 365.0

_MARGINS = """
create temp table bought as
select bought.member_id as member_id, bought.quantity as quantity, bought.amount as amount,
  epoch_us(bought.occurred_at) as occurred_us, epoch_us(bought.known_at) as known_us,
  coalesce(case
    when product.margin_basis = 'given'
      then bought.amount - bought.quantity * (product.unit_price - product.unit_margin)
    when product.unit_price > 0 then bought.amount * product.unit_margin / product.unit_price
  end, bought.amount * $rate) as margin
from read_parquet($purchases) as bought
left join read_parquet($products) as product on product.product_id = bought.product_id
"""
_AT_A_CUT = """
select member_id,
  sum(case when quantity > 0 and occurred_us <= $at and known_us <= $at then 1 else 0 end) as baskets,
  sum(case when occurred_us <= $at and known_us <= $at then margin else 0 end) as earned,
  sum(case when occurred_us <= $at and known_us <= $at then amount else 0 end) as paid,
  sum(case when occurred_us > $at and occurred_us <= $until and known_us <= $known_by
    then margin * pow(1 + $discount, -((occurred_us - $at) / $year)) else 0 end) as brought
from bought group by member_id having baskets > 0 order by member_id
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which horizon, and which cut-offs to learn at and to judge at."""

    days: int
    learn: tuple[datetime, ...]
    """For the version: youngest one horizon before `at`, oldest first."""
    judged: datetime
    """The youngest cut-off whose horizon is closed."""
    learn_before: tuple[datetime, ...]
    """Cut-offs whose horizon was closed at `judged`."""

    @property
    def every(self) -> tuple[datetime, ...]:
        """All of them, oldest first."""
        return tuple(sorted({*self.learn, self.judged, *self.learn_before}))


def plan(at: datetime, begins: datetime, days: int | None, cut_offs: int) -> Plan:
    """Cut-offs one horizon apart, so that no two of them see the same days.

    Args:
        at: where the model stands.
        begins: the first purchase.
        days: the horizon; None takes the longest of `HORIZONS` that can be learned and judged.
        cut_offs: to learn at, at most.

    Raises:
        HistoryTooShortError: there is no room for a cut-off to learn at and one to judge at.
    """
    fitting = [each for each in HORIZONS if at - timedelta(days=2 * each) >= earliest(begins, each)]
    horizon = days or (fitting[0] if fitting else HORIZONS[-1])
    first = earliest(begins, horizon)
    closed = [at - timedelta(days=horizon * (i + 1)) for i in range(cut_offs + 1)]
    closed = [moment for moment in closed if moment >= first]
    if len(closed) < 2:
        raise HistoryTooShortError(
            f"a horizon of {horizon} days needs {(first - begins).days + 2 * horizon} days of history, there are "
            f"{max(0, (at - begins).days)} (from {begins:%Y-%m-%d} on); load more history or set a shorter "
            "lifetime.horizon_days in training.yaml"
        )
    return Plan(horizon, tuple(sorted(closed[:cut_offs])), closed[0], tuple(sorted(closed[1 : cut_offs + 1])))


def earliest(begins: datetime, days: int) -> datetime:
    """The first moment that a horizon of `days` may be learned at."""
    return begins + timedelta(days=max(_WARM_UP_DAYS, days // 2))


def chosen(programme: Programme) -> tuple[Feature, ...]:
    """What the model sees of a member: what was bought, when and for how much."""
    return tuple(feature for feature in definitions(programme) if feature.relation in _RELATIONS)


def frame(
    tables: Path,
    programme: Programme,
    ats: Sequence[datetime],
    days: int,
    known_by: datetime,
    discount: float,
    most: int,
) -> pd.DataFrame:
    """All who had bought within three years of each cut-off, with features as known then.

    Args:
        tables: folder of the typed tables.
        programme: its rules.
        ats: the cut-offs.
        days: the horizon.
        known_by: labels rest on what was known by then.
        discount: by which money of a year later is less worth.
        most: members at a cut-off at most; of more, every so-many-eth by id.

    Returns:
        Columns member_id, at, earned and paid (net margin and money so far), brought (net margin in the horizon,
        discounted) and a column for each feature, sorted by at and member_id.
    """
    parts = []
    for at, found in _at_cuts(tables, programme, ats, days, known_by, discount):
        parts.append(found.iloc[:: max(1, -(-len(found) // most))].assign(at=pd.Timestamp(at).as_unit("us")))
    whole = pd.concat(parts, ignore_index=True)
    values = cutoffs.compute(tables, whole[["member_id", "at"]], chosen(programme), of(programme))
    joined = pd.concat([whole, values.drop(columns=["member_id", "at"])], axis=1)
    return joined[joined["lifetime_baskets"] > 0].reset_index(drop=True)


def brought(
    tables: Path, programme: Programme, at: datetime, days: int, known_by: datetime, discount: float
) -> pd.Series:
    """The label alone, by member_id; arguments as for `frame`."""
    ((_, found),) = _at_cuts(tables, programme, [at], days, known_by, discount)
    return found.set_index("member_id")["brought"]


def _at_cuts(
    tables: Path, programme: Programme, ats: Sequence[datetime], days: int, known_by: datetime, discount: float
) -> list[tuple[datetime, pd.DataFrame]]:
    rules = {"known_by": round(known_by.timestamp() * 1e6), "discount": discount, "year": _YEAR_DAYS * _DAY_US}
    found = []
    with duckdb.connect() as connection:
        connection.execute(_MARGINS, _files(tables) | {"rate": programme.default_margin_rate})
        for at in sorted(ats):
            cut = round(at.timestamp() * 1e6)
            part = connection.execute(_AT_A_CUT, rules | {"at": cut, "until": cut + days * _DAY_US}).df()
            found.append((at, part.drop(columns="baskets")))
    return found


def _files(tables: Path) -> dict[str, str]:
    return {name: str(tables / f"{name}.parquet") for name in ("purchases", "products")}


def lines(tables: Path, programme: Programme) -> pd.DataFrame:
    """Purchases as `training.purchase_days.summary` takes them, `amount` being the net margin of the line."""
    with duckdb.connect() as connection:
        connection.execute(_MARGINS, _files(tables) | {"rate": programme.default_margin_rate})
        text = "select member_id, quantity, margin as amount, occurred_us, known_us from bought"
        found = connection.execute(text).df()
    for name in ("occurred", "known"):
        found[f"{name}_at"] = pd.to_datetime(found.pop(f"{name}_us"), unit="us", utc=True)
    return found


def at_cut(whole: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """The rows of one cut-off."""
    return whole[whole["at"] == pd.Timestamp(at)].reset_index(drop=True)


def rows(part: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """The features as an array, (n, n_features)."""
    return part[list(names)].to_numpy(dtype=np.float64)
