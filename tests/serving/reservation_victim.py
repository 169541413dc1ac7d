"""Reserves, redeems and gives back until it has done enough or is killed, and prints what was acknowledged.

`reservation_victim.py sqlite PATH SEED CLAIMS` runs eight clients of one journal; `postgres URL SEED CLAIMS` is one of
many processes. The clock of every client jumps forwards and back.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from serving.journal import DecisionRow, Journal
from serving.journal_rows import SettleRow
from serving.reservations.contract import Cap, Claim, Draw, Given, Hold, Settled, Swept

CLIENTS = 8
BATCH = 50
MEMBERS = 2_000
CAP = 3
WEEK_S = 7 * 86_400
STOCK = int(os.environ.get("TESSERA_STOCK", "250"))
QUOTA = STOCK * 6 // 5
"""Pieces and messages of a week."""
START_S = 20_000 * 86_400


class Store(Protocol):
    def reserve(self, claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]: ...
    def commit(self, reservation_id: str, at: int, given: Given) -> Settled: ...
    def release(self, reservation_id: str, at: int) -> Settled: ...
    def sweep(self, at: int) -> Swept: ...


class Client:
    """One client of a journal that others use too."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def reserve(self, claims: Sequence[Claim]) -> dict[str, tuple[str, ...]]:
        rows = [DecisionRow(one.decision_id, one.member_id, "offer", one.at, b"", claim=one) for one in claims]
        return {one.decision_id: one.refused for one in self._journal.append_decisions(rows) if one.how == "refused"}

    def commit(self, reservation_id: str, at: int, given: Given) -> Settled:
        found = self._journal.submit_settlement(SettleRow(reservation_id, "commit", at, given)).wait(60)
        assert isinstance(found, Settled)
        return found

    def release(self, reservation_id: str, at: int) -> Settled:
        found = self._journal.submit_settlement(SettleRow(reservation_id, "release", at)).wait(60)
        assert isinstance(found, Settled)
        return found

    def sweep(self, at: int) -> Swept:
        found = self._journal.submit_sweep(at).wait(60)
        assert isinstance(found, Swept)
        return found


def claim(name: str, seconds: int, rng: random.Random) -> Claim:
    """A gift of the stock, sent with a message of the week's quota, for a member who gets three a week at most."""
    member = f"m{rng.randrange(MEMBERS)}"
    week = seconds // WEEK_S * WEEK_S
    draws = (Draw("quota", week, QUOTA, 1, 0, "messages"), Draw("stock", week, STOCK, 0, 1, "units", 1))
    cap = Cap("gift", CAP, (seconds - WEEK_S) * 1_000_000)
    hold = Hold(f"r-{name}", "gift", (seconds + 86_400) * 1_000_000, draws, (cap,))
    return Claim(f"d-{name}", member, seconds * 1_000_000, (hold,))


def work(store: Store, who: str, claims: int) -> None:
    """Ask for so many claims; in between redeem, give back, and sweep."""
    rng = random.Random(who)
    seconds, mine, made = START_S, [""], 0
    while made < claims:
        seconds += rng.randrange(0, 20_000) + rng.choice([0] * 30 + [3_600, -3_600, 8 * 86_400, -8 * 86_400])
        batch = [claim(f"{who}-{made + n}", seconds, rng) for n in range(min(BATCH, claims - made))]
        made += len(batch)
        refused = store.reserve(batch)
        granted = [one.holds[0].reservation_id for one in batch if one.decision_id not in refused]
        say([f"asked {len(batch)}", *(f"granted {name}" for name in granted)])
        mine += granted
        settle(store, mine, seconds * 1_000_000, rng)
        if rng.random() < 0.1:
            store.sweep(seconds * 1_000_000)


def settle(store: Store, mine: list[str], at: int, rng: random.Random) -> None:
    """Redeem some of what is held, once or twice, and give some back."""
    for _ in range(min(len(mine) - 1, 3)):
        name = mine.pop(rng.randrange(1, len(mine)))
        if rng.random() < 0.5:
            found = [store.commit(name, at, Given()) for _ in range(rng.randrange(1, 3))][-1]
        else:
            found = store.release(name, at)
        say([f"{found.state} {name}"])


def say(lines: Sequence[str]) -> None:
    os.write(1, "".join(f"{line}\n" for line in lines).encode())


def main(kind: str, where: str, seed: str, claims: int) -> None:
    if kind == "postgres":
        from serving.reservations.postgres import opened

        with opened(where) as store:
            work(store, seed, claims)
        return
    journal = Journal(Path(where))
    parts = [(Client(journal), f"{seed}.{n}", claims // CLIENTS) for n in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=part) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
