"""One of two ranks, or a process alone: trains, and writes what its Mixture was told and decided."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from pairings import Logs, model, parameters, sources, trainer

from mixwright import AMAR, AMAS, InputError
from two_ranks import leave

ROWS, ACCUMULATE = 3, 2
STRATEGIES = {"AMAR": AMAR(2.0), "AMAS": AMAS(2.0)}
CASES = (("AMAR", "example"), ("AMAR", "source"), ("AMAS", "example"))
PLAIN = {"optim": "sgd", "learning_rate": 0.3, "save_steps": 2, "max_steps": 5}


def run(folder, name, clip, resume=None, accumulate=ACCUMULATE, killed_at=None, **settings):
    settings = PLAIN | {"per_device_train_batch_size": ROWS, "gradient_accumulation_steps": accumulate} | settings
    rows = sources(reference=model(seed=1))  # not the model itself: its first margins would be 0, right by rounding
    new = trainer(folder, STRATEGIES[name], rows=rows, settings=settings, clip=clip, made=model())
    logs = Logs(new.steps)
    new.add_callback(logs)
    if killed_at is not None:
        die_while_saving(new, killed_at)
    new.train(resume_from_checkpoint=resume)
    return told(new, logs)


def told(new, logs):
    lines = [{n: v for n, v in line.items() if n.startswith("mixture/")} for line in logs.lines if "loss" in line]
    return {
        "parameters": parameters(new.model).tolist(),
        "observation": new.steps.observation.to_json(),
        "weights": new.mixture.weights_for(new.loader.step).tolist(),
        "lines": lines,
        "evaluated": {n: v for n, v in new.evaluate(new.loader.sources["a"]).items() if not n.endswith("runtime")},
    }


def die_while_saving(new, step):
    """Kill this process in the middle of a checkpoint: the model is there, the state of the trainer is not."""
    save = new._save_rng_state

    def saving(folder):
        save(folder)
        if new.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    new._save_rng_state = saving


def on_a_rank(rank, folder):
    found = {}
    for name, clip in CASES:
        found[f"{name}-{clip}"] = run(folder / f"{name}-{clip}", name, clip, ddp_backend="gloo")
    found["resumed"] = run(folder / "resumed", "AMAR", "source", str(folder / "AMAR-source" / "checkpoint-2"))
    bad = trainer(folder / "bad", "uniform", settings={"per_device_train_batch_size": 6})
    rows = bad.loader.sources["c"]
    rows.reference.flags.writeable = True
    rows.reference[7] = float("nan")
    with pytest.raises(InputError) as error:  # on both ranks, whichever has the pair
        bad.train()
    found["bad"] = str(error.value)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    on_a_rank(int(sys.argv[1]), Path(sys.argv[2]))
