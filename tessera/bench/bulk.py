"""Lists for everybody: members per second beside implicit and LightFM, on the same vectors, checked in 64 bits."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from features.learned import Histories
from features.learned.bulk import nearest

MEMBERS, PRODUCTS, DIMENSIONS, K = 20_000, 20_000, 64, 10
CHECKED = 1_000
"""So many members' lists are compared with brute force."""
ONE_BY_ONE = 200
"""So many members are asked where every call is about one."""
TIMES = 3
"""The best of so many runs counts."""
_KINDS = 200
_BOUGHT = 30
_SEED = 1

Places = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Vectors of both sides, and what each member has bought."""

    name: str
    products: NDArray[np.float32]
    members: NDArray[np.float32]
    bought: sp.csr_matrix

    @property
    def histories(self) -> Histories:
        """What was bought, as our side asks for it."""
        bought = self.bought
        moments = np.zeros(bought.nnz)
        return Histories(bought.shape[1], bought.indptr.astype(np.int64), bought.indices, bought.data, moments)


@dataclass(frozen=True, slots=True)
class Timed:
    """One way of making lists, on one ground."""

    ground: str
    filtered: bool
    who: str
    per_second: float
    """Members per second of wall time."""
    cpu_us: float
    """Processor time for a member, microseconds, over all threads."""
    same: float
    """Share of the checked lists that are those of brute force, product by product; NaN where it makes no lists."""


def run(members: int = MEMBERS, products: int = PRODUCTS, dimensions: int = DIMENSIONS) -> None:
    """Time everybody on vectors learned from a history, and on random ones, and print a table."""
    console = Console()
    found: list[Timed] = []
    with threadpool_limits(limits=1, user_api="blas"):  # implicit asks for this; ours and LightFM need none
        for ground in grounds(members, products, dimensions):
            for filtered in (False, True):
                for timed in measure(ground, filtered=filtered):
                    found.append(timed)
                    console.print(f"  {timed.ground}, {timed.who}: {timed.per_second:,.0f} members a second")
    console.print(_table(found, products, dimensions))


def grounds(members: int, products: int, dimensions: int) -> Iterator[Ground]:
    """Vectors that implicit's least squares learns from a made-up history, and vectors of pure chance."""
    rng = np.random.default_rng(_SEED)
    bought = history(members, products, rng)
    learned = _implicit(dimensions)
    learned.fit(bought, show_progress=False)
    yield Ground("ALS", learned.item_factors, learned.user_factors, bought)
    chance = [rng.normal(size=(n, dimensions)).astype(np.float32) for n in (products, members)]
    yield Ground("random", chance[0], chance[1], bought)


