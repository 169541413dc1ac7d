"""The lowest rung: an answer in which nothing was left to chance, for the time when nothing can be written down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from features.entities import DO_NOTHING, Candidate
from serving import value
from serving.snapshot import Ask, Decision, Reason, Result

_WHY = (Reason("STATIC", "We keep it simple for a moment."),)


def static(decision: Decision, ask: Ask, candidates: Mapping[str, Candidate]) -> Decision:
    """What of a decision may be given without a journal: rights, benefits of the tier, and product lists.

    Offers and actions give way to doing nothing, because a chance that is not written down can never be learned from,
    and a contact that is not written down breaks the caps.
    """
    kept = tuple(one for one in decision.results if _certain(one, candidates))
    if not kept and ask.family in ("offer", "action"):
        kept = (_nothing(ask),)
    sure = tuple(replace(one, probability=1.0, slate_probability=1.0) for one in kept)
    return replace(decision, mode="fallback", experiment=None, variant=None, results=sure, chances=(), exposures={})


def _certain(one: Result, candidates: Mapping[str, Candidate]) -> bool:
    if one.kind in ("product", "benefit"):
        return True
    candidate = candidates.get(one.id)
    return candidate is not None and candidate.entitlement


def _nothing(ask: Ask) -> Result:
    worth = value.written(value.NOTHING)
    return Result(ask.placements[0].id, 1, DO_NOTHING.id, "action", 1.0, 1.0, worth, _WHY, DO_NOTHING.content)
