"""
What a step of the preference trainer costs beside plain DPO, on the same batches.

`python benchmarks/preference_cost.py` prints a Markdown page; with --write it becomes
benchmarks/results/preference_cost.md. A Llama of transformers with 4.5 million parameters, float32, one thread, 8 pairs
a step. Contenders take turns (A B C D, B C D A, ...), each with a new trainer for a few steps; the first two are left
out. Each step is compared with the same step, so the same pairs, of the trainer without specialists in the same round:
the ratio is the median over all of them, in CPU seconds of the process, and in seconds on the wall.
"""

import argparse
import functools
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

VOCABULARY, CONTEXT, PAIRS, SOURCES, SIZE = 4096, 128, 8, 4, 200
LEFT_OUT = 2
BASE = "ours, no specialists"


def model():
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, num_hidden_layers=3, num_attention_heads=8, intermediate_size=704,
        max_position_embeddings=CONTEXT, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


def encoded(seed):
    from mixwright.preference.pairs.rows import TokenPairs

    rng = np.random.default_rng(seed)
    parts = [
        [rng.integers(3, VOCABULARY, rng.integers(*b)) for _ in range(SIZE)] for b in ((16, 48), (24, 79), (24, 79))
    ]
    return TokenPairs(*parts)


@functools.cache
def reference(i):
    from mixwright.preference.losses import reference_log_probabilities

    return reference_log_probabilities(model(), encoded(i))


def sources(specialists):
    """Return PairRows by name; specialists' losses are numbers around log 2, so that about half of the gates are 0."""
    from mixwright.preference.pairs.rows import PairRows

    found = {}
    for i in range(SOURCES):
        numbers = np.random.default_rng(100 + i).uniform(0.59, 0.79, SIZE)
        found[f"s{i}"] = PairRows(encoded(i), reference(i), numbers if specialists else None)
    return found


def settings(folder, steps, kind):
    return kind(
        output_dir=str(folder), per_device_train_batch_size=PAIRS, max_steps=steps, report_to=[], use_cpu=True,
        disable_tqdm=True, save_strategy="no", logging_steps=10, bf16=False, learning_rate=1e-4,
        gradient_checkpointing=False,
    )  # fmt: skip


def ours(weights, specialists):
    def make(folder, steps):
        from transformers import TrainingArguments

        from mixwright.preference.trainer import PreferenceTrainer

        args = settings(folder, steps, TrainingArguments)
        return PreferenceTrainer(model(), args, sources(specialists), weights)

    return make


