"""The document describes what is served, and a tester that makes up requests from it finds no fault."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import FailureGroup

from serving import openapi
from serving.api import _EXACT, _LISTS, _POST_TO, _WITH_ID, PAGES
from tests.serving.running import Running

OPERATIONS = sorted(
    (method.upper(), path) for path, methods in openapi.document()["paths"].items() for method in methods
)


def test_the_document_names_every_route_and_no_other() -> None:
    served = {("POST", path) for path in _EXACT} | {("GET", route) for route, _ in _WITH_ID.values()}
    served |= {("GET", path) for path in _LISTS} | {("POST", route) for route, _ in _POST_TO.values()}
    assert set(OPERATIONS) == served
    assert not {path for _, path in OPERATIONS} & set(PAGES)


def test_with_an_open_door_the_document_asks_for_no_key() -> None:
    assert openapi.document()["security"] == [{"ApiKey": []}]
    assert "security" not in openapi.document(open_door=True)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_tester_driven_by_the_document_finds_no_fault(service: Running, method: str, path: str) -> None:
    fuzz(service, method, path, examples=12)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_patient_tester_finds_no_fault_either(service: Running, method: str, path: str) -> None:
    fuzz(service, method, path, examples=500)


def fuzz(service: Running, method: str, path: str, examples: int) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operation = schema[path][method]
    seen: list[int] = []
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            try:
                seen.append(case.call_and_validate(headers={"X-API-Key": service.key}).status_code)
            except FailureGroup as group:
                raise AssertionError(f"{case.body!r}: {group.exceptions}") from None

        run()
    assert seen
    assert max(seen) < 500
