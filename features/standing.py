"""Where a member stands in the tiers, as features: from the baskets that were known and the programme's rules alone.

By the plain rule a tier is what the spend inside its rolling window reaches. Other rules (`TierRules`) make of every
period a claim: the rank that it reached, which holds to a review and, with a soft landing, sinks by one at each later
one. The member's rank is the highest claim of all. So it follows from the set of baskets in any order, more of them
never lower it, and a rank that falls at every review by one falls by no more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from features.entities import Programme, Tier, TierRules
from features.member_facts import TO_THE_NEWEST
from features.qualifying import DAY, HORIZON_DAYS, scale
from features.relations import Feature

_DAY_US = 86_400_000_000


def tier_features(programme: Programme) -> tuple[Feature, ...]:
    """The four features of a programme's tiers, lowest tier first; ranks count from 0.

    Amounts to spend are money, or baskets where the programme counts baskets.
    """
    tiers, rules = programme.tiers, programme.tier_rules
    if rules == TierRules():
        return _features(tiers, _Plain(tiers))
    return _features(tiers, _Reviewed(tiers, rules) if rules.reviewed else _Graced(tiers, rules))


def faults(rules: TierRules, tiers: tuple[Tier, ...]) -> Iterator[str]:
    """What is wrong with rules, as sentences."""
    if rules.window != "rolling" and rules.hold != "next_year":
        yield (
            f"tier_rules: window {rules.window} with hold {rules.hold} would take every tier at the turn of the year; "
            "write hold: next_year"
        )
    if rules.upgrade == "review" and rules.hold != "next_year":
        yield f"tier_rules: upgrade review with hold {rules.hold} would end a tier as it begins; write hold: next_year"
    if rules.soft_landing and not rules.reviewed and not rules.grace_days:
        yield "tier_rules: soft_landing lands at reviews or after days of grace; write hold or grace_days"
    years = 1 + (rules.hold == "next_year") + (len(tiers) if rules.soft_landing else 1) if rules.reviewed else 0
    stretches = len(tiers) if rules.soft_landing and not rules.reviewed else 1
    window = max(tier.window_days for tier in tiers) if rules.window == "rolling" else 0
    needed = 366 * years + rules.grace_days * stretches + window
    if rules != TierRules() and needed > HORIZON_DAYS:
        yield (
            f"tier_rules: a tier would rest on purchases {needed} days old and {HORIZON_DAYS} are kept; "
            "shorten windows or grace_days, or write fewer tiers"
        )


class _Plain:
    """By the spend inside each tier's window and nothing else."""

    relation = "baskets"
    derived: tuple[tuple[str, str], ...] = ()

    def __init__(self, tiers: tuple[Tier, ...]) -> None:
        self.tiers = tiers

    def reached(self, rank: int) -> str:
        return f"{self._spend(rank)} >= {_cents(self.tiers[rank])}"

    def gap(self, rank: int) -> str:
        return f"({_cents(self.tiers[rank])} - {self._spend(rank)}) / 100"

    def keep(self, rank: int) -> str:
        cents, then = _cents(self.tiers[rank]), self._spend(rank, sooner=30)
        return f"case when {then} < {cents} then ({cents} - {then}) / 100 else 0 end"

    def left(self, rank: int) -> str:
        """The baskets without which, once they leave the window, what is newer no longer reaches the tier."""
        days = self.tiers[rank].window_days
        where = f"where newer_spend < {_cents(self.tiers[rank])} and age_days < {days}"
        return f"{days} - max(age_days) filter ({where})"

    def _spend(self, rank: int, sooner: int = 0) -> str:
        days = max(self.tiers[rank].window_days - sooner, 0)
        return f"coalesce(sum(spend) filter (where age_days < {days}), 0)"


class _Graced:
    """By what is inside each tier's window, and for a while what was."""

    relation = "standing"

    def __init__(self, tiers: tuple[Tier, ...], rules: TierRules) -> None:
        self.tiers, self.rules, self.scale = tiers, rules, scale(rules)
        self.derived = (
            ("newer", f"sum(qualifying) over ({TO_THE_NEWEST}) - qualifying"),
            *(_won(days) for days in sorted({tier.window_days for tier in tiers[1:]})),
        )

    def reached(self, rank: int) -> str:
        """The tier itself within one stretch of grace, with a soft landing the next higher within two, and so on."""
        higher = range(rank, len(self.tiers) if self.rules.soft_landing else rank + 1)
        return " or ".join(self._within(other, (other - rank + 1) * self.rules.grace_days) for other in higher)

    def gap(self, rank: int) -> str:
        return _missing(self._counted(rank, 0), self._units(rank), self.scale)

    def keep(self, rank: int) -> str:
        days = max(self.tiers[rank].window_days - 30, 0)
        then = f"coalesce(sum(qualifying) filter (where age_days < {days}), 0)"
        return _missing(then, self._units(rank), self.scale)

    def left(self, rank: int) -> str:
        """Missing where the window has already lost it."""
        days, units = self.tiers[rank].window_days, self._units(rank)
        last = f"max(age_days) filter (where newer < {units} and age_days < {days})"
        now = self._counted(rank, 0)
        return f"case when {now} >= {units} then {days + self.rules.grace_days} - {last} else null end"

    def _within(self, rank: int, days: int) -> str:
        """Whether the window reached the tier at any time of the last `days`."""
        units = self._units(rank)
        then = f"{self._counted(rank, days)} >= {units}"
        won = f"max(won_{self.tiers[rank].window_days}) filter (where age_days < {days})"
        return f"{then} or {won} >= {units}" if days else then

    def _counted(self, rank: int, ago: int) -> str:
        older = f"age_days >= {ago} and " if ago else ""
        where = f"{older}age_days < {ago + self.tiers[rank].window_days}"
        return f"coalesce(sum(qualifying) filter (where {where}), 0)"

    def _units(self, rank: int) -> int:
        return round(self.tiers[rank].min_spend * self.scale)


