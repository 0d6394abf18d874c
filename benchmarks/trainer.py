"""
Losses per source in transformers' Trainer (`use_mixture` without statistics): their share of a training step.

    python benchmarks/trainer.py [--write]

Each step is measured from outside and from within, so the ratio compares a step with itself: the whole step over
the step without what use_mixture adds (losses of rows, sums per source, checks). `kept`: the losses are read from what
the training's own cross entropy keeps for its backward pass; `second`: they are computed from the logits, as where a
loss keeps nothing (a compiled model, a loss of one's own).
"""

import argparse
import platform
import statistics
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

SIZES = {8_192: 10.1, 50_257: 23.6}  # vocabulary: millions of parameters
ROWS, CONTEXT, STEPS = 16, 256, 5
SHAPE = {"n_positions": CONTEXT, "n_embd": 320, "n_layer": 6, "n_head": 5, "bos_token_id": 0, "eos_token_id": 0}


def measure(vocabulary, way):
    """Return [(seconds of a step, of those added)] of all steps but the first."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    from mixwright.integrations import trainer_mixture
    from mixwright.integrations.transformers import use_mixture
    from mixwright.stream import TokenRows

    model = GPT2LMHeadModel(GPT2Config(**SHAPE, vocab_size=vocabulary))
    rng = np.random.default_rng(0)
    sources = {name: TokenRows(rng.integers(0, vocabulary, 200_000, dtype=np.int32), CONTEXT) for name in "abcd"}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"max_steps": STEPS, "per_device_train_batch_size": ROWS, "report_to": [], "use_cpu": True}
        trainer = Trainer(model, TrainingArguments(folder, save_strategy="no", disable_tqdm=True, **settings))
        times = {"inner": [], "nats": [], "outer": []}
        trainer.training_step = timed(trainer.training_step, times["inner"])
        use_mixture(trainer, sources, [0.25] * 4)
        before = trainer_mixture._nats, trainer_mixture.kept_nats
        trainer_mixture._nats = timed(trainer_mixture._nats, times["nats"])
        if way == "second":
            trainer_mixture.kept_nats = lambda *_: None
        trainer.training_step = timed(trainer.training_step, times["outer"])
        trainer.train()
        trainer_mixture._nats, trainer_mixture.kept_nats = before
    steps = zip(times["outer"], times["inner"], times["nats"], strict=True)
    return [(outer, outer - inner + nats) for outer, inner, nats in steps][1:]


def timed(function, seconds):
    """Return the function; the CPU seconds of each call go to a list."""

    def called(*arguments, **named):
        before = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.process_time() - before)

    return called


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="also write results/trainer.md")
    arguments = parser.parse_args()
    import torch
    import transformers

    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    lines = [
        "# Losses per source in a Trainer: what they cost",
        "",
        f"`python benchmarks/trainer.py --write`, {platform.machine()}, one thread, {versions}.",
        f"A tied GPT-2 (6 layers, width 320), {ROWS} x {CONTEXT} tokens, float32, 4 sources, no statistics.",
        f"CPU seconds of a training step, median of {STEPS - 1} steps; the ratio is the whole step over the same step",
        "without what `use_mixture` adds. kept: losses out of what the training's cross entropy keeps; second: out of",
        "the logits, where it keeps nothing.",
        "",
        "| vocabulary | parameters | losses | step | added | ratio | least to largest |",
        "|---|---|---|---|---|---|---|",
    ]
    for (vocabulary, millions), way in product(SIZES.items(), ("kept", "second")):
        steps = measure(vocabulary, way)
        ratios = sorted(outer / (outer - added) for outer, added in steps)
        outer, added = (statistics.median(values) for values in zip(*steps, strict=True))
        lines.append(
            f"| {vocabulary:,} | {millions} million | {way} | {outer:.2f} s | {added:.3f} s "
            f"| {statistics.median(ratios):.3f} | {ratios[0]:.3f} to {ratios[-1]:.3f} |"
        )
    print("\n".join(lines))
    if arguments.write:
        Path(__file__).with_name("results").joinpath("trainer.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
