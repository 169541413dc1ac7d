"""Effects as a version of the registry: learned from all decisions drawn by lot, judged on the youngest of them."""

from __future__ import annotations

import pandas as pd

from features import behavior
from features.learned import form_name, save
from features.learned.effects import LATER, Effects
from features.learned.effects_golden import of_effects
from training.challengers import Task, Trained, typical_rows
from training.effects.config import EffectConfig
from training.effects.judging import Judged, judged
from training.effects.later import TooFewFollowedError
from training.effects.later_rows import HistoryTooShortError, later
from training.effects.learner import NothingToCompareError, Story, learn
from training.effects.units import Found, units
from training.records import Draft
from training.response import NothingDrawnError
from training.settings import as_json


def caused(task: Task) -> Trained:
    """Learn what each candidate causes for whom.

    Raises:
        NothingDrawnError: too little was drawn by lot, with its reward window closed.
    """
    config, names = task.config.effects, behavior.names(task.programme)
    task.progress("effects: decisions drawn by lot, with what was known before them")
    found = read(task, names)
    task.progress("effects: what those learned before are worth on the youngest decisions")
    seen = judged(found, names, config)
    task.progress(f"effects: from {len(found.units.arm):,} decisions")
    model, story = learn(found.units, names, found.arms, config, found.responded)
    save(model, task.folder / "effects")
    after, more = _later(task, found, names, config)
    table(model, found).to_csv(task.exhibit("effects.csv"), index=False)
    draft = Draft(
        name="effects",
        form=form_name(model),
        folder=task.folder / "effects",
        lineage=task.lineage(names, as_json(config)),
        metrics=_metrics(seen, story) | more,
        golden=of_effects(model, typical_rows(pd.DataFrame(found.units.features, columns=list(names)), names)),
        exhibits=(task.exhibit("effects.csv"),),
    )
    return Trained(draft, f"{_said(found, story, seen)}; {after}")


def _later(task: Task, found: Found, names: tuple[str, ...], config: EffectConfig) -> tuple[str, dict[str, float]]:
    """Learn and lay down what candidates change after their window; in words, and as metrics."""
    task.progress("effects: what they change after the reward window")
    try:
        form, told, days = later(task, found, names, config)
    except (HistoryTooShortError, TooFewFollowedError, NothingToCompareError) as error:
        return f"lifetime line 0, no evidence yet: {error}", {}
    columns = ["candidate", "money", "error"]
    pd.DataFrame(told.levels, columns=columns).to_csv(task.exhibit("later.csv"), index=False)
    save(form, task.folder / "effects", LATER)
    said = ", ".join(f"{one} {money:+.2f} ± {1.96 * error:.2f}" for one, money, error in told.levels)
    metrics = {f"later_{one}": money for one, money, _ in told.levels} | {"later_days": float(days)}
    return f"after the window, over {days} days, from {told.units:,} decisions: {said}", metrics


def read(task: Task, names: tuple[str, ...]) -> Found:
    """All units of a task's history; raises `NothingDrawnError` where they are too few."""
    config, days = task.config.effects, task.config.response.window_days
    found = units(task.ws.tables, task.at, days, task.features, names, config.most, task.config.seed)
    nothing = 0 if found is None else int((found.units.arm == 0).sum())
    others = 0 if found is None else len(found.units.arm) - nothing
    if found is None or min(nothing, others) < config.enough:
        raise NothingDrawnError(
            f"effects: {others} decisions for a candidate and {nothing} for doing nothing were drawn by lot with their "
            f"window of {days} days closed by {task.at:%Y-%m-%d}, at least {config.enough} of each are needed; "
            "decisions go on resting on effects by type or on the policy's priors"
        )
    return found


def table(model: Effects, found: Found) -> pd.DataFrame:
    """A row for each candidate: how often it was drawn, its mean effect over the units with its interval, answers."""
    effect, _, response = model.everything(found.units.features)
    rows = []
    for place, arm in enumerate(found.arms):
        if place:
            given = int((found.units.arm == place).sum())
            mean, half = float(effect[:, place].mean()), 1.959964 * float(model.level_variance[place] ** 0.5)
            spread, answers = float(effect[:, place].std()), float(response[:, place].mean())
            rows.append((arm, model.groups[place], given, mean, mean - half, mean + half, spread, answers))
    return pd.DataFrame(
        rows, columns=["candidate", "type", "n", "effect", "low", "high", "between_members", "response"]
    )


def _metrics(seen: Judged | None, story: Story) -> dict[str, float]:
    said = {"borne_out": story.borne_out, "from_answers": story.answered}
    if seen is None:
        return said
    value, more = seen.value, seen.without_differences
    said |= {"policy_value": value.value, "policy_value_low": value.low, "policy_value_high": value.high}
    said |= {"over_levels": more.value, "over_levels_low": more.low, "over_levels_high": more.high}
    error = seen.response_error
    return said | ({} if error != error else {"response_calibration_error": error})


def _said(found: Found, story: Story, seen: Judged | None) -> str:
    how = (
        "no difference between members was borne out"
        if story.shape == "constant"
        else f"members differ ({story.shape})"
    )
    worth = ""
    if seen is not None:
        value = seen.value
        worth = f"; choosing by them gains {value.value:+.4f} [{value.low:+.4f}, {value.high:+.4f}] baskets a decision"
    return f"effects: {len(found.arms) - 1} candidates from {len(found.units.arm):,} decisions, {how}{worth}"


__all__ = ["EffectConfig", "caused", "read", "table"]
