"""
What trackers cost: milliseconds of a step that a training waits, and the time of whole trainings against none.

`python benchmarks/trackers.py` passes steps of 3 and of 60 sources to each tracker that is installed, as a training
does (a line for each step, a decision for each tenth). Then it trains a small model with each of them and with none, in
turn, `--rounds` times. All keep what they get on this disk. With --write the tables become
benchmarks/results/trackers.md.
"""

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from mixwright.experiment import drive, make
from mixwright.watching.trackers.tracked import Tracked
from mixwright.watching.trackers.tracker import TRACKERS, About

STEPS = 300
MODEL = {"model_type": "gpt_neox", "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 512}  # fmt: skip
TRAINING = {"steps": 100, "batch_size": 16, "context": 64, "evaluate_every": 100, "observe_every": 10}


def here(folder):
    """Let all trackers keep what they get in a folder."""
    os.environ.update(WANDB_MODE="offline", WANDB_DIR=str(folder), TRACKIO_DIR=str(folder / "trackio"))
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    os.chdir(folder)


def line(step, names):
    own = {name: random.random() for name in names}
    return {"step": step, "loss": 2.0, "gradient_norm": 1.0, "learning_rate": 1e-3,
            "source_loss": own, "weights": own, "shares": own}  # fmt: skip


def waits(tracker, k, folder):
    """Return the milliseconds of each step, and those of the end."""
    names, found = [f"source {i}" for i in range(k)], []
    tracked = Tracked([tracker], About("first", "group", folder))
    tracked.prepare()
    tracked.begin(0)
    seen = {"grad_sq_norm": [1.0] * k, "grad_variance": [1.0] * k}
    for step in range(1, STEPS + 1):
        now = line(step, names)
        started = time.perf_counter()
        tracked.line(now)
        if step % 10 == 0:
            decision = {"begins": step + 8, "weights": [1 / k] * k, "observation": {"step": step - 1, **seen}}
            tracked.decision(names, decision)
        found.append(1000 * (time.perf_counter() - started))
        time.sleep(0.005)  # as a step would take
    started = time.perf_counter()
    tracked.end()
    if tracked.notes:
        raise SystemExit(tracked.notes[0])
    return found, time.perf_counter() - started


def write_texts(folder):
    rng = random.Random(0)
    for i, words in enumerate(("alpha beta gamma", "one two three", "x y z w")):
        texts = [" ".join(rng.choice(words.split()) for _ in range(80)) for _ in range(300)]
        (folder / f"{i}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def trained(folder, run, track):
    """Return the seconds of a training."""
    sources = {f"source {i}": f"{i}.jsonl" for i in range(3)}
    values = {"sources": sources, "model": MODEL, "strategy": "PiKE", "held_out": 0.1, "training": TRAINING}
    return drive(make("train", values | track, folder=folder), folder / run)["seconds"]


def step_rows(trackers, folder):
    for tracker in trackers:
        for k in (3, 60):
            own = folder / f"{tracker}_{k}"
            own.mkdir()
            found, end = waits(tracker, k, own)
            found.sort()
            yield tracker, k, statistics.median(found), found[int(0.99 * len(found))], sum(found) / len(found), end


def training_rows(trackers, folder, rounds):
    write_texts(folder)
    seconds = {name: [] for name in ("none", *trackers)}
    for number in range(rounds):
        for name in seconds:
            track = {} if name == "none" else {"track": [name]}
            seconds[name].append(trained(folder, f"{name}_{number}", track))
    for name, own in seconds.items():
        ratios = [a / b for a, b in zip(own, seconds["none"], strict=True)]
        step = 1000 * statistics.median(own) / TRAINING["steps"]
        yield name, step, statistics.median(ratios), min(ratios), max(ratios)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    given, out = parser.parse_args(), Path(__file__).parent / "results" / "trackers.md"
    trackers = [name for name in TRACKERS if find_spec(name)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here(folder)
        lines = ["| tracker | sources | median, ms | 99 %, ms | mean, ms | end, s |", "|---|---:|---:|---:|---:|---:|"]
        for tracker, k, *ms, end in step_rows(trackers, folder):
            lines.append(f"| {tracker} | {k} | {' | '.join(f'{each:.2f}' for each in ms)} | {end:.1f} |")
            print(lines[-1], flush=True)
        lines += ["", "| tracker | step, ms | against none | least | most |", "|---|---:|---:|---:|---:|"]
        for tracker, step, *ratios in training_rows(trackers, folder, given.rounds):
            lines.append(f"| {tracker} | {step:.1f} | {' | '.join(f'{each:.3f}' for each in ratios)} |")
            print(lines[-1], flush=True)
        os.chdir("/")
    head = f"""# What trackers cost

`python benchmarks/trackers.py --write`; {platform.machine()}, Python {platform.python_version()}, a local disk, other
work on the machine. All trackers keep what they get on this disk (wandb offline, MLflow with SQLite). The first table
is what a step waits for the tracker, {STEPS} steps of 5 ms; `end` is what closing takes. The second is whole trainings
of {TRAINING["steps"]} steps: seconds against those without a tracker in the same round ({given.rounds} rounds).
See the docstring of the script and [Trackers](../../docs/tracking.md).

"""
    if given.write:
        out.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
