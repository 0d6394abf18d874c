"""The folder form of a table: what its files are called, how they are written, and how they are read and checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mixwright.checks import read_object, unique_names
from mixwright.errors import InputError
from mixwright.files import atomic_write, explain_write_error, file_fingerprint, write_json
from mixwright.files.claims import Claim
from mixwright.files.holder import alone
from mixwright.files.storage import is_shared
from mixwright.search.table.rows import RowInfo, row_info
from mixwright.search.table.stale import remove_stale, temporary_folder
from mixwright.version import __version__

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

SCHEMA = 2
HEADER = "table.json"
_ARRAYS: dict[str, np.dtype[Any]] = {
    "documents.npy": np.dtype("<i8"),
    "weights.npy": np.dtype("<f8"),
    "targets.npy": np.dtype("<i4"),
}
_AGAIN = "restore it from a copy, or delete the folder and make the table again"

Header = dict[str, Any]


def column_name(number: int) -> str:
    """Return the name of a finished column's file within the folder."""
    return f"columns/{number:04d}.f64"


def column_numbers(header: Header) -> list[int]:
    """Return the numbers [k] of the sources' files: 0, 1, ... until sources are added or removed."""
    return list(header.get("columns") or range(len(header["sources"])))


@contextmanager
def locked(folder: Path, moves: bool = False) -> Iterator[None]:
    """
    Let one process at a time change a folder, so that several score columns of one table; `moves`: its name.

    A lock is enough where one machine has the file system. On others it keeps the processes of a machine in order, and
    a claim does so for all: an NFS may refuse locks, or keep them to each machine without a word. A folder that moves
    has no claim, since nobody else knows it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        refused = not _flocked(descriptor)
        lost = f"another process took over {folder}, since this one stood still; try again"
        claimed = alone(Claim(folder / ".claims"), lost)
        with claimed if not moves and (refused or is_shared(folder)) else nullcontext():
            yield
    finally:
        os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    """Lock a folder; False where the file system refuses that, to everybody or to us now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def write_header(folder: Path, header: Header) -> None:
    """
    Write table.json atomically; the order in which columns were finished leaves no trace.

    Schema 1 has no numbers of files, and is written where there is no need of them: older versions read it.
    """
    numbers = column_numbers(header)
    counted = numbers == list(range(len(numbers)))
    header = {**header, "columns": numbers}
    if counted:
        del header["columns"]
    ordered = {name: dict(sorted(header[name].items())) for name in ("fingerprints", "checksums")}
    write_json(folder / HEADER, {**header, **ordered, "schema": 1 if counted else 2, "version": __version__})


def read_header(folder: Path) -> Header:
    """Return the checked content of table.json."""
    path = folder / HEADER
    header = read_object(path, "the header of a likelihood table", SCHEMA)

    def require(name: str, right: bool, what: str) -> None:
        if not right:
            raise InputError(
                f"{path} should have a field {name!r} with {what}, found {header.get(name)!r:.60}; {_AGAIN}"
            )

    rows = header.get("rows")
    require("rows", isinstance(rows, int) and not isinstance(rows, bool) and rows > 0, "the number of rows")
    for name in ("unit", "data_fingerprint"):
        require(name, isinstance(header.get(name), str), "a text")
    for name in ("fingerprints", "checksums"):
        texts = header.get(name)
        require(name, isinstance(texts, dict) and all(isinstance(v, str) for v in texts.values()), "texts by name")
    for name in ("sources", "target_names"):
        require(name, isinstance(header.get(name), list), "a list of names")
        try:
            unique_names(header[name], name)
        except InputError as error:
            raise InputError(f"{path} is damaged: {error}") from error
    numbers = header.get("columns")
    right = numbers is None or (
        isinstance(numbers, list)
        and len(numbers) == len(set(map(str, numbers))) == len(header["sources"])
        and all(isinstance(i, int) and not isinstance(i, bool) and i >= 0 for i in numbers)
    )
    require("columns", right, "a different number for the file of each source")
    require("densities", header.get("densities", False) in (False, True), "true or false")
    notes = header.get("notes", [])
    require("notes", isinstance(notes, list) and all(isinstance(note, str) for note in notes), "sentences")
    return header


