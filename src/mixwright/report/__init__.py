"""Runs, comparisons and searches as self-contained pages."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixwright.lazy import lazy
from mixwright.report.page import read_beside, render, write

__all__ = [
    "read_beside",
    "render",
    "write",
    "write_comparison",
    "write_preference",
    "write_report",
    "write_training",
    "write_what_if",
]

__getattr__ = lazy(__name__, {"write_what_if": "what_if.results"})  # a page of a run needs no search


def write_report(summary: Mapping[str, Any], path: Path | str, what_if: Mapping[str, Any] | None = None) -> Path:
    """Write the page of a search; the former name of `write("search", ...)`."""
    return write("search", summary, path, what_if=what_if)


def write_comparison(summary: Mapping[str, Any], path: Path | str) -> Path:
    """Write the page of a comparison; the former name of `write("comparison", ...)`."""
    return write("comparison", summary, path)


def write_training(summary: Mapping[str, Any], path: Path | str, decisions: Path | str | Iterable[Any] = ()) -> Path:
    """Write the page of a training; the former name of `write("training", ...)`."""
    if isinstance(decisions, str | Path):
        return write("training", summary, path, **read_beside("training", decisions))
    return write("training", summary, path, decisions=list(decisions))


def write_preference(summary: Mapping[str, Any], path: Path | str, folder: Path | str | None = None) -> Path:
    """Write the page of a training on pairs; the former name of `write("preference", ...)`."""
    return write("preference", summary, path, **({} if folder is None else read_beside("preference", folder)))
