"""Learning on the service's own journal, round after round, in a world whose truth is known.

A programme begins with a history in which nothing was drawn by lot, and decides by the policy's priors. A round is some
reward windows in which everybody is decided for once, members answer as their world has it, and at its end effects are
learned from the journal and promoted by the gate, or refused by it. Afterwards the policies of all rounds are asked, at
one and the same moment, what they would do for each member, and that is worth what the truth says.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments import gate
from experiments.contests import Court
from experiments.programme.effects import ACTION_SHARE
from experiments.simulate import Truth, respond, simulate, truth
from experiments.worlds import EFFECT_TYPES, World
from features import catalog, history
from features.entities import OFFER_TYPES, Candidate, Catalog
from features.member_states import state_blobs
from features.rows import Rows
from features.workspace import Workspace
from serving import events, export, value
from serving import policy as policies
from serving.contract import DecisionRequest, Envelope
from serving.delivery import decide_many
from serving.engine import call
from serving.house import House, open_house
from training import settings
from training.train import train

Floats = NDArray[np.float64]
END = datetime(2026, 6, 1, tzinfo=UTC)
"""Where the history ends and the journal begins."""
WINDOW = timedelta(days=14)
PRODUCTS, DAYS = 40, 240
LEARNED = ("response", "effects")
_SHOWN = {"channel": "app"}


@dataclass(frozen=True)
class Programme:
    """Members whose truth is known, and a workspace that knows their past alone."""

    ws: Workspace
    who: Truth
    seed: int
    world: World

    @property
    def rules(self) -> Any:
        """The programme of the catalogue."""
        return catalog.load(self.ws.catalog).programme


def begin(ws: Workspace, members: int, seed: int, world: World) -> Programme:
    """A history in which nothing was drawn by lot: all that will be known of effects comes out of the journal."""
    past = simulate(world, members=members, products=PRODUCTS, days=DAYS, ends_at=END, seed=seed)
    history.merge(ws.tables, {name: rows for name, rows in past.items() if name not in ("offer_events", "decisions")})
    return Programme(ws, truth(world, members=members, products=PRODUCTS, seed=seed), seed, world)


def live(programme: Programme, windows: int, first: int = 0) -> datetime:
    """Decide for everybody once in each reward window; members answer as their world has it.

    Args:
        programme: whose journal is written.
        windows: how many.
        first: windows that have passed before.

    Returns:
        When the last window has closed.
    """
    ticks, dice = itertools.count(int(END.timestamp())), random.Random(1_000 * programme.seed + first)
    house = open_house(programme.ws, dice.randbytes, clock=lambda: next(ticks), open_door=True, patient=True)
    for number in range(first, first + windows):
        at = END + number * WINDOW + timedelta(hours=10)
        refresh(programme, at)
        house.watch.look()
        decided = pd.DataFrame(decisions(house, programme, at)).assign(at=pd.Timestamp(at))
        report(house, respond(programme.who, decided, world=programme.world, seed=programme.seed), at + WINDOW)
    house.close()
    known = history.watermark(programme.ws.tables) or 0
    rows, position = export.since(programme.ws.journal, known, programme.rules.points)
    history.merge(programme.ws.tables, rows, watermark=position)
    return END + (first + windows) * WINDOW + timedelta(days=1)


def refresh(programme: Programme, at: datetime) -> None:
    """Online states from the tables and from what the journal has beyond them."""
    known = history.watermark(programme.ws.tables) or 0
    fresh, _ = export.since(programme.ws.journal, known, programme.rules.points)
    rows = Rows(programme.ws.online)
    rows.write("member_state", state_blobs(programme.ws.tables, at, programme.rules, None, fresh))
    rows.close()


def decisions(house: House, programme: Programme, at: datetime) -> Iterator[dict[str, str]]:
    """Decide for everybody; what was given to whom."""
    types = {one.id: one.type for one in catalog.load(programme.ws.catalog).offers} | {"do_nothing": "do_nothing"}
    everybody = programme.who.member_ids.tolist()
    for answer in decide_many(house.engine, everybody, "offer", Envelope.model_validate(_SHOWN), at.timestamp()):
        first = answer["results"][0]["id"]
        yield {
            "member_id": answer["member_id"],
            "decision_id": answer["decision_id"],
            "candidate_id": first,
            "candidate_type": types[first],
        }


def report(house: House, answers: Any, at: datetime) -> None:
    """What members did, through the checks of `/v1/events` into the journal. Tills know of no decision."""
    sent: list[dict[str, Any]] = [
        {"event_id": one.purchase_id, "type": "purchase", "member_id": one.member_id, "basket_id": one.basket_id,
         "product_id": one.product_id, "quantity": one.quantity, "unit_price": one.unit_price,
         "discount": one.discount, "occurred_at": one.occurred_at.isoformat()}
        for one in answers["purchases"].itertuples()
    ]  # fmt: skip
    sent += [
        {"event_id": one.event_id, "type": one.type, "member_id": one.member_id, "decision_id": one.decision_id,
         "id": one.offer_id, "occurred_at": one.occurred_at.isoformat()}
        for one in answers["offer_events"].itertuples()
    ]  # fmt: skip
    for first in range(0, len(sent), events.MAX_EVENTS):
        part = sent[first : first + events.MAX_EVENTS]
        found = events.sort(events.EventsRequest.model_validate({"events": part}).events, part, at, "EUR")
        if found.rejected:
            raise ValueError(f"own journal: an event was rejected: {found.rejected[0]}")
        house.journal.append_events(found.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """What the policy of one round would do, and what that is truly worth. Rows are members, per decision."""

    versions: Mapping[str, str]
    """What served: model → version; nothing before the first round."""
    said: tuple[str, ...]
    """What the gate said of the challengers that made it."""
    money: Floats
    """(n,): margin truly caused less what is truly paid, expected over the policy's own chances."""
    baskets: Floats
    """(n,): truly caused, in the reward window."""
    nothing: Floats
    """(n,): the chance of doing nothing."""


