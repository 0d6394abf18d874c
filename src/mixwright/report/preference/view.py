"""From the summary of a training on preference pairs, its metrics and its decisions to what the template shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.checks import check_kind
from mixwright.report.courses import (
    SAY_SHARE,
    SAY_TIMES,
    ByStep,
    alarms_of,
    charts_of,
    courses,
    decision_log,
    made_facts,
    shown_sources,
    weights_course,
)
from mixwright.report.words import count, number, percent

_NEEDED = ("title", "sources", "curve", "steps", "pairs", "strategy", "fixed", "held_out", "notes")
_WEIGHTS = "share of the pairs that are drawn, or of the loss"
# Pairs begin at log 2, so curves have no steep part: all of each is shown (whole).
_HELD_OUT = (
    ByStep("excess", "Excess over the specialist", "nats per pair; pairs below their specialist count 0", zero=True),
    ByStep("gap", "Gap to the specialist", "held-out loss minus the specialist’s, nats per pair", whole=True),
    ByStep("loss", "Loss", "nats per pair, lower is better", whole=True),
    ByStep("accuracy", "Preference accuracy", "share of pairs with a margin above 0", SAY_SHARE, True),
)
_TRAINED = (
    ByStep("excess", "Excess in training", "mean over the step’s pairs, nats per pair", zero=True),
    ByStep("gate", "Pairs above their specialist", "share of the step’s pairs", SAY_SHARE, True),
    ByStep("loss", "Training loss", "mean over the step’s pairs, nats per pair", whole=True),
    ByStep("accuracy", "Accuracy in training", "share of the step’s pairs with a margin above 0", SAY_SHARE, True),
    ByStep("epochs", "Epochs", "how often the source’s pairs were used", SAY_TIMES, True),
)


def build_preference(
    summary: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]] = (),
    decisions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """
    Return what the page of a training on preference pairs shows; `charts` are the figures in the order of the page.

    Raises
    ------
    InputError
        When the summary is of another kind or lacks a field (which is named).
    """
    check_kind(summary, "preference", _NEEDED, "mixwright prefer train")
    names = [source["name"] for source in summary["sources"]]
    shown = shown_sources(names, lambda i: -_behind(summary["sources"][i]["held_out"]))
    weights = weights_course(summary, decisions, shown, _WEIGHTS)

    def measured(point: Mapping[str, Any], i: int, key: str) -> float | None:
        own = point["sources"].get(names[i], {})
        if key == "accuracy" and abs(own.get("margin", 1.0)) < 1e-6:
            return None  # the reference itself: margins of 0 are neither right nor wrong
        return _number(own.get(key))

    def trained(line: Mapping[str, Any], i: int, key: str) -> float | None:
        return _number(line.get(f"mixture/{key}/{names[i]}"))  # None where the step had no pairs of the source

    def step(point: Mapping[str, Any]) -> float:
        return float(point["step"])

    held = courses(summary["curve"], step, measured, shown, _HELD_OUT, "held-")
    training = courses(metrics, step, trained, shown, _TRAINED, "trained-")
    return {
        "summary": summary,
        "title": summary["title"],
        "lead": _lead(summary),
        "shown": list(shown.values()),
        "names": names,
        "weights": weights,
        "held": held,
        "trained": training,
        "decisions": decision_log([] if summary["fixed"] and not summary.get("steering") else decisions, names),
        "overall": _overall(summary),
        "alarms": alarms_of(decisions),
        "made": made_facts(summary, "pairs", _settings(summary)),
        "notes": summary["notes"],
        "charts": charts_of(weights, held, training),
    }


def _behind(held: Mapping[str, Any]) -> float:
    """Return how far a source is behind its specialist or, without one, its loss."""
    return float(held["loss"] if held["excess"] is None else held["excess"])


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _lead(summary: Mapping[str, Any]) -> str:
    name = summary["strategy"].partition("(")[0]
    how = "fixed weights" if summary["fixed"] else f"weights that follow {name}"
    held = summary["held_out"]
    text = f"{summary['steps']:,} steps with {how}: held-out loss {number(held['loss']['average'])} nats per pair, "
    text += f"accuracy {percent(held['accuracy']['average'])} on average over the sources"
    if "excess" in held:
        text += f"; furthest behind its specialist is {held['excess']['worst_source']}, by "
        text += f"{number(held['excess']['worst'])} nats per pair"
    return text


def _overall(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (measure, average, worst, its source) in words."""
    words = {"loss": "Held-out loss", "accuracy": "Accuracy", "excess": "Excess over the specialist", "gap": "Gap"}
    rows = []
    for key, title in words.items():
        if found := summary["held_out"].get(key):
            shown = percent if key == "accuracy" else number
            rows.append((title, shown(found["average"]), shown(found["worst"]), found["worst_source"]))
    return rows


def _settings(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the training rests on, by term: reference, specialists, loss and adapter."""
    found: dict[str, Any] = {"Reference": summary["model"]}
    if (cost := summary["cost"]["specialist_pairs"]) is not None:
        found["Cost of the specialists"] = f"{count(cost)} pairs (a pair that is only scored counts a third)"
    parts = {"loss": "loss", "adapter": "adapter", "specialists": "specialist_settings"}
    for word, part in parts.items():
        found |= {f"{word}, {key}": _plain(value) for key, value in (summary[part] or {}).items()}
    return found


def _plain(value: Any) -> Any:
    """Return a setting as it is read on the page: {layer: how many} as a list."""
    return ", ".join(f"{name} ({n})" for name, n in value.items()) if isinstance(value, Mapping) else value
