"""Loss curves of a comparison: means over seeds, and the steps to the baseline's final loss."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixwright.report.charts import Chart, Line, level_at, lines_chart, note, padded
from mixwright.report.comparison.charts import ArmView
from mixwright.report.comparison.schema import goals_of
from mixwright.report.courses import thinned
from mixwright.report.words import count, label, number

SHOWN_POINTS = 60  # of a curve
_SEEDS_BEHIND = 5  # drawn one by one; of more, the lowest and the highest
_LISTED_SEEDS = 5  # whose steps are listed one by one

LossBySteps = Mapping[float, float]


@dataclass(frozen=True)
class Course:
    """The mean loss curve of an arm, and the curves (steps, losses) drawn thin behind it: the seeds, or their ends."""

    arm: ArmView
    steps: Sequence[float]
    mean: Sequence[float]
    behind: Sequence[tuple[Sequence[float], Sequence[float]]]


def curve_views(summary: Mapping[str, Any], arms: Mapping[str, ArmView]) -> list[dict[str, Any]]:
    """Return a chart and a table of the mean curves for each target that has any."""
    views = []
    unit = next((f", {m['unit']}" for m in summary["measures"] if m["quantity"] == "held-out loss" and m["unit"]), "")
    for index, target in enumerate(goals_of(summary)):
        curves = _curves_on(summary, target)
        courses = [course for name in arms if (course := _course(arms[name], curves.get(name, [])))]
        if not courses:
            continue
        goal = _goal(curves.get(summary["over"], []))
        chart = _chart(f"curve-{index}", target, unit, courses, None if goal is None else (summary["over"], goal))
        views.append({"target": target, "unit": unit, "chart": chart, "goal": goal, **_table(courses)})
    return views


def _chart(name: str, target: str, unit: str, courses: Sequence[Course], goal: tuple[str, float] | None) -> Chart:
    """Return the loss on a target while each arm trains; `goal` is the baseline's name and final loss."""
    words = f"mean held-out loss on {target} over the seeds{unit}, lower is better"
    chart = lines_chart(name, words, [Line(c.arm.name, c.arm.look, c.steps, c.mean) for c in courses], number)
    late = [v for c in courses for at, loss in [(c.steps, c.mean), *c.behind] for v in _late(at, loss)]
    made = chart.layout
    made["yaxis"]["range"] = padded([*late, goal[1]] if goal else late, 0.06, 0.06)
    if goal:
        made["margin"]["t"], made["shapes"] = 26, [level_at(goal[1])]
        text = f"dashed line: final loss of {label(goal[0], 20)}"
        made["annotations"] = [note(1, text, xref="paper", xanchor="right")]
    return Chart(name, chart.words, [_behind(c) for c in courses if c.behind] + chart.data, made, chart.narrow)


def _late(steps: Sequence[float], losses: Sequence[float]) -> list[float]:
    return [loss for step, loss in zip(steps, losses, strict=True) if step >= 0.3 * steps[-1]]


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


def _curves_on(summary: Mapping[str, Any], target: str) -> dict[str, list[LossBySteps]]:
    found: dict[str, list[LossBySteps]] = {}
    for entry in summary["curves"]:
        if entry["target"] == target and entry["points"]:
            found.setdefault(entry["arm"], []).append({p["step"]: p["loss"] for p in entry["points"]})
    return found


def _course(arm: ArmView, curves: Sequence[LossBySteps]) -> Course | None:
    """Return the mean over seeds at the steps that all of them measured."""
    shared = _shared_steps(curves)
    if len(shared) < 2:
        return None
    mean = [sum(curve[step] for curve in curves) / len(curves) for step in shared]
    behind: list[tuple[Sequence[float], Sequence[float]]] = []
    if 1 < len(curves) <= _SEEDS_BEHIND:
        behind = [(steps, [curve[step] for step in steps]) for curve in curves for steps in [_kept(sorted(curve))]]
    elif len(curves) > 1:
        behind = [(shared, [join(curve[step] for curve in curves) for step in shared]) for join in (min, max)]
    return Course(arm, shared, mean, behind)


def _shared_steps(curves: Sequence[LossBySteps]) -> list[float]:
    if not curves:
        return []
    return _kept(sorted(set.intersection(*(set(curve) for curve in curves))))


def _kept(steps: list[float]) -> list[float]:
    """Return evenly chosen steps, the first and the last among them, where there are too many to show."""
    return [steps[i] for i in thinned(steps, SHOWN_POINTS)]


def _goal(curves: Sequence[LossBySteps]) -> float | None:
    """Return the baseline's final loss, its mean over seeds."""
    if not curves:
        return None
    return sum(curve[max(curve)] for curve in curves) / len(curves)


def _table(courses: Sequence[Course]) -> dict[str, Any]:
    losses = [dict(zip(course.steps, course.mean, strict=True)) for course in courses]
    steps = _kept(sorted({step for course in courses for step in course.steps}))
    rows = [(step, [found.get(step) for found in losses]) for step in steps]
    return {"arms": [course.arm for course in courses], "rows": rows}


def steps_views(summary: Mapping[str, Any], arms: Mapping[str, ArmView]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each target, a row for each arm: how many seeds came to the baseline's final loss, and when."""
    views: dict[str, list[dict[str, Any]]] = {}
    for entry in summary["steps_to_baseline"]:
        views.setdefault(entry["target"], []).append(_steps_row(entry, arms[entry["arm"]]))
    return views


def _steps_row(entry: Mapping[str, Any], arm: ArmView) -> dict[str, Any]:
    reached = [step for step in entry["steps"] if step is not None]
    of = f"{count(min(entry['of']))}" if entry["of"] else "–"
    if entry["of"] and max(entry["of"]) > min(entry["of"]):
        of = f"{of} to {count(max(entry['of']))}"
    words, listed = "not reached", ""
    if reached:
        words = f"{count(statistics.median_low(reached))} of {of}"
        if min(reached) < max(reached):
            words = f"{words} ({count(min(reached))} to {count(max(reached))})"
    if 1 < len(entry["steps"]) <= _LISTED_SEEDS and len(set(entry["steps"])) > 1:
        listed = " / ".join("not reached" if step is None else count(step) for step in entry["steps"])
    return {"arm": arm, "seeds": f"{len(reached)} of {len(entry['steps'])}", "steps": words, "listed": listed}
