"""One of two ranks: trains under DDP, then again from a checkpoint; writes what its Mixture was told and decided."""

import json
import sys
from pathlib import Path

from trainers import run

from mixwright import PiKE
from two_ranks import leave

SETTINGS = {"observe_every": 4, "statistics_steps": 2}
ROWS = 6


def told(callback, steps):
    weights = [batches[0].weights.tolist() for batches in steps.batches]
    return {"observation": callback.observation.to_json(), "weights": weights, "logged": steps.logs}


def main(rank, folder):
    arguments = {"ddp_backend": "gloo", "per_device_train_batch_size": ROWS}
    whole = told(*run(folder / "whole", PiKE(), arguments=arguments, log=folder / "log.jsonl", **SETTINGS)[1:])
    checkpoint = folder / "whole" / "checkpoint-3"  # between the two steps that are sampled
    after = told(*run(folder / "after", PiKE(), checkpoint, arguments=arguments, **SETTINGS)[1:])
    (folder / f"{rank}.json").write_text(json.dumps({"whole": whole, "after": after}))
    leave()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
