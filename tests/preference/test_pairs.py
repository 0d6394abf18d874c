"""Pairs out of files and data sets; a row that is no pair is an error that names it, or is dropped and counted."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.preference.pairs.pairs import read_pairs
from mixwright.preference.pairs.splits import Leak, leaked_prompts, split_pairs

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "pref"
ROW = {"prompt": "Which?", "chosen": "this", "rejected": "that"}
CHAT = {
    "prompt": [{"role": "user", "content": "Which?"}],
    "chosen": [{"role": "assistant", "content": "this"}],
    "rejected": [{"role": "assistant", "content": "that"}],
}


def rows(n: int, **more: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"Which {i}?", "chosen": f"a{i}", "rejected": f"b{i}", **more} for i in range(n)]


def write(path: Path, found: list[Any]) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in found)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zst":
        zstandard = pytest.importorskip("zstandard")
        path.write_bytes(zstandard.ZstdCompressor().compress(text.encode()))
    elif path.suffix == ".parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(found), path)
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.ndjson"])
@pytest.mark.parametrize("chat", [False, True])
def test_files_of_all_kinds_give_the_same_pairs(name: str, chat: bool, tmp_path: Path) -> None:
    given = [CHAT, {**CHAT, "chosen": [{"role": "assistant", "content": "those"}]}] if chat else rows(2, split="train")
    pairs, listed = read_pairs(write(tmp_path / name, given), "web"), read_pairs(given, "web")
    assert pairs.prompt == tuple(row["prompt"] for row in given) == listed.prompt
    assert pairs.chosen == tuple(row["chosen"] for row in given)
    assert pairs.rejected == tuple(row["rejected"] for row in given)
    assert pairs.is_chat is chat
    assert pairs.fingerprint == listed.fingerprint != read_pairs(given[:1], "web").fingerprint
    assert pairs.place(1) == f"{tmp_path / name}, {'row' if name.endswith('parquet') else 'line'} 2"
    assert pairs.columns == ({} if chat else {"split": ("train", "train")})


@pytest.mark.parametrize("chat", [False, True])
def test_data_sets_in_memory_and_on_disk(chat: bool, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows_ = [CHAT, CHAT] if chat else rows(2)
    made = datasets.Dataset.from_list(rows_)
    made.save_to_disk(tmp_path / "whole")
    assert read_pairs(made, "a").fingerprint == read_pairs(rows_, "a").fingerprint
    assert read_pairs(tmp_path / "whole", "a").fingerprint == read_pairs(rows_, "a").fingerprint
    datasets.DatasetDict(train=made, test=made.select([1])).save_to_disk(tmp_path / "parts")
    parts = read_pairs(tmp_path / "parts", "a")
    assert parts.columns["split"] == ("train", "train", "test")
    assert parts.place(2).endswith("parts, test, row 1")
    assert [len(part) for part in split_pairs(parts)] == [2, 1]
    with pytest.raises(InputError, match=r"source 'a'.*streaming=False"):
        read_pairs(made.to_iterable_dataset(), "a")


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    path = write(tmp_path / "web" / "a.jsonl", rows(3))
    for paths in ([path, path], [tmp_path / "web", str(path)], [tmp_path / "web" / "*.jsonl", path]):
        assert len(read_pairs(paths, "a")) == 3


def test_a_saved_data_set_of_pointers_names_the_command(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows(2))).save_to_disk(tmp_path / "parts")
    (arrow,) = (tmp_path / "parts" / "train").glob("*.arrow")
    arrow.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(InputError, match=r"only a pointer of Git LFS.* lfs pull"):
        read_pairs(tmp_path / "parts", "a")


def test_other_columns_filters_and_the_text_between(tmp_path: Path) -> None:
    given = [
        {"q": "one", "good": "1", "bad": "2", "task": "a"},
        {"q": "two", "good": "3", "bad": "4", "task": "b"},
        {"q": "three", "good": "5", "bad": "6", "task": "c", "extra": [1]},
        {"q": "four", "good": None, "bad": "6", "task": "d"},
    ]
    names = {"prompt": "q", "chosen": "good", "rejected": "bad", "join": "\n"}
    pairs = read_pairs(write(tmp_path / "a.jsonl", given), "a", **names, where={"task": ["b", "c"]})
    assert pairs.prompt == ("two\n", "three\n")
    assert pairs.columns == {"task": ("b", "c")}
    assert pairs.select([1]).place(0).endswith("line 3")
    assert pairs.select([False, True]).fingerprint == pairs.select([1]).fingerprint
    with pytest.raises(
        InputError, match=r"source 'a'.*at least one pair where.*'z'.*found none, task is 'a', 'b', 'c', 'd'"
    ):
        read_pairs(given, "a", **names, where={"task": "z"})
    with pytest.raises(InputError, match=r"row 1: there should be a column 'kind' \(where\), found 'q'"):
        read_pairs(given, "a", **names, where={"kind": "z"})


def test_a_prompt_within_the_answers_is_taken_out_as_trl_does() -> None:
    trl = pytest.importorskip("trl.data_utils")
    strings = [
        {"chosen": "Human: hi\n\nAssistant: good", "rejected": "Human: hi\n\nAssistant: bad"},
        {"chosen": "ab c", "rejected": "ab d"},
        {"chosen": "abc", "rejected": "abcd"},
    ]
    start = [{"role": "user", "content": "Which?"}]
    chats = [{side: start + CHAT[side] for side in ("chosen", "rejected")}]
    for found in (strings, chats):
        pairs = read_pairs(found, "a")
        for i, row in enumerate(found):
            wanted = trl.extract_prompt(row)
            assert (pairs.prompt[i], pairs.chosen[i], pairs.rejected[i]) == tuple(
                wanted[key] for key in ("prompt", "chosen", "rejected")
            )
    with_column = [{"prompt": "Which?", **chats[0]}]
    assert read_pairs(with_column, "a", prompt=None).prompt == (start,)
    with pytest.raises(InputError, match=r"strings or all messages.*prompt=None"):
        read_pairs(with_column, "a")
    with pytest.raises(InputError, match="should have a common start"):
        read_pairs([{"chosen": "a", "rejected": "b"}], "a")


BAD: list[tuple[Any, str]] = [
    ({"prompt": "Which?", "chosen": "this"}, "there should be a column 'rejected', found 'prompt', 'chosen'"),
    ({"chosen": "this", "rejected": "that"}, "there should be a column 'prompt'"),
    ({**ROW, "chosen": 3}, "'chosen' should be a string or a list of messages, found the number 3"),
    ({**ROW, "rejected": None}, "'rejected' should be a string or a list of messages, found null"),
    ({**ROW, "prompt": {"a": 1}}, "'prompt' should be a string or a list of messages, found an object"),
    ({**ROW, "chosen": ""}, "'chosen' should be an answer, found nothing"),
    ({**ROW, "rejected": " \n"}, "'rejected' should be an answer"),
    ({**ROW, "rejected": "this"}, "'chosen' and 'rejected' should differ"),
    ({**ROW, "chosen": CHAT["chosen"]}, "should be strings or all messages"),
    (CHAT, "this row should be of strings, like the rows before it, found messages"),
    ({**ROW, "prompt": "\ud800"}, "Unicode"),
    ({**CHAT, "chosen": []}, "'chosen' should have at least one message"),
    ({**CHAT, "chosen": [{"role": "assistant"}]}, r"chosen\[0\] should have 'content'"),
    ({**CHAT, "chosen": [{"role": "assistant", "content": [1]}]}, r"chosen\[0\]\['content'\] should be a string"),
    ({**CHAT, "chosen": ["hi"]}, r"chosen\[0\] should be a message"),
    ('{"prompt": "Which?"', "bad JSON"),
    ("[1]", "one JSON object"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_is_an_error_that_names_source_file_and_line(row: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [ROW, "", row, row])
    before = path.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        read_pairs(path, "web")
    assert str(caught.value).startswith(f"source 'web': {path}, line 3: ")
    assert "2 of 3 rows are not pairs" in str(caught.value)
    assert str(caught.value).endswith("or leave such rows out with invalid: drop (in Python: invalid='drop')")
    assert path.read_bytes() == before
    dropped = read_pairs(path, "web", invalid="drop")
    assert len(dropped) == 1
    assert dropped.notes[0].startswith("web: 2 of 3 rows are not pairs and were left out (")


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_messages_that_repeat_the_prompt_lose_it_there_and_are_counted() -> None:
    system, user = said("system", "be kind"), said("user", "how are you")
    fine, no = said("assistant", "fine"), said("assistant", "no")
    plain = {"prompt": [system, user], "chosen": [fine], "rejected": [no]}
    whole = plain | {"chosen": [system, user, fine], "rejected": [system, user, no]}
    bare = plain | {"chosen": [user, fine], "rejected": [no]}
    pairs = read_pairs([plain, whole, bare], "x")
    assert (set(map(len, pairs.chosen)), set(map(len, pairs.rejected))) == ({1}, {1})
    assert (pairs.chosen[2], pairs.rejected[1]) == ([fine], [no])
    assert pairs.fingerprint == read_pairs([plain] * 3, "x").fingerprint
    assert pairs.notes == ("x: in 2 of 3 pairs the answers repeat the prompt at their start; it was cut off there",)
    assert read_pairs([plain] * 3, "x").notes == ()


@pytest.mark.parametrize("prompt", ["What is 1+1? ", "What is 1+1?", "What is 1+1?\n"])
@pytest.mark.parametrize("join", ["", "\nA: "])
def test_strings_that_repeat_the_prompt_lose_it_there(prompt: str, join: str) -> None:
    space = "" if prompt[-1].isspace() or join else " "
    plain = {"prompt": prompt, "chosen": space + "It is 2.", "rejected": space + "It is 1."}
    before = prompt + join
    whole = plain | {side: before + plain[side] for side in ("chosen", "rejected")}
    pairs = read_pairs([whole] * 3, "x", join=join)
    assert pairs.fingerprint == read_pairs([plain] * 3, "x", join=join).fingerprint
    assert pairs.notes[0].startswith("x: in 3 of 3 pairs the answers repeat the prompt")
    if not join:
        trimmed = plain | {side: f"What is 1+1? {plain[side].strip()}" for side in ("chosen", "rejected")}
        assert read_pairs([trimmed], "x").chosen[0].strip() == "It is 2."


def test_strings_that_begin_like_their_prompt_by_chance_stay() -> None:
    plain = {"prompt": "Hi", "chosen": "Hi there!", "rejected": "Hi."}
    other = {"prompt": "Name a fruit.", "chosen": "An apple.", "rejected": "A car."}
    one = {"prompt": "Yes or no?", "chosen": "Yes or no? I say yes.", "rejected": "No."}  # of one answer alone
    pairs = read_pairs([plain, other, one, other], "x")
    assert (pairs.chosen[0], pairs.rejected[0], pairs.chosen[2]) == ("Hi there!", "Hi.", one["chosen"])
    assert pairs.notes == (
        "x: in 1 of 4 pairs both answers begin with the prompt; it was left there, as the others do not: if it stands "
        "twice, remove it",
    )
    assert read_pairs([other, one], "x").notes == ()
    assert read_pairs([{"prompt": "", "chosen": "a", "rejected": "b"}], "x").chosen == ("a",)


def test_columns_of_trl_that_are_not_used_are_named() -> None:
    pairs = read_pairs([{**ROW, "tools": ["a"], "images": []}, {**ROW, "chat_template_kwargs": {"a": 1}}], "web")
    assert pairs.notes == ("web: the columns chat_template_kwargs, tools are not used",)


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    for found in ([], [""]):
        with pytest.raises(InputError, match=r"source 'web': there should be at least one pair.*found none"):
            read_pairs(write(tmp_path / "a.jsonl", found), "web")
    with pytest.raises(InputError, match=r"found none among 1 rows \(empty answer: 1; the first is row 1"):
        read_pairs([{**ROW, "chosen": ""}], "web", invalid="drop")
    for what in (tmp_path / "no.jsonl", 3, {"prompt": ["a"]}):
        with pytest.raises(InputError, match="source 'web'"):
            read_pairs(what, "web")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}\n" * 1000)[:-9])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz.*whole"):
        read_pairs(tmp_path / "cut.jsonl.gz", "web", invalid="drop")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["role", "content"]), inner, max_size=2)
    ),
    max_leaves=4,
)
COLUMNS = st.sampled_from(["prompt", "chosen", "rejected", "split"])


@settings(max_examples=80)
@given(found=st.lists(st.dictionaries(COLUMNS, VALUES, max_size=4), min_size=1, max_size=3), at=st.integers(0, 3))
def test_whatever_rows_hold_they_are_pairs_or_an_error_that_names_one(found: list[Any], at: int) -> None:
    found = [*found[:at], ROW, *found[at:]]
    try:
        pairs = read_pairs(found, "web")
    except InputError as error:
        assert str(error).startswith("source 'web': row ")  # noqa: PT017
        return
    assert len(pairs) == len(found)
    for i in range(len(pairs)):
        assert (
            isinstance(pairs.prompt[i], str) == isinstance(pairs.chosen[i], str) == isinstance(pairs.rejected[i], str)
        )
        assert pairs.chosen[i] != pairs.rejected[i]
    assert all(len(part) for part in read_pairs(found, "web", invalid="drop").chosen)


@settings(max_examples=40)
@given(text=st.binary(max_size=40))
def test_whatever_bytes_a_line_holds_the_error_names_it(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b"\n" + text)
    try:
        read_pairs(path, "web")
    except InputError as error:
        assert str(error).startswith(f"source 'web': {path}, line ")  # noqa: PT017
    else:
        assert not text.strip()
    assert path.read_bytes().endswith(text)


def test_a_split_by_a_column_leaves_other_parts_out_and_says_so() -> None:
    given = [*rows(3, split="train"), *rows(2, split="test"), *rows(1, split="validation")]
    pairs = read_pairs(given, "a")
    train, test = split_pairs(pairs)
    assert (len(train), len(test)) == (3, 2)
    assert train.notes == ("a: rows of neither part are not used: 1 of 'validation'",)
    assert len(split_pairs(pairs, test=["test", "validation"])[1]) == 3
    with pytest.raises(InputError, match=r"'split' should have rows with 'dev' \(test\), found 'test', 'train'"):
        split_pairs(pairs, test="dev")
    with pytest.raises(InputError, match="a column 'part' to split by, found 'split'"):
        split_pairs(pairs, "part")
    with pytest.raises(InputError, match="train and test should differ"):
        split_pairs(pairs, test="train")


def test_a_split_by_hash_puts_no_prompt_in_both_parts_and_is_the_same_for_any_order() -> None:
    given = [{**row, "rejected": f"c{j}"} for row in rows(200) for j in range(2)]
    pairs = read_pairs(given, "a")
    train, test = split_pairs(pairs, None, 0.25)
    assert not set(train.prompt) & set(test.prompt)
    assert len(train) + len(test) == 400
    assert 60 < len(test) < 140
    back = split_pairs(pairs.select(range(399, -1, -1)), None, 0.25)[1]
    assert set(back.prompt) == set(test.prompt)
    assert leaked_prompts({"a": (train, test)}) == []
    with pytest.raises(InputError, match="at least one pair to hold out"):
        split_pairs(pairs.select([0]), None, 0.01)
    with pytest.raises(InputError, match="held_out should be between 0 and 1"):
        split_pairs(pairs, None, 1.0)


def test_prompts_that_are_trained_on_and_held_out_are_found_across_sources() -> None:
    one = read_pairs([{**ROW, "prompt": "What  is\nit?"}, {**ROW, "prompt": "other"}], "one")
    two = read_pairs([{**ROW, "prompt": "what is it?"}, {**ROW, "prompt": "what is it?", "chosen": "x"}], "two")
    chat = read_pairs([{**CHAT, "prompt": [{"role": "user", "content": "What is it?"}]}], "chat")
    found = leaked_prompts({"one": (one, None), "two": (None, two), "chat": (chat, chat)})
    assert found == [
        Leak("one", "two", 1, 2), Leak("chat", "two", 1, 2), Leak("one", "chat", 1, 1), Leak("chat", "chat", 1, 1),
    ]  # fmt: skip
    assert str(found[0]) == (
        "1 held-out prompt of two (2 pairs), also trained on in one: results there are too optimistic"
    )


def test_pairs_and_their_tokens_need_no_torch() -> None:
    code = "import sys; from mixwright.preference.pairs import encode, pairs, tokenizers as t; "
    code += "assert not {'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("code_bugs2fix", 24743),
        ("harmless_hh", 2303),
        ("helpful_llmbar_clean", 1486),
        ("honest_truthfulqa", 5913),
        ("persona_evals", 12000),
    ],
)
def test_real_pairs_are_read_split_and_encoded(name: str, count: int) -> None:
    from pair_tokenizers import small_tokenizer

    from mixwright.preference.pairs.encode import encode_pairs

    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    pairs = read_pairs(path, name)
    train, test = split_pairs(pairs)
    assert len(pairs) == len(train) + len(test) == count
    assert pairs.notes == ()
    encoded = encode_pairs(test, small_tokenizer(), max_length=512, long_prompts="truncate")
    assert len(encoded) + encoded.counts["equal"] == len(test)
    assert max(len(encoded.sequence(i, "chosen")[0]) for i in range(len(encoded))) <= 512
