import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.text import TokenPart, TokenStore, byte_tokenizer, is_held_out, write_tokens

TEXTS = ["hello", "a", "wörld" * 10]


def stream(texts):
    return [i for text in texts for i in (256, *text.encode())]


def test_documents_and_rows(tmp_path):
    store = write_tokens(tmp_path / "s", iter(TEXTS), byte_tokenizer(), {"source": "mine"})
    whole = stream(TEXTS)
    assert (store.documents, store.tokens, store.name, store.data.dtype) == (3, len(whole), "mine", np.dtype("uint16"))
    assert store.data.tolist() == whole
    assert [bytes(store.document(i).tolist()).decode() for i in range(3)] == TEXTS
    assert store.rows(4) == (len(whole) - 1) // 4
    for i in range(store.rows(4)):
        assert store.row(i, 4).tolist() == whole[4 * i : 4 * i + 5]
    assert store.gather(np.array([3, 0]), 4).tolist() == [whole[12:17], whole[0:5]]


def test_exactly_one_context_and_one_less(tmp_path):
    store = write_tokens(tmp_path / "s", ["abcd"], byte_tokenizer())
    assert store.rows(4) == 1
    assert store.row(0, 4).tolist() == [256, 97, 98, 99, 100]
    with pytest.raises(InputError, match=r"the source 's' should have at least 6 tokens .*, found 5 in"):
        store.rows(5)


def test_large_vocabulary_takes_32_bits(tmp_path):
    class Big:
        vocab_size, bos, fingerprint = 70_000, 69_999, "big"

        def encode(self, texts):
            return [np.array([65_999, 1], np.int32) for _ in texts]

    store = write_tokens(tmp_path / "s", ["x"], Big())
    assert store.data.tolist() == [69_999, 65_999, 1]


def test_fingerprint_names_the_content(tmp_path):
    a = write_tokens(tmp_path / "a", TEXTS, byte_tokenizer(), {"source": "a"})
    b = write_tokens(tmp_path / "b", TEXTS, byte_tokenizer(), {"source": "b"})
    c = write_tokens(tmp_path / "c", TEXTS[::-1], byte_tokenizer())
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert a.tokenizer_fingerprint == byte_tokenizer().fingerprint
    assert TokenStore.open(tmp_path / "a").fingerprint == a.fingerprint


def test_many_batches(tmp_path):
    texts = [f"{i}" * 50_000 for i in range(60)]
    store = write_tokens(tmp_path / "s", texts, byte_tokenizer())
    assert (store.documents, store.tokens) == (60, sum(map(len, texts)) + 60)
    assert bytes(store.document(59).tolist()).decode() == texts[59]


def test_a_failure_leaves_what_was_there(tmp_path):
    def failing():
        yield "x" * 2_000_000
        raise InputError("bad line")

    write_tokens(tmp_path / "s", TEXTS, byte_tokenizer())
    with pytest.raises(InputError, match="bad line"):
        write_tokens(tmp_path / "s", failing(), byte_tokenizer())
    assert TokenStore.open(tmp_path / "s").documents == 3
    with pytest.raises(InputError, match="at least one document"):
        write_tokens(tmp_path / "t", [], byte_tokenizer())
    assert [p.name for p in tmp_path.iterdir()] == ["s"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_tokens(tmp_path / "file" / "s", TEXTS, byte_tokenizer())


def test_damaged_stores(tmp_path):
    with pytest.raises(InputError, match="there should be tokens"):
        TokenStore.open(tmp_path / "none")
    folder = write_tokens(tmp_path / "s", TEXTS, byte_tokenizer()).folder
    tokens = (folder / "tokens.bin").read_bytes()
    (folder / "tokens.bin").write_bytes(tokens[:-1])
    with pytest.raises(InputError, match=rf"tokens.bin: there should be {len(tokens)} bytes, found {len(tokens) - 1}"):
        TokenStore.open(folder)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"schema": 99}))
    with pytest.raises(InputError, match="newer version"):
        TokenStore.open(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        TokenStore.open(folder)


@given(st.text(), st.text(max_size=3))
def test_held_out_is_a_function_of_the_content(text, salt):
    assert is_held_out(text, 0.5, salt) == is_held_out(text, 0.5, salt)
    assert not is_held_out(text, 0.0, salt)
    assert is_held_out(text, 1.0, salt)
    assert is_held_out(text, 0.7, salt) or not is_held_out(text, 0.3, salt)


def test_held_out_share_and_salt():
    first = [is_held_out(str(i), 0.2, "a") for i in range(5000)]
    second = [is_held_out(str(i), 0.2, "b") for i in range(5000)]
    assert 0.17 < np.mean(first) < 0.23
    assert np.mean(np.array(first) & np.array(second)) < 0.06


def test_a_part_has_the_rows_that_begin_in_its_documents(tmp_path):
    whole = write_tokens(tmp_path / "whole", ["abcde", "fgh", "ijklmnopq", "r"], byte_tokenizer())
    assert whole.offsets.tolist() == [0, 6, 10, 20, 22]  # a BOS before each
    first, rest = (TokenPart(name, whole, np.array(own), tmp_path) for name, own in (("a", [0, 2]), ("b", [1, 3])))
    # rows of 4 tokens begin at 0, 4 (in document 0), 8 (1), 12, 16 (2)
    assert first.rows_of_whole(4).tolist() == [0, 1, 3, 4]
    assert rest.rows_of_whole(4).tolist() == [2]
    assert (first.rows(4), first.documents, first.tokens, rest.tokens) == (4, 2, 16, 6)
    np.testing.assert_array_equal(first.document(1), whole.document(2))
    turned = first.laid_out(np.array([4, 3, 1, 0]))
    np.testing.assert_array_equal(turned.gather(np.array([0, 3]), 4), whole.gather(np.array([4, 0]), 4))
    assert turned.fingerprint == first.fingerprint != rest.fingerprint
