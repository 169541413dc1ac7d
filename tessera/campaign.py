"""Decisions from the command line: one member, a whole outbound campaign, a preview, a pause, a replay."""

from __future__ import annotations

import csv
import secrets
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import orjson

from features import history
from features.entities import Channel
from features.workspace import Workspace
from serving import products, rulebook
from serving.contract import DecisionRequest, Envelope, FamilyName
from serving.decide import Appraisal
from serving.delivery import decide_many
from serving.engine import call
from serving.explain import meaning
from serving.house import House, open_house
from serving.snapshot import Chances
from serving.value import written
from tessera import clock, options
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

FAMILIES: dict[str, FamilyName] = {
    "offers": "offer",
    "next-best-action": "action",
    "benefits": "benefit",
    "recommendations": "product",
}
CHANNELS: tuple[str, ...] = get_args(Channel)
COLUMNS = (
    "member_id", "channel", "id", "kind", "title", "text", "probability", "net_value", "currency", "basis",
    "decision_id", "policy_version", "mode",
)  # fmt: skip


def decide(ws: Workspace, member: str | None, family: str, channel: str, out: Path | None, *, everyone: bool) -> int:
    """Decide for one member and print the answer, or write a campaign file for all.

    Returns:
        0; 1 for one member whose answer is degraded.

    Raises:
        RefusedError: neither a member nor `--all`, or a family that does not exist.
    """
    if family not in FAMILIES:
        raise RefusedError(f"--family {family}: there is {', '.join(FAMILIES)}")
    known_channel(channel)
    if everyone:
        outbound(ws, family, channel, out or ws.reports / f"{family}-{channel}.csv")
        return 0
    if member is None:
        raise RefusedError("name a member, or ask for all of them with --all")
    needs_tables(ws)
    with _house(ws) as house:
        asked = DecisionRequest.model_validate({"member_id": member, "channel": channel, "direction": "outbound"})
        owner = house.watch.present().cards.owner(member)
        (answer,) = decide_many(house.engine, [owner], FAMILIES[family], asked, house.now())
        print(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode())
        return int(bool(answer["meta"]["degraded"]))


def known_channel(channel: str) -> None:
    """Refuse a channel that does not exist.

    Raises:
        RefusedError: with those that do.
    """
    if channel not in CHANNELS:
        raise RefusedError(f"--channel {channel}: there is {', '.join(CHANNELS)}")


def outbound(ws: Workspace, family: str, channel: str, out: Path) -> int:
    """Write an outbound campaign: a row for every member who gets something on this channel.

    Members to whom nothing is sent (no consent, a cap, the holdout, "do nothing" won) are decided and journalled like
    all others, but have no row: the file is what goes out. Run again on the same day it is the same file.

    Returns:
        How many rows were written.
    """
    needs_tables(ws)
    steps = Steps()
    members = _members(ws)
    envelope = Envelope.model_validate({"channel": channel, "direction": "outbound"})
    rows: list[dict[str, Any]] = []
    silent: Counter[str] = Counter()
    with steps.step(f"{family} on {channel} for {len(members):,} members"), _house(ws) as house:
        answers = decide_many(house.engine, members, FAMILIES[family], envelope, house.now())
        for answer in steps.counted(answers, len(members), "members"):
            sent = [result for result in answer["results"] if result["id"] != "do_nothing"]
            rows += [_row(answer, result, channel) for result in sent]
            if not sent:
                silent[_why_nothing(answer)] += 1
    _write(out, rows)
    steps.note(f"{len(rows):,} rows: {out}")
    for reason, count in silent.most_common(8):
        steps.note(f"{count:>8,} members get nothing: {reason}")
    return len(rows)


@dataclass
class _Reach:
    """What a preview counts."""

    members: int = 0
    eligible: int = 0
    first_choice: int = 0
    """Members for whom it is worth most."""
    expected: float = 0.0
    """Members who would get it, by the chance of each."""
    redeemed: float = 0.0
    cost: float = 0.0
    net: float = 0.0
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)


def preview(ws: Workspace, offer: str, channel: str) -> int:
    """Print how many members would get a candidate, at what cost, and where the others drop out; log nothing.

    Returns:
        0; 1 when nobody would get it.

    Raises:
        RefusedError: The catalogue has no such candidate.
    """
    needs_tables(ws)
    known_channel(channel)
    with _house(ws) as house:
        book = house.watch.present().rulebook
        if offer not in book.candidates:
            raise RefusedError(_unknown(offer, book.candidates))
        family = book.candidates[offer].family
        envelope = Envelope.model_validate({"channel": channel, "dry_run": True})
        members, at, steps = _members(ws), house.now(), Steps()
        reach = _Reach(len(members))
        with steps.step(f"preview of {offer} on {channel}"):
            for member in steps.counted(members, len(members), "members"):
                _count(reach, offer, *house.engine.appraise(call(family, member, envelope, at, b"")))
        _tell(reach, offer, channel, book.catalog.programme.currency)
    return int(reach.eligible == 0)


