"""Charts of a search: what mixtures measured on a target, and their differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, axis, bars, layout, line_at, marker, name_axis, note, padded, points, sides
from mixwright.report.looks import Look
from mixwright.report.measure import Measure
from mixwright.report.words import label, number, percent, signed, span


@dataclass(frozen=True)
class Dot:
    """A mixture with a value and, where there is one, its interval."""

    name: str
    look: Look
    value: float
    low: float | None = None
    high: float | None = None


def loss_chart(name: str, target: str, dots: Sequence[Dot], baseline: Dot | None, measure: Measure) -> Chart:
    """Return the held-out loss (or another measure) of each mixture on one target as dots with their numbers."""
    y, narrow, left = name_axis([dot.name for dot in dots])
    x = axis(nticks=5, tickangle=0, range=padded([dot.value for dot in dots], 0.12, 0.42))
    made = layout(46 * len(dots) + 70, x, y, left, 26)
    if baseline is not None:
        made["shapes"], made["annotations"] = [line_at(baseline.value)], [note(baseline.value, "uniform")]
    said = [number(dot.value, measure.digits) for dot in dots]
    data = [
        _dot(dot, i, f"  {text}", f"{label(dot.name, 60)}: {text} {measure.unit}", "middle right")
        for i, (dot, text) in enumerate(zip(dots, said, strict=True))
    ]
    heard = "; ".join(f"{dot.name} {text}" for dot, text in zip(dots, said, strict=True))
    unit = f" in {measure.unit}" if measure.unit else ""
    return Chart(
        name, f"Dots: {measure.name} on {target}{unit}, {measure.side} is better. {heard}.", data, made, narrow
    )


def difference_chart(name: str, target: str, over: str, dots: Sequence[Dot], level: float, measure: Measure) -> Chart:
    """Return each mixture's difference from the baseline on one target, with its interval."""
    y, narrow, left = name_axis([dot.name for dot in dots])
    ends = [end for dot in dots for end in (dot.value, dot.low, dot.high) if end is not None]
    made = layout(46 * len(dots) + 70, axis(nticks=5, tickangle=0, range=padded([*ends, 0.0], 0.14, 0.14)), y, left, 26)
    made["shapes"], made["annotations"] = [line_at(0.0)], sides(measure.higher)
    data, heard = [], []
    for i, dot in enumerate(dots):
        value, interval = signed(dot.value, measure.digits), span(dot.low, dot.high, measure.digits)
        hover = f"{label(dot.name, 60)}: {value}<br>{percent(level, 0)} interval {interval}"
        data.append(_dot(dot, i, "" if dot.name == over else value, hover, "top center"))
        heard += [] if dot.name == over else [f"{dot.name} {value} ({interval})"]
    words = (
        f"Dots with {percent(level, 0)} intervals: {measure.name} on {target} minus that of {over}"
        f"{measure.in_unit}; {'above' if measure.higher else 'below'} zero is better. {'; '.join(heard)}."
    )
    return Chart(name, words, data, made, narrow)


def _dot(dot: Dot, y: float, text: str, hover: str, place: str) -> dict[str, Any]:
    words = {"text": [text], "textposition": place, "textfont": {"size": 12, "color": "--ink"}}
    if dot.low is not None and dot.high is not None:
        words["error_x"] = bars([dot.value], [(dot.low, dot.high)], dot.look, 2.5)
    return points(dot.name, [dot.value], [y], [hover], mode="markers+text", marker=marker(dot.look, 12), **words)
