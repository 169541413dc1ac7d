"""What people write and deliver wrong: a sentence with the way out, an exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import closing
from pathlib import Path

import pytest

from features import history
from features.workspace import Workspace
from tests.tessera.commands import CONFIGS, HEAD, THREE, Tessera


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("purchases.csv", HEAD.encode(), "purchases.csv: the history is empty"),
        ("purchases.csv", os.urandom(8) + b"\xff\xfe\x00" * 99, "purchases.csv: not encoded in UTF-8"),
        ("purchases.csv", THREE.encode("utf-16"), "purchases.csv: not encoded in UTF-8"),
        ("purchases.csv", THREE.replace(",", ";").encode(), "the file has purchase_id;basket_id"),
        ("purchases.csv", THREE.replace("2026-06-", "June ").encode(), "occurred_at is 'June 01'; a time was expected"),
        ("purchases.csv", THREE.replace("2026", "2926").encode(), "between the years 1900 and 2200"),
        ("purchases.csv", THREE.replace("2026-06-12", "2126-06-12").encode(), "which has not come yet: correct"),
        ("purchases.csv", THREE.replace("purchase_id", "member_id").encode(), "column member_id is there twice"),
        ("purchases.csv", THREE.replace("2026-06-01", "2026-06-01,9").encode(), "lines have 8 values"),
        ("purchases.csv", THREE.replace("06-12", "06-12,9").encode(), "Expected 7 fields in line 4, saw 8"),
        ("purchases.parquet", b"PAR1 but no more", "purchases.csv"),
        ("map.yaml", b"", "map.yaml: holds nothing"),
        ("map.yaml", b"derive: [products]", "has no members, so nobody is known: give a file of members, or write"),
        ("map.yaml", b"derive: [members]", "has no products, so nothing is known"),
        ("map.yaml", b"derive: [member]", 'derive.0 "member" is unknown; did you mean "members"?'),
    ],
)
def test_a_history_that_cannot_be_used_is_refused_and_the_one_before_stays(
    tessera: Tessera, home: Path, export: Path, file: str, content: bytes, said: str
) -> None:
    before = history.fingerprint(Workspace(home).tables)
    if file.endswith(".parquet"):
        (export / "purchases.csv").unlink()
        said = "purchases.parquet: not a readable Parquet file"
    (export / file).write_bytes(content)
    code, _, err = tessera("ingest", "--source", "folder", "--path", export, home=home)
    assert (code, said in err) == (2, True), err
    assert history.fingerprint(Workspace(home).tables) == before
    assert not (home / "tables.new").exists()


def test_a_history_that_carries_no_model_is_trained_on_as_far_as_it_goes_and_still_decides(
    tessera: Tessera, home: Path
) -> None:
    code, _, err = tessera("train", home=home)
    assert code == 1
    for model in ("taste", "churn", "lifetime", "response"):
        assert f"{model}: not trained: " in err
    code, out, _ = tessera("decide", "m1", "--channel", "app", home=home)
    answer = json.loads(out)
    assert code == 1
    assert answer["results"]
    assert set(answer["meta"]["degraded"]) == {"taste", "churn"}
    assert tessera("nightly", home=home)[0] == 0


def test_members_that_never_bought_and_products_nobody_bought_are_no_trouble(
    tessera: Tessera, export: Path, tmp_path: Path
) -> None:
    (export / "members.csv").write_text("member_id,enrolled_at\nm1,2026-01-01\nm2,2026-01-01\nidle,2026-01-01\n")
    (export / "products.csv").write_text("product_id,category,unit_price\np1,tea,5\np2,tea,5\nunsold,tea,5\n")
    home = tmp_path / "new"
    assert tessera("ingest", "--source", "folder", "--path", export, home=home)[0] == 0
    assert tessera("features", home=home)[0] == 0
    code, out, _ = tessera("decide", "idle", "--channel", "app", home=home)
    assert json.loads(out)["results"]
    assert code == 1  # no model serves
    assert tessera("preview", "basket-5", home=home)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decide", "m1", "--channel", "fax"], "--channel fax: there is app, web, email"),
        (["decide", "m1", "--family", "gifts"], "--family gifts: there is offers"),
        (["decide", "Jürgen 1"], "member_id 'Jürgen 1'"),
        (["decide"], "name a member"),
        (["preview", "basket-6"], "did you mean 'basket-5'?"),
        (["pause", "basket-6"], "did you mean 'basket-5'?"),
        (["train", "--model", "mood"], "use one of taste, churn, lifetime, response"),
        (["promote", "--model", "taste"], "`tessera train --model taste` makes one"),
        (["promote", "--rollback", "--model", "taste"], "no previous champion"),
        (["frame", "nothing_v9", "--at", "2026-06-13"], "no service is called 'nothing_v9'"),
        (["frame", "churn_v1", "--at", "1999-01-01"], "nobody was a member"),
        (["keys", "till", "--scope", "king"], "choose among caller, marketer, admin"),
        (["serve"], "`tessera keys NAME --scope caller` makes one"),
    ],
)
def test_a_command_that_cannot_be_carried_out_says_what_there_is(
    tessera: Tessera, home: Path, arguments: list[str], said: str
) -> None:
    code, _, err = tessera(*arguments, home=home)
    assert (code, said in err) == (2, True), err


def test_a_port_in_use_is_said_at_once(tessera: Tessera, home: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = tessera("serve", "--open", "--port", str(port), home=home)
    assert code == 2
    assert f"127.0.0.1:{port}" in err
    assert "--port" in err


@pytest.mark.parametrize(
    ("file", "command", "said", "checked"),
    [
        ("clock.json", "features", "clock.json: is not what was written", "`tessera clock --live`"),
        ("online.db", "features", "`tessera check` says which", "online.db is damaged"),
        ("journal.db", "decide m1", "`tessera check` says which", "journal.db is damaged"),
        ("mlflow/mlflow.db", "promote --model taste", "`tessera check` says which", "mlflow.db is damaged"),
        ("tables/manifest.json", "features", "manifest.json: is not what was written", "load the history again"),
        ("feast/registry.db", "features", "feast/registry.db is damaged", ""),
        ("champions.json", "promote --rollback", "champions.json: is not what was written", "champions.json"),
    ],
)
def test_a_damaged_file_is_named_with_the_way_out(
    tessera: Tessera, home: Path, file: str, command: str, said: str, checked: str
) -> None:
    for beside in home.glob(f"{file}*"):
        beside.unlink()
    (home / file).parent.mkdir(exist_ok=True)
    (home / file).write_text("{ not what was written")
    code, _, err = tessera(*command.split(), home=home)
    assert (code, said in err) == (2, True), err
    code, out, _ = tessera("check", home=home)
    assert (code, checked in out) == (1, True), out


def test_a_model_file_that_was_cut_short_is_reported(tessera: Tessera, home: Path) -> None:
    bundle = home / "bundles" / "churn" / "1"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text('{"name": "churn", "ver')
    (home / "champions.json").write_text('{"churn": "1"}')
    assert "churn 1: bundle.json is missing or damaged" in tessera("check", home=home)[1]
    _, out, _ = tessera("decide", "m1", "--channel", "app", home=home)
    assert "churn" in json.loads(out)["meta"]["degraded"]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("catalog/offers.yaml", "discount: 0.10, response", "discount: 10, response", "write 0.10 for ten percent"),
        ("catalog/offers.yaml", "discount: 0.05", "discount: 0,05", "write decimals with a point (0.05)"),
        ("catalog/offers.yaml", "ends: 2036-01-01", "ends: 2001-01-01", "before it starts 2009-01-01"),
        ("catalog/offers.yaml", "starts: 2009-01-01", "starts: 01.01.2009", "is no date; write one like 2026-12-31"),
        ("catalog/offers.yaml", "    name: 5 euro", "\tname: 5 euro", "line 29, column 1"),
        ("catalog/offers.yaml", "id: basket-5", "id: welcome-10", "already used in offers.yaml"),
        ("catalog/offers.yaml", "title: 5 % off", "title: Today: 5 % off", "check indentation, colons and quotes"),
        ("catalog/offers.yaml", "lifecycles: [new]", "lifecycles: [New]", 'did you mean "new"?'),
        ("catalog/offers.yaml", "name: Free delivery", "name: yes", "put it in quotes"),
        ("catalog/tiers.yaml", "  - {id: gold,", "  - {id: golden,", 'unknown tier "gold"; did you mean "golden"?'),
        ("catalog/tiers.yaml", "min_spend: 400", "min_spend: 4000", "list the tiers from the lowest to the highest"),
        ("catalog/actions.yaml", "channels: [call]", "channels: [phone]", "known: app, call, email"),
        ("experiments/2026-points-or-money.yaml", "points-250, double", "points-25, double", 'mean "points-250"?'),
        (
            "experiments/2026-points-or-money.yaml",
            "weight: 0.5, offers: [points",
            "weight: 1, offers: [points",
            "add up",
        ),
        ("experiments/2026-points-or-money.yaml", "start: 2010-01-01", "start: soon", 'start "soon" is no date'),
        ("policy.yaml", "holdout: {share: 0.05", "holdout: {share: 5", "holdout.share 5: it should be less"),
        ("training.yaml", "als: {", "alsx: {", 'recipe "alsx" is unknown; use one of'),
        ("training.yaml", "cut_offs: 4", "cut_offs: -4", "churn.cut_offs is -4"),
        ("feature_store.yaml", "project: tessera", "project: [tessera", "feature_store.yaml: line"),
    ],
)
def test_check_answers_a_slip_in_a_file_in_plain_words(
    tessera: Tessera, home: Path, tmp_path: Path, file: str, old: str, new: str, said: str
) -> None:
    configs = shutil.copytree(CONFIGS, tmp_path / "configs")
    text = (configs / file).read_text()
    assert old in text
    (configs / file).write_text(text.replace(old, new, 1))
    code, out, _ = tessera("check", home=home, configs=configs)
    assert (code, said in out) == (1, True), out
