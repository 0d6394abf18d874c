"""Forecasts: what trainings were predicted to measure, scored against what they did measure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SCHEMA = 1  # of forecast.json
OTHER = 1e-3  # an arm whose weights differ by more than this was not the mixture that was forecast
COLUMNS = ("arm", "over", "measured_on", "quantity", "predicted", "low", "high", "measured", "error", "inside", "note")

Entry = Mapping[str, Any]


def forecast(made_by: str, level: float, entries: Sequence[Entry], about: str = "") -> dict[str, Any]:
    """
    Return what a file of forecasts holds.

    Parameters
    ----------
    made_by
        What made the predictions: a command, or a name.
    level
        Of the intervals.
    entries
        One for each prediction: "arm"; "target" (a measure, or {target: share} for a weighted sum); "predicted"; "low"
        and "high", each of which may be absent; "over", where the prediction is the difference from that arm;
        "quantity", where it is not what the comparison judges; "weights" {source: share} that it is for.
    about
        What one must know of the predictions, in a sentence.
    """
    kept = [{key: value for key, value in entry.items() if value is not None} for entry in entries]
    return {"schema": SCHEMA, "made_by": made_by, "level": level, "about": about, "forecasts": kept}


def error_of(entry: Entry, measured: float) -> tuple[float | None, bool | None]:
    """
    Return the measured minus the predicted value, and whether the interval has the measured one.

    An end that is absent is open. None stands for an error without a prediction, and for no interval.
    """
    predicted, low, high = (entry.get(key) for key in ("predicted", "low", "high"))
    error = None if predicted is None else measured - predicted
    if low is None and high is None:
        return error, None
    return error, bool((low is None or low <= measured) and (high is None or measured <= high))


def score(made: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the predictions of a forecast with what a comparison measured.

    Parameters
    ----------
    made
        What `forecast` returned.
    summary
        What `summarise` returned.

    Returns
    -------
    dict
        "scores", an entry for each prediction whose arm was trained: with "measured" (the mean over seeds), "by_seed",
        "error" (measured minus predicted) and "inside" (None without an interval); "inside" and "intervals", how many
        of them; "left_out", the arms that the comparison does not have.
    """
    arms = [arm["name"] for arm in summary["arms"]]
    known = [entry for entry in made["forecasts"] if {entry["arm"], entry.get("over", entry["arm"])} <= set(arms)]
    scores = [_scored(entry, summary) for entry in known]
    judged = [one["inside"] for one in scores if one["inside"] is not None]
    return {
        **{key: made.get(key) for key in ("made_by", "level", "about")},
        "scores": scores,
        "inside": sum(judged),
        "intervals": len(judged),
        "left_out": list(dict.fromkeys(e["arm"] for e in made["forecasts"] if e not in known)),
    }


def csv_of_scores(scored: Mapping[str, Any]) -> str:
    """Return the scores as CSV, a row for each prediction, with as many digits as it takes to read it back exactly."""
    handle = io.StringIO()
    rows = csv.writer(handle, lineterminator="\n")
    rows.writerow(COLUMNS)
    for one in scored["scores"]:
        cells = {**one, "measured_on": one["target"]}
        rows.writerow(["" if cells.get(name) is None else cells[name] for name in COLUMNS])
    return handle.getvalue()


def targets_of(entry: Entry) -> dict[str | None, float]:
    """Return {measure: share} of a prediction; {None: 1} where it names none."""
    target = entry.get("target")
    return dict(target) if isinstance(target, Mapping) else {target: 1.0}


def _scored(entry: Entry, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return a prediction with its measured values; not judged where other weights were trained."""
    own, over, shares = entry["arm"], entry.get("over"), targets_of(entry)
    parts = [_measure(summary, entry, name) for name in shares]
    known = [measure for measure in parts if measure is not None]
    named = [str(m["name"] if m else name) for m, name in zip(parts, shares, strict=True)]
    said: dict[str, Any] = {
        "arm": own,
        "over": over,
        "target": named[0] if len(named) == 1 else " + ".join(map(_part, shares.values(), named)),
        "quantity": known[0]["quantity"] if known else entry.get("quantity"),
        "unit": known[0]["unit"] if known else "",
        **{key: entry.get(key) for key in ("predicted", "low", "high")},
    }
    if len(known) < len(parts):
        return {**said, "measured": None, "by_seed": None, "error": None, "inside": None, "note": "was not measured"}
    each = [_values(m, own, summary) - (0.0 if over is None else _values(m, over, summary)) for m in known]
    by_seed = np.tensordot(list(shares.values()), each, 1)
    mean, note = float(by_seed.mean()), _other_weights(entry, summary)
    error, inside = (None, None) if note else error_of(entry, mean)
    return {**said, "measured": mean, "by_seed": by_seed.tolist(), "error": error, "inside": inside, "note": note}


def _part(share: float, name: str) -> str:
    return f"{share:g} {name}"


def _measure(summary: Mapping[str, Any], entry: Entry, name: str | None) -> Mapping[str, Any] | None:
    """Return a measure by its name, or the one that is judged; of several quantities the one that is asked for."""
    found = [m for m in summary["measures"] if m["quantity"] == entry.get("quantity", m["quantity"])]
    found.sort(key=lambda m: not m["headline"])
    return next((m for m in found if name in (None, m["name"])), None)


def _values(measure: Mapping[str, Any], arm: str, summary: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return the values of an arm [seeds]; the measures of sources name the target that a mixture is for."""
    own, first = measure["values"], f"{arm} ({next(iter(summary['targets']), '')})"
    return np.asarray(own[arm if arm in own else first], np.float64)


def _other_weights(entry: Entry, summary: Mapping[str, Any]) -> str | None:
    """Return a sentence where an arm was trained with other weights than the prediction is for."""
    wanted = entry.get("weights")
    if wanted is None:
        return None
    mixtures = next(arm["mixtures"] for arm in summary["arms"] if arm["name"] == entry["arm"])
    own = next((m for m in mixtures if m["target"] in (None, entry.get("target"))), mixtures[0])["weights"]
    off = max(abs(value - wanted.get(name, 0.0)) for name, values in own.items() for value in values)
    words = f"trained with other weights than the forecast is for (by up to {off:.2g}): not judged"
    return words if off > OTHER else None
