from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import catalog
from features.catalog import CatalogError
from features.entities import ACTION_TYPES, DO_NOTHING, OFFER_TYPES

EXAMPLE = Path(__file__).parents[2] / "configs" / "catalog"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A copy of the example catalogue in which whole files are replaced."""

    def make(**files: str) -> Path:
        shutil.copytree(EXAMPLE, tmp_path / "catalog", dirs_exist_ok=True)
        (tmp_path / "catalog" / "budgets.yaml").unlink()  # it names what other files hold
        for name, text in files.items():
            (tmp_path / "catalog" / f"{name}.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "catalog"

    return make


def errors(folder: Path) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        catalog.load(folder)
    return caught.value.errors


def offer(**more: str) -> str:
    entry = {"id": "gift-1", "type": "gift", "name": "A gift", "economics": "{cost: 2}", **more}
    lines = "\n    ".join(f"{key}: {value}" for key, value in entry.items() if value)
    return f"offers:\n  - {lines}\n"


def test_the_example_catalogue_covers_every_type_of_offer_and_action() -> None:
    found = catalog.load(EXAMPLE)
    assert {one.type for one in found.offers} == set(OFFER_TYPES)
    assert {one.type for one in found.actions} == set(ACTION_TYPES)
    assert len(found.offers) == 12
    assert len(found.benefits) == 10
    assert [tier.id for tier in found.programme.tiers] == ["bronze", "silver", "gold", "platinum"]


def test_json_gives_the_same_catalogue_back() -> None:
    found = catalog.load(EXAMPLE)
    text = catalog.to_json(found)
    assert catalog.from_json(text) == found
    assert catalog.to_json(catalog.from_json(text)) == text


def test_the_version_changes_with_the_content_and_only_with_it(write: Write) -> None:
    same = catalog.load(write())
    assert same.version == catalog.load(write()).version != catalog.load(EXAMPLE).version
    assert catalog.load(write(offers=offer())).version != same.version


def test_a_date_begins_at_midnight_in_the_time_zone_of_the_programme(write: Write) -> None:
    found = catalog.load(write(offers=offer(starts="2026-07-01", ends="2026-12-01 18:30:00")))
    assert found.offers[0].starts == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert found.offers[0].ends == datetime(2026, 12, 1, 17, 30, tzinfo=UTC)


def test_doing_nothing_is_there_even_where_nobody_wrote_it(write: Write) -> None:
    assert catalog.load(write(actions="actions: []\n")).actions == (DO_NOTHING,)


def test_a_benefit_of_type_entitlement_is_a_right_and_an_offer_is_not() -> None:
    found = catalog.load(EXAMPLE)
    assert next(one for one in found.benefits if one.id == "member-prices").entitlement
    assert not any(one.entitlement for one in found.offers)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"starts": "2026-04-01", "ends": "2026-03-01"},
            "ends 2026-03-01 before it starts 2026-04-01; swap them or correct the year",
        ),
        (
            {"conditions": "{tiers: [golden]}"},
            (
                'conditions.tiers names the unknown tier "golden"; did you mean "gold"? '
                "known: bronze, gold, platinum, silver"
            ),
        ),
        (
            {"economics": "{cost: -2}"},
            "economics.cost -2: it should be greater than or equal to 0; change it",
        ),
        (
            {"starts": "2026-13-01"},
            ('starts "2026-13-01" is no date; write one like 2026-12-31, or 2026-12-31 18:00:00'),
        ),
        (
            {"type": "discount_percent", "economics": "{discount: 10}"},
            ("economics.discount 10 must be a share above 0 and at most 1; write 0.10 for ten percent"),
        ),
        (
            {"type": "voucher"},
            (
                'type "voucher" is unknown for offers; known: discount_amount, '
                "discount_percent, free_shipping, gift, points_fixed, points_multiplier"
            ),
        ),
        (
            {"chanels": "[app]"},
            (
                'unknown key "chanels"; did you mean "channels"? known: category, channels, '
                "conditions, content, economics, ends, entitlement, event, id, lever, limits, name, placements, "
                "starts, tags, type"
            ),
        ),
        ({"name": ""}, '"name" is missing; add it'),
        (
            {"economics": "{cost: .nan}"},
            "economics.cost nan: it should be a finite number; change it",
        ),
        (
            {"channels": "[appp]"},
            ('channels.0 "appp" is unknown; did you mean "app"? known: app, call, email, push, sms, till, web'),
        ),
        (
            {"conditions": "{min_recency_days: 30, max_recency_days: 10}"},
            ("conditions.min_recency_days 30 is above max_recency_days 10, so nobody could get it; swap them"),
        ),
        (
            {"id": "Gift 1"},
            ('id "Gift 1" is no id: use up to 64 of a-z, 0-9, "-" and "_", and begin with a letter or digit'),
        ),
    ],
)
def test_a_mistake_in_an_entry_is_told_with_its_way_out(write: Write, entry: dict[str, str], said: str) -> None:
    name = entry.get("id", "gift-1")
    assert errors(write(offers=offer(**entry))) == [f'offers.yaml: offer "{name}": {said}']


def test_every_mistake_of_every_file_is_told_at_once(write: Write) -> None:
    folder = write(
        offers=offer(starts="2026-04-01", ends="2026-03-01", conditions="{lifecycles: [actve]}"),
        actions="actions:\n  - {id: gift-1, type: win_back, name: A}\n  - {id: b, type: calling, name: B}\n",
        benefits="benefits: 3\n",
    )
    found = errors(folder)
    assert [one.split(":")[0] for one in found] == [
        "offers.yaml",
        "offers.yaml",
        "actions.yaml",
        "actions.yaml",
        "benefits.yaml",
    ]
    assert "lifecycles" in found[0]
    assert "before it starts" in found[1]
    assert 'type "calling" is unknown' in found[2]
    assert "already used in offers.yaml" in found[3]


def test_a_programme_without_a_lowest_tier_is_refused(write: Write) -> None:
    text = (EXAMPLE / "tiers.yaml").read_text(encoding="utf-8").replace("min_spend: 0,", "min_spend: 10,")
    assert errors(write(tiers=text)) == [
        (
            'tiers.yaml: tier "bronze": min_spend 10 is the lowest, so new members would have no tier; add a tier with '
            "min_spend 0"
        )
    ]


def test_a_tier_that_is_wrong_is_named_by_its_id(write: Write) -> None:
    text = (EXAMPLE / "tiers.yaml").read_text(encoding="utf-8").replace("min_spend: 400", "min_spend: -400")
    assert errors(write(tiers=text))[0].startswith('tiers.yaml: tier "silver": min_spend -400')


def test_broken_yaml_is_told_with_its_line(write: Write) -> None:
    found = errors(write(offers="offers:\n  - id: a\n    name: [x\n    type: gift\n"))
    assert len(found) == 1
    assert found[0].startswith("offers.yaml: line 4, column")


def test_a_key_written_twice_is_refused_rather_than_overridden(write: Write) -> None:
    found = errors(write(offers="offers:\n  - id: a\n    id: b\n    type: gift\n    name: A\n"))
    assert found == [('offers.yaml: line 3, column 5: key "id" is written twice; keep one; check indentation, '
                     "colons and quotes there")]  # fmt: skip


def test_an_absent_an_empty_and_a_misencoded_file_are_each_named(write: Write) -> None:
    folder = write(offers="")
    (folder / "actions.yaml").unlink()
    (folder / "benefits.yaml").write_bytes("benefits: []\n# caf\xe9\n".encode("latin-1"))
    found = errors(folder)
    assert found[0].startswith("offers.yaml: holds nothing")
    assert found[1].startswith("actions.yaml: there is no such file")
    assert found[2].startswith("benefits.yaml: byte 18 is not UTF-8")


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=120) | st.text(alphabet="offers:- {}[]\n\"'&*!|>%@#\tid0.9~", max_size=120))
def test_whatever_is_written_gives_a_catalogue_or_an_error_in_words(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / "budgets.yaml").unlink()
    (folder / "offers.yaml").write_text(text, encoding="utf-8")
    try:
        catalog.load(folder)
    except CatalogError as error:
        assert all(one.startswith("offers.yaml: ") for one in error.errors)
