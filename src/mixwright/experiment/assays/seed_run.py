"""What one seed of a run over assays gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixwright.assays.arms import Arm
from mixwright.assays.plan import AssayPlan


@dataclass(frozen=True, eq=False)
class TrainedArm:
    """An arm of one seed, read back from its stage: probabilities of the held-out rows [n_test], and figures."""

    arm: Arm
    probability: np.ndarray
    average_precision: float
    seconds: float
    rows: int


@dataclass(frozen=True, eq=False)
class SeedRun:
    """
    What one seed gave.

    Its plan, a summary entry per calibration, its arms by name, seconds by part, and the proxies' probabilities of a 1,
    uncalibrated [n_train, k].
    """

    seed: int
    plan: AssayPlan
    searches: dict[str, dict[str, Any]]
    arms: dict[str, TrainedArm]
    seconds: dict[str, float]
    probabilities: np.ndarray
