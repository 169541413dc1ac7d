"""Shadow prices of the budgets: solved in the night and every hour, for the service to take up without a restart."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import numpy as np
import orjson

from features import history
from features.workspace import Workspace
from serving import payload, pricing
from serving.contract import Envelope, FamilyName
from serving.engine import Engine, call
from serving.house import House, open_house
from serving.journal import StoredDecision
from serving.pricing import Priced, Visit
from tessera import campaign
from tessera.progress import Steps
from tessera.setup import needs_tables

SAMPLE = 2_000
"""Visits that are appraised."""
LOOK_BACK_S = 7 * 86_400.0
MOST_READ = 30_000
ENOUGH = 200
"""Decisions in the journal from which the coming traffic is read; with fewer it is assumed."""
EVERY_S = 3_600.0
_SEED = 29


@dataclass(frozen=True, slots=True)
class Traffic:
    """Whom to expect: `asked` are (member, family, channel), one for each visit or each kind of visit."""

    asked: tuple[tuple[str, FamilyName, str | None], ...]
    per_day: float
    basis: str
    """`journal`, or `assumed`: everybody as often as the campaign's channel may reach them."""


def run(ws: Workspace, channel: str, sample: int = SAMPLE, *, hourly: bool = False) -> int:
    """Solve for the prices, write `prices.json`, and say in words what more of each budget would earn.

    Args:
        ws: the workspace.
        channel: Of the nightly campaign; assumed where the journal says nothing of the traffic.
        sample: Visits to appraise.
        hourly: Go on every hour until stopped.
    """
    needs_tables(ws)
    campaign.known_channel(channel)
    steps = Steps()
    while True:
        refresh(ws, channel, sample, steps)
        if not hourly:
            return 0
        time.sleep(EVERY_S)


def refresh(
    ws: Workspace, channel: str, sample: int, steps: Steps, *, clock: Callable[[], float] = time.time
) -> Priced | None:
    """One solution; None where the catalogue has no budgets. `clock` is real time, epoch seconds."""
    with closing(open_house(ws, secrets.token_bytes, clock=clock, open_door=True, patient=True)) as house:
        book, at = house.watch.present().rulebook, house.now()
        if not book.catalog.budgets:
            ws.prices.unlink(missing_ok=True)
            steps.note("there are no budgets, so nothing has a price; they are written in catalog/budgets.yaml")
            return None
        with steps.step("prices of budgets"):
            filled = pricing.purses(book.catalog.budgets, house.journal.balances(), at)
            expected = traffic(ws, house, at, channel)
            visits = appraised(house, expected, at, sample)
            before = last(ws)
            warm = [before.get(one.budget.id, 0.0) for one in filled] if before else None
            found = pricing.priced(visits, filled, expected.per_day, warm)
        currency = book.catalog.programme.currency
        write(ws, found, expected, at, currency)
        for sentence in pricing.sentences(found, currency):
            steps.note(sentence)
        basis = "decisions of the last days" if expected.basis == "journal" else "an assumption: no decisions yet"
        steps.note(f"rests on {found.visits:,} visits, {found.per_day:,.0f} a day ({basis})")
        return found


def traffic(ws: Workspace, house: House, at: float, channel: str) -> Traffic:
    """The visits of the last days, as far as the journal has them."""
    recent = [one for one in _recent(house) if at - LOOK_BACK_S < one.at / 1e6 <= at and one.family != "product"]
    if len(recent) >= ENOUGH:
        asked = tuple(_asked(one) for one in recent)
        days = max((at - min(one.at for one in recent) / 1e6) / 86_400.0, 1.0)
        return Traffic(asked, len(recent) / days, "journal")
    known = history.read(ws.tables, "members", ["member_id", "occurred_at"])
    members = sorted(set(known.loc[known["occurred_at"] <= datetime.fromtimestamp(at, UTC), "member_id"]))
    rules = house.watch.present().rulebook.policy.channel(channel)
    often = rules.cap.count / rules.cap.days if rules and rules.cap else 1.0
    return Traffic(tuple((one, "offer", channel) for one in members), len(members) * min(often, 1.0), "assumed")


def _recent(house: House) -> Iterator[StoredDecision]:
    after = max(house.journal.last_seq() - MOST_READ, 0)
    while found := house.journal.read_decisions(after, 1000):
        yield from found
        after = found[-1].seq


def _asked(stored: StoredDecision) -> tuple[str, FamilyName, str | None]:
    family = cast(FamilyName, stored.family)
    return stored.member_id, family, payload.decode(stored.payload).header["ask"]["channel"]


def appraised(house: House, expected: Traffic, at: float, sample: int) -> list[Visit]:
    """A sample of the visits to come, each appraised as the member stands now, with no prices and no budget spent."""
    rows = np.random.default_rng(_SEED).permutation(len(expected.asked))[:sample]
    free = replace(house.watch.present(), prices={}, spent_out=frozenset())
    engine = Engine(house.journal, lambda: free, lambda: "", patient=True)
    visits = []
    for row in rows.tolist():
        member, family, channel = expected.asked[row]
        envelope = Envelope.model_validate({"channel": channel, "dry_run": True})
        asked = call(family, member, envelope, at, b"")
        visits.append(Visit(engine.appraise(asked)[0], asked.ask))
    return visits


def last(ws: Workspace) -> dict[str, float]:
    """The prices of the last solution; empty where there is none that can be read."""
    try:
        found: dict[str, float] = orjson.loads(ws.prices.read_bytes())["prices"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}
    return found


def write(ws: Workspace, found: Priced, expected: Traffic, at: float, currency: str) -> None:
    """Replace `prices.json` in one go."""
    tight = found.bottleneck
    said: dict[str, Any] = {
        "at": datetime.fromtimestamp(at, UTC).isoformat(),
        "currency": currency,
        "prices": {line.purse.budget.id: line.price for line in found.lines},
        "rests_on": {"visits": found.visits, "visits_per_day": found.per_day, "traffic": expected.basis},
        "gap": found.gap,
        "bottleneck": tight.purse.budget.id if tight else None,
        "budgets": {
            line.purse.budget.id: {
                "unit": line.purse.budget.unit,
                "left": line.purse.left,
                "until": None
                if line.purse.until is None
                else datetime.fromtimestamp(line.purse.until, UTC).isoformat(),
                "forecast": line.forecast,
                "of_it_rights": line.rights,
                "step": line.step,
                "next_step_earns": line.next_earns,
                "last_step_earned": line.last_earned,
            }
            for line in found.lines
        },
        "report": pricing.sentences(found, currency),
    }
    draft = ws.prices.with_suffix(".tmp")
    draft.write_bytes(orjson.dumps(said, option=orjson.OPT_INDENT_2))
    draft.replace(ws.prices)
