"""Disks that are full or closed: commands say so, the service goes on marked, nothing acknowledged is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import httpx
import pytest

from features import history
from features.workspace import Workspace
from tests.serving.running import free_port
from tests.tessera.commands import CONFIGS, ROOT, Tessera


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
    with closing(apsw.Connection(str(journal))) as db:
        return {str(name) for (name,) in db.execute("select event_id from events")}
