"""A churn model in a folder: its trees as any form is written, and the rest in one archive beside them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np

from features.learned.churn import Churn, Logistic
from features.learned.faults import LearnedError
from features.learned.storage import load, save
from features.learned.trees import Trees

CURVES = "silence.npz"


def save_churn(churn: Churn, folder: Path) -> None:
    """Write the trees as any form is written, and the rest beside them in `silence.npz`."""
    save(churn.trees, folder)
    rest = {field.name: np.asarray(getattr(churn, field.name)) for field in fields(churn) if field.name not in _APART}
    logistic = {f"logistic_{field.name}": getattr(churn.logistic, field.name) for field in fields(Logistic)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **rest, **logistic)  # type: ignore[arg-type, unused-ignore]
    (folder / CURVES).write_bytes(buffer.getvalue())


_APART = ("trees", "logistic")


def load_churn(folder: Path) -> Churn:
    """Read it back; raises `LearnedError` that names the file at fault."""
    trees = load(folder)
    if not isinstance(trees, Trees):
        raise LearnedError(f"{folder}: holds {type(trees).__name__}, not trees; export the churn model again")
    path = folder / CURVES
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            logistic = Logistic(
                archive["logistic_logs"],
                *(archive[f"logistic_{name}"].astype(np.float64) for name in _NUMBERS),
            )
            return Churn(
                trees,
                archive["raw"].astype(np.float64),
                archive["chance"].astype(np.float64),
                logistic,
                archive["stretch"].astype(np.float64),
                archive["lift"].astype(np.float64),
                float(archive["share"]),
                archive["days"].astype(np.float64),
                float(archive["horizon"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, LearnedError):
            raise
        raise LearnedError(f"{path}: missing or damaged ({error}); export the churn model again") from error


_NUMBERS = ("constant", "weight", "turn", "mean", "rhythm")
