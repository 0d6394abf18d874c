"""What a confirmation says of a fit, in words and for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixwright.report.checks import check_fields, wrong
from mixwright.report.comparison.forecasts import forecast_row
from mixwright.report.words import digits_of, signed, span

_STATES = {  # the look of a verdict, and the words of the heading
    "better": ("better", "Better than the best measured run"),
    "no better": ("same", "No better than the best measured run"),
    "worse": ("worse", "Worse than the best measured run"),
    "unverified": ("open", "Trained, and still not known"),
}
_TRAINED = {"predicted": "number?", "low": "number?", "high": "number?", "measured": "number", "error": "number?"}


def check_confirmed(confirmed: Mapping[str, Any] | None) -> None:
    """Raise InputError where what the summary says of a confirmation cannot be shown."""
    if confirmed is None:
        return
    check_fields(confirmed, {"word": "text", "verdict": "text", "seeds": "list", "mixtures": "list"}, "confirmed.")
    difference = {"estimate": "number", "low": "number?", "high": "number?", "level": "number", "predicted": "number?"}
    check_fields(confirmed.get("difference"), difference, "confirmed.difference.")
    check_fields(
        confirmed.get("forecast"), {"of": "number", "inside": "number", "shift": "number?"}, "confirmed.forecast."
    )
    for i, one in enumerate(confirmed["mixtures"]):
        check_fields(one, {"name": "text", **_TRAINED}, f"confirmed.mixtures[{i}].")
        if one.get("inside") not in (True, False, None):
            raise wrong(f"confirmed.mixtures[{i}].inside", "true, false or null", one["inside"])


def confirmed_view(confirmed: Mapping[str, Any] | None, level: float) -> dict[str, Any] | None:
    """Return what the page shows of a confirmation, with the intervals of a forecast at `level`; None without one."""
    if confirmed is None:
        return None
    by = confirmed["difference"]
    digits = digits_of([by["estimate"]])
    return {
        **confirmed,
        "state": _STATES[confirmed["word"]][0],
        "title": _STATES[confirmed["word"]][1],
        "difference": signed(by["estimate"], digits),
        "ends": span(by["low"], by["high"], digits, signed),
        "table": _table(confirmed["mixtures"], level),
        "words": forecast_words(confirmed),
    }


def _table(mixtures: Sequence[Mapping[str, Any]], level: float) -> dict[str, Any]:
    digits = digits_of(one["measured"] for one in mixtures)
    notes = ["no forecast" if one["predicted"] is None else "" for one in mixtures]
    rows = [{**forecast_row(one, one["name"], digits), "note": note} for one, note in zip(mixtures, notes, strict=True)]
    return {"rows": rows, "level": level, "digits": digits}


def forecast_words(confirmed: Mapping[str, Any]) -> str:
    """Return how well the forecast did: intervals, errors, and the difference that matters."""
    forecast, by = confirmed["forecast"], confirmed["difference"]
    digits = digits_of([by["estimate"]])
    said = [f"the intervals have {forecast['inside']} of {forecast['of']} measured losses"]
    if forecast["shift"] is not None:
        said.append(f"measured minus predicted is {signed(forecast['shift'], digits)} on average")
    if by["predicted"] is not None:
        said.append(
            f"proposal minus best run was predicted {signed(by['predicted'], digits)} and measured "
            f"{signed(by['estimate'], digits)}"
        )
    words = "; ".join(said)
    return f"{words}; {_ALL_MOVED}" if _all_moved(confirmed) else words


_ALL_MOVED = (
    "every loss is outside on the same side: were these trainings of another size than the runs? Then only differences "
    "can be compared"
)


def _all_moved(confirmed: Mapping[str, Any]) -> bool:
    errors = [one["error"] for one in confirmed["mixtures"] if one["error"] is not None]
    same = len({error > 0 for error in errors}) == 1
    return len(errors) > 1 and same and confirmed["forecast"]["inside"] == 0
