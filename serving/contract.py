"""Requests and answers of the decision endpoints: one envelope for all four, checked once, at the border.

The Python client uses the same models. Answers are written by `serving.answer`; here they are described, so that the
OpenAPI document and the client know their shape.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

FamilyName = Literal["offer", "action", "benefit", "product"]
ChannelName = Literal["app", "web", "email", "sms", "push", "till", "call"]
Explain = Literal["none", "reasons", "full"]

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@+=~-]{0,63}$"
Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""Letters, digits and `._:@+=~-`, at most 64, beginning with a letter or digit."""
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,39}$")]
Text = Annotated[str, StringConstraints(max_length=200)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]


def _whole(value: object) -> object:
    """JSON knows one kind of number: 2.0 is as whole as 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Count = Annotated[int, Field(ge=1, le=50)]
_Rank = Annotated[int, Field(ge=1, le=1000)]
Count = Annotated[_Count, BeforeValidator(_whole, json_schema_input_type=_Count)]
Rank = Annotated[_Rank, BeforeValidator(_whole, json_schema_input_type=_Rank)]

PATHS: dict[FamilyName, str] = {
    "offer": "/v1/offers",
    "action": "/v1/next-best-action",
    "benefit": "/v1/benefits",
    "product": "/v1/recommendations",
}
"""Family → the endpoint that decides it."""

EITHER: JsonDict = {
    "anyOf": [
        {"required": [name], "properties": {name: {"type": "string", "pattern": ID_PATTERN}}}
        for name in ("member_id", "anonymous_id")
    ]
}


class Strict(BaseModel):
    """What a caller sends: nothing unknown, nothing of another type, nothing infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class PlacementAsk(Strict):
    """A place to fill with up to `count` candidates."""

    id: Identifier
    count: Count = 1


def _joined(placements: list[PlacementAsk]) -> list[PlacementAsk]:
    """The same placement written twice asks for as many places as both together."""
    counts: dict[str, int] = {}
    for one in placements:
        counts[one.id] = min(50, counts.get(one.id, 0) + one.count)
    if len(counts) == len(placements):
        return placements
    return [PlacementAsk(id=name, count=count) for name, count in counts.items()]


class BoostAsk(Strict):
    """Products that fit a filter move up (a factor above 1) or down (below 1); factors of several boosts multiply."""

    filter: Annotated[str, StringConstraints(max_length=500)] = Field(
        description="A condition on products, with `$name` for values of `filter_values`.",
        json_schema_extra={"format": "tessera-filter"},
    )
    factor: Annotated[float, Field(gt=0, le=100)] = Field(
        description="A product at rank r counts factor / log2(1 + r): with 2, the third counts as much as the first."
    )


class Envelope(Strict):
    """What single and batch requests share."""

    request_id: Identifier | None = None
    channel: ChannelName | None = None
    direction: Literal["inbound", "outbound"] = "inbound"
    placements: Annotated[list[PlacementAsk], Field(min_length=1, max_length=10), AfterValidator(_joined)] = Field(
        default_factory=lambda: [PlacementAsk(id="default")]
    )
    context: dict[Key, Number | Text] = Field(default_factory=dict, max_length=32)
    filter: Annotated[str, StringConstraints(max_length=500)] | None = Field(
        default=None,
        description=(
            "A condition on candidates, such as `category == $c and margin > 0`: fields, ==, !=, <, <=, >, >=, in, "
            "and, or, not, brackets, `$name` for values of filter_values. Products have `id`, `name`, `category`, "
            "`brand`, `price`, `margin`, `tags` and `popularity` (0..1: the share of products bought no more often)."
        ),
        json_schema_extra={"format": "tessera-filter"},
    )
    filter_values: dict[Key, bool | Number | Text] = Field(default_factory=dict, max_length=32)
    include: list[Identifier] = Field(
        default_factory=list, max_length=200, description="Only these may come; empty allows all."
    )
    exclude: list[Identifier] = Field(default_factory=list, max_length=200, description="None of these may come.")
    explain: Explain = "reasons"
    dry_run: bool = Field(default=False, description="Decide, but neither log nor count it.")


class DecisionRequest(Envelope):
    """One member, one moment; only `member_id` (or `anonymous_id`) is required."""

    model_config = ConfigDict(json_schema_extra=EITHER)

    member_id: Identifier | None = None
    anonymous_id: Identifier | None = None

    def model_post_init(self, _context: Any) -> None:
        """Refuse a request about nobody."""
        if self.member_id is None and self.anonymous_id is None:
            raise ValueError("member_id or anonymous_id is required")


