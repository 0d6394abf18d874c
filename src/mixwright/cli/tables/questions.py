"""What final models say to question sets, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from mixwright.cli.tables.parts import Column, print_table, print_title
from mixwright.report.words import count, digits_of, number, percent, signed, span


def print_answers(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print the accuracy and the answer loss of one model, a row for each set and for their average."""
    if not entries:
        return
    print_title(console, "Questions: answer loss is in nats per byte (lower is better)")
    rows = []
    for own in entries:
        digits = _digits(own)
        ends = span(own["low"], own["high"], digits)
        rows.append([own["name"], own["quantity"], number(own["value"], digits), ends, count(own["questions"])])
    interval = f"{percent(entries[0]['level'], 0)} interval"
    columns: list[str | Column] = [
        "questions of",
        Column("measure", words=True),
        "value",
        interval,
        Column("questions", spare=True),
    ]
    print_table(console, columns, rows)


def print_answers_of_mixtures(console: Console, entries: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of the mixtures for each quantity and question set, with paired differences over questions."""
    for entry in entries:
        side, unit = "higher" if entry["higher"] else "lower", f", {entry['unit']}" if entry["unit"] else ""
        held = f"{count(entry['mixtures'][0]['questions'])} held-out questions"
        print_title(console, f"{entry['quantity'].capitalize()} on {entry['name']}{unit}, {held} ({side} is better)")
        rows = []
        for own in entry["mixtures"]:
            digits = _digits(own)
            ends = span(own["low"], own["high"], digits)
            rows.append([own["mixture"], number(own["value"], digits), ends, *_difference(own)])
        interval = f"{percent(entry['level'], 0)} interval"
        print_table(console, ["trained with", "value", interval, f"minus {entry['over']}", interval], rows)


def _difference(own: Mapping[str, Any]) -> tuple[str, str]:
    if own["difference"] is None:
        return "", ""
    value, within = own["difference"], own["within"]
    digits = digits_of([value, within])
    ends = "not known" if within is None else span(value - within, value + within, digits, signed)
    return signed(value, digits), ends


def _digits(own: Mapping[str, Any]) -> int:
    return digits_of(own[end] for end in ("value", "low", "high"))
