"""What a table knows about its rows and columns apart from the likelihoods, and the checks of it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.checks import unique_names
from mixwright.errors import InputError

RowSelection = slice | npt.NDArray[np.int64]


@dataclass(frozen=True)
class RowInfo:
    """
    The names, and what is known of each row.

    - sources: k names; target_names: the names that `targets` points into.
    - documents: int64 [n], rows of one document are not independent.
    - weights: float64 [n], at least 0, not all 0.
    - targets: int32 [n], positions in `target_names`.
    - unit: what a row is; fingerprints: {source: proxy fingerprint}; data_fingerprint: names the data that was scored.
    - densities: numbers above 0 are right; notes: sentences that belong beside results.
    """

    sources: tuple[str, ...]
    documents: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    targets: npt.NDArray[np.int32]
    target_names: tuple[str, ...] = ("target",)
    unit: str = "sequence"
    fingerprints: dict[str, str] = field(default_factory=dict)
    data_fingerprint: str = ""
    densities: bool = False
    notes: tuple[str, ...] = ()

    def take(self, rows: RowSelection, target: str) -> RowInfo:
        """Return the information about the rows of one target."""
        documents, weights = frozen(self.documents[rows]), frozen(self.weights[rows])
        if not weights.any():
            raise InputError(f"the weights of target {target!r} should not all be 0; give one of its rows a weight")
        targets = frozen(np.zeros(len(weights), np.int32))
        return replace(self, documents=documents, weights=weights, targets=targets, target_names=(target,))


def row_info(
    sources: Iterable[str],
    documents: Any,
    weights: Any = None,
    targets: Any = None,
    target_names: Iterable[str] | None = None,
    unit: str = "sequence",
    fingerprints: Mapping[str, str] | None = None,
    data_fingerprint: str = "",
    densities: bool = False,
    notes: Iterable[str] = (),
) -> RowInfo:
    """Check the arguments of a table and return them as copies that nobody can change."""
    names = unique_names(sources)
    document_ids = _integers("documents", documents)
    n = len(document_ids)
    if n == 0:
        raise InputError("a table should have at least one row, found 0; score at least one row")
    if target_names is None:
        if targets is not None:
            raise InputError("targets should come with target_names, found none; name the targets")
        target_names = ("target",)
    known_targets = unique_names(target_names, "target_names")
    for what, text in (("unit", unit), ("data_fingerprint", data_fingerprint)):
        if not isinstance(text, str) or (what == "unit" and not text):
            raise InputError(f"{what} should be a text, found {text!r}; correct it")
    return RowInfo(
        sources=names,
        documents=frozen(document_ids),
        weights=frozen(_row_weights(weights, n)),
        targets=frozen(_targets(targets, known_targets, n)),
        target_names=known_targets,
        unit=unit,
        fingerprints=_fingerprints(fingerprints or {}, names),
        data_fingerprint=data_fingerprint,
        densities=densities,
        notes=tuple(notes),
    )


def factorise(values: Iterable[Hashable]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """
    Replace names by numbers, in order of first appearance.

    Parameters
    ----------
    values : iterable of hashable, [n]
        For instance the document names of n rows.

    Returns
    -------
    codes : int64 [n]
        `names[codes[i]]` is the i-th value.
    names : list
        The different values.

    Examples
    --------
    >>> factorise(["b", "a", "b"])
    (array([0, 1, 0]), ['b', 'a'])
    """
    numbers: dict[Hashable, int] = {}
    codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int64)
    return codes, list(numbers)


def real_array(what: str, values: Any, dimensions: int) -> npt.NDArray[Any]:
    """Return `values` as an array of real numbers with that many dimensions, not copied where it is one already."""
    shape = "one-dimensional [n]" if dimensions == 1 else "two-dimensional [rows, sources]"
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(f"{what} should have no masked entries, found some; leave those rows out")
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what} should be a {shape} array of numbers, found none ({error}); convert it") from error
    if array.ndim != dimensions:
        raise InputError(f"{what} should be a {shape} array, found shape {array.shape}; reshape it")
    if array.size and array.dtype.kind not in "fiu":
        raise InputError(f"{what} should hold real numbers, found dtype {array.dtype}; convert it to float64")
    return array


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the array, which can no longer be written to."""
    array.flags.writeable = False
    return array


def _integers(what: str, values: Any) -> npt.NDArray[np.int64]:
    """Return a copy of a one-dimensional array of whole numbers."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{what} should be whole numbers [n], found something else ({error}); convert it") from error
    if array.ndim != 1:
        raise InputError(f"{what} should be one-dimensional [n], found shape {array.shape}; reshape it")
    if array.size and array.dtype.kind not in "iu":
        raise InputError(
            f"{what} should be whole numbers, found dtype {array.dtype}; number them with "
            "mixwright.search.table.table.factorise"
        )
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{what} should fit in 64 bits with a sign, found {array.max()}; number them from 0")
    return array.astype(np.int64)


def _same_length(what: str, found: int, n: int) -> None:
    if found != n:
        raise InputError(f"{what} should have one entry for each of the {n} rows, found {found}; give {n}")


def _row_weights(weights: Any, n: int) -> npt.NDArray[np.float64]:
    """Return the weights of n rows, ones by default."""
    if weights is None:
        return np.ones(n)
    array = real_array("the weights of rows", weights, 1).astype(np.float64)
    _same_length("the weights of rows", len(array), n)
    wrong = ~(np.isfinite(array) & (array >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"the weights of rows should be finite and at least 0, found {array[row]} at row {row} (counted from 0); "
            "correct it or leave the row out"
        )
    if not array.any():
        raise InputError("the weights of rows should not all be 0; give at least one row a weight above 0")
    return array


def _targets(targets: Any, names: tuple[str, ...], n: int) -> npt.NDArray[np.int32]:
    """Return the positions of the rows' targets in `names`."""
    if targets is None:
        if len(names) > 1:
            raise InputError(f"targets should say which of {len(names)} targets each row has, found None; give [n]")
        return np.zeros(n, np.int32)
    array = _integers("targets", targets)
    _same_length("targets", len(array), n)
    wrong = (array < 0) | (array >= len(names))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"targets should lie from 0 to {len(names) - 1} (there are {len(names)} target_names), found {array[row]} "
            f"at row {row} (counted from 0); correct it or add a name"
        )
    return array.astype(np.int32)


def _fingerprints(fingerprints: Mapping[str, str], sources: tuple[str, ...]) -> dict[str, str]:
    """Return the proxies' fingerprints by source."""
    if not isinstance(fingerprints, Mapping):
        raise InputError(f"fingerprints should be a mapping {{source: text}}, found {fingerprints!r:.60}; correct it")
    for name, text in fingerprints.items():
        if name not in sources:
            raise InputError(f"fingerprints should name sources of the table, found {name!r}; correct the name")
        if not isinstance(text, str):
            raise InputError(f"the fingerprint of {name!r} should be a text, found {text!r:.60}; correct it")
    return dict(fingerprints)
