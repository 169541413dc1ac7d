"""The data scientist's commands, as they are typed."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from tessera.cli import app, main
from tessera.evaluation import chosen, columns_of
from tessera.setup import RefusedError
from training.settings import parse


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A split made elsewhere, with other names for its columns and whole numbers as ids."""
    rng = np.random.default_rng(1)
    rows = [
        (member, member % 10 if rng.random() < 0.7 else int(rng.integers(10, 20)), int(1.7e9 + day * 86_400))
        for member in range(60)
        for day in range(0, 80, 4)
    ]
    frame = pd.DataFrame(rows, columns=["userId", "itemId", "ts"])
    place, late = tmp_path_factory.mktemp("split"), frame["ts"] >= 1.7e9 + 60 * 86_400
    frame[~late].to_csv(place / "train.csv", index=False)
    frame[late].to_parquet(place / "test.parquet", index=False)
    return place / "train.csv", place / "test.parquet"


COLUMNS = "member=userId,product=itemId,time=ts"


def _run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_evaluate_takes_a_split_made_elsewhere(files: tuple[Path, Path], tmp_path: Path) -> None:
    said = _run(
        *("evaluate", "--train", files[0], "--test", files[1], "--columns", COLUMNS, "--out", tmp_path, "--lists"),
        *("--recipe", "repeat", "--recipe", "als", "--k", "5"),
    )
    assert "split made elsewhere, by time" in said
    assert "hidden are" in said
    assert "of 60 members" in said
    table = pd.read_csv(tmp_path / "evaluation.csv")
    everybody = table[(table["group"] == "everybody") & (table["part"] == "all")]
    assert set(everybody["recipe"]) == {"popularity", "repeat", "als"}
    assert everybody["members"].tolist() == [60] * 3
    for recipe, shown in zip(everybody["recipe"], everybody["ndcg"], strict=True):
        assert f"{shown:.4f}" in said, recipe
    assert matplotlib.image.imread(tmp_path / "evaluation.png").shape[2] == 4
    lists = pd.read_parquet(tmp_path / "lists-given-all-repeat.parquet")
    assert lists.groupby("member_id").size().max() == 5
    assert set(lists["member_id"]) == {str(member) for member in range(60)}


def test_tune_writes_settings_that_evaluate_takes_and_goes_on(files: tuple[Path, Path], tmp_path: Path) -> None:
    asked: list[str | Path] = [
        "tune",
        "item_item",
        "--train",
        files[0],
        "--columns",
        COLUMNS,
        "--home",
        tmp_path,
        "--days",
        "15",
    ]
    asked += ["--folds", "2", "--use-all", "--k", "5"]
    _run(*asked, "--trials", "2")
    said = _run(*asked, "--trials", "3", "--resume", "--out", tmp_path / "best.yaml")
    assert "3 complete" in said
    written = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert set(written["taste"]["recipes"]) == {"item_item"}
    assert parse(written).taste.recipes == written["taste"]["recipes"]
    assert chosen((), tmp_path / "best.yaml")["item_item"] == written["taste"]["recipes"]["item_item"]
    assert (tmp_path / "reports" / "tune-item_item.png").exists()
    assert (tmp_path / "mlflow" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "--test", "x.csv"), "--test needs --train"),
        (("evaluate", "--train", "nowhere.csv"), "there is no such file"),
        (("evaluate", "--train", "{train}"), "has no column member_id; name yours with --columns member="),
        (("evaluate", "--train", "{train}", "--columns", "member=who"), 'has no column "who"; it has userId'),
        (("evaluate", "--train", "{train}", "--columns", "userId"), "names no column; write member=userId"),
        (("evaluate", "--train", "{train}", "--columns", COLUMNS, "--recipe", "magic"), 'recipe "magic" is unknown'),
        (
            ("evaluate", "--train", "{train}", "--columns", COLUMNS, "--protocol", "weekly"),
            'protocol "weekly" is unknown',
        ),
        (("evaluate", "--history", "{empty}"), "no history in"),
        (("tune", "als", "--train", "{train}", "--columns", "member=userId,product=itemId"), "has no times"),
        (
            ("tune", "als", "--train", "{train}", "--columns", COLUMNS, "--objective", "joy"),
            'objective "joy" is unknown',
        ),
        (("peers", "--train", "{train}", "--columns", COLUMNS, "--peer", "sibling"), "peer 'sibling' is unknown"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    files: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    given = [each.format(train=files[0], empty=tmp_path) for each in arguments]
    monkeypatch.setattr("sys.argv", ["tessera", *given])
    monkeypatch.setenv("TESSERA_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert said in capsys.readouterr().err


def test_columns_are_pairs() -> None:
    assert columns_of("member=userId, product=itemId") == {"member": "userId", "product": "itemId"}
    assert columns_of(None) == {}
    with pytest.raises(RefusedError):
        columns_of("member=")
