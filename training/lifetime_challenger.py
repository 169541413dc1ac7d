"""How the lifetime-value model is trained: judged on the youngest closed horizon, then learned again from all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from features.entities import Programme
from features.learned.lifetime import save_lifetime
from features.learned.lifetime_golden import of_lifetime
from training import frames, lifetime_frames
from training.challengers import Task, Trained, typical_rows
from training.lifetime import Cut, LifetimeConfig, calibrated, cut, fit
from training.lifetime_report import OURS, PUBLISHED, Report, Told, judge, told
from training.metrics import Interval
from training.records import Draft
from training.settings import as_json


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What a lifetime-value model that stands at a moment learns from and is judged by."""

    plan: lifetime_frames.Plan
    at: datetime
    names: tuple[str, ...]
    cuts: Mapping[datetime, Cut]
    """Labelled by what is known at `at`, where it stands included."""
    before: tuple[Cut, ...]
    """Those to learn at before `plan.judged`, labelled by what was known then."""
    bought: pd.DataFrame
    whole: pd.DataFrame

    @staticmethod
    def prepare(tables: Path, programme: Programme, config: LifetimeConfig, at: datetime) -> Ground:
        """Features once at every cut-off; raises `HistoryTooShortError` where there is none to judge by."""
        plan = lifetime_frames.plan(at, frames.begins(tables), config.horizon_days, config.cut_offs)
        names = tuple(feature.name for feature in lifetime_frames.chosen(programme))
        ats = (*plan.every, at)
        whole = lifetime_frames.frame(tables, programme, ats, plan.days, at, config.discount, config.most)
        cuts = {each: cut(lifetime_frames.at_cut(whole, each), names, plan.days, config) for each in ats}
        rules = (plan.days, plan.judged, config.discount)
        before = tuple(
            cuts[each].later_known(
                lifetime_frames.brought(tables, programme, each, *rules).reindex(cuts[each].member_id).to_numpy()
            )
            for each in plan.learn_before
        )
        return Ground(plan, at, names, cuts, before, lifetime_frames.lines(tables, programme), whole)

    def told(self, config: LifetimeConfig, seed: int) -> Told:
        """What a model of this configuration would have said at `plan.judged`, and what came."""
        judged = self.cuts[self.plan.judged]
        return told(self.before, judged, self.plan.judged, self.bought, self.names, self.plan.days, config, seed)


def worth(task: Task) -> Trained:
    """Learn what members will bring, with intervals as wide as forecasts of the youngest closed horizon were off."""
    config, seed = task.config.lifetime, task.config.seed
    task.progress("lifetime: features at every cut-off")
    ground = Ground.prepare(task.ws.tables, task.programme, config, task.at)
    days, names = ground.plan.days, ground.names
    task.progress(f"lifetime: what it is worth over {days} days")
    said = ground.told(config, seed)
    report = judge([said], seed, config.resamples)
    task.progress("lifetime: from the whole history")
    learn = [ground.cuts[each] for each in ground.plan.learn]
    model = fit(learn, ground.cuts[task.at], names, days, config, seed)
    model = calibrated(model, said.ours, said.brought)
    save_lifetime(model, task.folder / "lifetime")
    table(report).to_csv(task.exhibit("lifetime.csv"), index=False)
    draft = Draft(
        name="lifetime",
        form="lifetime",
        folder=task.folder / "lifetime",
        lineage=task.lineage(names, as_json(config) | {"learned_days": days}),
        metrics=report.metrics | {"learned_days": float(days)},
        golden=of_lifetime(model, typical_rows(ground.whole, names)),
        exhibits=(task.exhibit("lifetime.csv"),),
    )
    gini, gap = report.figures[OURS]["normalised_gini"], report.gaps["normalised_gini"]
    text = (
        f"lifetime: normalised Gini {gini.value:.4f} ({_signed(gap)} over BG/NBD with gamma-gamma) over {days} days, "
        f"{report.covered:.0%} in their intervals, {report.members} members"
    )
    return Trained(draft, text)


def table(report: Report) -> pd.DataFrame:
    """The figures for people: measure, ours and the published model's with intervals, and the difference."""
    rows = []
    for name, gap in report.gaps.items():
        row: dict[str, str | float] = {"measure": name}
        for whose, each in (("ours", report.figures[OURS][name]), ("published", report.figures[PUBLISHED][name])):
            row |= {whose: each.value, f"{whose}_low": each.low, f"{whose}_high": each.high}
        rows.append(row | {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high})
    return pd.DataFrame(rows)


def _signed(gap: Interval) -> str:
    return f"{gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
