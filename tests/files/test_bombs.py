"""Small files that unpack to more than the memory holds: refused after a part of it."""

import gzip
import io
import tracemalloc
import zipfile
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pytest

from mixwright.errors import InputError
from mixwright.files import csv_rows, packed, rows
from mixwright.files.csv_rows import open_csv
from mixwright.files.opening import load_arrays, read_text
from mixwright.files.rows import rows_of_file
from mixwright.preference.specialists import SpecialistCache
from mixwright.text import read_documents

MB = 1 << 20
READERS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "lines": ("a.jsonl", b"0", lambda path: list(rows_of_file(path))),
    "list": ("a.json", b"[" + b" " * 70_000 + b'"', lambda path: list(rows_of_file(path))),
    "documents": ("a.txt", b"0", lambda path: list(read_documents(path))),
    "text": ("a.yaml", b"0", read_text),
    "cells": ("a.csv", b"web,law\n", lambda path: read_cells(path)),
}


def read_cells(path: Path) -> object:
    with open_csv(path) as lines:
        return list(lines)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a line have 2 MB at most, not a GB."""
    for module, name in ((packed, "LONGEST"), (rows, "LONGEST"), (csv_rows, "_LONGEST")):
        monkeypatch.setattr(module, name, 2 * MB)


def pack(path: Path, start: bytes, size: int) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(start + b"0" * size))
    else:
        path.write_bytes(pytest.importorskip("zstandard").ZstdCompressor().compress(start + b"0" * size))
    return path


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", READERS)
def test_a_line_without_end_is_refused_before_it_fills_the_memory(name: str, suffix: str, tmp_path: Path) -> None:
    file, start, read = READERS[name]
    path = pack(tmp_path / (file + suffix), start, 40 * MB)
    assert path.stat().st_size < MB
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"{file}.*(more than|less than) 2,097,152.*; "):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 24 * MB
    finally:
        tracemalloc.stop()


def packed_arrays(path: Path) -> None:
    np.savez_compressed(path, about=np.array("{}"), losses=np.zeros(40 * MB, np.uint8))


def large_shape(path: Path) -> None:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": (40 * MB,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("losses.npy", buffer.getvalue() + b"0")


def same_part(path: Path) -> None:
    """Write an archive that says of 100 members that they are in the same part of the file."""
    np.savez(path, losses=np.zeros(MB, np.uint8))
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = archive.infolist()
        for n in range(99):
            other = copy(first)
            other.filename = other.orig_filename = f"{n}.npy"
            archive.filelist.append(other)
        archive._didModify = True


@pytest.mark.parametrize("make", [packed_arrays, large_shape, same_part])
def test_arrays_that_are_larger_than_their_file_are_refused_before_they_fill_the_memory(make, tmp_path, monkeypatch):
    make(path := tmp_path / "a.npz")
    with zipfile.ZipFile(path) as archive:
        assert "losses.npy" in archive.namelist()
    assert path.stat().st_size < 2 * MB
    store = SpecialistCache(tmp_path)
    monkeypatch.setattr(store, "_path", lambda kind, made_of: path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"larger than the file|in \d+ bytes"):
            load_arrays(path)
        assert store.get("losses", {}) is None  # they are made again
        assert tracemalloc.get_traced_memory()[1] < 4 * MB
    finally:
        tracemalloc.stop()


def test_arrays_are_read_as_they_were_written(tmp_path):
    written = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array("text"), "c": np.zeros((0, 4), np.float32)}
    np.savez(tmp_path / "a.npz", **written)
    found = load_arrays(tmp_path / "a.npz")
    assert list(found) == list(written)
    assert all(np.array_equal(found[name], array) for name, array in written.items())
    assert list(load_arrays(tmp_path / "a.npz", "b")) == ["b"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_many_short_lines_may_be_as_much_as_they_are(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    content = b'{"text": "' + b"a" * 1000 + b'"}\n'
    whole = content * 5000
    path.write_bytes(gzip.compress(whole) if suffix == ".gz" else pytest.importorskip("zstandard").compress(whole))
    assert sum(1 for _ in read_documents(path)) == 5000
