"""Charts of a comparison, by arm: forest plots, and values by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, _axis, _bars, _layout, _line_at, _name_axis, _note, _padded
from mixwright.report.comparison.words import VERDICT_LOOKS
from mixwright.report.looks import Look
from mixwright.report.words import label, number, percent, signed, span

_LEAST_SHARE = 0.3  # of a forest plot's width: what the paired intervals take at least


@dataclass(frozen=True)
class Arm:
    """An arm as the page shows it."""

    name: str
    kind: str
    words: str
    look: Look


@dataclass(frozen=True)
class Shown:
    """
    What a chart says of its measure.

    Parameters
    ----------
    name
        As in "held-out loss on law".
    unit
        ", nats per token", or nothing.
    digits
        Behind the point.
    higher
        Whether higher is better.
    level
        Of intervals.
    """

    name: str
    unit: str
    digits: int
    higher: bool
    level: float


def forest_chart(name: str, shown: Shown, over: str, rows: Sequence[tuple[Arm, Mapping[str, Any]]]) -> Chart:
    """Return each arm's paired difference with its interval, beneath it the unpaired one; a row is (arm, entry)."""
    y, narrow, left = _name_axis([arm.name for arm, _ in rows])
    low, high = _extent([entry for _, entry in rows])
    x = _axis(nticks=5, tickangle=0, range=[low, high])
    layout = _layout(60 * len(rows) + 66, x, y, left, 26)
    better = (0.0, high) if shown.higher else (low, 0.0)
    layout["shapes"] = [_band(*better), _line_at(0.0)]
    layout["annotations"] = [
        _note(0, "← worse" if shown.higher else "← better", xref="paper", xanchor="left"),
        _note(1, "better →" if shown.higher else "worse →", xref="paper", xanchor="right"),
    ]
    data = []
    for i, (arm, entry) in enumerate(rows):
        if entry["unpaired"] is not None:
            data.append(_unpaired(arm, entry, i + 0.24, (low, high), shown))
        data.append(_paired(arm, entry, i, shown))
        layout["annotations"].append(_said(entry, i - 0.3, (low, high), shown))
    heard = "; ".join(
        f"{arm.name} {signed(e['difference'], shown.digits)} ({span(e['low'], e['high'], shown.digits)}), {e['word']}"
        for arm, e in rows
    )
    words = (
        f"Forest plot: {shown.name} minus that of {over} with the same seeds{shown.unit}; "
        f"{'above' if shown.higher else 'below'} zero is better. {heard}."
    )
    return Chart(name, words, data, layout, narrow)


