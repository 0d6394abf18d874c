"""From a checked summary to what the page's template shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.errors import InputError
from mixwright.report.charts import Chart, Line, lines_chart
from mixwright.report.courses import charts_of, held_weights, shown_sources, thinned
from mixwright.report.looks import KIND_WORDS, Look, looks_of
from mixwright.report.measure import Measure, measure_of
from mixwright.report.search.answers import answers_of, cost_words
from mixwright.report.search.charts import Dot, difference_chart, loss_chart
from mixwright.report.search.schema import check_summary, completed
from mixwright.report.weights import to_copy, weights_view
from mixwright.report.what_if.view import what_if_view
from mixwright.report.words import base_rate, number

SHOWN_MIXTURES = 5  # in the chart of weights
SHOWN_TARGETS = 6  # with charts; the tables have all
SHOWN_POINTS = 60  # of a loss curve, in its table


@dataclass(frozen=True)
class MixtureView:
    """A mixture as the page shows it."""

    name: str
    kind: str
    words: str
    weights: Sequence[float]
    interval: Sequence[Sequence[float]] | None
    level: float | None
    look: Look


def build_search(summary: Mapping[str, Any], what_if: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return what the page of a search shows; `charts` are the figures in the order of the page.

    Raises
    ------
    InputError
        When the summary cannot be shown (the field is named), or `what_if` is about other sources.
    """
    check_summary(summary)
    summary = completed(summary)
    mixtures = _mixtures(summary)
    by_name = {mixture.name: mixture for mixture in mixtures}
    view: dict[str, Any] = {
        "summary": summary,
        "title": summary["title"],
        "lead": summary["verdict"],
        "notes": summary.get("notes") or [],
        "what_if": _what_if(what_if, summary, by_name),
        "measure": measure_of(summary),
        "sources": [source["name"] for source in summary["sources"]],
        "mixtures": mixtures,
        "by_name": by_name,
        "answers": answers_of(summary, by_name),
        "baseline": _baseline(summary),
        "equal_tokens": len({run["tokens"] for run in summary["runs"]}) < 2,
        "seeds": len(summary.get("seeds") or [0]),
        "over_seeds": any(comparison["drawn"] == "seeds" for comparison in summary["comparisons"]),
        "losses": [_loss_view(summary, by_name, i) for i in range(len(summary["targets"])) if summary["runs"]],
        "weights": _weight_view(summary, mixtures),
        "curves": _curve_views(summary, by_name),
        "proxy_run": _proxy_run_view(summary),
        "cost": _cost_view(summary),
        "copies": _copies(summary, by_name),
    }
    view["losses"] = [loss for loss in view["losses"] if loss["rows"]]
    view["other_comparisons"] = _other_comparisons(summary, view["baseline"])
    view["source_losses"] = _source_losses(summary)
    view["charts"] = _charts(view)
    return view


def _what_if(
    what_if: Mapping[str, Any] | None, summary: Mapping[str, Any], by_name: Mapping[str, MixtureView]
) -> dict[str, Any] | None:
    if what_if is None:
        return None
    names = [source["name"] for source in summary["sources"]]
    sources = what_if.get("sources") if isinstance(what_if, Mapping) else None
    if not isinstance(sources, list) or sources != names[: len(sources)]:
        raise InputError("what-if: sources should be those of the summary; run the search again to rewrite it")
    return what_if_view(what_if, {name: mixture.look for name, mixture in by_name.items()})


def _mixtures(summary: Mapping[str, Any]) -> list[MixtureView]:
    looks = looks_of(summary["mixtures"])
    intervals = {search["mixture"]: (search["interval"], search["level"]) for search in summary["searches"]}
    views = []
    for mixture in summary["mixtures"]:
        interval, level = intervals.get(mixture["name"], (None, None))
        words = KIND_WORDS.get(mixture["kind"], mixture["kind"])
        look = looks[mixture["name"]]
        views.append(MixtureView(mixture["name"], mixture["kind"], words, mixture["weights"], interval, level, look))
    return views


def _baseline(summary: Mapping[str, Any]) -> str | None:
    """Return the mixture that others are compared with: uniform where there is one."""
    for mixture in summary["mixtures"]:
        if mixture["kind"] == "uniform":
            return str(mixture["name"])
    overs = [comparison["over"] for comparison in summary["comparisons"]]
    return overs[0] if overs else None


def _loss_view(summary: Mapping[str, Any], by_name: Mapping[str, MixtureView], index: int) -> dict[str, Any]:
    target, baseline = summary["targets"][index], _baseline(summary)
    name = target["name"]
    found = {c["mixture"]: c for c in summary["comparisons"] if c["target"] == name and c["over"] == baseline}
    runs = [run for run in summary["runs"] if name in run["loss"]]
    base = next((run["loss"][name] for run in runs if run["mixture"] == baseline), None)
    measure = measure_of(summary, name)
    lowest = (max if measure.higher else min)((run["loss"][name] for run in runs), default=None)
    rows = []
    for run in runs:
        loss, comparison = run["loss"][name], found.get(run["mixture"])
        rows.append(
            {
                "mixture": by_name[run["mixture"]],
                "loss": loss,
                "lowest": loss == lowest and len(runs) > 1,
                "is_baseline": run["mixture"] == baseline,
                "comparison": comparison,
                "by_seed": run.get("by_seed"),
                "relative": comparison["difference"] / base if comparison and base else None,
            }
        )
    charts = _loss_charts(index, name, baseline, rows, measure) if index < SHOWN_TARGETS and rows else []
    level = next((c["level"] for c in found.values()), None)
    return {
        "target": target,
        "rows": rows,
        "charts": charts,
        "level": level,
        "digits": measure.digits,
        "base_rate": base_rate(target["held_out_rows"], target["held_out_positives"]),
    }


