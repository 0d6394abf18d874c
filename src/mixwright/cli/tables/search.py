"""A search, and a mixture, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from mixwright.cli.tables.parts import Column, print_ends, print_line, print_table, print_title
from mixwright.cli.tables.questions import print_answers_of_mixtures
from mixwright.constraints.polytope import binding_words
from mixwright.mixture_file import MixtureFile
from mixwright.report.measure import Measure, measure_of
from mixwright.report.search.answers import cost_words
from mixwright.report.words import base_rate, count, number, percent, signed, small, span

_SHOWN = 15  # sources in a table; the page and mixture.json have all


def print_summary(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """Print the result of a run: weights, held-out losses, certificate, cost, verdict, where the page is."""
    print_title(console, summary["title"])
    weights = {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    names = [source["name"] for source in summary["sources"]]
    measure = measure_of(summary)
    if run := summary.get("proxy_run"):
        level = summary["searches"][0]["level"]
        of = f"the mean of a proxy run of {run['method']}, {count(run['steps'])} steps"
        print_weights(console, f"Weights of search ({of})", names, weights["search"], None, level)
        print_line(console, "search", summary["searches"][0]["verdict"])
    for search in summary["searches"] if not run else ():
        title = f"Weights of {search['mixture']} (target {search['target']}, likelihood per {search['unit']})"
        print_weights(console, title, names, weights[search["mixture"]], search.get("interval"), search["level"])
        print_line(console, "certificate", _certificate(search, measure))
        print_limits(console, search.get("binding"))
        print_line(console, "from proxies", search["verdict"])
    for target in summary["targets"] if summary["runs"] else ():
        _print_losses(console, summary, target, measure_of(summary, target["name"]))
    print_answers_of_mixtures(console, summary.get("questions", ()))
    console.print()
    print_line(console, "cost", cost_words(summary))
    for verdict in summary["verdict"].splitlines():  # of each target
        print_line(console, "verdict", verdict)
    rows = {"row_weights": "row_weights.parquet"} if summary.get("kind") == "assays" else {}
    print_ends(console, summary, folder, mixture="mixture.json", **rows, page="report.html")


def print_mixture(console: Console, mixture: MixtureFile) -> None:
    """Print a mixture.json."""
    level, interval = mixture.uncertainty.get("level", 0.9), mixture.uncertainty.get("interval")
    print_weights(console, f"Weights (share of {mixture.unit})", mixture.sources, mixture.weights, interval, level)
    method = ", ".join(f"{key} {small(v) if isinstance(v, float) else v}" for key, v in mixture.method.items())
    print_line(console, "method", method or "not given")
    evidence = mixture.evidence
    if "rows" in evidence:
        unit, documents = evidence.get("unit", "row"), evidence.get("documents", "?")
        words = evidence.get("documents_are", "documents")
        print_line(console, "evidence", f"{count(evidence['rows'])} rows (per {unit}) of {documents} {words}")
    if "gap" in mixture.certificate:
        per = mixture.certificate.get("unit", "nats per row")
        print_line(console, "certificate", f"within {small(mixture.certificate['gap'])} {per} of the best objective")
    of_runs = mixture.method.get("name") == "runs"  # prices in the unit of the losses
    print_limits(console, mixture.certificate.get("binding"), "" if of_runs else " nats per row")
    print_line(console, "verdict", mixture.verdict)
    for note in mixture.evidence.get("notes") or ():
        print_line(console, "note", str(note))


def _certificate(search: dict[str, Any], measure: Measure) -> str:
    among = f" in {count(search['scaffolds'])} scaffolds" if search.get("scaffolds") else ""
    return (
        f"within {small(search['gap'])} nats per row of the best possible objective; shrinkage "
        f"{small(search['shrinkage'])}, {count(search['rows'])} rows of {count(search['documents'])} "
        f"{measure.examples}{among}"
    )


def print_limits(console: Console, binding: Sequence[dict[str, Any]] | None, unit: str = " nats per row") -> None:
    """Print the limits that bind."""
    for limit in binding or ():
        print_line(console, "limit", binding_words(str(limit["constraint"]), float(limit["price"]), unit))


def print_weights(
    console: Console,
    title: str,
    names: Sequence[str],
    weights: Sequence[float],
    interval: Sequence[Sequence[float]] | None,
    level: float,
) -> None:
    """Print weights, the largest first."""
    print_title(console, title)
    order = sorted(range(len(names)), key=lambda i: -weights[i])
    rows = []
    for i in order[:_SHOWN]:
        ends = f"{number(100 * interval[i][0], 1)} to {percent(interval[i][1])}" if interval else "not known"
        rows.append([names[i], percent(weights[i]), ends, "█" * round(20 * weights[i])])
    if rest := order[_SHOWN:]:
        rows.append([f"{len(rest)} more", percent(sum(weights[i] for i in rest)), "", ""])
    bar = Column("", words=True, spare=True)
    print_table(console, ["source", "weight", f"{percent(level, 0)} interval", bar], rows)


def _print_losses(console: Console, summary: dict[str, Any], target: dict[str, Any], measure: Measure) -> None:
    """Print the losses (or another measure) of the mixtures on a target, and how they compare with uniform."""
    name = target["name"]
    held = f"{count(target['held_out_documents'])} held-out {measure.examples}"
    print_title(console, f"{measure.title} on {name}{measure.in_unit}, {held} ({measure.side} is better)")
    if known := base_rate(target.get("held_out_rows"), target.get("held_out_positives")):
        console.print(f"{known}: a model that knows nothing has that average precision", soft_wrap=True)
    level = next((c["level"] for c in summary["comparisons"]), 0.9)
    over = {c["mixture"]: c for c in summary["comparisons"] if c["over"] == "uniform" and c["target"] == name}
    values = [run[measure.field][name] for run in summary["runs"]]
    best = max(values) if measure.higher else min(values)
    rows = []
    for run, value in zip(summary["runs"], values, strict=True):
        shown = Text(number(value, measure.digits), style="bold" if value == best else "")
        difference = _difference(over.get(run["mixture"]), measure.digits)
        rows.append([run["mixture"], count(run[measure.amount]), shown, *difference])
    columns: list[str | Column] = ["trained with", Column(measure.amount, spare=True), measure.field.replace("_", " ")]
    columns += ["minus uniform", f"{percent(level, 0)} interval"]
    print_table(console, columns, rows)


def _difference(comparison: dict[str, Any] | None, digits: int) -> tuple[str, str]:
    if comparison is None:
        return "", ""
    ends = "not known" if comparison["low"] is None else span(comparison["low"], comparison["high"], digits, signed)
    return signed(comparison["difference"], digits), ends
