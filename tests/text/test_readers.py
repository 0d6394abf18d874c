import gzip
import json
import os
import shlex
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from mixwright.errors import InputError
from mixwright.text import Question, read_documents, read_questions

TEXTS = ["one", "two\nlines", "日本語", "x" * 300_000]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def pack(suffix, data):
    return {".gz": gzip.compress, ".zst": zstandard.compress, "": bytes}[suffix](data)


@pytest.fixture
def write(tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [".jsonl", ".json", ".ndjson"])
def test_json_lines(write, kind, suffix):
    path = write("a" + kind + suffix, pack(suffix, lines({"text": t} for t in TEXTS) + b"\n"))
    assert list(read_documents(path)) == TEXTS


def test_several_zst_frames(write):
    parts = [zstandard.compress(lines([{"text": t}])) for t in TEXTS]
    assert list(read_documents(write("a.jsonl.zst", b"".join(parts)))) == TEXTS


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_text_file_is_one_document(write, suffix):
    path = write("a.txt" + suffix, pack(suffix, "\ufeffça\nva".encode()))
    assert list(read_documents(path)) == ["ça\nva"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_text_is_split_by_lines_or_paragraphs(write, suffix):
    data = "\ufeff one\r\ntwo \n\n \t\n\nça\u2028va\nlast".encode()
    path = write("a.txt" + suffix, pack(suffix, data))
    by_line = read_documents(path, sample_by="line")
    assert list(by_line) == [" one", "two ", "ça\u2028va", "last"]
    assert by_line.empty == 3
    by_paragraph = read_documents(path, sample_by="paragraph")
    assert list(by_paragraph) == [" one\ntwo ", "ça\u2028va\nlast"]
    assert by_paragraph.empty == 0
    assert sorted(read_documents(path, sample_by="line", at_most=2)) != sorted(read_documents(path, at_most=2))


def test_splitting_text_says_what_is_wrong(write):
    path = write("a.txt", b"one\ntwo\nthr\xe9e")
    with pytest.raises(InputError, match=r"a\.txt, line 3: the text should be UTF-8"):
        list(read_documents(path, sample_by="line"))
    with pytest.raises(InputError, match="sample_by should be 'document', 'paragraph' or 'line', found 'word'"):
        read_documents(path, sample_by="word")
    with pytest.raises(InputError, match="sample_by is for files of text"):
        read_documents(write("a.jsonl", lines([{"text": "a"}])), sample_by="line")


def test_parquet(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"body": TEXTS, "n": range(4)}), tmp_path / "a.parquet")
    assert list(read_documents(tmp_path / "a.parquet", "body")) == TEXTS
    with pytest.raises(InputError, match=r"column 'text' is missing, found \['body', 'n'\]"):
        list(read_documents(tmp_path / "a.parquet"))
    with pytest.raises(InputError, match=r"row 1: the field 'n' should be a string, found a number"):
        list(read_documents(tmp_path / "a.parquet", "n"))


def test_folder_is_read_in_order_and_skips_hidden_files(write, tmp_path):
    write("d/b/two.py", b"2")
    write("d/a.txt", b"1")
    write("d/c.jsonl", lines([{"text": "3"}, {"text": "4"}]))
    write("d/.git/x.txt", b"no")
    write("d/.hidden.txt", b"no")
    found = read_documents(tmp_path / "d")
    assert list(found) == ["1", "3", "4"]
    assert found.notes == [
        "3 files or folders were left out: 2 hidden (.git, .hidden.txt); 1 of another kind (two.py); a pattern that "
        "names them, such as *.md, reads them"
    ]
    assert list(read_documents(tmp_path / "d" / "b")) == ["2"]


