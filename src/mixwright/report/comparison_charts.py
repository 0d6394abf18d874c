"""The charts of a comparison: forest plots, values by seed, mean loss curves, gain against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, _axis, _bars, _layout, _line_at, _name_axis, _note, _padded
from mixwright.report.comparison_words import VERDICT_LOOKS
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
    """Return each arm's paired difference with its interval, thin beneath it the unpaired one; a row is (arm, entry)."""
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
        data.append(_paired(arm, entry, i, (low, high), shown))
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


def _paired(arm: Arm, entry: Mapping[str, Any], y: float, ends: tuple[float, float], shown: Shown) -> dict[str, Any]:
    look, value = VERDICT_LOOKS[entry["word"]], entry["difference"]
    at = (value - ends[0]) / (ends[1] - ends[0])
    place = "top right" if at < 0.35 else "top left" if at > 0.65 else "top center"
    said = f"{signed(value, shown.digits)} {entry['word']}"
    hover = (
        f"{label(arm.name, 60)}: {said}<br>{percent(shown.level, 0)} interval "
        f"{span(entry['low'], entry['high'], shown.digits)}"
    )
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "markers+text", "x": [value], "y": [y], "text": [said], "textposition": place,
        "textfont": {"size": 12, "color": "--ink"}, "hoverinfo": "text", "hovertext": [hover], "cliponaxis": False,
        "name": label(arm.name), "marker": _marker(look, 11),
    }  # fmt: skip
    if entry["low"] is not None:
        trace["error_x"] = _bars([value], [(entry["low"], entry["high"])], look, 3)
    return trace


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
        "type": "scatter", "mode": "markers", "x": means, "y": rows, "hoverinfo": "text", "name": "mean", "cliponaxis": False,
        "hovertext": [f"{label(a.name, 60)}, mean: {number(m, shown.digits)}" for a, m in zip(arms, means, strict=True)],
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


@dataclass(frozen=True)
class Course:
    """
    The mean loss curve of an arm, and what is drawn thin behind it.

    Parameters
    ----------
    arm
        Whose.
    steps, mean
        The curve.
    behind
        Curves (steps, losses): the seeds, or the lowest and the highest of many.
    """

    arm: Arm
    steps: Sequence[float]
    mean: Sequence[float]
    behind: Sequence[tuple[Sequence[float], Sequence[float]]]


def course_chart(name: str, target: str, unit: str, courses: Sequence[Course], goal: tuple[str, float] | None) -> Chart:
    """Return the loss on a target while each arm trains; `goal` is the baseline's name and final loss."""
    data = [_behind(course) for course in courses if course.behind] + [_mean_line(course) for course in courses]
    late = [v for c in courses for at, loss in [(c.steps, c.mean), *c.behind] for v in _late(at, loss)]
    low, high = _padded([*late, goal[1]] if goal else late, 0.06, 0.06)
    last = max(course.steps[-1] for course in courses)
    y = _axis(nticks=6, range=[low, high])
    x = _axis(tickformat="~s", nticks=6, showgrid=False, showline=True, range=[0, 1.02 * last])
    layout = _layout(360, x, y, 52, 26)
    layout["margin"]["b"] = 46
    layout["xaxis"]["title"] = {"text": "step", "font": {"size": 12, "color": "--muted"}, "standoff": 6}
    if goal:
        layout["shapes"] = [_level(goal[1])]
        note = f"dashed line: final loss of {label(goal[0], 20)}"
        layout["annotations"] = [_note(1, note, xref="paper", xanchor="right")]
    ends = "; ".join(f"{c.arm.name} from {number(c.mean[0])} to {number(c.mean[-1])}" for c in courses)
    words = f"Lines: mean held-out loss on {target} over the seeds by step{unit}, lower is better. {ends}."
    return Chart(name, words, data, layout, {"height": 300})


def _late(steps: Sequence[float], losses: Sequence[float]) -> list[float]:
    return [loss for step, loss in zip(steps, losses, strict=True) if step >= 0.3 * steps[-1]]


def _level(y: float) -> dict[str, Any]:
    line = {"color": "--grey", "width": 1.5, "dash": "dash"}
    return {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line}


def _behind(course: Course) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for steps, losses in course.behind:
        x += [*steps, None]
        y += [*(float(f"{loss:.6g}") for loss in losses), None]
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip", "name": label(course.arm.name),
        "line": {"color": course.arm.look.token, "width": 0.8}, "opacity": 0.45,
    }  # fmt: skip


def _mean_line(course: Course) -> dict[str, Any]:
    look = course.arm.look
    return {
        "type": "scatter", "mode": "lines+markers", "x": list(course.steps),
        "y": [float(f"{loss:.6g}") for loss in course.mean], "name": label(course.arm.name), "hoverinfo": "text",
        "hovertext": [f"{label(course.arm.name, 60)}: {number(loss)}" for loss in course.mean],
        "line": {"color": look.token, "dash": look.dash, "width": 2},
        "marker": {**_marker(look, 8), "maxdisplayed": 10, "line": {"width": 1.5, "color": look.token}},
    }  # fmt: skip


@dataclass(frozen=True)
class Gain:
    """What an arm cost, and what it gained over the baseline on one measure (positive is better)."""

    arm: Arm
    cost: float
    gain: float
    low: float | None
    high: float | None


def gain_chart(name: str, shown: Shown, over: str, gains: Sequence[Gain], cost: str, shares: bool) -> Chart:
    """Return gain against cost, with intervals; arms of the same cost stand side by side."""
    ends = [v for g in gains for v in (g.gain, g.low, g.high) if v is not None]
    y = _axis(nticks=6, range=_padded([0.0, *ends], 0.08, 0.08))
    costs = [g.cost for g in gains]
    width = (max(costs) - min(costs)) or max(abs(max(costs)) * 0.1, 0.01)
    at = _side_by_side(costs, 0.03 * width)
    low, high = _padded([*at, *costs], 0.07, 0.07)
    x = _axis(tickformat=".0%" if shares else "~s", nticks=6, showgrid=False, showline=True, range=[low, high])
    layout = _layout(360, x, y, 58, 26)
    layout["margin"]["b"] = 46
    layout["xaxis"]["title"] = {"text": cost, "font": {"size": 12, "color": "--muted"}, "standoff": 6}
    layout["shapes"] = [_level(0.0)]
    layout["annotations"] = [_note(0, "↑ better", xref="paper", xanchor="left")]
    data = []
    for place, g in zip(at, gains, strict=True):
        spent = percent(g.cost) if shares else number(g.cost, 0)
        hover = f"{label(g.arm.name, 60)}: gain {signed(g.gain, shown.digits)} ({span(g.low, g.high, shown.digits)})<br>{cost}: {spent}"
        trace: dict[str, Any] = {
            "type": "scatter", "mode": "markers", "x": [place], "y": [g.gain], "hoverinfo": "text", "hovertext": [hover],
            "name": label(g.arm.name), "cliponaxis": False, "marker": _marker(g.arm.look, 11),
        }  # fmt: skip
        if g.low is not None and g.high is not None:
            trace["error_y"] = _bars([g.gain], [(g.low, g.high)], g.arm.look, 2)
        data.append(trace)
    heard = "; ".join(
        f"{g.arm.name} {percent(g.cost) if shares else number(g.cost, 0)}, gain {signed(g.gain, shown.digits)}"
        for g in gains
    )
    words = f"Dots with intervals: gain over {over} on {shown.name}{shown.unit} against {cost}; up is better. {heard}."
    return Chart(name, words, data, layout, {"height": 320})


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
