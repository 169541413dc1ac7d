"""The Python client against a running service."""

from __future__ import annotations

import pytest

from serving.client import CallError, Client
from serving.contract import BatchRequest
from tests.serving.running import Running


def test_the_client_decides_reports_and_looks_up(service: Running) -> None:
    with Client(service.url, service.key) as client:
        assert client.ready()
        offer = client.offers("M0000030", channel="app", context={"basket_value": 54.2})
        assert offer.member_id == "M0000030"
        for answer in (client.next_best_action("M0000030"), client.benefits("M0000030"), offer):
            assert sum(1 for result in answer.results if 0 < result.probability <= 1) == len(answer.results) > 0
        products = client.recommendations("M0000030", placements=[{"id": "list", "count": 3}])
        assert [result.rank for result in products.results] == [1, 2, 3]
        assert client.decision(offer.decision_id).results == offer.results
        assert client.explain(offer.decision_id)["inputs"]["features"]["tenure_days"] > 0
        assert client.member("M0000030")["member_id"] == "M0000030"
        given = {"event_id": "c1", "type": "click", "member_id": "M0000030", "decision_id": offer.decision_id}
        assert client.report([given]).accepted == 1
        assert client.report([given]).duplicates == 1


def test_the_client_decides_for_many(service: Running) -> None:
    with Client(service.url, service.key) as client:
        found = client.decide_batch(BatchRequest(family="offer", member_ids=["M0000031", "M0000032"]))
    assert [answer.member_id for answer in found.answers] == ["M0000031", "M0000032"]


def test_a_refusal_becomes_an_error_that_names_the_field(service: Running) -> None:
    with Client(service.url, service.key) as client:
        client.offers("M0000033", request_id="client-1")
        with pytest.raises(CallError, match="409: the same request_id with another body; request_id") as caught:
            client.offers("M0000034", request_id="client-1")
    assert caught.value.status == 409
    with Client(service.url, "tk_wrong") as client, pytest.raises(CallError, match="401: no valid API key"):
        client.offers("M0000033")


def test_what_the_contract_forbids_is_refused_before_it_is_sent(service: Running) -> None:
    with Client(service.url, service.key) as client, pytest.raises(ValueError, match="channel"):
        client.offers("M0000033", channel="pigeon")
