"""A comparison of texts that takes seconds."""

import csv
from pathlib import Path
from typing import Any

from tiny import KINDS, SETTINGS, write_tiny

from mixwright.experiment import make as configured
from mixwright.experiment.text.compare_config import CompareConfig

QUIZ = {"path": "questions.jsonl", "kind": "questions"}
SMALL: dict[str, Any] = {
    **SETTINGS,
    "targets": {"mix": "target.jsonl", "quiz": QUIZ},
    "held_out": 0.2,
    "proxy": {"tokens": 600},
    "search": {"shrinkage": 0.05},
    "final": {**SETTINGS["final"], "tokens": 5000},
    "arms": ["uniform", "natural", "best_single", "mixmin"],
    "seeds": 2,
    "compute": {"cores": 1},
}
FIRST, SECOND, THIRD = KINDS


def make(folder: Path, **changes: Any) -> CompareConfig:
    """Write the data and return the configuration."""
    write_tiny(folder)
    config = configured("compare", SMALL | changes, folder=folder)
    assert isinstance(config, CompareConfig)
    return config


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "cells.csv", encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
