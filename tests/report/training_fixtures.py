"""The summary and the decision log of a training, made up."""

from __future__ import annotations

import math
from typing import Any

NAMES = ("arxiv", "books", "code", "encyclopedia", "law", "web", "speech")


def training(k: int = 5, steps: int = 2000, **changes: Any) -> dict[str, Any]:
    names = [NAMES[i] if i < len(NAMES) else f"source {i}" for i in range(k)]
    curve = []
    for step in range(100, steps + 1, 100):
        loss = {name: 1.2 + 0.3 * i / k + 5 * math.exp(-step / 300) for i, name in enumerate(names)}
        train = {name: value - 0.02 for name, value in loss.items()}
        curve.append({"step": step, "tokens": 8192 * step, "train_loss": sum(train.values()) / k,
                      "source_train_loss": train, "source_loss": loss, "target_loss": {"exam": 2.0}})  # fmt: skip
    last = curve[-1]["source_loss"]
    summary: dict[str, Any] = {
        "schema": 1,
        "kind": "training",
        "version": "0.0.0",
        "title": "A training on English text",
        "command": "mixwright train train.yaml --run runs/first",
        "created": "2026-01-02T03:04:05+00:00",
        "seed": 0,
        "strategy": "Guard(PiKE(rule='restoring'))",
        "fixed": False,
        "prior": "uniform",
        "model": {"model_type": "gpt_neox"},
        "training": {"batch_size": 32, "context": 256, "learning_rate": 0.001},
        "steps": steps,
        "tokens": 8192 * steps,
        "seconds": 4321.0,
        "flops": 1.5e14,
        "skipped": 0,
        "sources": [
            {"name": name, "documents": 1000 + i, "tokens": 1_000_000 * (i + 1), "last_weight": 1 / k, "asked": 1 / k,
             "drawn": 1 / k, "rows": 10 * i, "epochs": 0.4 + i, "held_out_loss": last[name]}
            for i, name in enumerate(names)
        ],
        "held_out": {"average": sum(last.values()) / k, "worst": last[names[-1]], "worst_source": names[-1]},
        "targets": [{"name": "exam", "loss": 2.0123, "accuracy": 0.41}],
        "curve": curve,
        "notes": ["the gradient norm of law was unknown in 3 of 200 observations: fewer than two of its rows"],
    }  # fmt: skip
    return summary | changes


def decisions(k: int = 5, steps: int = 2000, every: int = 10) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(every - 1, steps, every):
        raw = [1 + 0.6 * math.sin(i + step / 500) for i in range(k)]
        weights = [value / sum(raw) for value in raw]
        norm: list[float | None] = [0.5 + 0.1 * i + 0.05 * math.sin(step * (i + 1)) for i in range(k)]
        gram: list[list[float | None]] = [[0.1 * math.cos(2 * (i - j)) for j in range(k)] for i in range(k)]
        for i in range(k):
            gram[i][i] = norm[i]
        if step < 3 * every:
            norm[-1] = None
        line = {
            "decision": len(lines),
            "begins": step + 9,
            "weights": weights,
            "entropy": -sum(w * math.log(w) for w in weights),
            "remarks": {"move": 0.01},
            "observation": {"step": step, "batch_size": 32, "counts": [6.0] * k, "planned": [1 / k] * k,
                            "loss": [2.0] * k, "grad_sq_norm": norm, "grad_variance": [40.0 + i for i in range(k)],
                            "gram": gram},
        }  # fmt: skip
        lines.append(line)
    lines[7]["remarks"]["alarm"] = "<b>weights</b> collapsed onto law"
    return lines
