"""Summaries of comparisons that former versions wrote, with the fields of today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.compare.cells import renamed
from mixwright.compare.summary import SCHEMA

_UNITS = {"assays": "rows", "preference": "pairs"}


def upgraded(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the summary of a comparison with the fields of today; schema 1 counted pairs in fields named tokens."""
    whole = dict(summary)
    if whole.get("schema") != 1:
        return whole
    data = whole.pop("setting", None)
    whole |= {"schema": SCHEMA, "data": data, "unit": _UNITS.get(data, "tokens")}
    if isinstance(budget := whole.get("budget"), Mapping):
        whole["budget"] = _renamed(budget)
    for part in ("arms", "curves"):
        if isinstance(entries := whole.get(part), list):
            whole[part] = [_renamed(entry) for entry in entries]
    return whole


def _renamed(entry: Any) -> Any:
    """Return an entry with the names of today; what is no entry is left to the checks."""
    if not isinstance(entry, Mapping):
        return entry
    whole = renamed(entry)
    if isinstance(points := whole.get("points"), list):
        whole["points"] = [_renamed(point) for point in points]
    return whole
