"""Results as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixwright.constraints.polytope import binding_words
from mixwright.mixture_file import MixtureFile
from mixwright.report.measure import Measure, measure_of

_SHOWN = 15  # sources in a table; the page and mixture.json have all


def print_summary(console: Console, summary: dict[str, Any], folder: Path) -> None:
    """Print the result of a run: weights, held-out losses, certificate, cost, verdict, where the page is."""
    console.print()
    console.print(f"[bold]{escape(summary['title'])}[/]", soft_wrap=True)
    weights = {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    names = [source["name"] for source in summary["sources"]]
    for search in summary["searches"]:
        title = f"Weights of {search['mixture']} (target {search['target']}, likelihood per {search['unit']})"
        console.print()
        _print_weights(console, title, names, weights[search["mixture"]], search.get("interval"), search["level"])
        _line(
            console,
            "certificate",
            f"within {search['gap']:.1e} nats per row of the best possible objective; "
            f"shrinkage {search['shrinkage']:g}, {search['rows']:,} rows of {search['documents']:,} "
            f"{measure_of(summary).examples}"
            + (f" in {search['scaffolds']:,} scaffolds" if search.get("scaffolds") else ""),
        )
        for binding in search.get("binding") or []:
            _line(console, "limit", binding_words(binding["constraint"], binding["price"]))
        _line(console, "from proxies", search["verdict"])
    for target in summary["targets"] if summary["runs"] else ():
        console.print()
        _print_losses(console, summary, target["name"])
    _print_cost(console, summary["cost"])
    _line(console, "verdict", summary["verdict"])
    for note in summary.get("notes", []):
        _line(console, "note", note)
    _line(console, "mixture", str((folder / "mixture.json").resolve()))
    if summary.get("kind") == "assays":
        _line(console, "row weights", str((folder / "row_weights.parquet").resolve()))
    _line(console, "page", str((folder / "report.html").resolve()))


def print_mixture(console: Console, mixture: MixtureFile) -> None:
    """Print a mixture.json."""
    level = mixture.uncertainty.get("level", 0.9)
    title = f"Weights (share of {mixture.unit})"
    _print_weights(console, title, mixture.sources, mixture.weights, mixture.uncertainty.get("interval"), level)
    method = ", ".join(f"{key} {_short(value)}" for key, value in mixture.method.items())
    _line(console, "method", method or "not given")
    evidence = mixture.evidence
    if "rows" in evidence:
        unit, documents = evidence.get("unit", "row"), evidence.get("documents", "?")
        words = evidence.get("documents_are", "documents")
        _line(console, "evidence", f"{evidence['rows']:,} rows (per {unit}) of {documents} {words}")
    if "gap" in mixture.certificate:
        per = mixture.certificate.get("unit", "nats per row")
        _line(console, "certificate", f"within {mixture.certificate['gap']:.1e} ({per}) of the best objective")
    for binding in mixture.certificate.get("binding", []):
        _line(console, "limit", binding_words(str(binding["constraint"]), float(binding["price"])))
    _line(console, "verdict", mixture.verdict)


def _print_weights(
    console: Console,
    title: str,
    names: Sequence[str],
    weights: Sequence[float],
    interval: Sequence[Sequence[float]] | None,
    level: float,
) -> None:
    """Print weights, the largest first."""
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    table = Table()
    table.add_column("source")
    table.add_column("weight", justify="right")
    table.add_column(f"{100 * level:g} % interval", justify="right")
    table.add_column("")
    order = sorted(range(len(names)), key=lambda i: -weights[i])
    for i in order[:_SHOWN]:
        span = f"{interval[i][0]:.3f} to {interval[i][1]:.3f}" if interval else "not known"
        table.add_row(escape(names[i]), f"{weights[i]:.3f}", span, "█" * round(20 * weights[i]))
    if rest := order[_SHOWN:]:
        table.add_row(f"{len(rest)} more", f"{sum(weights[i] for i in rest):.3f}", "", "")
    console.print(table)


def _print_losses(console: Console, summary: dict[str, Any], target: str) -> None:
    """Print the losses (or another measure) of the mixtures on a target, and how they compare with uniform."""
    measure = measure_of(summary)
    held = next(entry["held_out_documents"] for entry in summary["targets"] if entry["name"] == target)
    side = "higher" if measure.higher else "lower"
    title = f"{measure.title} on {target}{measure.in_unit}, {held:,} held-out {measure.examples} ({side} is better)"
    console.print(f"[bold]{escape(title)}[/]", soft_wrap=True)
    table = Table()
    for name in ("trained with", measure.amount, measure.field.replace("_", " "), "minus uniform"):
        table.add_column(name, justify="left" if name == "trained with" else "right")
    level = next((c["level"] for c in summary["comparisons"]), 0.9)
    table.add_column(f"{100 * level:g} % interval", justify="right")
    over = {c["mixture"]: c for c in summary["comparisons"] if c["over"] == "uniform" and c["target"] == target}
    values = [run[measure.field][target] for run in summary["runs"]]
    best = max(values) if measure.higher else min(values)
    for run, value in zip(summary["runs"], values, strict=True):
        loss = f"[bold]{value:.4f}[/]" if value == best else f"{value:.4f}"
        table.add_row(
            escape(run["mixture"]), f"{_amount(run, measure):,}", loss, *_difference(over.get(run["mixture"]))
        )
    console.print(table)


def _amount(run: dict[str, Any], measure: Measure) -> int:
    """Return how much a run was trained on: tokens, or rows."""
    return int(run[measure.amount])


def _difference(comparison: dict[str, Any] | None) -> tuple[str, str]:
    if comparison is None:
        return "", ""
    if comparison["low"] is None:
        return f"{comparison['difference']:+.4f}", "not known"
    return f"{comparison['difference']:+.4f}", f"{comparison['low']:+.4f} to {comparison['high']:+.4f}"


def _print_cost(console: Console, cost: dict[str, Any]) -> None:
    seconds = sum(cost["seconds"].values())
    if cost["proxy_tokens"] is None:
        text = (
            f"table, proxies and search took {cost['share']:.1f} times as long as the final trainings with the "
            f"search's mixture; {seconds:.0f} s in all"
        )
        console.print()
        _line(console, "cost", text)
        return
    text = (
        f"proxies {cost['proxy_tokens']:,} tokens and scoring: {100 * cost['share']:.3g} % of one final run's compute "
        f"({cost['final_tokens']:,} tokens); {seconds:.0f} s in all"
    )
    console.print()
    _line(console, "cost", text)


def _line(console: Console, name: str, text: str) -> None:
    console.print(f"[bold]{name}:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
