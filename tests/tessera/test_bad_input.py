"""What people and disks do wrong: a sentence with the way out, an exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from features import history
from features.workspace import Workspace
from tessera import cli
from tests.serving.running import free_port

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
HEAD = "purchase_id,basket_id,member_id,product_id,quantity,unit_price,occurred_at\n"
THREE = f"{HEAD}1,b1,m1,p1,1,5.0,2026-06-01\n2,b2,m1,p2,1,5.0,2026-06-11\n3,b3,m2,p1,1,5.0,2026-06-12\n"
DERIVE = "derive: [members, products]"

Tessera = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tessera(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tessera:
    """The command as a person runs it: exit code, what it printed, what it said on stderr."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def run(*arguments: str | Path, home: Path, configs: Path = CONFIGS) -> tuple[int, str, str]:
        line = ["tessera", *map(str, arguments), "--home", str(home), "--configs", str(configs)]
        monkeypatch.setattr(sys, "argv", line)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(str(end.value.code or 0)), out, err

    return run


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "purchases.csv").write_text(THREE)
    (folder / "map.yaml").write_text(DERIVE)
    return folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a history of three purchases and its features; tests take copies."""
    place = tmp_path_factory.mktemp("bad-input")
    (place / "purchases.csv").write_text(THREE)
    (place / "map.yaml").write_text(DERIVE)
    for command in (["ingest", "--source", "folder", "--path", str(place)], ["features"]):
        line = [*command, "--home", str(place / "home"), "--configs", str(CONFIGS)]
        subprocess.run([sys.executable, "-m", "tessera.cli", *line], check=True, capture_output=True, cwd=ROOT)
    return place / "home"


@pytest.fixture
def home(loaded: Path, tmp_path: Path) -> Path:
    return shutil.copytree(loaded, tmp_path / "home")


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
    for model in ("taste", "churn", "response"):
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
        (["train", "--model", "lifetime"], "use one of taste, churn, response"),
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


def _without_privileges(*command: str) -> subprocess.CompletedProcess[str]:
    """Run as one who must obey the permissions of files: root usually need not."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root, and no setpriv to give its rights up")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]
    return subprocess.run([*drop, *command], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("command", [["decide", "m1"], ["serve", "--open"], ["features"]])
def test_a_workspace_one_may_not_write_to_is_named(home: Path, command: list[str]) -> None:
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    line = [*command, "--home", str(home), "--configs", str(CONFIGS)]
    answer = _without_privileges(sys.executable, "-m", "tessera.cli", *line)
    for path in (home, *home.rglob("*")):
        path.chmod(0o755)
    assert answer.returncode == 2
    assert "may not be read or written" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system takes root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def _fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


@pytest.mark.parametrize(
    "command",
    [["features"], ["train"], ["decide", "m1"], ["nightly"], ["pause", "basket-5"]],
    ids=lambda command: command[0],
)
def test_on_a_full_disk_a_command_says_so(tessera: Tessera, loaded: Path, small_disk: Path, command: list[str]) -> None:
    home = shutil.copytree(loaded, small_disk / "home")
    _fill(small_disk)
    code, _, err = tessera(*command, home=home)
    if command[0] == "train":  # nothing can be trained on three purchases, and nothing had to be written
        assert code == 1 or "the disk is full" in err
    else:
        assert (code, "the disk" in err) == (2, True), err


def test_a_load_onto_a_full_disk_leaves_the_history_before(
    tessera: Tessera, loaded: Path, small_disk: Path, export: Path
) -> None:
    home = shutil.copytree(loaded, small_disk / "home")
    before = history.fingerprint(Workspace(home).tables)
    _fill(small_disk)
    code, _, err = tessera("ingest", "--source", "folder", "--path", export, home=home)
    assert (code, "the disk is full" in err) == (2, True), err
    assert history.fingerprint(Workspace(home).tables) == before
    assert history.damage(Workspace(home).tables) == []


def test_on_a_full_disk_decisions_go_on_marked_and_no_acknowledged_event_is_lost(
    loaded: Path, small_disk: Path
) -> None:
    home, port = shutil.copytree(loaded, small_disk / "home"), free_port()
    line = ["serve", "--open", "--port", str(port), "--home", str(home), "--configs", str(CONFIGS)]
    with subprocess.Popen([sys.executable, "-m", "tessera.cli", *line], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        try:
            client = httpx.Client(
                base_url=f"http://127.0.0.1:{port}", timeout=10, transport=httpx.HTTPTransport(retries=60)
            )
            acknowledged: list[str] = []
            before = {_event(client, f"before-{n}", acknowledged) for n in range(3)}
            filler = _fill(small_disk)
            codes = {_event(client, f"full-{n}", acknowledged) for n in range(40)}
            answers = [client.post("/v1/offers", json={"member_id": f"n{n}", "channel": "app"}) for n in range(40)]
            filler.unlink()
            recovered = any(_event(client, f"after-{n}", acknowledged) == 202 for n in range(40))
            client.close()
        finally:
            process.kill()
    assert before == {202}
    assert codes <= {202, 503, 507}
    assert {answer.status_code for answer in answers} == {200}
    last = answers[-1].json()
    assert (last["policy"]["mode"], last["meta"]["degraded"]) == ("fallback", ["journal"])
    assert recovered
    assert set(acknowledged) <= _event_ids(home / "journal.db")


def _event(client: httpx.Client, name: str, acknowledged: list[str]) -> int:
    event = {"event_id": name, "type": "check_in", "member_id": "m1", "occurred_at": "2026-06-10T10:00:00Z"}
    answer = client.post("/v1/events", json={"events": [{**event, "properties": {"text": "x" * 180}}]})
    if answer.status_code == 202:
        assert answer.json()["accepted"] == 1
        acknowledged.append(name)
    return answer.status_code


def _event_ids(journal: Path) -> set[str]:
    import apsw

    with closing(apsw.Connection(str(journal))) as db:
        return {str(name) for (name,) in db.execute("select event_id from events")}
