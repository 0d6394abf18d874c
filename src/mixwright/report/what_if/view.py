"""From a what-if object to what the template shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixwright.report.looks import KIND_WORDS, Look, looks_of
from mixwright.report.what_if.numbers import check_what_if

_RANGES = (100, 50, 20, 10, 5, 2, 1)  # the per cent at the right end of a slider
_FIND = 8  # more sources than this can be searched, sorted and grouped


def build_what_if(summary: Mapping[str, Any], what_if: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page with the what-if part alone shows; the summary has its `title` and, perhaps, a `verdict`."""
    return {
        "title": summary["title"],
        "lead": summary.get("verdict", ""),
        "what_if": what_if_view(what_if),
        "charts": [],
    }


def what_if_view(what_if: Mapping[str, Any], looks: Mapping[str, Look] | None = None) -> dict[str, Any]:
    """Return what the template needs; `looks`: by name, of mixtures that the page shows elsewhere."""
    check_what_if(what_if)
    own = looks_of(what_if["marks"])
    marks = [
        {**mark, "look": (looks or {}).get(mark["name"], own[mark["name"]]), "words": KIND_WORDS.get(mark["kind"], "")}
        for mark in what_if["marks"]
    ]
    names = [target["name"] for target in what_if["targets"]]
    targets = []
    for target in what_if["targets"]:
        label = f"{target['name']} (per {target['unit']})" if names.count(target["name"]) > 1 else target["name"]
        ends = target.get("intervals") or [None] * len(marks)
        figures = zip(target["losses"], target["shown"], target["errors"], ends, strict=True)
        cells = [{"loss": loss, "shown": shown, "error": error, "ends": two} for loss, shown, error, two in figures]
        targets.append({**target, "label": label, "cells": cells, "sampled": target["rows"] < target["of"]})
    levels = [mark["level"] for mark in marks if mark["interval"]]
    return {
        "payload": what_if,
        "marks": marks,
        "targets": targets,
        "pairs": [" and ".join(targets[t]["label"] for t in curve["pair"]) for curve in what_if["curves"]],
        "sampled": any(target["sampled"] for target in targets),
        "squared": any(target["kind"] == "squared" for target in targets),
        "law": any(target["kind"] == "law" for target in targets),
        "interval_level": what_if.get("level"),
        "level": levels[0] if levels else None,
        "limited": _limited(what_if),
        "grouped": what_if["grouped"],
        "many": len(what_if["sources"]) > _FIND,
        "k": len(what_if["sources"]),
        "ranges": _RANGES,
        "left_out": what_if["left_out"],
        "seed": what_if["seed"],
        "searched": any(mark["kind"] == "search" for mark in marks),
    }


def _limited(what_if: Mapping[str, Any]) -> bool:
    bounds = any(v > 0 for v in what_if["lower"]) or any(v < 1 for v in what_if["upper"])
    return bounds or bool(what_if["limits"]) or what_if.get("distance") is not None
