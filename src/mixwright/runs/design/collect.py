"""From a plan and the losses of its runs to a table of runs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.runs.reading import Chosen, Columns, join, pick, read_columns
from mixwright.runs.table import RunTable
from mixwright.runs.trackers import KEYS, settled


def collect(
    plan: Path | str,
    metrics: Path | str,
    out: Path | str,
    *,
    losses: Chosen = "loss:",
    key: str | None = None,
    step: str = "step",
    last_step: str | float | None = None,
) -> tuple[RunTable, tuple[str, ...]]:
    """
    Write the runs of a plan with their measured losses, and return them as a table, with the runs that are not there.

    Parameters
    ----------
    plan
        What `RunPlan.write` wrote; columns of losses that are empty are filled.
    metrics
        A .csv or .parquet file with a row per finished run, in whatever order.
    out
        The .csv file to write; one that exists is written over.
    losses
        The columns of `metrics` that are losses: a prefix, a pattern with one `*`, or a list.
    key
        The column that names the runs in both files; default: run, run_id, name, id or index.
    step, last_step
        As for `RunTable.from_file`: losses that are not of the last step are refused.

    Raises
    ------
    InputError
        For files that do not fit each other, or stale losses; nothing is written. Runs that the plan does not have are
        left out, and noted.
    """
    planned, measured = read_columns(Path(plan)), read_columns(Path(metrics))
    named = pick(measured, losses, "losses", f"{metrics}: ")
    key = key or next((name for name in KEYS if name in planned and name in measured), None)
    measured, others = _of_plan(measured, planned, key)
    measured, note = settled(measured, list(named.values()), step, f"{metrics}: ")
    kept = {name: values for name, values in planned.items() if not name.startswith("loss:") or any(values)}
    part, missing = _finished(kept, measured, key, str(metrics), str(plan))
    wanted = {column: f"loss:{name.removeprefix('loss:')}" for name, column in named.items()}
    some = {n: v for n, v in measured.items() if n in wanted or n in (key, step, last_step)}
    joined = join(part, some, key, (f"{plan}: ", f"{metrics}: "))
    columns = {wanted.get(name, name): values for name, values in joined.items()}
    try:
        table = RunTable.from_frame(columns, key=key, step=step, last_step=last_step)
    except InputError as error:
        raise InputError(f"{metrics}: {error}") from error
    _write(Path(out), columns)
    return replace(table, notes=(*table.notes, *filter(None, (note, others)))), missing


def fill(plan: Columns, losses: Mapping[str, Mapping[str, float]], out: Path | str) -> RunTable:
    """Write the columns of a plan with {run: {target: loss}} of every run, and return the table."""
    runs = [str(name) for name in plan["run"]]
    targets = list(dict.fromkeys(target for own in losses.values() for target in own))
    columns = {**plan, **{f"loss:{target}": [losses[run][target] for run in runs] for target in targets}}
    table = RunTable.from_frame(columns)
    _write(Path(out), columns)
    return table


def _of_plan(metrics: Columns, plan: Columns, key: str | None) -> tuple[Columns, str]:
    """Return the rows of runs that the plan has, and a note on the others; all rows where none is of it."""
    if key is None or key not in plan or key not in metrics:
        return metrics, ""
    names, planned = list(map(str, metrics[key])), set(map(str, plan[key]))
    rows = [i for i, name in enumerate(names) if name in planned]
    others = [name for name in names if name not in planned]
    if not rows or not others:
        return metrics, ""
    note = f"{len(others)} runs that the plan does not have were left out, such as {others[0]!r}"
    return {name: [values[i] for i in rows] for name, values in metrics.items()}, note


def _finished(
    plan: Columns, metrics: Columns, key: str | None, metrics_path: str, plan_path: str
) -> tuple[Columns, tuple[str, ...]]:
    """Return the runs of the plan that are in the metrics, and the names of the others."""
    if key is None or key not in plan or key not in metrics:
        return plan, ()  # the join says what is missing
    there, names = set(map(str, metrics[key])), [str(name) for name in plan[key]]
    rows = [i for i, name in enumerate(names) if name in there]
    if not rows:
        raise InputError(f"{metrics_path} should have at least one run of {plan_path}, found none; check the key")
    return {n: [values[i] for i in rows] for n, values in plan.items()}, tuple(n for n in names if n not in there)


def _write(path: Path, columns: dict[str, list[Any]]) -> None:
    with atomic_write(path) as handle:
        rows = csv.writer(handle, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows([["" if cell is None else cell for cell in row] for row in zip(*columns.values(), strict=True)])