class _Reviewed:
    """By the best claim of all periods: what a period reached holds to a review, and sinks from there."""

    relation = "standing"

    def __init__(self, tiers: tuple[Tier, ...], rules: TierRules) -> None:
        self.tiers, self.rules, self.scale = tiers, rules, scale(rules)
        self.yearly = rules.window != "rolling"
        self.holds = 1 if rules.hold == "next_year" else 0
        windows = sorted({tier.window_days for tier in tiers[1:]})
        won = (
            [("won", "sum(qualifying) over (partition by period)")] if self.yearly else [_won(days) for days in windows]
        )
        stay = [
            (f"stays_{days}", f"case when until_us - occurred_us < {days * _DAY_US} then qualifying else 0 end")
            for days in ([] if self.yearly else windows)
        ]
        self.derived = (
            ("graced", f"case when age_days >= {rules.grace_days} then period else 0 end"),
            ("behind", "max(graced) over () - period"),
            ("since", "max(period) over () - period"),
            ("review_days", f"(ends_us - at_us) / {DAY}"),
            ("until_us", "max(ends_us) over ()"),
            *won,
            *stay,
        )

    def reached(self, rank: int) -> str:
        known = " and since >= 1" if self.rules.upgrade == "review" else ""
        return self._claims(rank, lambda reviews: f"behind <= {self.holds + reviews}{known}")

    def gap(self, rank: int) -> str:
        return _missing(self._counted(rank), self._units(rank), self.scale)

    def keep(self, rank: int) -> str:
        """Before the next review; money of the period counts, or of the window that will be open then."""
        then = self._counted(rank) if self.yearly or self.holds else self._staying(rank)
        return f"case when {self._stays(rank)} then 0 else {_missing(then, self._units(rank), self.scale)} end"

    def left(self, rank: int) -> str:
        """Missing where the tier outlasts the next review."""
        grace = self.rules.grace_days
        held = self._claims(rank, lambda reviews: f"since <= {self.holds + reviews}")
        review = f"min(review_days) filter (where review_days > 0) + {grace}"
        ends = f"{grace} - max(age_days) filter (where since <= 0)"
        return f"case when {self._stays(rank)} then null when {held} then {review} else {ends} end"

    def _stays(self, rank: int) -> str:
        """Whether the tier outlasts the next review if nothing more is bought."""
        later = self._claims(rank, lambda reviews: f"since <= {self.holds + reviews - 1}")
        return later if self.yearly or self.holds else f"{self._staying(rank)} >= {self._units(rank)} or {later}"

    def _claims(self, rank: int, holds: Callable[[int], str]) -> str:
        """Whether a claim to the tier, or with a soft landing a sunken one to a higher, still holds."""
        higher = range(rank, len(self.tiers) if self.rules.soft_landing else rank + 1)
        return " or ".join(
            f"max({self._won(other)}) filter (where {holds(other - rank)}) >= {self._units(other)}" for other in higher
        )

    def _counted(self, rank: int) -> str:
        where = "since <= 0" if self.yearly else f"age_days < {self.tiers[rank].window_days}"
        return f"coalesce(sum(qualifying) filter (where {where}), 0)"

    def _staying(self, rank: int) -> str:
        return f"coalesce(sum(stays_{self.tiers[rank].window_days}), 0)"

    def _won(self, rank: int) -> str:
        return "won" if self.yearly else f"won_{self.tiers[rank].window_days}"

    def _units(self, rank: int) -> int:
        return round(self.tiers[rank].min_spend * self.scale)


def _features(tiers: tuple[Tier, ...], rule: _Plain | _Graced | _Reviewed) -> tuple[Feature, ...]:
    ranks = range(len(tiers))

    def feature(name: str, values: list[str], doc: str) -> Feature:
        return Feature(name, "tier", rule.relation, _by_rank(rule, values), doc, rule.derived)

    return (
        feature("tier_rank", [str(rank) for rank in ranks], "Tier, 0 the lowest."),
        feature(
            "spend_to_next_tier",
            [*(rule.gap(rank) for rank in ranks[1:]), "null"],
            "Money to spend today to reach the next tier; missing in the highest.",
        ),
        feature(
            "spend_to_keep_tier",
            ["0", *(rule.keep(rank) for rank in ranks[1:])],
            "Money to spend so that the tier outlasts the next review (by the plain rule: so that it still holds in 30 "
            "days); 0 in the lowest.",
        ),
        feature(
            "tier_days_left",
            ["null", *(rule.left(rank) for rank in ranks[1:])],
            "Days until the tier is lost if nothing is bought; missing in the lowest, and where it outlasts the next "
            "review.",
        ),
    )


def _by_rank(rule: _Plain | _Graced | _Reviewed, values: list[str]) -> str:
    """SQL that picks the value of the highest tier reached."""
    reached = [f"when {rule.reached(rank)} then {values[rank]}" for rank in reversed(range(1, len(values)))]
    return f"case {' '.join(reached)} else {values[0]} end" if reached else values[0]


def _missing(counted: str, units: int, per_unit: int) -> str:
    return f"case when {counted} < {units} then ({units} - {counted}) / {per_unit} else 0 end"


def _won(days: int) -> tuple[str, str]:
    """What the window of a row's moment held."""
    return (
        f"won_{days}",
        f"sum(qualifying) over (order by occurred_us range between {days * _DAY_US - 1} preceding and current row)",
    )


def _cents(tier: Tier) -> int:
    return round(tier.min_spend * 100)
