"""The losses, gradients and reference log-probabilities of TRL's DPOTrainer, on its own batches."""

import inspect

import numpy as np
import pytest

trl = pytest.importorskip("trl", reason="trl is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")

from pairings import Logs, torch, transformers  # noqa: E402

from mixwright.preference.losses import (  # noqa: E402
    PairLoss,
    answer_log_probabilities,
    reference_log_probabilities,
    score_pairs,
)
from mixwright.preference.pairs.rows import PairBatch, PairRows, TokenPairs, collate_pairs, token_row  # noqa: E402
from mixwright.preference.trainer import PreferenceTrainer  # noqa: E402

NEAR = 1e-5
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = (
    "the river runs north and the boat is late",
    "no one can say why it rains today",
    "I would rather not tell you",
)


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<eos>", "<|user|>", "<|assistant|>", "<|end|>"]
    made.train_from_iterator(WORDS, trainers.BpeTrainer(vocab_size=310, special_tokens=special))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>")
    fast.chat_template = TEMPLATE
    return fast


def table(chat, n=12):
    rng = np.random.default_rng(3)

    def text(least, most):
        return " ".join(rng.choice(" ".join(WORDS).split(), rng.integers(least, most + 1)))

    found = []
    for _ in range(n):
        prompt, chosen, rejected = text(2, 6), " " + text(1, 12), " " + text(1, 12)
        if chat:
            roles = zip(("user", "assistant", "assistant"), (prompt, chosen, rejected), strict=True)
            prompt, chosen, rejected = ([{"role": role, "content": words}] for role, words in roles)
        found.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return datasets.Dataset.from_list(found)


def model(kind, vocabulary, seed=0):
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 128,
    }  # fmt: skip
    config = transformers.LlamaConfig if kind == "Llama" else transformers.GPTNeoXConfig
    made = transformers.AutoModelForCausalLM.from_config(config(**sizes))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return made


def dpo(folder, tokenizer, chat, kind="GPTNeoX", train=None, **settings):
    """Return TRL's trainer, with a reference of another seed than its model's, so that margins are not 0."""
    values = {
        "per_device_train_batch_size": 6, "report_to": [], "use_cpu": True, "bf16": False, "beta": 0.3,
        "gradient_checkpointing": False, "max_steps": 2, "disable_tqdm": True, "save_strategy": "no",
    } | settings  # fmt: skip
    return trl.DPOTrainer(
        model(kind, len(tokenizer)), model(kind, len(tokenizer), seed=1),
        trl.DPOConfig(output_dir=str(folder), **values), train_dataset=train or table(chat), processing_class=tokenizer,
    )  # fmt: skip


class CutAtTheStart:
    """Pairs whose two rows are cut at their start: each answer has its own part of the prompt before it."""

    def __init__(self, rows, max_length):
        self.rows, self.max_length, self.fingerprint = rows, max_length, "cut"

    def __len__(self):
        return len(self.rows)

    def sequence(self, i, side):
        whole = self.rows[i]["prompt_ids"] + self.rows[i][f"{side}_ids"]
        cut = max(0, len(whole) - self.max_length)
        return np.array(whole[cut:]), max(0, len(self.rows[i]["prompt_ids"]) - cut)

    def chosen(self, i):
        return self.rows[i]["chosen_ids"][-self.max_length :]

    def rejected(self, i):
        return self.rows[i]["rejected_ids"][-self.max_length :]


def encoded(trainer, max_length):
    """Return the tokens that TRL made of its rows, cut as its batches are."""
    rows = list(trainer.train_dataset)
    if trainer.args.truncation_mode == "keep_end":
        return CutAtTheStart(rows, max_length)
    room = [(max_length or 10**6) - len(row["prompt_ids"]) for row in rows]
    assert min(room) > 0
    answers = ([row[name][:r] for row, r in zip(rows, room, strict=True)] for name in ("chosen_ids", "rejected_ids"))
    return TokenPairs([row["prompt_ids"] for row in rows], *answers)


def theirs(trainer, inputs):
    """Return TRL's reference log-probabilities [b, 2] of a batch."""
    compute = trainer.compute_ref_log_probs
    wants_model = "model" in inspect.signature(compute).parameters  # since 1.12 or so
    found = compute(trainer.ref_model, inputs) if wants_model else compute(inputs)
    return torch.stack(tuple(found), 1)


