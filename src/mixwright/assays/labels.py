"""Label columns of users, whatever they call active, inactive and missing, as 0, 1 and -1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

MISSING = -1
Coding = Mapping[str, Any]
"""{"active": value, "inactive": value, "missing": value}: each a number or a text, or a list of them."""

_MEANS = {"active": 1, "inactive": 0, "missing": MISSING}
_WAYS = (
    "coding: {active: 1, inactive: -1, missing: 0}, or {active: 1, inactive: 0, missing: -1}; a gap (NaN, None, an "
    "empty cell) is always missing (in Python: AssayTable.from_arrays(..., coding=...))"
)


def read_labels(
    columns: Mapping[str, ArrayLike], coding: Coding | None = None, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """
    Return labels int8 [n, a], 0, 1 or -1 for missing, and notes on how they were read.

    Parameters
    ----------
    columns
        {assay: [n] values}. Without a coding 0, 1 and gaps; or -1 and 1 where no column has a 0.
    coding
        What the values mean. Gaps are missing whatever it says.
    rows
        [n] numbers of the rows, for messages.

    Raises
    ------
    InputError
        A value has no meaning, or -1 could mean inactive and missing: the assay, the row and the value are named.
    """
    given = {name: _distinct(values) for name, values in columns.items()}
    notes: tuple[str, ...] = ()
    if coding is None:
        meaning: dict[Any, int] = {0: 0, 1: 1}
        if signed := {name: (index == found.index(-1)).sum() for name, (found, index) in given.items() if -1 in found}:
            if zero := next((name for name, (found, _) in given.items() if 0 in found), None):
                raise InputError(_ambiguous(signed, zero))
            meaning = {-1: 0, 1: 1}
            notes = ("Labels are -1 and 1 and never 0: -1 was read as inactive (coding says otherwise).",)
    else:
        meaning = _meaning(coding)
    read = [_mapped(name, *column, meaning, coding is not None, rows) for name, column in given.items()]
    return np.stack(read, axis=1), notes


def _distinct(values: ArrayLike) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the different values of a column, plain ones, and the position [n] of each row's value among them."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        found, index = np.unique(array, return_inverse=True)
        return [_plain(value) for value in found.tolist()], index.reshape(-1)
    plain: dict[Any, int] = {}
    position = [plain.setdefault(_plain(value), len(plain)) for value in array.tolist()]
    return list(plain), np.array(position, np.int64)


def _plain(value: Any) -> Any:
    """Return a cell as a number where it is one (also in a text), None where it is a gap, else its text."""
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return None if math.isnan(number) else number


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else repr(value)


def _ambiguous(signed: Mapping[str, int], zero: str) -> str:
    assay, count = next(iter(signed.items()))
    others = f" and {len(signed) - 1} more assays" if len(signed) > 1 else ""
    return (
        f"labels should be 0, 1 or missing, found -1 in {count} rows of assay {assay!r}{others}, and 0 in assay "
        f"{zero!r}: -1 may mean inactive or missing; say which: {_WAYS}"
    )


def _meaning(coding: Coding) -> dict[Any, int]:
    """Return {value: 0, 1 or -1}; InputError unless active and inactive are there, and no value means two things."""
    if not isinstance(coding, Mapping) or not {"active", "inactive"} <= set(coding) <= set(_MEANS):
        raise InputError(f"coding should say what active and inactive are (and missing), found {coding!r}: {_WAYS}")
    meaning: dict[Any, int] = {}
    for word, given in coding.items():
        for value in given if isinstance(given, list | tuple) else [given]:
            if (plain := _plain(value)) is None:
                if word != "missing":
                    raise InputError(f"coding: {word} should be a number or a text, found {value!r}")
                continue
            if plain in meaning:
                raise InputError(f"coding should give each value one meaning, found {value!r} twice; correct it")
            meaning[plain] = _MEANS[word]
    return meaning


def _mapped(
    name: str,
    found: Sequence[Any],
    index: NDArray[np.int64],
    meaning: Mapping[Any, int],
    coded: bool,
    rows: NDArray[np.int64] | None,
) -> NDArray[np.int8]:
    """Return the labels [n] of a column whose different values are `found`."""
    labels = [MISSING if value is None else meaning.get(value) for value in found]
    if None in labels:
        wrong = np.array([label is None for label in labels])
        at = int(np.flatnonzero(wrong[index])[0])
        known = ", ".join(map(_shown, meaning))
        ways = "add it to coding" if coded else "turn the column into 0/1 (a threshold), say what it means (coding)"
        raise InputError(
            f"labels of assay {name!r} should be {known} or missing, found {_shown(found[index[at]])} in row "
            f"{at if rows is None else int(rows[at])}; {ways}, or leave the column out (ignore)"
        )
    return np.array(labels, np.int8)[index]
