"""Small Trainers on sources of padded rows, and what should come out, by hand."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

from mixwright.integrations.transformers import use_mixture  # noqa: E402
from mixwright.stream import AnyRows  # noqa: E402

NAMES = ("a", "b", "c")
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
    return kind(made or model(), transformers.TrainingArguments(output_dir=str(folder), **settings))


def run(folder, strategy, resume=None, stop=None, accumulate=1, made=None, padded=True, arguments=None, **options):
    """Train; return the trainer and its callback."""
    if made is None:
        made = model()
    new = trainer(folder, accumulate, made, **(arguments or {}))
    callback = use_mixture(new, sources(padded), strategy, observe_every=options.pop("observe_every", 2), **options)
    if stop is not None:
        new.add_callback(_Stop(stop))
    new.train(resume_from_checkpoint=None if resume is None else str(resume))
    return new, callback


class _Stop(transformers.TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **more):
        control.should_training_stop = control.should_training_stop or state.global_step >= self.step


def decisions(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
