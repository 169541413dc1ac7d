"""The CD-store sample of the papers, which comes with the package `lifetimes`; it is read, never imported."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd


def sample() -> pd.DataFrame:
    """2,357 members: x, t_x, T (weeks) and zbar (mean dollars of a repeat purchase)."""
    package = find_spec("lifetimes")
    assert package is not None and package.origin is not None, "the package `lifetimes` of the group dev is missing"
    return pd.read_csv(Path(package.origin).parent / "datasets" / "cdnow_customers_summary_with_transactions.csv")
