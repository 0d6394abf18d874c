"""Tables from .csv and .parquet files."""

import builtins
import csv
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mixwright.errors import InputError, MissingExtraError
from mixwright.search.table.table import LikelihoodTable

GOOD = "web,document,books,weight,target\n-1.5,b,-2.5,1,quiz\n-inf,a,-1e6,0.5,prose\n-3,b,-4,2,quiz\n"


def text(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def parquet(tmp_path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet_files = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    parquet_files.write_table(pyarrow.table(columns), path)
    return path


def check_good(table):
    assert table.sources == ("web", "books")
    assert table.unit == "row"
    assert table.documents.tolist() == [0, 1, 0]
    assert table.weights.tolist() == [1, 0.5, 2]
    assert table.targets.tolist() == [0, 1, 0]
    assert table.target_names == ("quiz", "prose")
    assert table.block(0, 3).tolist() == [[-1.5, -2.5], [-np.inf, -1e6], [-3, -4]]
    assert len(table.data_fingerprint) == 16


@pytest.mark.parametrize("content", [GOOD, "\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), GOOD + "\n\n", GOOD[:-1]])
def test_csv(tmp_path, content):
    check_good(LikelihoodTable.from_file(text(tmp_path, content, "table.CSV")))


def test_parquet(tmp_path):
    columns = {
        "web": [-1.5, -np.inf, -3.0],
        "document": ["b", "a", "b"],
        "books": np.array([-2.5, -1e6, -4], np.float32),
    }
    columns |= {"weight": [1.0, 0.5, 2.0], "target": ["quiz", "prose", "quiz"]}
    check_good(LikelihoodTable.from_file(parquet(tmp_path, columns)))


def test_parquet_of_whole_numbers_and_categories(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    columns = {"web": [-1, -2], "document": [7, 7], "target": pyarrow.array(["x", "y"]).dictionary_encode()}
    table = LikelihoodTable.from_file(parquet(tmp_path, columns), sources=["web"])
    assert table.documents.tolist() == [0, 0]
    assert table.target_names == ("x", "y")
    assert table.block(0, 2).tolist() == [[-1], [-2]]


def test_likelihoods_alone(tmp_path):
    table = LikelihoodTable.from_file(text(tmp_path, 'web,"a, b"\n-1,-2.5\n-3.5,-4\n'))
    assert table.sources == ("web", "a, b")
    assert table.documents.tolist() == [0, 1]
    assert table.weights.tolist() == [1, 1]
    assert table.target_names == ("target",)


@given(
    values=hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(1, 4)), elements=st.floats(-1e9, 0)),
    names=st.lists(st.text(min_size=1).filter(str.strip), min_size=4, max_size=4, unique=True),
)
@settings(max_examples=40)
def test_csv_round_trip(tmp_path_factory, values, names):
    names = [name if name not in ("document", "weight", "target") else name + "_" for name in names]
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    sources = names[: values.shape[1]]
    with open(path, "w", newline="", encoding="utf-8-sig") as handle:
        csv.writer(handle).writerows([sources, *([repr(float(v)) for v in row] for row in values)])
    table = LikelihoodTable.from_file(path, sources=sources)
    assert table.sources == tuple(sources)
    assert table.block(0, table.n).tobytes() == values.tobytes()


def test_more_rows_than_are_read_at_a_time(tmp_path):
    values = -(np.arange(20_000.0) * 7 % 20_000) - 0.5
    path = text(tmp_path, "document,web\n" + "".join(f"{int(-v) // 3},{v}\n" for v in values))
    table = LikelihoodTable.from_file(path)
    np.testing.assert_array_equal(table.block(0, table.n)[:, 0], values)
    bad = text(tmp_path, path.read_text().replace(f",{values[12345]}\n", ",x\n"))
    with pytest.raises(InputError, match="'web', found 'x' at row 12345 "):
        LikelihoodTable.from_file(bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "should have a header and rows, found none"),
        ("web,books\n", "at least one row below the header"),
        ("document,weight\n1,1\n", "one column per source, found only document, weight"),
        ("web,web\n-1,-1\n", "different names, found 'web'"),
        ("web,\n-1,-1\n", "should have a name, found '' at position 1"),
        ("web,books\n-1,x\n", "numbers in column 'books', found 'x' at row 0"),
        ("web,books\n-1,-1\n-1,\n", "numbers in column 'books', found '' at row 1"),
        ("web,books\n-1\n", "2 cells in each row, found 1 at row 0"),
        ("web,books\n-1,-1\n-1,-1,-1\n", "2 cells in each row, found 3 at row 1"),
        ("web,books\n-1,-1\n\n-1,-1\n", "found an empty line at row 1"),
        ("web,document\n-1,\n", "a value for 'document' in each row, found none at row 0"),
        ("web,target\n-1, \n", "a value for 'target'"),
        ("web,weight\n-1,heavy\n", "numbers in column 'weight', found 'heavy'"),
        ("web,weight\n-1.5,-1\n", "table.csv: the weights of rows .*found -1.0 at row 0"),
        ("web,books\n-1,nan\n", "table.csv: .*found nan at row 0 .*'books'"),
        ("web,books\n-1,inf\n", "found inf at row 0"),
        ("web,books\n-inf,-inf\n", "row 0 .*-inf under every one"),
        (b"web,b\xff\n-1,-1\n", "text in UTF-8"),
        (b'web,books\n-1,"-1\n', "comma-separated"),
        (b"web;books\n-1;-1\n", "commas between its cells, found semicolons"),
    ],
)
def test_wrong_csv_is_explained(tmp_path, content, message):
    path = text(tmp_path, content)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        LikelihoodTable.from_file(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"web": ["a"]}, "numbers in column 'web', found string"),
        ({"web": [True]}, "numbers in column 'web', found bool"),
        ({"web": [-1.0, None]}, "a value for 'web' in each row, found none at row 1"),
        ({"web": [-1.0], "document": [1.5]}, "texts or whole numbers in column 'document'"),
        ({"web": [-1.0, -1.0], "document": ["a", None]}, "a value for 'document'"),
        ({"web": [[1.0]]}, "numbers in column 'web'"),
        ({"document": [1]}, "one column per source"),
        ({"web": np.zeros(0)}, "at least one row"),
        ({"web": [np.nan]}, "found nan at row 0"),
    ],
)
def test_wrong_parquet_is_explained(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        LikelihoodTable.from_file(parquet(tmp_path, columns))


def test_wrong_paths_are_explained(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        LikelihoodTable.from_file(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"end in \.csv or \.parquet, found '\.txt'"):
        LikelihoodTable.from_file(text(tmp_path, "web\n1\n", "table.txt"))
    with pytest.raises(InputError, match="found a folder"):
        LikelihoodTable.from_file(tmp_path)


@given(data=st.data())
@settings(max_examples=60)
def test_damaged_parquet_ends_in_one_error_or_none(tmp_path_factory, data):
    path = parquet(tmp_path_factory.mktemp("parquet"), {"web": [-1.0, -2.0], "document": ["a", "b"]})
    whole = path.read_bytes()
    damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    path.write_bytes(damaged)
    with pytest.raises(InputError):
        LikelihoodTable.from_file(path)
    assert path.read_bytes() == damaged


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
@settings(max_examples=100)
def test_changed_parquet_ends_in_a_table_or_one_error(tmp_path_factory, at, value):
    path = parquet(tmp_path_factory.mktemp("parquet"), {"web": [-1.0, -2.0], "document": ["a", "b"]})
    changed = bytearray(path.read_bytes())
    changed[at % len(changed)] = value
    path.write_bytes(changed)
    with suppress(InputError):
        LikelihoodTable.from_file(path).check()
    assert path.read_bytes() == changed


@given(content=st.text(alphabet='ab,\n\r"-1.0\0é ', max_size=60))
@settings(max_examples=150)
def test_any_csv_ends_in_a_table_or_one_error(tmp_path_factory, content):
    path = text(tmp_path_factory.mktemp("csv"), content)
    try:
        table = LikelihoodTable.from_file(path)
    except InputError:
        return
    assert np.isfinite(table.block(0, table.n)).all()


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    path = text(tmp_path, b"PAR1", "table.parquet")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"mixwright\[data\]"):
        LikelihoodTable.from_file(path)
