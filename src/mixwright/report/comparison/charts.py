"""Charts of a comparison: forest plots, values by seed, and gain against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import (
    Chart,
    axis,
    bars,
    layout,
    level_at,
    line_at,
    marker,
    name_axis,
    note,
    padded,
    points,
    sides,
    titled_layout,
)
from mixwright.report.comparison.words import VERDICT_LOOKS
from mixwright.report.looks import Look
from mixwright.report.words import label, number, percent, signed, span


@dataclass(frozen=True)
class ArmView:
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

    def signed(self, value: float) -> str:
        """Return a difference."""
        return signed(value, self.digits)

    def span(self, low: float | None, high: float | None) -> str:
        """Return an interval."""
        return span(low, high, self.digits)


def forest_chart(name: str, shown: Shown, over: str, rows: Sequence[tuple[ArmView, Mapping[str, Any]]]) -> Chart:
    """Return each arm's difference with its interval; a row is (arm, entry)."""
    y, narrow, left = name_axis([arm.name for arm, _ in rows])
    low, high = _extent([entry for _, entry in rows])
    made = layout(60 * len(rows) + 66, axis(nticks=5, tickangle=0, range=[low, high]), y, left, 26)
    made["shapes"] = [_band(*((0.0, high) if shown.higher else (low, 0.0))), line_at(0.0)]
    made["annotations"] = sides(shown.higher)
    data = []
    for i, (arm, entry) in enumerate(rows):
        data.append(_dot(arm, entry, i, shown))
        made["annotations"].append(_said(entry, i - 0.3, (low, high), shown))
    heard = "; ".join(
        f"{arm.name} {shown.signed(e['difference'])} ({shown.span(e['low'], e['high'])}), {e['word']}"
        for arm, e in rows
    )
    words = (
        f"Forest plot: {shown.name} minus that of {over} with the same seeds{shown.unit}; "
        f"{'above' if shown.higher else 'below'} zero is better. {heard}."
    )
    return Chart(name, words, data, made, narrow)


