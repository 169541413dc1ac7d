"""How often budgets are overspent under the quantile rule, beside what it promises.

`python -m tessera.bench.overspend` plays 20,000 periods of each kind of budget. More is asked for than there is; each
grant is redeemed with its probability some time before its validity ends, and what is not frees its part again. The
rule sees the expected response, which in some kinds is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from serving.budget_use import BASKET_SPREAD, Use
from serving.holding import SPREADS
from serving.reservations.contract import quantile

PERIODS = 20_000
PROMISED = 0.001
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of budget: what is asked of it, and how the asked responds."""

    name: str
    amount: float
    faces: tuple[float, ...]
    chances: tuple[float, float]
    """Expected response, drawn evenly between the two."""
    requests: int
    validity: int
    """Requests that come while one grant is open."""
    spread: float = 0.0
    """Standard deviation of what a redemption takes, over its mean."""
    truth: float = 1.0
    """True response over the expected one."""
    safety: float = 1.0
    """The factor that the budget has learned so far."""


KINDS = (
    Kind("a campaign, all at once: 100 for 5 each", 100, (5,), (0.05, 0.2), 400, 10_000),
    Kind("a campaign, all at once: 2,000 for 2 to 40", 2000, (2, 5, 12, 40), (0.02, 0.3), 2500, 10_000),
    Kind("a stream: 100 for 10 each", 100, (10,), (0.05, 0.3), 400, 60),
    Kind("a stream: 500 for 2 to 40", 500, (2, 5, 12, 40), (0.02, 0.3), 1500, 200),
    Kind("a stream: 2,000 for 5 each", 2000, (5,), (0.05, 0.2), 6000, 800),
    Kind("a stream: 500, a share of the basket", 500, (4,), (0.05, 0.2), 2000, 300, BASKET_SPREAD),
    Kind("responses 30 % above the expected", 500, (2, 5, 12, 40), (0.02, 0.3), 1500, 200, truth=1.3),
    Kind("the same, once that was learned", 500, (2, 5, 12, 40), (0.02, 0.3), 1500, 200, truth=1.3, safety=1.3),
    Kind("responses 30 % below the expected", 500, (2, 5, 12, 40), (0.02, 0.3), 1500, 200, truth=0.7),
)


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the periods of a kind."""

    overspent: int
    periods: int
    worst: float
    """Largest spend over the amount."""
    used: float
    """Mean spend over the amount."""

    def interval(self) -> tuple[float, float]:
        """95 % interval of the frequency (Clopper & Pearson 1934)."""
        n, k = self.periods, self.overspent
        low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
        return low, float(beta.ppf(0.975, k + 1, n - k))


def play(kind: Kind, periods: int, seed: int, promised: float = PROMISED) -> Played:
    """Play `periods` periods of a kind beside each other."""
    rng = np.random.default_rng(seed)
    z = NormalDist().inv_cdf(1.0 - promised)
    spent = np.zeros(periods)
    held = np.zeros((4, periods))  # mean, variance, third moment and face value of what is open
    due: dict[int, list[tuple[NDArray[np.intp], Floats, Floats]]] = {}
    for step in range(kind.requests + min(kind.validity, kind.requests) + 1):
        for rows, freed, taken in due.pop(step, ()):
            held[:, rows] -= freed
            spent[rows] += taken
        if step >= kind.requests:
            continue
        parts, face, chance = _asked(kind, rng, periods)
        after = np.maximum(held + parts, 0.0)
        mean, variance, third = after[:3] * kind.safety
        reserve = np.minimum(after[3], quantile(mean, np.maximum(variance, 1e-9), third, z))
        rows = np.flatnonzero(spent + reserve <= kind.amount)
        held[:, rows] += parts[:, rows]
        _promise(kind, rng, due, step, rows, parts[:, rows], face[rows], chance[rows])
    over = spent > kind.amount + 1e-9
    return Played(int(over.sum()), periods, float((spent / kind.amount).max()), float(spent.mean() / kind.amount))


def _asked(kind: Kind, rng: np.random.Generator, periods: int) -> tuple[Floats, Floats, Floats]:
    face = rng.choice(kind.faces, periods).astype(np.float64)
    chance = rng.uniform(*kind.chances, periods)
    spread = face * kind.spread
    use = Use(0.0, face, chance, spread, 2.0 * kind.spread * spread**3)  # type: ignore[arg-type]
    parts = np.stack([use.expected, use.variance, use.third, face + SPREADS * spread])
    return parts, face, chance


def _promise(
    kind: Kind, rng: np.random.Generator, due: dict[int, list[tuple[NDArray[np.intp], Floats, Floats]]],
    step: int, rows: NDArray[np.intp], parts: Floats, face: Floats, chance: Floats,
) -> None:  # fmt: skip
    """Draw what becomes of what was granted: redeemed at some time of its validity, or free again at its end."""
    redeemed = rng.random(len(rows)) < np.minimum(chance * kind.truth, 1.0)
    took = face.copy()
    if kind.spread:
        shape = 1.0 / kind.spread**2
        took = face * rng.gamma(shape, 1.0 / shape, len(rows))
    length = min(kind.validity, kind.requests)
    when = step + (length if kind.validity > kind.requests else rng.integers(1, length + 1))
    for hit, at in ((redeemed, int(when)), (~redeemed, step + length)):
        if hit.any():
            due.setdefault(at, []).append((rows[hit], parts[:, hit], took[hit] if hit is redeemed else 0 * took[hit]))


def main() -> None:
    """Print the table."""
    print(f"{PERIODS:,} periods of each kind; promised: overspent in at most {PROMISED:.1%} of them")
    print(f"{'kind':<46}{'overspent':>11}{'95 % interval':>20}{'worst':>8}{'spent':>8}")
    for seed, kind in enumerate(KINDS):
        found = play(kind, PERIODS, seed)
        low, high = found.interval()
        share = found.overspent / found.periods
        print(f"{kind.name:<46}{share:>11.3%}{f'{low:.3%} to {high:.3%}':>20}{found.worst:>8.3f}{found.used:>8.1%}")


if __name__ == "__main__":
    main()
