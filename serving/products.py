"""What is said about a product: its name in an answer, and the fields a caller may filter by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

FIELDS = ("product_id", "name", "category", "brand", "unit_price", "unit_margin")


@dataclass(frozen=True)
class Products:
    """All products that a history knows: id → facts (`id`, `name`, `category`, `brand`, `price`, `margin`)."""

    version: str = ""
    facts: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """Product id → name, where there is one."""
        return {product: str(facts["name"]) for product, facts in self.facts.items() if facts["name"]}


def read(tables: Path) -> Products:
    """The products of the typed tables; none where there is no table yet."""
    path = tables / "products.parquet"
    if not path.exists():
        return Products()
    import duckdb

    stat = path.stat()
    with duckdb.connect() as connection:
        rows = connection.execute(f"select {', '.join(FIELDS)} from read_parquet(?)", [str(path)]).fetchall()
    facts = {
        row[0]: {"id": row[0], "name": row[1], "category": row[2], "brand": row[3], "price": row[4], "margin": row[5]}
        for row in rows
    }
    return Products(f"{stat.st_mtime_ns}-{stat.st_size}", facts)
