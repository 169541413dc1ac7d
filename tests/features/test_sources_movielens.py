"""MovieLens 100k: ratings as purchases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from features import history
from features.entities import Programme
from features.sources import load
from features.sources.movielens import GENRES


def film(number: int, title: str, *genres: str) -> str:
    flags = "|".join("1" if genre in genres else "0" for genre in GENRES)
    return f"{number}|{title}|01-Jan-1995||http://example.org|{flags}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files as GroupLens publishes them: no header, tabs and pipes, Latin 1."""
    (tmp_path / "u.data").write_text("1\t7\t5\t881250949\n2\t7\t1\t881250950\n1\t8\t3\t881337349\n1\t8\t4\t881337350\n")
    films = [film(7, "Cité des enfants perdus, La (1995)", "Sci-Fi", "Adventure"), film(8, "Heat (1995)", "Crime")]
    (tmp_path / "u.item").write_bytes("\n".join(films).encode("latin-1"))
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    return tmp_path


def test_a_rating_is_a_purchase_of_the_film_and_a_review(folder: Path, programme: Programme) -> None:
    loaded: Any = load("movielens", folder, programme)
    purchases = loaded.tables["purchases"].set_index("purchase_id")
    assert purchases.loc["1-7", "occurred_at"] == pd.Timestamp(881250949, unit="s", tz="UTC")
    assert purchases.loc["1-7", ["quantity", "amount"]].tolist() == [1.0, 1.0]
    reviews = loaded.tables["engagements"].set_index("engagement_id")
    assert reviews["value"].to_dict() == {"review-1-7": 5, "review-2-7": 1, "review-1-8": 3}
    assert loaded.counts["DUPLICATE"] == 1


def test_a_film_has_its_first_genre_and_its_name_as_written(folder: Path, programme: Programme) -> None:
    products: Any = load("movielens", folder, programme).tables["products"].set_index("product_id")
    assert products["category"].to_dict() == {"7": "adventure", "8": "crime"}
    assert products.loc["7", "name"] == "Cité des enfants perdus, La (1995)"


def test_a_member_is_known_from_the_first_rating_with_the_year_of_birth(folder: Path, programme: Programme) -> None:
    members: Any = load("movielens", folder, programme).tables["members"].set_index("member_id")
    assert members["birth_year"].to_dict() == {"1": 1974, "2": 1945}
    assert members.loc["1", "enrolled_at"] == pd.Timestamp(881250949, unit="s", tz="UTC")


@pytest.mark.data
def test_the_published_ratings_are_all_there(public_data: Path, tmp_path: Path, programme: Programme) -> None:
    tables: Any = load("movielens", public_data / "ml_100k", programme).tables
    assert {name: len(table) for name, table in tables.items()} == {
        "members": 943,
        "products": 1_682,
        "purchases": 100_000,
        "engagements": 100_000,
    }
    assert history.merge(tmp_path, tables).rejected.empty
    assert history.ends_at(tmp_path).date().isoformat() == "1998-04-22"
