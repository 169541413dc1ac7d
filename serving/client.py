"""A small Python client. It shares the request and answer models with the service and imports nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from serving.contract import (
    PATHS,
    BatchAnswer,
    BatchRequest,
    DecisionAnswer,
    DecisionRequest,
    FamilyName,
    RecommendationRequest,
)
from serving.events import EventsAnswer
from serving.redemptions import Channel, PointsRedeemRequest, PointsReleaseRequest, RedemptionAnswer
from serving.spending import BudgetLine, BudgetsAnswer, CommitRequest, ReservationAnswer


class CallError(Exception):
    """The service refused; `status`, `detail` and `errors` come from its problem document."""

    def __init__(self, status: int, detail: str, errors: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(f"{status}: {detail}" + "".join(f"; {one['field']}: {one['rule']}" for one in errors))
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)


class Client:
    """Calls one service; safe to share between threads.

    With a `request_id`, and for events always, a call that got no answer may be sent again: nothing happens twice.

    Args:
        url: such as `http://127.0.0.1:8080`.
        key: an API key; None where the service lets everybody in.
        timeout: seconds for one call.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 5.0) -> None:
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def offers(self, member_id: str, **asked: Any) -> DecisionAnswer:
        """Offers for a member; `asked` are further fields of `DecisionRequest`."""
        return self.decide("offer", DecisionRequest(member_id=member_id, **asked))

    def next_best_action(self, member_id: str, **asked: Any) -> DecisionAnswer:
        """The next best action for a member."""
        return self.decide("action", DecisionRequest(member_id=member_id, **asked))

    def benefits(self, member_id: str, **asked: Any) -> DecisionAnswer:
        """Benefits of the member's tier to put forward."""
        return self.decide("benefit", DecisionRequest(member_id=member_id, **asked))

    def recommendations(self, member_id: str, **asked: Any) -> DecisionAnswer:
        """Products the member is likely to want next."""
        return self.decide("product", RecommendationRequest(member_id=member_id, **asked))

    def decide(self, family: FamilyName, request: DecisionRequest) -> DecisionAnswer:
        """Any of the four.

        Raises:
            CallError: the service refused.
            httpx.HTTPError: it could not be reached, or did not answer in time.
        """
        return DecisionAnswer.model_validate(self._post(PATHS[family], _sent(request)))

    def decide_batch(self, request: BatchRequest) -> BatchAnswer:
        """The same decision for up to 500 members."""
        return BatchAnswer.model_validate(self._post("/v1/decisions/batch", _sent(request)))

    def report(self, events: Iterable[Mapping[str, Any]]) -> EventsAnswer:
        """Report up to 500 events; when this returns, the accepted ones are on disk."""
        return EventsAnswer.model_validate(self._post("/v1/events", {"events": [dict(one) for one in events]}))

    def member(self, member_id: str) -> dict[str, Any]:
        """Segment, tier, points, churn, next purchase and consents of a member."""
        return self._get(f"/v1/members/{member_id}")

    def tier_path(self, member_id: str) -> dict[str, Any]:
        """What would bring the member to the next tier, and what would keep the one there is, at least cost."""
        return self._get(f"/v1/members/{member_id}/tier-path")

    def decision(self, decision_id: str) -> DecisionAnswer:
        """A decision that was made."""
        return DecisionAnswer.model_validate(self._get(f"/v1/decisions/{decision_id}"))

    def explain(self, decision_id: str, candidate: str | None = None) -> dict[str, Any]:
        """A decision with every chance and all it rested on; with `candidate`, `explanation` says why it or why not."""
        asked = "" if candidate is None else f"?candidate={quote(candidate, safe='')}"
        return self._get(f"/v1/decisions/{decision_id}/explain{asked}")

    def validate(self, reservation_id: str) -> ReservationAnswer:
        """Whether a reservation may be redeemed now; CallError with 409 and the reason where not."""
        return ReservationAnswer.model_validate(self._post(f"/v1/reservations/{reservation_id}/validate", {}))

    def commit(self, reservation_id: str, money: float | None = None, points: float | None = None) -> ReservationAnswer:
        """Redeem a reservation; the face value stands in for what is not said. Again is the same."""
        sent = _sent(CommitRequest(money=money, points=points))
        return ReservationAnswer.model_validate(self._post(f"/v1/reservations/{reservation_id}/commit", sent))

    def release(self, reservation_id: str) -> ReservationAnswer:
        """Give back what is reserved, or roll a redemption back. Again is the same."""
        return ReservationAnswer.model_validate(self._post(f"/v1/reservations/{reservation_id}/release", {}))

    def redeem_points(
        self, member_id: str, points: float, channel: Channel, request_id: str | None = None
    ) -> RedemptionAnswer:
        """Use a member's points, all or nothing; CallError with 409 and the reason where it cannot be."""
        sent = _sent(PointsRedeemRequest(points=points, channel=channel, request_id=request_id))
        return RedemptionAnswer.model_validate(self._post(f"/v1/members/{member_id}/points/redeem", sent))

    def release_points(self, member_id: str, redemption_id: str) -> RedemptionAnswer:
        """Roll a redemption of points back. Again is the same."""
        sent = _sent(PointsReleaseRequest(redemption_id=redemption_id))
        return RedemptionAnswer.model_validate(self._post(f"/v1/members/{member_id}/points/release", sent))

    def budgets(self) -> list[BudgetLine]:
        """Every budget: what it has, what is left, and what one more unit would earn."""
        return BudgetsAnswer.model_validate(self._get("/v1/budgets")).budgets

    def ready(self) -> bool:
        """Whether the service can decide."""
        return self._http.get("/readyz").status_code == 200

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return _answer(self._http.post(path, json=body))

    def _get(self, path: str) -> dict[str, Any]:
        return _answer(self._http.get(path))


def _sent(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_defaults=True)


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_success:
        found: dict[str, Any] = response.json()
        return found
    try:
        problem = response.json()
        raise CallError(response.status_code, str(problem["detail"]), problem.get("errors", ()))
    except (ValueError, KeyError, TypeError):
        raise CallError(response.status_code, response.text[:200]) from None
