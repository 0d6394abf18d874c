"""The page of a training: one HTML file that needs nothing but a browser."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.report.page import document
from mixwright.report.training.view import build_training

_LOG = "decisions.jsonl"
_NEEDED = ("title", "sources", "curve", "steps", "tokens", "strategy", "fixed", "notes")


def write_training(summary: Mapping[str, Any], path: Path | str, decisions: Path | str | Iterable[Any] = ()) -> Path:
    """
    Write the page of a training to `path`, atomically, and return the path.

    Parameters
    ----------
    summary : mapping
        What `summary.json` of a training holds.
    path : Path or str
        The HTML file to write; its folder is made when it is missing.
    decisions : Path, str or iterable of mappings
        The run folder, whose `decisions.jsonl` is read, or its lines.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InputError
        When the summary lacks a field (which is named), a decision cannot be read, or the file cannot be written.
    MissingExtraError
        When jinja2 or plotly is not installed.
    """
    lines = _lines(Path(decisions)) if isinstance(decisions, str | Path) else list(decisions)
    text = render_training(summary, lines)
    with atomic_write(path) as handle:
        handle.write(text)
    return Path(path)


def render_training(summary: Mapping[str, Any], decisions: Iterable[Mapping[str, Any]] = ()) -> str:
    """
    Return the page of a training as HTML; see `write_training`.

    Like the page of a run it is self-contained, asks the network for nothing and forbids that, and the same summary
    gives the same text.
    """
    if summary.get("kind") != "training" or (missing := [name for name in _NEEDED if name not in summary]):
        found = "another kind" if summary.get("kind") != "training" else f"no {missing[0]!r}"
        raise InputError(f"the summary should be of a training, found {found}; write it anew with mixwright train")
    return document("training/page.html", build_training(summary, list(decisions)))


def _lines(folder: Path) -> list[Any]:
    path = folder / _LOG
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run the training again to write it anew") from error
