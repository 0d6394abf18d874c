"""A fit of a table of runs, as tables in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from mixwright.cli.tables.comparison import print_predictions
from mixwright.cli.tables.parts import Column, print_ends, print_line, print_table, print_title
from mixwright.cli.tables.search import print_limits, print_weights
from mixwright.report.runs.confirmed import forecast_words
from mixwright.report.runs.view import certificate_words, distance_words, optimism_words
from mixwright.report.words import count, digits_of, figure, number, percent, span


def print_fit(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """Print the proposal, what is predicted of it, the laws, how far to believe them, and where the page is."""
    fit, names = summary["fit"], [source["name"] for source in summary["sources"]]
    print_title(console, summary["title"])
    title = f"Weights of the proposal (law {fit['law']}, {count(fit['mixtures'])} measured mixtures)"
    print_weights(console, title, names, summary["mixtures"][0]["weights"], fit["interval"], fit["level"])
    print_limits(console, fit["binding"], "")
    for target in summary["targets"]:
        if not target["share"]:
            digits = digits_of((target["predicted"], target["limit"]))
            ends = number(target["predicted"], digits), number(target["limit"], digits)
            print_line(console, "guardrail", f"{target['name']}: predicted {ends[0]}, at most {ends[1]}")
    _print_forecasts(console, summary)
    if confirmed := summary.get("confirmed"):
        print_forecasts(console, confirmed["mixtures"], confirmed)
    _print_laws(console, fit)
    console.print()
    print_line(console, "certificate", certificate_words(fit))
    print_line(console, "optimism", optimism_words(fit))
    print_line(console, "distance", distance_words(fit))
    if confirmed:
        print_line(console, "forecast", forecast_words(confirmed))
    print_line(console, "verdict", summary["verdict"])
    print_ends(console, summary, folder, mixture="mixture.json", page="report.html")


def print_forecasts(console: Console, mixtures: list[dict[str, Any]], confirmed: dict[str, Any]) -> None:
    """Print predictions beside what trainings of a confirmation measured."""
    title = f"Predicted and measured losses, {len(confirmed['seeds'])} trainings each (lower is better)"
    scores = [{**one, "arm": one["name"]} for one in mixtures]
    print_predictions(console, title, scores, confirmed["difference"]["level"])


def _print_forecasts(console: Console, summary: dict[str, Any]) -> None:
    level, without = summary["fit"]["level"], "no run" if "confirmed" in summary else "not trained"
    print_title(console, "Losses (lower is better): predictions are not yet corrected for selection, intervals are")
    digits = digits_of(one["predicted"] for one in summary["mixtures"])
    rows = [
        [
            one["name"],
            number(one["predicted"], digits),
            span(one["low"], one["high"], digits),
            without if one["measured"] is None else number(one["measured"], digits),
        ]
        for one in summary["mixtures"]
    ]
    print_table(console, ["mixture", "predicted", f"{percent(level, 0)} interval", "measured"], rows)


def _print_laws(console: Console, fit: dict[str, Any]) -> None:
    print_title(console, "Laws, on mixtures that each fit had not seen")
    rows = [
        [law["name"] + (" (taken)" if law["name"] == fit["law"] else ""), *_scores(law)]
        for law in sorted(fit["laws"], key=lambda law: law["rmse"])
    ]
    if len(rows) > 1:
        rows.append(["the choice itself", *_scores(fit["nested"])])
    print_table(console, ["law", "rank correlation", "error", Column("regret of its pick", spare=True)], rows)


def _scores(law: dict[str, Any]) -> list[str]:
    return [number(law["spearman"], 3), figure(law["rmse"]), figure(law["regret"])]
