from __future__ import annotations

import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.rows import Rows
from tests.features.small_history import T0


def test_a_row_comes_back_with_its_event_time(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "deep" / "online.db")
    at = T0 + timedelta(microseconds=1)
    assert rows.write("member_state", [("m", b"\x00state", at)]) == 1
    assert rows.read("member_state", "m") == (b"\x00state", at.timestamp())
    assert rows.read("member_state", "other") is None
    assert rows.read("member_taste", "m") is None


@given(order=st.permutations(range(5)))
@settings(max_examples=25, deadline=None)
def test_the_newest_row_stays_in_whatever_order_rows_come(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    path = tmp_path_factory.mktemp("rows") / "online.db"
    rows = Rows(path)
    for i in order:
        rows.write("v", [("m", str(i).encode(), T0 + timedelta(seconds=i))])
    assert rows.read("v", "m") == (b"4", (T0 + timedelta(seconds=4)).timestamp())
    rows.close()


def test_of_two_rows_of_the_same_time_the_one_written_last_stays(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "online.db")
    rows.write("v", [("m", b"first", T0), ("m", b"second", T0)])
    assert rows.read("v", "m") == (b"second", T0.timestamp())


def test_several_views_are_read_at_once(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "online.db")
    for view in ("a", "b", "c"):
        rows.write(view, [("m", view.encode(), T0), ("n", b"other", T0)])
    found = rows.read_many(("a", "c", "missing"), "m")
    assert {view: blob for view, (blob, _) in found.items()} == {"a": b"a", "c": b"c"}
    assert rows.read_many(("a",), "nobody") == {}
    assert rows.members("a") == ["m", "n"]


def test_rows_can_be_taken_out(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "online.db")
    rows.write("a", [("m", b"1", T0), ("n", b"2", T0)])
    rows.write("b", [("m", b"3", T0)])
    rows.delete("a", ["m"])
    assert (rows.members("a"), rows.members("b")) == (["n"], ["m"])
    rows.delete("a")
    assert (rows.members("a"), rows.members("b")) == ([], ["m"])


def test_threads_and_processes_read_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    rows = Rows(path)
    rows.write("v", [("m", b"0" * 500, T0)])
    writer = multiprocessing.get_context("spawn").Process(target=write_often, args=(str(path),))
    writer.start()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: rows.read("v", "m"), range(2000)))
    writer.join(30)
    assert writer.exitcode == 0
    for row in found:
        assert row is not None
        assert len(set(row[0])) == 1
    assert rows.read("v", "m") == (b"9" * 500, (T0 + timedelta(seconds=199)).timestamp())


def write_often(path: str) -> None:
    rows = Rows(Path(path))
    for i in range(200):
        rows.write("v", [("m", str(i % 10).encode() * 500, T0 + timedelta(seconds=i))])


def test_serving_reads_and_finishes_states_without_feast() -> None:
    modules = "features.rows, features.states, features.behavior, features.finishing"
    script = f"import sys, {modules}; print('feast' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
