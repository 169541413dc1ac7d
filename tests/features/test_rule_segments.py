"""A marketer's own segments: written in YAML, explained by numbers, the same for one member and for all."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from features import behavior, catalog, flows, history, rule_segments
from features.catalog import CatalogError
from features.entities import RuleSegment
from tests.features.small_history import PROGRAMME, T0, typed

CONFIGS = Path(__file__).parents[2] / "configs" / "catalog"
WITH = replace(
    PROGRAMME,
    rule_segments=(
        RuleSegment("often", "Often", "baskets_90d >= 2 and tier == 'basic'"),
        RuleSegment("away", "Away", "recency_days > 30 or lifecycle == 'new'"),
    ),
)


def _written(tmp_path: Path, text: str) -> Path:
    folder = shutil.copytree(CONFIGS, tmp_path / "catalog")
    (folder / "segments.yaml").write_text(text)
    return folder


def test_a_member_is_in_whatever_fits_and_is_told_why() -> None:
    features = {"baskets_90d": 3.0, "recency_days": 4.0, "tenure_days": 400.0, "spend_365d": 10.0, "tier_rank": 0.0}
    assert rule_segments.of(features, WITH) == {"often"}
    (one,) = rule_segments.explained(features, WITH)
    assert (one.segment.id, one.because) == ("often", {"baskets_90d": 3.0, "tier": "basic"})


def test_a_number_a_member_does_not_have_fits_no_rule() -> None:
    features = {"baskets_90d": float("nan"), "recency_days": float("nan"), "tenure_days": 900.0}
    assert rule_segments.of(features, WITH) == frozenset()


def test_mistakes_are_told_all_at_once_with_the_way_out(tmp_path: Path) -> None:
    folder = _written(
        tmp_path,
        "segments:\n"
        "  - {id: a, name: A, when: basket_90d > 2}\n"
        "  - {id: a, name: B, when: 'baskets_90d >'}\n"
        "  - {id: Not good, name: C, when: recency_days < 3}\n",
    )
    offers = (folder / "offers.yaml").read_text().replace("lifecycles: [new]", "segments: [regular]", 1)
    (folder / "offers.yaml").write_text(offers)
    with pytest.raises(CatalogError) as caught:
        catalog.load(folder)
    found = "\n".join(caught.value.errors)
    assert 'segment "a": when: there is no feature "basket_90d"; did you mean "baskets_90d"?' in found
    assert 'segment "a": the id is used twice' in found and "found the end where a value" in found
    assert 'segment "Not good": this is no id' in found
    assert 'conditions.segments names the unknown segment "regular"' in found


def test_a_catalogue_without_the_file_has_none_and_keeps_its_version(tmp_path: Path) -> None:
    folder = shutil.copytree(CONFIGS, tmp_path / "catalog")
    (folder / "segments.yaml").unlink()
    without = catalog.load(folder)
    assert without.programme.rule_segments == ()
    assert without.version != catalog.load(CONFIGS).version
    assert catalog.from_json(catalog.to_json(catalog.load(CONFIGS))) == catalog.load(CONFIGS)


def test_all_members_at_once_get_what_each_gets_alone_and_flows_say_who_moved(tmp_path: Path) -> None:
    days = [(member, back) for member, backs in (("a", (1, 20)), ("b", (50, 60)), ("c", (2,))) for back in backs]
    tables = {
        "members": typed("members", [{"member_id": one, "occurred_at": T0 - timedelta(days=300)} for one in "abc"]),
        "products": typed(
            "products", [{"product_id": "p0", "category": "tea", "occurred_at": T0 - timedelta(days=300)}]
        ),
        "purchases": typed(
            "purchases",
            [
                {"member_id": member, "basket_id": f"{member}{back}", "occurred_at": T0 - timedelta(days=back)}
                for member, back in days
            ],
        ),
    }
    history.merge(tmp_path / "tables", tables)
    now, before = (flows.labelled(tmp_path / "tables", WITH, T0 - timedelta(days=back)) for back in (0, 10))
    features = behavior.historical(tmp_path / "tables", flows._known(tmp_path / "tables", T0), WITH)
    for row in features.to_dict("records"):
        alone = rule_segments.of({str(name): row[name] for name in behavior.names(WITH)}, WITH)
        assert alone == {name for name in ("often", "away") if now.loc[row["member_id"], name]}
    assert now["often"].tolist() == [True, True, False]
    assert before["often"].tolist() == [False, True, False]
    assert flows.stayed(before, now, "often") == pytest.approx(2 / 3)
