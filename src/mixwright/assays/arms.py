"""The mixtures that are trained and measured: what was searched, and what it has to beat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.assays import classifiers
from mixwright.assays.judge import average_precision
from mixwright.assays.plan import AssayPlan
from mixwright.assays.weights import mixture_rows
from mixwright.errors import InputError

Array = NDArray[np.float64]
ARMS = ("uniform", "natural", "target_alone", "best_single", "search")


@dataclass(frozen=True)
class Arm:
    """A mixture to train: its kind is one of `ARMS`; `sources` and `weights` go together."""

    name: str
    kind: str
    sources: tuple[str, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What one arm did: probability of a 1 for each held-out row [n_test], figures, and its fitted model."""

    arm: Arm
    probability: Array
    average_precision: float
    seconds: float
    rows: int
    fitted: Any = None


def baseline_arms(plan: AssayPlan, log_likelihood: Array, wanted: Sequence[str] = ARMS) -> list[Arm]:
    """
    Return the arms that a search has to beat.

    Parameters
    ----------
    plan
        The sources and rows.
    log_likelihood
        [n_train, k] of the target's training rows under the proxies: the best single source, of the other assays, has
        the largest mean.
    wanted
        Which kinds.
    """
    k, sizes = len(plan.sources), plan.sizes
    made = []
    for kind in wanted:
        if kind == "uniform":
            made.append(Arm(kind, kind, plan.sources, tuple([1 / k] * k)))
        elif kind == "natural":
            made.append(Arm(kind, kind, plan.sources, tuple((sizes / sizes.sum()).tolist())))
        elif kind == "target_alone":
            made.append(Arm(kind, kind, (plan.split.target,), (1.0,)))
        elif kind == "best_single":
            others = np.array([name != plan.split.target for name in plan.sources])
            best = int(np.argmax(np.where(others, log_likelihood.mean(0), -np.inf)))
            made.append(Arm(kind, kind, plan.sources, tuple(float(i == best) for i in range(k))))
        elif kind != "search":
            raise InputError(f"an arm should be one of {', '.join(ARMS)}, found {kind!r}")
    return made


def train_arm(plan: AssayPlan, arm: Arm) -> ArmResult:
    """Train the final model of an arm and measure it on the target's held-out rows."""
    started = time.perf_counter()
    rows = mixture_rows(plan.table, arm.sources, arm.weights, plan.split.allowed)
    fitted = plan.train(rows)
    seconds = time.perf_counter() - started
    probability = classifiers.positive(fitted, plan.table.features[plan.split.test], "the final model")
    return ArmResult(
        arm, probability, average_precision(held_out_labels(plan), probability), seconds, len(rows.row), fitted
    )


def held_out_labels(plan: AssayPlan) -> NDArray[np.int8]:
    """Return the labels of the held-out rows, [n_test]."""
    return plan.table.labels[plan.split.test, plan.table.column(plan.split.target)]