def _loss_charts(
    index: int, target: str, baseline: str | None, rows: list[dict[str, Any]], measure: Measure
) -> list[Chart]:
    dots, differences, base, level = [], [], None, 0.9
    for row in rows:
        dot = Dot(row["mixture"].name, row["mixture"].look, row["loss"])
        dots.append(dot)
        base = dot if row["is_baseline"] and row["mixture"].kind == "uniform" else base
        if row["is_baseline"]:
            differences.append(Dot(dot.name, dot.look, 0.0))
        elif comparison := row["comparison"]:
            level = comparison["level"]
            ends = (comparison["low"], comparison["high"])
            differences.append(Dot(dot.name, dot.look, comparison["difference"], *ends))
    charts = [loss_chart(f"loss-{index}", target, dots, base, measure)]
    if any(row.low is not None or row.value for row in differences):
        charts.append(difference_chart(f"difference-{index}", target, str(baseline), differences, level, measure))
    return charts


def _weight_view(summary: Mapping[str, Any], mixtures: list[MixtureView]) -> dict[str, Any]:
    searched = [m for m in mixtures if m.kind == "search"] or [m for m in mixtures if m.kind != "uniform"] or mixtures
    drawn = searched[:SHOWN_MIXTURES]
    drawn = drawn + [m for m in mixtures if m.kind == "natural" and m not in drawn]
    columns = searched + [m for m in mixtures if m not in searched]
    level = next((m.level for m in mixtures if m.interval), None)
    names = [source["name"] for source in summary["sources"]]
    return weights_view(names, [vars(m) for m in searched], [vars(m) for m in drawn], columns, level)


def _curve_views(summary: Mapping[str, Any], by_name: Mapping[str, MixtureView]) -> list[dict[str, Any]]:
    views = []
    for index, target in enumerate(summary["targets"]):
        lines, points = [], []
        for run in summary["runs"]:
            curve = [point for point in run["curve"] if target["name"] in point["loss"]]
            if len(curve) < 2:
                continue
            mixture = by_name[run["mixture"]]
            losses = [point["loss"][target["name"]] for point in curve]
            lines.append(Line(mixture.name, mixture.look, [_tokens_at(point, run) for point in curve], losses))
            points.append((mixture, {p["step"]: loss for p, loss in zip(curve, losses, strict=True)}))
        if lines:
            words = f"held-out loss on {target['name']} while training, nats per token, lower is better"
            drawn = lines_chart(f"curve-{index}", words, lines, number, axis_title="training tokens")
            shown = drawn if index < SHOWN_TARGETS else None
            views.append({"target": target["name"], "chart": shown, **_curve_table(points)})
    return views


def _tokens_at(point: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    if point["tokens"] is not None:
        return float(point["tokens"])
    return float(run["tokens"] * point["step"] / max(run["steps"], 1))


def _curve_table(points: list[tuple[MixtureView, dict[float, float]]]) -> dict[str, Any]:
    steps = sorted({step for _, losses in points for step in losses})
    kept = [steps[i] for i in thinned(steps, SHOWN_POINTS)]
    rows = [(step, [losses.get(step) for _, losses in points]) for step in kept]
    return {"mixtures": [mixture for mixture, _ in points], "rows": rows, "left_out": len(steps) - len(kept)}


def _proxy_run_view(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the page shows of the proxy run whose mean weights the mixture is; None of another search."""
    run = summary["proxy_run"]
    if run is None:
        return None
    names = [source["name"] for source in summary["sources"]]
    points = [(float(point["step"]), point["weights"]) for point in run["weights"]]
    largest = [max(weights[i] for _, weights in points) for i in range(len(names))]
    shown = shown_sources(names, lambda i: -largest[i])
    course = held_weights("weights-of-proxy-run", points, shown, "share of the rows")
    return {"reads_targets": False, **run, "shown": list(shown.values()), "course": course}


def _cost_view(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    cost = summary["cost"]
    if not cost:
        return None
    seconds = cost["seconds"] or {}
    longest = max(seconds.values(), default=0) or 1
    stages = [(stage, value, 100 * max(value, 0) / longest) for stage, value in seconds.items()]
    return {"words": cost_words(summary), "stages": stages, "total": sum(seconds.values()) if seconds else None}


def _copies(summary: Mapping[str, Any], by_name: Mapping[str, MixtureView]) -> list[dict[str, Any]]:
    names = [source["name"] for source in summary["sources"]]
    searched = dict.fromkeys(search["mixture"] for search in summary["searches"])
    return [to_copy(by_name[name], names, by_name[name].weights) for name in searched]


def _other_comparisons(summary: Mapping[str, Any], baseline: str | None) -> list[Mapping[str, Any]]:
    return [c for c in summary["comparisons"] if c["over"] != baseline]


def _source_losses(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    runs = [run for run in summary["runs"] if run["source_loss"]]
    if not runs:
        return None
    names = [source["name"] for source in summary["sources"]]
    return {
        "mixtures": [run["mixture"] for run in runs],
        "rows": [(name, [run["source_loss"].get(name) for run in runs]) for name in names],
    }


def _charts(view: Mapping[str, Any]) -> list[Chart]:
    charts = [chart for loss in view["losses"] for chart in loss["charts"]]
    charts.append(view["weights"]["chart"])
    course = view["proxy_run"]["course"] if view["proxy_run"] else []
    return charts + charts_of(course) + [curve["chart"] for curve in view["curves"] if curve["chart"]]
