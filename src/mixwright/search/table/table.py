"""A table of likelihoods: what each target row is worth to each source's proxy model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.checks import near
from mixwright.errors import InputError
from mixwright.files import file_fingerprint
from mixwright.files.stores import local
from mixwright.search.table.attributes import check_values, require_same
from mixwright.search.table.column_views import SelectedColumns
from mixwright.search.table.columns import ArrayColumns, FolderColumns
from mixwright.search.table.files import column_numbers, is_table, read_folder, write_folder
from mixwright.search.table.imports import ImportedTable, read_frame, read_table
from mixwright.search.table.reading import BLOCK
from mixwright.search.table.rows import RowSelection, factorise, real_array, row_info
from mixwright.search.table.sources import TableSources
from mixwright.search.table.values import Values, above_zero, not_logs, require_logs, to_logs

__all__ = ["LikelihoodTable", "factorise"]


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
        densities: bool = False,
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
        densities : bool
            The rows are scored by densities, whose logs may be above 0.

        Raises
        ------
        InputError
            An argument is not as above, the folder holds something else or a table made with other arguments, or it
            cannot be written. Nothing is changed then.
        """
        info = row_info(sources, documents, weights, targets, target_names, unit, fingerprints, data_fingerprint)
        info = replace(info, densities=bool(densities))
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
        values: Values | None = None,
        tokens: npt.ArrayLike | str | None = None,
    ) -> LikelihoodTable:
        """
        Return a table in memory.

        Parameters
        ----------
        log_likelihood : array of real numbers, [n, k], or data frame
            Natural logs, in nats; -inf is allowed, but not for all sources of a row. An array is not copied: do not
            change it afterwards. The columns of a data frame are read as in `from_file`.
        sources : iterable of str, [k], optional
            Different names; source_0, source_1, ... by default. Of a data frame, the columns that are sources.
        documents : array of int, [n], optional
            The document of each row; by default each row is a document of its own.
        weights, targets, target_names, unit
            As in `create`.
        values, tokens
            As in `from_file`.

        Raises
        ------
        InputError
            An argument is not as above, or most numbers of a source are above 0 and `values` does not say why.
        """
        if hasattr(log_likelihood, "columns") or hasattr(log_likelihood, "column_names"):
            column = tokens if isinstance(tokens, str) else None
            frame = read_frame(log_likelihood, sources, column, values)
            given: dict[str, Any] = {
                "documents": documents,
                "weights": weights,
                "targets": targets,
                "target_names": target_names,
            }
            given["tokens"] = None if isinstance(tokens, str) else tokens
            return cls._imported(frame, values, unit, **{what: x for what, x in given.items() if x is not None})
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
        logs, notes = to_logs(info.sources, logs, values, tokens)
        table = cls(replace(info, densities=values == "log_likelihood", notes=notes), ArrayColumns(logs))
        table.check()
        if values is None:
            require_logs("", info.sources, logs)
        return table

    @classmethod
    def _imported(cls, found: ImportedTable, values: Values | None, unit: str = "row", **given: Any) -> LikelihoodTable:
        """Return the table that a file or a frame holds; what is `given` takes the place of its columns."""
        own = {name: part for name, part in vars(found).items() if name not in ("numbers", "sources", "notes")}
        table = cls.from_array(found.numbers, found.sources, values=values, unit=unit, **{**own, **given})
        table._info = replace(table._info, notes=found.notes + table._info.notes)
        return table

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        sources: Iterable[str] | None = None,
        values: Values | None = None,
        tokens: npt.ArrayLike | str | None = None,
        unit: str = "row",
    ) -> LikelihoodTable:
        """
        Read likelihoods that were computed elsewhere into memory.

        Parameters
        ----------
        path : path
            A .csv file (UTF-8, with a header) or a .parquet file: one column of natural logs per source, and optional
            columns named document (texts or whole numbers), weight (numbers) and target (texts or whole numbers).
        sources : iterable of str, [k], optional
            The columns that are sources. By default all others are, apart from the index of a data frame; each should
            then look like log-likelihoods: no number above 0, not whole numbers only, not rising (nor falling) from row
            to row, not the same in each row.
        values : {"log_likelihood", "loss", "bits", "perplexity", "probability"}, optional
            What the numbers are; they are turned into log-likelihoods. "log_likelihood" says that those above 0 are
            right, as those of densities are.
        tokens : array of numbers [n], one number, or a column's name, optional
            How many tokens each row has. The numbers are then means per token, as perplexities always are, and are
            multiplied by it. Without it they count for whole rows.
        unit : str
            What a row is.

        Raises
        ------
        InputError
            The file is missing, empty, damaged or of another kind, or holds what `from_array` refuses.
        MissingExtraError
            pyarrow, which reads .parquet files, is not installed.
        """
        path, column = Path(local(Path(path))), tokens if isinstance(tokens, str) else None
        found = read_table(path, sources, column, values)
        try:
            given: dict[str, Any] = {} if column or tokens is None else {"tokens": tokens}
            table = cls._imported(found, values, unit, **given)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        table._info = replace(table._info, data_fingerprint=file_fingerprint(path))
        return table

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
            Rows are missing, a number in the file is damaged, or most are above 0 and the table is not one of
            densities; or it cannot be written. The file is then as it was.
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
        for start in range(0, self.n, BLOCK):
            check_values(source, written[start : start + BLOCK], start)
        if not self._info.densities and above_zero(written):
            raise not_logs("", source, np.asarray(written))
        del written
        columns.finish(i)

    def select(self, target: str) -> LikelihoodTable:
        """
        Return the rows of one target as a table that shares the likelihoods; it takes no rows.

        Raises
        ------
        InputError
            There is no such target, it has no rows, or all of its rows have weight 0.
        """
        if target not in self.target_names:
            raise InputError(f"target should be in the table{near(target, self.target_names, 'targets')}")
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
