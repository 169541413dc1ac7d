"""`tessera evaluate`: recipes side by side, as one table and one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich import box

from features.workspace import Workspace
from tessera.progress import Steps
from tessera.setup import RefusedError, needs_tables

if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluation.contest import Evaluation, Terms
    from training.protocols import Split

PICTURE, TABLE, LISTS = "evaluation.png", "evaluation.csv", "lists"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command asked for."""

    protocols: tuple[str, ...]
    recipes: tuple[str, ...]
    """Names; empty for all."""
    days: float
    share: float
    out: Path
    lists: bool = False
    """Whether the ranked lists are written too."""


def of_workspace(ws: Workspace, wanted: Wanted, terms: Terms, settings: Path | None) -> int:
    """Judge recipes on the history of a workspace, with the settings of its training.yaml (or of another file)."""
    from features import catalog, history
    from training.evaluation import groups
    from training.ledger import Ledger
    from training.protocols import by_name

    needs_tables(ws)
    steps = Steps()
    programme = catalog.load(ws.catalog).programme
    ledger, ends_at = Ledger.read(ws), history.ends_at(ws.tables)
    entrants = chosen(wanted.recipes, ws.training, settings)
    found = []
    for protocol in wanted.protocols:
        with steps.step(f"cut: {protocol}"):
            split = by_name(protocol, ledger, ends_at, days=wanted.days, share=wanted.share, seed=terms.seed)
            labels = groups.by_segment(ws, programme, split.before) if protocol == "time" else {}
        found.append(_judged(split, entrants, terms, labels, steps))
    return tell(found, wanted)


def of_files(
    train: Path, test: Path | None, columns: Mapping[str, str], wanted: Wanted, terms: Terms, settings: Path | None
) -> int:
    """Judge recipes on purchases in one file (cut by a protocol) or two (a split made elsewhere)."""
    from training.evaluation import given

    steps = Steps()
    entrants = chosen(wanted.recipes, settings)
    found = []
    for protocol in wanted.protocols if test is None else ("given",):
        with steps.step(f"read and cut: {protocol}"):
            split = given.cut(train, test, columns, protocol, days=wanted.days, share=wanted.share, seed=terms.seed)
        found.append(_judged(split, entrants, terms, {}, steps))
    return tell(found, wanted)


def chosen(names: Sequence[str], *settings: Path | None) -> dict[str, Mapping[str, Any]]:
    """Recipe → settings: those named, or all of ours and of the files; settings from `taste.recipes` of files.

    What a later file says of a recipe takes the place of what an earlier one says of it.

    Raises:
        RefusedError: The file is missing or no YAML, or settings stand in it for a recipe that is unknown.
    """
    from training import recipes

    written: dict[str, Mapping[str, Any]] = {}
    for file in settings:
        written |= _written(file)
    wanted = names or tuple(dict.fromkeys([*recipes.RECIPES, *written]))
    found: dict[str, Mapping[str, Any]] = {name: dict(written.get(name) or {}) for name in wanted}
    for name, given in found.items():
        recipes.config_from(name, given)
    return found


def columns_of(text: str | None) -> dict[str, str]:
    """`member=userId,product=itemId` as a mapping.

    Raises:
        RefusedError: A part has no `=`.
    """
    parts = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if wrong := [ours for ours, sign, theirs in parts if not sign or not theirs.strip()]:
        raise RefusedError(f'--columns: "{wrong[0]}" names no column; write member=userId,product=itemId')
    return {ours.strip(): theirs.strip() for ours, _, theirs in parts}


def _written(settings: Path | None) -> Mapping[str, Mapping[str, Any]]:
    if settings is None:
        return {}
    try:
        found = yaml.safe_load(settings.read_text(encoding="utf-8")) or {}
        return dict((found.get("taste") or {}).get("recipes") or {})
    except FileNotFoundError as missing:
        raise RefusedError(f"{settings}: there is no such file") from missing
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise RefusedError(f"{settings}: is no YAML with taste: recipes: in it: {error}") from error


def _judged(
    split: Split, entrants: Mapping[str, Mapping[str, Any]], terms: Terms, labels: Mapping[str, Any], steps: Steps
) -> Evaluation:
    from training.evaluation.contest import contest

    with steps.step(f"judge {len(entrants)} recipes: {split.protocol}"):
        return contest(split, entrants, terms, labels, progress=steps.note)


