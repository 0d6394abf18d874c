"""From the summary of a training on preference pairs, its metrics and its decisions to what the template shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mixwright.report.charts import Chart
from mixwright.report.checks import check_kind
from mixwright.report.looks import _SEARCHES, Look
from mixwright.report.training.charts import Line, averaged, lines_chart
from mixwright.report.training.view import _LINES, _decisions, _Source, _table, _weights
from mixwright.report.words import number, percent


class _Measure(NamedTuple):
    """Something that is shown by step: its key, the section's title, words for the chart, how it is written."""

    key: str
    title: str
    words: str
    form: str = ".4f"
    zero: bool = False


_NEEDED = ("title", "sources", "curve", "steps", "pairs", "strategy", "fixed", "held_out", "notes")
_HELD_OUT = (
    _Measure("excess", "Excess over the specialist", "nats per pair, pairs below their specialist count 0", zero=True),
    _Measure("gap", "Gap to the specialist", "held-out loss minus that of the specialist, nats per pair"),
    _Measure("loss", "Loss", "nats per pair, lower is better"),
    _Measure("accuracy", "Preference accuracy", "share of pairs whose margin is above 0", ".1%", True),
)
_TRAINED = (
    _Measure("excess", "Excess in training", "mean excess of the step’s pairs, nats per pair", zero=True),
    _Measure("gate", "Share of pairs above their specialist", "share of the step’s pairs", ".1%", True),
    _Measure("loss", "Training loss", "mean loss of the step’s pairs, nats per pair"),
    _Measure("accuracy", "Accuracy in training", "share of the step’s pairs whose margin is above 0", ".1%", True),
    _Measure("epochs", "Epochs: how often a source was gone through", "pairs drawn over pairs there are", ".2f", True),
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
    shown = _shown(summary)
    held = _of_curve(summary, shown)
    trained = _of_metrics(metrics, shown)
    weights = _weights(summary, decisions, shown)
    view: dict[str, Any] = {
        "summary": summary,
        "title": summary["title"],
        "lead": _lead(summary),
        "shown": list(shown.values()),
        "names": names,
        "weights": weights,
        "held": held,
        "trained": trained,
        "decisions": _decisions(decisions, names) if not summary["fixed"] else {"rows": [], "all": 0},
        "overall": _overall(summary),
        "alarms": [d["remarks"]["alarm"] for d in decisions if d.get("remarks", {}).get("alarm")],
        "settings": _settings(summary),
        "notes": summary["notes"],
    }
    parts = [weights, *held, *trained]
    view["charts"] = [part["chart"] for part in parts if part and isinstance(part["chart"], Chart)]
    return view


def _shown(summary: Mapping[str, Any]) -> dict[int, _Source]:
    """Return the sources with a line of their own, by number: of many those that are furthest behind."""
    sources = summary["sources"]

    def behind(i: int) -> float:
        held = sources[i]["held_out"]
        return -float(held["loss"] if held["excess"] is None else held["excess"])

    order = sorted(sorted(range(len(sources)), key=behind)[:_LINES])
    return {i: _Source(sources[i]["name"], Look(*_SEARCHES[n])) for n, i in enumerate(order)}


def _lead(summary: Mapping[str, Any]) -> str:
    name = summary["strategy"].partition("(")[0]
    how = "fixed weights" if summary["fixed"] else f"weights that follow {name}"
    text = f"{summary['steps']:,} steps with {how}"
    held = summary["held_out"]
    text += f": held-out loss {number(held['loss']['average'])} nats per pair, accuracy "
    text += f"{percent(held['accuracy']['average'])} on average over the sources"
    if "excess" in held:
        text += f"; furthest behind its specialist is {held['excess']['worst_source']}, by "
        text += f"{number(held['excess']['worst'])} nats per pair"
    return text


def _of_curve(summary: Mapping[str, Any], shown: Mapping[int, _Source]) -> list[dict[str, Any]]:
    """Return what was measured on held-out pairs while the model trained."""
    points = summary["curve"]

    def value(point: Mapping[str, Any], name: str, key: str) -> float | None:
        own = point["sources"].get(name, {})
        found = own.get(key)
        if key == "accuracy" and abs(own.get("margin", 1.0)) < 1e-6:
            return None  # the reference itself: margins of 0 are neither right nor wrong
        return None if found is None else float(found)

    return _parts(points, shown, _HELD_OUT, "held", value)


def _of_metrics(metrics: Sequence[Mapping[str, Any]], shown: Mapping[int, _Source]) -> list[dict[str, Any]]:
    """Return what the training's pairs showed; a source without pairs in a step is unknown there."""

    def value(line: Mapping[str, Any], name: str, key: str) -> float | None:
        found = line.get(f"mixture/{key}/{name}")
        return None if found is None else float(found)

    return _parts(metrics, shown, _TRAINED, "trained", value)


def _parts(
    points: Sequence[Mapping[str, Any]],
    shown: Mapping[int, _Source],
    measures: Sequence[_Measure],
    kind: str,
    value: Callable[[Mapping[str, Any], str, str], float | None],
) -> list[dict[str, Any]]:
    steps, found = [float(point["step"]) for point in points], []
    for measure in measures:
        lines = [
            Line(s.name, s.look, *averaged(steps, [value(point, s.name, measure.key) for point in points]))
            for s in shown.values()
        ]
        if not any(v is not None for line in lines for v in line.values):
            continue
        words = f"{measure.title}, {measure.words}"
        chart = lines_chart(
            f"{kind}-{measure.key}", words, lines, measure.form, zero=measure.zero, whole=True
        )  # pairs begin at log 2: there is no steep part
        form = "percent" if measure.form.endswith("%") else ""
        found.append(
            {
                "title": measure.title,
                "words": measure.words,
                "id": f"{kind}-{measure.key}",
                "chart": chart,
                **_table(lines, form),
            }
        )
    return found


def _overall(summary: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (measure, average, worst, its source) in words."""
    words = {"loss": "Held-out loss", "accuracy": "Accuracy", "excess": "Excess over the specialist", "gap": "Gap"}
    rows = []
    for key, title in words.items():
        if found := summary["held_out"].get(key):
            shown = percent if key == "accuracy" else number
            rows.append((title, shown(found["average"]), shown(found["worst"]), found["worst_source"]))
    return rows


def _settings(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of the training, and of its specialists, as (key, value)."""
    found = [(f"loss, {key}", str(value)) for key, value in summary["loss"].items()]
    found += [(f"adapter, {key}", str(value)) for key, value in (summary["adapter"] or {}).items()]
    found += [(f"specialists, {key}", str(value)) for key, value in (summary["specialist_settings"] or {}).items()]
    return found + [(key, str(value)) for key, value in summary["training"].items()]
