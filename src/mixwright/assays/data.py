"""A table of assays in memory: features, labels with gaps, and which rows are the same molecule."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.assays.labels import MISSING, Coding, read_labels
from mixwright.checks import unique_names
from mixwright.errors import InputError
from mixwright.files import fingerprint

Ints = NDArray[np.int64]
_SHOWN = 5  # names in a message


@dataclass(frozen=True, eq=False)
class AssayTable:
    """
    Molecules with features and 0/1/missing labels. Make one with `read_assays` or `from_arrays`.

    Attributes
    ----------
    assays
        [a] names of the label columns; each may be a source or a target.
    labels
        int8 [n, a]: 0, 1, or -1 for missing.
    features
        [n, d]: a float32 array or a scipy.sparse CSR matrix.
    molecules
        int64 [n]; rows with the same number are the same molecule.
    molecule_names
        Text of each molecule number (canonical SMILES), for messages; may be empty.
    scaffolds
        int64 [n], for the scaffold split; None where there are none.
    parents
        int64 [n]; rows whose molecules differ in salt or atom maps alone have the same; None where it is not known.
    times
        float64 [n], for the time split; None where there are none.
    parts
        [n] "train" or "test", for a split of your own; None where there is none.
    rows
        int64 [n], number of each row in the file it was read from, from 0; of a long table the first that a row is of.
    described
        What the features are (kind, radius, bits ...): proxies know which features they were trained on.
    notes
        Sentences that belong beside a result, such as how many molecules were skipped.
    """

    assays: tuple[str, ...]
    labels: NDArray[np.int8]
    features: Any
    molecules: Ints
    rows: Ints
    molecule_names: tuple[str, ...] = ()
    scaffolds: Ints | None = None
    parents: Ints | None = None
    times: NDArray[np.float64] | None = None
    parts: NDArray[Any] | None = None
    described: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def from_arrays(
        cls,
        features: Any,
        labels: ArrayLike,
        assays: Sequence[str] | None = None,
        *,
        molecules: ArrayLike | None = None,
        scaffolds: ArrayLike | None = None,
        times: ArrayLike | None = None,
        described: Mapping[str, Any] | None = None,
        coding: Coding | None = None,
    ) -> AssayTable:
        """
        Return a table of arrays.

        Parameters
        ----------
        features
            [n, d] finite numbers: an array or a scipy.sparse matrix.
        labels
            [n, a]: 0, 1, and NaN (or None) for missing; or others, which `coding` explains.
        assays
            [a] names; assay_0, assay_1, ... by default.
        molecules, scaffolds
            [n] values that say which is the same; by default rows with equal features are the same molecule.
        times
            [n] numbers or numpy dates, for the time split.
        described
            What the features are, for the check against proxies.
        coding
            What the values of labels mean, such as {"active": 1, "inactive": -1, "missing": 0}.

        Raises
        ------
        InputError
            A label is not 0, 1 or missing, a feature is not a finite number, or lengths differ.
        """
        matrix = check_features(features)
        values = np.asarray(labels)
        if values.ndim != 2 or values.shape[0] != matrix.shape[0]:
            raise InputError(
                f"labels should have shape [{matrix.shape[0]}, assays], one row per row of features; "
                f"found {list(values.shape)}; correct the shape"
            )
        names = unique_names([f"assay_{i}" for i in range(values.shape[1])] if assays is None else assays, "assays")
        if len(names) != values.shape[1]:
            raise InputError(f"assays should be {values.shape[1]} names, one per column of labels; found {len(names)}")
        read, notes = read_labels({name: values[:, i] for i, name in enumerate(names)}, coding)
        number, n = _numbered, matrix.shape[0]
        own = same_rows(matrix) if molecules is None else number(molecules, n, "molecules")
        return cls(
            assays=names,
            labels=read,
            features=matrix,
            molecules=own,
            rows=np.arange(n),
            scaffolds=None if scaffolds is None else number(scaffolds, n, "scaffolds"),
            times=None if times is None else _times(times, n),
            described=dict(described or {"kind": "given", "width": int(matrix.shape[1])}),
            notes=(*notes, *contradictions(names, read, own)),
        )

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return int(self.labels.shape[0])

    def column(self, assay: str | int) -> int:
        """Return the position of an assay, given by name or position; InputError names the nearest if there is none."""
        if isinstance(assay, int | np.integer) and not isinstance(assay, bool):
            if not 0 <= assay < len(self.assays):
                raise InputError(
                    f"an assay should be a name, or a column from 0 to {len(self.assays) - 1}, found {assay!r}; "
                    "correct the number"
                )
            return int(assay)
        if not isinstance(assay, str) or assay not in self.assays:
            raise InputError(missing_name(assay, self.assays, "an assay"))
        return self.assays.index(assay)

    def name(self, assay: str | int) -> str:
        """Return the name of an assay, given by name or position."""
        return self.assays[self.column(assay)]

    def labelled(self, assay: str | int) -> Ints:
        """Return the rows that have a label in an assay."""
        return np.flatnonzero(self.labels[:, self.column(assay)] != MISSING)

    def name_of(self, molecule: int) -> str:
        """Return the text of a molecule number."""
        return self.molecule_names[molecule] if self.molecule_names else f"molecule {molecule}"

    def features_fingerprint(self) -> str:
        """Return 16 hex digits that name what the features are (not their values)."""
        return fingerprint({**self.described, "width": int(self.features.shape[1])})


def check_features(features: Any) -> Any:
    """Return features as float32 [n, d], CSR where they are sparse; InputError if they are not finite numbers."""
    if hasattr(features, "tocsr"):
        matrix = features.tocsr().astype(np.float32)
        finite = bool(np.isfinite(matrix.data).all())
    else:
        try:
            matrix = np.ascontiguousarray(features, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"features should be numbers [rows, features]; found {error}; convert them") from error
        finite = bool(np.isfinite(matrix).all())
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError(f"features should have shape [rows, features], not empty; found {list(matrix.shape)}")
    if not finite:
        raise InputError("features should be finite numbers, found NaN or infinity; fill them in or drop the rows")
    return matrix


def check_choice(value: object, choices: Sequence[str], what: str) -> None:
    """Raise InputError, which names the choices, unless `value` is one of them."""
    if not isinstance(value, str) or value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose one of them"
        one = f"one of {', '.join(map(repr, choices))}" if len(choices) > 2 else " or ".join(map(repr, choices))
        raise InputError(f"{what} should be {one}, found {value!r}; {hint}")


def check_flag(value: object, what: str) -> None:
    """Raise InputError unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"{what} should be true or false, found {value!r}; choose one")


