"""The page of a comparison: one HTML file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.files import atomic_write
from mixwright.report.comparison.schema import check_comparison, completed_comparison
from mixwright.report.comparison.view import build_comparison
from mixwright.report.page import document


def write_comparison(summary: Mapping[str, Any], path: Path | str) -> Path:
    """
    Write the page of a comparison to `path`, atomically, and return the path.

    Parameters
    ----------
    summary : mapping
        What `mixwright.compare.summarise` returned; and, where they are known, "title", "command", "setting" ("text" or
        "assays"), "budget" ({"tokens", "charged"}), "cost" ({arm: {name: number}}) and "csv" (the file of all cells,
        beside the page).
    path : Path or str
        The HTML file to write; its folder is made when it is missing.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        When the summary is of a newer schema or of another kind, or lacks a field (which is named), or the file cannot
        be written.
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    text = render_comparison(summary)
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def render_comparison(summary: Mapping[str, Any]) -> str:
    """
    Return the page of a comparison as HTML; see `write_comparison`.

    Like the page of a run it is self-contained, asks the network for nothing and forbids that, and the same summary
    gives the same text.
    """
    check_comparison(summary)
    return document("comparison/page.html", build_comparison(completed_comparison(summary)))
