"""Learned effects for people: predicted against observed, and what choosing by them gains."""

from __future__ import annotations

from pathlib import Path

from training.effects.judging import Judged


def draw(seen: Judged, path: Path) -> Path:
    """Observed over predicted effect in fifths, with 95 % intervals, beside what policies gain over doing nothing."""
    from matplotlib.figure import Figure  # heavy: only when drawing

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    table = seen.calibration
    ends = [min(table["predicted"].min(), 0.0), max(table["predicted"].max(), 0.0)]
    left.plot(ends, ends, color="#999999", linewidth=1)
    error = [table["observed"] - table["low"], table["high"] - table["observed"]]
    left.errorbar(
        table["predicted"], table["observed"], yerr=error, fmt="o", color="#5b8bb0", ecolor="#333333", capsize=3
    )
    left.axhline(0, color="#cccccc", linewidth=1)
    left.set(xlabel="predicted effect (baskets)", ylabel="observed effect (baskets)", title="Effects, in fifths, 95 %")
    names, gains = ["by effects", "best on average"], [seen.value, seen.level_value]
    for place, one in enumerate(gains):
        right.errorbar(
            place, one.value, yerr=[[one.value - one.low], [one.high - one.value]], fmt="o", color="#5b8bb0", capsize=4
        )
    right.axhline(0, color="#cccccc", linewidth=1)
    right.set(xticks=[0, 1], xlim=(-0.5, 1.5), ylabel="baskets a decision", title="Gain over doing nothing")
    right.set_xticklabels(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path
