"""A team's own history: a folder with a CSV or Parquet file for each table, as it is or with a `map.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from features import border
from features.border import BorderError
from features.entities import Programme
from features.sources import files
from features.sources.folder_map import FolderMap, TableMap, read_map
from features.sources.loaded import Loaded, all_rejected, content_ids, members_seen, products_seen, rule_counts
from features.tables import TABLES, Table

DESCRIPTION = (
    "a folder of your own: members, products, purchases, points, ... as CSV or Parquet in our columns; "
    "for your own file and column names give --map map.yaml"
)

RULES = {
    "KNOWN_AT_ASSUMED": "no known_at: taken as known when it happened",
    "ID_DERIVED": "no id of its own: made from the content of the row, so rows alike in all columns are one",
    "AMOUNT_COMPUTED": "no amount: quantity · unit_price - discount",
    "MARGIN_ASSUMED": "no unit_margin: the programme's default share of the price",
}
"""What is filled in where a file does not say it; counted in rows."""

_KINDS = ("parquet", "csv", "csv.zip")
_SINCE = pd.Timestamp("2000-01-01", tz="UTC")
_IDS = ("purchase_id", "entry_id", "engagement_id", "event_id", "outcome_id")
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
        raise BorderError(f"{path}: no such folder; give the folder that holds your tables.")
    mapping = mapping or files.look_for(path, ("map.yaml",))
    names = read_map(mapping) if mapping else FolderMap()
    zone = names.timezone or programme.timezone
    counts = dict.fromkeys(RULES, 0)
    parts = {
        name: _read_table(table, file, names.tables.get(name, _PLAIN), zone, programme, counts)
        for name, table in TABLES.items()
        if (file := _file_of(path, name, names)) is not None
    }
    if not parts:
        raise BorderError(
            f"{path.name}: the history is empty: none of {', '.join(f'{name}.csv' for name in TABLES)} (or .parquet) "
            "is in it. Name your files so, or give --map map.yaml."
        )
    tables = {name: accepted for name, (accepted, _) in parts.items()}
    rejected = all_rejected([rejected for _, rejected in parts.values()])
    notes = _derive(tables, names, programme)
    return Loaded(
        tables=tables,
        rejected=rejected,
        counts=counts | rule_counts(rejected),
        rules={**border.RULES, **RULES},
        notes=(*notes, *_unknown(tables), f"Times without an offset are taken as local time in {zone}."),
    )


def _file_of(folder: Path, name: str, names: FolderMap) -> Path | None:
    if name in names.tables:
        return files.find(folder, (names.tables[name].file,), f"the file of {name} that map.yaml names")
    return files.look_for(folder, [f"{name}.{kind}" for kind in _KINDS])


def _read_table(
    table: Table, file: Path, mapped: TableMap, zone: str, programme: Programme, counts: dict[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    form = files.TextFormat(separator=mapped.separator, decimal=mapped.decimal, encodings=(mapped.encoding,))
    raw = files.read(file, form)
    frame = _renamed(raw, mapped, file.name)
    for column in table.columns:
        if column.kind == "time" and column.name in frame and mapped.time_format:
            frame[column.name] = _in_format(frame[column.name], mapped.time_format)
    frame = _filled(frame, table, programme, counts)
    return border.check(frame, table, file=file.name, timezone=zone)


def _renamed(raw: pd.DataFrame, mapped: TableMap, file: str) -> pd.DataFrame:
    theirs = list(mapped.columns.values())
    border.require_columns(list(map(str, raw.columns)), theirs, file, "Correct the name in map.yaml.")
    taken = raw[[name for name in raw.columns if name not in theirs and name not in mapped.columns]]
    given = {ours: raw[name] for ours, name in mapped.columns.items()}
    return taken.assign(**given, **mapped.constants)


def _in_format(values: pd.Series[Any], form: str) -> pd.Series[Any]:
    """Times in the given form; what does not fit stays as it is, for the border to name it."""
    read = pd.to_datetime(values, format=form, errors="coerce")
    if (read.notna() | values.isna()).all():
        return read
    return read.astype("object").where(read.notna(), "(" + values.astype(str) + f") is not {form}")


def _filled(frame: pd.DataFrame, table: Table, programme: Programme, counts: dict[str, int]) -> pd.DataFrame:
    """What follows from what is there, or is assumed where nothing is said; each is counted."""
    content = sorted(map(str, frame.columns))
    if "known_at" not in frame and "occurred_at" in frame:
        frame = frame.assign(known_at=frame["occurred_at"])
        counts["KNOWN_AT_ASSUMED"] += len(frame)
    if table.name == "products":
        frame = _with_margin(frame, programme, counts)
    if table.name == "purchases":
        frame = _with_amount(frame, counts)
    key = table.key[0]
    if key in _IDS and key not in frame and "member_id" in frame:
        frame = frame.assign(**{key: content_ids(frame, ["member_id"], content)})
        counts["ID_DERIVED"] += len(frame)
    return frame


def _with_margin(frame: pd.DataFrame, programme: Programme, counts: dict[str, int]) -> pd.DataFrame:
    if "unit_price" not in frame:
        return frame
    given = frame["unit_margin"] if "unit_margin" in frame else pd.Series(index=frame.index, dtype="object")
    missing = given.isna()
    price = pd.to_numeric(frame["unit_price"], errors="coerce")
    assumed = (price * programme.default_margin_rate).round(6)
    basis = frame["margin_basis"] if "margin_basis" in frame else pd.Series("given", index=frame.index)
    counts["MARGIN_ASSUMED"] += int(missing.sum())
    return frame.assign(
        unit_margin=given.astype("object").where(~missing, assumed), margin_basis=basis.where(~missing, "assumed")
    )


def _with_amount(frame: pd.DataFrame, counts: dict[str, int]) -> pd.DataFrame:
    if "discount" not in frame:
        frame = frame.assign(discount=0.0)
    if "amount" in frame or not {"quantity", "unit_price"} <= set(frame.columns):
        return frame
    numbers = {name: pd.to_numeric(frame[name], errors="coerce") for name in ("quantity", "unit_price", "discount")}
    counts["AMOUNT_COMPUTED"] += len(frame)
    return frame.assign(amount=(numbers["quantity"] * numbers["unit_price"] - numbers["discount"]).round(6))


def _derive(tables: dict[str, pd.DataFrame], names: FolderMap, programme: Programme) -> tuple[str, ...]:
    """Make the tables that the map asks to derive; what was assumed about them."""
    purchases = tables.get("purchases")
    if purchases is None:
        return ()
    notes = []
    if "members" in names.derive and "members" not in tables:
        tables["members"] = members_seen(purchases[["member_id", "occurred_at"]], _SINCE, consent=False)
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
