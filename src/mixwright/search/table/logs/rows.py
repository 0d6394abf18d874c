"""What every log comes down to: rows that the sources scored; and joining them into one table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.opening import read_text
from mixwright.search.table.table import LikelihoodTable, factorise
from mixwright.search.table.values import ROUNDING

_MOST = 10**300


def by_task(source: str, files: Sequence[Path], task_of: Callable[[Path], str]) -> dict[str, Path]:
    """Return {task: its log} of a source; InputError if there are two of one task."""
    found: dict[str, Path] = {}
    for path in files:
        task = task_of(path)
        if task in found:
            raise InputError(
                f"{path}: source {source!r} should have one log of {task}, found another: {found[task]}; give one"
            )
        found[task] = path
    return found


def results_of(path: Path, program: str) -> dict[str, Any]:
    """Return what a program wrote about the run that a log is of; nothing where that file is missing."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(read_text(path, f"results of {program}"))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: this should be JSON, found {error}; copy it again, or remove it") from None
    return found if isinstance(found, dict) else {}


def within(value: Any, *keys: str) -> Any:
    """Return what is in objects in one another, such as results["versions"][task]; None where it is not there."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def left_out(task: str) -> str:
    """Return the note on a task without log-likelihoods."""
    return f"{task} was left out: its models write texts, which have no log-likelihoods"


class LoggedRow(NamedTuple):
    """
    A row of a target as one source scored it.

    Parameters
    ----------
    place
        Where it lies, for messages: "scores.jsonl, line 7".
    target, key
        Which row it is: the same for all sources.
    marks
        What has to be the same for all sources, by name: hashes of the prompt, the number of tokens. None: not known.
    log_likelihood
        Natural log, of the whole row.
    document
        Rows of one document are not independent. None: the row is one by itself.
    """

    place: str
    target: str
    key: Hashable
    marks: Mapping[str, Any]
    log_likelihood: float
    document: Hashable = None


@dataclass
class _JoinedRow:
    """The row as its first source has it."""

    source: str
    place: str
    document: Hashable
    marks: dict[str, Any]
    number: int


@dataclass
class JoinedRows:
    """
    The rows of all sources, joined while they are read; `notes` are sentences for the table.

    Rows are kept in the order in which they are first met, and only their numbers are kept of each further source.
    """

    notes: list[str] = field(default_factory=list)
    _rows: dict[tuple[str, Hashable], _JoinedRow] = field(default_factory=dict)
    _columns: dict[str, dict[int, float]] = field(default_factory=dict)

    def add(self, source: str, row: LoggedRow) -> None:
        """
        Take a row of a source.

        Raises
        ------
        InputError
            Its number is no log-likelihood, the source has it already, or another source scored something else.
        """
        _require_plain(row)
        value = row.log_likelihood
        if not value <= ROUNDING or math.isnan(value):
            raise InputError(
                f"{row.place}: a log-likelihood should be at most 0, found {value:.6g}; it may be a loss or a "
                "probability: write natural logs"
            )
        first = self._rows.get((row.target, row.key))
        if first is None:
            first = _JoinedRow(source, row.place, row.document, dict(row.marks), len(self._rows))
            self._rows[row.target, row.key] = first
        column = self._columns.setdefault(source, {})
        if first.number in column:
            raise InputError(
                f"{row.place}: source {source!r} should have each row once, found {row.key!r} of {row.target} a second "
                "time; give one log of each source and task"
            )
        _require_same(row, first)
        column[first.number] = float(value)

    def table(self) -> LikelihoodTable:
        """
        Return the table of all rows.

        Raises
        ------
        InputError
            There are no rows, a source lacks some, or all sources say that a row is impossible.
        """
        if not self._rows:
            raise InputError("the logs should have rows with log-likelihoods, found none; check the files")
        self._require_whole()
        logs = np.empty((len(self._rows), len(self._columns)), order="F")
        for j, column in enumerate(self._columns.values()):
            logs[list(column), j] = list(column.values())
        targets, names = factorise(target for target, _ in self._rows)
        documents, _ = factorise(
            (target, "row", key) if row.document is None else (target, "document", row.document)
            for (target, key), row in self._rows.items()
        )
        marks = [[target, str(key), row.marks] for (target, key), row in self._rows.items()]
        table = LikelihoodTable.from_array(
            np.minimum(logs, 0.0),
            list(self._columns),
            documents=documents,
            targets=targets,
            target_names=names,
        )
        table._info = replace(table._info, data_fingerprint=fingerprint(marks), notes=tuple(self.notes))
        return table

    def _require_whole(self) -> None:
        """Raise InputError if a source has not scored all rows: half a log, or another task."""
        for source, column in self._columns.items():
            missing = [(name, key) for (name, key), row in self._rows.items() if row.number not in column]
            if missing:
                target, key = missing[0]
                of = sum(name == target for name, _ in self._rows)
                lacks = sum(name == target for name, _ in missing)
                other, place = self._rows[target, key].source, self._rows[target, key].place
                raise InputError(
                    f"each source should have scored the same rows, found {lacks:,} of {of:,} rows of {target} missing "
                    f"under source {source!r}, first {key!r}, which {other!r} has ({place}); score them, or leave "
                    f"{target} out"
                )


def _require_plain(row: LoggedRow) -> None:
    """Raise InputError unless the row's name, its document and its marks are texts and finite numbers."""
    named = {"id": row.key, "document": row.document, **row.marks}
    for name, value in named.items():
        several = value if isinstance(value, tuple) else (value,)
        if not all(
            v is None or isinstance(v, str) or (isinstance(v, int | float) and -_MOST < v < _MOST) for v in several
        ):
            raise InputError(f"{row.place}: the {name} should be a text or a number, found {value!r:.60}; correct it")


def _require_same(row: LoggedRow, first: _JoinedRow) -> None:
    """Raise InputError if a source scored something else than the first one; what only one of them knows is kept."""
    for name, mark in row.marks.items():
        known = first.marks.get(name)
        if known is None:
            first.marks[name] = mark
        elif mark is not None and mark != known:
            shown = isinstance(mark, int | float) and isinstance(known, int | float)
            found = f"{mark:g} here and {known:g} under" if shown else "a different one here than under"
            raise InputError(
                f"{row.place}: the {name} should be the same for every source, found {found} source {first.source!r} "
                f"({first.place}); score all sources with the same task, prompts and examples"
            )
