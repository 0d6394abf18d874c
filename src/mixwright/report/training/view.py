"""From the summary of a training and its decision log to what the page's template shows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mixwright.report.charts import Chart
from mixwright.report.checks import check_kind
from mixwright.report.looks import _SEARCHES, Look
from mixwright.report.training.charts import SHOWN_POINTS, Line, averaged, lines_chart
from mixwright.report.words import number, percent

_LINES = 12  # sources with a line of their own: as many looks as there are
_CELLS = 16  # sources of the heat map
_DECISIONS = 100  # rows of the decision log


_NEEDED = ("title", "sources", "curve", "steps", "tokens", "strategy", "fixed", "notes")


class _Source(NamedTuple):
    name: str
    look: Look


def build_training(summary: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """
    Return what the page of a training shows; `charts` are the figures in the order of the page.

    Raises
    ------
    InputError
        When the summary is of another kind or lacks a field (which is named).
    """
    check_kind(summary, "training", _NEEDED, "mixwright train")
    names = [source["name"] for source in summary["sources"]]
    order = sorted(range(len(names)), key=lambda i: -summary["sources"][i]["drawn"])[:_LINES]
    shown = {i: _Source(names[i], Look(*_SEARCHES[n])) for n, i in enumerate(sorted(order))}
    view: dict[str, Any] = {
        "summary": summary,
        "title": summary["title"],
        "lead": _lead(summary),
        "shown": list(shown.values()),
        "names": names,
        "weights": _weights(summary, decisions, shown),
        "losses": _losses(summary, shown),
        "gradients": _gradients(decisions, shown),
        "conflict": conflict(decisions, names),
        "decisions": _decisions(decisions, names),
        "alarms": [d["remarks"]["alarm"] for d in decisions if d.get("remarks", {}).get("alarm")],
        "notes": summary["notes"],
    }
    parts = [view["weights"], *view["losses"], *view["gradients"]]
    view["charts"] = [part["chart"] for part in parts if part and isinstance(part["chart"], Chart)]
    return view


def _lead(summary: Mapping[str, Any]) -> str:
    held = summary.get("held_out") or {}
    how = "fixed weights" if summary["fixed"] else f"weights that follow {_short(summary['strategy'])}"
    text = f"{summary['steps']:,} steps with {how}"
    if held.get("average") is not None:
        text += f": held-out loss {number(held['average'])} on average over the sources, "
        text += f"{number(held['worst'])} on the worst ({held['worst_source']}), nats per token"
    return text


def _short(strategy: str) -> str:
    """Return the names in the repr of a strategy, from the inside to the outside: its numbers stand further below."""
    names: list[str] = []
    while found := re.match(r"(\w+)\((?:strategy=)?", strategy):
        names, strategy = [found[1], *names], strategy[found.end() :]
    return " in ".join(names) or strategy


def _weights(
    summary: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], shown: Mapping[int, _Source]
) -> dict[str, Any] | None:
    """Return the weights by the step from which they act."""
    if not decisions or summary["fixed"]:
        return None
    first = decisions[0]["observation"].get("planned") or decisions[0].get("run", {}).get("prior")
    steps = [0.0] if first else []
    rows = [first] if first else []
    for line in decisions:
        if line["begins"] < summary["steps"]:
            steps.append(float(line["begins"]))
            rows.append(line["weights"])
    steps, rows = [*steps, float(summary["steps"])], [*rows, rows[-1] if rows else decisions[-1]["weights"]]
    every = max(1, -(-len(steps) // (4 * SHOWN_POINTS)))
    kept = [i for i in range(len(steps)) if i % every == 0 or i == len(steps) - 1]
    at = [steps[i] for i in kept]
    lines = [Line(s.name, s.look, at, [rows[j][i] for j in kept]) for i, s in shown.items()]
    chart = lines_chart("weights", "weights of the sources, shares of the rows", lines, ".1%", held=True, zero=True)
    return {"chart": chart, **_table(lines)}


def _losses(summary: Mapping[str, Any], shown: Mapping[int, _Source]) -> list[dict[str, Any]]:
    found = []
    for key, title, words in (
        ("source_loss", "Held-out loss of each source", "held-out loss, nats per token, lower is better"),
        ("source_train_loss", "Training loss of each source", "mean training loss since the point before"),
    ):
        points = summary["curve"]
        steps = [float(point["step"]) for point in points]
        lines = [
            Line(s.name, s.look, *averaged(steps, [point[key].get(s.name) for point in points]))
            for s in shown.values()
            if any(s.name in point[key] for point in points)
        ]
        if lines:
            chart = lines_chart(f"curve-{key.replace('_', '-')}", words, lines)
            found.append({"title": title, "id": key, "chart": chart, **_table(lines)})
    return found


def _gradients(decisions: Sequence[Mapping[str, Any]], shown: Mapping[int, _Source]) -> list[dict[str, Any]]:
    found = []
    for key, title, words in (
        (
            "grad_sq_norm",
            "Squared norm of each source’s gradient",
            "estimates of the squared norm of the mean gradient",
        ),
        ("grad_variance", "Variance of one row’s gradient", "estimates of the trace of the covariance"),
    ):
        seen = [d["observation"] for d in decisions if d["observation"].get(key)]
        steps = [float(obs["step"] + 1) for obs in seen]
        lines = [Line(s.name, s.look, *averaged(steps, [obs[key][i] for obs in seen])) for i, s in shown.items()]
        if seen and any(v is not None for line in lines for v in line.values):
            chart = lines_chart(key.replace("_", "-"), words, lines, ".3g")
            found.append({"title": title, "id": key, "chart": chart, **_table(lines, ".3g")})
    return found


def _table(lines: Sequence[Line], form: str = "") -> dict[str, Any]:
    """Return at most 40 rows (step, values) of lines over the same steps."""
    steps = lines[0].steps if lines else []
    every = max(1, -(-len(steps) // 40))
    kept = [i for i in range(len(steps)) if i % every == 0 or i == len(steps) - 1]
    rows = [(steps[i], [line.values[i] for line in lines]) for i in kept]
    sources = [_Source(line.name, line.look) for line in lines]
    return {"rows": rows, "sources": sources, "form": form}


def conflict(decisions: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any] | None:
    """
    Return the cosines between the sources' mean gradients, of inner products averaged over all observations.

    A cosine is unknown (None) where a product was never observed, or a squared norm's estimate is not above 0.
    """
    grams = [d["observation"]["gram"] for d in decisions if d["observation"].get("gram")]
    if not grams or len(names) < 2:
        return None
    k = min(len(names), _CELLS)
    mean: list[list[float | None]] = [[_mean([g[i][j] for g in grams]) for j in range(k)] for i in range(k)]
    rows = []
    for i in range(k):
        cells = []
        for j in range(k):
            value, own, other = mean[i][j], mean[i][i], mean[j][j]
            cosine = None
            if value is not None and own is not None and other is not None and own > 0 and other > 0:
                cosine = value / math.sqrt(own * other)
            cells.append(_cell(1.0 if i == j and cosine is not None else cosine))
        rows.append((names[i], cells))
    values = [c["value"] for i, (_, cells) in enumerate(rows) for c in cells[:i] if c["value"] is not None]
    return {
        "names": list(names[:k]),
        "rows": rows,
        "observations": len(grams),
        "left_out": len(names) - k,
        "below": sum(v < 0 for v in values),
        "pairs": len(values),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _cell(cosine: float | None) -> dict[str, Any]:
    """Return a cosine with its colour: blue agrees, vermillion conflicts."""
    if cosine is None:
        return {"value": None, "colour": "grey", "share": 0}
    share = round(70 * min(abs(cosine), 1.0))
    return {"value": cosine, "colour": "blue" if cosine >= 0 else "vermillion", "share": share}


def _decisions(decisions: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the decision log, evenly thinned; decisions with an alarm always."""
    every = max(1, -(-len(decisions) // _DECISIONS))
    rows = []
    for i, line in enumerate(decisions):
        remarks = dict(line.get("remarks", {}))
        if i % every and i != len(decisions) - 1 and not remarks.get("alarm"):
            continue
        top = sorted(range(len(names)), key=lambda j: -line["weights"][j])[:6]
        weights = ", ".join(f"{names[j]} {percent(line['weights'][j])}" for j in top)
        rows.append(
            {
                "observed": line["observation"]["step"] + 1,
                "begins": line["begins"],
                "entropy": line.get("entropy"),
                "weights": weights + (", …" if len(names) > len(top) else ""),
                "limited": line.get("strategy_weights") not in (None, line["weights"]),
                "remarks": "; ".join(f"{key}: {value}" for key, value in remarks.items()),
            }
        )
    return {"rows": rows, "all": len(decisions)}
