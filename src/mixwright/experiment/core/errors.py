"""Turning pydantic's findings into sentences: where, what was found, what should be, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment.core.yaml import Key, YamlFile, dotted
from mixwright.files.stores import masked

_SHOWN = 10  # faults that are named in one message
_LIMITS = {  # pydantic's kinds of errors
    "greater_than_equal": "at least",
    "greater_than": "above",
    "less_than_equal": "at most",
    "less_than": "below",
}
_MEANT = dict.fromkeys(("column", "text_column", "key"), "field")  # words that people have for a key of ours
_HOLDING = ("dict_type", "list_type", "model_type")
_SHAPES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("dict_type", "model_type"), "a mapping {key: value}"),
    "finite_number": "a finite number",
    "list_type": "a list",
    "path_type": "a path",
    "string_type": "a text",
}


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put the place in the configuration before an InputError, or one of a package that is missing."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {_without_place(str(error), where)}") from error
    except MissingExtraError as error:
        raise MissingExtraError(f"{where}: {error}") from error


def _without_place(text: str, where: str) -> str:
    """Drop `strategy: ` or `source 'web': ` from a message whose place already ends with that key."""
    place, sign, rest = text.partition(": ")
    key = place.removeprefix("source ").strip("'")
    return rest if sign and where.endswith((f".{key}", f" {key}")) else text


def explain(model: type[BaseModel], error: ValidationError, file: YamlFile | None, value: Any = None) -> str:
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
    value
        What was checked; keys whose value is not the file's are from the command line or from Python.
    """
    known = {*_keys_in(value, ()), *(file.lines if file else ())}
    given = {k for k, v in value.items() if file.value.get(k) != v} if file and isinstance(value, Mapping) else set()
    found = error.errors()
    mappings = {_written(detail["loc"], detail["type"], known) for detail in found if detail["type"] == "dict_type"}
    details = sorted(
        _fitting(found, known), key=lambda detail: detail["type"] != "extra_forbidden"
    )  # misspelt keys first
    faults = list(dict.fromkeys(_sentence(model, detail, file, known, given, mappings) for detail in details))
    if len(faults) > _SHOWN:
        faults = [*faults[:_SHOWN], f"and {len(faults) - _SHOWN} more faults"]
    return "\n".join(faults)


def nearest(word: str, known: list[str]) -> str:
    """Return `; did you mean ...?` for a misspelt word; a full stop if nothing is near."""
    if (meant := _MEANT.get(word.lower())) in known:
        return f"; did you mean {meant!r}?"
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]!r}?" if close else "."


def _keys_in(value: Any, key: Key) -> Iterator[Key]:
    """Yield the keys of nested mappings and lists."""
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield (*key, name)
        yield from _keys_in(inner, (*key, name))


def _sentence(
    model: type[BaseModel],
    detail: ErrorDetails,
    file: YamlFile | None,
    known: Collection[Key],
    given: Collection[Any],
    mappings: Collection[Key],
) -> str:
    key = _written(detail["loc"], detail["type"], known)
    in_file = file is not None and (not key or key[0] not in given)
    place = file.where(key) if file and in_file else f"key {dotted(key)}" if key else "the configuration"
    if detail["type"] == "extra_forbidden":
        keys = _known_keys(model, key[:-1])
        listed = f" Known keys here: {', '.join(keys)}" if keys else " No keys are known here; remove it"
        return f"{place}: there is no such key{nearest(str(key[-1]), keys)}{listed}"
    if detail["type"] == "missing":
        about = _description(model, key)
        return f"{place}: this key is missing; add it{f' ({about})' if about else ''}"
    found = detail["input"]
    should = _should(detail) + _besides(model, key, detail, mappings)
    whole = isinstance(detail.get("ctx", {}).get("error"), InputError)  # it says itself what was found
    if whole or (isinstance(found, BaseModel | dict) and detail["type"] == "value_error"):
        return f"{place}: {should}"
    return f"{place}: {should}, found {_short(found)}"


def _should(detail: ErrorDetails) -> str:
    """Say in plain words what pydantic wants."""
    kind, limits = detail["type"], detail.get("ctx", {})
    if kind in _LIMITS:
        return f"should be {_LIMITS[kind]} {next(iter(limits.values())):.15g}"
    if kind in ("too_short", "string_too_short") and limits["min_length"] == 1:
        return "should not be empty"
    if kind in _SHAPES:
        return f"should be {_SHAPES[kind]}"
    return detail["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _besides(model: type[BaseModel], key: Key, detail: ErrorDetails, mappings: Collection[Key]) -> str:
    """Return what else may stand where one of some words was expected; that a share is not in per cent."""
    found = detail["input"]
    if detail["type"] == "literal_error" and key in mappings:
        about = _description(model, key)
        return " or a mapping" + (f" ({about})" if about else "")
    limits = detail.get("ctx", {})
    if 1 in (limits.get("le"), limits.get("lt")) and isinstance(found, int | float) and 2 <= found <= 100:
        return f" (a share of 1, not per cent: {found:g} % is {found / 100:g})"
    return ""


def _fitting(details: list[ErrorDetails], known: Collection[Key]) -> list[ErrorDetails]:
    """Drop the alternatives of a union that the value's shape rules out, where another one says more."""
    keys = [_written(detail["loc"], detail["type"], known) for detail in details]

    def ruled_out(detail: ErrorDetails, key: Key) -> bool:
        kind = detail["type"]
        beside = [other["type"] for other, its in zip(details, keys, strict=True) if its == key]
        if isinstance(detail["input"], dict | list):  # another alternative has looked into it
            shape = kind == "literal_error" or kind in _SHAPES
            inside = any(len(other) > len(key) and other[: len(key)] == key for other in keys)
            return shape and (inside or "value_error" in beside)
        if kind in _SHAPES and any(other in _LIMITS for other in beside):  # a number, where a text may stand too
            return True
        return kind in _HOLDING and any(other not in _HOLDING for other in beside)

    return [d for d, key in zip(details, keys, strict=True) if not (len(key) < len(d["loc"]) and ruled_out(d, key))]


def _written(loc: tuple[int | str, ...], kind: str, known: Collection[Key]) -> Key:
    """Drop the parts of a location that pydantic adds (which alternative of a union it tried)."""
    kept: list[int | str] = []
    for index, part in enumerate(loc):
        last_of_missing = kind == "missing" and index == len(loc) - 1
        if (*kept, part) in known or last_of_missing:
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
    return getattr(value, "__origin__", None) in (dict, list) and any(_is_model(arg) for arg in get_args(value))


def _known_keys(model: type[BaseModel], key: Key) -> list[str]:
    found = _model_at(model, key)
    return list(found.model_fields) if found else []


def _description(model: type[BaseModel], key: Key) -> str:
    parent = _model_at(model, key[:-1])
    info = parent.model_fields.get(str(key[-1])) if parent else None
    return (info.description or "").rstrip(".") if info else ""


def _short(value: Any) -> str:
    """Show a value in at most 60 characters."""
    if value is None:
        return "nothing"
    text = masked(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
