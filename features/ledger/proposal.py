"""Rules that somebody thinks of: a file with what would change, read against the programme as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from features.catalog import CatalogError
from features.catalog_entries import Days, Money, Share, TierEntry
from features.entities import Programme, Tier
from features.ledger import written
from features.ledger.rules import Earning
from features.ledger.written import ChannelEntry, EarningFile, RuleEntry
from features.written import Written, WrittenError, read, sentences


class PointsChange(Written):
    """What would change of the rules of points; what is left out stays."""

    expiry_days: Days | None = None
    cost_per_point: Money | None = None
    redeemed_share: Share | None = None


class ProposalFile(Written):
    """Keys of `tiers.yaml` and `earning.yaml`; what is left out stays as it is."""

    points: PointsChange = PointsChange()
    tiers: Annotated[list[TierEntry], Field(min_length=1)] | None = None
    rules: list[RuleEntry] | None = None
    channels: dict[str, ChannelEntry] | None = None


def propose(path: Path, programme: Programme) -> Programme:
    """The programme with the rules of the file.

    Raises:
        CatalogError: The file is absent or wrong; a sentence for every mistake.
    """
    try:
        _, raw = read(path)
    except WrittenError as error:
        raise CatalogError([str(error)]) from error
    try:
        asked = ProposalFile.model_validate(raw)
    except ValidationError as error:
        raise CatalogError(sentences(error, ProposalFile, path.name)) from error
    errors: list[str] = []
    changed = {name: value for name, value in asked.points.model_dump().items() if value is not None}
    found = replace(programme, points=replace(programme.points, **changed))
    if asked.tiers is not None:
        found = replace(found, tiers=_ladder(asked.tiers, path.name, errors))
    found = replace(found, earning=_earning(raw, found, errors, path.name))
    if errors:
        raise CatalogError(errors)
    return found


def _ladder(entries: list[TierEntry], file: str, errors: list[str]) -> tuple[Tier, ...]:
    ladder = tuple(Tier(**entry.model_dump()) for entry in sorted(entries, key=lambda entry: entry.min_spend))
    if ladder[0].min_spend != 0:
        errors.append(f'{file}: tier "{ladder[0].id}": the lowest min_spend is {ladder[0].min_spend:g}; one must be 0')
    if len({tier.min_spend for tier in ladder}) < len(ladder) or len({tier.id for tier in ladder}) < len(ladder):
        errors.append(f"{file}: two tiers have the same id or the same min_spend; make them differ")
    return ladder


def _earning(raw: dict[str, Any], programme: Programme, errors: list[str], file: str) -> Earning:
    """The rules of the file where it has some; those there are go on otherwise."""
    said = {name: raw[name] for name in EarningFile.model_fields if raw.get(name) is not None}
    new = written.parse(said, programme, errors, file)
    old = programme.earning
    return Earning(new.rules if "rules" in said else old.rules, new.channels if "channels" in said else old.channels)
