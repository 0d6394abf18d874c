"""Parquet files: opened with one error for all that can be wrong, and without types that pyarrow cannot handle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files.kinds import found_in
from mixwright.files.pointers import refuse_pointer


@contextmanager
def open_parquet(path: Path | str) -> Iterator[Any]:
    """
    Open a file as `pyarrow.parquet.ParquetFile`; what fails while it is open is an InputError too.

    Raises
    ------
    InputError
        The file is missing, damaged, a pointer, or not parquet.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("pyarrow", "data") from None
    refuse_pointer(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        found = _other(Path(path)) or str(error).splitlines()[0]
        raise InputError(
            f"{path}: this should be a parquet file, but reading it failed: {found}; copy it again"
        ) from None


def _other(path: Path) -> str | None:
    """Say what is wrong with a file that is not parquet, where its bytes tell."""
    try:
        with open(path, "rb") as handle:
            beginning = handle.read(16)
            handle.seek(max(path.stat().st_size - 4, 0))
            end = handle.read()
    except OSError:
        return None
    if beginning.startswith(b"PAR1"):
        return None if end == b"PAR1" else "its end is missing: it was cut off"
    found = found_in(beginning)
    return "it is empty" if not beginning else None if found is None else f"it is {found}"


def parquet_rows(
    path: Path, columns: Sequence[str] | None = None, advice: str = "name the right one"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Yield (number from 1, row) of a parquet file; `advice` is for columns that are missing.

    Raises
    ------
    InputError
        As `open_parquet`; a column is missing, or a text is not UTF-8 (its row is named).
    """
    with open_parquet(path) as file:
        check_columns(path, columns or (), file.schema_arrow.names, advice)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=None if columns is None else list(columns)):
            for row in _batch_rows(path, batch, number):
                number += 1
                yield number, row


def check_columns(
    where: Path | str, wanted: Sequence[str], found: Sequence[str], advice: str = "name the right one"
) -> None:
    """Raise InputError for a column that is missing."""
    for name in wanted:
        if name not in found:
            raise InputError(f"{where}: the column {name!r} is missing, found {list(found)}; {advice}")


def _batch_rows(path: Path, batch: Any, before: int) -> list[dict[str, Any]]:
    """Return the rows of a batch, which has `before` rows before it; name the row whose text is not UTF-8."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                batch.slice(i, 1).to_pylist()
            except UnicodeDecodeError as error:
                found = f"byte 0x{error.object[error.start]:02x}"
                where = f"{path}, row {before + i + 1}"
                raise InputError(f"{where}: the text should be UTF-8, found {found}; write the file again") from None
        raise


def without_views(table: Any) -> Any:
    """
    Return an Arrow table with plain texts and bytes where it has views, at any depth.

    Polars and DuckDB write `string_view` and `binary_view`; pyarrow reads them, and can neither take nor filter them.
    """
    import pyarrow as pa

    fields = [field.with_type(_without_views(field.type)) for field in table.schema]
    schema = pa.schema(fields, metadata=table.schema.metadata)
    return table if schema.equals(table.schema) else table.cast(schema)


def _without_views(kind: Any) -> Any:
    import pyarrow as pa

    plain = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(kind))
    if plain is not None:
        return plain
    if pa.types.is_struct(kind):
        return pa.struct([kind.field(i).with_type(_without_views(kind.field(i).type)) for i in range(kind.num_fields)])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = kind.value_field.with_type(_without_views(kind.value_type))
        if pa.types.is_fixed_size_list(kind):
            return pa.list_(inner, kind.list_size)
        return pa.list_(inner) if pa.types.is_list(kind) else pa.large_list(inner)
    if pa.types.is_map(kind):
        return pa.map_(_without_views(kind.key_type), _without_views(kind.item_type), kind.keys_sorted)
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    return kind
