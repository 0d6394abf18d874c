"""Sources of rows with columns: data sets of `datasets` and parquet files."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError, missing_extra
from mixwright.files.listing import Paths, list_files
from mixwright.files.parquet import check_columns, open_parquet, without_views
from mixwright.files.pointers import refuse_pointers_in
from mixwright.stream.sources.source import Rows, Source, as_rows, file_sample, sample


class ArrowRows(Source):
    """
    A map-style data set of `datasets`: rows are dicts, in the format that the data set has.

    Parameters
    ----------
    dataset
        A `datasets.Dataset`, or the folder that `save_to_disk` wrote.
    column
        One column of numbers of a fixed width, handed out as one array [m, ...] instead of dicts.
    """

    def __init__(self, dataset: Any, column: str | None = None) -> None:
        try:
            import datasets
        except ImportError:
            raise missing_extra("datasets", "stream") from None
        if isinstance(dataset, str | Path):
            dataset = load_saved(dataset)
        if not isinstance(dataset, datasets.Dataset):
            raise InputError(
                f"there should be a datasets.Dataset (map style), found {type(dataset).__name__}; choose a split, or "
                f"load it with streaming=False"
            )
        if column is not None:
            check_columns("the data set", [column], dataset.column_names)
            dataset = dataset.with_format("numpy", columns=[column])
        self.dataset, self.column = dataset, column

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.dataset)

    def gather(self, rows: NDArray[np.int64]) -> Rows:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, len(self))
        if self.column is None:
            return list(self.dataset.__getitems__(rows.tolist()))
        return _one_width(self.dataset[rows.tolist()][self.column], self.column)

    def _content(self) -> bytes:
        names = json.dumps([self.dataset.column_names, str(self.dataset.features)])
        return _table_sample(names, self.dataset.with_format(None)[sample(len(self), 16).tolist()])

    @cached_property
    def layout(self) -> dict[str, str]:
        """The kind of each column, where rows are plain values; else what a row is, see Source."""
        if self.column is not None or self.dataset.format["type"] is not None or not len(self):
            return super().layout
        return _kinds(self.dataset.features.arrow_schema, self.dataset.column_names)

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        files = sorted({Path(entry["filename"]).name for entry in self.dataset.cache_files})
        return ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")


class ParquetRows(Source):
    """
    Rows of one or several parquet files, as dicts; a row group is read once for all of its rows in a batch.

    Parameters
    ----------
    path
        A file, a folder (its `*.parquet`, those of sub-folders too, in the order of their names), a pattern, or a list
        of them.
    columns
        The columns to read; None: all.
    column
        One column of numbers of a fixed width, handed out as one array [m, ...] instead of dicts.
    keep
        Row groups kept in memory, those used last. Rows come in a shuffled order, so the whole file is fast only if all
        of its row groups are kept; write small row groups, or convert to `datasets` or `.npy`, where that is too much.
    """

    def __init__(
        self,
        path: Paths,
        columns: Sequence[str] | None = None,
        column: str | None = None,
        keep: int = 16,
    ) -> None:
        self.files = members(path, (".parquet",))
        self.column, self.columns = (
            column,
            [column] if column is not None else None if columns is None else list(columns),
        )
        self.keep = whole_number(keep, "row groups to keep")
        groups, lengths = [], []
        for number, file in enumerate(self.files):
            metadata, schema = _parquet_metadata(file)
            if self.columns is not None:
                check_columns(file, self.columns, schema.names)
            for group in range(metadata.num_row_groups):
                groups.append((number, group))
                lengths.append(metadata.row_group(group).num_rows)
            if metadata.num_rows < 0 or metadata.num_rows != sum(lengths[len(lengths) - metadata.num_row_groups :]):
                raise _damaged(file, f"{metadata.num_rows} rows and other numbers of them in its row groups")
        self._groups, self._ends = groups, np.cumsum(lengths, dtype=np.int64)
        self._cache: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself: maps, views, caches."""
        return {**self.__dict__, "_cache": OrderedDict()}

    def gather(self, rows: NDArray[np.int64]) -> Rows:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, len(self))
        group = np.searchsorted(self._ends, rows, side="right")
        parts, order = [], np.argsort(group, kind="stable")
        for g in np.unique(group).tolist():
            inside = rows[order][group[order] == g] - (self._ends[g - 1] if g else 0)
            parts.append(self._group(g).take(inside))
        back = np.argsort(order, kind="stable")
        if self.column is not None:
            values = [_one_width(_numpy(part.column(self.column)), self.column) for part in parts]
            return _one_width(np.concatenate(values) if values else np.empty(0), self.column)[back]
        try:
            found = [row for part in parts for row in part.to_pylist()]
        except UnicodeDecodeError as error:
            raise _damaged(
                self.files[0] if len(self.files) == 1 else self.files, f"text that is not UTF-8 ({error})"
            ) from None
        return [found[i] for i in back.tolist()]

    def _group(self, g: int) -> Any:
        """Return the table of a row group, read now or kept from before."""
        if g in self._cache:
            self._cache.move_to_end(g)
        else:
            number, group = self._groups[g]
            with open_parquet(self.files[number]) as file:
                read = without_views(file.read_row_group(group, columns=self.columns))
            if len(read) != (wanted := int(np.diff(self._ends, prepend=0)[g])):
                raise _damaged(self.files[number], f"{len(read)} rows in a row group that should have {wanted}")
            self._cache[g] = read
            while len(self._cache) > self.keep:
                self._cache.popitem(last=False)
        return self._cache[g]

    def _content(self) -> bytes:
        return repr(self.columns).encode() + b"".join(file_sample(file) for file in self.files)

    @cached_property
    def layout(self) -> dict[str, str]:
        """The kind of each column, where rows are dicts; else what a row is, see Source."""
        if self.column is not None:
            return super().layout
        _, schema = _parquet_metadata(self.files[0])
        return _kinds(schema, self.columns or schema.names)

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        g = min(int(np.searchsorted(self._ends, row, side="right")), len(self._groups) - 1)
        number, group = self._groups[g]
        return f"{self.files[number]}, row group {group}"


