"""From the summary of a fit of a table of runs to what its page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mixwright.constraints.polytope import binding_words
from mixwright.report.charts import (
    Chart,
    Line,
    axis,
    line_at,
    lines_chart,
    marker,
    note,
    padded,
    points,
    titled_layout,
)
from mixwright.report.checks import check_fields, check_kind, check_version
from mixwright.report.looks import KIND_WORDS, course_look, looks_of
from mixwright.report.runs.confirmed import check_confirmed, confirmed_view
from mixwright.report.runs.parts import POINT, plan_view, played, sensitivity_view, wishes_view
from mixwright.report.search.answers import top_weights
from mixwright.report.weights import to_copy, weights_view
from mixwright.report.words import digits_of, label, number, percent, signed, small, span

SHOWN_CURVES = 6  # responses: of the sources with the largest weights
_TOP = {"version": "text", "title": "text", "command": "text", "created": "text", "seed": "number", "verdict": "text"}
_FIT = {
    "law": "text",
    "laws": "list",
    "runs": "number",
    "mixtures": "number",
    "noise": "number?",
    "shrinkage": "number",
    "gap": "number?",
    "search": "text?",
    "predicted": "number",
    "optimism": "losses",
    "distance": "number",
    "outside": "number",
    "level": "number",
    "binding": "list",
}
_MIXTURE = {"name": "text", "kind": "text", "weights": "weights"}
_FORECAST = {"predicted": "number?", "low": "number?", "high": "number?", "measured": "number?"}


def build_runs(summary: Mapping[str, Any], what_if: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return what the page of a fit of a table of runs shows; `charts` are the figures in the order of the page.

    Raises
    ------
    InputError
        When the summary cannot be shown; the field is named.
    """
    _check(summary)
    fit, names = summary["fit"], [source["name"] for source in summary["sources"]]
    mixtures = _mixtures(summary)
    digits = digits_of(one["predicted"] for one in mixtures)
    weights = weights_view(names, mixtures[:2], mixtures[:3], mixtures, fit["level"] if fit.get("interval") else None)
    plan = plan_view(summary)
    charts = [weights["chart"], _points_chart(summary["points"], mixtures, digits, plan)]
    responses = _responses_view(summary, names)
    lead = summary["verdict"].partition("; ")[0]
    confirmed = confirmed_view(summary.get("confirmed"), fit["level"])
    return {
        "summary": summary,
        "fit": fit,
        "title": summary["title"],
        "lead": lead[:1].upper() + lead[1:],
        "notes": summary.get("notes") or [],
        "sources": names,
        "counted": [target for target in summary["targets"] if target["share"] > 0],
        "mixtures": mixtures,
        "weights": weights,
        "plan": plan,
        "wishes": wishes_view(summary, digits),
        "sensitivity": sensitivity_view(summary, weights["order"]),
        "influence": summary.get("influence") or [],
        "digits": digits,
        "top": top_weights(names, mixtures[0]["weights"]),
        "difference": _difference(fit),
        "confirmed": confirmed,
        "facts": [*_facts(fit), *([("Forecast", confirmed["words"])] if confirmed else [])],
        "laws": sorted(fit["laws"], key=lambda law: law["rmse"]),
        "points": _best_first(summary["points"]),
        "responses": responses,
        "what_if": played(what_if, summary, {m["name"]: m["look"] for m in mixtures}),
        "copy": to_copy(mixtures[0], names, mixtures[0]["weights"]),
        "charts": charts + (responses["charts"] if responses else []),
    }


def certificate_words(fit: Mapping[str, Any]) -> str:
    """Return how well the arithmetic was done."""
    pull = f"shrinkage {small(fit['shrinkage'])}"
    if fit["gap"] is None:
        how = f" ({fit['search']})" if fit.get("search") else ""
        return f"none: the law {fit['law']} is not convex, so it may have a better mixture{how}; {pull}"
    return f"within {small(fit['gap'])} of the least objective of this law; {pull}"


