"""Places and a small export that tests of the commands use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
HEAD = "purchase_id,basket_id,member_id,product_id,quantity,unit_price,occurred_at\n"
THREE = f"{HEAD}1,b1,m1,p1,1,5.0,2026-06-01\n2,b2,m1,p2,1,5.0,2026-06-11\n3,b3,m2,p1,1,5.0,2026-06-12\n"
DERIVE = "derive: [members, products]"

Tessera = Callable[..., tuple[int, str, str]]
"""Runs a command: exit code, stdout, stderr."""
