"""What many commands ask alike: the folders, and the history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

Home = Annotated[Path, typer.Option("--home", envvar="TESSERA_HOME", help="Folder that holds everything.")]
Configs = Annotated[
    Path | None,
    typer.Option(
        "--configs", envvar="TESSERA_CONFIGS", help="Folder of the YAML files; default: HOME/configs, else ./configs."
    ),
]
Source = Annotated[
    str, typer.Option("--source", help="simulated, online_retail, complete_journey, movielens or folder.")
]
DataPath = Annotated[Path | None, typer.Option("--path", help="Folder or file of the history.")]
Mapping = Annotated[
    Path | None, typer.Option("--map", help="map.yaml: your tables and column names (with --source folder).")
]
DEFAULT_HOME = Path("var")


def reservations() -> str | None:
    """URL of the PostgreSQL that keeps budgets for many machines; None where the journal keeps them."""
    return os.environ.get("TESSERA_RESERVATIONS")