def optimism_words(fit: Mapping[str, Any]) -> str:
    """Return how much worse than predicted a training of the proposal is expected to be."""
    by = fit["optimism"]
    digits = digits_of(by.values())
    ends = span(by["low"], by["high"], digits, signed)
    return (
        f"measured minus predicted loss of the proposal is expected to be {signed(by['estimate'], digits)} "
        f"({percent(fit['level'], 0)} interval {ends})"
    )


def distance_words(fit: Mapping[str, Any]) -> str:
    """Return how far the proposal lies from what was measured."""
    beyond = f"{percent(fit['outside'])} from" if fit["outside"] > 5e-4 else "inside"
    return f"{percent(fit['distance'])} of the weight from the nearest run, and {beyond} the hull of all runs"


def _check(summary: Mapping[str, Any]) -> None:
    check_version(summary)
    command = "mixwright runs fit TABLE --run RUN"
    check_kind(summary, "runs", ("sources", "targets", "mixtures", "fit", "points"), command)
    check_fields(summary, _TOP, "")
    check_fields(summary["fit"], _FIT, "fit.")
    check_fields(summary["fit"].get("incumbent"), {"run": "text", "loss": "number"}, "fit.incumbent.")
    for i, law in enumerate(summary["fit"]["laws"]):
        scores = {"name": "text", "spearman": "number", "rmse": "number", "regret": "number"}
        check_fields(law, scores, f"fit.laws[{i}].")
    for i, target in enumerate(summary["targets"]):
        fields = {"name": "text", "share": "number", "limit": "number?", "predicted": "number"}
        check_fields(target, fields, f"targets[{i}].")
    for i, mixture in enumerate(summary["mixtures"]):
        check_fields(mixture, {**_MIXTURE, **_FORECAST}, f"mixtures[{i}].", len(summary["sources"]))
    check_confirmed(summary.get("confirmed"))