def pause(ws: Workspace, offer: str, *, resume: bool) -> int:
    """Take a candidate or a product out of all decisions, or let it back in; the service follows within a second.

    Raises:
        RefusedError: Neither the catalogue nor the history has it.
    """
    book = rulebook.load(ws)
    if offer not in book.candidates and offer not in products.read(ws.tables).facts:
        raise RefusedError(_unknown(offer, book.candidates))
    now = rulebook.switch(ws.controls, offer, paused=not resume)
    print(f"{offer} {'goes on' if resume else 'is paused'}; paused now: {', '.join(sorted(now.paused)) or 'nothing'}")
    return 0


def _count(reach: _Reach, offer: str, found: Appraisal, chances: tuple[Chances, ...]) -> None:
    """Count what one member would see into the reach."""
    mine = next((worth for candidate, worth in found.allowed if candidate.id == offer), None)
    if mine is None:
        drop = next(one for one in found.suppressed if one.id == offer)
        reach.dropped[(drop.stage, drop.code)] += 1
        return
    chance = chances[0].probabilities.get(offer, 0.0) if chances else 0.0
    value = written(mine)
    reach.eligible += 1
    reach.first_choice += mine.pull > 0 and mine.pull == max(worth.pull for _, worth in found.allowed)
    reach.expected += chance
    reach.redeemed += chance * value.response
    reach.cost -= chance * (value.bill.discount + value.bill.liability + value.bill.contact)
    reach.net += chance * value.net


def _tell(reach: _Reach, offer: str, channel: str, currency: str) -> None:
    print(f"{offer} on {channel}: {reach.eligible:,} of {reach.members:,} members may get it;")
    print(f"  it is worth most for {reach.first_choice:,}; about {reach.expected:,.0f} would get it today,")
    print(f"  about {reach.redeemed:,.0f} would use it (assumed), at a cost of {reach.cost:,.2f} {currency}")
    print(f"  (discount, points liability and contact), worth {reach.net:+,.2f} {currency} net (assumed).")
    if reach.dropped:
        print("The others drop out at:")
    for (stage, code), count in reach.dropped.most_common():
        print(f"  {count:>8,}  {stage}: {meaning(code)} ({code})")


def replay(ws: Workspace, policy: Path | None) -> int:
    """Run every logged decision again; print how many came out the same, or would differ under another policy.

    Returns:
        0; 1 if a decision did not come out the same under its own inputs.
    """
    from experiments import journal_replay
    from serving import policy as policies

    report = journal_replay.run(ws, policies.load(policy) if policy else None)
    print(
        f"{report.total:,} decisions: {report.equal:,} the same, {report.different:,} different, {report.static} static"
    )
    if report.other_code and policy is None:
        print(f"  {report.other_code:,} of these were decided by another version of the code than this one")
    for difference in report.differences[:10]:
        before, after = (" ".join(ids) for ids in (difference.before, difference.after))
        print(f"  {difference.decision_id}: {', '.join(difference.fields)} differ: {before} became {after}")
    for decision_id, reason in list(report.failed.items())[:10]:
        print(f"  {decision_id}: cannot be run again: {reason}")
    if policy is not None:
        print(f"Net value by the bills, not measured: {report.net_before:,.2f} before, {report.net_after:,.2f} after.")
        return 0
    return int(not report.same)


class _house(closing[House]):  # noqa: N801 - reads as a verb: `with _house(ws) as house`
    """The decision engine of this process, closed at the end; refuses where rules or models cannot be read."""

    def __init__(self, ws: Workspace) -> None:
        super().__init__(
            open_house(ws, secrets.token_bytes, open_door=True, reservations=options.reservations(), patient=True)
        )


def _members(ws: Workspace) -> list[str]:
    frame = history.read(ws.tables, "members", ["member_id", "occurred_at"])
    now = clock.now(ws)
    return sorted(frame.loc[frame["occurred_at"] <= now, "member_id"].unique().tolist())


def _row(answer: dict[str, Any], result: dict[str, Any], channel: str) -> dict[str, Any]:
    value, content = result["value"], result["content"]
    return {
        "member_id": answer["member_id"],
        "channel": channel,
        "id": result["id"],
        "kind": result["kind"],
        "title": content.get("title", ""),
        "text": content.get("text", ""),
        "probability": result["probability"],
        "net_value": value["net"],
        "currency": value["currency"],
        "basis": value["basis"],
        "decision_id": answer["decision_id"],
        "policy_version": answer["policy"]["version"],
        "mode": answer["policy"]["mode"],
    }


def _why_nothing(answer: dict[str, Any]) -> str:
    if any(result["probability"] < 1.0 for result in answer["results"]):
        return "doing nothing was worth more, or was drawn"
    codes = Counter(drop["code"] for drop in answer["suppressed"])
    if not codes:
        return "there is no candidate"
    code = codes.most_common(1)[0][0]
    return f"all fell out, most often because {meaning(code)} ({code})"


def _write(out: Path, rows: Iterable[dict[str, Any]]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.part")
    if out.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(list(rows), columns=list(COLUMNS)).to_parquet(draft, index=False)
    else:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
    draft.replace(out)


def _unknown(offer: str, known: Iterable[str]) -> str:
    import difflib

    near = difflib.get_close_matches(offer, list(known), 1)
    return f"no candidate is called {offer!r}" + (f"; did you mean {near[0]!r}?" if near else "")
