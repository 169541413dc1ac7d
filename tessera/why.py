"""Why a member got this, and why not that: a logged decision explained for the marketer."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

from features.workspace import Workspace
from serving.house import open_house
from serving.problems import RefusedError
from serving.views import Views


def run(ws: Workspace, decision_id: str, candidate: str | None) -> int:
    """Print the explanation as `GET /v1/decisions/{id}/explain` gives it.

    Returns:
        0; 1 where there is no such decision or candidate.
    """
    with closing(open_house(ws, secrets.token_bytes, open_door=True)) as house:
        try:
            views = Views(house)
            found = views.explain(decision_id)
            one = None if candidate is None else views.question(decision_id, candidate)()
        except RefusedError as error:
            print(error.problem.detail)
            return 1
    if one is None:
        _print_results(found)
    else:
        _print_one(one)
    return 0


def _print_results(found: dict[str, Any]) -> None:
    for one in found["results"]:
        print(f"{one['placement']}, rank {one['rank']}: {one['id']}")
        for line in one["explanation"]["why"]:
            print(f"  {line}")
        print(f'  for the member: "{one["explanation"]["member_sentence"]}"')
    print(f"\n{len(found['suppressed'])} were dropped; tessera why {found['decision_id']} CANDIDATE says more of one.")


def _print_one(one: dict[str, Any]) -> None:
    print(f"{one['candidate']}: {one['outcome']}")
    if one["why_not"] is not None:
        print(f"  {one['why_not']['text']}")
    for line in one["why"]:
        print(f"  {line}")
    if one["changes"]:
        print("  What would have to change (each tried by deciding again):")
    for way in one["changes"]:
        steps = [f"{step['text']} ({step['by']})" for step in way["steps"]]
        print(f"  - {'; and '.join(steps)}: {way['then']}")
    if one["none_found"]:
        print(f"  {one['none_found']}")
    print(f'  for the member: "{one["member_sentence"]}"')
