"""Packed files, views in parquet, JSON lists of any size."""

import io
import json

import numpy as np
import pytest

from mixwright.errors import InputError
from mixwright.files.csv_rows import header, open_csv
from mixwright.files.packed import MEMORY
from mixwright.files.rows import placed_items
from mixwright.text import read_documents, read_questions

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
zstandard = pytest.importorskip("zstandard")


@pytest.fixture
def long_window(tmp_path):
    """Write a frame of zstd that says it needs a window of 2^log bytes."""

    def write(log: int):
        settings = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
        compressor = zstandard.ZstdCompressor(compression_params=settings).compressobj()
        text = b'{"text": "far"}\n' + b'{"text": "x"}\n'
        path = tmp_path / "a.jsonl.zst"
        path.write_bytes(compressor.compress(text) + compressor.flush())
        return path

    return write


@pytest.mark.parametrize("log", [27, 28, 31])
def test_long_windows_are_read(long_window, log):
    assert list(read_documents(long_window(log))) == ["far", "x"]


def test_the_memory_for_unpacking_can_be_limited(long_window, monkeypatch):
    path = long_window(30)
    monkeypatch.setenv(MEMORY, "512MB")
    with pytest.raises(InputError, match=rf"a\.jsonl\.zst: .* at most 512 MB, .* raise {MEMORY}"):
        list(read_documents(path))
    monkeypatch.setenv(MEMORY, "1GB")
    assert list(read_documents(path)) == ["far", "x"]
    monkeypatch.setenv(MEMORY, "much")
    with pytest.raises(InputError, match="should be a size such as 512MB or 2GB, found 'much'"):
        list(read_documents(path))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[1, 2", "the end of the file"),
        ('[{"a": "', "Unterminated string"),
        ("[1 2]", "'2' where ']' should be"),
        ("[1] [2]", "more after the end of the list"),
        ("[" * 100_000, "brackets in brackets|the end of the file|bad JSON"),
    ],
)
def test_lists_that_are_none(text, found, tmp_path):
    with pytest.raises(InputError, match=found):
        list(placed_items(io.BufferedReader(io.BytesIO(text.encode())), tmp_path))


def test_items_lie_where_they_are_said_to(tmp_path):
    rng = np.random.default_rng(0)
    items = [{"n": int(n), "text": 'é\n"\\' * int(n)} for n in rng.integers(0, 40_000, 30)] + [[], 1.5, "x", None, -3]
    for indent, ascii_only in ((None, True), (2, False)):
        text = b"\xef\xbb\xbf " + json.dumps(items, indent=indent, ensure_ascii=ascii_only).encode() + b"\n"
        found = list(placed_items(io.BufferedReader(io.BytesIO(text)), tmp_path))
        assert [json.loads(item) for _, item in found] == items
        assert all(text[start : start + len(item)] == item for start, item in found)


def test_views_are_read_by_every_reader(tmp_path):
    from mixwright.assays import read_assays
    from mixwright.preference.pairs.pairs import read_pairs
    from mixwright.search.table.imports import read_table
    from mixwright.stream import open_source

    view = pyarrow.string_view()
    chat = pyarrow.struct([("role", view), ("content", view)])
    columns = {
        "text": pyarrow.array(["a", "b" * 40], view),
        "document": pyarrow.array(["a", "b" * 40], view),
        "bytes": pyarrow.array([b"a", b"b" * 40], pyarrow.binary_view()),
        "prompt": pyarrow.array([{"role": "user", "content": t} for t in "ab"], chat),
        "web": pyarrow.array([-1.25, -2.5]),
        "active": pyarrow.array([0, 1]),
    }
    path = tmp_path / "a.parquet"

    def write(*names):
        parquet.write_table(pyarrow.table({name: columns[name] for name in names}), path)

    write("text", "bytes", "prompt")
    assert list(read_documents(path)) == ["a", "b" * 40]
    assert open_source(path).gather(np.array([1, 0, 1]))[0] == {
        "text": "b" * 40,
        "bytes": b"b" * 40,
        "prompt": {"role": "user", "content": "b"},
    }
    write("web", "document")
    assert read_table(path).documents.tolist() == [0, 1]
    write("text", "web", "active")
    table = read_assays(path, smiles=None, features=["web"], labels=["active"], molecule="text")
    assert [table.molecule_names[i] for i in table.molecules] == ["a", "b" * 40]
    choices = pyarrow.array([["x", "y" * 40]], pyarrow.list_(view))
    parquet.write_table(pyarrow.table({"question": ["a"], "choices": choices, "answer": [1]}), path)
    assert next(read_questions(path)).answer == " " + "y" * 40
    answers = {"chosen": pyarrow.array(["x"], view), "rejected": pyarrow.array(["y"], view)}
    parquet.write_table(pyarrow.table({"prompt": pyarrow.array(["a"], view), **answers}), path)
    assert read_pairs(path, "web").prompt == ("a",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "-21.2,-46.3\n-22.1,-40.9\n",
            "names of its columns in the first line, found numbers such as -21.2; add a line",
        ),
        (
            "CCO,0.0,1.0,\nCCN,1.0,,0.0\n",
            "names of its columns in the first line, found numbers such as 0.0; add a line",
        ),
        ("a;b\n-1;-2\n", "commas between its cells, found semicolons; write it with commas"),
        ("a\tb\n-1\t-2\n", "commas between its cells, found tabs"),
    ],
)
def test_a_first_line_without_names_or_commas(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says), open_csv(path) as rows:
        header(path, rows)
    path.write_text("smiles,0,1,0.5\nC,1,0,1\n")  # a data frame counts its columns
    with open_csv(path) as rows:
        assert header(path, rows) == ["smiles", "0", "1", "0.5"]
