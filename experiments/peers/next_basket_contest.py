"""Our recipes and next-basket peers on each member's last basket, judged by one code, with ratios and their intervals.

    python -m experiments.peers.next_basket_contest online_retail FOLDER OUT --python /tmp/peers/bin/python --trials 10

The split is `training.protocols.last_basket`: of each member with two or more baskets the last is hidden, and asked for
at its moment; everything else is learned from. Judged are the members whose hidden basket has a product that somebody
bought before (`all`), or one that the member had not bought before (`new`: then lists leave out what the member had
bought, for everybody). Ours are asked with their defaults, without any trial; each peer is tuned on the second-last
baskets. Peers know the order of a member's baskets, and no times; our recipes know both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

from features import catalog, sources
from training import metrics, recipes
from training.evaluate import rank
from training.evaluation.contest import configured
from training.ledger import Ledger
from training.metrics import Interval, Values
from training.protocols import Split, last_basket

SCRIPT = Path(__file__).with_name("next_basket.py")
PARTS = ("all", "new")


def split_of(source: str, path: Path) -> Split:
    """The last-basket split of a history at its source."""
    configs = Path(__file__).parents[2] / "configs" / "catalog"
    tables = sources.load(source, path, catalog.load(configs).programme).tables
    ledger = Ledger(tables["purchases"], tables["products"], tables["members"])
    return last_basket(ledger, ledger.purchases["occurred_at"].max().to_pydatetime())


def baskets(split: Split) -> pd.DataFrame:
    """What is learned from as the peers read it: member_id, basket (0, 1 … in the order of time), product_id."""
    before = split.before
    row, column = before.buys.T
    frame = pd.DataFrame({"row": row, "at": before.bought_at, "product_id": before.product_ids[column]})
    frame["basket"] = frame.groupby("row")["at"].rank(method="dense").astype(int) - 1
    frame["member_id"] = before.member_ids[row]
    return frame[["member_id", "basket", "product_id"]]


def wanted(split: Split, part: str) -> tuple[NDArray[np.intp], sp.csr_matrix]:
    """The members who are judged in a part, and what they bought, in their rows."""
    bought = split.explore() if part == "new" else split.bought
    rows = np.flatnonzero(bought.getnnz(axis=1))
    return rows, sp.csr_matrix(bought[rows])


def ours(split: Split, name: str, k: int) -> dict[str, Values]:
    """Part → nDCG@k of each judged member, for a recipe with its defaults."""
    fitted = recipes.fit(name, split.before, configured(name, {}, 0, split.inner))
    found = {}
    for part in PARTS:
        rows, bought = wanted(split, part)
        found[part] = metrics.ndcg(rank(split.asked, fitted, rows, k, only_new=part == "new"), bought)
    return found


def theirs(split: Split, listed: pd.DataFrame, part: str, k: int) -> Values:
    """nDCG@k of each judged member, for the lists of one peer in one part."""
    rows, bought = wanted(split, part)
    before, lists = split.before, np.full((len(split.before.member_ids), k), -1, np.int64)
    member = np.searchsorted(before.member_ids, listed["member_id"].to_numpy(np.str_))
    lists[member, listed["rank"]] = np.searchsorted(before.product_ids, listed["product_id"].to_numpy(np.str_))
    return metrics.ndcg(lists[rows], bought)


def ratio(ours_: Values, theirs_: Values, seed: int = 0, draws: int = 2000) -> Interval:
    """Our mean ÷ theirs, with the 95 % interval of resampled members, the same for both."""
    rng, n = np.random.default_rng(seed), len(ours_)
    drawn = [rng.integers(n, size=n) for _ in range(draws)]
    low, high = np.quantile([ours_[each].mean() / max(theirs_[each].mean(), 1e-12) for each in drawn], [0.025, 0.975])
    return Interval(float(ours_.mean() / max(theirs_.mean(), 1e-12)), float(low), float(high))


def contest(split: Split, names: list[str], lists: pd.DataFrame, k: int) -> pd.DataFrame:
    """A row for each recipe, peer, way of setting it and part: both means and the ratio."""
    found: list[dict[str, Any]] = []
    for name in names:
        own = ours(split, name, k)
        for (peer, settings, part), listed in lists.groupby(["peer", "settings", "part"]):
            other = theirs(split, listed, str(part), k)
            one = ratio(own[str(part)], other)
            found.append(
                {"recipe": name, "ndcg": own[str(part)].mean(), "peer": peer, "settings": settings, "part": part}
                | {"peer_ndcg": other.mean(), "ratio": one.value, "low": one.low, "high": one.high}
                | {"members": len(other)}
            )
    return pd.DataFrame(found).sort_values(["part", "recipe", "peer_ndcg"], ignore_index=True)


def main() -> None:
    """Write the baskets, let the peers make their lists, and compare."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("source", choices=list(sources.SOURCES))
    asked.add_argument("path", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--python", type=Path, help="of the peers' environment; without it OUT must have their lists")
    asked.add_argument("--recipes", nargs="+", default=["repeat"])
    asked.add_argument("--trials", type=int, default=10)
    asked.add_argument("--k", type=int, default=10)
    given = asked.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    split = split_of(given.source, given.path)
    history, lists = given.out / "baskets.parquet", given.out / "lists.parquet"
    baskets(split).to_parquet(history, index=False)
    if given.python is not None:
        command = [given.python, "-W", "ignore", SCRIPT, history, lists, "--trials", given.trials, "--k", given.k]
        subprocess.run([str(part) for part in command], check=True)
    table = contest(split, given.recipes, pd.read_parquet(lists), given.k)
    table.to_csv(given.out / "contest.csv", index=False)
    sys.stdout.write(f"{split.said}\n{table.to_string(index=False, float_format='{:.4f}'.format)}\n")


if __name__ == "__main__":
    main()
