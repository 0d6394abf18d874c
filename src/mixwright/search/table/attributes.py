"""The attributes of a table that describe its rows and columns, and the checks that name one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.search.table.rows import RowInfo


class TableRows:
    """
    The rows and columns of a table, described; `LikelihoodTable` adds the likelihoods.

    Attributes
    ----------
    n, k : int
        Rows and sources.
    sources : tuple of str, [k]
        Different names.
    documents : int64 [n]
        The document of each row: rows of one document are not independent.
    weights : float64 [n]
        The weight of each row, at least 0.
    targets : int32 [n]
        The target of each row, a position in `target_names`.
    target_names : tuple of str
        The targets.
    unit : str
        What a row is: "sequence", "chunk", "token", "row".
    fingerprints : dict
        {source: fingerprint of its proxy model}.
    data_fingerprint : str
        Names the data that was scored.
    notes : tuple of str
        What was left out or turned into log-likelihoods when the table was made.
    """

    def __init__(self, info: RowInfo) -> None:
        self._info = info

    @property
    def n(self) -> int:
        """Rows."""
        return len(self._info.documents)

    @property
    def k(self) -> int:
        """Sources."""
        return len(self._info.sources)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources, [k]."""
        return self._info.sources

    @property
    def documents(self) -> npt.NDArray[np.int64]:
        """The document of each row, [n]; read-only."""
        return self._info.documents

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """The weight of each row, [n]; read-only."""
        return self._info.weights

    @property
    def targets(self) -> npt.NDArray[np.int32]:
        """The target of each row, [n], a position in `target_names`; read-only."""
        return self._info.targets

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return self._info.target_names

    @property
    def unit(self) -> str:
        """What a row is."""
        return self._info.unit

    @property
    def fingerprints(self) -> dict[str, str]:
        """{source: fingerprint of its proxy model}, a copy."""
        return dict(self._info.fingerprints)

    @property
    def data_fingerprint(self) -> str:
        """Names the data that was scored."""
        return self._info.data_fingerprint

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or turned into log-likelihoods when the table was made."""
        return self._info.notes


def check_values(source: str, values: npt.NDArray[Any], first_row: int) -> None:
    """Raise InputError where a value is NaN or +inf."""
    right = values < np.inf
    if not right.all():
        i = int(right.argmin())
        raise InputError(
            f"log-likelihoods should be finite or -inf, found {float(values[i])} at row {first_row + i} (counted from "
            f"0) under source {source!r}; correct the score or leave the row out"
        )


def explain_row(sources: tuple[str, ...], values: npt.NDArray[np.float64], row: int) -> NoReturn:
    """Raise the InputError that says what is wrong with the values [k] of a row."""
    for source, value in zip(sources, values, strict=True):
        check_values(source, np.array([value]), row)
    raise InputError(
        f"each row should be possible under at least one source, found row {row} (counted from 0) with log-likelihood "
        "-inf under every one; leave the row out or add a source that can produce it"
    )


def require_same(path: Path, found: RowInfo, asked: RowInfo) -> None:
    """Raise InputError unless a table that is to be continued was made with the same arguments."""
    differ = []
    for name in ("sources", "target_names", "unit", "data_fingerprint"):
        if getattr(found, name) != getattr(asked, name):
            differ.append(f"{name} ({getattr(found, name)!r:.80} there, {getattr(asked, name)!r:.80} asked for)")
    for name in ("documents", "weights", "targets"):
        there, here = getattr(found, name), getattr(asked, name)
        if len(there) != len(here):
            differ.append(f"{name} ({len(there)} rows there, {len(here)} asked for)")
        elif (there != here).any():
            differ.append(f"{name} (from row {int((there != here).argmax())} on)")
    if differ:
        raise InputError(
            f"the table at {path} should be continued with the arguments that it was made with, found others: "
            f"{'; '.join(differ)}. Choose another path or delete the folder"
        )
