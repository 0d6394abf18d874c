"""A comparison as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixwright.cli.tables.tables import _line
from mixwright.report.comparison.schema import completed_comparison
from mixwright.report.comparison.view import digits_of_measure
from mixwright.report.comparison.words import amount_of, counted, lead, search_of

PAGE = "report.html"
_STYLES = {"better": "bold green", "worse": "bold red", "no better": "", "unverified": "dim"}


def print_comparison(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a comparison: a table for each headline measure, what arms cost, the verdict, where the page is.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        Of a comparison, as `mixwright.report.write` takes it.
    folder : Path
        Of the comparison: its page and the CSV are there.
    """
    summary = completed_comparison(summary)
    console.print()
    console.print(f"[bold]{escape(summary['title'] or 'Comparison')}[/]", soft_wrap=True)
    for measure in summary["measures"]:
        if measure["headline"]:
            console.print()
            _print_measure(console, measure, summary)
    console.print()
    if counted(summary):
        _print_costs(console, summary)
    _line(console, "verdict", lead(summary))
    for name, text in _explained(summary):
        _line(console, name, text)
    for note in summary["notes"]:
        _line(console, "note", note)
    if summary["csv"]:
        _line(console, "every number", str((folder / summary["csv"]).resolve()))
    _line(console, "page", str((folder / PAGE).resolve()))


def _explained(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what one must know to read the tables."""
    if len(summary["seeds"]) < 2:
        return [("why", "one seed does not tell how far runs differ; run at least 2 seeds")]
    level, error = f"{100 * summary['level']:g} %", f"{100 * summary['error']:g} %"
    text = (
        f"{len(summary['seeds'])} seeds; the {level} intervals of a table hold together, and an arm is called better "
        f"where its interval says so (a false “better” among all arms in at most {error})"
    )
    return [("how", text)]


def _print_measure(console: Console, measure: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Print mean, difference with its interval, and the verdict of each arm."""
    unit = f", {measure['unit']}" if measure["unit"] else ""
    side = "higher" if measure["higher"] else "lower"
    title = f"{measure['quantity'].capitalize()} on {measure['name']}{unit} ({side} is better)"
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    over = next((d["over"] for d in measure["differences"]), summary["over"])
    table = Table()
    table.add_column("arm")
    for name in ("mean", f"minus {over}", f"{100 * summary['level']:g} % interval"):
        table.add_column(escape(name), justify="right")
    table.add_column("verdict")
    entries, digits = {d["arm"]: d for d in measure["differences"]}, digits_of_measure(measure)
    means = {arm: sum(values) / len(values) for arm, values in measure["values"].items()}
    best = (max if measure["higher"] else min)(means.values())
    for arm, mean in means.items():
        shown = f"[bold]{mean:.{digits}f}[/]" if mean == best else f"{mean:.{digits}f}"
        table.add_row(escape(arm), shown, *_difference(entries.get(arm), digits))
    console.print(table)


def _difference(entry: Mapping[str, Any] | None, digits: int) -> tuple[str, ...]:
    if entry is None:
        return "", "", "[dim]baseline[/]"
    ends = _span((entry["low"], entry["high"]), digits)
    style = _STYLES[entry["word"]]
    word = f"[{style}]{entry['word']}[/]" if style else entry["word"]
    return f"{entry['difference']:+.{digits}f}", ends, word


def _span(ends: tuple[float | None, float | None], digits: int) -> str:
    low, high = ends
    return "not known" if low is None or high is None else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _print_costs(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what each arm's training and its search took, mean over its trainings."""
    amount = amount_of(summary)
    console.print(f"[bold]{amount.capitalize()} of each arm[/]")
    table = Table()
    table.add_column("arm")
    for name in ("training", search_of(summary), "total", "most epochs"):
        table.add_column(name, justify="right")
    for arm in summary["arms"]:
        costs = [f"{arm[key]:,.0f}" for key in ("amount", "search_cost", "total_cost")]
        table.add_row(escape(arm["name"]), *costs, f"{arm['most_epochs']:.2f}")
    console.print(table)
