"""Sources on disk that others wrote: Megatron, parquet, JSON lines, data sets of `datasets`."""

import gzip
import json
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.stream.gather import Sources
from mixwright.stream.sources.lines import JsonLines
from mixwright.stream.sources.megatron import MegatronRows, megatron_documents
from mixwright.stream.sources.opening import open_source
from mixwright.stream.sources.tables import ParquetRows

CODES = {"u1": 1, "i1": 2, "<i2": 3, "<i4": 4, "<i8": 5, "<u2": 8}


def rows(*numbers):
    return np.array(numbers, np.int64)


def write_megatron(prefix, sequences, dtype="<u2", documents=None, pointers=None):
    sizes = np.array([len(s) for s in sequences], "<i4")
    item = np.dtype(dtype).itemsize
    pointers = (np.cumsum(sizes) - sizes) * item if pointers is None else pointers
    documents = np.arange(len(sizes) + 1) if documents is None else documents
    with open(f"{prefix}.idx", "wb") as out:
        out.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, CODES[dtype], len(sizes), len(documents)))
        out.write(sizes.tobytes() + np.asarray(pointers, "<i8").tobytes() + np.asarray(documents, "<i8").tobytes())
    np.concatenate([np.asarray(s, dtype) for s in sequences]).tofile(f"{prefix}.bin")


@pytest.mark.parametrize("dtype", sorted(CODES))
def test_megatron_rows_are_the_sequences_end_to_end(tmp_path, dtype):
    write_megatron(tmp_path / "m", [[1, 2, 3], [4], [5, 6, 7, 8]], dtype, documents=[0, 2, 3])
    for name in ("m", "m.idx", "m.bin"):
        source = open_source(tmp_path / name, 4)
        assert isinstance(source, MegatronRows)
        assert source.gather(rows(1, 0)).tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
        assert source.gather(rows(0)).dtype == np.dtype(dtype)
    marked = MegatronRows(tmp_path / "m", 4, boundaries=True).gather(rows(0, 1))
    assert marked["document_ids"].tolist() == [[0] * 4, [1] * 4]
    padded = megatron_documents(tmp_path / "m", 6, pad=0).gather(rows(0, 1))
    assert padded["input_ids"].tolist() == [[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 0, 0]]


def test_megatron_files_that_do_not_fit_are_refused(tmp_path):
    prefix = tmp_path / "m"
    sequences = [[1, 2, 3], [4, 5]]

    def refused(message):
        with pytest.raises(InputError, match=message):
            open_source(prefix, 2)

    write_megatron(prefix, sequences)
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.bin").read_bytes()[:-3])
    refused(r"m\.bin.*10 bytes, found 7.*cut off")
    write_megatron(prefix, sequences)
    (tmp_path / "m.bin").write_bytes((tmp_path / "m.bin").read_bytes() + b"12")
    refused(r"m\.bin.*5 tokens")
    write_megatron(prefix, sequences)
    (tmp_path / "m.idx").write_bytes((tmp_path / "m.idx").read_bytes()[:-3])
    refused(r"m\.idx.*cut off")
    write_megatron(prefix, sequences, documents=[0, 1, 9])
    refused("index out of range")
    write_megatron(prefix, sequences, pointers=[0, 900])
    refused("out of range is|out of range")
    write_megatron(prefix, sequences, pointers=[4, 0])
    refused("one after the other")
    write_megatron(prefix, sequences, pointers=[-6, 0])
    refused("index out of range")
    (tmp_path / "m.idx").write_bytes(b"something else")
    refused("MMIDIDX")
    (tmp_path / "m.idx").write_bytes(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 6, 0, 0))
    refused("dtype")
    (tmp_path / "m.idx").write_bytes(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 2, 4, 0, 0))
    refused("version")
    (tmp_path / "m.bin").unlink()
    refused(r"m\.bin.*no such file")


@given(st.lists(st.integers(0, 19), min_size=1, max_size=12), st.integers(1, 7), st.integers(1, 3))
@settings(max_examples=25)
def test_parquet_rows_come_in_the_order_asked(tmp_path_factory, picked, group, keep):
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("parquet")
    for part, numbers in enumerate((range(12), range(12, 20))):
        table = pa.table({"n": list(numbers), "ids": [[i, i + 1] for i in numbers]})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=group)
    source = open_source(folder, keep=keep)
    assert isinstance(source, ParquetRows)
    assert len(source) == 20
    assert source.gather(np.array(picked)) == [{"n": i, "ids": [i, i + 1]} for i in picked]
    assert ParquetRows(folder, column="ids").gather(np.array(picked)).tolist() == [[i, i + 1] for i in picked]
    assert ParquetRows(folder, columns=["n"]).gather(rows(19)) == [{"n": 19}]


