"""Merges: what peft makes of tensors and of adapters, and of whole models the same."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import merge_utils
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from mixwright.errors import InputError
from mixwright.preference.merges import KINDS, merge, merged_tensor

SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
NAMES = ("a", "b", "c")


def base_model(seed: int = 0):
    torch.manual_seed(seed)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, max_position_embeddings=32))


def moved(model, seed: int):
    """Change every parameter a little, as a fine-tune would."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("whole")
    base_model().save_pretrained(folder / "base")
    for seed, name in enumerate(NAMES, 1):
        moved(base_model(), seed).save_pretrained(folder / name)
    return folder / "base", {name: folder / name for name in NAMES}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, whole) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(NAMES, 1):
        model = get_peft_model(base_model(), LoraConfig(r=2, target_modules=["query_key_value", "dense"]))
        trained = (p for p in model.parameters() if p.requires_grad)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in trained:
                parameter += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder / name)
    return {name: folder / name for name in NAMES}


def test_what_wide_models_changed_is_not_rounded_to_a_narrow_base(tmp_path) -> None:
    base_model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    start = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    tuned = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter += 1e-5
    tuned.save_pretrained(tmp_path / "a")
    merge(tmp_path / "base", {"a": tmp_path / "a"}, "linear", tmp_path / "merged")
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    assert found.dtype == torch.float32
    for before, after in zip(start.parameters(), found.parameters(), strict=True):
        torch.testing.assert_close(after - before, torch.full_like(before, 1e-5), rtol=0.05, atol=1e-7)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 4), density=st.floats(0.05, 0.99), data=st.data())
def test_a_tensor_is_what_peft_makes_of_the_changes(seed, k, density, data) -> None:
    weights = data.draw(st.lists(st.floats(-1, 2), min_size=k, max_size=k))
    torch.manual_seed(seed)
    base, tuned = torch.randn(5, 7), [torch.randn(5, 7) for _ in range(k)]
    changes, factors = [t - base for t in tuned], torch.tensor(weights)
    draw = torch.Generator().manual_seed(seed)
    expected = {
        "linear": merge_utils.task_arithmetic(changes, factors),
        "ties": merge_utils.ties(changes, factors, density),
    }
    torch.manual_seed(seed)
    expected["dare"] = merge_utils.dare_linear(changes, factors, density)
    for kind in KINDS:
        made = merged_tensor(base, tuned, kind, weights, density, draw.manual_seed(seed))
        torch.testing.assert_close(made, base + expected[kind], atol=1e-5, rtol=1e-5)


def test_whole_models_every_tensor_and_the_seed_of_dare(whole, tmp_path) -> None:
    base, models = whole
    states = {name: AutoModelForCausalLM.from_pretrained(path).state_dict() for name, path in models.items()}
    start = AutoModelForCausalLM.from_pretrained(base).state_dict()
    given = {"a": 0.5, "b": 0.25, "c": 0.25}
    made = AutoModelForCausalLM.from_pretrained(merge(base, models, "linear", tmp_path / "linear", weights=given))
    for key, value in made.state_dict().items():
        expected = start[key] + sum(w * (states[n][key] - start[key]) for n, w in given.items())
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    one, same, other = (merge(base, models, "dare", tmp_path / f"dare{i}", seed=s) for i, s in enumerate((1, 1, 2)))
    files = [(folder / "model.safetensors").read_bytes() for folder in (one, same, other)]
    assert files[0] == files[1] != files[2]
    ties = AutoModelForCausalLM.from_pretrained(merge(base, models, "ties", tmp_path / "ties")).state_dict()
    key = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    changes = [states[name][key] - start[key] for name in NAMES]
    torch.testing.assert_close(ties[key] - start[key], merge_utils.ties(changes, torch.ones(3), 0.2), atol=1e-6, rtol=0)


def test_adapters_are_merged_by_peft(whole, adapters, tmp_path) -> None:
    base, _ = whole
    tokens = torch.arange(10)[None]
    made = merge(base, adapters, "linear", tmp_path / "linear")
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), made).merge_and_unload()
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    start = AutoModelForCausalLM.from_pretrained(base).state_dict()[name]
    changes = []
    for path in adapters.values():
        one = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), path).merge_and_unload()
        changes.append(one.state_dict()[name] - start)
    torch.testing.assert_close(merged.state_dict()[name] - start, sum(changes) / 3, atol=1e-6, rtol=1e-4)
    files = []
    for kind, seed in (("dare", 1), ("dare", 1), ("dare", 2), ("ties", 1)):
        folder = merge(base, adapters, kind, tmp_path / "other", seed=seed)
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
        assert torch.isfinite(loaded(tokens).logits).all()
        files.append((folder / "adapter_model.safetensors").read_bytes())
    assert files[0] == files[1] != files[2]
    assert not list(tmp_path.glob(".*"))


def test_models_that_were_untied_are_not_merged_into_a_tied_base(tmp_path) -> None:
    from mixwright.training.adapters import merge_adapter, with_adapter

    def tied() -> GPTNeoXForCausalLM:
        torch.manual_seed(0)
        return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, max_position_embeddings=32, tie_word_embeddings=True))

    tied().save_pretrained(tmp_path / "base")
    model = tied()
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    model = with_adapter(model, [head], rank=2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.1
    merge_adapter(model).save_pretrained(tmp_path / "a")
    moved(tied(), 1).save_pretrained(tmp_path / "b")
    assert merge(tmp_path / "base", {"b": tmp_path / "b"}, "linear", tmp_path / "merged").exists()
    models = {name: tmp_path / name for name in "ab"}
    with pytest.raises(InputError, match=r"the model a should have one weight for .*embed_in\.weight and "):
        merge(tmp_path / "base", models, "linear", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_merged_is_named(whole, adapters, tmp_path) -> None:
    base, models = whole
    with pytest.raises(InputError, match="one of linear, ties, dare, found 'slerp'"):
        merge(base, models, "slerp", tmp_path / "m")
    with pytest.raises(InputError, match="density of a merge should be above 0"):
        merge(base, models, "ties", tmp_path / "m", density=0.0)
    with pytest.raises(InputError, match="should name the models a, b, c, found a"):
        merge(base, models, "linear", tmp_path / "m", weights={"a": 1.0})
    with pytest.raises(InputError, match="the adapter a and the full model b"):
        merge(base, models | {"a": adapters["a"]}, "linear", tmp_path / "m")
    with pytest.raises(InputError, match=r"the model d should be a folder with config\.json"):
        merge(base, {"d": tmp_path / "nothing"}, "linear", tmp_path / "m")
    with pytest.raises(InputError, match="at least one model"):
        merge(base, {}, "linear", tmp_path / "m")
    GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES | {"vocab_size": 41})).save_pretrained(tmp_path / "wide")
    with pytest.raises(InputError, match=r"the model wide should have a tensor .* of shape \(40, 16\)"):
        merge(base, {"wide": tmp_path / "wide"}, "linear", tmp_path / "m")
    assert not (tmp_path / "m").exists()