def test_empty_documents_are_left_out(write):
    assert list(read_documents(write("a.jsonl", lines([{"text": ""}, {"text": "a"}])))) == ["a"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"x", r"a.csv: the name should end in .*found '.csv'"),
        ("a", b"x", r"found 'no suffix'"),
        ("a.gz", b"x", r"the name should end in"),
        (
            "a.jsonl",
            b'{"text": "a"}\n\n{"text": "\xff"}\n',
            r"a.jsonl, line 3: the text should be UTF-8, found byte 0xff",
        ),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', r"line 2: .*bad JSON \(Expecting value at column"),
        ("a.jsonl", b'{"text": "a"}\n[]', r"line 2: each line should be one JSON object, found a list"),
        ("a.json", b'[{"text": "a"}, ["b"]]', r"item 2: each item should be one JSON object, found a list"),
        (
            "a.jsonl",
            b'{"question": "a", "choices": {}, "answerKey": "A"}',
            r"right field with field: NAME \(for questions: kind: questions\)",
        ),
        ("a.jsonl", b'{"b": 1, "a": 2}', r"line 1: the field 'text' is missing, found \['a', 'b'\]"),
        ("a.jsonl", b'{"text": null}', r"line 1: the field 'text' should be a string, found null"),
        ("a.jsonl", b'{"text": "\\ud800"}', r"line 1: .*half a surrogate pair"),
        ("a.jsonl", b"\n", r"at least one document, found none"),
        ("a.txt", b"", r"at least one document, found none"),
        ("a.txt", b"\xe9t\xe9", r"a.txt, line 1: the text should be UTF-8"),
        ("a.txt", b"one\ntwo\nthr\xe9e", r"a.txt, line 3: the text should be UTF-8, found byte 0xe9; save it"),
        ("a.jsonl", b'{"text": "a"}\n' + b"[" * 200_000, r"line 2: .*found bad JSON"),
        ("a.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}", r"line 1: .*found bad JSON"),
        ("a.jsonl.gz", gzip.compress(lines({"text": t * 9} for t in TEXTS))[:-9], r"a whole .gz file"),
        ("a.jsonl.gz", b"plain", r"a whole .gz file"),
        ("a.jsonl.zst", zstandard.compress(lines({"text": t} for t in TEXTS))[:-9], r"end of the last frame"),
        ("a.jsonl.zst", b"plain text", r"a whole .zst file"),
        ("a.parquet", b"no parquet", r"should be a parquet file"),
    ],
)
def test_bad_files(write, name, data, message):
    with pytest.raises(InputError, match=message):
        list(read_documents(write(name, data)))


