"""Reading the likelihoods of a table, and checking them."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.search.table.attributes import TableRows, explain_row
from mixwright.search.table.columns import TableColumns
from mixwright.search.table.files import verify_checksums
from mixwright.search.table.rows import RowInfo

BLOCK = 1 << 22  # numbers that are checked or written at a time


class TableReading(TableRows):
    """The methods of a table that read its likelihoods."""

    def __init__(self, info: RowInfo, columns: TableColumns, path: Path | None = None) -> None:
        super().__init__(info)
        self._columns, self._path = columns, path
        self._complete = False
        self._checked = False

    @property
    def missing(self) -> tuple[str, ...]:
        """The sources whose columns are not finished."""
        return tuple(source for i, source in enumerate(self.sources) if not self._columns.finished(i))

    @property
    def complete(self) -> bool:
        """Whether all columns are finished."""
        self._complete = self._complete or not self.missing
        return self._complete

    def block(self, start: int, stop: int) -> npt.NDArray[np.float64]:
        """
        Return a copy of the log-likelihoods of rows start, ..., stop - 1: float64 [stop - start, k], in nats.

        Values are not checked here; call `check` once before the first pass.

        Raises
        ------
        InputError
            A column is not finished, or there are no such rows.
        """
        return self._columns.rows(self._rows(start, stop))

    def by_source(self, start: int, stop: int, chosen: npt.NDArray[np.intp] | None = None) -> npt.NDArray[np.float64]:
        """Return `block(start, stop)` of some sources (default: all), transposed: float64 [len(chosen), m]."""
        return self._columns.by_source(self._rows(start, stop), chosen)

    def column_keys(self) -> list[Hashable]:
        """Return what tells each column [k] from others in this process: columns with equal keys are equal."""
        return [self._columns.key(i) for i in range(self.k)]

    def _rows(self, start: int, stop: int) -> slice:
        self.require_complete()
        if not 0 <= start <= stop <= self.n:
            raise InputError(f"a block should lie within rows 0 to {self.n}, found {start} to {stop}; correct it")
        return slice(start, stop)

    def check(self) -> None:
        """
        Check all likelihoods of a complete table, by blocks; once is enough.

        Raises
        ------
        InputError
            A column is not finished, a value is NaN or +inf, or a row is -inf under every source; row and source are
            named.
        """
        if self._checked:
            return
        self.require_complete()
        for rows in self._blocks():
            possible = np.isfinite(self._columns.row_maximum(rows))
            if not possible.all():
                row = rows.start + int(possible.argmin())
                values = self._columns.rows(slice(row, row + 1))[0]
                explain_row(self.sources, values, self._columns.row_number(row))
        self._checked = True

    def verify(self) -> None:
        """
        Compare the files of a table on disk with the checksums that were recorded when they were written.

        Raises
        ------
        InputError
            Files differ; they are named.
        """
        if self._path is not None:
            verify_checksums(self._path, self._columns.finished)

    def require_complete(self) -> None:
        """Raise InputError unless all columns are finished; those that are not are named."""
        if not self.complete:
            missing = self.missing
            names = ", ".join(repr(name) for name in missing[:5]) + (" ..." if len(missing) > 5 else "")
            where = "the table" if self._path is None else f"the table {self._path}"
            raise InputError(
                f"{where} should be complete, found {len(missing)} of {self.k} columns not finished ({names}); "
                "append their rows and finish them"
            )

    def _blocks(self) -> Iterator[slice]:
        step = max(1, BLOCK // self.k)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))
