"""`tessera peers`: a run leaves what a report reads; another history or another way to judge is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.peers import environment
from tessera.cli import main


def _frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(who, 5 * (who % 2) + int(rng.integers(0, 8)), day) for who in range(60) for day in range(0, 100, 7)]
    frame = pd.DataFrame(rows, columns=["who", "what", "day"])
    frame["at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return frame


def _said(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["tessera", "peers", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((out + err).split())


def test_a_run_can_be_reported_and_goes_on_only_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "python_of", lambda _: Path(sys.executable))
    monkeypatch.setattr(environment, "versions", lambda _: {"implicit": "0.7"})
    train, out = tmp_path / "bought.parquet", str(tmp_path / "out")
    _frame(1).to_parquet(train)
    run = ["--train", str(train), "--columns", "member=who,product=what,time=at", "--days", "14", "--out", out]
    run += [
        "--recipe",
        "item_item",
        "--peer",
        "implicit_bm25",
        "--peer",
        "cornac_ease",
        "--trials",
        "2",
        "--seeds",
        "2",
    ]

    code, said = _said([*run, "--trial-seconds", "30", "--entrant-seconds", "40"], monkeypatch, capsys)
    assert code == 0
    assert "item_item (tuned), seed 1: judged" in said
    assert "2 of 2" in said

    code, said = _said(["report", "--out", out], monkeypatch, capsys)
    assert code == 0
    assert "30 s a trial, 40 s all trials of one" in said
    assert "judged with seeds 0, 1" in said
    assert "implicit 0.7" in said
    assert "did not run: ModuleNotFoundError" in said
    table = pd.read_csv(Path(out) / "evaluation.csv")
    judged = table[(table["group"] == "everybody") & (table["part"] == "all") & table["ndcg"].notna()]
    assert set(judged["recipe"]) >= {"item_item", "item_item (tuned)", "implicit_bm25 (tuned)", "popularity"}

    code, said = _said([*run, "--trial-seconds", "60", "--entrant-seconds", "40"], monkeypatch, capsys)
    assert code
    assert "was begun with budget" in said

    _frame(2).to_parquet(train)
    code, said = _said(["report", "--out", out], monkeypatch, capsys)
    assert code
    assert "has changed since" in said

    code, said = _said(["report", "--out", str(tmp_path / "none")], monkeypatch, capsys)
    assert code
    assert "no run was begun here" in said
