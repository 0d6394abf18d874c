"""Columns that share the likelihoods of others: some of their rows, or columns of several tables side by side."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.search.table.columns import Chosen, Floats, TableColumns, _count
from mixwright.search.table.rows import RowSelection


class SelectedColumns:
    """Some rows of other columns, which it shares; it takes no rows."""

    def __init__(self, columns: TableColumns, chosen: RowSelection) -> None:
        self.columns, self.chosen = columns, chosen

    def part(self, rows: RowSelection) -> RowSelection:
        """Return where some of its rows lie in the other columns; slices have both ends."""
        if isinstance(self.chosen, slice):
            first = int(self.chosen.start)
            return slice(first + rows.start, first + rows.stop) if isinstance(rows, slice) else first + rows
        return self.chosen[rows]

    def row_number(self, row: int) -> int:
        """Return the number of a row in the whole table."""
        chosen = self.chosen
        return self.columns.row_number(chosen.start + row if isinstance(chosen, slice) else int(chosen[row]))

    def rows_done(self, i: int) -> int:
        """Return how many rows of the whole column are written."""
        return self.columns.rows_done(i)

    def finished(self, i: int) -> bool:
        """Return whether the whole column is complete."""
        return self.columns.finished(i)

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return the chosen rows of column i, [m]."""
        column: npt.NDArray[Any] = self.columns.column(i)[self.chosen]
        return column

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        return self.columns.rows(self.part(rows))

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        return self.columns.by_source(self.part(rows), chosen)

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        return self.columns.row_maximum(self.part(rows))

    def key(self, i: int) -> Hashable:
        """Return the key of the whole column with the rows."""
        return self.columns.key(i), self._rows_key

    @cached_property
    def _rows_key(self) -> Hashable:
        if isinstance(self.chosen, slice):
            return int(self.chosen.start), int(self.chosen.stop)
        return blake2b(np.ascontiguousarray(self.chosen).tobytes()).hexdigest()


class JoinedColumns:
    """Columns of others side by side, which it shares: `members` [k] are (columns, position); it takes no rows."""

    def __init__(self, members: Sequence[tuple[TableColumns, int]]) -> None:
        self.members = list(members)

    @classmethod
    def of(cls, columns: TableColumns, k: int) -> JoinedColumns:
        """Return k columns as they are, ready for others beside them."""
        return columns if isinstance(columns, JoinedColumns) else cls([(columns, i) for i in range(k)])

    def row_number(self, row: int) -> int:
        """Return the number of a row in the whole table."""
        return self.members[0][0].row_number(row)

    def rows_done(self, i: int) -> int:
        """Return how many rows of column i are written."""
        columns, at = self.members[i]
        return columns.rows_done(at)

    def finished(self, i: int) -> bool:
        """Return whether column i is complete."""
        columns, at = self.members[i]
        return columns.finished(at)

    def column(self, i: int) -> npt.NDArray[Any]:
        """Return column i, [n]."""
        columns, at = self.members[i]
        return columns.column(at)

    def key(self, i: int) -> Hashable:
        """Return what tells column i from others."""
        columns, at = self.members[i]
        return columns.key(at)

    def rows(self, rows: RowSelection) -> Floats:
        """Return a copy of some rows, [m, k]."""
        return np.ascontiguousarray(self.by_source(rows).T)

    def by_source(self, rows: RowSelection, chosen: Chosen = None) -> Floats:
        """Return a copy of some rows of some columns (default: all), [len(chosen), m]."""
        wanted = range(len(self.members)) if chosen is None else chosen
        members = [self.members[int(i)] for i in wanted]
        runs: list[tuple[TableColumns, list[int]]] = []
        for columns, at in members:
            if not runs or runs[-1][0] is not columns:
                runs.append((columns, []))
            runs[-1][1].append(at)
        blocks = [columns.by_source(rows, np.array(at, np.intp)) for columns, at in runs]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks or [np.empty((0, _count(rows)))])

    def row_maximum(self, rows: RowSelection) -> npt.NDArray[Any]:
        """Return the largest likelihood of each row, [m]."""
        maximum: npt.NDArray[Any] = self.by_source(rows).max(0)
        return maximum
