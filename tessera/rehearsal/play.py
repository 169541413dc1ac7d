"""One month under one policy, through the API: visits, what members do, nights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from experiments.rehearsal import money
from experiments.rehearsal.money import Tariff
from experiments.rehearsal.month import Given, Month, Visit
from features import history
from features.entities import DO_NOTHING, Candidate
from features.freshness import refresh
from features.workspace import Workspace
from serving import updater
from serving.journal import Journal
from tessera import build, clock, load, prices
from tessera.progress import Steps
from tessera.rehearsal.ground import LEARNED, waiting
from tessera.rehearsal.stage import Stage, staged

_SAMPLE = 1_000
_MAIL = {"family": "offer", "channel": "email", "direction": "outbound", "explain": "none"}
MAILS_AT_ONCE = 100
QUIET_DAYS = 7
"""So many days before the month the same members call and nothing is given: the traffic is known, as it would be."""
BEFORE_VISITS = timedelta(hours=7)
"""Nights are at three, visits at ten."""


@dataclass(frozen=True, slots=True)
class Played:
    """What a month under one policy came to."""

    accounts: pd.DataFrame
    spent: Mapping[tuple[str, int], float]
    """Budget and where its period begins (epoch seconds) → what the service booked on it."""
    decisions: int
    answers: int
    """Events that were reported."""


@dataclass(frozen=True, slots=True)
class Nights:
    """What is done at night: prices every night where the policy has them, a training every so many days (0: none)."""

    with_prices: bool
    train_days: int = 0


def month(ws: Workspace, of: Month, tariff: Tariff, nights: Nights, seed: int) -> Played:
    """Play it from the first visit until everything that was caused has happened; the workspace is used up."""
    told, reported, position = list[dict[str, Any]](), 0, history.watermark(ws.tables) or 0
    with staged(ws, seed) as stage, closing(Journal(ws.journal)) as journal:
        for day in range(-QUIET_DAYS, 0):
            stage.at(of.at(day))
            _quiet(stage, of, tariff.candidates, day)
        for day in range(of.settled_days):
            at = of.at(day)
            stage.at(at)
            stage.report(told)
            reported += len(told)
            if day < of.days:
                position = _morning(ws, journal, position, at)
                _night(ws, nights, day, at - BEFORE_VISITS)
            impressions = _visits(stage, of, tariff.candidates, day)
            told = impressions + _events(of, tariff, of.told(day))
            of.passes(day)
        stage.at(of.at(of.settled_days))
        stage.report(told)
        spent = {(one.budget_id, one.period): one.spent for one in journal.balances()}
    return Played(money.accounts(of, tariff), spent, len(of.given), reported + len(told))


def _morning(ws: Workspace, journal: Journal, position: int, at: datetime) -> int:
    """What was told in the night goes into the online states, as the updater beside the service does it."""
    reached = -1
    while reached != position:
        reached, position = position, updater.step(ws, journal, position, at, refresh)
    return position


def _night(ws: Workspace, nights: Nights, day: int, at: datetime) -> None:
    if nights.train_days and day and day % nights.train_days == 0:
        with _clock_at(ws, at):
            load.from_journal(ws)
            build.features(ws)
            build.train(ws, LEARNED, quick=True)
            build.promote(ws, waiting(ws), None, rollback=False)
    if nights.with_prices:
        prices.refresh(ws, "email", _SAMPLE, Steps(), clock=at.timestamp)


@contextmanager
def _clock_at(ws: Workspace, at: datetime) -> Iterator[None]:
    """The programme clock reads `at` inside; the stage has a clock of its own."""
    clock.set_to(ws, at)
    try:
        yield
    finally:
        ws.clock.unlink()


def _visits(stage: Stage, of: Month, candidates: Mapping[str, Candidate], day: int) -> list[dict[str, Any]]:
    """Ask at each visit of the day what to give; what was shown in the app comes back as impressions."""
    if day >= of.days:
        return []
    at, shown, every = of.at(day), list[dict[str, Any]](), of.visits(day)
    for visit in (one for one in every if one.channel == "app"):
        asked = {"member_id": visit.member_id, "channel": visit.channel, "explain": "none"}
        one = _noted(of, visit, stage.post("/v1/offers", asked), candidates, at)
        if one is not None:
            shown.append(_event(one, "impression", at, f"{visit.key}|seen"))
    mails = [one for one in every if one.channel == "email"]
    for first in range(0, len(mails), MAILS_AT_ONCE):
        part = mails[first : first + MAILS_AT_ONCE]
        body = {"member_ids": [one.member_id for one in part], **_MAIL}
        answers = stage.post("/v1/decisions/batch", body)["answers"]
        for visit, answer in zip(part, answers, strict=True):
            _noted(of, visit, answer, candidates, at)
    return shown


def _quiet(stage: Stage, of: Month, candidates: Mapping[str, Candidate], day: int) -> None:
    """The visits of a day before the month, for the journal alone."""
    nothing = {"exclude": sorted(candidates), "explain": "none", "family": "offer"}
    every = of.visits(day)
    for channel in ("app", "email"):
        members = [one.member_id for one in every if one.channel == channel]
        for first in range(0, len(members), MAILS_AT_ONCE):
            body = {"member_ids": members[first : first + MAILS_AT_ONCE], "channel": channel, **nothing}
            stage.post("/v1/decisions/batch", body)


def _noted(
    of: Month, visit: Visit, answer: Mapping[str, Any], candidates: Mapping[str, Candidate], at: datetime
) -> Given | None:
    """Write down what was given; None for nothing, and for what an answer only repeats."""
    first = answer["results"][0]["id"] if answer["results"] else DO_NOTHING.id
    if answer["meta"].get("repeated"):
        return None
    candidate = candidates.get(first)
    discount = candidate.economics.discount if candidate else 0.0
    kind = candidate.type if candidate else DO_NOTHING.type
    one = of.decided(visit, at, answer["decision_id"], {"id": first, "type": kind, "discount": discount})
    return None if candidate is None else one


def _event(one: Given, kind: str, at: datetime, name: str) -> dict[str, Any]:
    return {
        "event_id": _fit(name),
        "type": kind,
        "member_id": one.visit.member_id,
        "decision_id": one.decision_id,
        "id": one.candidate_id,
        "occurred_at": at.isoformat(),
    }


def _fit(name: str) -> str:
    """An id as the API wants it."""
    return name.replace("|", ":")[:64]


def _events(of: Month, tariff: Tariff, told: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Purchases and answers as a till and an app would report them; tills know of no decision."""
    given = {one.visit.key: one for one in of.given}
    taken = {str(row["key"]): row for row in money.takes(of, tariff, told).to_dict("records")}
    sent = [_purchase(row) for row in told["purchases"].to_dict("records")]
    answers = told["offer_events"].sort_values(["occurred_at", "event_id"]).to_dict("records")
    for row in answers:
        one, kind = given[str(row["decision_id"])], str(row["type"])
        event = _event(one, kind, row["occurred_at"], f"{one.visit.key}|{kind}")
        if kind == "redeem":
            what = taken[one.visit.key]
            event |= {"value": what["discount"] + what["gift"], "properties": {"points": what["points"]}}
        sent.append(event)
    return sent


def _purchase(row: Mapping[Any, Any]) -> dict[str, Any]:
    same = ("member_id", "basket_id", "product_id", "quantity", "unit_price", "discount")
    return {
        "event_id": _fit(str(row["purchase_id"])),
        "type": "purchase",
        **{name: row[name] for name in same},
        "occurred_at": row["occurred_at"].isoformat(),
    }