def members(path: Paths, kinds: tuple[str, ...]) -> list[Path]:
    """Return the files of a path, a folder, a pattern or a list of them; InputError if there is none."""
    files = list_files(path, kinds).files
    if not files:
        raise InputError(f"{path}: there should be a {' or '.join(kinds)} file, found none")
    return list(files)


def load_saved(path: Path | str, extra: str = "stream") -> Any:
    """
    Return the data set, or the splits of one, in a folder that `datasets.save_to_disk` wrote.

    Raises
    ------
    InputError
        A file is only a pointer, or the folder does not open.
    MissingExtraError
        `datasets` is not installed; it comes with `extra`.
    """
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", extra) from None
    for folder in (Path(path), *(split for split in Path(path).glob("*/") if split.is_dir())):
        refuse_pointers_in(folder)
    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # of every kind
        raise InputError(
            f"{path}: there should be a folder of datasets.save_to_disk, found one that does not open ({error})"
        ) from None


def _damaged(path: Any, found: str) -> InputError:
    return InputError(f"{path}: this should be a whole parquet file, found {found}; copy it again")


def _parquet_metadata(path: Path) -> tuple[Any, Any]:
    """Return the metadata and the Arrow schema of a parquet file."""
    with open_parquet(path) as file:
        return file.metadata, file.schema_arrow


def _kinds(schema: Any, names: Iterable[str]) -> dict[str, str]:
    """Return what the values of each column are in Python, by name."""
    return {name: _kind(schema.field(name).type) for name in names}


def _kind(kind: Any) -> str:
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return f"lists of {_kind(kind.value_type)}"
    if types.is_dictionary(kind):
        return _kind(kind.value_type)
    known = {"whole numbers": types.is_integer, "numbers": types.is_floating, "truth values": types.is_boolean}
    texts = ("string", "large_string", "string_view")
    return next((name for name, is_it in known.items() if is_it(kind)), "texts" if str(kind) in texts else str(kind))


def _numpy(column: Any) -> NDArray[Any]:
    """Return a column of numbers, or of lists of numbers of one width, as an array."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_list(whole.type) or pa.types.is_large_list(whole.type) or pa.types.is_fixed_size_list(whole.type):
        values, m = whole.flatten().to_numpy(zero_copy_only=False), len(whole)
        widths = (
            np.unique(np.asarray(whole.value_lengths()))
            if not pa.types.is_fixed_size_list(whole.type)
            else [whole.type.list_size]
        )
        if len(widths) > 1:
            raise InputError(
                f"rows of one width are needed for an array, found {widths[0]} to {widths[-1]}; read dicts instead"
            )
        return values.reshape(m, int(widths[0])) if m else values.reshape(0, 0)
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def _one_width(values: Any, column: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.dtype == object:
        raise InputError(
            f"the column {column!r} should hold numbers of one width per row, found rows that differ; read dicts"
        )
    return array


def _table_sample(names: str, table: Any) -> bytes:
    text = json.dumps(
        {str(name): [repr(value)[:4096] for value in values] for name, values in table.items()}, sort_keys=True
    )
    return hashlib.sha256((names + text).encode()).digest()
