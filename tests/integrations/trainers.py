"""Small Trainers on sources of padded rows, and what should come out, by hand."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

sys.path.append(str(Path(__file__).parents[1] / "gradients"))

from gradients_by_hand import by_pairs, row_gradients  # noqa: E402

from mixwright import Strategy  # noqa: E402
from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.stream import AnyRows  # noqa: E402

NAMES, TARGETS = ("a", "b", "c"), ("law", "prose")
VOCABULARY, CONTEXT = 31, 8
STEPS = 8


def documents(seed, count, padded=True):
    """Return rows of different lengths (or of one), each source with its own words."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        length = int(rng.integers(3, CONTEXT + 1)) if padded else CONTEXT
        ids = np.zeros(CONTEXT, np.int64)
        ids[:length] = rng.integers(1 + 9 * seed, 10 + 9 * seed, length)
        rows.append({"input_ids": ids, "attention_mask": (np.arange(CONTEXT) < length).astype(np.int64)})
    return rows


def sources(padded=True, sizes=(40, 30, 20)):
    return {n: AnyRows(documents(i, s, padded)) for i, (n, s) in enumerate(zip(NAMES, sizes, strict=True))}


def held_out(sizes=(9, 5, 6, 7, 80)):
    """Return held-out rows of the sources and of `TARGETS`, with the words of "a" and "b"; padding is ignored."""
    return {
        name: [{**r, "labels": np.where(r["attention_mask"] > 0, r["input_ids"], -100)} for r in documents(i % 3, n)]
        for i, (name, n) in enumerate(zip((*NAMES, *TARGETS), sizes, strict=True))
    }


def model(kind="GPT2", double=False):
    torch.manual_seed(0)
    if kind == "GPT2":
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=8, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    else:
        config = transformers.GPTNeoXConfig(
            vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, hidden_size=8, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=16, bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
    made = transformers.AutoModelForCausalLM.from_config(config)
    return made.double() if double else made


def trainer(folder, accumulate=1, made=None, rows=12, kind=None, **arguments):
    settings = {
        "per_device_train_batch_size": rows // accumulate, "gradient_accumulation_steps": accumulate,
        "max_steps": STEPS, "save_steps": 3, "logging_steps": 2, "report_to": [], "use_cpu": True, "disable_tqdm": True,
        "learning_rate": 1e-2,
    } | arguments  # fmt: skip
    kind = kind or transformers.Trainer
    held_out = settings.pop("eval_dataset", None)
    settings = transformers.TrainingArguments(output_dir=str(folder), **settings)
    return kind(made or model(), settings, eval_dataset=held_out)


def run(
    folder,
    strategy,
    resume=None,
    stop=None,
    accumulate=1,
    made=None,
    padded=True,
    arguments=None,
    callbacks=(),
    **options,
):
    """Train; return the trainer, its callback, and what its steps were."""
    if made is None:
        made = model()
    new = trainer(folder, accumulate, made, **(arguments or {}))
    callback = use_mixture(new, sources(padded), strategy, observe_every=options.pop("observe_every", 2), **options)
    steps = Steps(callback)
    new.add_callback(steps)
    for more in callbacks:
        new.add_callback(more)
    if stop is not None:
        new.add_callback(_Stop(stop))
    new.train(resume_from_checkpoint=None if resume is None else str(resume))
    return new, callback, steps


class _Stop(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **more):
        control.should_training_stop = control.should_training_stop or state.global_step >= self.step


def decisions(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Steps(transformers.TrainerCallback):
    """Keeps the batches and weights of each step, and what was logged."""

    def __init__(self, callback):
        self.callback, self.batches, self.logs = callback, [], []

    def on_step_end(self, args, state, control, **more):
        self.batches.append(list(self.callback.batches))

    def on_log(self, args, state, control, logs=None, **more):
        self.logs.append(dict(logs))


class Seen(NamedTuple):
    logits: np.ndarray


@dataclass(frozen=True)
class Everything(Strategy[Seen]):
    """Reads all that there is, and follows the losses."""

    rate: float = 0.3
    needs = frozenset({"loss", "grad_sq_norm", "grad_variance", "gram"})
    uses = frozenset({"eval_loss"})

    def init(self, prior):
        return Seen(np.log(prior))

    def update(self, state, obs):
        return Seen(state.logits + np.where(np.nan_to_num(obs.loss, nan=0) > 0, self.rate * obs.loss, 0))

    def weights(self, state):
        shares = np.exp(state.logits - state.logits.max())
        return shares / shares.sum()


def by_hand(net, steps):
    """Return (loss, counts, gram, variance) of steps of an unchanged model: one backward pass for each row."""
    k = len(NAMES)
    nats, tokens, counts, parts = np.zeros(k), np.zeros(k), np.zeros(k), []
    for batch in (batch for step in steps for batch in step):
        losses, lengths = _row_means(net, batch.inputs)
        parts.append((row_gradients(net, losses), batch.source.tolist()))
        for loss, length, source in zip(losses.tolist(), lengths, batch.source.tolist(), strict=True):
            nats[source] += loss * length
            tokens[source] += length
            counts[source] += 1
    return nats / tokens, counts, *by_pairs(parts, k)


def _row_means(net, inputs):
    logits = net(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    means, lengths = [], []
    for row, ids, mask in zip(logits, inputs["input_ids"], inputs["attention_mask"], strict=True):
        length = int(mask.sum())
        means.append(torch.nn.functional.cross_entropy(row[: length - 1], ids[1:length]))
        lengths.append(length - 1)
    return torch.stack(means), lengths


def reference_model(folder, **changes):
    """Return the folder of a reference that is not the model in training."""
    torch.manual_seed(1)
    config = transformers.GPT2Config(**{**model().config.to_dict(), **changes})
    net = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(3)  # far enough from the start that losses differ by source
    net.save_pretrained(folder)
    return folder


def losses_of(net, row):
    """Return the losses of a row's tokens, one by one."""
    ids = row["input_ids"][row["attention_mask"] > 0]
    with torch.no_grad():
        logs = net(input_ids=torch.from_numpy(ids[None])).logits[0].double().log_softmax(-1)
    return [-float(logs[at, token]) for at, token in enumerate(ids[1:])]


def excess_by_hand(net, other, batches, clip):
    sums, tokens = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for batch in batches:
        for i, source in enumerate(batch.source.tolist()):
            row = {name: batch.inputs[name][i].numpy() for name in ("input_ids", "attention_mask")}
            above = [a - b for a, b in zip(losses_of(net, row), losses_of(other, row), strict=True)]
            if clip == "token":
                above = [max(each, 0.0) for each in above]
            sums[source] += max(sum(above), 0.0) if clip == "example" else sum(above)
            tokens[source] += len(above)
    return sums / tokens
