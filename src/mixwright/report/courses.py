"""What the pages of trainings share: courses (lines over the steps, with their table), and the decision log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from mixwright.report.charts import Chart, Line, lines_chart
from mixwright.report.looks import Look, course_look
from mixwright.report.words import count, duration, moment, number, percent, shorten, small

SHOWN_SOURCES = 12  # with a line of their own: as many as there are looks
SHOWN_POINTS = 80  # of a line; more are averaged
_SHOWN_ROWS = 40  # of the table below a chart
_SHOWN_DECISIONS = 100

Say = Callable[[float | None], str]
SAY_LOSS: Say = number
SAY_SHARE: Say = percent
SAY_SMALL: Say = small
SAY_TIMES: Say = partial(number, digits=2)


class ShownSource(NamedTuple):
    """A source that has a line of its own."""

    name: str
    look: Look


class ByStep(NamedTuple):
    """Something that is shown by step: its key, the section's title, words for the chart, how a value is written."""

    key: str
    title: str
    words: str
    say: Say = SAY_LOSS
    zero: bool = False
    whole: bool = False


def shown_sources(names: Sequence[str], rank: Callable[[int], float]) -> dict[int, ShownSource]:
    """Return the sources with a line of their own, by number: of many those with the lowest rank."""
    kept = sorted(sorted(range(len(names)), key=rank)[:SHOWN_SOURCES])
    return {i: ShownSource(names[i], course_look(n)) for n, i in enumerate(kept)}