def tell(found: Sequence[Evaluation], wanted: Wanted) -> int:
    """Write one table and a picture for each protocol, print the part of it that is about everybody."""
    import pandas as pd
    from rich.console import Console

    console = Console()
    console.width = max(console.width, _WIDE)
    wanted.out.mkdir(parents=True, exist_ok=True)
    pd.concat([one.table for one in found], ignore_index=True).to_csv(wanted.out / TABLE, index=False)
    written = [TABLE]
    for one in found:
        print("\n".join(sentences(one)))
        for table in printed(one):
            console.print(table)
        print("\n".join([*(f"skipped: {name}: {reason}" for name, reason in one.skipped.items()), _NOTE]))
        name = PICTURE if len(found) == 1 else f"evaluation-{one.split.protocol}.png"
        one.picture(wanted.out / name)
        written.append(name)
        if wanted.lists:
            written += _lists(one, wanted.out)
    print(f"{', '.join(written)} in {wanted.out}")
    return 0


def _lists(one: Evaluation, out: Path) -> list[str]:
    names = []
    for recipe in (name for name, answer in one.asked.items() if not answer.skipped):
        for question in one.questions:
            names.append(f"{LISTS}-{one.split.protocol}-{question.part}-{recipe}.parquet")
            one.lists(recipe, question.part).to_parquet(out / names[-1], index=False)
    return names


def sentences(one: Evaluation) -> list[str]:
    """How the history was cut and who was judged, with the denominators."""
    counts, unknown = one.split.counts, one.split.counts["unknown_products_share"]
    said = [
        f"Protocol {one.split.protocol}: {one.split.said}.",
        (
            f"Learned from {counts['purchases_before']:,} purchases ({counts['pairs_before']:,} pairs of member and "
            f"product) of {counts['members']:,} members and {counts['products']:,} products; hidden are "
            f"{counts['pairs_asked']:,} pairs of {counts['members_asked']:,} members. Judged: {one.sampled}."
        ),
    ]
    if counts["unknown_members"] or unknown:
        said.append(
            f"Judged nowhere, for nobody could have known them: {counts['unknown_members']:,.0f} members who are new "
            f"after the cut, and {unknown:.1%} of the pairs, whose products are."
        )
    return said


def printed(one: Evaluation) -> Iterator[Table]:
    """The rows about everybody, with intervals, best first: a table for each part."""
    from rich.table import Table

    shown = one.table[(one.table["group"] == "everybody") & (one.table["skipped"] == "")]
    for part, rows in shown.groupby("part", sort=False):
        first = rows.iloc[0]
        title = (
            f"{part}: {first['members']:,.0f} members, {first['wanted']:,.0f} pairs hidden; lists of {one.terms.k}, "
        )
        table = Table(title=f"{title}{first['lists']}", title_justify="left", box=box.SIMPLE_HEAD)
        for head in _HEADS:
            table.add_column(head, justify="left" if head == "recipe" else "right", no_wrap=True)
        for row in rows.to_dict("records"):
            table.add_row(*_cells(row))
        yield table


_HEADS = (
    "recipe",
    "NDCG",
    "over popularity",
    "over the best other",
    *("recall", "prec.", "MAP", "MRR", "hit rate", "cover.", "novelty", "fit s", "lists s"),
)
_WIDE = 200
_NOTE = "[low, high]: 95 % intervals over members, paired where recipes are compared; seconds are of processor time."


def _cells(row: Mapping[Any, Any]) -> list[str]:
    def between(name: str, sign: str = "") -> str:
        value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
        return "" if value != value else f"{value:{sign}.4f} \\[{low:{sign}.4f}, {high:{sign}.4f}]"

    plain = [f"{row[name]:.4f}" for name in ("recall", "precision", "map", "mrr", "hit_rate", "coverage")]
    rest = [f"{row['novelty']:.2f}", f"{row['fit_seconds']:.2f}", f"{row['answer_seconds']:.2f}"]
    return [str(row["recipe"]), between("ndcg"), between("gain", "+"), between("lead", "+"), *plain, *rest]
