"""What the page and the terminal say of a forecast that was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.words import digits_of, number, signed, span

Scores = Sequence[Mapping[str, Any]]


def forecast_title(forecast: Mapping[str, Any]) -> str:
    """Return how many measured values the intervals have."""
    counted = f": {forecast['inside']} of {forecast['intervals']} inside the interval" if forecast["intervals"] else ""
    return f"Forecast and measurement{counted}"


def prediction_of(one: Mapping[str, Any], scores: Scores) -> str:
    """Return what a prediction is of: an arm or a difference, and the target where there are several."""
    over = f" minus {one['over']}" if one.get("over") else ""
    several = len({(other.get("target"), other.get("quantity")) for other in scores}) > 1
    return f"{one['arm']}{over}" + (f" on {one['target']}" if several else "")


def ends_of(one: Mapping[str, Any], digits: int) -> str:
    """Return the interval of a prediction; an end that is absent is open."""
    low, high, shown = one["low"], one["high"], signed if one.get("over") else number
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f"at most {shown(high, digits)}" if low is None else f"at least {shown(low, digits)}"
    return span(low, high, digits, shown)


def forecast_view(summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the page shows of a forecast; None where the comparison had none."""
    found = summary["forecast"]
    if not found:
        return None
    scores = found["scores"]
    digits = digits_of(one["error"] for one in scores)
    rows = [forecast_row(one, prediction_of(one, scores), digits) for one in scores]
    absent = dict.fromkeys(("made_by", "about", "fingerprint", "fixed", "csv"))
    return {**absent, **found, "title": forecast_title(found), "rows": rows, "digits": digits}


def forecast_row(one: Mapping[str, Any], name: str, digits: int) -> dict[str, Any]:
    """Return what a table of a forecast shows of a prediction that was scored."""
    return {**one, "name": name, "ends": ends_of(one, digits), "state": _STATES[one.get("inside")]}


_STATES = {True: ("inside", "better"), False: ("outside", "worse"), None: ("", "")}
