"""A comparison as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from mixwright.cli.tables.parts import Column, print_ends, print_line, print_table, print_title
from mixwright.report.comparison.forecasts import ends_of, forecast_title, prediction_of
from mixwright.report.comparison.schema import completed_comparison
from mixwright.report.comparison.view import digits_of_measure
from mixwright.report.comparison.words import (
    amount_of,
    counted,
    explained,
    lead,
    power_words,
    search_of,
)
from mixwright.report.words import count, digits_of, number, percent, signed, span

_SHOWN_SETS = 3  # of questions; of more the average alone
_STYLES = {"better": "bold green", "worse": "bold red", "no better": "", "unverified": "dim"}


def print_comparison(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a comparison: a table for each headline measure, what arms cost, the verdict, where the page is.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        As for `mixwright.report.write("comparison", ...)`.
    folder : Path
        Of the comparison: its page and the CSV are there.
    """
    summary = completed_comparison(summary)
    print_title(console, summary["title"] or "Comparison")
    for measure in summary["measures"]:
        if measure["headline"]:
            _print_measure(console, measure, summary)
    _print_questions(console, summary)
    if forecast := summary["forecast"]:
        print_predictions(console, forecast_title(forecast), forecast["scores"], forecast["level"])
        if forecast["left_out"]:
            print_line(
                console, "note", f"the forecast has arms that were not trained here: {', '.join(forecast['left_out'])}"
            )
    if counted(summary):
        _print_costs(console, summary)
    print_line(console, "verdict", lead(summary))
    for name, text in explained(summary):
        print_line(console, name, text)
    print_ends(
        console, summary, folder, **({"every_number": summary["csv"]} if summary["csv"] else {}), page="report.html"
    )


def _print_questions(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what was measured on question sets and tasks: each and the sets' average, or of many the average alone."""
    found = [m for m in summary["measures"] if m["kind"] == "task" or (m["questions"] and not m["headline"])]
    many = sum(m["kind"] != "all targets" for m in found) > _SHOWN_SETS * len({m["quantity"] for m in found})
    for measure in found:
        if measure["kind"] == "all targets" or not many:
            _print_measure(console, measure, summary)
    if many:
        print_line(console, "each", "the page has each question set and task")


def print_predictions(console: Console, title: str, scores: Sequence[Mapping[str, Any]], level: float) -> None:
    """Print what was predicted, with intervals of a level, beside what was measured."""
    print_title(console, title)
    digits = digits_of(one["error"] for one in scores)
    rows = [
        [
            prediction_of(one, scores),
            number(one["predicted"], digits),
            ends_of(one, digits),
            number(one["measured"], digits),
            signed(one["error"], digits),
            {True: "yes", False: "no", None: ""}[one["inside"]],
        ]
        for one in scores
    ]
    print_table(console, ["mixture", "predicted", f"{percent(level, 0)} interval", "measured", "error", "inside"], rows)
    for one in scores:
        if one.get("note"):
            print_line(console, "note", f"{prediction_of(one, scores)}: {one['note']}")


def _print_measure(console: Console, measure: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Print mean, difference with its interval, and the verdict of each arm."""
    unit = f", {measure['unit']}" if measure["unit"] else ""
    side = "higher" if measure["higher"] else "lower"
    over = next((d["over"] for d in measure["differences"]), summary["over"])
    print_title(console, f"{measure['quantity'].capitalize()} on {measure['name']}{unit} ({side} is better)")
    if measure["about"]:
        console.print(escape(measure["about"]), soft_wrap=True)
    entries, digits = {d["arm"]: d for d in measure["differences"]}, digits_of_measure(measure)
    means = {arm: sum(values) / len(values) for arm, values in measure["values"].items()}
    best = (max if measure["higher"] else min)(means.values())
    rows = []
    for arm, mean in means.items():
        shown = Text(number(mean, digits), style="bold" if mean == best else "")
        asked = [_ends(measure["questions"][arm], digits)] if measure["questions"] else []
        rows.append([arm, shown, *asked, *_difference(entries.get(arm), digits)])
    difference = f"minus {over}" if len(over) <= 10 else "difference"
    asked = ["over questions"] if measure["questions"] else []
    columns: list[str | Column] = ["arm", "mean", *asked, difference, f"{percent(summary['level'], 0)} interval"]
    print_table(console, [*columns, Column("verdict", words=True)], rows)
    if power := power_words(measure, summary, digits):
        console.print(escape(power), soft_wrap=True)


def _difference(entry: Mapping[str, Any] | None, digits: int) -> list[str | Text]:
    if entry is None:
        return ["", "", Text("baseline", style="dim")]
    low, high = entry["low"], entry["high"]
    ends = "not known" if low is None or high is None else span(low, high, digits, signed)
    return [signed(entry["difference"], digits), ends, Text(entry["word"], style=_STYLES[entry["word"]])]


def _ends(own: Mapping[str, Any], digits: int) -> str:
    """Return the interval over questions of an arm's mean."""
    return "not known" if own["low"] is None else span(own["low"], own["high"], digits)


def _print_costs(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what each arm's training and its search took, mean over its trainings."""
    print_title(console, f"{amount_of(summary).capitalize()} of each arm")
    rows = [
        [
            arm["name"],
            *(count(arm[key]) for key in ("amount", "search_cost", "total_cost")),
            number(arm["most_epochs"], 2),
        ]
        for arm in summary["arms"]
    ]
    print_table(console, ["arm", "training", search_of(summary), "total", "most epochs"], rows)
