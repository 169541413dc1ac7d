"""Looks after what may change while the service runs, and swaps what decides as one value.

Catalogue, policy, experiments, switches, champions, products, keys and the online store are looked at five times a
second. What cannot be used is refused and named; the last good one goes on deciding.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import orjson

from features import online
from features.entities import Budget
from features.identity import LINKS
from features.learned import tier_outcome
from features.ledger import outlook
from features.workspace import Workspace
from serving import access, bundles, cards, products, rulebook
from serving.access import Keys, KeysError
from serving.champions import Champions
from serving.present import Present
from serving.problems import refuse
from serving.products import AssortmentError, Products
from serving.rulebook import Controls, Rulebook, RulebookError
from serving.tickets import AwayError, JournalError

EVERY_S = 0.2

Mark = tuple[tuple[str, int, int, int], ...]


class Watch:
    """What decides right now, kept up to date by a thread of its own."""

    def __init__(self, ws: Workspace, *, open_door: bool = False) -> None:
        self._ws = ws
        self._open_door = open_door
        self._marks: dict[str, Mark] = {}
        self._present: Present | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.keys = Keys(open_door=open_door)
        self.offset = 0.0
        """Programme clock minus real time, seconds."""
        self.faults: dict[str, tuple[str, ...]] = {}
        """What was refused at the last look: source → sentences."""
        self.swaps = 0
        self.spent_out: Callable[[tuple[Budget, ...]], frozenset[str]] | None = None
        """Says which budgets have nothing left; None where nobody keeps them."""

    def start(self) -> None:
        """Look once, then go on looking."""
        self.look()
        self._thread = threading.Thread(target=self._go_on, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def present(self) -> Present:
        """What decides right now.

        Raises:
            RefusedError: 503 while nothing that could decide was ever read.
        """
        if self._present is None:
            why = "; ".join(self.faults.get("rulebook", ("the first look is not over",)))
            raise refuse(503, f"there is nothing to decide with yet: {why}", retry_after="1")
        return self._present

    @property
    def ready(self) -> bool:
        """Whether decisions can be made."""
        return self._present is not None

    def _go_on(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Take up whatever has changed since the last look."""
        ws = self._ws
        self._when("clock", (ws.clock,), self._take_clock)
        self._when("keys", (ws.keys,), self._take_keys)
        self._when("rulebook", (ws.catalog, ws.policy, ws.experiments), self._take_rulebook)
        if self._present is None:
            return
        self._when("controls", (ws.controls,), self._take_controls)
        self._when("online", (ws.online, ws.config_folder / "feature_store.yaml"), self._take_online)
        self._when("products", (ws.tables / "products.parquet", ws.assortment), self._take_products)
        self._when("cards", (ws.tables / LINKS,), self._take_cards)
        self._when("champions", (ws.champions,), self._take_champions)
        self._when("prices", (ws.prices,), self._take_prices)
        self._when("liability", (ws.liability, ws.catalog), self._take_liability)
        self._when("tiers", (ws.tier_outcome,), self._take_tiers)
        self._take_budgets()

    def _when(self, source: str, paths: tuple[Path, ...], take: Callable[[], tuple[str, ...]]) -> None:
        try:
            mark = tuple(_marks(paths, whole=source != "online"))
            if self._marks.get(source) == mark:
                return
            faults = take()
            self._marks[source] = mark
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the last good one goes on
            faults = (f"{type(error).__name__}: {error}",)
            self._marks.pop(source, None)  # it is tried again at the next look
        self.faults = {name: kept for name, kept in self.faults.items() if name != source}
        if faults:
            self.faults[source] = faults

    def _swap(
        self,
        rulebook: Rulebook | None = None,
        champions: Champions | None = None,
        controls: Controls | None = None,
        products: Products | None = None,
    ) -> None:
        now = self._present
        if now is None:
            now = Present(rulebook) if rulebook else None
        else:
            now = replace(
                now,
                rulebook=rulebook or now.rulebook,
                champions=champions or now.champions,
                controls=controls or now.controls,
                products=products or now.products,
            )
        self._present = now
        self.swaps += 1

    def _take_clock(self) -> tuple[str, ...]:
        if not self._ws.clock.exists():
            self.offset = 0.0
            return ()
        try:
            self.offset = float(orjson.loads(self._ws.clock.read_bytes())["offset_seconds"])
        except (ValueError, KeyError, TypeError) as error:
            return (f"{self._ws.clock.name}: {error}; the clock stays where it was",)
        return ()

    def _take_keys(self) -> tuple[str, ...]:
        try:
            self.keys = replace(access.read(self._ws.keys), open_door=self._open_door)
        except KeysError as error:
            return (str(error),)
        return ()

    def _take_rulebook(self) -> tuple[str, ...]:
        try:
            book = rulebook.load(self._ws, self._present.rulebook if self._present else None)
        except RulebookError as error:
            return error.errors
        before = self._present.rulebook.finish.names if self._present else book.finish.names
        self._swap(rulebook=book)
        if before == book.finish.names:
            return ()
        taken, faults = bundles.take_up(self._ws, book.finish.names, Champions())
        self._swap(champions=taken)
        return tuple(faults)

    def _take_controls(self) -> tuple[str, ...]:
        try:
            self._swap(controls=rulebook.controls(self._ws.controls))
        except RulebookError as error:
            return error.errors
        return ()

    def _take_online(self) -> tuple[str, ...]:
        rows = online.reader(self._ws)
        self._present = replace(self.present(), rows=rows)
        return () if rows is not None else ("there is no online store yet; run `tessera features`",)

    def _take_products(self) -> tuple[str, ...]:
        try:
            self._swap(products=products.read(self._ws.tables, self._ws.assortment))
        except AssortmentError as error:
            return (str(error),)
        return ()

    def _take_cards(self) -> tuple[str, ...]:
        self._present = replace(self.present(), cards=cards.read(self._ws.tables))
        return ()

    def _take_prices(self) -> tuple[str, ...]:
        """Shadow prices as they were solved last; without the file every price is 0."""
        now, path = self.present(), self._ws.prices
        found = orjson.loads(path.read_bytes())["prices"] if path.exists() else {}
        if not all(isinstance(one, int | float) and 0 <= one < 1e9 for one in found.values()):
            return (f"{path.name}: a price is no number from 0; solve them anew",)
        self._present = replace(now, prices={str(name): float(one) for name, one in found.items()})
        return ()

    def _take_liability(self) -> tuple[str, ...]:
        """How likely points are redeemed, as it was estimated last; without the file the programme's constant holds."""
        now, path = self.present(), self._ws.liability
        life = now.rulebook.catalog.programme.points.expiry_days
        model = outlook.from_json(path.read_bytes())[0] if path.exists() else None
        found = None if model is None else outlook.fresh_shares(model, life)
        self._present = replace(now, fresh_points=found, redemption=model)
        return ()

    def _take_tiers(self) -> tuple[str, ...]:
        """The forecast of tiers, as it was fitted last; without the file no chances are told."""
        path = self._ws.tier_outcome
        found = tier_outcome.from_json(path.read_bytes()) if path.exists() else None
        self._present = replace(self.present(), tier_outcome=found)
        return ()

    def _take_budgets(self) -> None:
        now = self.present()
        if self.spent_out is None:
            return
        try:
            found, away = self.spent_out(now.rulebook.catalog.budgets), False
        except AwayError:
            found, away = frozenset(one.id for one in now.rulebook.catalog.budgets), True
        except JournalError:
            return  # what is known goes on; nothing can be reserved beyond it anyway
        if (found, away) != (now.spent_out, now.budgets_away):
            self._present = replace(now, spent_out=found, budgets_away=away)

    def _take_champions(self) -> tuple[str, ...]:
        now = self.present()
        taken, faults = bundles.take_up(self._ws, now.rulebook.finish.names, now.champions)
        self._swap(champions=taken)
        return tuple(faults)


def _marks(paths: tuple[Path, ...], *, whole: bool) -> Iterator[tuple[str, int, int, int]]:
    """Name, inode, size and time of every file; of the online store only which file it is."""
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else (path,):
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            yield (file.name, stat.st_ino, stat.st_size if whole else 0, stat.st_mtime_ns if whole else 0)


def sentences(faults: Mapping[str, tuple[str, ...]]) -> list[str]:
    """All faults in one list, each with its source."""
    return [f"{source}: {sentence}" for source, found in sorted(faults.items()) for sentence in found]