def _extent(entries: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis: all paired intervals, and of the unpaired ones what leaves those their share."""
    own = [0.0, *(v for e in entries for v in (e["difference"], e["low"], e["high"]) if v is not None)]
    low, high = min(own), max(own)
    room = ((high - low) or 1e-3) * (1 / _LEAST_SHARE - 1) / 2
    wide = [end for e in entries if e["unpaired"] is not None for end in e["unpaired"]]
    ends = [max(min([low, *wide]), low - room), min(max([high, *wide]), high + room)]
    left, right = _padded(ends, 0.06, 0.06)
    return left, right


def _band(low: float, high: float) -> dict[str, Any]:
    """Return the shade of the better side."""
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1, "layer": "below",
        "fillcolor": "--soft", "line": {"width": 0},
    }  # fmt: skip


def _paired(arm: Arm, entry: Mapping[str, Any], y: float, shown: Shown) -> dict[str, Any]:
    look, value = VERDICT_LOOKS[entry["word"]], entry["difference"]
    hover = (
        f"{label(arm.name, 60)}: {signed(value, shown.digits)} {entry['word']}<br>{percent(shown.level, 0)} interval "
        f"{span(entry['low'], entry['high'], shown.digits)}"
    )
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "markers", "x": [value], "y": [y], "hoverinfo": "text", "hovertext": [hover],
        "cliponaxis": False, "name": label(arm.name), "marker": _marker(look, 8),
    }  # fmt: skip
    if entry["low"] is not None:
        trace["error_x"] = _bars([value], [(entry["low"], entry["high"])], look, 3)
    return trace


def _said(entry: Mapping[str, Any], y: float, ends: tuple[float, float], shown: Shown) -> dict[str, Any]:
    """Return the words above a dot, moved inwards near the edges of the picture."""
    value = entry["difference"]
    at = (value - ends[0]) / (ends[1] - ends[0])
    side = "left" if at < 0.35 else "right" if at > 0.65 else "center"
    text = f"{signed(value, shown.digits)} {entry['word']}"
    changes = {"yref": "y", "yanchor": "middle", "xanchor": side, "bgcolor": "--panel", "borderpad": 1}
    return _note(value, text, y=y, font={"size": 12, "color": "--ink"}, **changes)


def _marker(look: Look, size: int) -> dict[str, Any]:
    return {"symbol": look.symbol, "color": look.token, "size": size, "line": {"width": 2, "color": look.token}}


def _unpaired(arm: Arm, entry: Mapping[str, Any], y: float, ends: tuple[float, float], shown: Shown) -> dict[str, Any]:
    """Return the thin line of an unpaired interval; an end beyond the picture is an arrow head at its edge."""
    low, high = entry["unpaired"]
    edge = 0.012 * (ends[1] - ends[0])
    inside = [max(low, ends[0] + edge), min(high, ends[1] - edge)]
    symbols = [
        "triangle-left" if low < inside[0] else "line-ns-open",
        "triangle-right" if high > inside[1] else "line-ns-open",
    ]
    return {
        "type": "scatter", "mode": "lines+markers", "x": inside, "y": [y, y], "hoverinfo": "text",
        "hovertext": [f"{label(arm.name, 60)}, unpaired: {span(low, high, shown.digits)}"] * 2, "name": label(arm.name),
        "line": {"color": "--grey", "width": 1.2},
        "marker": {"symbol": symbols, "size": 8, "color": "--grey", "line": {"width": 1.2, "color": "--grey"}},
    }  # fmt: skip


def seeds_chart(
    name: str,
    shown: Shown,
    arms: Sequence[Arm],
    values: Sequence[Sequence[float]],
    seeds: Sequence[tuple[str, Look | None]],
) -> Chart:
    """
    Return the value of each arm with each seed, a line for each seed, and each arm's mean.

    Parameters
    ----------
    values
        [arms, seeds].
    seeds
        (name, look) of each seed; without a look its line is thin and grey.
    """
    y, narrow, left = _name_axis([arm.name for arm in arms])
    every = [value for row in values for value in row]
    x = _axis(nticks=5, tickangle=0, range=_padded(every, 0.06, 0.06))
    layout = _layout(38 * len(arms) + 56, x, y, left, 14)
    rows, data = list(range(len(arms))), []
    for s, (seed, look) in enumerate(seeds):
        own = [row[s] for row in values]
        hover = [f"{label(arm.name, 60)}, {seed}: {number(v, shown.digits)}" for arm, v in zip(arms, own, strict=True)]
        token, dash = (look.token, look.dash) if look else ("--grey", "solid")
        data.append({
            "type": "scatter", "mode": "lines+markers", "x": own, "y": rows, "hoverinfo": "text", "hovertext": hover,
            "name": seed, "cliponaxis": False, "line": {"color": token, "dash": dash, "width": 1.4 if look else 0.8},
            "marker": _marker(look, 8) if look else {"symbol": "circle", "color": token, "size": 4},
            "opacity": 1 if look else 0.6,
        })  # fmt: skip
    means = [sum(row) / len(row) for row in values]
    data.append({
        "type": "scatter", "mode": "markers", "x": means, "y": rows, "hoverinfo": "text", "name": "mean",
        "hovertext": [f"{label(a.name)}, mean: {number(m, shown.digits)}" for a, m in zip(arms, means, strict=True)],
        "cliponaxis": False,
        "marker": {"symbol": "line-ns-open", "size": 20, "color": "--ink", "line": {"width": 3, "color": "--ink"}},
    })  # fmt: skip
    heard = "; ".join(
        f"{arm.name} {span(min(row), max(row), shown.digits)}, mean {number(mean, shown.digits)}"
        for arm, row, mean in zip(arms, values, means, strict=True)
    )
    side = "right" if shown.higher else "left"
    words = (
        f"Lines, one for each of {len(seeds)} seeds: {shown.name} of each arm{shown.unit}; {side} is better. {heard}."
    )
    return Chart(name, words, data, layout, narrow)
