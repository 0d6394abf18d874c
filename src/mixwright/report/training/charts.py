"""Charts of a training: a line per source over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, _axis, _layout, _padded
from mixwright.report.looks import Look
from mixwright.report.words import label

SHOWN_POINTS = 80  # of a line; more are averaged


@dataclass(frozen=True)
class Line:
    """What is known of a source at some steps: `values` with None where nothing is."""

    name: str
    look: Look
    steps: Sequence[float]
    values: Sequence[float | None]


def averaged(steps: Sequence[float], values: Sequence[float | None]) -> tuple[list[float], list[float | None]]:
    """Return at most SHOWN_POINTS points: means over stretches of as many points each, at their last steps."""
    size = max(1, -(-len(steps) // SHOWN_POINTS))
    at, means = [], []
    for start in range(0, len(steps), size):
        known = [v for v in values[start : start + size] if v is not None]
        at.append(steps[min(start + size, len(steps)) - 1])
        means.append(sum(known) / len(known) if known else None)
    return at, means


def lines_chart(
    name: str,
    words: str,
    lines: Sequence[Line],
    form: str = ".4f",
    held: bool = False,
    zero: bool = False,
    whole: bool = False,
) -> Chart:
    """
    Return a chart of lines over the steps.

    Parameters
    ----------
    name, words
        The id, and what the chart shows.
    lines
        One per source.
    form
        How a value is written.
    held
        Whether a value holds until the next step that is given (weights), or is a point of a curve.
    zero
        Whether the axis begins at 0; else it leaves out the steep beginning,
    whole
        unless all values are to be seen.
    """
    data = [_trace(line, form, held) for line in lines]
    last = max((line.steps[-1] for line in lines if line.steps), default=1)
    late = [
        v for line in lines for at, v in zip(line.steps, line.values, strict=True)
        if v is not None and (zero or whole or at >= 0.2 * last)
    ] or [0.0]  # fmt: skip
    low, high = _padded([*late, 0.0] if zero else late, 0.06, 0.08)
    y = _axis(nticks=6, range=[0.0 if zero and min(late) >= 0 else low, high])
    if form.endswith("%"):
        y["tickformat"] = ".0%"
    x = _axis(tickformat="~s", nticks=6, showgrid=False, showline=True, range=[0, 1.02 * last])
    layout = _layout(340, x, y, 58)
    layout["margin"]["b"] = 46
    layout["xaxis"]["title"] = {"text": "step", "font": {"size": 12, "color": "--muted"}, "standoff": 6}
    ends = "; ".join(f"{line.name} {_ends(line, form)}" for line in lines)
    return Chart(name, f"Lines: {words}, by step. {ends}.", data, layout, {"height": 290})


def _ends(line: Line, form: str) -> str:
    known = [v for v in line.values if v is not None]
    return f"from {known[0]:{form}} to {known[-1]:{form}}" if known else "unknown"


def _trace(line: Line, form: str, held: bool) -> dict[str, Any]:
    shown = [None if v is None else float(f"{v:.6g}") for v in line.values]
    return {
        "type": "scatter", "mode": "lines+markers", "x": list(line.steps), "y": shown, "name": label(line.name),
        "hoverinfo": "text",
        "hovertext": [
            f"{label(line.name, 60)}: {'unknown' if v is None else format(v, form)}<br>step {at:,.0f}"
            for at, v in zip(line.steps, line.values, strict=True)
        ],
        "line": {"color": line.look.token, "dash": line.look.dash, "width": 2, "shape": "hv" if held else "linear"},
        "marker": {
            "symbol": line.look.symbol, "color": line.look.token, "size": 8, "maxdisplayed": 10,
            "line": {"width": 1.5, "color": line.look.token},
        },
    }  # fmt: skip
