"""Whose history is it: cards, anonymous visits and merged accounts follow the member they belong to, and back.

Rows are kept as they came, under the id they came with, in the folder `received`. The tables that everything else reads
are made from them with every id replaced by its member, so that a link taken back restores what was before, byte for
byte. Without any link, and without anonymous rows, there is no such folder and nothing is written twice.

A link holds for the whole history from the moment it is made: features of earlier moments are then those of the joined
history. An anonymous id begins with `~`; its rows are in the tables once somebody knows whose they are, and not before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb
import pandas as pd

from features import history
from features.border import BorderError
from features.table_files import count, quote, replacing, session, table_path, write_json, write_sorted
from features.tables import IDENTITIES, MEMBERS, TABLES, Table

ANONYMOUS = "~"
LINKS = "identities.json"
"""Beside the tables: which card is whose, and which received rows that was worked out from."""
_CONSENTS = tuple(column.name for column in MEMBERS.columns if column.name.startswith("consent_"))


def links(identities: pd.DataFrame) -> dict[str, str]:
    """Card → member, after every chain of links is followed to its end.

    Args:
        identities: The typed table. For each card the row that happened last holds; one without a member takes the
            link back.

    Raises:
        BorderError: Cards that point at each other in a circle.
    """
    newest = identities.sort_values(["occurred_at", "known_at"], kind="stable").drop_duplicates("card_id", keep="last")
    held = newest[newest["member_id"].notna()]
    direct = dict(zip(held["card_id"], held["member_id"], strict=True))
    return {card: _end(card, direct) for card in direct if direct[card] != card}


def _end(card: str, direct: Mapping[str, str]) -> str:
    seen = [card]
    while (after := direct.get(seen[-1], seen[-1])) != seen[-1]:
        if after in seen:
            circle = " → ".join([*seen[seen.index(after) :], after])
            raise BorderError(
                f"identities: {circle} is a circle; take one of these links back (a row without member_id)"
            )
        seen.append(after)
    return seen[-1]


def read(tables: Path) -> Mapping[str, str]:
    """Card → member as the tables were made; empty where nothing was ever linked."""
    path = tables / LINKS
    found: Mapping[str, str] = json.loads(path.read_text(encoding="utf-8"))["cards"] if path.exists() else {}
    return found


def touched(tables: Path, since: datetime) -> frozenset[str]:
    """Everybody whose history was joined or parted by what became known after `since`."""
    rows = history.read(tables, "identities")
    cards = set(rows.loc[rows["known_at"] > since, "card_id"])
    owners = rows.loc[rows["card_id"].isin(cards), "member_id"].dropna()
    return frozenset({*cards, *owners, *(read(tables).get(card, card) for card in cards)})


def arriving(tables: Path, received: Path) -> Path:
    """Where rows that come in are merged: beside the tables once there are links, else into the tables themselves."""
    return received if received.exists() else tables


def follow(tables: Path, received: Path) -> int:
    """Let every row follow its member; run it after each merge. Cut off, it can simply be run again.

    Args:
        tables: The folder of the tables.
        received: Beside it, rows as they came; made when it is first needed.

    Returns:
        How many cards and visits belong to another id.

    Raises:
        BorderError: See `links`.
    """
    if not received.exists():
        if not _needed(tables):
            return 0
        _link_files(tables, received)
    cards = links(history.read(received, "identities"))
    state = {"cards": cards, "received": history.fingerprint(received)}
    if (tables / LINKS).exists() and json.loads((tables / LINKS).read_text(encoding="utf-8")) == state:
        return len(cards)
    tables.mkdir(parents=True, exist_ok=True)
    with history.locked(tables):
        for name, table in TABLES.items():
            if table_path(received, name).exists():
                _write(table, received, tables, cards)
        history.sign(tables, history.watermark(received))
    write_json(tables / LINKS, state)
    return len(cards)


def _needed(tables: Path) -> bool:
    """Whether there is a link, or a row of an anonymous visit."""
    with session() as db:
        for name, table in TABLES.items():
            path = table_path(tables, name)
            if not path.exists():
                continue
            where = "true" if name == "identities" else f"starts_with(member_id, '{ANONYMOUS}')"
            if (name == "identities" or _of_members(table)) and count(db, f"read_parquet({quote(path)})", where):
                return True
    return False


def _of_members(table: Table) -> bool:
    return table.name != IDENTITIES.name and any(column.name == "member_id" for column in table.columns)


def _link_files(tables: Path, received: Path) -> None:
    """The same files under a second name: tables are replaced as whole files, so neither folder changes the other."""
    fresh = received.with_name(f".{received.name}.new")
    for path in sorted(tables.rglob("*")):
        if path.is_file() and path.name not in (".lock", LINKS):
            target = fresh / path.relative_to(tables)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(path, target)
    fresh.rename(received)


def _write(table: Table, received: Path, tables: Path, cards: Mapping[str, str]) -> None:
    source = f"read_parquet({quote(table_path(received, table.name))})"
    with session() as db, replacing(table_path(tables, table.name)) as tmp:
        if not _of_members(table):
            tmp.unlink(missing_ok=True)
            os.link(table_path(received, table.name), tmp)
            return
        _known_links(db, cards)
        query = _joined_members(source) if table.name == MEMBERS.name else _followed(table, source)
        order = ", ".join(dict.fromkeys(["member_id", "occurred_at", *table.key]))
        write_sorted(db.execute(f"{query} order by {order}"), table, tmp)


def _known_links(db: duckdb.DuckDBPyConnection, cards: Mapping[str, str]) -> None:
    frame = pd.DataFrame({"card": list(cards), "owner": list(cards.values())}, dtype="string")
    db.register("given_links", frame)
    db.execute("create table links as select card, owner from given_links")


def _followed(table: Table, source: str) -> str:
    names = ", ".join(
        "coalesce(l.owner, r.member_id) as member_id" if column.name == "member_id" else f"r.{column.name}"
        for column in table.columns
    )
    return (
        f"select {names} from {source} r left join links l on l.card = r.member_id "
        f"where not starts_with(coalesce(l.owner, r.member_id), '{ANONYMOUS}')"
    )


def _joined_members(source: str) -> str:
    """A member's own rows, enrolled as early as any of the cards and consenting to no more than each of them does.

    Where the member has no row of its own, the cards' rows stand in.
    """
    others = ", ".join(
        f"r.{column.name}"
        for column in MEMBERS.columns
        if column.name not in ("member_id", "enrolled_at", *_CONSENTS, "occurred_at")
    )
    consents = ", ".join(f"r.{name} and coalesce(c.{name}, true) as {name}" for name in _CONSENTS)
    worst = ", ".join(f"bool_and({name}) as {name}" for name in _CONSENTS)
    columns = ", ".join(column.name for column in MEMBERS.columns)
    return f"""
        with rows as (
            select coalesce(l.owner, r.member_id) as owner, l.card is null as own, r.* from {source} r
            left join links l on l.card = r.member_id
        ),
        newest as (
            select * from rows where not own
            qualify row_number() over (partition by member_id order by occurred_at desc, known_at desc) = 1
        ),
        cards as (select owner, min(enrolled_at) as enrolled_at, {worst} from newest group by owner),
        stands as (
            select * from rows qualify own or not bool_or(own) over (partition by owner)
        ),
        joined as (
            select r.owner as member_id, least(r.enrolled_at, coalesce(c.enrolled_at, r.enrolled_at)) as enrolled_at,
                {consents}, r.occurred_at, {others}
            from stands r left join cards c on c.owner = r.owner
            where not starts_with(r.owner, '{ANONYMOUS}')
            qualify row_number() over (partition by r.owner, r.occurred_at order by r.known_at desc, r.member_id) = 1
        )
        select {columns} from joined
    """
