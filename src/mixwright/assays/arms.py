"""The mixtures that are trained and measured: what was searched, and what it has to beat."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.assays import classifiers
from mixwright.assays.plan import AssayPlan
from mixwright.assays.weights import mixture_rows
from mixwright.errors import InputError
from mixwright.search._resample import student_quantile

Array = NDArray[np.float64]
ARMS = ("uniform", "natural", "target_alone", "best_single", "search")
DRAWS = 400  # bootstrap draws of held-out molecules
FEWEST_SEEDS = 3  # for an interval over seeds; with fewer it is over molecules


@dataclass(frozen=True)
class Arm:
    """A mixture to train: its kind is one of `ARMS`; `weights` are those of `sources`."""

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
        [n_train, k] of the target's training rows under the proxies: the best single source has the largest mean.
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
            best = int(np.argmax(log_likelihood.mean(0)))
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


def average_precision(labels: NDArray[Any], score: Array) -> float:
    """Return the average precision of scores [n] for labels [n]: the sum of precision times the steps of recall."""
    return float(_average_precisions(labels, score, np.ones((1, len(score))))[0])


def _average_precisions(labels: NDArray[Any], score: Array, times: Array) -> Array:
    """Return the average precision [d] where row i counts times[d, i]; rows with equal scores come in together."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    counted = times[:, order]
    hits = np.cumsum(counted * (labels[order] == 1), axis=1)[:, ends]
    precision = hits / np.maximum(np.cumsum(counted, axis=1)[:, ends], 1e-300)
    return np.asarray((precision * np.diff(hits, axis=1, prepend=0.0)).sum(1) / hits[:, -1])


@dataclass(frozen=True)
class Difference:
    """An average precision minus another, with its interval (None where there is none), and over what it is."""

    value: float
    low: float | None
    high: float | None
    level: float
    among: str

    def verdict(self, over: str) -> str:
        """Return one sentence: better, worse or no better, by how much, and how sure that is."""
        figures = f"{abs(self.value):.3f} in average precision"
        if self.low is None or self.high is None:
            return f"unverified: {self.value:+.3f} in average precision over {over}, without an interval"
        interval = f"({100 * self.level:g} % interval {self.low:+.3f} to {self.high:+.3f}, {self.among})"
        if self.low > 0:
            return f"better than {over} by {figures} {interval}"
        if self.high < 0:
            return f"worse than {over} by {figures} {interval}"
        return f"no better than {over} on this evidence: {self.value:+.3f} in average precision {interval}"


def student_interval(values: Sequence[float], level: float = 0.9) -> tuple[float, float, float]:
    """Return (mean, low, high) of paired differences [s], s >= 2: Student's interval of their mean."""
    array = np.asarray(values, np.float64)
    error = float(array.std(ddof=1)) / np.sqrt(len(array))
    half = (_student_small(level, len(array) - 1) if len(array) < 5 else _student(level, len(array) - 1)) * error
    mean = float(array.mean())
    return mean, mean - half, mean + half


def _student(level: float, freedom: int) -> float:
    return float(student_quantile((1 + level) / 2, freedom))


def _student_small(level: float, freedom: int) -> float:
    """Return Student's quantile for 1 to 3 degrees of freedom, where the expansion is not good enough."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, freedom))


def compare(
    labels: Sequence[NDArray[Any]],
    groups: Sequence[NDArray[Any]],
    one: Sequence[Array],
    other: Sequence[Array],
    level: float = 0.9,
    seed: int = 0,
) -> Difference:
    """
    Compare two arms on the same held-out rows, over one or more seeds.

    With three seeds or more the interval is Student's over the seeds' differences (each seed has its own split). With
    fewer it is a bootstrap over held-out molecules, paired; the spread of seeds is not in it then.

    Parameters
    ----------
    labels, groups, one, other
        For each seed: labels, molecules, and probabilities under the two arms, [n_test] each.
    level
        Of the interval.
    seed
        Of the bootstrap.
    """
    values = [average_precision(y, a) - average_precision(y, b) for y, a, b in zip(labels, one, other, strict=True)]
    if len(values) >= FEWEST_SEEDS:
        mean, low, high = student_interval(values, level)
        return Difference(mean, low, high, level, f"{len(values)} seeds")
    drawn = [
        _bootstrap(*part, np.random.default_rng([seed, 15, i]))
        for i, part in enumerate(zip(labels, groups, one, other, strict=True))
    ]
    value = float(np.mean(values))
    tail = (1 - level) / 2
    low, high = np.quantile(np.mean(drawn, axis=0), [tail, 1 - tail])
    among = f"{len(np.unique(groups[0]))} held-out molecules, {len(values)} seed{'s' if len(values) > 1 else ''}"
    return Difference(value, float(low), float(high), level, among)


def _bootstrap(labels: NDArray[Any], groups: NDArray[Any], one: Array, other: Array, rng: np.random.Generator) -> Array:
    """Return differences [DRAWS] for molecules drawn with replacement; draws without a 1 are drawn again."""
    _, index = np.unique(groups, return_inverse=True)
    size, times = int(index.max()) + 1, np.empty((DRAWS, len(labels)))
    for draw in range(DRAWS):
        times[draw] = 0.0
        while times[draw, labels == 1].sum() == 0:
            times[draw] = np.bincount(rng.integers(size, size=size), minlength=size)[index]
    return _average_precisions(labels, one, times) - _average_precisions(labels, other, times)