def test_a_parquet_file_with_other_bytes_names_the_row(tmp_path):
    ends = pyarrow.array([*range(1502)], pyarrow.int32()).buffers()[1]
    text = pyarrow.py_buffer(b"a" * 1400 + b"\xff" + b"a" * 100)
    bad = pyarrow.Array.from_buffers(pyarrow.string(), 1501, [None, ends, text])
    pyarrow.parquet.write_table(pyarrow.table({"text": bad}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet, row 1401: the text should be UTF-8, found byte 0xff"):
        list(read_documents(tmp_path / "a.parquet"))


def test_missing_and_unknown_files_are_found_at_once(tmp_path):
    with pytest.raises(InputError, match="there should be a file or folder here, found nothing"):
        read_documents(tmp_path / "none.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="at least one document"):
        list(read_documents(tmp_path / "empty"))
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"picture.png, line 1: .*move it out of the folder"):
        list(read_documents(tmp_path / "binary"))


def test_a_folder_that_cannot_be_listed_is_not_left_out(write, tmp_path, monkeypatch):
    write("d/a.txt", b"1")
    write("d/closed/b.txt", b"2")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(InputError, match="closed: cannot read it: Permission denied"):
        read_documents(tmp_path / "d")


def test_a_path_below_a_closed_folder(tmp_path, monkeypatch):
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", closed)
    with pytest.raises(InputError, match=r"x\.jsonl: cannot read it: Permission denied"):
        read_documents(tmp_path / "x.jsonl")


def test_questions(write):
    row = {"question": "Who {x}?", "choices": ["a", "darwin"], "answer": 1}
    path = write("q.jsonl.gz", gzip.compress(lines([row])))
    (found,) = read_questions(path)
    assert (found.prompt, found.answer) == ("Question: Who {x}?\nAnswer:", " darwin")
    (found,) = read_questions(path, prompt="{question}\n")
    assert found.prompt == "Who {x}?\n"
    (found,) = read_questions(write("s.jsonl", lines([row | {"answer": 0, "choices": ["\ta"]}])))
    assert found.answer == "\ta"


def test_questions_from_parquet(tmp_path):
    table = pyarrow.table({"question": ["a"], "choices": [["x", "y"]], "answer": [0], "other": [1.5]})
    pyarrow.parquet.write_table(table, tmp_path / "q.parquet")
    assert [q.answer for q in read_questions(tmp_path / "q.parquet")] == [" x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, "line 1: 'answer' should be an index from 0 to 1, found 2"),
        ({"answer": -1}, "found -1"),
        ({"answer": "B"}, "found a string"),
        ({"answer": True}, "'answer' should be an index"),
        ({"choices": "ab"}, "'choices' should be a list of strings, found a string"),
        ({"choices": [1, 2]}, r"'choices\[0\]' should be a string, found a number"),
        ({"choices": ["", "b"]}, "the answer should not be empty"),
        ({"question": None}, "'question' should be a string, found null"),
    ],
)
def test_bad_questions(write, change, message):
    row = {"question": "q", "choices": ["a", "b"], "answer": 0} | change
    with pytest.raises(InputError, match=message):
        list(read_questions(write("q.jsonl", lines([row]))))


def test_bad_question_calls(write):
    with pytest.raises(InputError, match=r"should contain \{question\}"):
        read_questions(write("q.jsonl", b""), prompt="Q: {q}")
    with pytest.raises(InputError, match="JSON lines or parquet"):
        read_questions(write("q.txt", b""))
    with pytest.raises(InputError, match=r"'choices' is missing, found \['question'\]"):
        list(read_questions(write("r.jsonl", lines([{"question": "a"}]))))


def test_null_texts_are_an_error_or_left_out_with_a_count(write):
    path = write("a.jsonl", lines([{"text": "a"}, {"text": None}, {"text": ""}, {"text": None}, {"text": "b"}]))
    with pytest.raises(InputError, match=r"line 2: .*found null; give the text, or leave such rows out"):
        list(read_documents(path))
    found = read_documents(path, invalid="drop")
    assert list(found) == ["a", "b"]
    assert found.notes == ["1 text left out: empty", "2 texts left out: null"]
    with pytest.raises(InputError, match="should be 'error' or 'drop', found 'skip'"):
        read_documents(path, invalid="skip")


def test_a_sample_is_random_in_order_and_the_same_every_time(write, tmp_path):
    texts = [f"{i:04d}" for i in range(1000)]
    for part in range(4):
        write(f"d/{part}.jsonl", lines({"text": t} for t in texts[250 * part : 250 * part + 250]))
    found = list(read_documents(tmp_path / "d", at_most=200))
    assert len(found) == 200
    assert found == sorted(found)
    assert set(found) <= set(texts)
    assert found == list(read_documents(tmp_path / "d", at_most=200))
    per_file = [sum(text in texts[250 * part : 250 * part + 250] for text in found) for part in range(4)]
    assert min(per_file) > 25
    assert max(per_file) < 75
    assert list(read_documents(tmp_path / "d", at_most=2000)) == texts


def test_a_sample_follows_the_files(write):
    path = write("a.jsonl", lines({"text": t} for t in "abc"))
    assert len(list(read_documents(path, at_most=2))) == 2
    write("a.jsonl", lines({"text": t} for t in "d"))
    assert list(read_documents(path, at_most=2)) == ["d"]


def test_every_document_has_the_same_chance(monkeypatch):
    from mixwright.text import readers

    counts = [0] * 6
    for seed in range(3000):
        monkeypatch.setattr(readers, "_SEED", seed)
        for number in readers._sample(6, 2):
            counts[number] += 1
    assert max(abs(count - 1000) for count in counts) < 5 * (3000 * (1 / 3) * (2 / 3)) ** 0.5


HUB_ROW = {"question": "2 + 2?", "choices": {"text": ["three", "four"], "label": ["A", "B"]}, "answerKey": "B"}


def test_question_rows_of_the_hub(tmp_path):
    path = tmp_path / "arc.jsonl"
    path.write_text(json.dumps(HUB_ROW) + "\n", encoding="utf-8")
    expected = Question("Question: 2 + 2?\nAnswer:", " four", (" three",))
    assert list(read_questions(path)) == [expected]
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pytest.importorskip("pyarrow").Table.from_pylist([HUB_ROW | {"id": 7}]), tmp_path / "arc.parquet")
    assert list(read_questions(tmp_path / "arc.parquet")) == [expected]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answerKey": "C"}, r"line 1: 'answerKey' should be one of the labels \['A', 'B'\], found 'C'"),
        ({"answerKey": None}, "line 1: 'answer' should be an index from 0 to 1, found null"),
    ],
)
def test_question_rows_of_the_hub_that_have_no_answer(tmp_path, changes, said):
    path = tmp_path / "arc.jsonl"
    path.write_text(json.dumps(HUB_ROW | changes) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        list(read_questions(path))


def test_separated_values_are_refused_with_the_line_that_converts_them(tmp_path):
    folder = tmp_path / 'it\'s a "folder"'
    folder.mkdir()
    (folder / "a.csv").write_bytes(b'text,n\n"one, two",1\nthree,2\n')
    with pytest.raises(InputError, match=r"found '\.csv'; convert it: python -c") as caught:
        read_documents(folder / "a.csv")
    _, flag, code = shlex.split(str(caught.value).partition("convert it: ")[2])
    assert flag == "-c"
    exec(code)
    assert list(read_documents(folder / "a.jsonl")) == ["one, two", "three"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_wrong_field_says_which_key_names_it(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"body": ["one"]}), path)
    else:
        path.write_bytes(lines([{"body": "one"}]))
    with pytest.raises(InputError, match=r"found \['body'\]; name the right field with field: NAME"):
        list(read_documents(path))
