"""Whether the first decision of a period may be given again, and whether a decision may be the first of one."""

from __future__ import annotations

from serving import contact_policy
from serving.contact_rules import PUSHED
from serving.eligibility import NEEDS_CONSENT, route
from serving.portrait import history
from serving.present import Present
from serving.rulebook import Rulebook
from serving.snapshot import Ask, Decision, Snapshot


def stands(first: Decision, at: float, present: Present) -> bool:
    """Whether all that was given may still be given."""
    return all(
        one.id not in present.controls.paused
        and (one.kind == "product" or one.id == "do_nothing" or one.id in present.rulebook.candidates)
        and (one.expires_at is None or at < one.expires_at)
        for one in first.results
    )


def goes_out(first: Decision, ask: Ask, book: Rulebook) -> bool:
    """Whether anything that was given is pushed to the member."""
    return any(channel in PUSHED for channel in _channels(first, ask, book))


def reaches(first: Decision, snapshot: Snapshot, ask: Ask, book: Rulebook) -> bool:
    """Whether what was given may still go out: consent was not withdrawn since, nothing bounced, no quiet hours."""
    none = history((), snapshot.at, 1)
    rules = contact_policy.contacting(snapshot, ask, none, book.policy, book.catalog.programme.timezone)
    return not any(
        (channel in NEEDS_CONSENT and not snapshot.consents.get(channel, False))
        or (rules is not None and contact_policy.channel_held(channel, rules, snapshot.at) is not None)
        for channel in _channels(first, ask, book)
        if channel is not None
    )


def waits(decision: Decision, ask: Ask) -> bool:
    """Whether quiet hours held the channel: such a decision stands for no period, and nothing is learned from it."""
    return ask.channel in PUSHED and any(one.code == contact_policy.QUIET for one in decision.suppressed)


def _channels(first: Decision, ask: Ask, book: Rulebook) -> set[str | None]:
    given = [book.candidates[one.id] for one in first.results if one.id in book.candidates]
    return {route(one, ask) for one in given if one.type != "do_nothing"}
