"""From the checked summary of a comparison to what the page's template shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.compare.cells import AVERAGE_OF_TARGETS
from mixwright.compare.upgrade import upgraded
from mixwright.report.charts import Chart
from mixwright.report.comparison.charts import ArmView, Gain, Shown, forest_chart, gain_chart, seeds_chart
from mixwright.report.comparison.curves import curve_views, steps_views
from mixwright.report.comparison.forecasts import forecast_view
from mixwright.report.comparison.mixtures import source_groups, weight_groups
from mixwright.report.comparison.schema import check_comparison, completed_comparison, variants
from mixwright.report.comparison.words import (
    STATES,
    VERDICT_LOOKS,
    amount_of,
    budget_words,
    counted,
    lead,
    paying_arms,
    power_words,
    reading,
    search_of,
    seeds_words,
    title_of,
    verdict_words,
)
from mixwright.report.looks import KIND_WORDS, Look, looks_of
from mixwright.report.words import digits_of, figure, finite

OPEN_TARGETS = 3  # shown unfolded, where there are more than this and one
_LOOKED_SEEDS = 6  # with a colour, marker and dash of their own; more are thin grey lines
_SEED_LOOKS = (
    Look("blue", "circle", "solid"),
    Look("vermillion", "square", "longdash"),
    Look("green", "diamond", "dot"),
    Look("purple", "triangle-up", "dashdot"),
    Look("orange", "cross", "dash"),
    Look("sky", "star", "longdashdot"),
)


def build_comparison(summary: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what the page of a comparison shows; `charts` are the figures in the order of the page.

    Parameters
    ----------
    summary : mapping
        What `mixwright.compare.summarise` returned; and, where they are known, "title", "command", "data" ("text",
        "assays" or "preference"), "budget" ({"amount", "charged"}), "cost" ({arm: {name: number}}) and "csv" (the
        file of all cells, beside the page).

    Raises
    ------
    InputError
        When the summary cannot be shown as a comparison; the field is named.
    """
    summary = upgraded(summary) if isinstance(summary, Mapping) else summary
    check_comparison(summary)
    summary = completed_comparison(summary)
    arms = _arms(summary)
    named = {name: _variant(name, arms[arm], target) for name, (arm, target) in variants(summary).items()}
    seeds = _seed_looks(summary["seeds"])
    measures = [_measure(summary, measure, named) for measure in summary["measures"]]
    headline = [measure for measure in measures if measure["headline"]]
    for measure in measures:
        measure["title"] = title_of(measure, headline) if measure["headline"] else measure["name"]
    for index, measure in enumerate(headline):
        _add_charts(measure, index, summary, seeds)
    view: dict[str, Any] = {
        "summary": summary,
        "title": summary.get("title") or f"Comparison of {len(arms)} arms",
        "lead": lead(summary),
        "reading": reading(summary),
        "verdict_looks": _looks_in_use(headline),
        "arms": list(arms.values()),
        "over": arms[summary["over"]],
        "paired": len(summary["seeds"]) > 1,
        "seeds": [ArmView(name, "", "", look) for name, look in seeds if look],
        "seed_names": [name for name, _ in seeds],
        "headline": headline,
        "others": [m for m in measures if not m["headline"] and m["kind"] in ("target", "all targets", "task")],
        "open": _open(len(headline)),
        "shorter": bool(summary.get("budget") and paying_arms(summary)[0]),
        "curves": curve_views(summary, arms),
        "steps": steps_views(summary, arms),
        "cost": _cost(summary, arms, measures),
        "weights": weight_groups(summary, arms),
        "sources": source_groups([m for m in measures if m["kind"] in ("source", "all sources")], named, summary),
        "forecast": forecast_view(summary),
        "notes": summary["notes"],
    }
    view["charts"] = _charts(view)
    return view


def _open(number_of: int) -> int:
    """Return how many of that many parts are shown unfolded: all, unless there are many."""
    return number_of if number_of <= OPEN_TARGETS + 1 else OPEN_TARGETS


def _arms(summary: Mapping[str, Any]) -> dict[str, ArmView]:
    looks = looks_of(summary["arms"])
    return {
        arm["name"]: ArmView(
            arm["name"], arm["kind"], arm["words"] or KIND_WORDS.get(arm["kind"], arm["kind"]), looks[arm["name"]]
        )
        for arm in summary["arms"]
    }


def _variant(name: str, arm: ArmView, target: str | None) -> ArmView:
    return arm if target is None else ArmView(name, arm.kind, arm.words, arm.look)


def _seed_looks(seeds: Sequence[float]) -> list[tuple[str, Look | None]]:
    looks = _SEED_LOOKS if len(seeds) <= _LOOKED_SEEDS else ()
    return [(f"seed {seed}", looks[i] if looks else None) for i, seed in enumerate(seeds)]


def _looks_in_use(headline: Sequence[Mapping[str, Any]]) -> list[ArmView]:
    used = {row["entry"]["word"] for measure in headline for row in measure["rows"] if row["entry"]}
    return [ArmView(word, "", "", look) for word, look in VERDICT_LOOKS.items() if word in used]


