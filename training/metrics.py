"""How good a ranking or a probability is. Every denominator is said in the docstring.

Rankings are judged for each member who bought something after the cut; the figures are per member, so that they can be
averaged, paired and resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and the range that holds the truth in `level` of all samples."""

    value: float
    low: float
    high: float


def hits(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> NDArray[np.bool_]:
    """Whether the product at each rank was bought.

    Args:
        ranked: (n, k): positions of products, best first; −1 where the list was shorter.
        relevant: (n, n_products): non-zero where the member bought it afterwards.

    Returns:
        (n, k)
    """
    found = np.zeros(ranked.shape, bool)
    rows, ranks = np.nonzero(ranked >= 0)
    found[rows, ranks] = np.asarray(relevant[rows, ranked[rows, ranks]]).ravel() != 0
    return found


def _wanted(relevant: sp.csr_matrix) -> NDArray[np.int64]:
    wanted = np.asarray(relevant.getnnz(axis=1), np.int64)
    if (wanted == 0).any():
        raise ValueError(f"{(wanted == 0).sum()} members bought nothing; leave them out before judging rankings")
    return wanted


def ndcg(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """Normalised discounted cumulative gain at k, (n,): Σ hit/log₂(rank+1) ÷ that of the best list possible.

    The best list has min(k, number bought) hits at the top. Järvelin & Kekäläinen 2002.
    """
    discount = 1.0 / np.log2(np.arange(2, ranked.shape[1] + 2))
    best = np.cumsum(discount)[np.minimum(_wanted(relevant), ranked.shape[1]) - 1]
    share: Values = hits(ranked, relevant) @ discount / best
    return share


def recall(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """Hits ÷ all the member bought (not min(k, …)), (n,): below 1 for whoever bought more than k products."""
    share: Values = hits(ranked, relevant).sum(axis=1) / _wanted(relevant)
    return share


def average_precision_at_k(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """Σ over the hits of precision at their rank ÷ min(k, number bought), (n,); its mean is MAP@k."""
    found = hits(ranked, relevant)
    precision = np.cumsum(found, axis=1) / np.arange(1, ranked.shape[1] + 1)
    total: Values = (precision * found).sum(axis=1)
    return total / np.minimum(_wanted(relevant), ranked.shape[1])


def precision(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """Hits ÷ k, (n,), also where the list was shorter than k."""
    share: Values = hits(ranked, relevant).sum(axis=1) / ranked.shape[1]
    return share


def reciprocal_rank(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """1 ÷ rank of the first hit, 0 without one, (n,); its mean is MRR@k."""
    found = hits(ranked, relevant)
    rank = 1.0 + found.argmax(axis=1)
    return np.where(found.any(axis=1), 1.0 / rank, 0.0)


def hit(ranked: NDArray[np.integer], relevant: sp.csr_matrix) -> Values:
    """1 where the list has any hit, (n,); its mean is the hit rate at k."""
    return np.where(hits(ranked, relevant).any(axis=1), 1.0, 0.0)


def self_information(buyers: NDArray[np.integer], members: int) -> Values:
    """How many bits it says of a product that somebody bought it, (n_products,): −log₂(buyers ÷ members).

    Products nobody bought count as bought by half a member. Vargas & Castells 2011, self-information.
    """
    return np.asarray(-np.log2(np.maximum(buyers, 0.5) / max(members, 1)), np.float64)


def mean_of_listed(ranked: NDArray[np.integer], value: Values) -> Values:
    """Mean of `value` (n_products,) over the products of each list, (n,); NaN for an empty one."""
    listed = ranked >= 0
    mean = np.full(len(ranked), np.nan)
    some = listed.any(axis=1)
    total = np.where(listed, value[np.maximum(ranked, 0)], 0.0).sum(axis=1)
    mean[some] = total[some] / listed[some].sum(axis=1)
    return mean


def coverage(ranked: NDArray[np.integer], n_products: int) -> float:
    """Distinct products in all lists ÷ all products known at the cut."""
    return len(np.unique(ranked[ranked >= 0])) / n_products if n_products else float("nan")


def _both_labels(label: Values) -> bool:
    return bool(label.size) and 0 < label.mean() < 1


def _vector(values: object) -> Values:
    return np.asarray(values, np.float64)


def auc(label: object, score: object) -> float:
    """Chance that a 1 scores above a 0, ties counting half; NaN unless both labels occur.

    >>> auc([0, 1, 1, 0], [0.1, 0.4, 0.1, 0.1])
    0.75
    """
    label, score = _vector(label), _vector(score)
    if not _both_labels(label):
        return float("nan")
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    ones = label.sum()
    return float((rank[label == 1].sum() - ones * (ones + 1) / 2) / (ones * (label.size - ones)))


def average_precision(label: object, score: object) -> float:
    """Σ over distinct scores, highest first, of the gain in recall × precision there; NaN without a 1."""
    label, score = _vector(label), _vector(score)
    if not label.sum():
        return float("nan")
    distinct, place, count = np.unique(-score, return_inverse=True, return_counts=True)
    ones = np.bincount(place, weights=label, minlength=distinct.size)
    precision = np.cumsum(ones) / np.cumsum(count)
    return float((precision * ones).sum() / label.sum())


def brier_skill(label: object, chance: object, reference: float | None = None) -> float:
    """1 − Brier score ÷ that of always saying `reference`; by default the share of ones among `label` itself.

    0 is no better than that, 1 is perfect. NaN if the reference is never wrong.
    """
    label, chance = _vector(label), _vector(chance)
    base = float(label.mean()) if reference is None else reference
    worst = float(((label - base) ** 2).mean())
    return float(1.0 - ((label - chance) ** 2).mean() / worst) if worst > 0 else float("nan")


def calibration_line(label: object, chance: object) -> tuple[float, float]:
    """Slope and intercept of the logistic regression of `label` on logit(`chance`); (1, 0) is perfectly calibrated.

    A slope below 1 means that the chances are too extreme. NaN where it cannot be drawn. Cox 1958.
    """
    label, chance = _vector(label), np.clip(_vector(chance), 1e-9, 1 - 1e-9)
    logit = np.log(chance / (1 - chance))
    if not _both_labels(label) or np.ptp(logit) == 0:
        return float("nan"), float("nan")
    terms = np.stack([logit, np.ones_like(logit)], axis=1)
    line = np.array([1.0, 0.0])
    for _ in range(100):
        said = 1.0 / (1.0 + np.exp(-np.clip(terms @ line, -30, 30)))
        curve = (terms.T * (said * (1 - said))) @ terms + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, terms.T @ (label - said))
        line = line + step * min(1.0, 1.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(line[0]), float(line[1])


def calibration_slope(label: object, chance: object) -> float:
    """The slope of `calibration_line`."""
    return calibration_line(label, chance)[0]


def expected_calibration_error(label: object, chance: object, bins: int = 10) -> float:
    """Mean |share of ones − mean chance| over bins of equal size by chance, weighted by their size.

    Equal chances stay in one bin, so that there may be fewer bins than asked for.
    """
    label, chance = _vector(label), _vector(chance)
    if not label.size:
        return float("nan")
    edges = np.unique(np.quantile(chance, np.arange(1, bins) / bins))
    bin_of = np.searchsorted(edges, chance, side="left")
    gap = np.bincount(bin_of, weights=label, minlength=bins) - np.bincount(bin_of, weights=chance, minlength=bins)
    return float(np.abs(gap).sum() / label.size)


def mean_interval(values: Values, rng: np.random.Generator, draws: int = 1000, level: float = 0.95) -> Interval:
    """Mean of per-member figures with a percentile bootstrap over members, (n,) → `Interval`; NaN without members."""
    n = values.size
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    means = np.empty(draws)
    for draw in range(draws):
        means[draw] = values[rng.integers(n, size=n)].mean()
    return _interval(float(values.mean()), means, level)


def metric_interval(
    metric: Callable[[Values, Values], float],
    label: object,
    score: object,
    rng: np.random.Generator,
    draws: int = 300,
    level: float = 0.95,
) -> Interval:
    """`metric(label, score)` with a percentile bootstrap over rows; draws in which it is NaN are left out."""
    label, score = _vector(label), _vector(score)
    picks = (rng.integers(label.size, size=label.size) for _ in range(draws))
    return _interval(metric(label, score), np.array([metric(label[pick], score[pick]) for pick in picks]), level)


def difference_interval(
    metric: Callable[[Values, Values], float],
    label: object,
    score: object,
    other: object,
    rng: np.random.Generator,
    draws: int = 300,
    level: float = 0.95,
) -> Interval:
    """`metric` of `score` − `metric` of `other` on the same rows, resampled together."""
    label, pair = _vector(label), np.stack([_vector(score), _vector(other)], axis=1)

    def gap(labels: Values, scores: Values) -> float:
        return metric(labels, scores[:, 0]) - metric(labels, scores[:, 1])

    return metric_interval(gap, label, pair, rng, draws, level)


def _interval(value: float, drawn: Values, level: float) -> Interval:
    drawn = drawn[~np.isnan(drawn)]
    if not drawn.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
