"""From a plan to one configuration per run, for a trainer that is not mixwright's."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.formats import export
from mixwright.mixture_file import MixtureFile
from mixwright.runs.reading import read_columns
from mixwright.runs.table import RunTable

INDEX = "index.csv"
_SUFFIXES = {"args": ".txt"}  # of other forms the name is the suffix


def planned(plan: Path | str) -> RunTable:
    """Return the runs of a plan that `RunPlan.write` wrote, whatever is in its columns of losses; each loss is 0."""
    columns = {name: values for name, values in read_columns(Path(plan)).items() if not name.startswith("loss:")}
    zeros = [0.0] * len(next(iter(columns.values()), []))
    try:
        return RunTable.from_frame({**columns, "loss:": zeros}, losses=["loss:"])
    except InputError as error:
        raise InputError(f"{plan}: {error}") from error


def seed_numbers(table: RunTable) -> list[int]:
    """Return how many trainings of its mixture each run comes after, one of an earlier batch that it repeats too."""
    counted: dict[int, int] = {}
    found = []
    for i, mixture in enumerate(table.mixtures.tolist()):
        of = table.repeats[i] if table.repeats else None
        elsewhere = of is not None and of not in table.runs  # trained with the first seed in an earlier batch
        found.append(counted.get(mixture, int(elsewhere)))
        counted[mixture] = found[-1] + 1
    return found


def export_plan(
    plan: Path | str,
    to: str,
    folder: Path | str,
    paths: Mapping[str, Any] | None = None,
    *,
    form: str | None = None,
    seed: int = 0,
    allow_loss: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """
    Write a plan's runs in a trainer's format, one file each, and `index.csv`; return the files and the notes.

    Parameters
    ----------
    plan
        What `RunPlan.write` wrote.
    to, paths, form, allow_loss
        As for `mixwright.formats.export`.
    folder
        A new one. `index.csv` has a row per run: run, repeat_of, seed, file.
    seed
        Of the first run of each mixture; its repeats have the next ones, those of a run of an earlier batch too.

    Raises
    ------
    InputError
        For a plan, a format, paths or a folder that do not fit, or runs whose files would have the same name; nothing
        is written.
    """
    folder, table = Path(folder), planned(plan)
    if folder.exists():
        raise InputError(f"{folder} should be a new folder, found one that exists; choose another name, or remove it")
    rows, texts, notes = [], [], dict[str, None]()
    for i, (run, number) in enumerate(zip(table.runs, seed_numbers(table), strict=True)):
        own = seed + number
        mixture = MixtureFile(table.sources, tuple(table.weights[i].tolist()), "tokens", {"name": "plan", "run": run})
        made = export(mixture, to, paths, form=form, seed=own, allow_loss=allow_loss)
        name = run.replace("/", "_") + _SUFFIXES.get(made.form, f".{made.form}")
        rows.append([run, (table.repeats[i] if table.repeats else None) or "", own, name])
        texts.append(made.text)
        notes |= dict.fromkeys(made.notes)
    _check_names({INDEX: INDEX} | {str(row[0]): str(row[3]) for row in rows})
    folder.mkdir(parents=True)
    for row, text in zip(rows, texts, strict=True):
        _write(folder / str(row[3]), text)
    with atomic_write(folder / INDEX) as handle:
        csv.writer(handle, lineterminator="\n").writerows([["run", "repeat_of", "seed", "file"], *rows])
    return tuple(str(row[3]) for row in rows), tuple(notes)


def _check_names(files: Mapping[str, str]) -> None:
    """Refuse runs whose files would have the same name, on systems that do not tell A from a too."""
    runs: dict[str, str] = {}
    for run, file in files.items():
        other = runs.setdefault(file.casefold(), run)
        if other != run:
            raise InputError(
                f"runs should have names that differ as names of files, found {other!r} and {run!r}, which would both "
                f"be {file!r}; rename one in the plan"
            )


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as handle:
        handle.write(text)
