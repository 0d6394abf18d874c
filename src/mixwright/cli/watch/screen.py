"""A run while it goes, as a picture that changes on a terminal, or as lines in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mixwright.cli.output import StageLines
from mixwright.experiment.live.look import RunState
from mixwright.report.live.view import lead, piece_words, pieces_view, sources_of, stage_words
from mixwright.report.words import number, percent

_BAR = 24
_NAMED = 4  # sources in a line of a log
_NAMED_PIECES = {"failed": 4, "running": 6}
_WIDE = 76  # columns from which on the courses have room
_LEAST = 3  # rows of each table on a low terminal
_BLOCKS = "▁▂▃▄▅▆▇█"
_COURSE = 24  # columns of a course of losses
_STYLES = {"failed": "red", "running": "green"}


class Picture:
    """
    A context that draws a run again and again in the same place, no higher than the terminal.

    Parameters
    ----------
    console
        The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Picture:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing; what was drawn last stays."""
        self._live.stop()

    def __call__(self, seen: RunState) -> None:
        """Draw."""
        self._live.update(picture(seen, self._console.height - 1, _draws_courses(self._console)), refresh=True)


def _draws_courses(console: Console) -> bool:
    return console.width >= _WIDE and (console.encoding or "").lower().startswith("utf")


def picture(seen: RunState, height: int, courses: bool = True) -> Group:
    """Return a run as it is drawn on a terminal of `height` lines; `courses`: whether that has room and the blocks."""
    summary = seen.to_json()
    parts: list[RenderableType] = [
        Text(seen.title, style="bold", no_wrap=True, overflow="ellipsis"),
        Text(lead(summary) + (f" (on {seen.host})" if seen.host else ""), no_wrap=True, overflow="ellipsis"),
        _stages(summary),
    ]
    left = height - 2 - max(len(seen.stages), 1)
    pieces, sources = pieces_view(seen.pieces), sources_of(summary)
    rows = _piece_rows(pieces)
    for_pieces = min(len(rows) + 1, left if not sources else left // 2) if rows else 0
    if rows:
        parts.append(_pieces(rows, for_pieces - 1))
    if sources:
        parts.append(_sources(sources, seen.loss_course, left - for_pieces - 3, courses))
    return Group(*parts)


def _stages(summary: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, found in summary["stages"].items():
        stage = stage_words(name, *found)
        bar = ProgressBar(total=1.0, completed=stage["share"], width=_BAR)
        table.add_row(Text(name), bar, Text(stage["said"], no_wrap=True))
    if not summary["stages"]:
        table.add_row(Text("no stage has begun", style="dim"))
    return table


def _sources(sources: Sequence[Mapping[str, Any]], course: Mapping[str, Any], room: int, courses: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("source", overflow="ellipsis", no_wrap=True)
    table.add_column("weight", justify="right", no_wrap=True)
    table.add_column("", width=_BAR // 2)
    table.add_column("loss", justify="right", no_wrap=True)
    if courses:
        table.add_column("its course", no_wrap=True, overflow="crop")
    shown = sources[: max(room, _LEAST)]
    for source in shown:
        bar = ProgressBar(total=100.0, completed=source["width"], width=_BAR // 2)
        row: list[RenderableType] = [Text(source["name"]), Text(percent(source["weight"])), bar]
        table.add_row(
            *row,
            Text(number(source["loss"])),
            *([Text(blocks_of(_values(course, source["name"])), style="dim")] if courses else []),
        )
    if len(sources) > len(shown):
        table.caption = f"and {len(sources) - len(shown)} more sources"
        table.caption_justify = "left"
    return table


def _values(course: Mapping[str, Any], name: str) -> list[float]:
    return [row[name] for row in course.get("values", []) if name in row]


def blocks_of(values: Sequence[float]) -> str:
    """Return a course as blocks of eight heights: means of as many neighbours as there are for each column."""
    size = max(1, -(-len(values) // _COURSE))
    means = [sum(part) / len(part) for part in (values[i : i + size] for i in range(0, len(values), size))]
    low, high = min(means, default=0.0), max(means, default=0.0)
    width = (high - low) or 1.0
    return "".join(_BLOCKS[min(int(8 * (mean - low) / width), 7)] for mean in means)


def _piece_rows(pieces: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (state, name, words): counts of the stages, what failed, what is at work, counts of the groups."""
    rows = [("stage", stage["name"], _counts(stage)) for stage in pieces["stages"]]
    for state, most in _NAMED_PIECES.items():
        found = pieces[state]["rows"]
        rows += [(state, row["name"], _says(state, row)) for row in found[:most]]
        if more := len(found[most:]) + pieces[state]["more"]:
            rows.append((state, f"and {more} more {state}", ""))
    return rows + [("group", group["name"], _counts(group)) for stage in pieces["stages"] for group in stage["groups"]]


def _says(state: str, row: Mapping[str, Any]) -> str:
    where = f" on {row['host']}" if row["host"] else ""
    return f"{state}{where}: {row['says']}"


def _counts(row: Mapping[str, Any]) -> str:
    others = [f"{row[state]} {state}" for state in ("running", "failed", "open") if row[state]]
    return ", ".join([f"{row['done']} of {row['of']} done", *others])


def _pieces(rows: Sequence[tuple[str, str, str]], room: int) -> Table:
    table = Table.grid(padding=(0, 2))
    room = max(room, _LEAST)
    shown = rows if len(rows) <= room else rows[: room - 1]
    for state, name, words in shown:
        style = "bold" if state == "stage" else _STYLES.get(state, "")
        table.add_row(
            Text(name, style=style, no_wrap=True, overflow="ellipsis"), Text(words, no_wrap=True, overflow="ellipsis")
        )
    if len(rows) > len(shown):
        table.add_row(Text(f"and {len(rows) - len(shown)} more lines", style="dim"))
    return table


class RunLines:
    """
    A run as lines: what its stages do, as the command itself says it in a log, and pieces that fail.

    Parameters
    ----------
    console
        Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._stages = console, StageLines(console)
        self._told: set[str] = set()

    def __call__(self, seen: RunState) -> None:
        """Say what is new."""
        self._once(f"{seen.title}: {lead(seen.to_json())}" if not self._told else "")
        self._once(f"plan: {seen.plan}" if seen.plan else "")
        unfinished = [name for name, (done, of, _) in seen.stages.items() if done < of]
        for name, (done, of, _) in seen.stages.items():
            if done >= of or name == unfinished[-1]:
                self._stages(name, done, of, _note(seen))
        for piece in seen.pieces:
            if piece["state"] == "failed":
                where = f" on {piece['host']}" if piece.get("host") else ""
                self._once(f"failed{where}: {piece['name']}: {piece_words(piece)}")

    def _once(self, text: str) -> None:
        if text and text not in self._told:
            self._told.add(text)
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _note(seen: RunState) -> str:
    parts = [seen.note] if seen.note else []
    if seen.weights:
        top = sorted(seen.weights, key=lambda name: -seen.weights[name])
        words = ", ".join(f"{name} {percent(seen.weights[name])}" for name in top[:_NAMED])
        parts.append(f"weights {words}{', ...' if len(top) > _NAMED else ''}")
    return "; ".join(parts)
