"""A team's own history: a folder with a CSV or Parquet file for each table, as it is or with a `map.yaml`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from features import border
from features.border import BorderError
from features.entities import Programme
from features.sources import files
from features.sources.filling import RULES, SINCE, fill
from features.sources.folder_map import FolderMap, TableMap, read_map
from features.sources.loaded import Loaded, all_rejected, members_seen, products_seen, rule_counts
from features.sources.own_writing import in_our_words
from features.tables import TABLES, Table

DESCRIPTION = (
    "a folder of your own: members, products, purchases, points, ... as CSV or Parquet in our columns; "
    "for your own file and column names give --map map.yaml"
)

_KINDS = ("parquet", "csv", "csv.zip")
_PLAIN = TableMap(file="")


def load(path: Path, programme: Programme, mapping: Path | None = None) -> Loaded:
    """Read all tables that the folder has.

    Args:
        path: The folder.
        programme: Its time zone is that of times without an offset, unless the map names one; its default margin rate
            applies where a product has no margin.
        mapping: A `map.yaml`; a file of that name in the folder is taken by itself.

    Raises:
        BorderError: The folder, a file or the map cannot be used, or there is nothing in it.
    """
    if not path.is_dir():
        what = "is a file, not a folder" if path.exists() else "no such folder"
        raise BorderError(f"{path}: {what}; give the folder that holds your tables.")
    mapping = mapping or files.look_for(path, ("map.yaml",))
    names = read_map(mapping) if mapping else FolderMap()
    zone = names.timezone or programme.timezone
    counts = Counter(dict.fromkeys(RULES, 0))
    parts = {
        name: _read_table(table, file, names.tables.get(name, _PLAIN), zone, programme, counts)
        for name, table in TABLES.items()
        if (file := _file_of(path, name, names)) is not None
    }
    if not parts:
        there = ", ".join(sorted(one.name for one in path.iterdir())[:12]) or "nothing"
        raise BorderError(
            f"{path.name}: the history is empty: none of {', '.join(f'{name}.csv' for name in TABLES)} (or .parquet) "
            f"is in it, but {there}. Name your files so, or give --map map.yaml (docs/histories.md has an example)."
        )
    tables = {name: accepted for name, (accepted, _) in parts.items()}
    rejected = all_rejected([rejected for _, rejected in parts.values()])
    notes = _derive(tables, names, programme)
    return Loaded(
        tables=tables,
        rejected=rejected,
        counts=dict(counts) | rule_counts(rejected),
        rules={**border.RULES, **RULES},
        notes=(*notes, *_unknown(tables), f"Times without an offset are taken as local time in {zone}."),
    )


def _file_of(folder: Path, name: str, names: FolderMap) -> Path | None:
    if name in names.tables:
        return files.find(folder, (names.tables[name].file,), f"the file of {name} that map.yaml names")
    return files.look_for(folder, [f"{name}.{kind}" for kind in _KINDS])


def _read_table(
    table: Table, file: Path, mapped: TableMap, zone: str, programme: Programme, counts: Counter[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    raw = files.read(file, files.TextFormat(separator=mapped.separator, encodings=(mapped.encoding,)))
    frame = in_our_words(raw, table, mapped, file.name)
    written = set(frame.columns)
    frame, filled = fill(frame, table, programme, each_row=mapped.equal_rows == "each")
    accepted, rejected = border.check(frame, table, file=file.name, timezone=zone, had=list(map(str, raw.columns)))
    rejected = _of_the_file(rejected, written)
    if accepted.empty:
        raise BorderError(_none_left(rejected, len(frame)))
    counts.update(filled)
    return accepted, rejected


def _of_the_file(rejected: pd.DataFrame, given: set[str]) -> pd.DataFrame:
    """The faults, without those of columns that were only computed from a faulty one of the same row."""
    own = rejected["column"].isin(given)
    return rejected[own | ~rejected["row"].isin(rejected.loc[own, "row"])].reset_index(drop=True)


def _none_left(rejected: pd.DataFrame, rows: int) -> str:
    """What to say of a file of which no row can be used: its commonest fault, with an example."""
    (column, rule), _ = Counter(zip(rejected["column"], rejected["rule"], strict=True)).most_common(1)[0]
    example = rejected[(rejected["column"] == column) & (rejected["rule"] == rule)].iloc[0]
    value = "empty" if example["value"] is None else repr(example["value"])
    return (
        f"{example['file']}: none of its {rows:,} rows can be used: in row {example['row']} {column} is {value}; "
        f"{border.RULES[rule]} ({rule}). Correct the file, or say in map.yaml how it is written "
        "(columns, values, constants, decimal, time_format)."
    )


def _derive(tables: dict[str, pd.DataFrame], names: FolderMap, programme: Programme) -> tuple[str, ...]:
    """Make the tables that the map asks to derive; what was assumed about them."""
    purchases = tables.get("purchases")
    if purchases is None:
        return ()
    notes = []
    if "members" in names.derive and "members" not in tables:
        tables["members"] = members_seen(purchases[["member_id", "occurred_at"]], SINCE, consent=False)
        notes.append("Members: derived from the purchases, without any consent; give a members file to contact them.")
    if "products" in names.derive and "products" not in tables:
        sold = purchases[["product_id", "unit_price", "occurred_at"]].assign(category="unknown")
        tables["products"] = products_seen(sold, programme)
        notes.append("Products: derived from the purchases, all of the category `unknown`, margins assumed.")
    return tuple(notes)


def _unknown(tables: dict[str, pd.DataFrame]) -> tuple[str, ...]:
    """How many purchases name members or products that this delivery does not have; they may come with another."""
    if "purchases" not in tables:
        return ()
    notes = []
    for name, key in (("members", "member_id"), ("products", "product_id")):
        known = tables[name][key] if name in tables else pd.Series(dtype="object")
        strange = int((~tables["purchases"][key].isin(known)).sum())
        if strange:
            notes.append(
                f"{strange:,} purchases name {name} that are not in this delivery: load them too, "
                f"or write `derive: [{name}]` into map.yaml."
            )
    return tuple(notes)
