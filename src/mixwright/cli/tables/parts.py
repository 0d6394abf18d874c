"""What all tables in the terminal are made of: a title, a table that fits, and lines with a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_LEAST_NAME = 14  # characters: longer names are folded where the terminal is narrow
_FRAME = 3  # characters beside each column
SHOWN = 30  # rows of sources


@dataclass(frozen=True)
class Column:
    """A column of numbers, of words, or of sentences; a spare one is left out where the terminal is narrow."""

    title: str
    words: bool = False
    spare: bool = False
    sentences: bool = False


def print_title(console: Console, text: str) -> None:
    """Print a heading."""
    console.print()
    console.print(Text(text, style="bold"), soft_wrap=True)


def print_line(console: Console, name: str, text: str) -> None:
    """Print `name: text`."""
    console.print(f"[bold]{escape(name)}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def print_ends(console: Console, summary: Mapping[str, Any], folder: Path, **files: str) -> None:
    """Print the notes of a run, and where its files are: a name for each file in the folder."""
    for note in summary.get("notes") or ():
        print_line(console, "note", note)
    for name, file in files.items():
        print_line(console, name.replace("_", " "), str((folder / file).resolve()))


def print_table(
    console: Console,
    columns: Sequence[str | Column],
    rows: Iterable[Sequence[str | Text]],
    most: int | None = None,
    rest: str = "--json has all",
) -> None:
    """
    Print a table that fits the terminal: no number is broken in two.

    Parameters
    ----------
    console : Console
        Where to.
    columns
        The first is of names, which are folded where they are too long; the others are numbers unless they say so.
    rows
        Cells as plain text, or as text with a style.
    most, rest
        How many rows are shown, and where the others are.
    """
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    shown = _fitting(console.width, heads, cells[:most])
    table = Table()
    for j in shown:
        wraps = j == 0 or heads[j].sentences
        justify = "left" if wraps or heads[j].words else "right"
        table.add_column(Text(heads[j].title), justify=justify, overflow="fold", no_wrap=not wraps)  # type: ignore[arg-type]
    for row in cells[:most]:
        table.add_row(*(row[j] for j in shown))
    console.print(table)
    if left_out := [head.title for j, head in enumerate(heads) if j not in shown and head.title]:
        console.print(f"(a wider terminal also shows: {', '.join(left_out)})", markup=False, highlight=False)
    if most is not None and len(cells) > most:
        console.print(f"... and {len(cells) - most} more; {rest}", markup=False, highlight=False)


def _fitting(width: int, heads: Sequence[Column], cells: Sequence[Sequence[Text]]) -> list[int]:
    """Return the columns that fit: spare ones go, the last first, while the others have no room."""
    needed = [max([len(head.title), *(row[j].cell_len for row in cells)]) for j, head in enumerate(heads)]
    needed[0] = min(needed[0], _LEAST_NAME)
    shown = list(range(len(heads)))
    for j in reversed(range(len(heads))):
        if sum(needed[i] + _FRAME for i in shown) + 1 > width and heads[j].spare:
            shown.remove(j)
    return shown
