from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.entities import Candidate, Limits
from serving import contact_policy, contact_rules, quiet
from serving.explain import meaning
from serving.policy import Policy, PolicyError
from serving.portrait import history
from serving.snapshot import Contact, Reaction, Snapshot, Suppressed
from tests.serving.deciding import AT, CONSENTS, DAY, POLICY, ask, varied

ROME, NEW_YORK = ZoneInfo("Europe/Rome"), ZoneInfo("America/New_York")
BARE: dict[str, Any] = {"quiet_hours": [], "caps": [], "ignored": [], "bounced": None, "dissatisfied": None}


def policy(**rules: Any) -> Policy:
    """The example policy with these contact rules alone."""
    channels = {name: {"cap": None} for name in POLICY.channels}
    return varied(channels=channels, contact={**BARE, **rules})


def judge(
    rules: Policy, contacts: tuple[Contact, ...] = (), *, at: float = AT, one: Candidate | None = None, **more: Any
) -> Suppressed | None:
    snapshot = Snapshot("m", at, known=True, consents=CONSENTS, contacts=contacts, reactions=more.pop("came", ()))
    snapshot = replace(snapshot, timezone=more.pop("zone", None))
    asked = ask(**{"channel": "sms", "direction": "outbound", **more})
    candidate = one or Candidate("x", "offer", "gift", "X")
    past = history(contacts, at, 7)
    now = contact_policy.contacting(snapshot, asked, past, rules, "Europe/Rome")
    return None if now is None else contact_policy.why_not(candidate, asked.channel, now)


def put(*days_ago: float, one: str = "x", kind: str = "gift", channel: str = "sms", **more: Any) -> tuple[Contact, ...]:
    return tuple(Contact(AT - ago * DAY, one, kind, "offer", channel, **more) for ago in sorted(days_ago, reverse=True))