def history(members: int, products: int, rng: np.random.Generator) -> sp.csr_matrix:
    """Purchases, (members, products): each member likes three kinds of products, and popular ones within each.

    A product's place in its kind has the chance 1/(place + 3), as in many shops.
    """
    size = max(products // _KINDS, 1)
    chances = np.cumsum(1.0 / (np.arange(size) + 3.0))
    likes = rng.integers(0, -(-products // size), (members, 3))
    kind = np.take_along_axis(likes, rng.integers(0, 3, (members, _BOUGHT)), axis=1)
    place = np.searchsorted(chances, rng.random((members, _BOUGHT)) * chances[-1])
    column = np.minimum(kind * size + place, products - 1)
    row = np.repeat(np.arange(members), _BOUGHT)
    ones = np.ones(row.size, np.float32)
    return sp.csr_matrix((ones, (row, column.ravel())), shape=(members, products))


def measure(ground: Ground, *, filtered: bool) -> Iterator[Timed]:
    """Time every way of making lists on this ground."""
    members = len(ground.members)
    rows = np.linspace(0, members - 1, min(CHECKED, members)).astype(np.intp)
    truth = brute(ground, rows, filtered=filtered)
    model, everybody, flat = _implicit(ground.products.shape[1]), np.arange(members), np.zeros(len(ground.products))
    model.item_factors, model.user_factors = ground.products, ground.members
    without = ground.histories if filtered else None

    def ours() -> Places:
        return nearest(ground.products, flat.astype(np.float32), ground.members, K, without).places

    def implicits() -> Places:
        found: Places = model.recommend(everybody, ground.bought, N=K, filter_already_liked_items=filtered)[0]
        return found

    for who, ask in (("Tessera", ours), ("implicit recommend", implicits)):
        wall, cpu, lists = _best_of(ask)
        same = float((lists[rows] == truth).all(axis=1).mean())
        yield Timed(ground.name, filtered, who, members / wall, cpu / members * 1e6, same)
    if not filtered:
        yield from _lightfm(ground, truth, rows)


def brute(ground: Ground, rows: NDArray[np.intp], *, filtered: bool) -> Places:
    """The best by scoring everything in 64 bits and sorting all of it, (len(rows), K)."""
    products = ground.products.astype(np.float64)
    lists = []
    for row in rows.tolist():
        scores = np.einsum("ij,j->i", products, ground.members[row].astype(np.float64))
        if filtered:
            scores[ground.bought[row].indices] = -np.inf
        lists.append(np.argsort(-scores, kind="stable")[:K])
    return np.stack(lists)


def _lightfm(ground: Ground, truth: Places, rows: NDArray[np.intp]) -> Iterator[Timed]:
    """`predict` for one member after the other and the best ten of that; `predict_rank` of one product for each."""
    from lightfm import LightFM

    model = LightFM(no_components=ground.products.shape[1])
    model.fit_partial(ground.bought, epochs=0)  # makes room for the vectors
    model.item_embeddings, model.user_embeddings = ground.products, ground.members
    model.item_biases = np.zeros(len(ground.products), np.float32)
    model.user_biases = np.zeros(len(ground.members), np.float32)
    asked = min(ONE_BY_ONE, len(rows))
    products = np.arange(len(ground.products))

    def predict() -> Places:
        lists = []
        for row in rows[:asked].tolist():
            scores = model.predict(row, products)
            near = np.argpartition(-scores, K)[:K]
            lists.append(near[np.argsort(-scores[near], kind="stable")])
        return np.stack(lists)

    one_each = sp.csr_matrix(
        (np.ones(asked, np.float32), (rows[:asked], truth[:asked, 0])), shape=ground.bought.shape, dtype=np.float32
    )
    wall, cpu, lists = _best_of(predict)
    same = float((lists == truth[:asked]).all(axis=1).mean())
    yield Timed(ground.name, False, "LightFM predict", asked / wall, cpu / asked * 1e6, same)
    wall, cpu, _ = _best_of(lambda: model.predict_rank(one_each, num_threads=2))
    yield Timed(ground.name, False, "LightFM predict_rank", asked / wall, cpu / asked * 1e6, float("nan"))


def _implicit(dimensions: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(factors=dimensions, iterations=8, random_state=_SEED)


def _best_of(ask: Callable[[], Any]) -> tuple[float, float, Any]:
    """The least wall and processor seconds of several runs, and what was found."""
    walls, cpus, found = [], [], None
    for _ in range(TIMES):
        wall, cpu = time.perf_counter(), time.process_time()
        found = ask()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus), found


def _table(found: list[Timed], products: int, dimensions: int) -> Table:
    table = Table(title=f"The best {K} of {products:,} products × {dimensions} dimensions")
    for column in ("vectors", "only new", "who", "members/s", "CPU µs", "Tessera is", "exact"):
        table.add_column(column, justify="left" if column in ("vectors", "who") else "right")
    ours = {(one.ground, one.filtered): one.per_second for one in found if one.who == "Tessera"}
    for one in found:
        table.add_row(
            one.ground,
            "yes" if one.filtered else "no",
            one.who,
            f"{one.per_second:,.0f}",
            f"{one.cpu_us:,.1f}",
            "" if one.who == "Tessera" else f"{ours[one.ground, one.filtered] / one.per_second:,.1f} ×",
            "" if np.isnan(one.same) else f"{one.same:.1%}",
        )
    table.caption = (
        f"best of {TIMES} runs each; exact: share of {CHECKED:,} lists that are those of 64-bit brute force; implicit "
        "and Tessera are asked for everybody at once, LightFM for one member after the other (predict_rank: for the "
        "rank of one product each); ALS: vectors learned from a made-up history, random: all of about the same length"
    )
    return table
