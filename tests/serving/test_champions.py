"""Bundles: whole and right ones serve, everything else is refused before it is read."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from features import catalog
from features.behavior import names
from features.learned import Popularity, golden, load, positions
from features.learned.churn import load_churn
from features.rows import Rows
from features.workspace import Workspace
from serving.bundles import BundleError, exactly, take_up
from serving.champions import Champions, Taste
from serving.members import Finish, Member, fetch
from tests.serving import small_programme

Damage = Callable[[Path], None]


@pytest.fixture
def features(ws: Workspace) -> tuple[str, ...]:
    return names(catalog.load(ws.catalog).programme)


def member(ws: Workspace, name: str = "M0000001") -> Member:
    found = Finish(catalog.load(ws.catalog).programme)(fetch(Rows(ws.online), name), small_programme.ENDS.timestamp())
    assert found is not None
    return found


def test_good_bundles_serve_and_give_what_their_arrays_say(ws: Workspace, features: tuple[str, ...]) -> None:
    champions, faults = take_up(ws, features, Champions())
    assert faults == []
    assert champions.missing == ()
    who, at = member(ws), small_programme.ENDS.timestamp()
    learned = champions.learned(who, at, 3)
    assert learned.versions == {"taste": "1", "churn": "1"}
    assert learned.churn == pytest.approx(0.3 if who.features["recency_days"] <= 60 else 0.7)
    assert len(learned.products) == 3
    assert [score for _, score in learned.products] == sorted((s for _, s in learned.products), reverse=True)
    allowed = np.zeros(small_programme.PRODUCTS, bool)
    allowed[7] = True
    assert champions.taste is not None
    assert [one for one, _ in champions.learned(who, at, 3, allowed).products] == [champions.taste.names[7]]


def test_nobody_in_particular_gets_what_is_popular_and_no_churn(ws: Workspace, features: tuple[str, ...]) -> None:
    champions, _ = take_up(ws, features, Champions())
    learned = champions.learned(None, 0.0, 2)
    assert learned.churn is None
    assert champions.taste is not None
    assert [one for one, _ in learned.products] == champions.taste.names[:2].tolist()


def test_a_member_of_a_region_with_a_list_of_its_own_gets_that_list(ws: Workspace) -> None:
    one = member(ws)
    assert one.state.region
    ids = np.array(["P1", "P2"])
    scores, regional = np.array([0.2, 0.1], np.float32), np.array([[0.1, 0.3]], np.float32)
    form = Popularity(ids, scores, np.array([one.state.region]), regional)
    champions = Champions(taste=Taste("1", form, positions(ids), ids.astype(object)))
    assert [name for name, _ in champions.products_for(one, one.built_at, 2)] == ["P2", "P1"]
    assert [name for name, _ in champions.products_for(None, one.built_at, 2)] == ["P1", "P2"]


def test_a_vector_of_another_version_is_not_used(ws: Workspace, features: tuple[str, ...]) -> None:
    champions, _ = take_up(ws, features, Champions())
    products = load(ws.bundles / "taste" / "1").product_ids.tolist()  # type: ignore[union-attr]
    small_programme.put_taste(ws, "2", products)
    small_programme.crown(ws, taste="2", churn="1")
    newer, faults = take_up(ws, features, champions)
    assert faults == []
    who, at = member(ws), small_programme.ENDS.timestamp()
    assert champions.learned(who, at, 5).products != newer.learned(who, at, 5).products


def truncate(folder: Path) -> None:
    file = folder / "arrays.npz"
    file.write_bytes(file.read_bytes()[: random.Random(1).randrange(1, 300)])


def flip(folder: Path) -> None:
    file = folder / "arrays.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def make_pickle(folder: Path) -> None:
    (folder / "arrays.npz").write_bytes(pickle.dumps({"vectors": print}))
    small_programme.describe(folder, folder.parent.name, folder.name)


def escape(folder: Path) -> None:
    description = json.loads((folder / "bundle.json").read_text())
    description["files"]["../../../keys.json"] = "0"
    (folder / "bundle.json").write_text(json.dumps(description))


def link(folder: Path) -> None:
    target = (folder / "arrays.npz").rename(folder.parent / "elsewhere.npz")
    (folder / "arrays.npz").symlink_to(target)


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def no_json(folder: Path) -> None:
    (folder / "bundle.json").write_text("[1, 2")


@pytest.mark.parametrize("damage", [truncate, flip, make_pickle, escape, link, empty, no_json])
@pytest.mark.parametrize("name", ["taste", "churn"])
def test_a_damaged_bundle_is_refused_and_the_last_good_one_goes_on(
    ws: Workspace, features: tuple[str, ...], name: str, damage: Damage
) -> None:
    good, _ = take_up(ws, features, Champions())
    products = load(ws.bundles / "taste" / "1").product_ids.tolist()  # type: ignore[union-attr]
    folder = (
        small_programme.put_taste(ws, "2", products)
        if name == "taste"
        else small_programme.put_churn(ws, "2", list(features))
    )
    damage(folder)
    small_programme.crown(ws, **{"taste": "1", "churn": "1", name: "2"})
    after, faults = take_up(ws, features, good)
    assert len(faults) == 1
    assert faults[0].startswith(f"{name} 2: ")
    assert faults[0].endswith("version 1 goes on serving")
    assert (after.taste, after.churn) == (good.taste, good.churn)
    with pytest.raises((BundleError, OSError)):
        exactly(ws, {name: "2"}, features)


def test_a_bundle_that_fails_its_golden_questions_is_refused(ws: Workspace, features: tuple[str, ...]) -> None:
    good, _ = take_up(ws, features, Champions())
    products = load(ws.bundles / "taste" / "1").product_ids.tolist()  # type: ignore[union-attr]
    other = small_programme.put_taste(ws, "2", products, seed=2)
    asked = golden.of_products(load(ws.bundles / "taste" / "1"), 1.7e9)  # type: ignore[arg-type]
    small_programme.describe(other, "taste", "2", golden=asked)
    rows = np.zeros((2, len(features)))
    wrong = golden.of_churn(load_churn(ws.bundles / "churn" / "1"), rows)
    wrong["chances"] = [0.5, 0.5]
    churn = small_programme.put_churn(ws, "2", list(features))
    small_programme.describe(churn, "churn", "2", golden=wrong)
    small_programme.crown(ws, taste="2", churn="2")
    after, faults = take_up(ws, features, good)
    assert [fault.split(":")[0] for fault in faults] == ["taste 2", "churn 2"]
    assert after.versions == {"taste": "1", "churn": "1"}


def test_a_churn_model_of_unserved_features_or_another_shape_is_refused(
    ws: Workspace, features: tuple[str, ...]
) -> None:
    good, _ = take_up(ws, features, Champions())
    small_programme.put_churn(ws, "2", [*features, "shoe_size"])
    small_programme.crown(ws, taste="1", churn="2")
    _, faults = take_up(ws, features, good)
    assert "shoe_size" in faults[0]
    swapped = ws.bundles / "taste" / "3"
    swapped.mkdir()
    for file in (ws.bundles / "churn" / "1").iterdir():
        (swapped / file.name).write_bytes(file.read_bytes())
    small_programme.crown(ws, taste="3", churn="1")
    _, faults = take_up(ws, features, good)
    assert faults[0].startswith("taste 3: ")


def test_mutants_never_serve_and_never_break_the_process(ws: Workspace, features: tuple[str, ...]) -> None:
    rng = random.Random(11)
    good, _ = take_up(ws, features, Champions())
    folder = small_programme.put_churn(ws, "2", list(features))
    small_programme.crown(ws, taste="1", churn="2")
    whole = {file.name: file.read_bytes() for file in folder.iterdir()}
    for _ in range(300):
        name = rng.choice(sorted(whole))
        content = bytearray(whole[name])
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(bytes(content[: rng.choice([len(content), rng.randrange(len(content))])]))
        after, faults = take_up(ws, features, good)
        changed = (folder / name).read_bytes() != whole[name]
        if changed and name != "bundle.json":
            assert faults
            assert after.churn is good.churn
        (folder / name).write_bytes(whole[name])
