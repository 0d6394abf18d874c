"""Parts of the page of a fit of runs: wishes, sensitivity, and the plan that the runs came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.looks import Look
from mixwright.report.what_if.view import what_if_view
from mixwright.report.words import digits_of, number, percent

POINT = Look("blue", "circle", "solid")
_GROUPS = {  # of a plan: the look of their dots
    "designed": POINT,
    "anchors": Look("green", "diamond", "solid"),
    "repeated": Look("purple", "square", "solid"),
    "proposed": Look("vermillion", "star", "solid"),
    "not in the plan": Look("grey", "circle-open", "solid"),
}
_DRAWN = ("design", "dirichlet")
MOVES = 3  # of a change: the largest that are named


def played(
    what_if: Mapping[str, Any] | None, summary: Mapping[str, Any], looks: Mapping[str, Look]
) -> dict[str, Any] | None:
    """Return the what-if part, with the weights of wishes that buttons can set."""
    if what_if is None:
        return None
    wishes = [wish.get("weights") for wish in summary.get("wishes") or ()]
    return what_if_view({**what_if, "wishes": wishes}, looks)


def wishes_view(summary: Mapping[str, Any], digits: int) -> list[dict[str, Any]]:
    """Return a line for each wish; of those that are out of reach, the least loss that is predicted."""
    names = [source["name"] for source in summary["sources"]]
    return [{**wish, "words": _wish(wish, names, digits), "digits": digits} for wish in summary.get("wishes") or ()]


def _wish(wish: Mapping[str, Any], names: Sequence[str], digits: int) -> str:
    if wish["refused"]:
        if "least" not in wish:
            return str(wish["refused"])
        before, least = wish["before"], wish["least"]
        off = f"{percent(abs(before - least) / abs(before))} {'lower' if least <= before else 'higher'}"
        found, known = ("is", "is predicted") if wish["certified"] else ("was found that is", "was found")
        return f"No allowed mixture {found} predicted to; the least that {known} is {number(least, digits)} ({off})"
    moves = [b - a for a, b in zip(wish["start"], wish["weights"], strict=True)]
    order = sorted(range(len(moves)), key=lambda i: -abs(moves[i]))
    named = [i for i in order[:MOVES] if abs(moves[i]) > 5e-4]
    said = [f"{names[i]} {'+' if moves[i] > 0 else ''}{percent(moves[i])}" for i in named]
    rest = sum(abs(moves[i]) > 5e-4 for i in order[MOVES:])
    return ", ".join(said) + (f" and {rest} more" if rest else "")


def sensitivity_view(summary: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any] | None:
    """Return what moving each source's weight costs, the sources with the largest weights first."""
    found = summary.get("sensitivity")
    if not found:
        return None
    interval, weights = summary["fit"].get("interval"), summary["mixtures"][0]["weights"]
    rows = [
        {
            "name": summary["sources"][i]["name"],
            "weight": weights[i],
            "interval": interval[i] if interval else None,
            "less": found["less"][i] if weights[i] > 0 else None,
            "more": found["more"][i],
            "short": weights[i] < found["step"],
        }
        for i in order
    ]
    return {"step": found["step"], "rows": rows, "digits": max(digits_of([*found["less"], *found["more"]]), 4)}


def plan_view(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the plan of the runs says; None where the table is not of a plan."""
    found = summary.get("design")
    if not found:
        return None
    counts: dict[str, int] = {}
    for kind in found["kinds"].values():
        counts[kind] = counts.get(kind, 0) + 1
    kind_of = {run: found["kinds"].get(run) for run in summary["points"]["runs"]}
    groups = [
        {"name": name, "look": look, "runs": {run for run, kind in kind_of.items() if _group(kind) == name}}
        for name, look in _GROUPS.items()
    ]
    return {**found, "counts": counts, "kind_of": kind_of, "groups": [group for group in groups if group["runs"]]}


def _group(kind: str | None) -> str:
    if kind is None:
        return "not in the plan"
    known = {"repeat": "repeated", "proposal": "proposed", **dict.fromkeys(_DRAWN, "designed")}
    return known.get(kind, "anchors")