def averaged(steps: Sequence[float], values: Sequence[float | None]) -> tuple[list[float], list[float | None]]:
    """Return at most SHOWN_POINTS points: means over stretches of as many points each, at their last steps."""
    size = max(1, -(-len(steps) // SHOWN_POINTS))
    at, means = [], []
    for start in range(0, len(steps), size):
        known = [v for v in values[start : start + size] if v is not None]
        at.append(steps[min(start + size, len(steps)) - 1])
        means.append(sum(known) / len(known) if known else None)
    return at, means


def courses(
    points: Iterable[Mapping[str, Any]],
    step: Callable[[Mapping[str, Any]], float],
    value: Callable[[Mapping[str, Any], int, str], float | None],
    shown: Mapping[int, ShownSource],
    measures: Sequence[ByStep],
    prefix: str = "",
) -> list[dict[str, Any]]:
    """
    Return a chart and its table for each measure that has any value.

    Parameters
    ----------
    points
        Where something was measured.
    step, value
        Of a point; `value` is given the number of the source and the key of the measure, and may be None.
    shown
        The sources, by number.
    measures
        What may have been measured.
    prefix
        Of the ids of charts.
    """
    found, points = [], list(points)
    for measure in measures:
        rows = [(step(point), [value(point, i, measure.key) for i in shown]) for point in points]
        known = [(at, row) for at, row in rows if any(v is not None for v in row)]
        steps = [at for at, _ in known]
        lines = [
            Line(source.name, source.look, *averaged(steps, [row[j] for _, row in known]))
            for j, source in enumerate(shown.values())
        ]
        if known:
            found.append(_course(f"{prefix}{measure.key.replace('_', '-')}", measure, lines))
    return found


def _course(name: str, measure: ByStep, lines: Sequence[Line], held: bool = False) -> dict[str, Any]:
    """Return the chart of a measure with at most 40 rows (step, texts) of its lines, which have the same steps."""
    words = f"{measure.title}, {measure.words}"
    chart = lines_chart(name, words, lines, measure.say, held=held, zero=measure.zero, whole=measure.whole)
    rows = [
        (lines[0].steps[i], [measure.say(line.values[i]) for line in lines])
        for i in thinned(lines[0].steps, _SHOWN_ROWS)
    ]
    return {"title": measure.title, "words": measure.words, "id": name, "chart": chart, "rows": rows, "lines": lines}


def thinned(items: Sequence[Any], most: int) -> list[int]:
    """Return the positions of evenly chosen items, the first and the last among them."""
    every = max(1, -(-len(items) // most))
    return [i for i in range(len(items)) if i % every == 0 or i == len(items) - 1]


def aligned(decisions: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return decisions with the numbers of these sources, None for one that was not there: sources may have changed."""
    found, own = [], list(names)
    for line in decisions:
        own = list(line.get("run", {}).get("sources", own))
        at = [own.index(name) if name in own else None for name in names]
        found.append(line if own == list(names) else _moved(line, at, len(own)))
    return found


def _moved(line: Mapping[str, Any], at: Sequence[int | None], k: int) -> dict[str, Any]:
    def of(values: Any) -> Any:
        if not isinstance(values, list) or len(values) != k:
            return values
        return [None if i is None else values[i] for i in at]

    seen = {name: of(value) for name, value in line["observation"].items() if name != "target_loss"}
    if seen.get("gram"):
        seen["gram"] = [of(row) or [None] * len(at) for row in seen["gram"]]
    run = {**line.get("run", {}), **({"prior": of(line["run"]["prior"])} if "prior" in line.get("run", {}) else {})}
    return {**line, "weights": of(line["weights"]), "observation": seen, "run": run}


def weights_course(
    summary: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]], shown: Mapping[int, ShownSource], words: str
) -> list[dict[str, Any]]:
    """Return the weights by the step from which they act; nothing where they were fixed and stayed."""
    if not decisions or (summary["fixed"] and not summary.get("steering")):
        return []
    start = decisions[0].get("run", {}).get("prior")
    # what rows are drawn by says nothing of the weights where these act on the loss
    first = start if summary.get("sampling") else decisions[0]["observation"].get("planned") or start
    acted = [(float(line["begins"]), line["weights"]) for line in decisions if line["begins"] < summary["steps"]]
    acted = ([(0.0, first)] if first else []) + acted
    acted.append((float(summary["steps"]), acted[-1][1] if acted else decisions[-1]["weights"]))
    return held_weights("weights", acted, shown, words)


def held_weights(
    name: str, acted: Sequence[tuple[float, Sequence[float | None]]], shown: Mapping[int, ShownSource], words: str
) -> list[dict[str, Any]]:
    """Return the course of weights of which each (step, [k]) holds until the next; `name` is the chart's id."""
    kept = [acted[i] for i in thinned(acted, 4 * SHOWN_POINTS)]
    steps = [step for step, _ in kept]
    lines = [Line(source.name, source.look, steps, [row[i] for _, row in kept]) for i, source in shown.items()]
    return [_course(name, ByStep("weights", "Weights", words, SAY_SHARE, zero=True), lines, held=True)]


def decision_log(decisions: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Return the decision log, evenly thinned; decisions with an alarm always."""
    kept = set(thinned(decisions, _SHOWN_DECISIONS))
    rows = []
    for i, line in enumerate(decisions):
        names = line.get("run", {}).get("sources", names)
        remarks = dict(line.get("remarks", {}))
        if by_hand := line.get("by_hand"):
            remarks = {"by hand": ", ".join(by_hand), **remarks}
        if i not in kept and not remarks.get("alarm"):
            continue
        top = sorted(range(len(names)), key=lambda j: -line["weights"][j])[:6]
        weights = ", ".join(f"{names[j]} {percent(line['weights'][j])}" for j in top)
        rows.append(
            {
                "observed": line["observation"]["step"] + 1,
                "begins": line["begins"],
                "entropy": line.get("entropy"),
                "weights": weights + (", …" if len(names) > len(top) else ""),
                "limited": not by_hand and line.get("strategy_weights") not in (None, line["weights"]),
                "remarks": "; ".join(f"{key}: {value}" for key, value in remarks.items()),
            }
        )
    return {"rows": rows, "all": len(decisions)}


def alarms_of(decisions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the alarms of a decision log."""
    return [d["remarks"]["alarm"] for d in decisions if d.get("remarks", {}).get("alarm")]


def made_facts(summary: Mapping[str, Any], amount: str, more: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how a training was made, as (term, text); `amount` is what it is counted in: tokens or pairs."""
    facts = {
        "Weights": shorten(summary["strategy"], 300),
        f"Steps, {amount}": f"{count(summary['steps'])}, {count(summary[amount])}",
        "Time": duration(summary["seconds"]),
        "Seed": str(summary["seed"]),
        **{term: shorten(str(value), 200) for term, value in more.items()},
        **{key: shorten(str(value), 200) for key, value in summary["training"].items()},
        "Command": summary["command"],
        "Made": f"{moment(summary['created'])}, mixwright {summary['version']}",
    }
    return list(facts.items())


def charts_of(*parts: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Return the charts of courses, in their order."""
    return [course["chart"] for part in parts for course in part]
