"""Points in the books: how a sale is shared between goods and points, and when the points' part becomes revenue.

IFRS 15: points that customers would not get without buying are a performance obligation of their own (B39–B41). The
price is allocated by relative stand-alone prices (76–80), and the points' part is revenue in proportion to the points
redeemed out of those expected to be redeemed (B44–B46; Example 52). A changed expectation is caught up at once.
"""

from __future__ import annotations


def allocated_to_points(sales: float, standalone_points: float) -> float:
    """The part of a price that belongs to the points given with it: `sales · s / (sales + s)`.

    Args:
        sales: What was paid; it is the stand-alone price of the goods.
        standalone_points: s, what the points would be sold for: points × value of one × expected share redeemed.

    >>> round(allocated_to_points(100_000, 10_000 * 0.95))
    8676
    """
    if sales < 0 or standalone_points < 0:
        raise ValueError(f"sales {sales:g} and stand-alone price {standalone_points:g} must be at least 0")
    return sales * standalone_points / (sales + standalone_points) if standalone_points else 0.0


def recognised(allocated: float, redeemed: float, expected: float) -> float:
    """Revenue to date of what was allocated to points: `allocated · redeemed / expected`, and never more than all.

    Args:
        allocated: What the sales gave to the points.
        redeemed: Points redeemed to date.
        expected: Points that will ever be redeemed, as expected now; those redeemed are among them.
    """
    if redeemed < 0 or expected < redeemed:
        raise ValueError(
            f"expected {expected:g} points to be redeemed in all, of which {redeemed:g} were already: the expectation "
            "includes what was redeemed, so it cannot be smaller"
        )
    return allocated * redeemed / expected if redeemed else 0.0


def revenue(allocated: float, redeemed: float, expected: float, before: float = 0.0) -> float:
    """Revenue of this period: what is recognised to date less what was `before`; a lower expectation catches up.

    >>> first = revenue(9_000, 4_500, 9_700)
    >>> round(first), round(revenue(9_000, 8_500, 9_900, first)), round(revenue(9_000, 8_500, 9_200, first))
    (4175, 3552, 4140)
    """
    return recognised(allocated, redeemed, expected) - before
