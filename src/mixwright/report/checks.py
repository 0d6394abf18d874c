"""Checks of summaries before a page is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.compare.summary import SCHEMA
from mixwright.errors import InputError
from mixwright.report.words import finite

_SAYS = {
    "text": "a text",
    "number": "a finite number",
    "weights": "one finite number >= 0 per source",
    "intervals": "one [low, high] per source",
    "losses": "an object of finite numbers",
    "improvement": "an object",
    "list": "a list",
}


def check_kind(summary: Mapping[str, Any], kind: str, needed: Sequence[str], command: str) -> None:
    """Raise InputError when a summary is of another kind of run or lacks a field."""
    missing = [name for name in needed if name not in summary]
    if summary.get("kind") != kind or missing:
        found = f"one without {missing[0]!r}" if summary.get("kind") == kind else f"kind {summary.get('kind')!r}"
        raise InputError(f"the summary should be of a {kind} run, found {found}; run it again: {command}")


def check_version(summary: Mapping[str, Any]) -> None:
    """Raise InputError when a summary has no schema, or one that this version does not know."""
    schema = summary.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise wrong("schema", f"the number {SCHEMA}", schema)
    if schema > SCHEMA:
        raise InputError(
            f"summary: schema should be at most {SCHEMA}, found {schema}: a newer mixwright wrote it; "
            "install that version (pip install --upgrade mixwright) to make its page"
        )
    if schema < 1:
        raise wrong("schema", f"the number {SCHEMA}", schema)


def check_fields(entry: Any, fields: Mapping[str, str], where: str, k: int = 0) -> None:
    """
    Raise InputError, naming the field, where an entry lacks one of the fields or has another kind of value there.

    Parameters
    ----------
    entry
        Of a summary.
    fields
        {name: kind}: text, number, weights (k numbers), intervals (k pairs), losses (a name for each number), list or
        improvement (an object); with "?" it may be null or absent.
    where
        The place of the fields, such as "runs[0].".
    k
        The number of sources.
    """
    if not isinstance(entry, Mapping):
        raise wrong(where.rstrip("."), "an object", entry)
    for name, kind in fields.items():
        value = entry.get(name)
        if value is None and kind.endswith("?"):
            continue
        kind = kind.rstrip("?")
        if not _fits(value, kind, k):
            raise wrong(f"{where}{name}", _SAYS[kind], value)


def _fits(value: Any, kind: str, k: int) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if kind == "text":
        return isinstance(value, str)
    if kind == "number":
        return finite(value)
    if kind == "weights":
        return listed and len(value) == k and all(finite(v) and v >= 0 for v in value)
    if kind == "intervals":
        return listed and len(value) == k and all(_is_pair(pair) for pair in value)
    if kind == "losses":
        return isinstance(value, Mapping) and all(isinstance(n, str) and finite(v) for n, v in value.items())
    return listed if kind == "list" else isinstance(value, Mapping)


def _is_pair(value: Any) -> bool:
    return (
        isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2 and all(finite(v) for v in value)
    )


def wrong(where: str, should: str, found: Any) -> InputError:
    """Return the error for a field that is not what it should be."""
    shown = "nothing" if found is None else repr(found)
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    return InputError(f"summary: {where} should be {should}, found {shown}; make the summary again with this version")
