"""What the files of a run say of it while it goes, made up."""

from __future__ import annotations

import math
import random
from typing import Any

ARMS = ("uniform", "natural", "MixMin", "PiKE", "Balanced-PiKE", "DoReMi", "ODM", "ADO, after uniform", "Skill-It")
ERROR = "Traceback\n  File ...\nRuntimeError: CUDA out of memory. Tried to allocate 20.00 GiB (79.15 GiB in all)"


def running(k: int = 3, pieces: int = 0, **changes: Any) -> dict[str, Any]:
    names = ["code", "books", "web <b>&"] if k == 3 else [f"web/{'crawl-' if i % 3 else ''}{i:02d}" for i in range(k)]
    steps = list(range(25, 2326, 25))
    weights, losses = [_weights(names, s) for s in steps], [_losses(names, s) for s in steps]
    made: dict[str, Any] = {
        "folder": "runs/first", "command": "train", "title": f"A training on {', '.join(names[:3])}",
        "state": "running", "host": "node7", "silent": 4.0, "why": "", "plan": "5,000 steps, 40,960,000 tokens",
        "note": "loss 2.314", "stages": {"tokenizer": [1, 1, None], "tokens": [3, 3, None], "train": [2325, 5000, 754]},
        "step": 2325, "loss": 2.314, "weights": weights[-1], "losses": losses[-1],
        "weight_course": {"steps": steps, "values": weights}, "loss_course": {"steps": steps, "values": losses},
        "pieces": some_pieces(pieces), "left_out": "",
    }  # fmt: skip
    return made | changes


def _weights(names: list[str], step: int) -> dict[str, float]:
    raw = [1 + 0.8 * math.sin(1.7 * i + step / 900) for i in range(len(names))]
    return {name: value / sum(raw) for name, value in zip(names, raw, strict=True)}


def _losses(names: list[str], step: int) -> dict[str, float]:
    return {n: 2 + 0.3 * math.cos(i) + 3 * math.exp(-step / 700) for i, n in enumerate(names)}


def some_pieces(most: int) -> list[dict[str, Any]]:
    rng, found = random.Random(0), []
    for arm in ARMS:
        for seed in range(50):
            state = rng.choices(("done", "running", "failed", "open"), (60, 5, 2, 33))[0]
            piece: dict[str, Any] = {"stage": "trainings", "name": f"{arm}, seed {seed}", "state": state}
            if state == "running":
                piece |= {"host": f"node{seed}.cluster.example", "share": rng.random(), "seconds": 400.0}
            if state == "failed":
                piece |= {"host": f"node{seed}", "error": ERROR}
            found.append(piece)
    return found[:most]
