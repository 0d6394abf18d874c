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
from mixwright.search.resampling.resample import student_quantile

Array = NDArray[np.float64]
ARMS = ("uniform", "natural", "target_alone", "best_single", "search")
DRAWS = 400  # bootstrap draws of held-out molecules
FEWEST_SEEDS = 3  # for an interval over seeds; with fewer it is over molecules
MOST_SHARED = 0.5  # of held-out molecules: seeds whose splits share more are repeats of one measurement


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
    """
    An average precision minus another, with its interval (None where there is none).

    `among` says what the interval is over, `drawn` whether that is "seeds" or "molecules".
    """

    value: float
    low: float | None
    high: float | None
    level: float
    among: str
    drawn: str = "molecules"

    def verdict(self, over: str) -> str:
        """Return one sentence: better, worse or no better, by how much, and how sure that is."""
        figures = f"{abs(self.value):.3f} in average precision"
        if self.low is None or self.high is None:
            return f"unverified: {self.value:+.3f} in average precision over {over}, without an interval"
        if self.low == self.high != 0:
            return f"unverified: {self.value:+.3f} in average precision over {over}, the same in every repetition"
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

    With three seeds or more, each with a split of its own, the interval is Student's over the seeds' differences.
    Otherwise, also where two of the splits share more than half of their held-out molecules (a time or column split is
    the same for every seed), the seeds are repeats of one measurement: the interval is then a paired bootstrap over
    held-out molecules, the same draw for all seeds; how far other splits differ is not in it.

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
    held = [np.unique(part) for part in groups]
    shared, seeds = most_shared(held), len(values)
    each = f"{'about ' if len({len(part) for part in held}) > 1 else ''}{mean_count(held):,} held-out molecules"
    if seeds >= FEWEST_SEEDS and shared <= MOST_SHARED:
        mean, low, high = student_interval(values, level)
        return Difference(mean, low, high, level, f"{seeds} seeds with {each} each", "seeds")
    drawn = _bootstrap(labels, groups, one, other, np.random.default_rng([seed, 15]))
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    same = all(np.array_equal(part, held[0]) for part in held)
    among = (
        each if seeds == 1 else f"{each}, {seeds} seeds on one split" if same else f"{each} in each of {seeds} seeds"
    )
    return Difference(float(np.mean(values)), float(low), float(high), level, among)


def mean_count(held: Sequence[NDArray[Any]]) -> int:
    """Return the number of different held-out molecules, the mean over seeds, from those of each seed."""
    return round(sum(len(np.unique(part)) for part in held) / len(held))


def most_shared(held: Sequence[NDArray[Any]]) -> float:
    """Return the largest share of a split's held-out molecules that another split holds out too; 1: the same split."""
    pairs = ((a, b) for i, a in enumerate(held) for b in held[:i])
    return max((len(np.intersect1d(a, b, assume_unique=True)) / max(len(a), len(b)) for a, b in pairs), default=0.0)


def _bootstrap(
    labels: Sequence[NDArray[Any]],
    groups: Sequence[NDArray[Any]],
    one: Sequence[Array],
    other: Sequence[Array],
    rng: np.random.Generator,
) -> Array:
    """
    Return the mean difference over seeds for molecules drawn with replacement, [DRAWS].

    A molecule that several seeds hold out is drawn for all of them: repeats of a split do not narrow the interval.
    Draws that leave a seed without a 1 are drawn again.
    """
    _, index = np.unique(np.concatenate(groups), return_inverse=True)
    seed_of = np.repeat(np.arange(len(groups)), [len(part) for part in groups])
    active, size = np.concatenate(labels) == 1, int(index.max()) + 1
    times = np.empty((DRAWS, len(index)))
    for draw in range(DRAWS):
        while True:
            times[draw] = np.bincount(rng.integers(size, size=size), minlength=size)[index]
            if np.bincount(seed_of[active], times[draw, active], len(groups)).all():
                break
    parts = [times[:, seed_of == i] for i in range(len(groups))]
    return np.mean(
        [
            _average_precisions(y, a, part) - _average_precisions(y, b, part)
            for y, a, b, part in zip(labels, one, other, parts, strict=True)
        ],
        axis=0,
    )
