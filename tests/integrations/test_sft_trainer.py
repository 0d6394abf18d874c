"""TRL's SFTTrainer on a mixture, where TRL is installed."""

import numpy as np
import pytest

trl = pytest.importorskip("trl", reason="trl is not installed")

from trainers import CONTEXT, NAMES, VOCABULARY, Everything, Steps, by_hand, model, torch, transformers  # noqa: E402

from mixwright import InputError  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.stream import TokenRows  # noqa: E402


def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = Tokenizer(WordLevel({"[PAD]": 0, **{f"w{i}": i for i in range(1, VOCABULARY)}}, unk_token="[PAD]"))
    words.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="w1")


def sft(folder, **settings):
    import datasets

    rng = np.random.default_rng(0)
    texts = [
        " ".join(f"w{j}" for j in rng.integers(1 + 9 * i, 10 + 9 * i, 4 + n % 3)) for i in range(3) for n in range(9)
    ]
    arguments = {
        "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2, "max_steps": 4, "logging_steps": 2,
        "save_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True, "loss_type": "nll", "bf16": False,
        "learning_rate": 0.0, "max_length": CONTEXT, "gradient_checkpointing": False,
    } | settings  # fmt: skip
    every = datasets.Dataset.from_dict({"text": texts})
    arguments = trl.SFTConfig(output_dir=str(folder), **arguments)
    return trl.SFTTrainer(model(), arguments, train_dataset=every, processing_class=tokenizer())


def test_its_rows_through_its_collator(tmp_path):
    trainer = sft(tmp_path)
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    callback = use_mixture(trainer, ready, Everything(rate=0.0), observe_every=2, collate="trainer")
    steps = Steps(callback)
    trainer.add_callback(steps)
    trainer.train()
    loss, counts, gram, variance = by_hand(trainer.model.eval(), steps.batches[-1:])
    seen = callback.observation
    np.testing.assert_allclose(seen.gram, gram, rtol=1e-4, atol=1e-4 * np.abs(gram).max())
    np.testing.assert_allclose(seen.grad_variance, variance, rtol=1e-4)
    loss, counts, *_ = by_hand(trainer.model, steps.batches[-2:])
    np.testing.assert_allclose(seen.loss, loss, rtol=1e-4)
    assert seen.counts.tolist() == counts.tolist()
    lines = [line for line in steps.logs if "loss" in line]
    assert {"mixture/loss/a", "mixture/weight/c", "mean_token_accuracy"} <= set(lines[-1])


def test_tokens_from_files_and_a_resume(tmp_path):
    def run(folder, resume=None):
        trainer = sft(folder, learning_rate=1e-2)
        tokens = {n: TokenRows(np.arange(80 * i, 80 * i + 80) % VOCABULARY, CONTEXT) for i, n in enumerate(NAMES)}
        callback = use_mixture(trainer, tokens, Everything(), observe_every=2, lag=1)
        trainer.train(resume_from_checkpoint=resume)
        return trainer, callback

    whole, first = run(tmp_path / "whole")
    again, second = run(tmp_path / "again", str(tmp_path / "whole" / "checkpoint-2"))
    assert first.observation.to_json() == second.observation.to_json()
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_without_logits_is_refused(tmp_path):
    trainer = sft(tmp_path)
    trainer.args.loss_type = "chunked_nll"
    with pytest.raises(InputError, match="'nll'"):
        use_mixture(trainer, {"a": TokenRows(np.arange(80), CONTEXT)}, [1.0])
