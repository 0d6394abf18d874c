"""Fine-tuning on chosen answers: what counts as the loss, and a training that was stopped."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

import torch
from pair_tokenizers import small_tokenizer
from tiny_pairs import write_model

from mixwright.errors import InputError
from mixwright.preference.fitting import FitSettings
from mixwright.preference.pairs.encode import EncodedPairs, encode_pairs
from mixwright.preference.pairs.pairs import read_pairs
from mixwright.preference.pairs.tokenizers import load_pair_tokenizer
from mixwright.preference.sft import AnswerRows, answer_losses, collate_answers, fine_tune, shares_of

ROWS = [{"prompt": f"{'Q' * (i % 5)} {i}:", "chosen": "ab" * (1 + i % 4), "rejected": f"x{i}"} for i in range(24)]


def load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EncodedPairs]:
    folder = write_model(tmp_path_factory.mktemp("sft") / "base")
    return folder, encode_pairs(read_pairs(ROWS, "a"), load_pair_tokenizer(folder), max_length=24)


def test_the_loss_is_that_of_the_answers_tokens_alone(start: Any) -> None:
    folder, encoded = start
    model = load(folder)
    found = answer_losses(model, encoded, batch_size=5)
    for i in (0, 3, 23):
        ids, begin = encoded.sequence(i, "chosen")
        with torch.no_grad():
            logits = model(input_ids=torch.tensor(ids[None].astype(np.int64))).logits[0].log_softmax(-1)
        by_hand = -sum(logits[t - 1, ids[t]].item() for t in range(begin, len(ids)))
        assert found.nats[i] == pytest.approx(by_hand, abs=1e-4)
        assert found.tokens[i] == len(encoded.chosen(i))
    batch = collate_answers(7)(AnswerRows(encoded).gather(np.arange(len(encoded))))
    assert model(**batch).loss.item() == pytest.approx(found.mean, abs=1e-5)
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 7).all()
    assert (batch["labels"] != -100).sum() == found.tokens.sum()


@pytest.mark.parametrize("adapter", [False, True])
def test_stopped_and_resumed_it_ends_with_the_same_model(adapter: bool, start: Any, tmp_path: Path) -> None:
    folder, encoded = start
    other = encode_pairs(read_pairs(ROWS[::-1], "b"), load_pair_tokenizer(folder))
    settings = FitSettings(steps=8, batch_size=4, accumulate=2, learning_rate=3e-3, checkpoint_seconds=1e-9)

    def model() -> Any:
        if not adapter:
            return load(folder)
        peft = pytest.importorskip("peft")
        torch.manual_seed(0)
        return peft.get_peft_model(load(folder), peft.LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.1))

    def trained(place: Path, stop: int = 8) -> dict[str, Any]:
        made = model()

        def progress(done: int, total: int) -> None:
            if done == stop and done < total:
                raise KeyboardInterrupt

        fine_tune(made, {"a": encoded, "b": other}, {"a": 0.75, "b": 0.25}, settings, place, pad=0, progress=progress)
        return {name: value.clone() for name, value in made.state_dict().items()}

    whole = trained(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", stop=5)
    kept = sorted((tmp_path / "stopped" / "checkpoints").glob("checkpoint-*"))
    assert [path.name for path in kept] == ["checkpoint-4"]
    torn = tmp_path / "stopped" / "checkpoints" / "checkpoint-5"  # as a kill leaves one
    shutil.copytree(kept[0], torn)
    (torn / "trainer_state.json").write_text('{"global_step":')
    resumed = trained(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "stopped")]
    assert lines[0] == lines[1]
    assert lines[0].count("\n") == 8
    first = model().state_dict()
    assert any(not torch.equal(first[name], whole[name]) for name in first)


def test_passes_are_in_bfloat16_where_it_is_asked_for(start: Any, tmp_path: Path) -> None:
    folder, encoded = start
    model, seen = load(folder), set()
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    settings = FitSettings(steps=1, batch_size=2, precision="bfloat16")
    fine_tune(model, {"a": encoded}, {"a": 1.0}, settings, tmp_path, pad=0)
    assert seen == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_loss_that_is_not_finite_names_the_source(start: Any, tmp_path: Path) -> None:
    folder, encoded = start
    model = load(folder)
    with torch.no_grad():
        model.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(InputError, match="'a'"):
        fine_tune(model, {"a": encoded}, {"a": 1.0}, FitSettings(steps=2, batch_size=2), tmp_path, pad=0)


def test_shares() -> None:
    sizes = {"a": 30, "b": 10}
    assert shares_of("natural", sizes) == {"a": 0.75, "b": 0.25}
    assert shares_of("uniform", sizes) == {"a": 0.5, "b": 0.5}
    assert shares_of({"b": 1.0, "a": 0.0}, sizes) == {"a": 0.0, "b": 1.0}
    with pytest.raises(InputError, match="'even'"):
        shares_of("even", sizes)


def test_rows_are_named_and_differ_by_content(start: Any) -> None:
    encoded = start[1]
    assert AnswerRows(encoded).where(3) == "row 4"
    other = encode_pairs(read_pairs(ROWS, "a"), small_tokenizer())
    assert AnswerRows(encoded).fingerprint != AnswerRows(other).fingerprint
