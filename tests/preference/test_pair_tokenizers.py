"""The tokenizers of `mixwright train` as ones of transformers; where a model and its tokenizer are."""

import json
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from pair_tokenizers import TEMPLATE, TEXTS, small_tokenizer

from mixwright.errors import InputError
from mixwright.preference.pairs.encode import encode_pairs
from mixwright.preference.pairs.pairs import read_pairs
from mixwright.preference.pairs.tokenizers import find_model, find_tokenizer, load_pair_tokenizer
from mixwright.text import byte_tokenizer, load_tokenizer, train_bpe

SAMPLES = [*TEXTS, "", " leading", "née œuvre 漢字 \U0001f600\n\ttab\x00"]


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_our_tokenizers_keep_their_ids_and_start_with_the_bos(kind: str, tmp_path: Path) -> None:
    own = byte_tokenizer() if kind == "bytes" else train_bpe(TEXTS * 3, 300)
    own.save(tmp_path / "tokenizer")
    loaded = load_pair_tokenizer(tmp_path)  # a run's folder
    assert len(loaded) == own.vocab_size
    for text, ids in zip(SAMPLES, own.encode(SAMPLES), strict=True):
        assert loaded(text)["input_ids"] == [own.bos, *ids.tolist()]
        assert loaded.decode(ids) == text
    assert loaded.bos_token_id == loaded.eos_token_id == loaded.pad_token_id == own.bos
    row = {"prompt": "What is it?", "chosen": " this", "rejected": " that"}
    encoded = encode_pairs(read_pairs([row], "a"), loaded)
    assert encoded.prompt(0)[0] == encoded.chosen(0)[-1] == encoded.rejected(0)[-1] == own.bos


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_what_is_saved_is_a_folder_that_other_tools_load(kind: str, tmp_path: Path) -> None:
    import transformers

    own = byte_tokenizer() if kind == "bytes" else train_bpe(TEXTS * 3, 300)
    own.save(tmp_path / "own")
    loaded = load_pair_tokenizer(tmp_path / "own", chat_template=TEMPLATE)
    loaded.save_pretrained(tmp_path / "model")
    transformers.LlamaConfig().save_pretrained(tmp_path / "model")  # its own kind of tokenizer is not taken
    found = transformers.AutoTokenizer.from_pretrained(str(tmp_path / "model"))
    again = load_pair_tokenizer(tmp_path / "model")
    for text in SAMPLES:
        assert found(text)["input_ids"] == again(text)["input_ids"] == loaded(text)["input_ids"]
    messages = [{"role": "user", "content": "Which?"}]
    assert found.apply_chat_template(messages, tokenize=False) == "<|user|>\nWhich?</s>\n"
    assert [ids.tolist() for ids in load_tokenizer(tmp_path / "model").encode(TEXTS)] == [
        ids.tolist() for ids in own.encode(TEXTS)
    ]


def test_a_tokenizer_of_transformers_keeps_its_tokens(tmp_path: Path) -> None:
    small_tokenizer(bos=True, template=TEMPLATE).save_pretrained(tmp_path)
    loaded = load_pair_tokenizer(tmp_path)
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<s>", "</s>", "<pad>")
    assert loaded.chat_template == TEMPLATE
    assert load_pair_tokenizer(tmp_path, "{{ messages }}").chat_template == "{{ messages }}"
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    for name, message in (("pad_token", None), ("eos_token", "EOS")):
        settings.pop(name)
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        if message is None:
            assert load_pair_tokenizer(tmp_path).pad_token == "</s>"
        else:
            with pytest.raises(InputError, match=message):
                load_pair_tokenizer(tmp_path)


def test_folders_without_a_model_or_a_tokenizer_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing; check the path"):
        find_model(tmp_path / "no")
    with pytest.raises(InputError, match="there should be a tokenizer here"):
        find_tokenizer(tmp_path)
    (tmp_path / ".mixwright-run").touch()
    with pytest.raises(InputError, match="the run is not finished: resume it first"):
        find_model(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"should be a whole model, found an adapter in .*model; merge it into its base"
    ):
        find_model(tmp_path)
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"model: there should be the weights of a model, found none"):
        find_model(tmp_path)
    (tmp_path / "model" / "pytorch_model.bin").write_text("weights")
    assert find_model(tmp_path) == find_model(tmp_path / "model") == tmp_path / "model"
    byte_tokenizer().save(tmp_path / "tokenizer")
    assert find_tokenizer(tmp_path) == find_tokenizer(tmp_path / "model") == tmp_path / "tokenizer"
    (tmp_path / "tokenizer" / "mixwright_tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        load_pair_tokenizer(tmp_path)
