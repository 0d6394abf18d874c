"""Loss curves of a comparison: means over seeds, and the steps to the baseline's final loss."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.comparison.charts import Arm
from mixwright.report.comparison.courses import Course, course_chart
from mixwright.report.comparison.schema import goals_of
from mixwright.report.words import count

SHOWN_POINTS = 60  # of a curve
_SEEDS_BEHIND = 5  # drawn one by one; of more, the lowest and the highest
_LISTED_SEEDS = 5  # whose steps are listed one by one

Curve = Mapping[float, float]  # loss by step


def curve_views(summary: Mapping[str, Any], arms: Mapping[str, Arm]) -> list[dict[str, Any]]:
    """Return a chart and a table of the mean curves for each target that has any."""
    views = []
    unit = next((f", {m['unit']}" for m in summary["measures"] if m["quantity"] == "held-out loss" and m["unit"]), "")
    for index, target in enumerate(goals_of(summary)):
        curves = _curves_on(summary, target)
        courses = [course for name in arms if (course := _course(arms[name], curves.get(name, [])))]
        if not courses:
            continue
        goal = _goal(curves.get(summary["over"], []))
        chart = course_chart(f"curve-{index}", target, unit, courses, None if goal is None else (summary["over"], goal))
        views.append({"target": target, "unit": unit, "chart": chart, "goal": goal, **_table(courses)})
    return views


def _curves_on(summary: Mapping[str, Any], target: str) -> dict[str, list[Curve]]:
    found: dict[str, list[Curve]] = {}
    for entry in summary["curves"]:
        if entry["target"] == target and entry["points"]:
            found.setdefault(entry["arm"], []).append({p["step"]: p["loss"] for p in entry["points"]})
    return found


def _course(arm: Arm, curves: Sequence[Curve]) -> Course | None:
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


def _shared_steps(curves: Sequence[Curve]) -> list[float]:
    if not curves:
        return []
    return _kept(sorted(set.intersection(*(set(curve) for curve in curves))))


def _kept(steps: list[float]) -> list[float]:
    """Return evenly chosen steps, the first and the last among them, where there are too many to show."""
    every = -(-len(steps) // SHOWN_POINTS)
    return [step for i, step in enumerate(steps) if i % max(every, 1) == 0 or i == len(steps) - 1]


def _goal(curves: Sequence[Curve]) -> float | None:
    """Return the baseline's final loss, its mean over seeds."""
    if not curves:
        return None
    return sum(curve[max(curve)] for curve in curves) / len(curves)


def _table(courses: Sequence[Course]) -> dict[str, Any]:
    losses = [dict(zip(course.steps, course.mean, strict=True)) for course in courses]
    steps = _kept(sorted({step for course in courses for step in course.steps}))
    rows = [(step, [found.get(step) for found in losses]) for step in steps]
    return {"arms": [course.arm for course in courses], "rows": rows}


def steps_views(summary: Mapping[str, Any], arms: Mapping[str, Arm]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each target, a row for each arm: how many seeds came to the baseline's final loss, and when."""
    views: dict[str, list[dict[str, Any]]] = {}
    for entry in summary["steps_to_baseline"]:
        views.setdefault(entry["target"], []).append(_steps_row(entry, arms[entry["arm"]]))
    return views


def _steps_row(entry: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
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
