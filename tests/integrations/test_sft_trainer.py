"""TRL's SFTTrainer on a mixture, where TRL is installed."""

import numpy as np
import pytest

trl = pytest.importorskip("trl", reason="trl is not installed")

from trainers import (  # noqa: E402
    CONTEXT,
    NAMES,
    VOCABULARY,
    Everything,
    Steps,
    by_hand,
    excess_by_hand,
    model,
    reference_model,
    torch,
    transformers,
)
from weighted_on_a_rank import Gradients, weighted_gradient  # noqa: E402

from mixwright import AMAR, DoReMi, InputError  # noqa: E402
from mixwright.integrations.fused_head import Heard  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.stream import TokenRows  # noqa: E402


def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    vocabulary = {"[PAD]": 0, "[EOS]": 1, **{f"w{i}": i for i in range(2, VOCABULARY)}}
    words = Tokenizer(WordLevel(vocabulary, unk_token="[PAD]"))
    words.pre_tokenizer = Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", eos_token="[EOS]")


def sft(folder, **settings):
    import datasets

    rng = np.random.default_rng(0)
    texts = [
        " ".join(f"w{j}" for j in rng.integers(2 + 9 * i, 11 + 9 * i, 4 + n % 3)) for i in range(3) for n in range(9)
    ]
    arguments = {
        "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2, "max_steps": 4, "logging_steps": 2,
        "save_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True, "loss_type": "nll", "bf16": False,
        "learning_rate": 0.0, "max_length": CONTEXT, "gradient_checkpointing": False,
    } | settings  # fmt: skip
    peft_config = arguments.pop("peft_config", None)
    every = datasets.Dataset.from_dict({"text": texts})
    arguments = trl.SFTConfig(output_dir=str(folder), **arguments)
    return trl.SFTTrainer(
        model(), arguments, train_dataset=every, processing_class=tokenizer(), peft_config=peft_config
    )


def test_its_rows_through_its_collator(tmp_path):
    trainer = sft(tmp_path)
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    callback = use_mixture(trainer, ready, Everything(rate=0.0), observe_every=2, collate="trainer")
    steps = Steps(callback)
    trainer.add_callback(steps)
    trainer.train()
    assert len({tuple(row) for batch in steps.batches[0] for row in batch.inputs["input_ids"].tolist()}) == 12
    loss, counts, gram, variance = by_hand(trainer.model.eval(), steps.batches[-1:])
    seen = callback.observation
    np.testing.assert_allclose(seen.gram, gram, rtol=1e-4, atol=1e-4 * np.nanmax(np.abs(gram)))
    np.testing.assert_allclose(seen.grad_variance, variance, rtol=1e-4)
    loss, counts, *_ = by_hand(trainer.model, steps.batches[-2:])
    np.testing.assert_allclose(seen.loss, loss, rtol=1e-4)
    assert seen.counts.tolist() == counts.tolist()
    lines = [line for line in steps.logs if "loss" in line]
    assert {"mixture/loss/a", "mixture/weight/c", "mean_token_accuracy"} <= set(lines[-1])


def test_rows_that_are_weighted_have_the_gradient_of_the_weighted_objective(tmp_path):
    weights, drawn = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    trainer = sft(tmp_path, max_grad_norm=0.0, max_steps=2)
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    callback = use_mixture(trainer, ready, weights, sampling=drawn, collate="trainer")
    found = Gradients(callback)
    trainer.add_callback(found)
    trainer.train()
    for gradient, batches in zip(found.found, found.batches, strict=True):
        expected = weighted_gradient(trainer, batches, weights, drawn)
        assert float((gradient - expected).norm() / expected.norm()) < 1e-5  # the model is float32


