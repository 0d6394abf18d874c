import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.text import byte_tokenizer, load_tokenizer, train_bpe

TEXTS = ["the cat sat on the mat", "the dog <|bos|> ate the cat", "émile 日本 \U0001f600 \t\n  x"] * 5


def bpe():
    return train_bpe(TEXTS, 300)


@given(st.text())
def test_bytes_are_bytes(text):
    tokenizer = byte_tokenizer()
    (ids,) = tokenizer.encode([text])
    assert bytes(ids.tolist()) == text.encode()
    assert tokenizer.decode([tokenizer.bos, *ids]) == text
    assert (tokenizer.vocab_size, tokenizer.bos) == (257, 256)


def test_bpe_is_lossless_deterministic_and_keeps_special_looking_text():
    tokenizer, again = bpe(), bpe()
    encoded = tokenizer.encode(TEXTS)
    assert [tokenizer.decode(ids) for ids in encoded] == TEXTS
    assert tokenizer.fingerprint == again.fingerprint
    assert tokenizer.fingerprint != train_bpe(TEXTS, 290).fingerprint
    assert all(tokenizer.bos not in ids and ids.max() < tokenizer.vocab_size for ids in encoded)
    assert tokenizer.vocab_size <= 300
    assert len(encoded[0]) < len(TEXTS[0])


@pytest.mark.parametrize("make", [byte_tokenizer, bpe])
def test_saved_and_loaded_is_the_same(make, tmp_path):
    tokenizer = make()
    tokenizer.save(tmp_path / "t")
    loaded = load_tokenizer(tmp_path / "t")
    assert (loaded.fingerprint, loaded.bos, loaded.vocab_size) == (
        tokenizer.fingerprint,
        tokenizer.bos,
        tokenizer.vocab_size,
    )
    for a, b in zip(tokenizer.encode(TEXTS), loaded.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_hugging_face_folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    bpe().save(tmp_path)
    (tmp_path / "mixwright_tokenizer.json").unlink()
    loaded = load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    assert loaded.bos == theirs.bos_token_id
    assert loaded.encode(TEXTS)[0].tolist() == theirs(TEXTS[0], add_special_tokens=False).input_ids
    assert loaded.bos not in loaded.encode(TEXTS)[1]
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": config["tokenizer_class"]}))
    with pytest.raises(InputError, match="a BOS or an EOS token, found neither"):
        load_tokenizer(tmp_path)


def test_bad_tokenizers(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        load_tokenizer(tmp_path / "none")
    with pytest.raises(InputError, match="loading it failed"):
        load_tokenizer(tmp_path)
    bpe().save(tmp_path / "a")
    (tmp_path / "a" / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_tokenizer(tmp_path / "a")
    bpe().save(tmp_path / "b")
    train_bpe(TEXTS, 280).save(tmp_path / "c")
    (tmp_path / "c" / "tokenizer.json").replace(tmp_path / "b" / "tokenizer.json")
    with pytest.raises(InputError, match="changed after it was saved"):
        load_tokenizer(tmp_path / "b")
    with pytest.raises(InputError, match="at least 257"):
        train_bpe(TEXTS, 256)
    with pytest.raises(InputError, match="at least one text"):
        train_bpe([], 300)
