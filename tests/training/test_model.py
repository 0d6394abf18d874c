import json
from types import SimpleNamespace

import pytest
import torch

from mixwright.errors import InputError
from mixwright.training import model as model_module
from mixwright.training.model import build_model, training_flops

NEOX = {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_new_weights_depend_on_the_seed_alone(spec, tokenizer):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a = build_model(spec, tokenizer, 8, seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(a, build_model(spec, tokenizer, 8, seed=5))
    assert not same(a, build_model(spec, tokenizer, 8, seed=6))
    assert all(p.dtype == torch.float32 for p in a.parameters())


@pytest.mark.parametrize(
    "spec",
    [
        NEOX,
        {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2},
        {"model_type": "qwen2", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        {"model_type": "opt", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 32},
    ],
    ids=lambda spec: spec["model_type"],
)
def test_settings_follow_the_tokenizer_and_the_context(spec, tokenizer):
    config = build_model(spec, tokenizer, 24, 0).config
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (257, 256, 256)
    assert config.max_position_embeddings == 24
    assert not any(value for key, value in config.to_dict().items() if key.endswith(("_dropout", "pdrop")))


def test_given_fields_win(tokenizer):
    given = {"vocab_size": 320, "max_position_embeddings": 64, "hidden_dropout": 0.1, "intermediate_size": 20}
    config = build_model(NEOX | given, tokenizer, 24, 0).config
    assert {key: getattr(config, key) for key in given} == given


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "'model_type' should be a causal language model of transformers, found ''"),
        ({"model_type": "gptneox"}, "found 'gptneox'; did you mean 'gpt_neox'"),
        ({"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}, "later tokens"),
        (NEOX | {"hiden_size": 3}, "the model 'gpt_neox' has no field 'hiden_size'; did you mean 'hidden_size'"),
        (NEOX | {"num_attention_heads": 3}, "heads"),
        (NEOX | {"hidden_size": "x"}, "cannot be built: .*hidden_size"),
        (NEOX | {"hidden_act": "x"}, "cannot be built"),
        (NEOX | {"bos_token_id": 3}, "'bos_token_id' .* is set from the tokenizer; remove it"),
        (NEOX | {"max_position_embeddings": 16}, "reads at most 16 tokens at once, found a context of 24"),
        (NEOX | {"vocab_size": 100}, "a vocabulary of at least 257, found 100"),
        (
            {**NEOX, "model_type": "llama", "num_key_value_heads": 3},
            "multiple of its num_key_value_heads, found 2 and 3",
        ),
        ({"path": "none"}, "there should be a model .*, found no such folder; check the path"),
        ({"path": "none", "hidden_size": 3}, r"takes no other fields, found \['hidden_size'\]"),
    ],
)
def test_bad_specs(spec, message, tokenizer):
    with pytest.raises(InputError, match=message):
        build_model(spec, tokenizer, 24, 0)


def test_from_disk(spec, tokenizer, tmp_path):
    model = build_model(spec, tokenizer, 24, 0)
    model.to(torch.bfloat16).save_pretrained(tmp_path / "m")
    loaded = build_model({"path": tmp_path / "m"}, tokenizer, 24, 1)
    assert loaded.dtype == torch.float32
    assert same(model.float(), loaded)
    with pytest.raises(InputError, match="reads at most 24 tokens at once, found a context of 25"):
        build_model({"path": tmp_path / "m"}, tokenizer, 25, 0)


def test_damaged_checkpoints(tokenizer, tmp_path):
    from safetensors.torch import load_file, save_file

    build_model(NEOX, tokenizer, 24, 0).save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if "query_key_value" not in k}, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"should hold all weights, but .*query_key_value"):
        build_model({"path": tmp_path / "m"}, tokenizer, 24, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(InputError, match=r"found that model.safetensors is damaged or cut off; copy or save"):
        build_model({"path": tmp_path / "m"}, tokenizer, 24, 0)
    path.write_bytes(whole)
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(InputError, match=r"cannot be built: .*; copy or save the model again"):
        build_model({"path": tmp_path / "m"}, tokenizer, 24, 0)


def test_flops_count_what_is_multiplied(tokenizer):
    model = build_model(NEOX, tokenizer, 24, 0)
    everything = sum(p.numel() for p in model.parameters())
    assert training_flops(model, 10) == 6 * 10 * (everything - 257 * 16)
    tied = build_model(NEOX | {"tie_word_embeddings": True}, tokenizer, 24, 0)
    assert training_flops(tied, 10) == training_flops(model, 10)


def test_a_model_is_tried_where_it_is():
    class Elsewhere(torch.nn.Module):
        device = torch.device("meta")

        def forward(self, input_ids, use_cache):
            self.asked = input_ids.device
            return SimpleNamespace(logits=torch.zeros(2, 2, 3))

    model = Elsewhere()
    assert model_module._checked(model, {"path": "somewhere"}) is model
    assert model.asked == torch.device("meta")
