"""LoRA adapters: targets, merges into tied bases, and models that are read again after they are saved."""

import pytest
from pairings import torch, transformers

peft = pytest.importorskip("peft", reason="adapters need peft")

from pairings import token_pairs  # noqa: E402

from mixwright import InputError  # noqa: E402
from mixwright.preference import saving  # noqa: E402
from mixwright.preference.losses import log_probabilities  # noqa: E402
from mixwright.preference.saving import save_model  # noqa: E402
from mixwright.training.adapters import adapted_layers, adapter_notes, merge_adapter, with_adapter  # noqa: E402

LAYERS = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 24}
SIZES = {"vocab_size": 37, "hidden_size": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, **LAYERS}
GROUPED = {**SIZES, "num_key_value_heads": 1}
FAMILIES = {
    "gpt2": {"vocab_size": 37, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "bos_token_id": 1,
             "eos_token_id": 1},
    "gpt_neox": SIZES, "llama": GROUPED, "mistral": GROUPED, "qwen2": GROUPED, "qwen3": {**GROUPED, "head_dim": 8},
    "gemma": {**GROUPED, "head_dim": 8},
}  # fmt: skip
PAIRS = token_pairs(6)
TARGETS = ("input", "output", "both", "attention", "all-linear")
ATTENTION = {"gpt2": "c_attn", "gpt_neox": "query_key_value"}


class Tokenizer:
    def save_pretrained(self, folder):
        (folder / "tokenizer.txt").write_text("tokens")


def base(family="llama", tied=True):
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, tie_word_embeddings=tied, **FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    return model


def targets_of(model, kind):
    ends = {id(module): name.rpartition(".")[2] for name, module in model.named_modules()}
    first, last = ends[id(model.get_input_embeddings())], ends[id(model.get_output_embeddings())]
    attention = ATTENTION.get(model.config.model_type, "q_proj")
    return {"input": [first], "output": [last], "both": [first, last], "attention": [attention]}.get(kind, kind)


def tuned(model):
    """Change the adapter, or all parameters, as a training would."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not hasattr(model, "peft_config") or "lora_" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_model_that_is_saved_is_the_one_that_was_trained(tmp_path, family, tied):
    load = transformers.AutoModelForCausalLM.from_pretrained
    base(family, tied).save_pretrained(tmp_path / "base")
    whole = tuned(load(tmp_path / "base"))
    save_model(whole, Tokenizer(), tmp_path / "whole", [PAIRS])
    assert log_probabilities(load(tmp_path / "whole"), PAIRS) == pytest.approx(log_probabilities(whole, PAIRS))
    for kind in TARGETS:
        start = load(tmp_path / "base")
        model = tuned(with_adapter(start, targets_of(start, kind), rank=2))
        trained = log_probabilities(model, PAIRS)
        assert abs(trained - log_probabilities(load(tmp_path / "base"), PAIRS)).max() > 0.01
        save_model(model, Tokenizer(), tmp_path / "adapter", [PAIRS])
        again = peft.PeftModel.from_pretrained(load(tmp_path / "base"), tmp_path / "adapter")
        assert log_probabilities(again, PAIRS) == pytest.approx(trained, abs=1e-4)
        assert log_probabilities(model, PAIRS) == pytest.approx(trained, abs=1e-6)  # as before it was saved
        merged = save_model(model, Tokenizer(), tmp_path / "merged", [PAIRS], merge=True)
        for found in (merged, load(tmp_path / "merged"), merge_adapter(again)):
            assert log_probabilities(found, PAIRS) == pytest.approx(trained, abs=1e-4)
        split = tied and kind in ("input", "output", "both")
        assert merged.config.tie_word_embeddings == (tied and not split)


def test_a_saved_model_with_another_loss_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "merge_adapter", lambda model: model.merge_and_unload())  # what peft does
    save_model(base(), Tokenizer(), tmp_path / "model", [PAIRS])
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    model = tuned(with_adapter(base(), ["lm_head"], rank=2))
    with (
        pytest.warns(UserWarning, match="tie_word_embeddings"),
        pytest.raises(InputError, match=r"should have the loss of the trained one .* found"),
    ):
        save_model(model, Tokenizer(), tmp_path / "model", [PAIRS], merge=True)
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["q_proj", "v_porj"], r"found 'v_porj', which names none; did you mean 'v_proj'\?"),
        (["self_atn.q_proj"], r"found 'self_atn.q_proj', which names none; did you mean 'q_proj'\?"),
        (["xyz"], r"found 'xyz', which names none; it has down_proj, embed_tokens"),
        (r".*\.v_porj", r"did you mean 'v_proj'\?"),
        ("v_proj", "found 'v_proj', which names none"),  # one text is an expression for whole names
        (["norm"], "layers that LoRA can adapt"),
    ],
)
def test_a_target_that_names_no_layer_is_refused(targets, message):
    with pytest.raises(InputError, match=message):
        with_adapter(base(), targets)


def test_the_layers_that_were_adapted_are_listed():
    assert adapted_layers(with_adapter(base(), ["q_proj", "self_attn.v_proj", "lm_head"])) == {
        "lm_head": 1, "model.layers.*.self_attn.q_proj": 2, "model.layers.*.self_attn.v_proj": 2,
    }  # fmt: skip
    assert sum(adapted_layers(with_adapter(base("gpt2"), "all-linear")).values()) == 8
    assert adapted_layers(with_adapter(base(), r".*\.1\.mlp\.up_proj")) == {"model.layers.*.mlp.up_proj": 1}


def test_an_adapter_on_tied_layers_is_noted():
    assert "merge_adapter" in adapter_notes(with_adapter(base(), ["lm_head"]))[0]
    assert adapter_notes(with_adapter(base(), ["q_proj"])) == []
    assert adapter_notes(with_adapter(base(tied=False), ["lm_head"])) == []
