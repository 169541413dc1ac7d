"""A month of visits and what members do after each decision, day by day.

What members do hangs on the seed, the member and the visit alone, not on the policy: two policies that give the same
member the same thing at the same visit get the same answer, so that policies are compared by common random numbers.
What is told of a day never changes by what is decided later (`experiments.programme.responses`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from experiments.programme.chance import Flags, Floats, Whole, uniform
from experiments.programme.responses import respond
from experiments.simulate import Truth
from experiments.worlds import EFFECT_TYPES, World
from features.entities import DO_NOTHING

_VISITS, _ORDER = 40, 41
"""Purposes of chances."""
VISITS_PER_BASKET = 4.0
"""Assumed: a member looks into the app so many times for each basket, at most every other day."""
MAIL_EVERY_DAYS = 7
_WINDOW = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Visit:
    """A member who can be given something: they open the app, or a mail may go to them."""

    row: int
    member_id: str
    channel: str
    key: str
    """Of the visit, whatever the policy."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the service gave at a visit. `discount` is a share or money, as its type has it."""

    visit: Visit
    at: datetime
    decision_id: str
    candidate_id: str
    candidate_type: str
    discount: float
    reach: float
    """Factor on the lift by recent contacts."""


@dataclass(slots=True)
class Month:
    """What has been decided and told so far under one policy. `active` are the members who can be reached at all."""

    truth: Truth
    world: World
    seed: int
    starts: datetime
    days: int
    active: Flags
    given: list[Given] = field(default_factory=list)
    contacts: Floats = field(default_factory=lambda: np.zeros(0))
    """Recent contacts by member: halved every window of 14 days."""
    fading: Floats = field(default_factory=lambda: np.zeros(0))
    """Chance of having begun to fade in the windows that have passed."""

    def __post_init__(self) -> None:
        self.contacts = np.zeros(len(self.truth.member_ids))
        self.fading = np.zeros(len(self.truth.member_ids))

    @property
    def settled_days(self) -> int:
        """Days until everything that was caused has happened."""
        return self.days + _WINDOW.days

    def at(self, day: int) -> datetime:
        """When the visits of a day are; day 0 is the first."""
        return self.starts + timedelta(days=day, hours=10)

    def visits(self, day: int) -> list[Visit]:
        """Who comes on a day, in an order of its own; every seventh day mails may go out to everybody as well."""
        rows = np.flatnonzero(self.active)
        number = np.full(len(rows), day)
        often = np.minimum(VISITS_PER_BASKET / self.truth.gap_days[rows], 0.5)
        opens = uniform(self.seed, _VISITS, rows, number) < often
        order = np.argsort(uniform(self.seed, _ORDER, rows, number))
        found = [self._visit(row, day, "app") for row in rows[order[opens[order]]].tolist()]
        if day % MAIL_EVERY_DAYS == 0:
            found += [self._visit(row, day, "email") for row in rows[order].tolist()]
        return found

    def _visit(self, row: int, day: int, channel: str) -> Visit:
        member = str(self.truth.member_ids[row])
        return Visit(row, member, channel, f"{member}|{day}|{channel}")

    def decided(self, visit: Visit, at: datetime, decision_id: str, candidate: Mapping[str, object]) -> Given:
        """Write down what was given; `candidate` has id, type and discount."""
        reach = float(np.exp(-self.world.fatigue * self.contacts[visit.row]))
        kind, discount = str(candidate["type"]), float(str(candidate["discount"]))
        one = Given(visit, at, decision_id, str(candidate["id"]), kind, discount, reach)
        self.given.append(one)
        if one.candidate_id != DO_NOTHING.id:
            self.contacts[visit.row] += 1.0
        return one

    def told(self, day: int) -> dict[str, pd.DataFrame]:
        """What happens between the visits of a day and those of the next, with what has been decided so far."""
        since, until = self.at(day), self.at(day + 1)
        recent = [one for one in self.given if one.at > since - _WINDOW - timedelta(days=1)]
        found = self._respond(recent, [max(since - timedelta(days=1), self.at(0))])
        return {
            name: rows[(rows["occurred_at"] > since) & (rows["occurred_at"] <= until)] for name, rows in found.items()
        }

    def passes(self, day: int) -> None:
        """Night falls: contacts fade, and at the end of each window some members begin to."""
        self.contacts *= 0.5 ** (1.0 / _WINDOW.days)
        if (day + 1) % _WINDOW.days == 0 and day < self.days:
            risk = self.world.irritation * self.truth.irritability * self.contacts
            hazard = np.minimum(self.truth.hazard * np.exp(risk), 0.9)
            self.fading += (1.0 - self.fading) * np.where(self.active, hazard, 0.0)

    def all_told(self, *, nothing: bool = False) -> dict[str, pd.DataFrame]:
        """Everything that happens until it is settled; with `nothing`, had nobody been given anything."""
        marks = [self.at(day) for day in range(0, self.settled_days, _WINDOW.days)]
        found = self._respond([] if nothing else self.given, marks)
        return {name: rows[rows["occurred_at"] <= self.at(self.settled_days)] for name, rows in found.items()}

    def chances(self) -> Floats:
        """Of each decision, that it adds a basket."""
        column = np.array([_column(one.candidate_type) for one in self.given], dtype=np.int64)
        rows = np.array([one.visit.row for one in self.given], dtype=np.int64)
        reach = np.array([one.reach for one in self.given])
        lift = np.where(column >= 0, self.truth.lift[rows, column] * reach, 0.0) if len(rows) else np.zeros(0)
        return np.asarray(lift, dtype=np.float64)

    def _respond(self, given: Sequence[Given], marks: Sequence[datetime]) -> dict[str, pd.DataFrame]:
        """Rows of decisions, and of members with nothing decided, whose planned baskets are told from `marks` on."""
        ids = self.truth.member_ids[self.active]
        waits = [
            pd.DataFrame({"member_id": ids, "decision_id": f"wait-{n}", "candidate_id": "-", "at": mark})
            for n, mark in enumerate(marks)
        ]
        nothing = pd.concat(waits, ignore_index=True).assign(candidate_type="do_nothing", discount=0.0, reach=1.0)
        rows = [
            (one.visit.member_id, one.visit.key, one.visit.key, one.candidate_type, one.at, one.discount, one.reach)
            for one in given
            if one.candidate_id != DO_NOTHING.id
        ]
        names = ("member_id", "decision_id", "candidate_id", "candidate_type", "at", "discount", "reach")
        # First answers first: a row with nothing decided answers no basket, whatever its place.
        every = pd.concat([pd.DataFrame(rows, columns=list(names)), nothing], ignore_index=True) if rows else nothing
        return dict(respond(self.truth, every, world=self.world, seed=self.seed))


def _column(kind: str) -> int:
    return EFFECT_TYPES.index(kind) if kind in EFFECT_TYPES else -1


def rows_of(truth: Truth, members: pd.Series[str]) -> Whole:
    """Place of each member in the truth."""
    found: Whole = pd.Index(truth.member_ids).get_indexer(pd.Index(members)).astype(np.int64)
    return found
