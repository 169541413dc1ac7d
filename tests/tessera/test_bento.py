"""`bentoml build` makes a Bento that serves by itself: code and configuration are in it, a home is given to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.serving.running import free_port

ROOT = Path(__file__).parents[2]
BENTOML = Path(sys.executable).with_name("bentoml")


def test_a_built_bento_serves(tmp_path: Path) -> None:
    home = {"BENTOML_HOME": str(tmp_path / "bentos"), "BENTOML_DO_NOT_TRACK": "True"}
    (tmp_path / "elsewhere").mkdir()
    environment = {**os.environ, **home, "TESSERA_HOME": str(tmp_path / "home"), "TESSERA_OPEN": "1"}
    built = subprocess.run(
        [BENTOML, "build"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    tag = re.search(r'Bento\(tag="(tessera:[a-z0-9]+)"\)', built.stdout + built.stderr)
    assert tag is not None
    port = free_port()
    command = [BENTOML, "serve", tag.group(1), "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path / "elsewhere", env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process)
        answer = httpx.post(f"{url}/v1/offers", json={"member_id": "M1", "channel": "app"}, timeout=10).json()
        assert answer["results"]
        assert answer["meta"]["cold_start"] or answer["meta"]["degraded"]
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None
        try:
            if httpx.get(f"{url}/readyz", timeout=1).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"{url} was not ready within 30 s")