def _extent(entries: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis: all intervals, and zero."""
    own = [0.0, *(v for e in entries for v in (e["difference"], e["low"], e["high"]) if v is not None)]
    left, right = padded([min(own), max(own)], 0.06, 0.06)
    return left, right


def _band(low: float, high: float) -> dict[str, Any]:
    """Return the shade of the better side."""
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": low, "x1": high, "y0": 0, "y1": 1, "layer": "below",
        "fillcolor": "--soft", "line": {"width": 0},
    }  # fmt: skip


def _dot(arm: ArmView, entry: Mapping[str, Any], y: float, shown: Shown) -> dict[str, Any]:
    look, value = VERDICT_LOOKS[entry["word"]], entry["difference"]
    interval = f"{percent(shown.level, 0)} interval {shown.span(entry['low'], entry['high'])}"
    hover = f"{label(arm.name, 60)}: {shown.signed(value)} {entry['word']}<br>{interval}"
    trace = points(arm.name, [value], [y], [hover], marker=marker(look, 8))
    if entry["low"] is not None:
        trace["error_x"] = bars([value], [(entry["low"], entry["high"])], look, 3)
    return trace


def _said(entry: Mapping[str, Any], y: float, ends: tuple[float, float], shown: Shown) -> dict[str, Any]:
    """Return the words above a dot, moved inwards near the edges of the picture."""
    value = entry["difference"]
    at = (value - ends[0]) / (ends[1] - ends[0])
    changes = {"yref": "y", "yanchor": "middle", "bgcolor": "--panel", "borderpad": 1}
    changes["xanchor"] = "left" if at < 0.35 else "right" if at > 0.65 else "center"
    return note(value, f"{shown.signed(value)} {entry['word']}", y=y, font={"size": 12, "color": "--ink"}, **changes)


def seeds_chart(
    name: str,
    shown: Shown,
    arms: Sequence[ArmView],
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
    y, narrow, left = name_axis([arm.name for arm in arms])
    every = [value for row in values for value in row]
    x = axis(nticks=5, tickangle=0, range=padded(every, 0.06, 0.06))
    rows, data = list(range(len(arms))), []
    for s, (seed, look) in enumerate(seeds):
        own = [row[s] for row in values]
        hover = [f"{label(arm.name, 60)}, {seed}: {number(v, shown.digits)}" for arm, v in zip(arms, own, strict=True)]
        data.append(points(seed, own, rows, hover, mode="lines+markers", **_seed_look(look)))
    means = [sum(row) / len(row) for row in values]
    hover = [f"{label(a.name)}, mean: {number(m, shown.digits)}" for a, m in zip(arms, means, strict=True)]
    bar = {"symbol": "line-ns-open", "size": 20, "color": "--ink", "line": {"width": 3, "color": "--ink"}}
    data.append(points("mean", means, rows, hover, marker=bar))
    heard = "; ".join(
        f"{arm.name} {shown.span(min(row), max(row))}, mean {number(mean, shown.digits)}"
        for arm, row, mean in zip(arms, values, means, strict=True)
    )
    side = "right" if shown.higher else "left"
    words = (
        f"Lines, one for each of {len(seeds)} seeds: {shown.name} of each arm{shown.unit}; {side} is better. {heard}."
    )
    return Chart(name, words, data, layout(38 * len(arms) + 56, x, y, left, 14), narrow)


def _seed_look(look: Look | None) -> dict[str, Any]:
    if look is None:
        line = {"color": "--grey", "dash": "solid", "width": 0.8}
        return {"line": line, "marker": {"symbol": "circle", "color": "--grey", "size": 4}, "opacity": 0.6}
    return {"line": {"color": look.token, "dash": look.dash, "width": 1.4}, "marker": marker(look, 8)}


@dataclass(frozen=True)
class Gain:
    """What an arm cost, and what it gained over the baseline on one measure (positive is better)."""

    arm: ArmView
    cost: float
    gain: float
    low: float | None
    high: float | None


def gain_chart(name: str, shown: Shown, over: str, gains: Sequence[Gain], cost: str, shares: bool) -> Chart:
    """Return gain against cost, with intervals; arms of the same cost stand side by side."""
    ends = [v for g in gains for v in (g.gain, g.low, g.high) if v is not None]
    costs = [g.cost for g in gains]
    width = (max(costs) - min(costs)) or max(abs(max(costs)) * 0.1, 0.01)
    at = _side_by_side(costs, 0.03 * width)
    x = {"tickformat": ".0%" if shares else "~s", "range": padded([*at, *costs], 0.07, 0.07)}
    made = titled_layout(360, x, axis(nticks=6, range=padded([0.0, *ends], 0.08, 0.08)), cost, 26)
    made["shapes"] = [level_at(0.0)]
    made["annotations"] = [note(0, "↑ better", xref="paper", xanchor="left")]
    data, heard = [], []
    for place, g in zip(at, gains, strict=True):
        spent = percent(g.cost) if shares else number(g.cost, 0)
        gained = f"gain {shown.signed(g.gain)}"
        hover = f"{label(g.arm.name, 60)}: {gained} ({shown.span(g.low, g.high)})<br>{cost}: {spent}"
        trace = points(g.arm.name, [place], [g.gain], [hover], marker=marker(g.arm.look, 11))
        if g.low is not None and g.high is not None:
            trace["error_y"] = bars([g.gain], [(g.low, g.high)], g.arm.look, 2)
        data.append(trace)
        heard.append(f"{g.arm.name} {spent}, {gained}")
    words = f"Dots with intervals: gain over {over} on {shown.name}{shown.unit} against {cost}; up is better. "
    return Chart(name, f"{words}{'; '.join(heard)}.", data, made, {"height": 320})


def _side_by_side(costs: Sequence[float], step: float) -> list[float]:
    """Return where dots stand: those nearer than a step to one another are spread about their mean."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], i))
    places, start = [0.0] * len(costs), 0
    for end in range(1, len(order) + 1):
        if end < len(order) and costs[order[end]] - costs[order[end - 1]] < step:
            continue
        group = order[start:end]
        middle = sum(costs[i] for i in group) / len(group)
        for rank, i in enumerate(group):
            places[i] = middle + (rank - (len(group) - 1) / 2) * step
        start = end
    return places
