"""Small models and pairs of sources that differ, for the tests of preference."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="preference needs torch")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("accelerate", reason="the Trainer needs accelerate")

from mixwright.preference.losses import reference_log_probabilities  # noqa: E402
from mixwright.preference.pairs.rows import PairRows, TokenPairs  # noqa: E402
from mixwright.preference.trainer import PreferenceTrainer  # noqa: E402

VOCABULARY, CONTEXT = 37, 24
NAMES = ("a", "b", "c")


def model(kind="GPTNeoX", seed=0, dropout=0.0):
    torch.manual_seed(seed)
    if kind == "GPTNeoX":
        config = transformers.GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=CONTEXT, hidden_dropout=dropout, attention_dropout=0.0, bos_token_id=0,
            eos_token_id=1, pad_token_id=2,
        )  # fmt: skip
    else:
        config = transformers.LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            num_key_value_heads=1, max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=1, pad_token_id=2,
            tie_word_embeddings=True,
        )  # fmt: skip
    made = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # a fresh model gives every token the same probability
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def token_pairs(n, seed=0):
    rng = np.random.default_rng(seed)

    def rows(least, most):
        return [rng.integers(3, VOCABULARY, rng.integers(least, most + 1)) for _ in range(n)]

    return TokenPairs(rows(1, 8), rows(1, 10), rows(1, 10), [f"{seed}.jsonl, line {i + 1}" for i in range(n)])


def sources(sizes=(24, 15, 9), reference=None, specialists=True, names=NAMES):
    """Return PairRows by name; the specialists' losses are numbers, some above and some below those of training."""
    found = {}
    for seed, (name, size) in enumerate(zip(names, sizes, strict=True)):
        encoded = token_pairs(size, seed)
        numbers = np.random.default_rng(seed).uniform(0.5, 0.8, size) + 0.15 * (name == "b") if specialists else None
        found[name] = PairRows(
            encoded, None if reference is False else reference_log_probabilities(reference or model(), encoded), numbers
        )
    return found


def arguments(folder, kind=None, **settings):
    values = {
        "per_device_train_batch_size": 12, "max_steps": 6, "logging_steps": 2, "save_steps": 3, "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "learning_rate": 1e-2, "per_device_eval_batch_size": 4, "bf16": False,
        "gradient_checkpointing": False, "lr_scheduler_type": "constant",
    } | settings  # fmt: skip
    return (kind or transformers.TrainingArguments)(output_dir=str(folder), **values)


def trainer(folder, weights="uniform", made=None, rows=None, settings=None, **options):
    return PreferenceTrainer(
        made if made is not None else model(),
        arguments(folder, **(settings or {})),
        rows or sources(),
        weights,
        **options,
    )


def parameters(made):
    return torch.cat([p.detach().flatten() for p in made.parameters()])


class Logs(transformers.TrainerCallback):
    """Keeps what was logged, and the batches of each step."""

    def __init__(self, callback=None):
        self.lines, self.callback, self.batches = [], callback, []

    def on_log(self, args, state, control, logs=None, **more):
        self.lines.append(dict(logs))

    def on_step_end(self, args, state, control, **more):
        if self.callback is not None:
            self.batches.append(list(self.callback.batches))