def test_damaged_parquet_is_named(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": np.random.default_rng(0).random(1000)}), path, row_group_size=100, compression="NONE")
    with pytest.raises(InputError, match=r"a\.parquet.*'m'"):
        ParquetRows(path, columns=["m"])
    source = ParquetRows(path)
    assert "row group 2" in source.where(250)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:200])
    with pytest.raises(InputError, match=r"a\.parquet"):
        source.gather(rows(250))
    with pytest.raises(InputError, match=r"a\.parquet"):
        ParquetRows(path)


@given(
    st.lists(st.one_of(st.just(""), st.just("   "), st.integers(0, 9).map(lambda n: json.dumps({"n": n}))), max_size=9)
)
def test_json_lines_are_rows_and_blank_lines_are_not(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    for end in ("", "\n", "\r\n"):
        path.write_bytes((end or "\n").join(lines).encode() + end.encode())
        values = [json.loads(line) for line in lines if line.strip()]
        if not values:
            with pytest.raises(InputError, match="at least one row"):
                open_source(path)
            continue
        source = open_source(path)
        assert source.gather(np.arange(len(values))[::-1]) == values[::-1]
        assert JsonLines(path, field="n").gather(rows(0)) == [values[0]["n"]]


def test_bad_json_lines_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    source = open_source(path)
    with pytest.raises(InputError, match=r"a\.jsonl, line 3"):
        source.gather(rows(1))
    with pytest.raises(InputError, match=r"line 1.*field 'b'"):
        JsonLines(path, field="b").gather(rows(0))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as out:
        out.write("{}\n")
    with pytest.raises(InputError, match="unpack it"):
        open_source(tmp_path / "b.jsonl.gz")


def test_data_sets_of_datasets(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    made = datasets.Dataset.from_dict({"text": list("abcdef"), "ids": [[i, i] for i in range(6)]})
    made.save_to_disk(tmp_path / "saved")
    for what in (made, tmp_path / "saved"):
        source = open_source(what)
        assert [row["text"] for row in source.gather(rows(5, 0, 5))] == ["f", "a", "f"]
        assert open_source(what, column="ids").gather(rows(4, 1)).tolist() == [[4, 4], [1, 1]]
    assert open_source(made).fingerprint == open_source(tmp_path / "saved").fingerprint
    with pytest.raises(InputError, match="'other'"):
        open_source(made, column="other")
    with pytest.raises(InputError, match="streaming=False"):
        open_source(made.to_iterable_dataset())
    splits = datasets.DatasetDict({"train": made})
    splits.save_to_disk(tmp_path / "splits")
    with pytest.raises(InputError, match="DatasetDict of 1: 'train'; choose one"):
        open_source(splits)
    with pytest.raises(InputError, match="one split, found train; name one"):
        open_source(tmp_path / "splits")


def test_the_parts_of_a_source_of_a_search_are_named(tmp_path):
    from mixwright.text import byte_tokenizer, write_tokens

    for part in ("held_out", "train"):
        write_tokens(tmp_path / "web" / part, ["some text"] * 9, byte_tokenizer())
    with pytest.raises(InputError, match=r"one of its parts, found held_out, train; name one: .*/web/train$"):
        open_source(tmp_path / "web", 4)
    assert len(open_source(tmp_path / "web" / "train", 4))


def test_a_run_and_texts_in_place_of_tokens_are_named(tmp_path):
    from mixwright.text import byte_tokenizer, write_tokens

    run = tmp_path / "run"
    for name in ("web", "books"):
        write_tokens(run / "tokens" / name / "train", ["some text"] * 9, byte_tokenizer())
    (run / "metrics.jsonl").write_text('{"step": 0}\n')
    for folder in (run, run / "tokens"):
        with pytest.raises(InputError, match=rf"those of books, web; name one: {run}/tokens/books/train$"):
            open_source(folder, 4)
    (tmp_path / "texts").mkdir()
    text = tmp_path / "texts" / "web.txt"
    text.write_text("some text\n")
    for what in (text, text.parent, [text]):
        with pytest.raises(InputError, match=r"found text; tokenise it first: .* RUN/tokens/NAME/train .*write_tokens"):
            open_source(what, 4)


def test_columns_of_other_kinds_are_refused_before_the_first_step(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    import pyarrow.parquet as pq

    def written(name, **columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    a = written("a.parquet", n=pa.array([1, 2], "int32"), ids=[[1], [2]], text=pa.array(["x", "y"], "large_string"))
    b = datasets.Dataset.from_dict({"n": [1, 2], "ids": [[1, 2], [3, 4]], "text": ["x", "y"]})
    assert len(Sources({"a": a, "b": b})) == 2
    for other, message in (
        ({"n": [1.5]}, "whole numbers in 'n' in 'a' and numbers in 'n' in 'c'"),
        ({"ids": [["x"]]}, "lists of whole numbers in 'ids' in 'a' and lists of texts in 'ids' in 'c'"),
        ({"text": [True]}, "texts in 'text' in 'a' and truth values"),
    ):
        for c in (written("c.parquet", **other), datasets.Dataset.from_dict(other)):
            with pytest.raises(InputError, match=message):
                Sources({"a": a, "c": c})


def test_a_file_that_is_not_json_lines_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1,\n"b": 2}')
    with pytest.raises(InputError, match=r"the source 'a', row 0: .*a\.json, line 1: there should be one JSON value"):
        Sources({"a": tmp_path / "a.json"})


@pytest.mark.parametrize("change", ["content", "length"])
def test_fingerprints_know_content_and_length_not_time(tmp_path, change):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"n": {i}}}\n' for i in range(50)))
    first = open_source(path).fingerprint
    path.touch()
    assert open_source(path).fingerprint == first
    path.write_text("".join(f'{{"n": {i + (change == "content")}}}\n' for i in range(50 + (change == "length"))))
    assert open_source(path).fingerprint != first


def test_a_folder_of_parquet_and_json_lines_is_read_whole(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="parquet needs pyarrow")
    import pyarrow.parquet as pq

    folder = tmp_path / "parts"
    (folder / "more" / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.parquet", "more/b.parquet")):
        pq.write_table(pa.table({"n": [10 * i + j for j in range(3)]}), folder / name)
    (folder / "more" / "deep" / "c.jsonl").write_text('{"n": 20}\n{"n": 21}\n')
    (folder / "dataset_infos.json").write_text('{"default": {}}')
    with pytest.warns(UserWarning, match=r"1 file or folder was left out: 1 of another kind \(dataset_infos.json\)"):
        source = open_source(folder)
    assert [row["n"] for row in source.gather(np.array([7, 0, 5, 6, 0]))] == [21, 0, 12, 20, 0]
    assert len(source) == 8
    assert source.where(7).endswith("c.jsonl, line 2")
    assert source.where(4).startswith(str(folder))
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint == source.fingerprint
    assert again.gather(np.array([7])) == [{"n": 21}]


def test_json_lists_and_lines_of_lists(tmp_path):
    rows = [{"a": i, "b": "é"} for i in range(5)]
    for name, text in (("a.json", json.dumps(rows)), ("b.jsonl", json.dumps(rows, indent=1, ensure_ascii=False))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert open_source(tmp_path / name).gather(np.array([4, 0])) == [rows[4], rows[0]]
    for name in ("c.jsonl", "d.json"):
        (tmp_path / name).write_text("[1, 2]\n[3, 4]\n")
        assert open_source(tmp_path / name).gather(np.array([1])) == [[3, 4]]
    (tmp_path / "e.jsonl").write_text(json.dumps(rows))
    assert open_source(tmp_path / "e.jsonl").gather(np.array([0])) == [rows]


def test_an_index_of_another_tool_does_not_make_it_megatron(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n' * 5)
    (tmp_path / "a.jsonl.idx").write_bytes(bytes(48))
    assert len(open_source(tmp_path / "a.jsonl")) == 5
    (tmp_path / "b.bin").write_bytes(bytes(20))
    (tmp_path / "b.idx").write_bytes(bytes(48))
    assert len(open_source(tmp_path / "b.bin", context=5, dtype="uint16")) == 2
    with pytest.raises(InputError, match="should begin with MMIDIDX"):
        open_source(tmp_path / "b.bin", context=5)


def test_long_blank_lines_are_no_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n' + " " * 200 + '\n\t\n   {"n": 2}\n')
    assert open_source(tmp_path / "a.jsonl").gather(np.arange(2)) == [{"n": 1}, {"n": 2}]
