"""Lifetime value at the gate: challenger against champion, and against BG/NBD with gamma-gamma, on the same months.

A challenger is objected to if
- its normalised Gini is not shown to be at most 1 % below the champion's (95 % interval of the paired difference);
- its deciles are further off than the champion's by more than the stated share of all money;
- it certainly orders members worse than the published model does, which takes seven numbers;
- a feature that it rests on broke since it learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from math import nan

import numpy as np
from pydantic import TypeAdapter

from experiments import guardrails
from experiments.contests import Court, Verdict, inferior
from features import history
from training import value_metrics
from training.lifetime import LifetimeConfig
from training.lifetime_challenger import Ground
from training.lifetime_report import PUBLISHED, Told
from training.metrics import Interval
from training.records import Version
from training.settings import GateConfig
from training.value_metrics import Slice

_GINI, _DECILES = "normalised_gini", "decile_error"


def judge_lifetime(court: Court, challenger: Version, champion: Version | None) -> Verdict:
    """Both answer the challenger's question: its horizon, its cut-offs, its members.

    A first challenger that has seen all there is was judged by the same rule while it was trained; that stands.
    """
    if champion is None and challenger.record["data_fingerprint"] == history.fingerprint(court.ws.tables):
        return _as_trained(court, challenger)
    asked = _config(challenger)
    ground = Ground.prepare(court.ws.tables, court.programme, asked, court.present)
    court.progress(f"gate: lifetime as of {ground.plan.judged:%Y-%m-%d}")
    mine = ground.told(asked, int(challenger.record["seed"]))
    _, published = _compared(court, mine, mine.published)
    own = value_metrics.measure(mine.brought, mine.ours)
    figures = {
        _GINI: own[_GINI],
        _DECILES: own[_DECILES],
        "coverage": mine.covered,
        "members": float(len(mine.brought)),
    }
    against = {PUBLISHED: published[_GINI]}
    if champion is not None:
        shaped = replace(
            _config(champion), **{name: getattr(asked, name) for name in ("horizon_days", "cut_offs", "most")}
        )
        theirs = mine if _alike(challenger, champion) else ground.told(shaped, int(champion.record["seed"]))
        rival, gaps = _compared(court, mine, theirs.ours)
        against["champion"] = gaps[_GINI]
        figures |= {"champion_" + name: rival[name] for name in (_GINI, _DECILES)}
    objections = (
        *_objections(figures, against, court.config.gate),
        *guardrails.broken_features(
            court.ws.tables, court.programme, challenger.record["feature_names"], ground.plan.every, court.present
        ),
    )
    name = champion.number if champion else None
    return Verdict("lifetime", challenger.number, name, ground.plan.judged, figures, against, objections)


def _as_trained(court: Court, challenger: Version) -> Verdict:
    measured = {key: nan if value is None else value for key, value in challenger.record["metrics"].items()}
    gap = Interval(*(measured[f"{_GINI}_gap{end}"] for end in ("", "_low", "_high")))
    figures = {name: measured[name] for name in (_GINI, _DECILES, "coverage", "members")}
    cut = datetime.fromisoformat(challenger.record["at"]) - timedelta(days=measured["learned_days"])
    against = {PUBLISHED: gap}
    objections = _objections(figures, against, court.config.gate)
    return Verdict("lifetime", challenger.number, None, cut, figures, against, objections)


def _config(version: Version) -> LifetimeConfig:
    known = {key: value for key, value in version.config.items() if key != "learned_days"}
    return TypeAdapter(LifetimeConfig).validate_python(known)


def _alike(one: Version, other: Version) -> bool:
    return _config(one) == _config(other) and one.record["seed"] == other.record["seed"]


def _compared(court: Court, mine: Told, theirs: np.ndarray) -> tuple[Mapping[str, float], Mapping[str, Interval]]:
    """What the other's forecasts measure, and ours minus theirs."""
    part = Slice(np.arange(len(mine.brought)), mine.brought, {"mine": mine.ours, "theirs": theirs})
    figures, gaps = value_metrics.compare([part], "mine", "theirs", court.config.seed, court.config.gate.resamples)
    return {name: each.value for name, each in figures["theirs"].items()}, gaps


def _objections(figures: Mapping[str, float], against: Mapping[str, Interval], rules: GateConfig) -> tuple[str, ...]:
    published = against[PUBLISHED]
    found = []
    if published.high < 0:
        found.append(
            f"normalised Gini is {published.value:+.4f} [{published.low:+.4f}, {published.high:+.4f}] against BG/NBD "
            "with gamma-gamma: seven numbers order members better"
        )
    if "champion" not in against:
        return tuple(found)
    found += inferior(against["champion"], figures["champion_" + _GINI], rules, "normalised Gini")
    if not figures[_DECILES] <= figures["champion_" + _DECILES] + rules.decile_margin:
        found.append(
            f"deciles are off by {figures[_DECILES]:.1%} of all money, more than the margin of "
            f"{rules.decile_margin:.1%} above the champion's {figures['champion_' + _DECILES]:.1%}"
        )
    return tuple(found)
