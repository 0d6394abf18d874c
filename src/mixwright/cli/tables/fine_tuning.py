"""A fine-tuning as a table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixwright.cli.tables.tables import _line
from mixwright.report.words import duration, number, percent

_SHOWN = 30  # sources; JSON has all


def print_fine_tuning(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a fine-tuning: each source's share, epochs, and held-out loss before and after.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        What `summary.json` of a fine-tuning holds.
    folder : Path
        Of the run.
    """
    console.print()
    console.print(f"[bold]{escape(summary['title'])}[/]", soft_wrap=True)
    table = Table(title="Sources: held-out loss in nats per token of the chosen answers", title_justify="left")
    table.add_column("source", overflow="fold")
    for name in ("pairs", "drawn", "epochs", "held out", "before", "after"):
        table.add_column(name, justify="right")
    for source in summary["sources"][:_SHOWN]:
        losses = (number(source[key]) for key in ("held_out_loss_before", "held_out_loss"))
        counts = (f"{source['pairs']:,}", percent(source["drawn"]), f"{source['epochs']:.2f}")
        table.add_row(escape(source["name"]), *counts, f"{source['held_out_pairs']:,}", *losses)
    console.print(table)
    if len(summary["sources"]) > _SHOWN:
        console.print(f"... and {len(summary['sources']) - _SHOWN} more sources; --json has all")
    held = summary["held_out"]
    _line(console, "held-out", f"average {number(held['before'])} before, {number(held['after'])} after")
    _line(console, "trained", f"{summary['rows']:,} rows, {summary['steps']:,} steps, {duration(summary['seconds'])}")
    for note in summary["notes"]:
        _line(console, "note", note)
    _line(console, "model", str((folder / "model").resolve()))
