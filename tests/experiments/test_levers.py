"""What levers cost, on logged decisions of members whose responses are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from experiments.levers import Followed, Limits, Logged, costs, pulled, unpulled
from features.entities import Candidate, Catalog, Economics
from serving.assignment import Experiments
from serving.decide import decide
from serving.portrait import portrait
from serving.snapshot import Learned
from tessera.levers import sentence
from tests.serving.deciding import AT, CATALOG, DAY, POLICY, ask, member, varied

TRIES = varied(
    families={"offer": {"explore": True, "do_nothing_floor": 0.1}},
    exploration={"allowance": 50.0, "gamma": 2.0, "floor": 0.2},
    holdout={"share": 0.0},
)
RUNS = Experiments("none", ())


def _book(lever: float) -> Catalog:
    money = Economics(response=0.3, effect_share=0.5)
    good = Candidate("good", "offer", "gift", "Good", economics=replace(money, cost=1.0))
    dear = Candidate("dear", "offer", "gift", "Dear", economics=replace(money, cost=2.0), lever=lever)
    return replace(CATALOG, offers=(good, dear), actions=(), benefits=(), budgets=())


def _logged(book: Catalog, many: int, policy: object = TRIES) -> Iterator[Logged]:
    for number in range(many):
        who = replace(member(), member_id=f"m{number}", at=AT + (number % 5) * DAY)
        found = decide(who, ask(), Learned(churn=0.2), book, policy, RUNS)  # type: ignore[arg-type]
        yield Logged(
            f"d{number}", who, ask(), Learned(churn=0.2), book, policy, RUNS,  # type: ignore[arg-type]
            found.chances[0].probabilities, found.results[0].id,
        )  # fmt: skip


def _answered(logged: list[Logged], book: Catalog, seed: int) -> tuple[dict[str, Followed], dict[str, float]]:
    """As the bill says: an effect of half the responses; and the true worth of each choice."""
    dice = np.random.default_rng(seed)
    effect = {one.id: _worth(book, one.id)[0] for one in book.offers} | {"do_nothing": 0.0}
    response = {one.id: _worth(book, one.id)[1] for one in book.offers} | {"do_nothing": 0.0}
    came = {}
    for one in logged:
        baskets = dice.poisson(0.6) + (dice.random() < effect[one.given])
        came[one.decision_id] = Followed(float(baskets), bool(dice.random() < response[one.given]))
    return came, {one.id: _worth(book, one.id)[2] for one in book.offers} | {"do_nothing": 0.0}


def _worth(book: Catalog, name: str) -> tuple[float, float, float]:
    from serving import value

    who = portrait(member(), ask(), Learned(churn=0.2), book.programme, POLICY)
    offer = next(one for one in book.offers if one.id == name)
    found = value.written(
        value.worth(
            value.terms(offer, POLICY), who, Learned(churn=0.2), POLICY, book.programme, POLICY.channel("app"), 0
        )
    )
    return found.effect, found.response, found.net


def test_what_a_lever_truly_costs_lies_in_the_interval() -> None:
    book, inside = _book(3.0), []
    for seed in range(10):
        logged = list(_logged(book, 1500))
        came, worth = _answered(logged, book, seed)
        plain = unpulled(book, "")
        true = []
        for one in logged[:5]:  # all members are alike: the chances are
            new = decide(one.snapshot, one.ask, one.learned, plain, TRIES, RUNS).chances[0].probabilities
            true.append(sum((new.get(name, 0) - one.chances.get(name, 0)) * worth[name] for name in worth))
        found = costs(logged, came)
        assert [one.candidate_id for one in found] == ["dear", ""]
        assert all(one.refused == "" and one.cost is not None for one in found)
        inside.append(found[0].low <= 1000 * np.mean(true) <= found[0].high)
        assert found[0].expected == pytest.approx(1000 * np.mean(true), abs=1e-6)
        assert found[0].expected > 0
    assert sum(inside) >= 8


def test_without_overlap_it_is_refused_and_the_bills_still_say_something() -> None:
    strict = varied(families={"offer": {"explore": False, "do_nothing_floor": 0.0}}, holdout={"share": 0.0})
    book = _book(9.0)
    logged = list(_logged(book, 400, strict))
    assert {one.given for one in logged} == {"dear"}
    came, _ = _answered(logged, book, 1)
    (own, _) = costs(logged, came)
    assert own.cost is None and "no chance" in own.refused and own.expected > 0 and own.moved == 1.0
    assert "closed reward window" in costs(logged, {})[0].refused
    assert "closed" in costs(logged[:50], came, Limits(least=100))[0].refused


def test_a_catalogue_without_levers_costs_nothing_and_a_lever_never_helps_a_loss() -> None:
    assert costs(_logged(_book(1.0), 5), {}) == ()
    assert pulled(unpulled(_book(2.0), "dear")) == {}
    losing = replace(_book(9.0), offers=(replace(_book(9.0).offers[1], economics=Economics(cost=40.0, response=0.5)),))
    one = next(_logged(losing, 1))
    assert one.given == "do_nothing" or one.chances["do_nothing"] > one.chances["dear"]
    (own, both) = costs([one], {})
    assert own.moved == both.moved == 0.0


def test_a_marketer_reads_what_a_lever_costs() -> None:
    book = _book(3.0)
    logged = list(_logged(book, 1500))
    came, _ = _answered(logged, book, 3)
    own, both = (sentence(one, "EUR") for one in costs(logged, came))
    assert own.startswith("dear (lever 3): without, ") and "EUR [" in own and "by the bills" in own
    assert both.startswith("All levers together")
    refused = sentence(costs(logged, {})[0], "EUR")
    assert "what followed cannot say: 0 decisions have a closed reward window" in refused
