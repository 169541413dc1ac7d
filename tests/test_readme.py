"""What the README shows is run: its calls and its client against a demonstration that serves, its commands by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests import whole
from tests.conftest import Demonstrated
from tests.whole import ROOT, Service

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOST = "localhost:3000"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(heading: str, kind: str) -> list[str]:
    """The fenced blocks of a kind under a heading of the second level."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [text for found, text in FENCE.findall(section) if found == kind]


def calls() -> list[tuple[str, str]]:
    """Shell commands, each with the output that follows it."""
    found = []
    for block in blocks("One call", "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            end = next(i for i in range(len(lines)) if not "".join(lines[: i + 1]).count("'") % 2)
            found.append(("".join(lines[: end + 1]).strip(), "".join(lines[end + 1 :]).strip()))
    return found


@pytest.fixture(scope="module")
def service(demonstrated: Demonstrated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with whole.served(whole.copy(demonstrated.home, tmp_path_factory.mktemp("readme") / "home")) as found:
        yield found


def here(text: str, service: Service) -> str:
    assert HOST in text
    return text.replace(HOST, service.url.removeprefix("http://"))


def shell(text: str) -> Any:
    said = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True)
    return json.loads(said.stdout)


def test_the_call_gives_an_answer_of_the_shape_shown(service: Service) -> None:
    (asking, reporting), (shown,) = calls(), blocks("One call", "json")
    answer = shell(here(asking[0], service))
    by_night = {"/meta/models/effects"}  # the demonstration answers before its first night
    assert not shapes(json.loads(shown)) - shapes(answer) - by_night
    kept = service.get(f"/v1/decisions/{answer['decision_id']}")
    assert kept["results"] == answer["results"]
    assert shell(here(reporting[0], service)) == json.loads(reporting[1])


def shapes(value: Any, path: str = "") -> set[str]:
    """The paths of all keys, with whether text, number, list or object stands there; those of lists' entries in one.

    Keys of the lines for a single result differ in what they hold (an interval or none): none is as good as any.
    """
    if isinstance(value, dict):
        return {path}.union(*(shapes(one, f"{path}/{key}") for key, one in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {path}.union(*(shapes(one, f"{path}[]") for one in value))
    return {path}


def test_the_client_example_runs(service: Service) -> None:
    (example,) = blocks("Four first steps", "python")
    said = subprocess.run(
        [sys.executable, "-c", here(example, service)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert said.returncode == 0, said.stderr
    assert re.fullmatch(r"\S+ -?\d+\.\d+ EUR [01]\.\d+\n", said.stdout)


def test_every_command_and_every_file_named_exists() -> None:
    from typer.main import get_command

    from tessera.cli import app

    named = set(re.findall(r"\btessera ([a-z]+)\b", "\n".join(text for _, text in FENCE.findall(README))))
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    assert len(named) >= 6
    assert named <= known
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_offer_previewed_is_in_the_catalogue() -> None:
    from features import catalog

    previewed = re.findall(r"tessera preview (\S+)", README)
    book = catalog.load(ROOT / "configs" / "catalog")
    assert previewed
    assert set(previewed) <= {one.id for one in (*book.offers, *book.actions, *book.benefits)}
