"""
Exports of experiment trackers as columns with a row per run: the last value of every metric, and its step.

Recognised by their columns: Weights & Biases' table of runs (`Name`, `State`), its plots (`Step`, `RUN - METRIC`) and
histories (`_step`); MLflow's `search_runs` as a table (`run_id`, `metrics.NAME`) or as JSON of its REST API; and
TensorBoard's scalars (wall time, step, value).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixwright.errors import InputError

Columns = dict[str, list[Any]]
STATE = "(state)"  # of a run, in the tracker's word
KEYS = ("run", "run_id", "name", "id", "index")  # columns that name the runs, the first that is there
OF_STEP = " (step)"  # behind the name of a metric: the step that its value is of
_FINISHED = ("finished", "success")
_STATES = {
    *_FINISHED,
    "running",
    "crashed",
    "failed",
    "killed",
    "scheduled",
    "pending",
    "queued",
    "preempting",
    "preempted",
}
_STATE_NAMES = ("State", "state", "Status", "status")
_MLFLOW_NAME = "tags.mlflow.runName"
_SCALARS = {"wall time", "step", "value"}
_TAGGED = re.compile(r"run-(?P<run>.+)-tag-(?P<tag>.+)")


def recognised(columns: Columns, where: str) -> Columns:
    """
    Return the columns of a tracker's export with one row per run, named in `run`; other columns as they are.

    Raises
    ------
    InputError
        For steps that are no numbers.
    """
    names = list(columns)
    if {"Name", "State"} <= set(names):
        return _of_table(columns, columns["Name"], columns["State"], "_step")
    if "run_id" in columns and any(name.startswith("metrics.") for name in names):
        return _of_table(columns, _mlflow_names(columns), columns.get("status"), None)
    if names[:1] == ["Step"] and len(names) > 1 and all(" - " in name for name in names[1:]):
        return _of_plot(columns, where)
    key = next((name for name in ("run", "run_id", "name") if name in columns), None)
    if "_step" in columns and key is not None and len(set(columns[key])) < len(columns[key]):
        return _of_history(columns, columns[key], (key, "_step"), where)
    return _with_state(columns)


def _with_state(columns: Columns) -> Columns:
    """Return columns with the state of the runs, where one of that name holds nothing but a tracker's words."""
    for name in _STATE_NAMES:
        words = {str(word).lower() for word in columns.get(name, ()) if word is not None}
        if words and words <= _STATES:
            return {**columns, STATE: columns[name]}
    return columns


def is_step(name: str, columns: Columns) -> bool:
    """Return whether a column has the steps that the values of a metric beside it are of."""
    return name.endswith(OF_STEP) and name.removesuffix(OF_STEP) in columns


def number(value: Any, column: str, row: int, where: str) -> float:
    """Return a cell as a number, nan where it is empty; InputError for anything else."""
    try:
        return math.nan if value is None or value is np.ma.masked else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}column {column!r} should hold numbers, found {value!r:.60} at row {row} (counted from 0); "
            "correct it"
        ) from None


def of_objects(value: Any, where: str) -> Columns:
    """Return the columns of a list of objects, or of what MLflow's REST API answers to a search of runs."""
    if isinstance(value, Mapping) and isinstance(value.get("runs"), list):
        value = [_mlflow_run(run, f"{where}runs[{i}]") for i, run in enumerate(value["runs"])]
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise InputError(f"{where}there should be a list of runs, each {{name: value}}; found something else")
    names = dict.fromkeys(name for row in value for name in row)
    return {str(name): [_flat(row.get(name)) for row in value] for name in names}


def _flat(value: Any) -> Any:
    """Return a value, as a text where it has values inside."""
    return str(value) if isinstance(value, list | Mapping) else value


def of_files(files: Mapping[str, Columns], where: str) -> Columns:
    """Return the columns of a folder of exports by file name: TensorBoard's scalars, or a history for each run."""
    found: dict[str, dict[str, Any]] = {}
    for name, columns in files.items():
        lowered = {column.lower().replace("_", " "): values for column, values in columns.items()}
        tagged = _TAGGED.fullmatch(name)
        if set(lowered) == _SCALARS and tagged:
            steps, history, run = lowered["step"], {tagged["tag"]: lowered["value"]}, tagged["run"]
        elif "_step" in columns:
            steps, history, run = columns["_step"], columns, name
        else:
            raise InputError(
                f"{where}{name}.csv should be a history (with the column _step), or TensorBoard's scalars (named "
                "run-RUN-tag-TAG.csv, with the columns Wall time, Step and Value); found neither"
            )
        at = _steps(steps, "Step" if tagged else "_step", f"{where}{name}.csv: ")
        found.setdefault(run, {"run": run}).update(_lasts(history, at, range(len(at)), ("_step",)))
    return of_objects(list(found.values()), where)


