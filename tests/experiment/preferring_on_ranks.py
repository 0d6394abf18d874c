"""
`mixwright prefer train` on one and two ranks (gloo, CPU), each rank a fork of this process: torch is imported once.

Usage: python preferring_on_ranks.py FOLDER. FOLDER/NAME is each run, FOLDER/codes.json has the exit codes.
"""

import json
import os
import sys
from pathlib import Path

import peft  # noqa: F401  once, for all ranks
import transformers.trainer  # noqa: F401
from tiny_pairs import TRAINING, write_all

from mixwright.experiment import drive, make
from two_ranks import in_ranks

STOPPED = 3
LORA = {"adapter": {"rank": 2, "alpha": 4}}
SETTINGS = {**TRAINING, "steps": 4, "evaluate_every": 2, "checkpoint_every": 1e-6}
# name, ranks, changes of the configuration, the thousandth of the training at which rank 0 dies; the same name goes on
RUNS = (
    ("one", 1, {"training": {"accumulate": 2}}, 0),
    ("ddp", 2, {}, 0),
    ("fsdp2", 2, {"training": {"parallel": "fsdp2"}}, 0),
    ("ddp stopped", 2, {}, 500),
    ("ddp stopped", 2, {"training": {"parallel": "fsdp2"}}, 0),  # refused
    ("ddp stopped", 1, {}, 0),
    ("fsdp2 stopped", 2, {"training": {"parallel": "fsdp2"}}, 500),
    ("fsdp2 stopped", 1, {"training": {"parallel": "fsdp2"}}, 0),
    ("fsdp2 measured", 2, {"training": {"parallel": "fsdp2"}}, 750),  # its checkpoint follows a measurement
    ("fsdp2 measured", 2, {"training": {"parallel": "fsdp2"}}, 0),
    ("lora one", 1, {"training": {"accumulate": 2}, **LORA}, 0),
    ("lora ddp", 2, LORA, 0),
    ("lora fsdp2", 2, {"training": {"parallel": "fsdp2"}, **LORA}, 0),
    ("three", 3, {"training": {"batch_size": 8}}, 0),
)


def work(values, folder, changes, stop):
    training = {**SETTINGS, **changes.get("training", {})}
    config = make("prefer train", {**values, **changes, "training": training}, folder=folder.parent)

    def progress(stage, done, total, note=""):
        if stop and stage == "train" and done >= stop:
            os._exit(STOPPED)

    drive(config, folder, progress)


def main(out):
    out, found = Path(out), []
    values = {**write_all(out), "specialists": {"keep": True}}
    for name, size, changes, stop in RUNS:
        codes = in_ranks(size, work, values, out / name, changes, stop)
        found.append({"name": name, "codes": codes, "left": len(list(out.glob(f"{name}/trained/checkpoints/*")))})
    (out / "codes.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