def rounds(
    programme: Programme,
    count: int,
    windows: int,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Round]:
    """Live and learn, `count` times; then ask the policy of the priors and that of each round.

    Args:
        programme: just begun.
        count: rounds of learning.
        windows: reward windows of each.
        progress: told what is going on.
    """
    served: list[tuple[dict[str, str], tuple[str, ...]]] = [({}, ())]
    closed = END
    for number in range(count):
        closed = live(programme, windows, number * windows)
        said = learn(programme, closed)
        served.append((_champions(programme.ws), said))
        progress(f"round {number + 1}: {'; '.join(said)}")
    refresh(programme, closed)
    return [_asked(programme, versions, said, closed) for versions, said in served]


def learn(programme: Programme, at: datetime, models: Sequence[str] = LEARNED) -> tuple[str, ...]:
    """Train from the journal and let the gate judge; what it said of each."""
    ws, rules = programme.ws, programme.rules
    config = settings.read(ws.training)
    made = train(ws, rules, config, at, tuple(models))
    said = [f"{name}: not trained" for name in made.skipped]
    for name in [version.name for version in made.versions]:
        outcome = gate.promote(Court(ws, rules, config, at), name)
        why = "" if outcome.promoted else f" ({'; '.join(outcome.verdict.objections)})"
        said.append(f"{name}: {'serves' if outcome.promoted else 'refused'}{why}")
    return tuple(said)


def _champions(ws: Workspace) -> dict[str, str]:
    return dict(json.loads(ws.champions.read_text())) if ws.champions.exists() else {}


def _asked(programme: Programme, versions: Mapping[str, str], said: tuple[str, ...], at: datetime) -> Round:
    ws, who = programme.ws, programme.who
    before = ws.champions.read_text() if ws.champions.exists() else "{}"
    ws.champions.write_text(json.dumps(dict(versions)))
    book = catalog.load(ws.catalog)
    policy = policies.load(ws.policy)
    house = open_house(ws, random.Random(1).randbytes, clock=at.timestamp, open_door=True, patient=True)
    n = len(who.member_ids)
    money, baskets, nothing = np.zeros(n), np.zeros(n), np.zeros(n)
    try:
        worth = {one.id: _truly(programme, one, book, policy) for one in book.offers}
        for row, member_id in enumerate(who.member_ids.tolist()):
            request = DecisionRequest.model_validate({"member_id": member_id, **_SHOWN})
            chances = house.engine.appraise(call("offer", member_id, request, at.timestamp(), b""))[1][0]
            for candidate, chance in chances.probabilities.items():
                if candidate in worth:
                    money[row] += chance * worth[candidate][0][row]
                    baskets[row] += chance * worth[candidate][1][row]
                else:
                    nothing[row] += chance
    finally:
        house.close()
        ws.champions.write_text(before)
    return Round(dict(versions), said, money, baskets, nothing)


def _truly(programme: Programme, offer: Candidate, book: Catalog, policy: policies.Policy) -> tuple[Floats, Floats]:
    """(n,) money and (n,) baskets that giving it truly brings, as `docs/simulator.md` has it."""
    who, column = programme.who, EFFECT_TYPES.index(offer.type)
    lift, drop, uses = who.lift[:, column], who.drop[:, column], who.uses[:, column]
    windows = programme.world.window_days / who.gap_days
    answers = uses * -np.expm1(-windows) * (1 - drop) if offer.type in OFFER_TYPES else ACTION_SHARE * uses
    response, effect = lift + (1 - lift) * answers, lift - drop * windows
    terms, points, basket = value.terms(offer, policy), book.programme.points, who.impulse_amount
    paid = terms.share_off * basket + np.minimum(terms.money_off, basket) + terms.cost
    minted = terms.points + terms.more_points * _EARNED * basket
    paid = paid + minted * points.cost_per_point * points.redeemed_share
    found: Floats = who.impulse_margin * effect - response * paid - terms.contact_cost
    return found, effect


_EARNED = 1.25
"""Points for each unit of currency, as the middle tier earns them."""
