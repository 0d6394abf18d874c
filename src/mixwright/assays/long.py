"""Long tables: a row per measurement (molecule, assay, value), gathered into a row per molecule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.assays.data import Ints, listed, missing_name
from mixwright.assays.labels import MISSING, LabelRule
from mixwright.errors import InputError


@dataclass(frozen=True, eq=False)
class Gathered:
    """
    A long table with a row per molecule.

    Attributes
    ----------
    assays
        [a] names.
    labels
        int8 [n, a]: 0, 1, or -1 for missing.
    columns
        {name: [n]} of all other columns.
    rows
        int64 [n]: the first row of the long table that each row comes from.
    """

    assays: tuple[str, ...]
    labels: NDArray[np.int8]
    columns: dict[str, NDArray[Any]]
    rows: Ints


def gather(
    columns: Mapping[str, NDArray[Any]], assay: str, value: str, wanted: Sequence[str] | None, rule: LabelRule
) -> Gathered:
    """
    Return a long table with a row per molecule.

    Measurements whose other columns are equal share a row. A repeated measurement of one assay gets a row of its own,
    so that none is lost and contradictions are seen. Rows without an assay say nothing, and are left out.

    Parameters
    ----------
    columns
        {name: [m]}, with those of the assay's name and of the value.
    assay, value
        Their names.
    wanted
        The assays to keep; default: all.
    rule
        What a value means.

    Raises
    ------
    InputError
        An assay that is wanted and not there, a value without a meaning, or no measurement at all.
    """
    names = names_of(columns[assay])
    known = list(dict.fromkeys(name for name in names.tolist() if name is not None))
    if unknown := [name for name in wanted or () if name not in known]:
        raise InputError(missing_name(unknown[0], known, f"an assay of the column {assay!r}"))
    assays = tuple(wanted or known)
    if not assays:
        raise InputError(f"the column {assay!r} should name an assay in some row, found only gaps; fill it in")
    position = {name: i for i, name in enumerate(assays)}
    of = np.array([position.get(name, MISSING) for name in names.tolist()])
    rows = np.flatnonzero(of != MISSING)
    labels = rule.of_rows(columns[value][rows], names[rows], rows)
    others = {name: column for name, column in columns.items() if name not in (assay, value)}
    row_of, first = _rows([column[rows].tolist() for column in others.values()], of[rows])
    wide = np.full((len(first), len(assays)), MISSING, np.int8)
    wide[row_of, of[rows]] = labels
    kept = rows[first]
    return Gathered(assays, wide, {name: column[kept] for name, column in others.items()}, kept)


def names_of(column: NDArray[Any]) -> NDArray[Any]:
    """Return the names [m] in a column of assays as texts, None for a gap; whole numbers without a point."""

    def text(value: Any) -> str | None:
        if value is None or value != value or value == "":
            return None
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    return np.array([text(value) for value in column.tolist()], dtype=object)


def _rows(keys: Sequence[Sequence[Any]], of: Ints) -> tuple[Ints, Ints]:
    """Return the wide row of each measurement [m], and the first measurement of each wide row [n]."""
    found: dict[tuple[Any, ...], int] = {}
    times: dict[tuple[Any, ...], int] = {}
    first: list[int] = []
    row_of = np.empty(len(of), np.int64)
    for i, (assay, *key) in enumerate(zip(of.tolist(), *keys, strict=True)):
        nth = times[(assay, *key)] = times.get((assay, *key), -1) + 1
        row = found.setdefault((nth, *key), len(first))
        if row == len(first):
            first.append(i)
        row_of[i] = row
    return row_of, np.array(first, np.int64)


def check_long(assay: str | None, value: str | None, ignore: Sequence[str] | None) -> None:
    """Raise InputError unless both or none of the two columns of a long table are named."""
    if (assay is None) != (value is None):
        lacking = "value" if value is None else "assay"
        raise InputError(
            f"a long table has two columns, assay and value; found one of them: name the column for {lacking}"
        )
    if assay is not None and ignore:
        raise InputError(f"of a long table only the columns that are named are read; remove ignore ({listed(ignore)})")
