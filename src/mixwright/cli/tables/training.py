"""A training as tables in the terminal."""

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


def print_training(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a training: each source's weight, share, epochs and loss, the targets, where the page is.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        What `summary.json` of a training holds.
    folder : Path
        Of the run.
    """
    console.print()
    console.print(f"[bold]{escape(summary['title'])}[/]", soft_wrap=True)
    table = Table(title="Sources", title_justify="left")
    table.add_column("source", overflow="fold")
    for name in ("last weight", "asked", "drawn", "epochs", "held-out loss"):
        table.add_column(name, justify="right")
    for source in summary["sources"][:_SHOWN]:
        shares = (percent(source[key]) for key in ("last_weight", "asked", "drawn"))
        loss = number(source["held_out_loss"])
        table.add_row(escape(source["name"]), *shares, f"{source['epochs']:.2f}", loss)
    console.print(table)
    if len(summary["sources"]) > _SHOWN:
        console.print(f"... and {len(summary['sources']) - _SHOWN} more sources; the page has all")
    for target in summary["targets"]:
        right = "" if target["accuracy"] is None else f", right answers {percent(target['accuracy'])}"
        _line(console, "target", f"{target['name']}: {number(target['loss'])} nats per token{right}")
    held = summary["held_out"]
    if held["average"] is not None:
        text = (
            f"average {number(held['average'])}, worst {number(held['worst'])} ({held['worst_source']}) nats per token"
        )
        _line(console, "held-out", text)
    _line(console, "weights", "fixed" if summary["fixed"] else summary["strategy"])
    _line(
        console, "trained", f"{summary['tokens']:,} tokens, {summary['steps']:,} steps, {duration(summary['seconds'])}"
    )
    for note in summary["notes"]:
        _line(console, "note", note)
    _line(console, "model", str((folder / "model").resolve()))
    _line(console, "page", str((folder / "report.html").resolve()))
