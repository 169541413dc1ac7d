"""Reading what teams and publishers deliver: CSV, zipped CSV, Excel and Parquet, with errors that say what to do."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features.border import BorderError

_EXCEL_ENGINES = {"calamine": "python_calamine", "openpyxl": "openpyxl"}


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a text file is written."""

    separator: str = ","
    encodings: tuple[str, ...] = ("utf-8-sig",)
    """Tried in order; the first that fits is taken."""
    header: Sequence[str] | None = None
    """The column names, where the file has no line for them."""


def find(folder: Path, names: Sequence[str], what: str) -> Path:
    """The first of the named files that is in the folder; the folder may also be the file itself.

    Raises:
        BorderError: None of them is there.
    """
    found = look_for(folder, names)
    if found is None:
        raise BorderError(
            f"{folder.name}: {what} not found; looked for {', '.join(names)}. Give the folder that holds the file."
        )
    return found


def look_for(folder: Path, names: Sequence[str]) -> Path | None:
    """The same, None when there is none. Upper and lower case are the same.

    Raises:
        BorderError: There is no such folder.
    """
    if not folder.exists():
        raise BorderError(f"{folder}: no such file or folder; check the path.")
    if folder.is_file():
        return folder
    there = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    return next((there[name.lower()] for name in names if name.lower() in there), None)


def read(path: Path, form: TextFormat | None = None) -> pd.DataFrame:
    """A file as a frame; text files come as text, empty fields missing, rows numbered from 0.

    Args:
        path: `.csv`, `.txt`, `.data`, `.item`, `.user`, the same zipped, `.xlsx` or `.parquet`.
        form: How a text file is written.

    Raises:
        BorderError: The file is missing, of another kind, damaged, empty, or in another encoding.
    """
    if not path.is_file():
        raise BorderError(f"{path.name}: no such file; check the path.")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        frame = _read_parquet(path)
    elif suffix in (".xlsx", ".xls"):
        frame = _read_excel(path)
    else:
        frame = _read_text(path, form or TextFormat())
    if frame.empty:
        raise BorderError(
            f"{path.name}: the history is empty: the file has no rows. Give a file with at least one row."
        )
    return frame.reset_index(drop=True)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise BorderError(f"{path.name}: not a readable Parquet file ({_short(error)}); export it again.") from error


def _read_excel(path: Path) -> pd.DataFrame:
    for engine in _EXCEL_ENGINES:
        try:
            return pd.read_excel(path, engine=engine)  # type: ignore[call-overload,no-any-return]
        except ImportError:
            continue
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BorderError(f"{path.name}: not a readable Excel file ({_short(error)}); export it again.") from error
    raise BorderError(
        f"{path.name}: reading Excel files needs python-calamine. Install it (`uv pip install python-calamine`), "
        "or save the sheet as CSV in UTF-8 and give that file."
    )


def _read_text(path: Path, form: TextFormat) -> pd.DataFrame:
    for encoding in form.encodings:
        try:
            frame = _read_encoded(path, form, encoding)
        except UnicodeDecodeError:
            continue
        except LookupError as error:
            raise BorderError(
                f"{path.name}: {encoding!r} is no encoding; write one such as utf-8, cp1252 or latin-1 in map.yaml."
            ) from error
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise BorderError(
                f"{path.name}: not readable as text with the separator {form.separator!r} ({_short(error)}); "
                "check the file, or name its separator in a map.yaml."
            ) from error
        return _without_surplus(frame, path.name)
    raise BorderError(
        f"{path.name}: not encoded in {' or '.join(map(_named, form.encodings))}; save the file in UTF-8, "
        "or name its encoding in a map.yaml (`encoding: cp1252` for most Windows exports)."
    )


def _read_encoded(path: Path, form: TextFormat, encoding: str) -> pd.DataFrame:
    header = None if form.header is None else list(form.header)
    return pd.read_csv(
        path,
        sep=form.separator,
        encoding=encoding,
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        names=header,
        header=0 if header is None else None,
        compression="zip" if zipfile.is_zipfile(path) else None,
    )


def _without_surplus(frame: pd.DataFrame, file: str) -> pd.DataFrame:
    """The frame, once it is sure that each value stands under its own name.

    A separator at the end of every line is forgiven. pandas takes the first fields of longer lines as row names, and
    numbers a name that comes twice; neither may pass.
    """
    twice = [name for name in map(str, frame.columns) if _numbered(name) in frame.columns and name != _numbered(name)]
    if twice:
        raise BorderError(f"{file}: column {_numbered(twice[0])} is there twice; rename or remove one of them.")
    if isinstance(frame.index, pd.RangeIndex):
        return frame
    surplus = frame.index.nlevels
    names = list(frame.columns)
    if not frame[names[-surplus:]].isna().all(axis=None):
        raise BorderError(
            f"{file}: lines have {len(names) + surplus} values, the first line names {len(names)} columns; "
            "name them all, or put values that contain the separator in quotes."
        )
    shifted = frame.reset_index().iloc[:, : len(names)]
    return shifted.set_axis(names, axis=1)


def _numbered(name: str) -> str:
    """The name without the number that pandas puts behind one that comes twice."""
    return re.sub(r"\.\d+$", "", name)


def _named(encoding: str) -> str:
    return "UTF-8" if encoding == "utf-8-sig" else encoding


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
