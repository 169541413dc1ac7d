from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from experiments import gate
from experiments.contests import Court
from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from features.learned.lifetime import load_lifetime
from features.workspace import Workspace
from tests.experiments.test_gate import logged
from training import registry, settings
from training.lifetime_report import PUBLISHED
from training.metrics import Interval
from training.train import train

CONFIGS = Path(__file__).parents[2] / "configs"
END = datetime(2026, 6, 1, tzinfo=UTC)
CONFIG = settings.parse({"lifetime": {"cut_offs": 2, "resamples": 40}, "gate": {"resamples": 60}})
PROGRAMME = catalog.load(CONFIGS / "catalog").programme


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    """Version 1 is what training leaves; version 2 learned by heart; version 3 is version 1 from another seed."""
    ws = Workspace(tmp_path_factory.mktemp("ws"), CONFIGS)
    history.merge(ws.tables, simulate(WORLDS["weak"], members=500, products=40, days=400, ends_at=END, seed=2))
    train(ws, PROGRAMME, CONFIG, END, ["lifetime"])
    first = registry.get(ws, "lifetime", "1")
    wild = {"trust": 1.0, "trees": 300, "learning_rate": 1.0, "min_leaf": 1, "l2": 0.0, "leaves": 31}
    logged(ws, first, config={**first.config, **wild})
    logged(ws, first, seed=11)
    return Court(ws, PROGRAMME, CONFIG, END)


def test_challengers_are_judged_by_what_members_brought_later(court: Court) -> None:
    registry.point(court.ws, "lifetime", "challenger", "1")
    first = gate.promote(court, "lifetime")
    assert first.promoted
    assert first.verdict.cut is not None
    assert first.verdict.cut + timedelta(days=90) == history.ends_at(court.ws.tables)
    assert first.verdict.figures["normalised_gini"] > 0.5
    assert load_lifetime(court.ws.bundles / "lifetime" / "1").days == 90

    registry.point(court.ws, "lifetime", "challenger", "1")
    again = gate.judge(court, "lifetime")
    assert again.passed
    assert again.against["champion"] == Interval(0.0, 0.0, 0.0)
    as_trained = first.verdict.figures
    assert again.figures["normalised_gini"] == pytest.approx(as_trained["normalised_gini"], rel=1e-12)
    assert again.against[PUBLISHED].value == pytest.approx(first.verdict.against[PUBLISHED].value, rel=1e-9)

    registry.point(court.ws, "lifetime", "challenger", "2")
    by_heart = gate.promote(court, "lifetime")
    assert not by_heart.promoted
    assert any("normalised Gini is -" in said for said in by_heart.verdict.objections)
    assert registry.champions(court.ws) == {"lifetime": "1"}

    registry.point(court.ws, "lifetime", "challenger", "3")
    other = gate.judge(court, "lifetime")
    assert abs(other.against["champion"].value) < 0.02
