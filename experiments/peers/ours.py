"""Our recipes at work, asked in the same way as the peers: one process, one thread, one request at a time.

A request names a recipe, its settings and a pickled split; the lists go to Parquet as those of a peer do. So memory,
limits of time and the way of measuring are the same for everybody.
"""

from __future__ import annotations

import pickle
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.peers.answering import serve
from training import evaluate, recipes
from training.evaluation.contest import configured
from training.evaluation.lists import rank_own, why_not
from training.protocols import Split
from training.recipes import Fitted, RecipeError


@lru_cache(maxsize=2)
def read(path: str) -> Split:
    """A split that the asking process wrote."""
    with Path(path).open("rb") as file:
        found: Split = pickle.load(file)  # noqa: S301  written by the process that asks
    return found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Fit a recipe and write the lists that a request asks for; as `answering.answer`."""
    split = read(request["split"])
    config = configured(request["peer"], request["params"], request["seed"], split.inner)
    if reason := why_not(request["peer"], split.before, config):
        raise RecipeError(reason)
    begun = time.process_time()
    fitted = recipes.fit(request["peer"], split.before, config)
    done = time.process_time()
    frames = [_lists(split, fitted, mask, np.asarray(rows), request["k"]) for mask, rows in request["asked"].items()]
    listed = time.process_time()
    pd.concat(frames, ignore_index=True).to_parquet(request["out"], index=False)
    return {"fit_seconds": done - begun, "answer_seconds": listed - done}


def _lists(split: Split, fitted: Fitted, mask: str, rows: Any, k: int) -> pd.DataFrame:
    own = mask == "own"
    found = (
        rank_own(split.asked, fitted, rows, k) if own else evaluate.rank(split.asked, fitted, rows, k, mask == "new")
    )
    at, rank = np.nonzero(found >= 0)
    return pd.DataFrame({"mask": mask, "row": rows[at], "rank": rank + 1, "column": found[at, rank]})


if __name__ == "__main__":
    serve(answer)