def missing_name(name: object, known: Sequence[str], what: str, way_out: str = "correct the name") -> str:
    """Return a message about a name that is not there, with the nearest ones, or with `way_out` as its end."""
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"the nearest are {listed(close)}" if close else f"there are {len(known)}: {listed(known)}"
    hint = f"did you mean {close[0]!r}?" if len(close) == 1 else f"{hint}; {way_out}"
    return f"{what} should be one of the table's, found {name!r}; {hint}"


def listed(names: Sequence[Any]) -> str:
    """Return at most 5 names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name) for name in list(names)[:_SHOWN]) + more


def same_rows(features: Any) -> Ints:
    """Return a number for each row [n]; rows with equal features have the same."""
    dense = hasattr(features, "tocsr")
    seen: dict[bytes, int] = {}
    out = np.empty(features.shape[0], np.int64)
    for i in range(features.shape[0]):
        if dense:
            part = slice(features.indptr[i], features.indptr[i + 1])
            key = features.indices[part].tobytes() + features.data[part].tobytes()
        else:
            key = features[i].tobytes()
        out[i] = seen.setdefault(key, len(seen))
    return out


def numbers_of(values: Sequence[Any]) -> tuple[Ints, tuple[str, ...]]:
    """Return a number for each value, in order of first appearance, and the text of each number."""
    seen: dict[Any, int] = {}
    out = np.array([seen.setdefault(value, len(seen)) for value in values], np.int64)
    return out, tuple(str(value) for value in seen)


def contradictions(
    assays: Sequence[str], labels: NDArray[np.int8], molecules: Ints, texts: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return a note on molecules that have both a 0 and a 1 in the same assay, or nothing."""
    found = {}
    for assay, column in zip(assays, labels.T, strict=True):
        if (both := np.intersect1d(molecules[column == 0], molecules[column == 1])).size:
            found[assay] = both
    if not found:
        return ()
    assay = max(found, key=lambda name: len(found[name]))
    example = f", such as {texts[found[assay][0]][:60]}" if texts else ""
    several = len(np.unique(np.concatenate(list(found.values()))))
    has = "1 molecule has" if several == 1 else f"{several:,} molecules have"
    where = f"assay {assay!r}" if len(found) == 1 else f"{len(found)} assays, most in {assay!r} ({len(found[assay])})"
    return (f"{has} both a 0 and a 1 in the same assay{example}: in {where}. Both are kept.",)


def _numbered(values: ArrayLike, n: int, what: str) -> Ints:
    array = np.asarray(values)
    if array.shape != (n,):
        raise InputError(f"{what} should be one value per row ({n}); found shape {list(array.shape)}")
    return numbers_of(array.tolist())[0]


def _times(values: ArrayLike, n: int) -> NDArray[np.float64]:
    array = np.asarray(values)
    if np.issubdtype(array.dtype, np.datetime64):
        array = np.where(np.isnat(array), np.nan, array.astype("datetime64[us]").astype(np.float64))
    try:
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"times should be numbers or dates; found {error}; convert them") from error
    if array.shape != (n,) or not np.isfinite(array).all():
        raise InputError(f"times should be one finite number or date per row ({n}); found gaps or another length")
    return array