class RecommendationRequest(DecisionRequest):
    """The same for a list of products, which may be mixed as the caller wishes."""

    boosts: list[BoostAsk] = Field(default_factory=list, max_length=10, description="What is to move up or down.")
    diversity: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description=(
            "Each product of a category already in the list makes the next of it count (1 - diversity) "
            "as much. 0 leaves the order alone; with 1 every category comes up before any does twice."
        ),
    )
    max_per_category: Count | None = Field(
        default=None, description="At most so many of one category, over all placements."
    )
    popularity_cap: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Leaves out those with a higher `popularity`; 0.99 leaves out the most bought 1 %.",
    )


class BatchRequest(Envelope):
    """The same decision for up to 500 members."""

    family: FamilyName = "action"
    member_ids: list[Identifier] = Field(min_length=1, max_length=500)


REQUESTS: dict[FamilyName, type[DecisionRequest]] = {
    "offer": DecisionRequest,
    "action": DecisionRequest,
    "benefit": DecisionRequest,
    "product": RecommendationRequest,
}
"""Family → what its endpoint understands."""


class Answer(BaseModel):
    """What the service sends; unknown fields are ignored, so that a client survives a newer service."""

    model_config = ConfigDict(frozen=True)


class PolicyStamp(Answer):
    """Which rules decided, and in which way."""

    id: str
    version: str
    experiment: str | None = None
    variant: str | None = None
    mode: Literal["exploit", "explore", "holdout", "fallback"]


class BillLines(Answer):
    """Signed lines; `net` is their sum without `budget_price`, `score` with it."""

    margin: float
    lifetime: float
    discount: float
    liability: float
    contact: float
    fatigue: float
    budget_price: float


class Worth(Answer):
    """What a result is worth in money, and what it rests on. Only an experiment gives its effect an interval."""

    net: float
    score: float
    currency: str
    effect: float
    effect_interval: tuple[float, float] | None = None
    response: float
    basis: Literal["experiment", "response", "prior"]
    assumed: bool = Field(
        default=False, description="True where the effect is a stated share of responses, seen or assumed."
    )
    bill: BillLines
    fatigue_basis: Literal["experiment", "prior"] = Field(
        default="prior", description="What the fatigue line rests on: randomised contacts, or the policy's constant."
    )
    lifetime_basis: Literal["experiment", "prior", "none"] = Field(
        default="none",
        description="What the lifetime line rests on: decisions drawn by lot, a stated `retention`, or nothing yet, "
        "where the line is 0.",
    )
    lifetime_interval: tuple[float, float] | None = None


class ReasonLine(Answer):
    """A code for systems and a sentence fit for the member."""

    code: str
    text: str


class ExplanationLine(Answer):
    """Why a result was given: for the marketer with its numbers, and a sentence that the member may read."""

    why: list[str]
    member_sentence: str


class ResultLine(Answer):
    """One candidate at one rank of a placement, with the exact probability with which it was chosen."""

    placement: str
    rank: int
    id: str
    kind: Literal["offer", "action", "benefit", "product"]
    probability: float = Field(ge=0, le=1)
    slate_probability: float = Field(ge=0, le=1)
    value: Worth
    reasons: list[ReasonLine]
    content: dict[str, str]
    expires_at: str | None = None
    reservation_id: str | None = None
    explanation: ExplanationLine | None = Field(default=None, description="Only with `explain: full`.")


class SuppressedLine(Answer):
    """A candidate that was not given: where it fell out, why, and until when."""

    id: str
    stage: str
    code: str
    until: str | None = None


class Meta(Answer):
    """How the answer came about."""

    took_ms: float
    feature_age_s: float | None = None
    degraded: list[str]
    models: dict[str, str]
    cold_start: bool = False
    repeated: bool = Field(default=False, description="The first decision of the period was given again.")


class DecisionAnswer(Answer):
    """The answer of every decision endpoint."""

    decision_id: str
    request_id: str | None = None
    member_id: str
    policy: PolicyStamp
    results: list[ResultLine]
    suppressed: list[SuppressedLine]
    meta: Meta


class BatchAnswer(Answer):
    """One answer for each member, in the order asked."""

    answers: list[DecisionAnswer]
    took_ms: float
