"""Effects learned from a real e-mail test (Hillstrom 2008): every learner against targeting the likely responders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from tessera.setup import RefusedError
from training.effects import EffectConfig, fit
from training.effects.inputs import Floats, Whole
from training.effects.reading import gain, over_splits
from training.effects.rivals import RIVALS, Trial
from training.metrics import Interval

ARMS = ("No E-Mail", "Mens E-Mail", "Womens E-Mail")
OUTCOMES = ("visit", "spend")
OURS, BASELINE = "ours", "response"
TESTED = 0.5
TARGETED = 0.3
SPLITS = 20
LEARNING = EffectConfig(folds=3, trees=60, learning_rate=0.1, rounds=(10, 20, 40, 80))
"""The same trees for all learners."""


@dataclass(frozen=True, slots=True, eq=False)
class Mailing:
    """The test: customers drawn by lot into three arms of equal chance."""

    features: Floats
    arm: Whole
    outcome: dict[str, Floats]


def run(seeds: Sequence[int] = range(SPLITS)) -> None:
    """Print two tables; the data is looked for in TESSERA_DATA or in ../shared/data."""
    file = Path(os.environ.get("TESSERA_DATA", "../shared/data")) / "hillstrom" / "hillstrom.parquet"
    if not file.exists():
        raise RefusedError(f"bench hillstrom: there is no {file}: set TESSERA_DATA to the folder that holds hillstrom/")
    mailing = read(file)
    console = Console()
    console.width = max(console.width, 150)
    console.print(rates(mailing))
    with console.status(f"{len(seeds)} splits, {len(RIVALS) + 1} learners"):
        found = measure(mailing, seeds)
    for table in tables(found):
        console.print(table)


def read(file: Path) -> Mailing:
    """The file as arrays: categories as one column for each value."""
    frame = pd.read_parquet(file)
    plain = frame[["recency", "history", "mens", "womens", "newbie"]].astype(float)
    rest = pd.get_dummies(frame[["zip_code", "channel"]], dtype=float)
    return Mailing(
        np.column_stack([plain.to_numpy(), rest.to_numpy()]),
        frame["segment"].map({name: i for i, name in enumerate(ARMS)}).to_numpy().astype(np.int64),
        {name: frame[name].to_numpy(np.float64) for name in OUTCOMES},
    )


def rates(mailing: Mailing) -> str:
    """Share of visitors by arm, as published."""
    said = (
        f"{name} {mailing.outcome['visit'][mailing.arm == arm].mean():.2%} of {(mailing.arm == arm).sum():,}"
        for arm, name in enumerate(ARMS)
    )
    return "visits: " + ", ".join(said)


def measure(mailing: Mailing, seeds: Sequence[int], config: EffectConfig | None = None) -> pd.DataFrame:
    """A row for each split, outcome, mail and learner: qini and the gain per customer with 30 % targeted."""
    rows = []
    for seed in seeds:
        for outcome in OUTCOMES:
            rows += _split(mailing, outcome, seed, config or replace(LEARNING, seed=seed))
    return pd.DataFrame(rows, columns=["seed", "outcome", "mail", "learner", "qini", "gain"])


def _split(
    mailing: Mailing, outcome: str, seed: int, config: EffectConfig
) -> list[tuple[int, str, str, str, float, float]]:
    y, arm, x = mailing.outcome[outcome], mailing.arm, mailing.features
    test = np.random.default_rng(seed).random(len(arm)) < TESTED
    chances = np.full((len(arm), len(ARMS)), 1 / len(ARMS))
    groups = ("nothing", "mail", "mail")
    ours = fit(x[~test], arm[~test], chances[~test], y[~test], config, groups).predict(x[test])[0]
    rows = []
    for column in (1, 2):
        two = (arm == 0) | (arm == column)
        learn, judge = two & ~test, (two & test)[test]
        trial = Trial(x[learn], arm[learn] == column, np.full(int(learn.sum()), 0.5), y[learn])
        ranked = {name: rival(trial, config)(x[test][judge]) for name, rival in RIVALS.items()}
        for name, predicted in (ranked | {OURS: ours[judge, column]}).items():
            curve = gain(predicted, arm[test][judge] == column, y[test][judge], np.full(int(judge.sum()), 0.5))
            rows.append((seed, outcome, ARMS[column], name, curve.qini, curve.at(TARGETED)))
    return rows


def against(found: pd.DataFrame, outcome: str, mail: str, learner: str, figure: str) -> tuple[Interval, Interval]:
    """A learner's figure over the splits, and its paired difference to targeting the likely responders."""
    part = found[(found["outcome"] == outcome) & (found["mail"] == mail)]
    wide = part.pivot_table(index="seed", columns="learner", values=figure)
    mine = wide[learner].to_numpy()
    return over_splits(mine, TESTED), over_splits(mine - wide[BASELINE].to_numpy(), TESTED)


def tables(found: pd.DataFrame) -> list[Table]:
    """One table for each outcome; figures per 1,000 customers."""
    made = []
    for outcome in OUTCOMES:
        title = f"{outcome} per 1,000 customers, {found['seed'].nunique()} splits in halves; 95 % intervals"
        table = Table(title=title, title_justify="left")
        for head in ("mail", "learner", "Qini", "over response", f"gain, {TARGETED:.0%} targeted", "over response"):
            table.add_column(head, no_wrap=True)
        for mail in ARMS[1:]:
            for learner in (*RIVALS, OURS):
                cells = [
                    _told(one) for figure in ("qini", "gain") for one in against(found, outcome, mail, learner, figure)
                ]
                table.add_row(mail, learner, *cells)
        made.append(table)
    return made


def _told(one: Interval) -> str:
    value, low, high = (1000 * each for each in (one.value, one.low, one.high))
    return f"{value:+.2f} \\[{low:+.2f}, {high:+.2f}]"
