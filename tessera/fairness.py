"""Who is given what, by tier, region and what else members declared: a report with words, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pandas as pd

from experiments.fairness import Gap, gaps
from experiments.journal_replay import past
from experiments.replay import Record, Unread, Versions
from features.entities import Candidate, Catalog
from features.workspace import Workspace
from serving.portrait import portrait
from tessera.setup import RefusedError, needs_tables

DECLARED = ("tier", "lifecycle")
"""What rules may hang on: held equal."""
ATTRIBUTES = ("tier", "region", "age_band", "household")


def run(ws: Workspace, threshold: float, most: int) -> int:
    """Print and write the report; 1 where a gap is flagged.

    Raises:
        RefusedError: no decision about offers is in the journal.
    """
    needs_tables(ws)
    with past(ws) as (found, versions):
        given = pd.DataFrame(islice(_given(found, versions), most))
    if given.empty:
        raise RefusedError("fairness: the journal holds no decision about offers yet; serve some first")
    given = given.merge(_members(ws), on="member_id", how="left").fillna(
        {"region": "", "age_band": "", "household": ""}
    )
    chosen = sorted(name for name in map(str, given) if name.startswith("gets:"))
    given[chosen] = given[chosen].fillna(0.0)
    told = gaps(given, ATTRIBUTES, DECLARED, threshold=threshold)
    folder = ws.reports / "fairness"
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(told).to_csv(folder / "fairness.csv", index=False)
    print(
        f"{len(given):,} decisions for {given['member_id'].nunique():,} members; terms belong to the candidate alone."
    )
    flagged = [one for one in told if one.verdict == "flagged"]
    for one in (one for one in told if one.verdict in ("flagged", "explained")):
        print(sentence(one))
    counts = pd.Series([one.verdict for one in told]).value_counts().to_dict()
    print(
        ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) + f". All figures: {folder}/fairness.csv"
    )
    return 1 if flagged else 0


def sentence(one: Gap) -> str:
    """One gap in words."""
    what = f"given {one.measure.removeprefix('gets:')}" if one.measure.startswith("gets:") else f"mean {one.measure}"
    head = f"{one.attribute} {one.group} ({one.members:,} members): {what} is {one.ratio:.2f} times that of the others"
    held = f"{one.held_equal:.2f} [{one.low:.2f}, {one.high:.2f}] with tier and lifecycle held equal"
    if one.attribute in DECLARED:
        return f"{head}; it is declared: rules may hang on it."
    end = "no declared rule explains it" if one.verdict == "flagged" else "declared rules explain it"
    return f"{'FLAGGED ' if one.verdict == 'flagged' else ''}{head}, {held}: {end}."


def _given(found: Iterator[Record | Unread], versions: Versions) -> Iterator[dict[str, Any]]:
    for one in found:
        if isinstance(one, Unread) or one.decision.mode in ("fallback", "holdout") or one.ask.family != "offer":
            continue
        catalog, policy = versions.catalog(one.versions["catalog"]), versions.policy(one.versions["policy"])
        who = portrait(one.snapshot, one.ask, one.learned, catalog.programme, policy)
        offers = {each.id: each for each in catalog.offers}
        row: dict[str, Any] = {
            "member_id": one.snapshot.member_id, "tier": who.tier.id, "lifecycle": who.lifecycle,
            "discount": 0.0, "points": 0.0, "net": 0.0,
        }  # fmt: skip
        for result in one.decision.results:
            row["net"] += result.value.net
            if result.id in offers:
                row[f"gets:{result.id}"] = 1.0
                off, points = face(offers[result.id], catalog)
                row["discount"] += off
                row["points"] += points
        yield row


def face(offer: Candidate, catalog: Catalog) -> tuple[float, float]:
    """What an offer promises, whoever it goes to: a share off of the usual basket or money off, and points."""
    money = offer.economics
    basket = _USUAL_BASKET
    off = money.discount * basket if offer.type == "discount_percent" else money.discount
    multiplied = offer.type == "points_multiplier"
    rate = catalog.programme.tiers[0].earn_rate
    points = max(money.points - 1.0, 0.0) * rate * basket if multiplied else money.points
    return off + money.cost, points


_USUAL_BASKET = 40.0
"""One and the same for everybody: what members spend is theirs, what is promised is ours."""


def _members(ws: Workspace) -> pd.DataFrame:
    """The last that is known of each member's declared attributes."""
    found = pd.read_parquet(ws.tables / "members.parquet").sort_values(["member_id", "occurred_at"])
    last = found.groupby("member_id", as_index=False).last()
    year = datetime.now(UTC).year if found.empty else int(pd.to_datetime(found["occurred_at"]).max().year)
    age = year - last["birth_year"].astype("Float64")
    band = pd.cut(age.to_numpy("float64", na_value=float("nan")), [0, 30, 45, 60, 200], labels=_BANDS)
    return pd.DataFrame(
        {
            "member_id": last["member_id"],
            "region": last["region"].astype(object).where(last["region"].notna(), ""),
            "age_band": pd.Series(band).astype(object).where(pd.Series(band).notna(), ""),
            "household": last["household_id"].notna().map({True: "shared", False: "alone"}),
        }
    )


_BANDS = ("under 30", "30-44", "45-59", "60 and over")
