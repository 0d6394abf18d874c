"""Small files that unpack to more than the memory holds: refused after a part of it."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from mixwright.errors import InputError
from mixwright.files import csv_rows, packed, rows
from mixwright.files.csv_rows import open_csv
from mixwright.files.opening import read_text
from mixwright.files.rows import rows_of_file
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


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_many_short_lines_may_be_as_much_as_they_are(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    content = b'{"text": "' + b"a" * 1000 + b'"}\n'
    whole = content * 5000
    path.write_bytes(gzip.compress(whole) if suffix == ".gz" else pytest.importorskip("zstandard").compress(whole))
    assert sum(1 for _ in read_documents(path)) == 5000
