"""What every budget has left, printed."""

from __future__ import annotations

import secrets
from contextlib import closing

from features.workspace import Workspace
from serving.house import open_house
from serving.spending_endpoints import lines
from tessera import options

_UNITS = {"points": "points", "messages": "messages", "units": "pieces"}


def run(ws: Workspace) -> int:
    """Print the budgets as `GET /v1/budgets` gives them.

    Returns:
        0; 1 where the catalogue has none.
    """
    with closing(open_house(ws, secrets.token_bytes, open_door=True, reservations=options.reservations())) as house:
        currency = house.watch.present().rulebook.catalog.programme.currency
        found = lines(house)
    if not found:
        print(f"There are no budgets; write them into {ws.catalog / 'budgets.yaml'}.")
        return 1
    amounts = "".join(f"{name:>12}" for name in ("spent", "reserved", "left", "one more"))
    print(f"{'budget':<20}{'amount':>14}{amounts}  until, and what is promised")
    for one in found:
        unit = _UNITS.get(one["unit"], currency)
        renewed = f"full again {one['full_again'][:10]}" if one["full_again"] else "does not renew"
        promise = "never over" if one["hard"] else f"over in at most {one['overspend']:.3%} of periods"
        if not one["live"]:
            renewed = "outside its dates"
        amounts = "".join(f"{one[name]:>12,.2f}" for name in ("spent", "reserved", "left"))
        print(f"{one['id']:<20}{one['amount']:>14,.0f}{amounts}{one['price']:>12,.4f}  {unit}; {renewed}; {promise}")
    print(f"\nOne more: what one more unit would earn in {currency}, as the last `tessera prices` solved it.")
    return 0
