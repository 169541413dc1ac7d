"""What people write in YAML, read so that every mistake comes back as a sentence they can act on."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Written(BaseModel):
    """A piece of configuration: unknown keys, wrong types and infinite numbers are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class WrittenError(ValueError):
    """The file cannot be read at all; the message names file, line and way out."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice and leaves an impossible date to be named later."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f'key "{key.value}" is written twice; keep one', key.start_mark
            )
        seen.add(key.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


def _timestamp(loader: _Loader, node: yaml.ScalarNode) -> object:
    try:
        return yaml.SafeLoader.construct_yaml_timestamp(loader, node)
    except ValueError:
        return node.value


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)


def parse(text: str, name: str) -> dict[str, Any]:
    """The mapping that a YAML text holds; WrittenError with the line where it is not one."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise WrittenError(f"{name}: {where}: {error.problem}; check indentation, colons and quotes there") from error
    except yaml.YAMLError as error:
        raise WrittenError(f"{name}: this is not YAML: {error}; save it as plain UTF-8 text") from error
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise WrittenError(f"{name}: holds {found} where keys were expected; start from the example in configs/")
    return value


def read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file and the mapping they hold; WrittenError where it is absent or is no YAML mapping."""
    try:
        raw = path.read_bytes()
        return raw, parse(raw.decode("utf-8-sig"), path.name)
    except FileNotFoundError as error:
        raise WrittenError(f"{path.name}: there is no such file in {path.parent}; copy it from configs/") from error
    except UnicodeDecodeError as error:
        raise WrittenError(f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8") from error


def moment(value: date | datetime | None, zone: str) -> datetime | None:
    """A date as the start of that day, a naive time as local time in `zone`; both come back in UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=ZoneInfo(zone))
    elif value.tzinfo is None:
        value = value.replace(tzinfo=ZoneInfo(zone))
    return value.astimezone(UTC)


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """The end of a sentence about an unknown word: a near one if there is one, and all that are known."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    hint = f'; did you mean "{near[0]}"?' if near else ";"
    return f"{hint} known: {', '.join(known)}"


def sentences(error: ValidationError, model: type[BaseModel], prefix: str) -> list[str]:
    """One sentence for each mistake: where, the value, the rule and the way out."""
    return list(dict.fromkeys(f"{prefix}: {_sentence(fault, model)}" for fault in error.errors()))


def _sentence(fault: Any, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f'unknown key "{path}"{did_you_mean(key, _fields_at(model, fault["loc"][:-1]))}'
    if kind == "missing":
        return f'"{path}" is missing; add it'
    if kind == "literal_error":
        known = [word.strip(" '") for word in str(context["expected"]).replace(" or ", ", ").split(",")]
        return f'{path} "{fault["input"]}" is unknown{did_you_mean(str(fault["input"]), known)}'
    return _value_sentence(fault, path)


def _value_sentence(fault: Any, path: str) -> str:
    kind = fault["type"]
    if kind.startswith(("date_", "datetime_")):
        return f"{_without_kind(path)} {_shown(fault['input'])} is no date; write one like 2026-12-31"
    if fault["msg"] == "Keys should be strings":
        return f"{path} is no name of a key; write decimals with a point (0.05), and words like yes in quotes"
    if kind == "string_type":
        return f"{path} {_shown(fault['input'])} should be a text; put it in quotes"
    if kind == "value_error":
        return f"{path} {fault['ctx']['error']}" if path else str(fault["ctx"]["error"])
    return f"{path} {_shown(fault['input'])}: {fault['msg'].replace('Input should', 'it should')}; change it"


def _without_kind(path: str) -> str:
    """The path without the kinds of date that were tried at its end."""
    return path.removesuffix(".datetime").removesuffix(".date")


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys allowed at this place of a nested model."""
    here: type[BaseModel] = model
    for part in path:
        found = _model_in(here.model_fields[part].annotation) if part in here.model_fields else None
        here = found or here
    return list(here.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `over` put in; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result
