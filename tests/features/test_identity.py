"""Cards, visits and merged accounts: their history follows the member, and comes back when a link is taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features import behavior, history, identity
from features.border import BorderError
from features.identity import follow, links
from tests.features.small_history import PROGRAMME, T0, typed


def day(back: float) -> datetime:
    return T0 - timedelta(days=back)


def linked(*rows: tuple[str, str | None, float]) -> pd.DataFrame:
    frame = [{"card_id": card, "member_id": member, "occurred_at": day(back)} for card, member, back in rows]
    return typed("identities", [{**row, "known_at": row["occurred_at"]} for row in frame])


def bought(*rows: tuple[str, float]) -> pd.DataFrame:
    return typed(
        "purchases",
        [
            {"purchase_id": f"{who}-{back}", "basket_id": f"{who}-{back}", "member_id": who, "occurred_at": day(back)}
            for who, back in rows
        ],
    )


def people(*rows: tuple[str, float, bool]) -> pd.DataFrame:
    return typed(
        "members",
        [
            {"member_id": who, "occurred_at": day(back), "enrolled_at": day(back), "consent_email": email}
            for who, back, email in rows
        ],
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A member `a`, a card `b` that is a member of its own, and a visit `~c`."""
    tables, received = tmp_path / "tables", tmp_path / "received"
    product = typed("products", [{"product_id": "p0", "category": "tea", "occurred_at": day(500)}])
    rows = {
        "members": people(("a", 100, True), ("b", 300, False)),
        "products": product,
        "purchases": bought(("a", 10), ("a", 20), ("b", 5), ("~c", 1)),
    }
    history.merge(tables, rows, watermark=7)
    follow(tables, received)
    return tables, received


def merge(folders: tuple[Path, Path], incoming: Mapping[str, pd.DataFrame]) -> int:
    tables, received = folders
    history.merge(identity.arriving(tables, received), incoming)
    return follow(tables, received)


def owners(tables: Path) -> dict[str, str]:
    rows = history.read(tables, "purchases", ["purchase_id", "member_id"])
    return dict(zip(rows["purchase_id"], rows["member_id"], strict=True))


def digests(tables: Path, names: Sequence[str] = ("members", "purchases", "products")) -> dict[str, Any]:
    return {name: (tables / f"{name}.parquet").read_bytes() for name in names}


def test_without_links_and_visits_nothing_is_written_twice(tmp_path: Path) -> None:
    history.merge(tmp_path / "tables", {"purchases": bought(("a", 1))})
    assert follow(tmp_path / "tables", tmp_path / "received") == 0
    assert not (tmp_path / "received").exists()


def test_a_visit_is_in_the_tables_once_somebody_knows_whose_it_was(folders: tuple[Path, Path]) -> None:
    assert owners(folders[0]) == {"a-10": "a", "a-20": "a", "b-5": "b"}
    assert merge(folders, {"identities": linked(("~c", "a", 0.5))}) == 1
    assert owners(folders[0])["~c-1"] == "a"
    assert identity.read(folders[0]) == {"~c": "a"}


def test_a_merged_card_counts_for_its_member_and_is_nobody_of_its_own(folders: tuple[Path, Path]) -> None:
    merge(folders, {"identities": linked(("b", "a", 0))})
    assert set(owners(folders[0]).values()) == {"a"}
    (row,) = history.read(folders[0], "members").to_dict("records")
    assert (row["member_id"], row["enrolled_at"]) == ("a", day(300))
    assert not row["consent_email"], "who objected under one card has objected"
    assert row["consent_sms"]
    pairs = pd.DataFrame({"member_id": ["a"], "at": pd.Series([T0], dtype="datetime64[us, UTC]")})
    found = behavior.historical(folders[0], pairs, PROGRAMME).iloc[0]
    assert (found["recency_days"], found["baskets_30d"], found["tenure_days"]) == (5.0, 3.0, 300.0)


def test_a_link_that_is_taken_back_restores_every_byte(folders: tuple[Path, Path]) -> None:
    before = digests(folders[0])
    merge(folders, {"identities": linked(("b", "a", 3))})
    assert digests(folders[0]) != before
    merge(folders, {"identities": linked(("b", None, 2))})
    assert digests(folders[0]) == before
    assert identity.read(folders[0]) == {}
    assert identity.touched(folders[0], day(2.5)) == {"a", "b"}


def test_rows_that_come_again_under_the_card_are_the_same_rows(folders: tuple[Path, Path]) -> None:
    merge(folders, {"identities": linked(("b", "a", 0))})
    joined = digests(folders[0])
    merge(folders, {"purchases": bought(("b", 5), ("a", 10)), "members": people(("b", 300, False))})
    assert digests(folders[0]) == joined
    merge(folders, {"purchases": bought(("b", 0.2))})
    assert owners(folders[0])["b-0.2"] == "a"
    assert history.watermark(folders[0]) == 7
    assert history.damage(folders[0]) == []


def test_a_run_that_was_cut_off_is_finished_by_the_next(folders: tuple[Path, Path]) -> None:
    tables, received = folders
    history.merge(received, {"identities": linked(("b", "a", 0))}, watermark=9)
    assert set(owners(tables).values()) == {"a", "b"}
    follow(tables, received)
    assert set(owners(tables).values()) == {"a"}
    assert history.watermark(tables) == 9


def test_chains_lead_to_their_end_and_circles_are_refused_by_name() -> None:
    assert links(linked(("c", "b", 3), ("b", "a", 2))) == {"c": "a", "b": "a"}
    assert links(linked(("a", "a", 3))) == {}
    with pytest.raises(BorderError, match="is a circle; take one of these links back"):
        links(linked(("a", "b", 3), ("b", "a", 2)))


def test_a_card_without_a_row_of_its_member_stands_in_for_it(folders: tuple[Path, Path]) -> None:
    merge(folders, {"identities": linked(("a", "new", 1), ("b", "new", 1))})
    rows = history.read(folders[0], "members")
    assert set(rows["member_id"]) == {"new"}
    assert not rows["consent_email"].any() and (rows["enrolled_at"] == day(300)).all()
