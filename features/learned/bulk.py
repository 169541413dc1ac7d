"""The best products for many members at once, exactly: lists for everybody."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.factors import Factors
from features.learned.folding import vectors_of
from features.learned.histories import Histories, score_many
from features.learned.pruned import BLOCK, best, excluded, space
from features.learned.ranking import top_k_rows
from features.learned.shelf import FIRST, SLICE, shelve

_NUMBERS = 2_000_000
"""So many scores are held at a time by each thread, where all of them are worked out."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """The best products of many members, best first; of equal scores the lower place comes first."""

    places: NDArray[np.int32]
    """(n_members, k): positions in the form's `product_ids`; −1 where a list is shorter."""
    scores: NDArray[np.float64]
    """(n_members, k): NaN where a list is shorter."""


def best_many(
    form: Any,
    histories: Histories,
    at: float,
    k: int,
    *,
    only_new: bool = False,
    allowed: NDArray[np.bool_] | None = None,
    threads: int | None = None,
) -> Lists:
    """The best `k` products for each member.

    Factors are searched without scoring everything; the answer is that of 64-bit scores. All other forms are asked
    through `score_many` in parts, and the answer is the best of what they say. Memory beside the lists and the members'
    vectors stays below about 100 MB a thread.

    Args:
        form: Any form that scores products.
        histories: The members.
        at: Epoch seconds.
        k: Length of the lists, above 0.
        only_new: Leave out what a member has bought.
        allowed: (n_products,): what may be named at all; None allows all.
        threads: Blocks of members worked on at the same time; None takes every core. The answer does not hang on it.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        if isinstance(form, Factors):
            return _of_factors(form, histories, at, k, only_new, allowed, threads)
        part = max(_NUMBERS // max(histories.n_products, 1), 1)
        return _together(
            len(histories),
            part,
            k,
            lambda begin, end: _of_any(form, histories.part(begin, end), at, k, only_new, allowed),
            threads,
        )


def _of_any(
    form: Any, histories: Histories, at: float, k: int, only_new: bool, allowed: NDArray[np.bool_] | None
) -> Lists:
    scores = score_many(form, histories, at)
    if only_new or allowed is not None:
        scores = scores.copy() if scores.dtype.kind == "f" else scores.astype(np.float64)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    if only_new:
        scores[histories.row, histories.product_index] = -np.inf
    places = top_k_rows(scores, k)
    found = np.take_along_axis(scores, np.maximum(places, 0), axis=1).astype(np.float64)
    return Lists(places, np.where(places < 0, np.nan, found))


def _of_factors(
    form: Factors,
    histories: Histories,
    at: float,
    k: int,
    only_new: bool,
    allowed: NDArray[np.bool_] | None,
    threads: int | None,
) -> Lists:
    """Members with a vector by vectors; all others by popularity, as vectors of one number."""
    vectors = form.checked(vectors_of(form, histories, at))
    nobody = np.isnan(vectors[:, 0])
    whom = np.flatnonzero(~nobody)
    found = Lists(np.full((len(histories), k), -1, np.int32), np.full((len(histories), k), np.nan))
    one = np.ones((1, 1), np.float32)
    flat = np.zeros(len(form.popularity), np.float32)
    for rows, products, biases, members in (
        (whom, form.vectors, form.biases, vectors),
        (np.flatnonzero(nobody), form.popularity[:, None], flat, np.broadcast_to(one, (len(histories), 1))),
    ):
        lists = nearest(products, biases, members, k, histories if only_new else None, allowed, threads, rows)
        found.places[rows], found.scores[rows] = lists.places, lists.scores
    return found


def nearest(
    products: NDArray[np.float32],
    biases: NDArray[np.float32],
    members: NDArray[np.float32],
    k: int,
    bought: Histories | None = None,
    allowed: NDArray[np.bool_] | None = None,
    threads: int | None = None,
    rows: NDArray[np.intp] | None = None,
) -> Lists:
    """The products with the highest product of vectors plus bias, for these members (all if `rows` is None).

    Args:
        products: (n_products, k)
        biases: (n_products,)
        members: (n_members, k)
        k: Length of the lists, above 0.
        bought: What the members in the same rows are not to get; None leaves nothing out.
        allowed: (n_products,): what may be named at all.
        threads: See `best_many`.
        rows: Rows of `members` and `bought`.
    """
    rows = np.arange(len(members)) if rows is None else rows
    lengths = np.linalg.norm(members[rows].astype(np.float64), axis=1)
    shelf = shelve(products, biases, lengths[np.isfinite(lengths)], allowed, max(FIRST, -(-8 * k // SLICE) * SLICE))

    own = threading.local()

    def block(begin: int, end: int) -> Lists:
        part = rows[begin:end]
        if not hasattr(own, "scratch"):
            own.scratch = space(shelf)
        without = excluded(shelf, *_bought(bought, part))
        return Lists(*best(shelf, np.ascontiguousarray(members[part]), k, without, own.scratch))

    return _together(len(rows), BLOCK, k, block, threads)


def _bought(histories: Histories | None, rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Pairs of a position in `rows` and what that member bought."""
    if histories is None:
        return np.empty(0, np.intp), np.empty(0, np.int32)
    sizes = np.diff(histories.starts)[rows]
    row = np.repeat(np.arange(len(rows)), sizes)
    within = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, histories.product_index[histories.starts[rows][row] + within]


def _together(n: int, part: int, k: int, block: Callable[[int, int], Lists], threads: int | None) -> Lists:
    """The blocks of `n` members side by side, in order."""
    edges = [*range(0, n, part), n]
    workers = threads or os.cpu_count() or 1
    lists = Lists(np.full((n, k), -1, np.int32), np.full((n, k), np.nan))
    for begin, found in _each(edges, block, workers):
        lists.places[begin : begin + part], lists.scores[begin : begin + part] = found.places, found.scores
    return lists


def _each(edges: list[int], block: Callable[[int, int], Lists], workers: int) -> Iterator[tuple[int, Lists]]:
    if workers == 1 or len(edges) <= 2:
        for begin, end in pairwise(edges):
            yield begin, block(begin, end)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(edges[:-1], pool.map(block, edges[:-1], edges[1:]), strict=True)