def settled(columns: Columns, losses: Sequence[str], step: str, where: str) -> tuple[Columns, str]:
    """
    Return columns in which `step` is the step of the losses, where the tracker says it, and a note where it does not.

    Raises
    ------
    InputError
        For runs that are not finished, and steps that are no numbers.
    """
    states = columns.get(STATE, [])
    runs = next((columns[name] for name in KEYS if name in columns), range(len(states))) if states else []
    open_ones = [
        (run, state)
        for run, state in zip(runs, states, strict=True)
        if state is not None and str(state).lower() not in _FINISHED
    ]
    if open_ones:
        named = ", ".join(f"{run!r} ({state})" for run, state in open_ones[:3])
        raise InputError(
            f"{where}runs should be finished, found {len(open_ones)} of {len(runs)} that are not: {named}; leave them "
            "out, or export them again"
        )
    of = [name + OF_STEP for name in losses if name + OF_STEP in columns]
    if of and step not in columns:
        at = np.array([_steps(columns[name], name, where) for name in of])
        return {**columns, step: np.fmin.reduce(at).tolist()}, ""  # a loss that a run lacks has no step
    if STATE in columns and step not in columns:
        return columns, "the export has no steps: that the losses are of the last step is taken from the runs' state"
    return columns, ""


def _steps(values: Sequence[Any], column: str, where: str) -> list[float]:
    return [number(value, column, i, where) for i, value in enumerate(values)]


def _of_table(columns: Columns, names: list[Any], states: list[Any] | None, step: str | None) -> Columns:
    """Return the columns of a table with a row per run."""
    out = {"run": names, **{name: values for name, values in columns.items() if name not in ("run", "Name")}}
    if states is not None:
        out[STATE] = states
    if step in columns and "step" not in columns:
        out["step"] = columns[step]
    return out


def _mlflow_names(columns: Columns) -> list[Any]:
    """Return the names of MLflow's runs, where each has its own; else their ids."""
    names = columns.get(_MLFLOW_NAME, [None])
    return names if None not in names and len(set(names)) == len(names) else columns["run_id"]


def _mlflow_run(run: Any, place: str) -> dict[str, Any]:
    """Return a run of MLflow's REST API, which stands at a place, as one flat object."""
    run = _object(run, place)
    info, data = (_object(run.get(part, {}), f"{place}.{part}") for part in ("info", "data"))
    out = {"run_id": info.get("run_id"), "status": info.get("status"), _MLFLOW_NAME: info.get("run_name")}
    out |= {f"params.{one['key']}": one["value"] for one in _pairs(data, "params", place)}
    for one in _pairs(data, "metrics", place):
        out[f"metrics.{one['key']}"] = one["value"]
        out[f"metrics.{one['key']}{OF_STEP}"] = one.get("step")
    return {name: _flat(value) for name, value in out.items()}


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(
            f"{place} should be an object, as MLflow writes it; found {value!r:.60}; export the runs again"
        )
    return value


def _pairs(data: Mapping[str, Any], name: str, place: str) -> list[Any]:
    """Return the parameters or metrics of a run."""
    found = data.get(name, [])
    if not isinstance(found, list) or not all(
        isinstance(one, Mapping) and {"key", "value"} <= set(one) for one in found
    ):
        raise InputError(
            f"{place}.data.{name} should be a list of objects with key and value, as MLflow writes it; found "
            f"{found!r:.60}; export the runs again"
        )
    return found


def _of_plot(columns: Columns, where: str) -> Columns:
    """Return the last values in a plot's columns `RUN - METRIC`; those of its shaded ranges are left out."""
    found: dict[str, dict[str, Any]] = {}
    at = _steps(columns["Step"], "Step", where)
    for name in list(columns)[1:]:
        run, _, metric = name.partition(" - ")
        if not metric.endswith(("__MIN", "__MAX")) and metric != "_step":
            one = _lasts({metric: columns[name]}, at, range(len(at)), ())
            found.setdefault(run, {"run": run}).update(one)
    return of_objects(list(found.values()), "")


def _of_history(columns: Columns, names: list[Any], skipped: tuple[str, ...], where: str) -> Columns:
    """Return the last values of each run in a table with a row per run and step."""
    rows: dict[Any, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    at = _steps(columns["_step"], "_step", where)
    return of_objects([{"run": name, **_lasts(columns, at, own, skipped)} for name, own in rows.items()], "")


def _lasts(columns: Columns, at: Sequence[float], rows: Sequence[int], skipped: tuple[str, ...]) -> dict[str, Any]:
    """Return {metric: last value, metric (step): its step} over some rows, in the order of their steps `at`."""
    ordered = sorted((i for i in rows if not math.isnan(at[i])), key=at.__getitem__)
    out: dict[str, Any] = {}
    for name, values in columns.items():
        known = [i for i in ordered if values[i] is not None]
        if name not in skipped and known:
            out |= {name: values[known[-1]], name + OF_STEP: at[known[-1]]}
    return out