def local(text: str, zone: ZoneInfo, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


NIGHT = [{"channels": ["sms"], "begins": "21:00", "ends": "08:00"}]


@pytest.mark.parametrize(
    ("zone", "asleep", "awake", "hours"),
    [
        (ROME, "2026-03-28T21:00", "2026-03-29T08:00", 10),  # the clock is put forward
        (ROME, "2026-10-24T21:00", "2026-10-25T08:00", 12),  # and back
        (NEW_YORK, "2026-03-07T21:00", "2026-03-08T08:00", 10),
        (NEW_YORK, "2026-10-31T21:00", "2026-11-01T08:00", 12),
        (ROME, "2026-06-01T21:00", "2026-06-02T08:00", 11),
    ],
)
def test_a_night_lasts_as_long_as_the_members_own_clock_says(
    zone: ZoneInfo, asleep: str, awake: str, hours: int
) -> None:
    rules, start, end = policy(quiet_hours=NIGHT), local(asleep, zone), local(awake, zone)
    assert end - start == hours * 3600
    where: dict[str, Any] = {"zone": str(zone)}
    assert judge(rules, at=start, **where) == Suppressed("x", "contact_policy", "QUIET_HOURS", end)
    assert judge(rules, at=start - 1, **where) is None
    assert judge(rules, at=end - 1, **where) == Suppressed("x", "contact_policy", "QUIET_HOURS", end)
    assert judge(rules, at=end, **where) is None


def test_hours_that_end_in_the_hour_that_is_skipped_end_when_the_clock_jumps() -> None:
    spans = [(22 * 60, 2 * 60 + 30)]
    jump = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp()
    assert quiet.until(spans, ROME, local("2026-03-29T01:59:59", ROME)) == jump
    assert quiet.until(spans, ROME, jump) is None


def test_hours_that_end_in_the_hour_that_comes_twice_are_quiet_in_it_twice() -> None:
    spans = [(22 * 60, 2 * 60 + 30)]
    first, again = (local("2026-10-25T02:30", ROME, fold) for fold in (0, 1))
    assert again - first == 3600
    assert quiet.until(spans, ROME, local("2026-10-25T02:29", ROME)) == first
    assert quiet.until(spans, ROME, first) is None
    put_back = datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp()
    assert quiet.until(spans, ROME, put_back - 1) is None
    assert quiet.until(spans, ROME, put_back) == again
    assert quiet.until(spans, ROME, again) is None


def test_hours_that_begin_in_the_hour_that_comes_twice_pause_when_it_comes_again() -> None:
    put_back = datetime(2026, 10, 25, 1, 0, tzinfo=UTC).timestamp()
    assert quiet.until([(150, 480)], ROME, local("2026-10-25T02:45", ROME)) == put_back


clocks = st.integers(0, contact_rules.MINUTES - 1)
moments = st.one_of(
    st.floats(local("2026-01-01T00:00", ROME), local("2027-01-01T00:00", ROME)),
    *(
        st.integers(-7200, 7200).map(lambda off, at=at: float(at + off))  # type: ignore[misc]
        for at in (1774746000, 1792890000, 1772953200, 1793512800)
    ),
)


@settings(max_examples=300, deadline=None)
@given(begins=clocks, length=st.integers(1, 1200), at=moments, zone=st.sampled_from([ROME, NEW_YORK]))
def test_quiet_hours_end_at_the_first_minute_that_the_wall_clock_leaves_them(
    begins: int, length: int, at: float, zone: ZoneInfo
) -> None:
    span = (begins, (begins + length) % contact_rules.MINUTES)
    until = quiet.until([span], zone, at)

    def asleep(moment: float) -> bool:
        clock = datetime.fromtimestamp(moment, zone)
        return contact_rules.within(clock.hour * 60 + clock.minute, span)

    assert (until is None) == (not asleep(at))
    if until is not None:
        between = [at + 60 * step for step in range(ceil((until - at) / 60))]
        assert all(asleep(moment) for moment in between if moment < until)  # a sum may round up to the end itself
        assert asleep(until - 1)
        assert not asleep(until)


def test_only_what_is_pushed_waits_for_the_morning() -> None:
    rules, night = policy(quiet_hours=NIGHT), local("2026-06-01T23:00", ROME)
    assert judge(rules, at=night, direction=None) is not None
    assert judge(rules, at=night, direction="inbound") is None
    assert judge(rules, at=night, channel="app") is None
    assert judge(rules, at=night, channel="email") is None
    assert judge(rules, at=night, zone="America/New_York") is None
    assert judge(rules, at=night, zone="America/New_York", context={"timezone": "Asia/Tokyo"}) is not None
    assert judge(rules, at=night, zone="Nowhere/Here") is not None
    right = Candidate("x", "action", "points_expiry_reminder", "X", entitlement=True)
    assert judge(rules, at=night, one=right) is not None


def test_a_cap_that_frees_at_night_waits_for_the_morning_and_keeps_its_code() -> None:
    rules = policy(quiet_hours=NIGHT, caps=[{"count": 1, "days": 1, "channels": ["sms"]}])
    sent = local("2026-06-01T20:59", ROME)
    found = judge(rules, (Contact(sent, "y", "gift", "offer", "sms"),), at=sent + 3600)
    morning = local("2026-06-03T08:00", ROME)
    # it frees at 20:59 on the next day, one minute before the night: just in time
    assert found == Suppressed("x", "contact_policy", "SMS_1_PER_1D", sent + DAY)
    late = local("2026-06-01T21:30", ROME)
    found = judge(rules, (Contact(late, "y", "gift", "offer", "sms"),), at=late + DAY - 1)
    assert found == Suppressed("x", "contact_policy", "SMS_1_PER_1D", morning)


@pytest.mark.parametrize(
    ("cap", "code"),
    [
        ({"count": 2, "days": "week", "channels": ["sms"]}, "SMS_2_PER_7D"),
        ({"count": 2, "days": "week", "channels": ["sms", "push"], "name": "phone"}, "PHONE_2_PER_7D"),
        ({"count": 2, "days": "month", "types": ["gift"]}, "GIFT_2_PER_30D"),
        ({"count": 1, "days": 90, "candidates": ["x"]}, "X_1_PER_90D"),
        ({"count": 2, "days": "day"}, None),
        ({"count": 3, "days": "week"}, "ALL_3_PER_7D"),
        ({"count": 2, "days": "week", "per": "type"}, "GIFT_2_PER_7D"),
        ({"count": 2, "days": "week", "per": "channel"}, "SMS_2_PER_7D"),
        ({"count": 2, "days": "week", "per": "candidate"}, None),
        ({"count": 1, "days": "week", "per": "candidate"}, "X_1_PER_7D"),
        ({"count": 1, "days": "week", "types": ["win_back"]}, None),
        ({"count": 1, "days": "week", "channels": ["email"]}, None),
    ],
)
def test_a_cap_counts_what_its_lists_fit_and_apart_what_it_says(cap: dict[str, Any], code: str | None) -> None:
    past = (*put(6, one="x"), *put(4, one="y"), *put(2, one="z", kind="win_back", channel="email"))
    found = judge(policy(caps=[cap]), past)
    assert (found and found.code) == code
    if code is not None:
        assert meaning(code)
    assert judge(policy(caps=[cap]), past, one=Candidate("x", "offer", "gift", "X", entitlement=True)) is None


def test_what_was_ignored_rests_and_an_answer_wakes_it() -> None:
    rules = policy(ignored=[{"after": 3, "rest_days": 20, "per": "candidate"}])
    assert judge(rules, put(30, 10)) is None
    ignored = put(30, 10, 5)
    assert judge(rules, ignored) == Suppressed("x", "contact_policy", "IGNORED_3", AT + 15 * DAY)
    assert judge(rules, ignored, at=AT + 15 * DAY) is None
    assert judge(rules, (*ignored[:2], replace(ignored[2], answered=True))) is None
    assert judge(rules, ignored, one=Candidate("y", "offer", "gift", "Y")) is None
    kinds = policy(ignored=[{"after": 3, "rest_days": 20, "per": "type"}])
    found = judge(kinds, ignored, one=Candidate("y", "offer", "gift", "Y"))
    assert found == Suppressed("y", "contact_policy", "TYPE_IGNORED_3", AT + 15 * DAY)
    assert meaning("TYPE_IGNORED_3") == "its type was put before the member 3 times without an answer"


def test_a_channel_whose_messages_come_back_rests_for_all_but_no_other_channel() -> None:
    rules = policy(bounced={"after": 2, "within_days": 10, "rest_days": 30})
    came = tuple(Reaction(AT - ago * DAY, "bounced", "sms") for ago in (40, 12, 4))
    assert judge(rules, came=came[:2]) is None
    assert judge(rules, came=came) == Suppressed("x", "contact_policy", "SMS_BOUNCED", AT + 26 * DAY)
    assert judge(rules, came=came, channel="email") is None
    right = Candidate("x", "action", "points_expiry_reminder", "X", entitlement=True)
    assert judge(rules, came=came, one=right) is not None


everything = policy(
    quiet_hours=[*NIGHT, {"channels": ["email"], "begins": "13:00", "ends": "15:30"}],
    caps=[
        {"count": 2, "days": 3, "channels": ["sms"]},
        {"count": 3, "days": "week"},
        {"count": 2, "days": "month", "per": "type"},
    ],
    ignored=[{"after": 2, "rest_days": 9, "per": "candidate"}, {"after": 4, "rest_days": 14, "per": "type"}],
    bounced={"rest_days": 5},
)
contacts = st.lists(
    st.builds(
        Contact,
        at=st.floats(0, 60).map(lambda ago: AT - ago * DAY),
        candidate_id=st.sampled_from(["x", "y"]),
        candidate_type=st.sampled_from(["gift", "win_back"]),
        family=st.just("offer"),
        channel=st.sampled_from(["sms", "email", "app"]),
        answered=st.booleans(),
    ),
    max_size=9,
).map(lambda many: tuple(sorted(many, key=lambda one: one.at)))
bounces = st.lists(st.floats(0, 20), max_size=2).map(
    lambda many: tuple(Reaction(AT - ago * DAY, "bounced", "sms") for ago in sorted(many, reverse=True))
)
CANDIDATE = Candidate("x", "offer", "gift", "X", limits=Limits(2, 10, 1.5))


@settings(max_examples=300, deadline=None)
@given(past=contacts, came=bounces, channel=st.sampled_from(["sms", "email", "app"]), hour=st.integers(0, 47))
def test_until_is_the_first_moment_at_which_it_is_allowed(
    past: tuple[Contact, ...], came: tuple[Reaction, ...], channel: str, hour: int
) -> None:
    def found(at: float) -> Suppressed | None:
        return judge(everything, past, at=at, came=came, channel=channel, one=CANDIDATE)

    start = AT + hour * 3600
    held = found(start)
    if held is not None:
        assert held.until is not None
        assert held.until > start
        assert found(held.until) is None
        assert found(held.until - 1) is not None
        steps = [start + (held.until - start) * share for share in (0.25, 0.5, 0.75)]
        assert all(found(step) is not None for step in steps)


@settings(max_examples=300, deadline=None)
@given(past=contacts, more=contacts, came=bounces, channel=st.sampled_from(["sms", "email", "app"]))
def test_another_unanswered_contact_never_frees(
    past: tuple[Contact, ...], more: tuple[Contact, ...], came: tuple[Reaction, ...], channel: str
) -> None:
    added = [replace(one, answered=False) for one in more]
    both = tuple(sorted((*past, *added), key=lambda one: one.at))
    before = judge(everything, past, came=came, channel=channel, one=CANDIDATE)
    after = judge(everything, both, came=came, channel=channel, one=CANDIDATE)
    if before is not None:
        assert after is not None
        assert after.until is not None
        assert before.until is not None
        assert after.until >= before.until


def test_old_policies_keep_their_version_and_rules_survive_the_journal() -> None:
    assert '"contact"' not in varied().model_copy(update={"contact": None}).text
    again = Policy.model_validate_json(everything.text, strict=False)
    assert again.contact == everything.contact


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"quiet_hours": [{"channels": ["sms"], "begins": "21:00", "ends": "21:00"}]}, "never or always"),
        ({"quiet_hours": [{"channels": ["sms"], "begins": "24:00", "ends": "08:00"}]}, "time of day"),
        ({"quiet_hours": [{"channels": ["app"], "begins": "21:00", "ends": "08:00"}]}, "channels"),
        (
            {
                "quiet_hours": [
                    {"channels": ["sms"], "begins": "08:00", "ends": "20:00"},
                    {"channels": ["sms"], "begins": "20:00", "ends": "08:00"},
                ]
            },
            "quiet all day",
        ),
        ({"caps": [{"count": 1, "days": 7, "types": ["gifts"]}]}, 'did you mean "gift"'),
        ({"caps": [{"count": 1, "days": 91}]}, "90"),
        ({"caps": [{"count": 1, "days": 7}, {"count": 1, "days": 7, "name": "all"}]}, "ALL_1_PER_7D"),
        ({"ignored": [{"after": 0, "rest_days": 7, "per": "type"}]}, "after"),
    ],
)
def test_a_wrong_rule_is_refused_in_plain_words(rules: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PolicyError, match="(?s)" + sentence.replace("?", r"\?")):
        policy(**rules)


def test_a_time_that_yaml_reads_as_a_number_is_a_time() -> None:
    hours = contact_rules.QuietHours.model_validate({"channels": ["sms"], "begins": 21 * 60, "ends": "8:00"})
    assert hours.span == (1260, 480)