def _measure(summary: Mapping[str, Any], measure: Mapping[str, Any], named: Mapping[str, ArmView]) -> dict[str, Any]:
    """Return a measure with a row for each arm: its values, mean and difference in words."""
    entries = {entry["arm"]: entry for entry in measure["differences"]}
    unit = f" {measure['unit']}" if measure["unit"] else ""
    digits = digits_of_measure(measure)
    means = {name: sum(values) / len(values) for name, values in measure["values"].items()}
    best = (max if measure["higher"] else min)(means.values(), default=None)
    rows = []
    for name, values in measure["values"].items():
        entry = entries.get(name)
        said = verdict_words(entry, unit, digits, summary["level"], seeds_words(summary)) if entry else None
        rows.append(
            {
                "arm": named[name],
                "values": values,
                "mean": means[name],
                "best": means[name] == best and len(means) > 1,
                "entry": entry,
                "asked": (measure["questions"] or {}).get(name),
                "state": STATES[entry["word"]] if entry else "",
                "title": said[0] if said else "",
                "figures": said[1] if said else "",
            }
        )
    return {
        **measure,
        "in_unit": f", {measure['unit']}" if measure["unit"] else "",
        "digits": digits,
        "rows": rows,
        "over": measure["differences"][0]["over"] if measure["differences"] else summary["over"],
        "spread": _spread(measure),
        "power": power_words(measure, summary, digits),
    }


def digits_of_measure(measure: Mapping[str, Any]) -> int:
    """Return how many digits behind the point the differences and intervals of a measure need."""
    return digits_of(entry[end] for entry in measure["differences"] for end in ("difference", "low", "high"))


def _spread(measure: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return how far an arm moves from seed to seed, and its difference from the baseline (standard deviations)."""
    seeds = len(next(iter(measure["values"].values()), []))
    if seeds < 2 or not measure["differences"]:
        return None
    base = measure["values"][measure["differences"][0]["over"]]
    own = [_variance(values) for values in measure["values"].values()]
    moved = [
        _variance([v - b for v, b in zip(measure["values"][entry["arm"]], base, strict=True)])
        for entry in measure["differences"]
    ]
    one, other = (math.sqrt(sum(part) / len(part)) for part in (own, moved))
    return figure(one), figure(other)


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _shown(measure: Mapping[str, Any], level: float) -> Shown:
    name = f"{measure['quantity']} on {measure['name']}"
    return Shown(name, measure["in_unit"], measure["digits"], measure["higher"], level)


def _add_charts(
    measure: dict[str, Any], index: int, summary: Mapping[str, Any], seeds: list[tuple[str, Look | None]]
) -> None:
    shown = _shown(measure, summary["level"])
    compared = [(row["arm"], row["entry"]) for row in measure["rows"] if row["entry"]]
    measure["forest"] = forest_chart(f"forest-{index}", shown, measure["over"], compared) if compared else None
    arms, values = [row["arm"] for row in measure["rows"]], [row["values"] for row in measure["rows"]]
    measure["by_seed"] = seeds_chart(f"seeds-{index}", shown, arms, values, seeds)


def _cost(
    summary: Mapping[str, Any], arms: Mapping[str, ArmView], measures: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the table of what arms cost, and the chart of gain against cost."""
    measure = next((m for m in measures if m["name"] == AVERAGE_OF_TARGETS and m["kind"] == "all targets"), None)
    measure = measure or next(m for m in measures if m["headline"])
    gains = {row["arm"].name: _gain(row["entry"], measure["higher"]) for row in measure["rows"] if row["entry"]}
    rows = []
    for arm in summary["arms"]:
        total = arm["total_cost"]
        rows.append(
            {
                "arm": arms[arm["name"]],
                "entry": arm,
                "share": arm["search_cost"] / total if total else None,
                "gain": gains.get(arm["name"]),
                "extra": (summary.get("cost") or {}).get(arm["name"]) or {},
            }
        )
    amount = amount_of(summary)
    return {
        "rows": rows,
        "measure": measure,
        "amount": amount,
        "search": search_of(summary),
        "counted": counted(summary),
        "budget": budget_words(summary),
        "extra": _extra_columns(rows),
        "chart": _gain_chart(rows, measure, summary, amount),
    }


def _gain(entry: Mapping[str, Any], higher: bool) -> tuple[float, float | None, float | None]:
    """Return the gain over the baseline with its interval: positive is better."""
    value, low, high = entry["difference"], entry["low"], entry["high"]
    if higher or low is None:
        return (value if higher else -value), low, high
    return -value, -high, -low


def _extra_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of further costs, where each is a number."""
    names = dict.fromkeys(name for row in rows if isinstance(row["extra"], Mapping) for name in row["extra"])
    known = [[row["extra"].get(name) for row in rows if isinstance(row["extra"], Mapping)] for name in names]
    return [
        name
        for name, found in zip(names, known, strict=True)
        if isinstance(name, str) and all(value is None or finite(value) for value in found)
    ]


def _gain_chart(
    rows: Sequence[Mapping[str, Any]], measure: Mapping[str, Any], summary: Mapping[str, Any], amount: str
) -> Chart | None:
    """Draw gain against all that was spent or, where that is the same for all, against the search's share of it."""
    compared = [row for row in rows if row["gain"]]
    totals = [row["entry"]["total_cost"] for row in rows]
    if not compared or not counted(summary):
        return None
    shares = max(totals) - min(totals) <= 0.01 * max(totals)
    gains = [Gain(row["arm"], row["share"] if shares else row["entry"]["total_cost"], *row["gain"]) for row in compared]
    search = search_of(summary)
    cost = f"{search}, share of all {amount}" if shares else f"{amount}, training and {search}"
    return gain_chart("gain", _shown(measure, summary["level"]), summary["over"], gains, cost, shares)


def _charts(view: Mapping[str, Any]) -> list[Chart]:
    charts = [measure[key] for key in ("forest", "by_seed") for measure in view["headline"]]
    charts += [curve["chart"] for curve in view["curves"]]
    charts += [view["cost"]["chart"], *(group["chart"] for group in view["weights"])]
    return [chart for chart in charts if chart]
