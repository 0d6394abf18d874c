"""From the summary of a training and its decision log to what the page's template shows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.checks import check_kind
from mixwright.report.courses import (
    SAY_SMALL,
    ByStep,
    alarms_of,
    aligned,
    charts_of,
    courses,
    decision_log,
    made_facts,
    shown_sources,
    weights_course,
)
from mixwright.report.words import number, scientific

_NEEDED = ("title", "sources", "curve", "steps", "tokens", "strategy", "fixed", "notes")
_SHOWN_CELLS = 16  # sources of the heat map
_WEIGHTS = "share of the rows"
_WEIGHTS_OF_LOSS = "share of the objective"
_LOSSES = (
    ByStep("source_loss", "Held-out loss of each source", "nats per token"),
    ByStep("source_train_loss", "Training loss of each source", "nats per token, mean since the point before"),
)
_GRADIENTS = (
    ByStep("grad_sq_norm", "Squared norm of each source’s gradient", "estimates for the mean gradient", SAY_SMALL),
    ByStep("grad_variance", "Variance of one row’s gradient", "estimates of the trace of the covariance", SAY_SMALL),
)


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
    logged, decisions = decisions, aligned(decisions, names)
    shown = shown_sources(names, lambda i: -summary["sources"][i]["drawn"])
    apart = bool(summary.get("sampling"))
    weights = weights_course(summary, decisions, shown, _WEIGHTS_OF_LOSS if apart else _WEIGHTS)
    losses = courses(
        summary["curve"],
        lambda point: float(point["step"]),
        lambda point, i, key: point[key].get(names[i]),
        shown,
        _LOSSES,
        "curve-",
    )
    gradients = courses(
        (line["observation"] for line in decisions),
        lambda seen: float(seen["step"] + 1),
        lambda seen, i, key: seen[key][i] if seen.get(key) else None,
        shown,
        _GRADIENTS,
    )
    return {
        "summary": summary,
        "title": summary["title"],
        "lead": _lead(summary),
        "shown": list(shown.values()),
        "names": names,
        "weights": weights,
        "losses": losses,
        "gradients": gradients,
        "conflict": conflict(decisions, names),
        "decisions": decision_log(logged, names),
        "alarms": alarms_of(decisions),
        "notes": summary["notes"],
        "made": made_facts(summary, "tokens", {"Operations": scientific(summary["flops"]), **_reference(summary)}),
        "charts": charts_of(weights, losses, gradients),
    }


def _reference(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return what the page says of a reference model; nothing without one."""
    found = summary.get("reference")
    if found is None:
        return {}
    cost = f"{found['trained_tokens']:,} tokens to train it, " if found["trained_tokens"] else ""
    cost += f"{found['forward_tokens']:,} tokens through it: {scientific(found['flops'])} operations"
    return {"Reference model": f"{found['model']}; {cost}; clip {found['clip']}"}


def _lead(summary: Mapping[str, Any]) -> str:
    held = summary.get("held_out") or {}
    how = "fixed weights" if summary["fixed"] else f"weights that follow {_short(summary['strategy'])}"
    text = f"{summary['steps']:,} steps with {how}"
    if summary.get("sampling"):
        text += ", which weight the loss of rows that are drawn by shares of their own"
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


def conflict(decisions: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any] | None:
    """
    Return the cosines between the sources' mean gradients, of inner products averaged over all observations.

    A cosine is unknown (None) where a product was never observed, or a squared norm's estimate is not above 0.
    """
    grams = [d["observation"]["gram"] for d in decisions if d["observation"].get("gram")]
    if not grams or len(names) < 2:
        return None
    k = min(len(names), _SHOWN_CELLS)
    mean = [[_mean([gram[i][j] for gram in grams]) for j in range(k)] for i in range(k)]
    rows = [(names[i], [_cell(_cosine(mean, i, j)) for j in range(k)]) for i in range(k)]
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


def _cosine(mean: Sequence[Sequence[float | None]], i: int, j: int) -> float | None:
    value, own, other = mean[i][j], mean[i][i], mean[j][j]
    if value is None or own is None or other is None or own <= 0 or other <= 0:
        return None
    return 1.0 if i == j else value / math.sqrt(own * other)


def _cell(cosine: float | None) -> dict[str, Any]:
    """Return a cosine with its colour: blue agrees, vermillion conflicts."""
    if cosine is None:
        return {"value": None, "colour": "grey", "share": 0}
    share = round(70 * min(abs(cosine), 1.0))
    return {"value": cosine, "colour": "blue" if cosine >= 0 else "vermillion", "share": share}
