"""Turning pydantic's findings into sentences: where, what was found, what should be, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mixwright.errors import InputError
from mixwright.experiment.core.yaml import Key, YamlFile, dotted

_SHOWN = 10  # faults that are named in one message


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put the place in the configuration before an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def explain(model: type[BaseModel], error: ValidationError, file: YamlFile | None) -> str:
    """
    Return one message for all faults of a configuration.

    Parameters
    ----------
    model
        The model that was checked.
    error
        What pydantic found.
    file
        Where the value was read from, for file and line.
    """
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")  # misspelt keys first
    faults = list(dict.fromkeys(_sentence(model, detail, file) for detail in details))
    if len(faults) > _SHOWN:
        faults = [*faults[:_SHOWN], f"and {len(faults) - _SHOWN} more faults"]
    return "\n".join(faults)


def nearest(word: str, known: list[str]) -> str:
    """Return `; did you mean ...?` for a misspelt word; a full stop if nothing is near."""
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]!r}?" if close else "."


def _sentence(model: type[BaseModel], detail: ErrorDetails, file: YamlFile | None) -> str:
    key = _in_file(detail["loc"], detail["type"], file)
    place = file.where(key) if file else f"key {dotted(key)}" if key else "the configuration"
    if detail["type"] == "extra_forbidden":
        known = _known_keys(model, key[:-1])
        listed = f" Known keys here: {', '.join(known)}" if known else " No keys are known here; remove it"
        return f"{place}: there is no such key{nearest(str(key[-1]), known)}{listed}"
    if detail["type"] == "missing":
        about = _description(model, key)
        return f"{place}: this key is missing; add it{f' ({about})' if about else ''}"
    found = detail["input"]
    should = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(found, BaseModel | dict) and detail["type"] == "value_error":
        return f"{place}: {should}"
    return f"{place}: {should}, found {_short(found)}"


def _in_file(loc: tuple[int | str, ...], kind: str, file: YamlFile | None) -> Key:
    """Drop the parts of a location that pydantic adds (which alternative of a union it tried)."""
    if file is None:
        return tuple(loc)
    kept: list[int | str] = []
    for index, part in enumerate(loc):
        last_of_missing = kind == "missing" and index == len(loc) - 1
        if (*kept, part) in file.lines or last_of_missing:
            kept.append(part)
    return tuple(kept)


def _model_at(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    current: Any = model
    for part in key:
        if isinstance(current, type) and issubclass(current, BaseModel):
            info = current.model_fields.get(str(part))
            current = info.annotation if info else None
        else:  # {name: Model}
            current = next((arg for arg in get_args(current) if _is_model(arg)), None)
        while current is not None and not _is_model(current) and not _maps_to_model(current):
            current = next((arg for arg in get_args(current) if _is_model(arg) or get_args(arg)), None)
        if current is None:
            return None
    return current if _is_model(current) else None


def _is_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _maps_to_model(value: Any) -> bool:
    return getattr(value, "__origin__", None) is dict and any(_is_model(arg) for arg in get_args(value))


def _known_keys(model: type[BaseModel], key: Key) -> list[str]:
    found = _model_at(model, key)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], key: Key) -> str:
    parent = _model_at(model, key[:-1])
    info = parent.model_fields.get(str(key[-1])) if parent else None
    return (info.description or "").rstrip(".") if info else ""


def _short(value: Any) -> str:
    """Show a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