def write_folder(path: Path, info: RowInfo, columns: Iterable[Iterable[npt.NDArray[Any]]] = ()) -> None:
    """
    Write a table's folder, complete or not at all; `columns` yields the blocks of each column.

    Raises InputError when something that is no empty folder is there already, or when it cannot be written.
    """
    require_free(path)
    temporary = temporary_folder(path)
    shutil.rmtree(temporary, ignore_errors=True)
    remove_stale(path)
    try:
        (temporary / "columns").mkdir(parents=True)
        with locked(temporary, moves=True):  # it is at work
            _write_files(temporary, info, columns)
            _rename(temporary, path)
    except OSError as error:
        raise explain_write_error(path, error) from error
    except InputError as error:  # it names the temporary folder, which the reader does not know
        raise InputError(str(error).replace(str(temporary), str(path))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_files(folder: Path, info: RowInfo, columns: Iterable[Iterable[npt.NDArray[Any]]]) -> None:
    """Write the files of a table, the header last."""
    arrays: tuple[npt.NDArray[Any], ...] = (info.documents, info.weights, info.targets)
    for (name, dtype), array in zip(_ARRAYS.items(), arrays, strict=True):
        _write_array(folder / name, array.astype(dtype))
    for i, blocks in enumerate(columns):
        with atomic_write(folder / column_name(i), "wb") as handle:
            for block in blocks:
                handle.write(np.ascontiguousarray(block, dtype="<f8").data)
    members = sorted(p for p in folder.rglob("*") if p.is_file())
    checksums = {member.relative_to(folder).as_posix(): file_fingerprint(member) for member in members}
    write_header(folder, _header(info, checksums))


def _rename(temporary: Path, path: Path) -> None:
    """Give the finished folder its name; it takes the place of an empty one."""
    try:
        temporary.rename(path)
    except OSError:
        require_free(path)  # another process was quicker
        raise


def _header(info: RowInfo, checksums: dict[str, str]) -> Header:
    return {
        "rows": len(info.documents),
        "sources": list(info.sources),
        "unit": info.unit,
        "target_names": list(info.target_names),
        "data_fingerprint": info.data_fingerprint,
        "fingerprints": info.fingerprints,
        "checksums": checksums,
        **({"densities": True} if info.densities else {}),
        **({"notes": list(info.notes)} if info.notes else {}),
    }


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a .npy file atomically (`numpy.save` does not report a full disk as one)."""
    with atomic_write(path, "wb") as handle:
        np.lib.format.write_array_header_1_0(handle, np.lib.format.header_data_from_array_1_0(array))
        handle.write(np.ascontiguousarray(array).data)


def require_free(path: Path) -> None:
    """Raise InputError unless nothing or an empty folder is at `path`."""
    try:
        free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise explain_write_error(path, error) from error
    if not free:
        raise InputError(
            f"a table needs a new or an empty folder, found something at {path}; choose another path or delete it"
        )


def is_table(path: Path) -> bool:
    """Return whether there is a table's header at `path`."""
    try:
        return (path / HEADER).is_file()
    except OSError:
        return False


def read_folder(path: Path) -> tuple[RowInfo, Header]:
    """Return what a table's folder says of its rows, with the sizes of all its files checked."""
    if path.is_file():
        raise InputError(
            f"{path} should be the folder of a likelihood table, found a file; read .parquet and .csv files with "
            "LikelihoodTable.from_file"
        )
    if not is_table(path):
        found = f"a folder without {HEADER}" if path.is_dir() else "no such folder"
        raise InputError(f"{path} should be the folder of a likelihood table, found {found}; check the path")
    header = read_header(path)
    n = header["rows"]
    documents, weights, targets = (_read_array(path / name, dtype, n) for name, dtype in _ARRAYS.items())
    try:
        info = row_info(
            sources=header["sources"],
            documents=documents,
            weights=weights,
            targets=targets,
            target_names=header["target_names"],
            unit=header["unit"],
            fingerprints=header["fingerprints"],
            data_fingerprint=header["data_fingerprint"],
            densities=header.get("densities", False),
            notes=header.get("notes", ()),
        )
    except InputError as error:
        raise InputError(f"the table {path} is damaged: {error}") from error
    for number, source in zip(column_numbers(header), info.sources, strict=True):
        _check_size(path, number, source, n, column_name(number) in header["checksums"])
    return info, header


def _read_array(path: Path, dtype: np.dtype[Any], n: int) -> npt.NDArray[Any]:
    """Return the n entries of a .npy file, read whole."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")
        array = np.array(mapped)
    except Exception as error:  # a damaged header can raise nearly anything
        raise InputError(f"cannot read {path} ({error}); it should hold {n} numbers: {_AGAIN}") from error
    if array.shape != (n,) or array.dtype != dtype:
        raise InputError(
            f"{path} should hold {n} numbers of type {dtype}, found {array.dtype} with shape {array.shape}; {_AGAIN}"
        )
    return array


def _check_size(folder: Path, number: int, source: str, n: int, recorded: bool) -> None:
    """Raise InputError unless the files of a column have sizes that they can have."""
    part, file = folder / f"{column_name(number)}.part", folder / column_name(number)
    size = _size(part)
    if size is not None and (size > 8 * n or (recorded and size < 8 * n)):
        wanted = f"{8 * n} bytes" if recorded else f"at most {8 * n} bytes"
        advice = _AGAIN if recorded else "delete it to score that source again"
        raise InputError(f"{part} (source {source!r}) should have {wanted} for {n} rows, found {size}; {advice}")
    size = _size(file)
    if recorded and not part.exists() and size != 8 * n:
        found = "no such file" if size is None else f"{size} bytes"
        raise InputError(f"{file} (source {source!r}) should have {8 * n} bytes for {n} rows, found {found}; {_AGAIN}")


def _size(path: Path) -> int | None:
    """Return the size of a file, None where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; check the folder") from error


def verify_checksums(folder: Path, finished: Callable[[int], bool]) -> None:
    """Compare each finished file with the checksum in table.json; raise InputError that names those that differ."""
    header = read_header(folder)
    names = [*_ARRAYS, *(column_name(number) for i, number in enumerate(column_numbers(header)) if finished(i))]
    try:
        damaged = [name for name in names if file_fingerprint(folder / name) != header["checksums"].get(name)]
    except OSError as error:
        raise InputError(f"cannot read the table {folder}: {error.strerror or error}; check the folder") from error
    if damaged:
        raise InputError(f"files of the table {folder} changed since they were written: {', '.join(damaged)}; {_AGAIN}")