@pytest.mark.parametrize(("strategy", "sampling"), [(AMAR(0.5), None), (DoReMi(), "uniform")], ids=str)
def test_excess_losses_move_weights_that_act_on_the_loss(tmp_path, strategy, sampling):
    trainer = sft(tmp_path, max_grad_norm=0.0)
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    measures = {"excess_loss": lambda model: np.array([0.8, 0.1, 0.0])}
    options = {"sampling": sampling, "measures": measures, "observe_every": 1, "lag": 1, "collate": "trainer"}
    callback = use_mixture(trainer, ready, strategy, **options)
    found = Gradients(callback)
    trainer.add_callback(found)
    trainer.train()
    uniform = np.full(3, 1 / 3)
    np.testing.assert_allclose([line.drawn for line in callback.loader.ledger().lines], uniform, atol=0.03)
    weights = callback.mixture.weights_for(3)
    assert weights[0] > weights[1] > weights[2]
    expected = weighted_gradient(trainer, found.batches[3], weights, uniform)
    assert float((found.found[3] - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(("strategy", "clip"), [(AMAR(0.5), "example"), (DoReMi(), "token")], ids=str)
def test_excess_over_a_reference_weights_the_loss(tmp_path, strategy, clip):
    trainer, path = sft(tmp_path, max_grad_norm=0.0), reference_model(tmp_path / "reference")
    tokenizer().save_pretrained(path)
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    options = {"sampling": "uniform", "reference": path, "observe_every": 1, "lag": 1, "collate": "trainer"}
    callback = use_mixture(trainer, ready, strategy, **options)
    found = Gradients(callback)
    trainer.add_callback(found)
    trainer.train()
    other = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    expected = excess_by_hand(trainer.model.eval(), other, found.batches[3], clip)
    np.testing.assert_allclose(callback.observation.excess_loss, expected, rtol=1e-5, atol=1e-6)
    weights = callback.mixture.weights_for(3)
    assert np.ptp(weights) > 0.01
    expected = weighted_gradient(trainer, found.batches[3], weights, np.full(3, 1 / 3))
    assert float((found.found[3] - expected).norm() / expected.norm()) < 1e-5


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


@pytest.mark.filterwarnings("error:`return_outputs=True`")
@pytest.mark.parametrize("statistics", [None, {"level": "example"}])
def test_it_costs_no_pass_more_and_the_loss_is_trls(tmp_path, statistics):
    trainer = sft(tmp_path)
    tokens = {n: TokenRows(np.arange(80 * i, 80 * i + 80) % VOCABULARY, CONTEXT) for i, n in enumerate(NAMES)}
    use_mixture(trainer, tokens, [0.5, 0.3, 0.2], observe_every=2, statistics=statistics)
    passes, losses, mixed = [], [], trainer.training_step
    trainer.model.get_submodule("transformer.h.0").register_forward_hook(lambda *_: passes.append(1))

    def both(net, inputs, items):
        expected = type(trainer).compute_loss(trainer, net, dict(inputs), num_items_in_batch=items)
        del passes[:]
        losses.append((float(expected.detach()), float(mixed(net, inputs, items))))
        assert len(passes) == 1
        return torch.tensor(losses[-1][1])

    trainer.training_step = both
    trainer.train()
    expected, found = zip(*losses, strict=True)
    sampled = [False, False, True, True] * 2 if statistics else [False] * 8
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for one, other, by_logits in zip(found, expected, sampled, strict=True):
        assert by_logits or one == other


def test_the_answer_by_logits_is_that_of_the_fused_head(tmp_path):
    net, ids = sft(tmp_path).model, torch.arange(24).view(3, 8)
    labels = torch.where(torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < 0.3, -100, ids)
    for asked in ({"labels": labels}, {"labels": None, "shift_labels": labels}):
        answers = [Heard(net, by_logits)(input_ids=ids, fused_lm_head=True, **asked) for by_logits in (False, True)]
        for name in ("log_probs", "entropy", "is_top1", "label_mask"):
            torch.testing.assert_close(getattr(answers[1], name), getattr(answers[0], name))
    with torch.no_grad():
        assert Heard(net, True)(input_ids=ids, labels=labels, fused_lm_head=True).loss is not None  # TRL's own


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_adapters_of_peft(tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    trainer = sft(tmp_path, peft_config=peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM"))
    ready = {name: trainer.train_dataset.select(range(9 * i, 9 * i + 9)) for i, name in enumerate(NAMES)}
    callback = use_mixture(trainer, ready, Everything(rate=0.0), observe_every=2, collate="trainer")
    steps = Steps(callback)
    trainer.add_callback(steps)
    trainer.train()
    *_, gram, variance = by_hand(trainer.model.eval(), steps.batches[-1:])
    np.testing.assert_allclose(callback.observation.gram, gram, rtol=1e-4, atol=1e-4 * np.nanmax(np.abs(gram)))
    np.testing.assert_allclose(callback.observation.grad_variance, variance, rtol=1e-4)
