"""A table of likelihoods: what each target row is worth to each source's proxy model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.errors import InputError
from mixwright.files import file_fingerprint
from mixwright.search.table.attributes import check_values, explain_row, require_same
from mixwright.search.table.column_views import SelectedColumns
from mixwright.search.table.columns import ArrayColumns, FolderColumns
from mixwright.search.table.files import column_numbers, is_table, read_folder, verify_checksums, write_folder
from mixwright.search.table.imports import read_table
from mixwright.search.table.rows import RowSelection, factorise, real_array, row_info
from mixwright.search.table.sources import TableSources

__all__ = ["LikelihoodTable", "factorise"]

_BLOCK = 1 << 22  # numbers that are checked or written at a time


class LikelihoodTable(TableSources):
    """
    n target rows x k sources of natural-log likelihoods, in a folder on disk or in memory.

    Entry (i, k) is the log-likelihood of target row i under the proxy model of source k, in nats. In a folder each
    source is one file of float64, so that scores can be written one proxy at a time, in blocks, and continued after a
    stop; several processes may each write columns of their own. Make one with `create`, `open`, `from_array` or
    `from_file`.

    Examples
    --------
    >>> table = LikelihoodTable.from_array([[-1.0, -2.0], [-3.0, -1.0]], ["web", "books"])
    >>> table.block(0, 1)
    array([[-1., -2.]])
    """

    @classmethod
    def create(
        cls,
        path: str | PathLike[str],
        sources: Iterable[str],
        *,
        documents: npt.ArrayLike,
        weights: npt.ArrayLike | None = None,
        targets: npt.ArrayLike | None = None,
        target_names: Iterable[str] | None = None,
        unit: str = "sequence",
        fingerprints: Mapping[str, str] | None = None,
        data_fingerprint: str = "",
    ) -> LikelihoodTable:
        """
        Make a table without columns in a new folder, or continue the one that was made there with the same arguments.

        Parameters
        ----------
        path : path
            The folder.
        sources : iterable of str, [k]
            Different names.
        documents : array of int, [n]
            The document of each row; `factorise` numbers names.
        weights : array of float, [n], optional
            At least 0 and not all 0; ones by default.
        targets : array of int, [n], optional
            Positions in `target_names`; without them there is one target, called "target" unless named.
        target_names : iterable of str, optional
            Different names.
        unit : str
            What a row is.
        fingerprints : mapping, optional
            {source: fingerprint of its proxy}. Where a table is continued, the columns of sources whose fingerprint
            is another than the table's are started again; sources that are not in it are left as they are.
        data_fingerprint : str
            Names the data that is scored.

        Raises
        ------
        InputError
            An argument is not as above, the folder holds something else or a table made with other arguments, or it
            cannot be written. Nothing is changed then.
        """
        info = row_info(sources, documents, weights, targets, target_names, unit, fingerprints, data_fingerprint)
        path = Path(path)
        if not is_table(path):
            try:
                write_folder(path, info)
            except InputError:
                if not is_table(path):  # otherwise another process made it in this moment
                    raise
        table = cls.open(path)
        require_same(path, table._info, info)
        changed = {s: f for s, f in info.fingerprints.items() if table.fingerprints.get(s) != f}
        if changed:
            table._writable().restart(info.sources, changed)
            return cls.open(path)
        return table

    @classmethod
    def open(cls, path: str | PathLike[str]) -> LikelihoodTable:
        """
        Open a table's folder, complete or not.

        The sizes of all files are checked; `verify` compares their contents with the checksums.

        Raises
        ------
        InputError
            The folder is missing or no table, from a newer version, or a file in it (named) is truncated or damaged.
        """
        path = Path(path)
        info, header = read_folder(path)
        columns = FolderColumns(path, header["rows"], column_numbers(header), header["checksums"])
        return cls(info, columns, path=path)

    @classmethod
    def from_array(
        cls,
        log_likelihood: npt.ArrayLike,
        sources: Iterable[str] | None = None,
        *,
        documents: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        targets: npt.ArrayLike | None = None,
        target_names: Iterable[str] | None = None,
        unit: str = "row",
    ) -> LikelihoodTable:
        """
        Return a table in memory.

        Parameters
        ----------
        log_likelihood : array of real numbers, [n, k]
            Natural logs, in nats; -inf is allowed, but not for all sources of a row. It is not copied: do not change
            it afterwards.
        sources : iterable of str, [k], optional
            Different names; source_0, source_1, ... by default.
        documents : array of int, [n], optional
            The document of each row; by default each row is a document of its own.
        weights, targets, target_names, unit
            As in `create`.

        Raises
        ------
        InputError
            An argument is not as above.
        """
        logs = real_array("log_likelihood", log_likelihood, 2)
        n, k = logs.shape
        if not n or not k:
            raise InputError(
                f"log_likelihood should have at least one row and one source, found shape {logs.shape}; add some"
            )
        info = row_info(
            [f"source_{i}" for i in range(k)] if sources is None else sources,
            np.arange(n) if documents is None else documents,
            weights,
            targets,
            target_names,
            unit,
        )
        if (len(info.documents), len(info.sources)) != (n, k):
            raise InputError(
                f"log_likelihood should have shape [{len(info.documents)}, {len(info.sources)}] (one row for each "
                f"document entry, one column for each source), found {list(logs.shape)}; transpose it or correct them"
            )
        table = cls(info, ArrayColumns(logs))
        table.check()
        return table

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> LikelihoodTable:
        """
        Read likelihoods that were computed elsewhere into memory.

        Parameters
        ----------
        path : path
            A .csv file (UTF-8, with a header) or a .parquet file: one column of natural logs per source, and optional
            columns named document (texts or whole numbers), weight (numbers) and target (texts or whole numbers).

        Raises
        ------
        InputError
            The file is missing, empty, damaged or of another kind, or holds what `from_array` refuses.
        MissingExtraError
            pyarrow, which reads .parquet files, is not installed.
        """
        path = Path(path)
        found = read_table(path)
        try:
            table = cls.from_array(**vars(found))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        table._info = replace(table._info, data_fingerprint=file_fingerprint(path))
        return table

    # ---------------------------------------------------------------- what it holds

    @property
    def missing(self) -> tuple[str, ...]:
        """The sources whose columns are not finished."""
        return tuple(source for i, source in enumerate(self.sources) if not self._columns.finished(i))

    @property
    def complete(self) -> bool:
        """Whether all columns are finished."""
        self._complete = self._complete or not self.missing
        return self._complete

    def __repr__(self) -> str:
        """Return the size and the state in one line."""
        where = "memory" if self._path is None else str(self._path)
        return f"LikelihoodTable(n={self.n}, k={self.k}, unit={self.unit!r}, missing={self.missing}, in {where})"

    # ---------------------------------------------------------------- writing columns

    def rows_done(self, source: str) -> int:
        """Return how many rows of a column are written; after a kill, those written before it count."""
        return self._columns.rows_done(self._index(source))

    def append(self, source: str, values: npt.ArrayLike) -> None:
        """
        Write the next rows of a column.

        Parameters
        ----------
        source : str
            The column. Only one process at a time may write to it.
        values : array of real numbers, [m]
            Natural logs, in nats; -inf is allowed.

        Raises
        ------
        InputError
            The values are not as above or more than the rows that are left, the column is finished, or it cannot be
            written. The file is then as it was.
        """
        i, columns = self._index(source), self._writable()
        logs = real_array(f"the log-likelihoods of source {source!r}", values, 1)
        if not len(logs):
            return
        if columns.finished(i):
            raise InputError(f"the column of source {source!r} is finished and takes no rows; see rows_done")
        done = columns.rows_done(i)
        if done + len(logs) > self.n:
            raise InputError(
                f"the column of source {source!r} should get {self.n} rows, {done} are written, found {len(logs)} "
                "more; start at rows_done"
            )
        check_values(source, logs, done)
        columns.append(i, np.asarray(logs, dtype=np.float64))

    def finish(self, source: str) -> None:
        """
        Check that a column has all its rows and make it a finished one; one that is finished stays so.

        Raises
        ------
        InputError
            Rows are missing or a number in the file is damaged, or it cannot be written. The file is then as it was.
        """
        i = self._index(source)
        if self._columns.finished(i):
            return
        columns = self._writable()
        done = columns.rows_done(i)
        if done != self.n:
            raise InputError(
                f"the column of source {source!r} should have {self.n} rows, found {done}; append those from {done} on"
            )
        written = columns.unfinished(i)
        for start in range(0, self.n, _BLOCK):
            check_values(source, written[start : start + _BLOCK], start)
        del written
        columns.finish(i)

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

    def select(self, target: str) -> LikelihoodTable:
        """
        Return the rows of one target as a table that shares the likelihoods; it takes no rows.

        Raises
        ------
        InputError
            There is no such target, it has no rows, or all of its rows have weight 0.
        """
        if target not in self.target_names:
            raise InputError(f"target should be one of {list(self.target_names)}, found {target!r}; correct the name")
        found = np.flatnonzero(self.targets == self.target_names.index(target))
        if not found.size:
            raise InputError(f"target {target!r} should have rows in the table, found none; score it first")
        first, last = int(found[0]), int(found[-1])
        rows: RowSelection = slice(first, last + 1) if last - first + 1 == found.size else found
        view = LikelihoodTable(self._info.take(rows, target), SelectedColumns(self._columns, rows), self._path)
        view._checked = self._checked
        return view

    def save(self, path: str | PathLike[str]) -> None:
        """
        Write a complete table to a new folder, from which `open` reads it.

        Raises
        ------
        InputError
            A column is not finished, `check` fails, something is at `path` already, or it cannot be written.
        """
        self.check()

        def column(i: int) -> Iterator[npt.NDArray[Any]]:
            values = self._columns.column(i)
            yield from (values[rows] for rows in self._blocks())

        write_folder(Path(path), self._info, (column(i) for i in range(self.k)))

    def _folder(self) -> Path:
        return self._writable().folder

    def _writable(self) -> FolderColumns:
        if not isinstance(self._columns, FolderColumns):
            raise InputError(
                "only a whole table in a folder takes rows, this one is in memory or the selection of a target; make "
                "one with LikelihoodTable.create, or write to the table that was selected from"
            )
        return self._columns

    def require_complete(self) -> None:
        """Raise InputError unless all columns are finished; those that are not are named."""
        if not self.complete:
            missing = self.missing
            names = ", ".join(repr(name) for name in missing[:5]) + (" ..." if len(missing) > 5 else "")
            raise InputError(
                f"the table should be complete, found {len(missing)} of {self.k} columns not finished ({names}); "
                "append their rows and finish them"
            )

    def _blocks(self) -> Iterator[slice]:
        step = max(1, _BLOCK // self.k)
        for start in range(0, self.n, step):
            yield slice(start, min(start + step, self.n))
