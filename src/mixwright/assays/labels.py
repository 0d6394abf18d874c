"""Label columns of users, whatever they call active, inactive and missing, as 0, 1 and -1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

MISSING = -1
Coding = Mapping[str, Any]
"""{"active": value, "inactive": value, "missing": value}: each a number or a text, or a list of them."""

_MEANS = {"active": 1, "inactive": 0, "missing": MISSING}
_FEW = 6  # different values of a column that may be words for active, inactive and missing
_WAYS = (
    "coding: {active: 1, inactive: -1, missing: 0}, or {active: 1, inactive: 0, missing: -1}; a gap (NaN, None, an "
    "empty cell) is always missing (in Python: AssayTable.from_arrays(..., coding=...))"
)


Threshold = float | Mapping[str, float]
"""Where a measured value counts as active: one number for all assays, or {assay: number}."""


@dataclass(frozen=True)
class LabelRule:
    """
    What the values of a table mean: labels as they are, coded labels, or measurements with a threshold.

    Parameters
    ----------
    coding
        As for `read_labels`.
    threshold
        A number, or {assay: number} with every assay.
    active
        "above": a value of at least the threshold is a 1; "below": one of at most the threshold.

    Raises
    ------
    InputError
        Both a coding and a threshold, or a threshold that is no number.
    """

    coding: Coding | None = None
    threshold: Threshold | None = None
    active: Literal["above", "below"] = "above"

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.active not in ("above", "below"):
            raise InputError(f"active should be 'above' or 'below' (the threshold), found {self.active!r}")
        if self.threshold is None:
            return
        if self.coding is not None:
            raise InputError("give a coding of labels or a threshold for measured values, found both; remove one")
        each = self.threshold.values() if isinstance(self.threshold, Mapping) else [self.threshold]
        if wrong := [v for v in each if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v)]:
            raise InputError(f"threshold should be a number, or {{assay: number}}, found {wrong[0]!r}; correct it")

    def of_columns(self, columns: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int8], tuple[str, ...]]:
        """Return labels int8 [n, a] of a table with a column per assay, and notes."""
        if self.threshold is None:
            return read_labels(columns, self.coding)
        self._check_names(list(columns))
        parts = [self.of_rows(v, np.full(len(v), name, object), np.arange(len(v))) for name, v in columns.items()]
        return np.stack(parts, axis=1), ()

    def of_rows(self, values: NDArray[Any], assays: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.int8]:
        """
        Return labels int8 [m] of measurements.

        Parameters
        ----------
        values, assays, rows
            [m] each: the value, the name of its assay, and its row in the file (for messages).

        Raises
        ------
        InputError
            A value is not a number, an assay has no threshold, or a label has no meaning.
        """
        if self.threshold is None:
            return read_labels({"": values}, self.coding, rows)[0][:, 0]
        names = list(dict.fromkeys(assays.tolist()))
        self._check_names(names)
        found, index = _distinct(values)
        if texts := {i for i, value in enumerate(found) if isinstance(value, str)}:
            at = int(np.flatnonzero(np.isin(index, list(texts)))[0])
            raise InputError(
                f"values of assay {assays[at]!r} should be numbers, since there is a threshold; found "
                f"{found[index[at]]!r} in row {int(rows[at])}; correct it, or leave the row out"
            )
        number = np.array([np.nan if value is None else value for value in found], np.float64)[index]
        limits = self.threshold if isinstance(self.threshold, Mapping) else dict.fromkeys(names, self.threshold)
        limit = np.array([limits[name] for name in assays.tolist()], np.float64)
        one = number >= limit if self.active == "above" else number <= limit
        return np.where(np.isnan(number), MISSING, one).astype(np.int8)

    def _check_names(self, names: Sequence[str]) -> None:
        if not isinstance(self.threshold, Mapping):
            return
        if lacking := [name for name in names if name not in self.threshold]:
            raise InputError(
                f"threshold should name each assay, found none for {lacking[0]!r}"
                f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}; add it, or choose assays (labels)"
            )


def read_labels(
    columns: Mapping[str, ArrayLike], coding: Coding | None = None, rows: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """
    Return labels int8 [n, a], 0, 1 or -1 for missing, and notes on how they were read.

    Parameters
    ----------
    columns
        {assay: [n] values}; "" is the column of values of a long table. Without a coding 0, 1 and gaps; or -1 and 1
        where no column has a 0.
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
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)


def _of(assay: str) -> str:
    return f"assay {assay!r}" if assay else "the column of values"


def _ambiguous(signed: Mapping[str, int], zero: str) -> str:
    assay, count = next(iter(signed.items()))
    others = f" and {len(signed) - 1} more assays" if len(signed) > 1 else ""
    return (
        f"labels should be 0, 1 or missing, found -1 in {count} rows of {_of(assay)}{others}, and 0 in "
        f"{_of(zero)}: -1 may mean inactive or missing; say which: {_WAYS}"
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
                raise InputError(f"coding should give each value one meaning, found {_shown(plain)} twice; correct it")
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
        values = [_shown(value) for value in found if value is not None]
        ways = "say from which value a row is active (threshold: ...)"
        if coded:
            ways = "add it to coding"
        elif len(values) <= _FEW:
            ways = f"say what {', '.join(values)} mean: coding: {{active: ..., inactive: ..., missing: ...}}"
        raise InputError(
            f"labels of {_of(name)} should be {known} or missing, found {_shown(found[index[at]])} in row "
            f"{at if rows is None else int(rows[at])}; {ways}"
            + (f", or leave the column out: ignore: [{name}]" if name else "")
        )
    return np.array(labels, np.int8)[index]
