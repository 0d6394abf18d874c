"""The readers of rows: what a row of their files looks like, and how the rows are read back."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

from mixwright.assays import read_assays  # noqa: E402
from mixwright.formats import read as read_mixture  # noqa: E402
from mixwright.preference.pairs.pairs import read_pairs  # noqa: E402
from mixwright.search.table.imports import read_table  # noqa: E402
from mixwright.stream import open_source  # noqa: E402
from mixwright.text import read_documents, read_questions  # noqa: E402

VALUES = ["a", "b", "ç"]


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
