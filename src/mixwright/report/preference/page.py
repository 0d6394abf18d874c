"""The page of a training on preference pairs: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.report.page import document
from mixwright.report.preference.view import build_preference

_NEEDED = ("title", "sources", "curve", "steps", "pairs", "strategy", "fixed", "held_out", "notes")


def write_preference(summary: Mapping[str, Any], path: Path | str, folder: Path | str | None = None) -> Path:
    """
    Write the page of a training on preference pairs to `path`, atomically, and return the path.

    Parameters
    ----------
    summary : mapping
        What its `summary.json` holds.
    path : Path or str
        The HTML file to write; its folder is made when it is missing.
    folder : Path or str, optional
        The run folder, whose `metrics.jsonl` and `decisions.jsonl` are read.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        When the summary lacks a field (which is named), a line cannot be read, or the file cannot be written.
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    logs = [[], []] if folder is None else [_lines(Path(folder) / f"{n}.jsonl") for n in ("metrics", "decisions")]
    text = render_preference(summary, *logs)
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def render_preference(
    summary: Mapping[str, Any],
    metrics: Iterable[Mapping[str, Any]] = (),
    decisions: Iterable[Mapping[str, Any]] = (),
) -> str:
    """
    Return the page of a training on preference pairs as HTML; see `write_preference`.

    Like the page of a run it is self-contained, asks the network for nothing and forbids that, and the same input gives
    the same text.
    """
    if summary.get("kind") != "preference" or (missing := [name for name in _NEEDED if name not in summary]):
        found = "another kind" if summary.get("kind") != "preference" else f"no {missing[0]!r}"
        raise InputError(
            f"the summary should be of a training on pairs, found {found}; write it anew with mixwright prefer train"
        )
    return document("preference/page.html", build_preference(summary, list(metrics), list(decisions)))


def _lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run the training again to write it anew") from error