@pytest.mark.parametrize(  # any two of the values meet
    ("max_length", "keep", "kind", "chat", "loss_type"),
    [
        (None, "keep_start", "GPTNeoX", False, "sigmoid"),
        (None, "keep_start", "Llama", True, "ipo"),
        (14, "keep_start", "GPTNeoX", True, "ipo"),
        (14, "keep_start", "Llama", False, "sigmoid"),
        (9, "keep_end", "GPTNeoX", False, "ipo"),
        (9, "keep_end", "Llama", True, "sigmoid"),
    ],
)
def test_loss_gradient_and_reference_are_trls(tmp_path, tokenizer, kind, chat, max_length, keep, loss_type):
    settings = {"max_length": max_length, "truncation_mode": keep, "loss_type": loss_type}
    trainer = dpo(tmp_path, tokenizer, chat, kind, **settings)
    pairs = encoded(trainer, max_length)
    lengths = [token_row(pairs, i).tokens for i in range(len(pairs))]
    assert max_length is None or lengths.count(max_length) >= 2, "some rows should be cut"
    inputs = trainer.data_collator(list(trainer.train_dataset))
    reference = reference_log_probabilities(trainer.ref_model, pairs, batch_size=5)
    np.testing.assert_allclose(reference, theirs(trainer, inputs).numpy(), rtol=NEAR, atol=NEAR)

    net = trainer.model.train()
    expected = trainer.compute_loss(net, inputs)
    gradient = torch.autograd.grad(expected, list(net.parameters()))
    rows = [PairRows(pairs, reference)[i] for i in range(len(pairs))]
    batch = PairBatch.of(rows, tokenizer.pad_token_id)
    width = batch.input_ids.shape[1]
    if keep == "keep_start" or inputs["input_ids"].shape[1] == width:  # before 1.0 TRL cuts after its collator
        assert torch.equal(batch.input_ids, inputs["input_ids"][:, :width])
    chosen, rejected = answer_log_probabilities(net, batch).unbind(1)
    found = PairLoss(loss_type, beta=0.3).of(chosen, rejected, torch.from_numpy(reference), batch.lengths)
    assert found.loss.std() > 1e-3
    torch.testing.assert_close(found.loss.mean(), expected, rtol=NEAR, atol=NEAR)
    for one, other in zip(torch.autograd.grad(found.loss.mean(), list(net.parameters())), gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=NEAR, atol=NEAR)
    scores = score_pairs(net, pairs, PairLoss(loss_type, beta=0.3), reference, batch_size=3)
    np.testing.assert_allclose(scores.loss, found.loss.detach().numpy(), rtol=1e-4, atol=NEAR)
    np.testing.assert_allclose(scores.margin, found.margin.detach().numpy(), rtol=1e-4, atol=NEAR)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_dpo_script_moves_over(tmp_path, tokenizer, accumulate):
    """Two steps on the same pairs as TRL's trainer takes: the same model."""
    settings = {
        "max_length": 14, "learning_rate": 1e-3, "logging_steps": 1, "per_device_train_batch_size": 12 // accumulate,
        "gradient_accumulation_steps": accumulate, "max_grad_norm": 0.5, "lr_scheduler_type": "constant",
    }  # fmt: skip
    trainer = dpo(tmp_path / "theirs", tokenizer, False, **settings)  # a step takes all pairs
    pairs = encoded(trainer, 14)
    rows = PairRows(pairs, reference_log_probabilities(trainer.ref_model, pairs))
    new = PreferenceTrainer(model("GPTNeoX", len(tokenizer)), trainer.args, {"all": rows}, "pooled")
    assert new.pair_loss == PairLoss("sigmoid", beta=0.3)
    logs = Logs()
    new.add_callback(logs)
    trainer.train()
    new.train()
    their_losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    np.testing.assert_allclose([line["loss"] for line in logs.lines if "loss" in line], their_losses, rtol=1e-4)
    accuracies = [line["rewards/accuracies"] for line in trainer.state.log_history if "loss" in line]
    np.testing.assert_allclose([line["mixture/accuracy/all"] for line in logs.lines if "loss" in line], accuracies)
    for one, other in zip(new.model.parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_simpo_is_that_of_trls_cpo(tmp_path, tokenizer):
    """Their formula: CPOTrainer is in trl.experimental, and moves."""
    pairs = encoded(dpo(tmp_path, tokenizer, True), None)
    net = model("Llama", len(tokenizer)).eval()
    batch = collate_pairs(0)([PairRows(pairs)[i] for i in range(len(pairs))])
    logits = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1].log_softmax(-1)
    mask = batch["completion_mask"][:, 1:]
    tokens = logits.gather(2, batch["input_ids"][:, 1:, None])[:, :, 0] * mask
    chosen, rejected = (tokens.sum(1) / mask.sum(1)).chunk(2)
    beta, gamma = 2.0, 0.8
    expected = -torch.nn.functional.logsigmoid(beta * (chosen - rejected - gamma / beta))
    found = score_pairs(net, pairs, PairLoss("simpo", beta=beta, gamma=gamma), batch_size=4)
    np.testing.assert_allclose(found.loss, expected.detach().numpy(), rtol=NEAR, atol=NEAR)