def _mixtures(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the mixtures with their looks and words; the proposal, which has intervals, is the first."""
    looks, fit = looks_of(summary["mixtures"]), summary["fit"]
    words = {**KIND_WORDS, "search": f"proposed by the law {fit['law']}", "measured": f"run {fit['incumbent']['run']}"}
    return [
        {
            **one,
            "look": looks[one["name"]],
            "words": words.get(one["kind"], ""),
            "interval": fit.get("interval") if i == 0 else None,
        }
        for i, one in enumerate(summary["mixtures"])
    ]


def _difference(fit: Mapping[str, Any]) -> dict[str, str]:
    """Return what is expected of the proposal beside the best measured run."""
    best, expected = fit["incumbent"]["loss"], fit["predicted"] + fit["optimism"]["estimate"]
    digits = digits_of([best - expected])
    return {
        "best": number(best, digits),
        "predicted": number(fit["predicted"], digits),
        "expected": number(expected, digits),
        "ends": span(fit["predicted"] + fit["optimism"]["low"], fit["predicted"] + fit["optimism"]["high"], digits),
    }


def _facts(fit: Mapping[str, Any]) -> list[tuple[str, str]]:
    taken = next(law for law in fit["laws"] if law["name"] == fit["law"])
    noise = "no mixture was repeated, so it is not known" if fit["noise"] is None else small(fit["noise"])
    return [
        ("Law", f"{fit['law']}, on {fit['mixtures']:,} mixtures ({fit['runs']:,} runs)"),
        ("Out of fold", f"rank correlation {number(taken['spearman'], 3)}, error {small(taken['rmse'])}"),
        ("Noise of a run", noise),
        ("Optimism", optimism_words(fit)),
        ("Distance", distance_words(fit)),
        ("Certificate", certificate_words(fit)),
        *(("Limit", binding_words(str(b["constraint"]), float(b["price"]), "")) for b in fit["binding"]),
    ]


def _points_chart(
    found: Mapping[str, Any], mixtures: list[dict[str, Any]], digits: int, plan: Mapping[str, Any] | None
) -> Chart:
    """Return measured losses by predictions without the run; the proposal stands on the prediction's axis alone."""
    x, y, proposal = found["predicted"], found["measured"], mixtures[0]
    ends = padded([*x, *y, proposal["predicted"]], 0.04, 0.04)
    made = titled_layout(
        380, {"range": ends}, axis(nticks=6, range=padded(y, 0.06, 0.06)), "predicted by fits without the run"
    )
    line = {"color": "--grey", "width": 1.5, "dash": "dash"}
    made["shapes"] = [
        {"type": "line", "x0": ends[0], "x1": ends[1], "y0": ends[0], "y1": ends[1], "line": line},
        {**line_at(proposal["predicted"]), "line": {"color": "--vermillion", "width": 1.5, "dash": "dot"}},
    ]
    made["annotations"] = [note(proposal["predicted"], "proposal")]
    made["margin"]["t"] = 26
    words = f"Dots: measured loss of {len(x)} mixtures by the loss that fits without them predicted. The dashed "
    words += "line is where both are the same."
    groups = plan["groups"] if plan else [{"name": "mixtures", "look": POINT, "runs": set(found["runs"])}]
    data = [_dots(group, found, digits) for group in groups]
    return Chart("points", words, data, made)


def _dots(group: Mapping[str, Any], found: Mapping[str, Any], digits: int) -> dict[str, Any]:
    rows = zip(found["runs"], found["predicted"], found["measured"], strict=True)
    kept = [row for row in rows if row[0] in group["runs"]]
    hover = [
        f"{label(name, 60)}<br>predicted {number(a, digits)}<br>measured {number(b, digits)}" for name, a, b in kept
    ]
    size = 6 if group["look"] == POINT else 9
    dots = marker(group["look"], size, 1)
    return points(group["name"], [row[1] for row in kept], [row[2] for row in kept], hover, marker=dots)


def _best_first(found: Mapping[str, Any]) -> list[tuple[str, float, float, float]]:
    rows = zip(found["runs"], found["measured"], found["predicted"], strict=True)
    return [(name, y, x, y - x) for name, y, x in sorted(rows, key=lambda row: row[1])]


def _responses_view(summary: Mapping[str, Any], names: list[str]) -> dict[str, Any] | None:
    """Return the chart of the sources with the largest weights; None where there are no curves."""
    found = summary.get("responses")
    if not found:
        return None
    weights, rates = summary["mixtures"][0]["weights"], found.get("epochs")
    order = np.argsort(-np.array(weights), kind="stable")
    shown = [(course_look(j), int(i)) for j, i in enumerate(order[:SHOWN_CURVES])]
    words = "predicted loss as the weight of one source changes and the others keep their proportions"
    lines = [Line(names[i], look, [100 * w for w in found["weights"][i]], found["losses"][i]) for look, i in shown]
    charts = [lines_chart("responses", words, lines, number, axis_title="weight, per cent", whole=True)]
    if rates:
        by_epochs = [
            replace(line, steps=[w * rates[i] for w in found["weights"][i]])
            for line, (_, i) in zip(lines, shown, strict=True)
        ]
        more = lines_chart("responses-epochs", words, by_epochs, number, axis_title="epochs", whole=True, log=True)
        charts.append(more)
    rows = [
        {
            "name": names[i],
            "weight": weights[i],
            "epochs": rates[i] * weights[i] if rates else None,
            **_ends(found, int(i)),
        }
        for i in order
    ]
    return {"charts": charts, "lines": lines, "rows": rows, "epochs": bool(rates)}


def _ends(found: Mapping[str, Any], i: int) -> dict[str, float]:
    """Return the prediction without the source, the one at its largest weight, and that weight."""
    return {"without": found["losses"][i][0], "most": found["losses"][i][-1], "largest": found["weights"][i][-1]}
