"""What is said about a product: its name in an answer, the fields a caller may filter by, and whether it can be had.

A history says what products are. What changes within a day stands in `assortment.csv` beside it, which the shop's stock
system may replace at any moment: `product_id`, and any of `available` (true or false), `available_from` and
`available_until` (times with an offset) and `tags` (words with `|` between them). What it does not name can be had.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

FIELDS = ("product_id", "name", "category", "brand", "unit_price", "unit_margin", "epoch(occurred_at)")
_ASSORTMENT = ("available", "available_from", "available_until", "tags")


class AssortmentError(ValueError):
    """`assortment.csv` cannot be used; the text says where and why."""


@dataclass(frozen=True, eq=False)
class Products:
    """All products that a history knows: id → facts (`id`, `name`, `category`, `brand`, `price`, `margin`, `tags`)."""

    version: str = ""
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Product id → from when it can be had and until when, epoch seconds; one that is not here always can."""

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Product id → name, where there is one."""
        return {product: str(facts["name"]) for product, facts in self.facts.items() if facts["name"]}

    @cached_property
    def changes(self) -> tuple[float, ...]:
        """Every moment at which some product comes or goes, in order."""
        return tuple(sorted({bound for span in self.spans.values() for bound in span if math.isfinite(bound)}))

    def gone(self, at: float) -> frozenset[str]:
        """The products that cannot be had at this moment; the same object until that changes."""
        return _gone(self, bisect_right(self.changes, at))


@lru_cache(maxsize=16)
def _gone(products: Products, passed: int) -> frozenset[str]:
    at = products.changes[passed - 1] if passed else -math.inf
    return frozenset(product for product, (begins, ends) in products.spans.items() if not begins <= at < ends)


def read(tables: Path, assortment: Path | None = None) -> Products:
    """The products of the typed tables, with what `assortment.csv` says of them; none where there is no table yet.

    Raises:
        AssortmentError: that file is damaged; it names the column or the rule.
    """
    path = tables / "products.parquet"
    if not path.exists():
        return Products()
    import duckdb

    stat = path.stat()
    with duckdb.connect() as connection:
        rows = connection.execute(f"select {', '.join(FIELDS)} from read_parquet(?)", [str(path)]).fetchall()
    said = _assortment(assortment) if assortment is not None and assortment.exists() else {}
    facts = {row[0]: _facts(row, said.get(row[0])) for row in rows}
    spans = {row[0]: _span(row[6], said.get(row[0])) for row in rows}
    return Products(f"{stat.st_mtime_ns}-{stat.st_size}", facts, spans)


def _facts(row: tuple[Any, ...], said: Mapping[str, Any] | None) -> Mapping[str, object]:
    named = dict(zip(("id", "name", "category", "brand", "price", "margin"), row, strict=False))
    tags = (said or {}).get("tags")
    return {**named, "tags": tuple(tag.strip() for tag in tags.split("|") if tag.strip()) if tags else ()}


def _span(since: float, said: Mapping[str, Any] | None) -> tuple[float, float]:
    """From when and until when a product can be had; the history's own date counts where nothing else is said."""
    if said is None:
        return since, math.inf
    if said.get("available") is False:
        return math.inf, -math.inf
    begins, ends = said.get("available_from"), said.get("available_until")
    return since if begins is None else begins, math.inf if ends is None else ends


def _assortment(path: Path) -> dict[str, Mapping[str, Any]]:
    import duckdb

    columns = {"available": "boolean", "available_from": "timestamptz", "available_until": "timestamptz"}
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            source = "read_csv(?, header = true, all_varchar = true)"
            there = {
                str(one[0]) for one in connection.execute(f"select * from {source} limit 0", [str(path)]).description
            }
            if "product_id" not in there or there - {"product_id", *_ASSORTMENT}:
                raise AssortmentError(
                    f"{path.name}: has the columns {', '.join(sorted(there))}; it needs product_id, and may have "
                    f"{', '.join(_ASSORTMENT)}"
                )
            chosen = [name for name in _ASSORTMENT if name in there]
            asked = [_cast(name, columns.get(name)) for name in chosen]
            rows = connection.execute(
                f"select product_id, {', '.join(asked) or '1'} from {source}", [str(path)]
            ).fetchall()
        except duckdb.Error as error:
            raise AssortmentError(
                f"{path.name}: {str(error).splitlines()[0]}; the last good one stays in use"
            ) from None
    return {row[0]: dict(zip(chosen, row[1:], strict=False)) for row in rows}


def _cast(name: str, kind: str | None) -> str:
    if kind is None:
        return name
    typed = f"cast(nullif(trim({name}), '') as {kind})"
    return f"epoch({typed})" if kind == "timestamptz" else typed