def theirs(folder, steps):
    """Return TRL's trainer with the reference's log-probabilities in its rows, in the order of our plan."""
    import datasets
    import torch
    import transformers
    import trl
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    from mixwright import Plan

    rows, order = list(sources(False).values()), Plan({f"s{i}": SIZE for i in range(SOURCES)}, [1 / SOURCES] * SOURCES,
                                                     batch_size=PAIRS, seed=42)  # fmt: skip
    words = Tokenizer(WordLevel({"<pad>": 0, "<eos>": 2, "x": 3}, unk_token="x"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")

    class InOrder(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *arguments, **more):
            return dataset  # has tokens already

        def _precompute_ref_logps(self, dataset, *arguments, **more):
            return dataset  # and the reference's numbers

        def _get_train_sampler(self, *arguments, **more):
            return torch.utils.data.SequentialSampler(self.train_dataset)

    found = []
    for _ in range(steps):
        step = next(order)
        for source, row in zip(step.source.tolist(), step.row.tolist(), strict=True):
            pair = rows[source][row]
            numbers = dict(zip(("ref_chosen_logps", "ref_rejected_logps"), pair.reference.tolist(), strict=True))
            tokens = {f"{n}_ids": getattr(pair, n).tolist() for n in ("prompt", "chosen", "rejected")}
            found.append({**tokens, **numbers})
    args = settings(folder, steps, trl.DPOConfig)
    args.precompute_ref_log_probs = True
    return InOrder(model(), None, args, train_dataset=datasets.Dataset.from_list(found), processing_class=tokenizer)


def contenders():
    from mixwright import AMAR, AMAS

    return {
        BASE: ours("uniform", False),
        "TRL's DPOTrainer, reference precomputed": theirs,
        "ours, AMA-R (gates, row weights, an observation a step)": ours(AMAR(0.05), True),
        # eta = 0: the draws stay those of the others, the work is the same
        "ours, AMA-S (gates, drawn by weights, an observation a step)": ours(AMAS(0.0, estimator="present"), True),
    }


def step_times(trainer):
    """Return (CPU, wall) seconds of each step [steps, 2], and the losses that were logged."""
    import transformers

    times = []

    class Clock(transformers.TrainerCallback):
        def on_train_begin(self, *arguments, **more):
            times.append((time.process_time(), time.perf_counter()))

        def on_step_end(self, *arguments, **more):
            times.append((time.process_time(), time.perf_counter()))

    trainer.add_callback(Clock())
    trainer.train()
    return np.diff(np.array(times), axis=0), [line["loss"] for line in trainer.state.log_history if "loss" in line]


def measure(rounds, steps):
    found = {name: [] for name in contenders()}
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        for at in range(rounds):
            ways = list(contenders().items())
            for name, make in ways[at % len(ways) :] + ways[: at % len(ways)]:  # another one begins each round
                times, losses[name] = step_times(make(Path(folder) / "run", steps))
                found[name].append(times[LEFT_OUT:])
            print(f"round {at + 1}: " + ", ".join(f"{np.median(t[-1][:, 0]):.3f}" for t in found.values()), flush=True)
    return {name: np.stack(times) for name, times in found.items()}, losses


def page(found, losses, rounds, steps, load, own):
    base = found[BASE]
    lines = []
    for name, times in found.items():
        ratio = times / base
        per_round = np.median(ratio[:, :, 0], axis=1)
        least, most = per_round.min(), per_round.max()
        cpu, wall = np.median(times[:, :, 0]), np.median(times[:, :, 1])
        loss = ", ".join(f"{value:.4f}" for value in losses[name][:1])
        lines.append(
            f"| {name} | {cpu * 1e3:.0f} | {np.median(ratio[:, :, 0]):.3f} | {least:.3f} to {most:.3f} "
            f"| {wall * 1e3:.0f} | {np.median(ratio[:, :, 1]):.3f} | {loss} |"
        )
    parameters = sum(p.numel() for p in model().parameters()) / 1e6
    names = list(found)
    against = [float(np.median(found[name][:, :, 0] / found[names[1]][:, :, 0])) for name in names[2:]]
    of_base = [float(np.median(found[name][:, :, 0] / base[:, :, 0])) for name in names[2:]]
    said = "met" if max(*against, *of_base) <= 1.05 else "missed"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    command = f"python benchmarks/preference_cost.py --write --rounds {rounds} --steps {steps}"
    return f"""# A step of the preference trainer: what it costs beside plain DPO

`{command}`, {platform.machine()}, {os.cpu_count()} cores,
one thread, Python {platform.python_version()}, {versions}. A Llama with {parameters:.1f}
million parameters, float32, {PAIRS} pairs a step of {SOURCES} sources, rows of 40 to {CONTEXT - 2} tokens, AdamW, a
line of the log every 10 steps. All contenders take the same pairs in the same steps. They take turns, {rounds} rounds
of {steps} steps, of which the first {LEFT_OUT} are left out; ratios are of each step to the same step of
"{BASE}" in the same round, medians. Load of the machine (1 minute) at the start and the end:
{load[0]:.1f}, {load[1]:.1f} (1 is the contender).

| step | CPU, ms | ratio | by round | wall, ms | ratio | loss of the first 10 steps |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

Goal: at most 1.05 times plain DPO, in CPU time: {said}. AMA-R takes {of_base[0]:.3f} and AMA-S {of_base[1]:.3f} times
our own plain DPO, and {against[0]:.3f} and {against[1]:.3f} times TRL's. TRL's step gives more numbers to its log
(entropy, mean logits, token accuracy), and on a CPU its head scores all positions, prompts too; ours scores those of
the answers. The machine has other work: single rounds scatter by more than the goal's .05, so these ratios are rough.
Timed alone, weights, gates, sums over sources and the observation of AMA-R take {own} (20 steps; `--own`).
AMA-R and AMA-S report the gated excess as their loss, which is another number than plain DPO's.
"""


def own_work(steps):
    """Return what a step of AMA-R spends in weights, gates, sums and observations, in words."""
    from mixwright import AMAR

    with tempfile.TemporaryDirectory() as folder:
        trainer = ours(AMAR(0.05), True)(Path(folder) / "run", steps)
        spent = [0.0]

        def timed(method):
            @functools.wraps(method)
            def wrapped(*arguments, **named):
                began = time.process_time()
                try:
                    return method(*arguments, **named)
                finally:
                    spent[-1] += time.process_time() - began
                    if method.__name__ == "on_step_end":
                        spent.append(0.0)

            return wrapped

        for name in ("on_step_begin", "value", "on_pre_optimizer_step", "on_step_end"):
            setattr(trainer.steps, name, timed(getattr(trainer.steps, name)))
        times, _ = step_times(trainer)
    own = np.array(spent[:-1])[LEFT_OUT:]
    share = own / times[LEFT_OUT:, 0]
    return f"{np.median(own) * 1e3:.2f} ms of CPU time a step, {np.median(share):.2%} of it (largest {share.max():.2%})"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--own", action="store_true", help="only what a step of AMA-R spends beside the model")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if options.own:
        print(own_work(20))
        return
    before = os.getloadavg()[0]
    found, losses = measure(options.rounds, options.steps)
    text = page(found, losses, options.rounds, options.steps, (before, os.getloadavg()[0]), own_work(20))
    print(text)
    if options.write:
        (Path(__file__).parent / "results" / "preference_cost.md").write_text(text)


if __name__ == "__main__":
    main()
