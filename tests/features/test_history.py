"""The files of a history depend on its facts, never on how they came."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import history
from features.border import BorderError
from features.merging import SAME_KEY
from features.table_files import ROW_GROUP

DAY0 = datetime(2026, 1, 1, tzinfo=UTC)


def line(key: str, day: int = 0, **changes: Any) -> dict[str, Any]:
    row = {
        "purchase_id": key,
        "basket_id": "b",
        "member_id": "m1",
        "product_id": "p1",
        "quantity": 1.0,
        "unit_price": 10.0,
        "discount": 0.0,
        "occurred_at": DAY0 + timedelta(days=day),
        "known_at": DAY0 + timedelta(days=day),
        **changes,
    }
    return {"amount": row["quantity"] * row["unit_price"], **row}


def purchases(*rows: dict[str, Any]) -> dict[str, pd.DataFrame]:
    return {"purchases": pd.DataFrame(list(rows))}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def load(folder: Path, *parts: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    for part in parts:
        history.merge(folder, purchases(*part))
    return files_of(folder)


def test_rows_that_come_twice_are_there_once(tmp_path: Path) -> None:
    rows = purchases(line("a"), line("b"), line("a"))
    first = history.merge(tmp_path, rows)
    second = history.merge(tmp_path, rows)
    assert (first.rows, first.added, first.repeated) == ({"purchases": 2}, {"purchases": 2}, {"purchases": 1})
    assert (second.rows, second.added, second.repeated) == ({"purchases": 2}, {"purchases": 0}, {"purchases": 3})
    assert first.rejected.empty
    assert second.rejected.empty


def test_of_two_rows_with_one_key_the_one_known_first_stays_and_the_other_is_named(tmp_path: Path) -> None:
    history.merge(tmp_path, purchases(line("a", quantity=2.0, known_at=DAY0 + timedelta(days=9))))
    summary = history.merge(tmp_path, purchases(line("a", quantity=3.0, known_at=DAY0 + timedelta(days=1))))
    assert history.read(tmp_path, "purchases")["quantity"].tolist() == [3.0]
    (fault,) = summary.rejected.to_dict("records")
    assert (fault["file"], fault["column"], fault["rule"]) == ("purchases", "purchase_id", SAME_KEY)
    assert json.loads(fault["value"])["quantity"] == 2.0


def test_a_tables_rows_lie_by_member_time_and_key(tmp_path: Path) -> None:
    rows = [line("d", 2), line("c", 1), line("b", 1), line("a", 0, member_id="m2")]
    history.merge(tmp_path, purchases(*rows))
    assert history.read(tmp_path, "purchases")["purchase_id"].tolist() == ["b", "c", "d", "a"]


def test_row_groups_stay_small_so_that_one_member_is_found_without_reading_all(tmp_path: Path) -> None:
    n = ROW_GROUP + 10
    frame = pd.DataFrame([line("a")] * n).assign(purchase_id=[f"k{i}" for i in range(n)])
    history.merge(tmp_path, {"purchases": frame})
    meta = pq.ParquetFile(tmp_path / "purchases.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [ROW_GROUP, 10]


def test_a_return_is_tied_to_its_sale_even_when_the_sale_comes_later(tmp_path: Path) -> None:
    alone = history.merge(tmp_path, purchases(line("back", 5, quantity=-1.0)))
    assert (alone.returns_tied, alone.returns_alone) == (0, 1)
    late = history.merge(tmp_path, purchases(line("sale", 1)))
    assert (late.returns_tied, late.returns_alone) == (1, 0)
    assert history.read(tmp_path, "purchases", ["reverses"])["reverses"].tolist() == [None, "sale"]


def test_a_sale_that_comes_late_and_fits_better_takes_the_tie_over(tmp_path: Path) -> None:
    history.merge(tmp_path, purchases(line("old", 1), line("back", 5, quantity=-1.0)))
    history.merge(tmp_path, purchases(line("recent", 4)))
    tables = history.read(tmp_path, "purchases").set_index("purchase_id")
    assert tables.loc["back", "reverses"] == "recent"


def test_a_tie_that_the_history_gives_is_never_changed(tmp_path: Path) -> None:
    history.merge(tmp_path, purchases(line("old", 1), line("back", 5, quantity=-1.0, reverses="old")))
    history.merge(tmp_path, purchases(line("recent", 4)))
    tables = history.read(tmp_path, "purchases").set_index("purchase_id")
    assert tables.loc["back", "reverses"] == "old"


ROWS = st.builds(
    line,
    st.sampled_from(["a", "b", "c", "d", "e", "f"]),
    st.integers(0, 3),
    member_id=st.sampled_from(["m1", "m2"]),
    quantity=st.sampled_from([1.0, 2.0, -1.0, -2.0]),
    reverses=st.sampled_from([None, None, "a"]),
    store_id=st.sampled_from([None, "s"]),
)


@settings(max_examples=10, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=10), st.randoms(use_true_random=False), st.integers(0, 10))
def test_twice_in_another_order_with_duplicates_or_late_the_files_are_the_same(
    rows: list[dict[str, Any]], chance: Any, cut: int
) -> None:
    shuffled = [*rows, *chance.sample(rows, len(rows) // 2)]
    chance.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        tidy = load(Path(one), rows)
        parts = [part for part in (shuffled[:cut], shuffled[cut:], rows[:1]) if part]
        assert load(Path(other), *parts) == tidy


def test_the_manifest_knows_rows_fingerprints_and_how_far_the_journal_was_read(tmp_path: Path) -> None:
    assert history.watermark(tmp_path) is None
    history.merge(tmp_path, purchases(line("a")), watermark=7)
    history.merge(tmp_path, purchases(line("b")), watermark=5)
    assert history.watermark(tmp_path) == 7
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["tables"]["purchases"]["rows"] == 2


def test_the_fingerprint_changes_when_a_fact_does_and_only_then(tmp_path: Path) -> None:
    load(tmp_path, [line("a")])
    before = history.fingerprint(tmp_path)
    load(tmp_path, [line("a")])
    assert history.fingerprint(tmp_path) == before
    load(tmp_path, [line("b")])
    assert history.fingerprint(tmp_path) != before


def test_rows_that_were_derived_make_place_for_those_derived_anew(tmp_path: Path) -> None:
    history.merge(tmp_path, purchases(line("a", channel="web"), line("b", channel="till")))
    history.merge(tmp_path, purchases(line("c", channel="web")), superseding={"purchases": "channel = 'web'"})
    assert history.read(tmp_path, "purchases")["purchase_id"].tolist() == ["b", "c"]


def test_more_than_memory_holds_can_come_as_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        history.merge(tmp_path / name, purchases(line(name)))
    history.merge(tmp_path / "all", {"purchases": tmp_path / "*" / "purchases.parquet"})
    assert sorted(history.read(tmp_path / "all", "purchases")["purchase_id"]) == ["one", "two"]


def test_a_table_nobody_wrote_is_empty_and_typed(tmp_path: Path) -> None:
    frame = history.read(tmp_path, "members", ["member_id", "consent_email", "enrolled_at"])
    assert frame.empty
    assert frame.dtypes.astype(str).tolist() == ["object", "bool", "datetime64[us, UTC]"]


def test_a_history_ends_with_the_last_thing_its_members_did(tmp_path: Path) -> None:
    history.merge(tmp_path, purchases(line("a", 3), line("b", 1)))
    assert history.ends_at(tmp_path) == DAY0 + timedelta(days=3)


def test_an_empty_history_has_no_end_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BorderError, match=r"the history is empty.*tessera ingest"):
        history.ends_at(tmp_path)


def test_an_unknown_table_or_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(BorderError, match="sales: not a table of a history; the tables are members"):
        history.merge(tmp_path, {"sales": pd.DataFrame()})
    with pytest.raises(BorderError, match="purchases: column member_id is missing"):
        history.merge(tmp_path, {"purchases": pd.DataFrame([line("a")]).drop(columns="member_id")})


def test_rejected_rows_are_set_aside_once_however_often_they_come(tmp_path: Path) -> None:
    rejected = pd.DataFrame([{"file": "f", "row": 1, "column": "c", "rule": "MISSING", "value": None}])
    first = history.set_aside(tmp_path, "shop", rejected)
    assert first == history.set_aside(tmp_path, "shop", rejected)
    assert first is not None
    assert first.read_text().splitlines() == ["file,row,column,rule,value", "f,1,c,MISSING,"]
    assert history.set_aside(tmp_path, "shop", rejected[:0]) is None


MERGING = textwrap.dedent("""
    import sys
    from pathlib import Path
    import pandas as pd
    from features import history
    frame = pd.read_parquet(sys.argv[2])
    print("ready", flush=True)
    while True:
        history.merge(Path(sys.argv[1]), {"purchases": frame})
""")


@pytest.mark.slow
def test_a_merge_that_is_killed_can_be_run_again(tmp_path: Path) -> None:
    rows = [line(f"s{i}", i % 50, member_id=f"m{i % 300}") for i in range(20_000)]
    rows += [line(f"r{i}", 60, member_id=f"m{i % 300}", quantity=-1.0) for i in range(300)]
    everything = load(tmp_path / "tidy", rows)
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    broken = tmp_path / "broken"
    history.merge(broken, purchases(*rows[::2]))
    for wait in (0.02, 0.1, 0.2, 0.3, 0.5, 0.7):
        command = [sys.executable, "-c", MERGING, str(broken), str(tmp_path / "rows.parquet")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(wait)
            child.send_signal(signal.SIGKILL)
    history.merge(broken, purchases(*rows))
    left = {name: content for name, content in files_of(broken).items() if not name.endswith(".tmp")}
    assert left == everything
