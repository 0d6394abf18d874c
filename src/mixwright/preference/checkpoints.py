"""Which checkpoint of a training is whole."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

_WEIGHTS = ("*.safetensors", "*.bin")


def last_complete_checkpoint(folder: str | PathLike[str]) -> str | None:
    """
    Return the path of the newest complete checkpoint in a Trainer's output folder.

    It is for `train(resume_from_checkpoint=)`. The Trainer writes a checkpoint's files one by one, trainer_state.json
    after the model, the optimiser and this rank's random numbers: a training that was killed in between leaves a folder
    that resuming would fail on. Complete is one whose trainer_state.json is whole and of its step, with the model, the
    optimiser, the scheduler and the random numbers of every rank beside it.

    Returns
    -------
    path
        None if there is none: start from the beginning.
    """
    places = Path(folder).glob("checkpoint-*") if Path(folder).is_dir() else ()
    found = [(int(p.name.rpartition("-")[2]), p) for p in places if p.name.rpartition("-")[2].isdecimal()]
    return next((str(place) for step, place in sorted(found, reverse=True) if _is_complete(place, step)), None)


def _is_complete(place: Path, step: int) -> bool:
    try:
        state = json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
        callbacks = state["stateful_callbacks"]["PreferenceSteps"]
        ranks = (callbacks[0] if isinstance(callbacks, list) else callbacks)["attributes"]["world_size"]
        if state["global_step"] != step:
            return False
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return False
    numbers = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    there = all((place / name).exists() for name in ("scheduler.pt", *numbers))
    optimizer = (place / "optimizer.pt").exists() or any(place.glob("optimizer*"))
    weights = any(any(place.glob(pattern)) for pattern in _WEIGHTS) or any(place.glob("pytorch_model*"))
    return there and optimizer and weights
