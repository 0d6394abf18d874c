"""Specialists and generalists on preference pairs as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixwright.cli.tables.tables import _line
from mixwright.report.words import duration, number, percent

_SHOWN = 30  # sources; JSON and the page have all


def print_preference(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a training on pairs: weights, epochs and held-out numbers of each source, and where the page is.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        What its `summary.json` holds.
    folder : Path
        Of the run.
    """
    _title(console, summary)
    over = summary["specialists"]
    names = ("weight", "drawn", "epochs", "loss", "accuracy")
    rows = []
    for source in summary["sources"]:
        held = source["held_out"]
        row = [percent(source["last_weight"]), percent(source["drawn"])]
        row += [f"{source['epochs']:.2f}", number(held["loss"]), percent(held["accuracy"])]
        rows.append((source["name"], row + ([number(held["excess"]), number(held["gap"])] if over else [])))
    _table(console, names + (("excess", "gap") if over else ()), rows)
    for key, words in (("loss", "loss"), ("accuracy", "accuracy"), ("excess", "excess")):
        if found := summary["held_out"].get(key):
            shown = percent if key == "accuracy" else number
            text = f"average {shown(found['average'])}, worst {shown(found['worst'])} ({found['worst_source']})"
            _line(console, words, text + ("" if key == "accuracy" else ", nats per pair"))
    _line(console, "weights", f"{summary['strategy']}{' (fixed)' if summary['fixed'] else ''}")
    cost = f"{summary['pairs']:,} pairs, {summary['steps']:,} steps, {duration(summary['seconds'])}"
    if summary["cost"]["specialist_pairs"]:
        cost += f"; its specialists cost as much as {summary['cost']['specialist_pairs']:,.0f} pairs"
    _line(console, "trained", cost)
    _notes(console, summary)
    _line(console, "model", str((folder / "model").resolve()))
    _line(console, "page", str((folder / "report.html").resolve()))


def print_specialists(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print what specialists reach on their own sources, and what they cost; arguments as of `print_preference`."""
    _title(console, summary)
    rows = [
        (
            source["name"],
            [
                f"{source['pairs']:,}",
                number(source["train_loss"]),
                number(source["held_out_loss"]),
                f"{source['cost']:,.0f}",
                "kept" if source["model"] else "dropped",
            ],
        )
        for source in summary["sources"]
    ]
    _table(console, ("pairs", "loss of its pairs", "held-out loss", "cost, pairs", "model"), rows)
    _notes(console, summary)
    _line(console, "cache", str((folder / "cache").resolve()))


def _title(console: Console, summary: Mapping[str, Any]) -> None:
    console.print()
    console.print(f"[bold]{escape(summary['title'])}[/]", soft_wrap=True)


def _table(console: Console, names: tuple[str, ...], rows: list[tuple[str, list[str]]]) -> None:
    table = Table()
    table.add_column("source", overflow="fold")
    for name in names:
        table.add_column(name, justify="right")
    for name, cells in rows[:_SHOWN]:
        table.add_row(escape(name), *map(escape, cells))
    console.print(table)
    if len(rows) > _SHOWN:
        console.print(f"... and {len(rows) - _SHOWN} more sources; summary.json has all")


def _notes(console: Console, summary: Mapping[str, Any]) -> None:
    for note in summary["notes"]:
        _line(console, "note", note)
