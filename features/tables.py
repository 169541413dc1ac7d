"""The typed tables: which columns, of which type, that a history consists of.

Every row carries two times: `occurred_at`, when it happened, and `known_at`, when we could have known it.
Times are microseconds in UTC; money is in the programme's currency; text ids are never empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "money", "number", "whole", "time", "flag"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a typed table."""

    name: str
    kind: Kind
    required: bool = True
    """A required column is present and never missing; any other may be missing, and then is null."""
    among: tuple[str, ...] = ()
    """The values allowed; empty allows any."""
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One typed table; `key` names the columns that identify a row for ever."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


EVENT_TYPES = (
    "sent",
    "delivered",
    "opened",
    "bounced",
    "impression",
    "click",
    "accept",
    "decline",
    "dismiss",
    "redeem",
    "unsubscribe",
)
ENGAGEMENT_TYPES = ("check_in", "share", "review", "event_attended", "community_post", "survey_answer", "enrol")
POINTS_TYPES = ("earn", "redeem", "expire", "reverse", "adjust")

_TIMES = (Column("occurred_at", "time"), Column("known_at", "time"))

MEMBERS = Table(
    "members",
    ("member_id", "occurred_at"),
    (
        Column("member_id", "text"),
        Column("household_id", "text", required=False),
        Column("enrolled_at", "time"),
        Column("region", "text", required=False),
        Column("birth_year", "whole", required=False, at_least=1900, at_most=2100),
        Column("consent_personalisation", "flag"),
        Column("consent_email", "flag"),
        Column("consent_sms", "flag"),
        Column("consent_push", "flag"),
        Column("consent_call", "flag"),
        *_TIMES,
    ),
)
HOUSEHOLDS = Table(
    "households",
    ("household_id", "occurred_at"),
    (
        Column("household_id", "text"),
        Column("size", "whole", required=False, at_least=1, at_most=30),
        Column("income_band", "text", required=False),
        Column("composition", "text", required=False),
        *_TIMES,
    ),
)
PRODUCTS = Table(
    "products",
    ("product_id",),
    (
        Column("product_id", "text"),
        Column("name", "text", required=False),
        Column("category", "text"),
        Column("brand", "text", required=False),
        Column("unit_price", "money", at_least=0.0),
        Column("unit_margin", "money"),
        Column("margin_basis", "text", among=("given", "assumed")),
        *_TIMES,
    ),
)
PURCHASES = Table(
    "purchases",
    ("purchase_id",),
    (
        Column("purchase_id", "text"),
        Column("basket_id", "text"),
        Column("member_id", "text"),
        Column("product_id", "text"),
        Column("quantity", "number"),
        Column("unit_price", "money", at_least=0.0),
        Column("discount", "money", at_least=0.0),
        Column("amount", "money"),
        Column("store_id", "text", required=False),
        Column("channel", "text", required=False),
        Column("reverses", "text", required=False),
        Column("offer_id", "text", required=False),
        *_TIMES,
    ),
)
"""One line of a basket. `amount = quantity·unit_price − discount`; a return has a negative quantity and amount, and
`reverses` names the purchase it takes back where that is known."""
POINTS = Table(
    "points",
    ("entry_id",),
    (
        Column("entry_id", "text"),
        Column("member_id", "text"),
        Column("type", "text", among=POINTS_TYPES),
        Column("points", "number"),
        Column("lot_id", "text"),
        Column("expires_at", "time", required=False),
        Column("source", "text", required=False),
        *_TIMES,
    ),
)
"""Signed: `earn` is positive, `redeem`, `expire` and `reverse` are negative. Every entry belongs to one lot."""
ENGAGEMENTS = Table(
    "engagements",
    ("engagement_id",),
    (
        Column("engagement_id", "text"),
        Column("member_id", "text"),
        Column("type", "text", among=ENGAGEMENT_TYPES),
        Column("topic", "text", required=False),
        Column("value", "number", required=False),
        *_TIMES,
    ),
)
OFFERS = Table(
    "offers",
    ("offer_id",),
    (
        Column("offer_id", "text"),
        Column("name", "text", required=False),
        Column("type", "text"),
        Column("category", "text", required=False),
        Column("discount", "number", at_least=0.0),
        Column("points", "number", at_least=0.0),
        Column("starts", "time", required=False),
        Column("ends", "time", required=False),
        *_TIMES,
    ),
)
"""Offers that a history made (its campaigns and coupons), as facts; what may be offered today is the catalogue."""
OFFER_EVENTS = Table(
    "offer_events",
    ("event_id",),
    (
        Column("event_id", "text"),
        Column("member_id", "text"),
        Column("offer_id", "text"),
        Column("offer_type", "text"),
        Column("type", "text", among=EVENT_TYPES),
        Column("channel", "text", required=False),
        Column("decision_id", "text", required=False),
        Column("probability", "number", required=False, at_least=0.0, at_most=1.0),
        Column("value", "money", required=False),
        *_TIMES,
    ),
)
"""What became of an offer or action. `probability` is that with which it was chosen, where it was randomised."""
DECISIONS = Table(
    "decisions",
    ("decision_id", "placement", "rank"),
    (
        Column("decision_id", "text"),
        Column("member_id", "text"),
        Column("family", "text"),
        Column("placement", "text"),
        Column("rank", "whole", at_least=1),
        Column("candidate_id", "text"),
        Column("candidate_type", "text"),
        Column("probability", "number", at_least=0.0, at_most=1.0),
        Column("slate_probability", "number", at_least=0.0, at_most=1.0),
        Column("propensities", "text"),
        Column("mode", "text"),
        Column("policy_version", "text"),
        Column("experiment", "text", required=False),
        Column("variant", "text", required=False),
        Column("learnable", "flag"),
        Column("net_value", "money", required=False),
        *_TIMES,
    ),
)
"""What was decided, a row for each rank. `propensities` is JSON: candidate → probability at that rank. `learnable` is
false for static answers, repeats of a broken decision and anything else whose probability says nothing."""
OUTCOMES = Table(
    "outcomes",
    ("outcome_id",),
    (
        Column("outcome_id", "text"),
        Column("member_id", "text"),
        Column("decision_id", "text", required=False),
        Column("type", "text"),
        Column("value", "money", required=False),
        *_TIMES,
    ),
)

IDENTITIES = Table(
    "identities",
    ("card_id", "occurred_at"),
    (
        Column("card_id", "text"),
        Column("member_id", "text", required=False),
        *_TIMES,
    ),
)
"""Which card, anonymous visit (`~…`) or merged account belongs to which member; without a member it is taken back."""

TABLES = {
    table.name: table
    for table in (
        MEMBERS,
        HOUSEHOLDS,
        PRODUCTS,
        PURCHASES,
        POINTS,
        ENGAGEMENTS,
        OFFERS,
        OFFER_EVENTS,
        DECISIONS,
        OUTCOMES,
        IDENTITIES,
    )
}
