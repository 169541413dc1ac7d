"""MovieLens 100k (GroupLens): a rating is taken as a purchase of the film at the price of 1, and as a review.

For comparing recommenders with published figures; research use only, and nothing of it is shipped.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from features import border
from features.border import BorderError
from features.entities import Programme
from features.sources import files
from features.sources.loaded import Loaded, members_seen, products_seen, rule_counts, typed
from features.tables import Column, Table

DESCRIPTION = "MovieLens 100k: the folder with u.data (or u_data.parquet), u.item and u.user, as published or zipped"

GENRES = [
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
"""The genres in the order of the file; a film's first one is its category."""

RULES = {"DUPLICATE": "the same film rated twice by the same member: the first rating is kept"}
"""What is done about dirt."""

_RATINGS = Table(
    "u.data",
    ("user", "item"),
    (
        Column("user", "text"),
        Column("item", "text"),
        Column("rating", "number", at_least=1, at_most=5),
        Column("timestamp", "whole", at_least=0),
    ),
)
_ITEM = ["item", "title", "releaseDate", "videoReleaseDate", "imdbURL", *GENRES]
_USER = ["user", "age", "gender", "occupation", "zip"]
_ENCODINGS = ("utf-8-sig", "latin-1")
_SINCE = pd.Timestamp("1997-01-01", tz="UTC")
_YEAR = 1998


def load(path: Path, programme: Programme, mapping: Path | None = None) -> Loaded:
    """Read ratings, films and people.

    Args:
        path: The folder of the files.
        programme: Its default margin rate applies.
        mapping: Not used by this source.

    Raises:
        BorderError: A file is missing, unreadable, or not of this layout; or a map is given.
    """
    if mapping is not None:
        raise BorderError(f"{mapping.name}: movielens has a fixed layout; for a map use `--source folder`.")
    ratings, rejected = _read_ratings(path)
    ratings = ratings.sort_values(["timestamp", "rating"], kind="stable")
    twice = ratings.duplicated(["user", "item"])
    rejected = pd.concat([rejected, border.reject("u.data", ratings[twice], "item", "DUPLICATE")], ignore_index=True)
    rated = _rated(ratings[~twice], _films(path))
    return Loaded(
        tables={
            "members": members_seen(_people(path, rated), _SINCE, consent=True),
            "products": products_seen(
                rated[["product_id", "name", "category", "unit_price", "occurred_at"]], programme
            ),
            "purchases": typed("purchases", rated),
            "engagements": _reviews(rated),
        },
        rejected=rejected,
        counts=dict.fromkeys(RULES, 0) | rule_counts(rejected),
        rules={**border.RULES, **RULES},
        notes=(
            "A rating is taken as the purchase of the film at the price of 1, whatever the rating, and as a review.",
            "Consents: the source has none; all are assumed given. Ages are taken as of 1998.",
        ),
    )


def _read_ratings(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    file = files.find(path, ("u_data.parquet", "u.data", "u.data.zip"), "the ratings of MovieLens 100k")
    if file.suffix == ".parquet":
        frame = files.read(file)
    else:
        frame = _without_header(file, [c.name for c in _RATINGS.columns], "\t")
    return border.check(frame, _RATINGS, file=file.name)


def _without_header(file: Path, names: list[str], separator: str) -> pd.DataFrame:
    """A file that has no line of names as published, and has one in some copies."""
    frame = files.read(file, files.TextFormat(separator=separator, encodings=_ENCODINGS, header=names))
    return frame[frame[names[0]] != names[0]]


def _films(path: Path) -> pd.DataFrame:
    file = files.find(path, ("u.item", "u.item.zip"), "the films of MovieLens 100k")
    frame = _without_header(file, _ITEM, "|")
    genres = frame[GENRES].to_numpy() == "1"
    first = pd.Series([GENRES[row.argmax()] for row in genres], index=frame.index)
    return pd.DataFrame({"product_id": frame["item"], "name": frame["title"], "category": first.str.lower()})


def _rated(ratings: pd.DataFrame, films: pd.DataFrame) -> pd.DataFrame:
    at = pd.to_datetime(ratings["timestamp"].astype("int64"), unit="s", utc=True)
    rows = pd.DataFrame(
        {
            "purchase_id": ratings["user"] + "-" + ratings["item"],
            "basket_id": ratings["user"] + "-" + at.dt.strftime("%Y%m%d"),
            "member_id": ratings["user"],
            "product_id": ratings["item"],
            "quantity": 1.0,
            "unit_price": 1.0,
            "discount": 0.0,
            "amount": 1.0,
            "rating": ratings["rating"],
            "occurred_at": at,
            "known_at": at,
        }
    ).merge(films, on="product_id", how="left")
    return rows.assign(category=rows["category"].fillna("unknown"))


def _reviews(rated: pd.DataFrame) -> pd.DataFrame:
    rows = rated.assign(
        engagement_id="review-" + rated["purchase_id"], type="review", topic=rated["category"], value=rated["rating"]
    )
    return typed("engagements", rows)


def _people(path: Path, rated: pd.DataFrame) -> pd.DataFrame:
    facts = rated.groupby("member_id")["occurred_at"].min().reset_index()
    file = files.look_for(path, ("u.user", "u.user.zip")) if path.is_dir() else None
    if file is None:
        return facts
    people = _without_header(file, _USER, "|")
    born = dict(zip(people["user"], _YEAR - pd.to_numeric(people["age"]), strict=True))
    return facts.assign(birth_year=facts["member_id"].map(born))
