"""Learned arrays on disk: one npz without pickle, and a JSON that names the form and the hash of the npz."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.learned.answering import Answering
from features.learned.blend import Blend
from features.learned.counts import Counts
from features.learned.effects import Effects
from features.learned.factors import Factors
from features.learned.faults import LearnedError
from features.learned.item_item import ItemItem
from features.learned.linear import Linear
from features.learned.popularity import Popularity
from features.learned.traits import Traits
from features.learned.trees import Trees

ProductForm = Popularity | Factors | ItemItem | Linear | Counts | Blend
"""Whatever scores all products for one member."""
Form = ProductForm | Trees | Traits | Effects | Answering

FORMS: dict[str, type[Form]] = {
    "popularity": Popularity,
    "factors": Factors,
    "item_item": ItemItem,
    "linear": Linear,
    "counts": Counts,
    "trees": Trees,
    "traits": Traits,
    "blend": Blend,
    "effects": Effects,
    "answering": Answering,
}
ARRAYS, DESCRIPTION = "arrays.npz", "form.json"
_LAYOUT = 1


def form_name(form: Form) -> str:
    """The name under which a form is stored."""
    return next(name for name, kind in FORMS.items() if type(form) is kind)


def to_arrays(form: Form) -> dict[str, NDArray[Any]]:
    """Everything a form consists of; single numbers become arrays of no dimension.

    The arrays of a form inside it are named `field/array`, those of several `field.0/array` and so on; they do not
    repeat the product ids.
    """
    found: dict[str, NDArray[Any]] = {}
    for field in fields(form):
        value = getattr(form, field.name)
        if is_dataclass(value):
            found |= _inside(field.name, value)
        elif isinstance(value, tuple):
            for number, part in enumerate(value):
                found |= _inside(f"{field.name}.{number}", part)
        else:
            found[field.name] = np.asarray(value)
    return found


def _inside(name: str, form: Any) -> dict[str, NDArray[Any]]:
    arrays = {key: array for key, array in to_arrays(form).items() if key != "product_ids"}
    return {f"{name}/form": np.asarray(form_name(form))} | {f"{name}/{key}": array for key, array in arrays.items()}


def from_arrays(name: str, arrays: Mapping[str, NDArray[Any]]) -> Form:
    """The form with this name from its arrays; raises `LearnedError` if any is missing, of another type or unknown.

    What has a default may be missing: it was not there yet when the form was saved.
    """
    if name not in FORMS:
        raise LearnedError(f"form {name!r} is unknown; this version reads {', '.join(FORMS)}")
    kind = FORMS[name]
    wanted = {field.name: str(field.type) for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is field.default_factory is MISSING}
    own = {field: array for field, array in arrays.items() if "/" not in field}
    given: dict[str, Any] = {**own, **_forms_inside(arrays)}
    if not needed <= set(given) <= set(wanted):
        odd = ", ".join(sorted((needed - set(given)) | (set(given) - set(wanted))))
        raise LearnedError(f"{name}: arrays missing or unknown: {odd}; export the model again")
    return kind(**given | {field: _typed(name, field, wanted[field], array) for field, array in own.items()})


def _forms_inside(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Field → form, or the tuple of forms where the field has several."""
    content: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        field, slash, rest = key.partition("/")
        if slash:
            content.setdefault(field, {})[rest] = array
    found: dict[str, Any] = {}
    for field in sorted(content, key=lambda one: int(one.partition(".")[2] or 0)):
        form = _form_inside(content[field], arrays)
        whole, dot, _ = field.partition(".")
        found[whole] = (*found.get(whole, ()), form) if dot else form
    return found


def _form_inside(own: Mapping[str, NDArray[Any]], arrays: Mapping[str, NDArray[Any]]) -> Form:
    name = str(own.get("form", "of no name"))
    kind = FORMS.get(name)
    shared = {"product_ids"} & {known.name for known in fields(kind)} if kind else set()
    rest = {key: array for key, array in own.items() if key != "form"}
    return from_arrays(name, rest | {key: arrays[key] for key in shared & set(arrays)})


def _typed(form: str, field: str, wanted: str, array: NDArray[Any]) -> Any:
    """`array` as the field's annotation says, a plain float where it says so."""
    if wanted == "float":
        return float(array)
    dtype = (
        "float64"
        if wanted == "Floats"
        else wanted.removeprefix("NDArray[np.").removesuffix("]").rstrip("_").replace("str", "str_")
    )
    if not np.issubdtype(array.dtype, np.dtype(getattr(np, dtype)).type):
        raise LearnedError(f"{form}: {field} is {array.dtype}, not {dtype}; export the model again")
    array.setflags(write=False)
    return array


def save(form: Form, folder: Path, stem: str = "") -> dict[str, str]:
    """Write a form; the JSON comes last, so a folder that has one is whole. `stem` begins the names of its files.

    Returns:
        File name → SHA-256 of its bytes. The same form gives the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **to_arrays(form))  # type: ignore[arg-type, unused-ignore]
    content = buffer.getvalue()
    description = {"form": form_name(form), "layout": _LAYOUT, "sha256": {ARRAYS: _sha256(content)}}
    text = json.dumps(description, indent=1, sort_keys=True).encode()
    _write(folder / (stem + ARRAYS), content)
    _write(folder / (stem + DESCRIPTION), text)
    return {stem + ARRAYS: _sha256(content), stem + DESCRIPTION: _sha256(text)}


def load(folder: Path, stem: str = "") -> Form:
    """Read a form back after its hash was checked; raises `LearnedError` that names the file at fault."""
    description = _description(folder / (stem + DESCRIPTION))
    arrays = folder / (stem + ARRAYS)
    try:
        content = arrays.read_bytes()
    except OSError as error:
        raise LearnedError(f"{arrays}: cannot be read ({error.strerror}); export the model again") from error
    if _sha256(content) != description["sha256"][ARRAYS]:
        raise LearnedError(f"{arrays}: not the file that was saved (SHA-256 differs); export the model again")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return from_arrays(description["form"], {name: archive[name] for name in archive.files})


def _description(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        if found["layout"] != _LAYOUT:
            raise LearnedError(f"{path}: layout {found['layout']} is unknown; this version reads {_LAYOUT}")
        return {"form": str(found["form"]), "sha256": {ARRAYS: str(found["sha256"][ARRAYS])}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, LearnedError):
            raise
        raise LearnedError(f"{path}: missing or damaged ({error}); export the model again") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Replace a file so that a reader finds the old one or the new one, never half of it."""
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
