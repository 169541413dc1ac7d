"""A recipe from a package of one's own, as in docs/your-own-recipe.md: found by its entry point, judged, trained."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.simulate import simulate
from experiments.worlds import WORLDS
from features import catalog, history
from features.learned import ItemItem, load
from features.workspace import Workspace
from training import recipes
from training.challengers import Task, taste
from training.evaluate import evaluate
from training.evaluation.contest import Terms
from training.recipes import RecipeError
from training.search import Between, space
from training.settings import SettingsError, parse

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "examples" / "next_after"
ENDS_AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package on the path with the record that an installer writes from its pyproject.toml."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = tmp_path_factory.mktemp("site")
    record = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (record / "entry_points.txt").write_text(points)
    added = [str(site), str(PACKAGE)]
    sys.path[:0] = added
    yield
    for place in added:
        sys.path.remove(place)
    sys.modules.pop("next_after", None)


def _marching(members: int = 40) -> pd.DataFrame:
    """Everybody buys a, b, c, d in turn, each from another start, and x now and then: what follows is sure."""
    rng = np.random.default_rng(0)
    rows = [
        (member, "abcd"[(member + day) % 4] if rng.random() < 0.9 else "x", day)
        for member in range(members)
        for day in range(40)
    ]
    frame = pd.DataFrame(rows, columns=["member_id", "product_id", "day"])
    frame["occurred_at"] = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(frame.pop("day"), unit="D")
    return frame


def test_without_its_package_the_recipe_is_unknown() -> None:
    with pytest.raises(RecipeError, match='recipe "next_after" is unknown; use one of popularity'):
        recipes.find("next_after")


@pytest.mark.usefixtures("installed")
def test_what_comes_next_is_named_where_order_decides() -> None:
    """Of a day, 0.9 is in turn, and of the day before it too: a list of one product hits about 0.81 of the time."""
    own = {"half_life_days": 1.0, "lift": 0.0}
    found = evaluate(
        _marching(),
        None,
        {"next_after": own, "item_item": {"half_life_days": 1.0}},
        days=1,
        terms=Terms(k=1, draws=20),
    )
    shown = found.table[(found.table["group"] == "everybody") & (found.table["part"] == "all")]
    hits = dict(zip(shown["recipe"], shown["hit_rate"].astype(float), strict=True))
    assert hits["next_after"] > 0.7
    assert hits["item_item"] < 0.3


@pytest.mark.usefixtures("installed")
def test_its_settings_are_searched_where_its_file_says() -> None:
    assert space("next_after")["shrink"] == Between(1, 500, log=True)
    assert "lift" in space("next_after")


@pytest.mark.usefixtures("installed")
def test_training_yaml_may_name_it_and_its_mistakes_are_told() -> None:
    assert "next_after" in parse({"taste": {"recipes": {"next_after": {"shrink": 5}}}}).taste.recipes
    with pytest.raises(SettingsError, match='"shrnik" is no setting of it'):
        parse({"taste": {"recipes": {"next_after": {"shrnik": 5}}}})


@pytest.mark.usefixtures("installed")
def test_it_becomes_a_draft_that_serving_can_read_without_its_package(tmp_path: Path) -> None:
    ws = Workspace(tmp_path / "home", ROOT / "configs")
    made = simulate(WORLDS["strong"], members=150, products=60, days=200, ends_at=ENDS_AT, seed=3)
    history.merge(ws.tables, {name: made[name] for name in ("members", "products", "purchases")})
    config = parse({"taste": {"recipes": {"popularity": {}, "next_after": {}}}})
    programme = catalog.load(ws.catalog).programme
    task = Task(ws, programme, config, ENDS_AT, "test", tmp_path, lambda _: None, lambda pairs: pairs)
    trained = taste(task)
    assert trained.draft.lineage.config["recipe"] == "next_after"
    assert trained.draft.form == "item_item"
    form = load(tmp_path / "taste")
    assert isinstance(form, ItemItem)
    assert len(form.product_ids) == 60
