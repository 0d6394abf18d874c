"""Charts of a comparison, by step and by cost: mean loss curves, and gain against cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, _axis, _bars, _layout, _note, _padded
from mixwright.report.comparison.charts import Arm, Shown, _marker
from mixwright.report.words import label, number, percent, signed, span


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
        gained = f"gain {signed(g.gain, shown.digits)} ({span(g.low, g.high, shown.digits)})"
        hover = f"{label(g.arm.name, 60)}: {gained}<br>{cost}: {spent}"
        trace: dict[str, Any] = {
            "type": "scatter", "mode": "markers", "x": [place], "y": [g.gain], "hoverinfo": "text",
            "hovertext": [hover], "name": label(g.arm.name), "cliponaxis": False, "marker": _marker(g.arm.look, 11),
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
