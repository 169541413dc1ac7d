"""What a source hands over: typed tables, what was set aside, and what was assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pandas as pd

from features.border import BorderError, check, finish, no_rejects
from features.entities import Programme
from features.tables import TABLES


@dataclass(frozen=True, slots=True)
class Loaded:
    """A history as read from its source, ready for `features.history.merge`."""

    tables: Mapping[str, pd.DataFrame]
    """Typed rows by name of their table."""
    rejected: pd.DataFrame
    """Rows set aside: file, row, column, rule, value."""
    counts: Mapping[str, int]
    """How many rows each rule met; a rule that met none counts 0."""
    rules: Mapping[str, str]
    """What each rule in `counts` asks or does, for people."""
    notes: tuple[str, ...]
    """What was assumed, for the summary."""
    catalog_offers: tuple[Mapping[str, Any], ...] = field(default=())
    """Entries in the form of `offers.yaml`, where the source has campaigns."""


def typed(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that the source's own rules have cleaned, as the typed table of that name.

    Raises:
        BorderError: Some of them still break the table's contract: the adapter is wrong, not the file.
    """
    accepted, rejected = check(rows.reset_index(drop=True), TABLES[name], file=name)
    if len(rejected):
        fault = rejected.iloc[0]
        raise BorderError(
            f"{name}: {len(rejected)} cleaned rows break {fault.rule} in {fault.column} (such as {fault.value!r}); "
            "this is a fault of the adapter, please report it."
        )
    return accepted


def all_rejected(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """The rejected rows of several checks in one frame."""
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else no_rejects()


def rule_counts(rejected: pd.DataFrame) -> dict[str, int]:
    """How many faults each rule found."""
    return {str(rule): int(n) for rule, n in rejected["rule"].value_counts().items()}


def content_ids(rows: pd.DataFrame, prefix: Sequence[str], content: Sequence[str]) -> pd.Series[Any]:
    """Ids made from what the rows say, so that they do not depend on where a row stands or when it is loaded.

    Args:
        rows: The rows.
        prefix: Columns whose values begin the id, so that people recognise it.
        content: Columns whose hash ends it; rows alike in all of them get the same id.
    """
    said = rows[list(dict.fromkeys([*prefix, *content]))]
    begin = " || '-' || ".join(f'"{name}"' for name in prefix)
    values = ", ".join(f"coalesce(cast(\"{name}\" as varchar), '')" for name in content)
    with duckdb.connect() as db:
        db.execute("set TimeZone = 'UTC'")
        query = f"select {begin} || '-' || left(md5(concat_ws('|', {values})), 10) as id from said"
        ids = db.register("said", said).execute(query).fetchnumpy()["id"]
    return pd.Series(ids, index=rows.index, dtype="object")


def first_known(rows: pd.DataFrame, key: str) -> pd.DataFrame:
    """Of the rows with one key the one known first, ties by content: the same whatever the order."""
    first = rows[rows["known_at"] == rows.groupby(key)["known_at"].transform("min")]
    return first.sort_values(list(first.columns), kind="stable").drop_duplicates(key).sort_values(key)


def members_seen(facts: pd.DataFrame, since: pd.Timestamp, *, consent: bool) -> pd.DataFrame:
    """Members where the source has facts about them but no list of them: enrolled with their first fact.

    The row's `occurred_at` is the beginning of the source's history, so that there is one row for each member however
    the history is delivered, and an earlier fact that comes late corrects it.

    Args:
        facts: Columns `member_id` and `occurred_at`, and any of the optional columns of members.
        since: The declared beginning of the source's history.
        consent: What to assume about every consent.
    """
    rows = facts.rename(columns={"occurred_at": "known_at"})
    rows = first_known(rows, "member_id")
    consents = dict.fromkeys((c.name for c in TABLES["members"].columns if c.name.startswith("consent_")), consent)
    return finish(rows.assign(enrolled_at=rows["known_at"], occurred_at=since, **consents), TABLES["members"])


def products_seen(sales: pd.DataFrame, programme: Programme) -> pd.DataFrame:
    """Products as they were first sold: name, category, brand and price of their first sale, margin assumed.

    Args:
        sales: Columns `product_id, category, unit_price, occurred_at`, optionally `name` and `brand`.
        programme: Its default margin rate applies.
    """
    rows = first_known(sales.assign(known_at=sales["occurred_at"]), "product_id")
    margin = (rows["unit_price"] * programme.default_margin_rate).round(6)
    return finish(rows.assign(unit_margin=margin, margin_basis="assumed"), TABLES["products"])
