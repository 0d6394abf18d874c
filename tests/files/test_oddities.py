"""Every reader of files and the same twelve oddities, against one table of what comes of them."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from mixwright.assays import read_assays  # noqa: E402
from mixwright.errors import InputError  # noqa: E402
from mixwright.formats import read as read_mixture  # noqa: E402
from mixwright.preference.pairs.pairs import read_pairs  # noqa: E402
from mixwright.search.table.imports import read_table  # noqa: E402
from mixwright.stream import open_source  # noqa: E402
from mixwright.text import read_documents, read_questions  # noqa: E402

VALUES = ["a", "b", "ç"]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000000\n"


@dataclass(frozen=True)
class Reader:
    """
    A reader of files.

    Parameters
    ----------
    suffix
        Of its files.
    row
        The row of value number i; None in place of a value is a gap.
    read
        Returns what stands for the rows; `expected` returns it of the values.
    folders
        Whether a folder may be given.
    """

    suffix: str
    row: Callable[[int, str | None], dict[str, Any]]
    read: Callable[[Path], list[Any]]
    folders: bool = True
    expected: Callable[[list[str]], list[Any]] = list

    @property
    def is_text(self) -> bool:
        return self.suffix in (".jsonl", ".csv")

    def content(self, values: list[str | None]) -> bytes:
        rows = [self.row(i, value) for i, value in enumerate(values)]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        buffer = io.BytesIO()
        if self.suffix == ".parquet":
            parquet.write_table(pyarrow.table(columns), buffer)
        elif self.suffix == ".npy":
            np.save(buffer, np.array([len(value or "") for value in values], np.uint16))
        elif self.suffix == ".jsonl":
            buffer.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
        else:
            lines = [list(columns), *([*row.values()] for row in rows)]
            buffer.write("".join(",".join("" if c is None else str(c) for c in line) + "\n" for line in lines).encode())
        return buffer.getvalue()

    def write(self, path: Path, values: list[str | None] = VALUES) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content(values))
        return path


def stream_texts(path: Path) -> list[str]:
    source = open_source(path)
    return [row["text"] for row in source.gather(np.arange(len(source)))]


def assay_names(path: Path) -> list[str]:
    table = read_assays(path, smiles=None, features=["f"], labels=["active"], molecule="name")
    return [table.molecule_names[i] for i in table.molecules]


def logs(path: Path) -> list[float]:
    return read_table(path).numbers[:, 0].tolist()


def text_row(i: int, value: str | None) -> dict[str, Any]:
    return {"text": value}


def question_row(i: int, value: str | None) -> dict[str, Any]:
    return {"question": value, "choices": ["x", "y"], "answer": 0}


def pair_row(i: int, value: str | None) -> dict[str, Any]:
    return {"prompt": value, "chosen": "x", "rejected": "y"}


def assay_row(i: int, value: str | None) -> dict[str, Any]:
    return {"name": value or "b", "f": float(i), "active": None if value is None else i % 2}


def log_row(i: int, value: str | None) -> dict[str, Any]:
    return {"web": None if value is None else -(i + 1.25), "books": -(i + 1.5), "document": value or "b"}


def weight_row(i: int, value: str | None) -> dict[str, Any]:
    return {"source": value or "b", "weight": None if value is None else 0.25}


def expected_logs(values: list[str]) -> list[float]:
    return [-(i + 1.25) for i in range(len(values))]


def documents(path: Path) -> list[str]:
    return list(read_documents(path))


def questions(path: Path) -> list[str]:
    return [question.prompt for question in read_questions(path, prompt="{question}")]


def pairs(path: Path) -> list[Any]:
    return list(read_pairs(path, "web").prompt)


READERS = {
    "documents": Reader(".jsonl", text_row, documents),
    "documents of parquet": Reader(".parquet", text_row, documents),
    "questions": Reader(".jsonl", question_row, questions),
    "questions of parquet": Reader(".parquet", question_row, questions),
    "pairs": Reader(".jsonl", pair_row, pairs),
    "pairs of parquet": Reader(".parquet", pair_row, pairs),
    "stream": Reader(".jsonl", text_row, stream_texts),
    "stream of parquet": Reader(".parquet", text_row, stream_texts),
    "assays": Reader(".csv", assay_row, assay_names, False),
    "assays of parquet": Reader(".parquet", assay_row, assay_names, False),
    "likelihoods": Reader(".csv", log_row, logs, False, expected_logs),
    "likelihoods of parquet": Reader(".parquet", log_row, logs, False, expected_logs),
    "mixture": Reader(".csv", weight_row, lambda path: list(read_mixture(path).sources), False),
    "tokens": Reader(
        ".npy",
        text_row,
        lambda path: open_source(path, context=1).windows[:, 0].tolist(),
        False,
        lambda values: [len(value) for value in values],
    ),
}


# Each oddity writes files and returns the path to read and the values that are in it; None where it cannot be.
Written = tuple[Path, list[str]] | None


def bom(reader: Reader, folder: Path) -> Written:
    if not reader.is_text:
        return None
    path = reader.write(folder / f"a{reader.suffix}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    return path, VALUES


def crlf(reader: Reader, folder: Path) -> Written:
    if not reader.is_text:
        return None
    path = reader.write(folder / f"a{reader.suffix}")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return path, VALUES


def links(reader: Reader, folder: Path) -> Written:
    """A hub's cache: a link with a suffix to a file without one; for a folder, another link to the link's folder."""
    blob = reader.write(folder / "blobs" / "0f343b0931126a20")
    link = folder / "snapshots" / f"a{reader.suffix}"
    link.parent.mkdir()
    os.symlink(os.path.relpath(blob, link.parent), link)
    if not reader.folders:
        return link, VALUES
    (folder / "data").mkdir()
    os.symlink(link.parent, folder / "data" / "shard1")
    return folder / "data", VALUES


def pointer(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    path.write_bytes(POINTER)
    return path, []


def hidden(reader: Reader, folder: Path) -> Written:
    path = reader.write(folder / f"a{reader.suffix}")
    for name in (".b", "._a", ".cache/c"):
        reader.write(folder / f"{name}{reader.suffix}", ["hidden"])
    for name in ("~", ".tmp", ".bak"):
        reader.write(folder / f"a{reader.suffix}{name}", ["old"])
    (folder / "README.md").write_text("# About")
    return (folder if reader.folders else path), VALUES


def empty(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    path.write_bytes(b"")
    return path, []


def null(reader: Reader, folder: Path) -> Written:
    return reader.write(folder / f"a{reader.suffix}", ["a", None, "ç"]), ["a", "b", "ç"]


def a_list(reader: Reader, folder: Path) -> Written:
    if reader.suffix != ".jsonl":
        return None
    rows = [reader.row(i, value) for i, value in enumerate(VALUES)]
    (folder / "a.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    return folder / "a.json", VALUES


def nested(reader: Reader, folder: Path) -> Written:
    reader.write(folder / "data" / "0" / "deep" / f"a{reader.suffix}", VALUES[:1])
    reader.write(folder / "data" / f"b{reader.suffix}", VALUES[1:])
    return folder / "data", VALUES


def huge_row(reader: Reader, folder: Path) -> Written:
    if reader.suffix == ".npy":
        return None
    values = ["a", "b" * 20_000_000 if "csv" in reader.suffix else "b" * 3_000_000, "ç"]
    return reader.write(folder / f"a{reader.suffix}", values), values


def wrong_suffix(reader: Reader, folder: Path) -> Written:
    path = folder / f"a{reader.suffix}"
    if reader.suffix == ".parquet":
        path.write_bytes(b"\x1f\x8b" + b"0" * 100)
    else:
        parquet.write_table(pyarrow.table({"text": VALUES}), path)
    return path, []


def cut_off(reader: Reader, folder: Path) -> Written:
    path = reader.write(folder / f"a{reader.suffix}")
    whole = path.read_bytes()
    end = whole.rindex(b",") if reader.suffix == ".csv" else len(whole) - 3
    path.write_bytes(whole[:end])
    return path, []


READ = None  # or a pattern of the message
EXPECTED: dict[Callable[[Reader, Path], Written], str | None] = {
    bom: READ,
    crlf: READ,
    links: READ,
    pointer: r"a\.\w+: there should be data, found only a pointer of Git LFS, .*; run: git -C \S+ lfs pull",
    hidden: READ,
    empty: r"found none|it is empty|nothing but white space|No data left",
    null: r"(line|row|at row|weight of) '?[12b]",
    a_list: READ,
    nested: READ,
    huge_row: READ,
    wrong_suffix: r"found a parquet file|it is a gzip file",
    cut_off: r"bad JSON|one JSON value|cut off|greater than file size|cells|columns, got 2|a name and a weight",
}
OTHERWISE = {  # (reader, oddity): what the table does not say
    ("assays", null): READ,  # a label without a value is missing, as it should be
    ("assays of parquet", null): READ,
    ("stream", null): READ,  # rows are handed out as they are
    ("stream of parquet", null): READ,
    ("tokens", null): READ,
    **{(name, nested): "folder|cannot" for name, reader in READERS.items() if not reader.folders},
}


@pytest.mark.parametrize("oddity", EXPECTED, ids=lambda oddity: oddity.__name__)
@pytest.mark.parametrize("name", READERS)
def test_a_reader_and_an_oddity(name: str, oddity: Callable[[Reader, Path], Written], tmp_path: Path) -> None:
    reader, expected = READERS[name], OTHERWISE.get((name, oddity), EXPECTED[oddity])
    written = oddity(reader, tmp_path)
    if written is None:
        pytest.skip("this cannot be in a file of this kind")
    path, values = written
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    if expected is READ:
        found = reader.read(path)
        if oddity is null and name.startswith(("stream", "tokens")):
            values = ["a", "", "ç"] if name == "tokens" else ["a", None, "ç"]
        assert found == reader.expected(values)
    else:
        with pytest.raises(InputError, match=expected) as caught:
            reader.read(path)
        assert "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", READERS)
def test_the_plain_file_is_read(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    assert reader.read(reader.write(tmp_path / f"a{reader.suffix}")) == reader.expected(VALUES)
