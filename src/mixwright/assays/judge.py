"""What average precisions say: how arms differ, how sure that is, and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.compare import PairedDifference, paired_differences

Array = NDArray[np.float64]
DRAWS = 2000  # bootstrap draws of held-out molecules
FEWEST_SEEDS = 2  # for an interval over seeds; with one it is over molecules
MOST_SHARED = 0.5  # of held-out molecules: seeds whose splits share more are repeats of one measurement
FEW_POSITIVES = 20  # held-out rows with a 1: with fewer a note says how coarse average precision is
_BLOCK = 4_000_000  # counts of rows that are drawn at a time


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

    @property
    def word(self) -> str:
        """Return better, worse, no better or unverified."""
        if self.low is None or self.high is None or self.low == self.high != 0:
            return "unverified"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no better"

    def verdict(self, over: str) -> str:
        """Return one sentence: better, worse or no better, by how much, and how sure that is."""
        digits = self._digits()
        signed = f"{self.value:+.{digits}f} in average precision"
        if self.word == "unverified":
            return f"unverified: {signed} over {over}, the same in every repetition ({self.among})"
        interval = f"({100 * self.level:g} % interval {self.low:+.{digits}f} to {self.high:+.{digits}f}, {self.among})"
        if self.word == "no better":
            return f"no better than {over} on this evidence: {signed} {interval}"
        return f"{self.word} than {over} by {abs(self.value):.{digits}f} in average precision {interval}"

    def _digits(self) -> int:
        """Return how many digits behind the point show three of the largest end, and no end that decides as 0."""
        ends = [abs(end) for end in (self.value, self.low, self.high) if end]
        if not ends:
            return 3
        nearest = -math.floor(math.log10(min(ends))) if self.word in ("better", "worse") else 0
        return min(max(2 - math.floor(math.log10(max(ends))), nearest, 3), 8)


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """The held-out rows of one seed: labels and molecules [n_test], and each arm's probabilities of a 1 [n_test]."""

    labels: NDArray[Any]
    molecules: NDArray[np.int64]
    probability: Mapping[str, Array]

    def average_precision(self, arm: str) -> float:
        """Return that of an arm."""
        return average_precision(self.labels, self.probability[arm])


class Judge:
    """
    Compares arms on the same held-out rows, over one or more seeds.

    With two seeds or more, each with a split of its own, `compare.paired_differences` is the judge, as of every
    comparison. Otherwise, also where two of the splits share more than half of their held-out molecules (a time or
    column split is the same for every seed), the seeds are repeats of one measurement: the interval is then a paired
    bootstrap over held-out molecules, the same draw for all seeds and arms; how far other splits differ is not in it.
    Either way the intervals of all arms hold together (Sidak).

    Parameters
    ----------
    seeds
        What each seed held out.
    level
        Of the intervals.
    seed
        Of the bootstrap.
    """

    def __init__(self, seeds: Sequence[HeldOutRows], level: float = 0.9, seed: int = 0) -> None:
        self._seeds, self._level, self._seed = seeds, level, seed
        self._held = [np.unique(part.molecules) for part in seeds]
        self.over_seeds = len(seeds) >= FEWEST_SEEDS and most_shared(self._held) <= MOST_SHARED

    def differences(self, arms: Sequence[str], over: str) -> dict[str, Difference]:
        """Return the difference of each arm from the arm `over`, which may be among them."""
        named = list(dict.fromkeys([over, *arms]))
        values = [[part.average_precision(arm) for part in self._seeds] for arm in named]
        if self.over_seeds:
            error = (1 - self._level) / 2
            judged = paired_differences(values, named, over, self._level, error, "average precision", higher=True)
            return {found.arm: self._of_seeds(found) for found in judged}
        tail = 1 - (1 - (1 - self._level) / 2) ** (1 / max(len(named) - 1, 1))
        found = {}
        for arm, of_seeds in zip(named[1:], values[1:], strict=True):
            low, high = np.quantile(self._draws[arm] - self._draws[over], [tail, 1 - tail])
            value = float(np.mean(np.subtract(of_seeds, values[0])))
            found[arm] = Difference(value, float(low), float(high), self._level, self._among())
        return found

    @cached_property
    def _draws(self) -> dict[str, Array]:
        return _bootstrap(self._seeds, list(self._seeds[0].probability), np.random.default_rng([self._seed, 15]))

    def _each(self) -> str:
        about = "about " if len({len(part) for part in self._held}) > 1 else ""
        return f"{about}{mean_count(self._held):,} held-out molecules"

    def _among(self) -> str:
        if len(self._seeds) == 1:
            return self._each()
        if all(np.array_equal(part, self._held[0]) for part in self._held):
            return f"{self._each()}, {len(self._seeds)} seeds on one split"
        return f"{self._each()} in each of {len(self._seeds)} seeds"

    def _of_seeds(self, found: PairedDifference) -> Difference:
        low, high = (found.low, found.high) if math.isfinite(found.low) else (None, None)
        among = f"{found.seeds} seeds, {found.design}, with {self._each()} each"
        return Difference(found.difference, low, high, found.level, among, "seeds")


def advice(target: str, over: Mapping[str, Difference]) -> str:
    """
    Return what to do, a sentence without its full stop, from the differences of the search from other arms.

    The target alone comes first: it is what people with labels of their own have without any search.

    Parameters
    ----------
    target
        The assay.
    over
        {arm: difference of the search from it}.
    """
    worse = [name for name, found in over.items() if found.word == "worse"]
    alone = over.get("target_alone")
    if "target_alone" in worse:
        return f"Train on the target alone ({target}), not with this mixture"
    if alone is not None and alone.value == 0 == alone.low == alone.high:
        return f"Train on the target alone ({target}): it was the best out of fold, and the search chose it"
    if worse:
        return f"Train with {min(worse, key=lambda name: over[name].value)}, not with this mixture"
    if "uniform" in over and over["uniform"].word == "better":
        if alone is None:
            return "Train with this mixture"
        if alone.word == "better":
            return f"Train with this mixture: it is better than the target alone ({target})"
        return "Train with this mixture, or on the target alone (neither is surely better)"
    if alone is None:
        return "Nothing sure is gained by this mixture: uniform weights may do as well"
    if alone.word == "better":
        return f"Train with this mixture or with uniform weights: it is better than the target alone ({target})"
    return f"Train on the target alone ({target}), with this mixture or with uniform weights: none is surely better"


def few_positives(rows: float, positives: float) -> str | None:
    """Return a note where so few held-out rows (mean over seeds) have a 1 that average precision is coarse."""
    if positives >= FEW_POSITIVES:
        return None
    return (
        f"Only {positives:.3g} of {rows:,.5g} held-out rows have a 1: average precision moves by about "
        f"{1 / positives:.2g} with the rank of one of them, so small differences say little. Hold more out, or "
        "use more seeds."
    )


def mean_count(held: Sequence[NDArray[Any]]) -> int:
    """Return the number of different held-out molecules, the mean over seeds, from those of each seed."""
    return round(sum(len(np.unique(part)) for part in held) / len(held))


def most_shared(held: Sequence[NDArray[Any]]) -> float:
    """Return the largest share of a split's held-out molecules that another split holds out too; 1: the same split."""
    pairs = ((a, b) for i, a in enumerate(held) for b in held[:i])
    return max((len(np.intersect1d(a, b, assume_unique=True)) / max(len(a), len(b)) for a, b in pairs), default=0.0)


def _bootstrap(seeds: Sequence[HeldOutRows], arms: Sequence[str], rng: np.random.Generator) -> dict[str, Array]:
    """
    Return {arm: mean average precision over seeds for molecules drawn with replacement, [DRAWS]}.

    A molecule that several seeds hold out is drawn for all of them: repeats of a split do not narrow the interval.
    Draws that leave a seed without a 1 are drawn again.
    """
    found: dict[str, list[Array]] = {arm: [] for arm in arms}
    for times in _drawn(seeds, rng):
        for arm in arms:
            each = zip(seeds, times, strict=True)
            found[arm].append(np.mean([_average_precisions(s.labels, s.probability[arm], t) for s, t in each], axis=0))
    return {arm: np.concatenate(parts) for arm, parts in found.items()}


def _drawn(seeds: Sequence[HeldOutRows], rng: np.random.Generator) -> Iterator[list[Array]]:
    """Yield how often each row of each seed is drawn, [draws, n_test] per seed, a block of draws at a time."""
    _, index = np.unique(np.concatenate([part.molecules for part in seeds]), return_inverse=True)
    seed_of = np.repeat(np.arange(len(seeds)), [len(part.labels) for part in seeds])
    active, size = np.concatenate([part.labels for part in seeds]) == 1, int(index.max()) + 1
    block = max(_BLOCK // len(index), 1)
    for start in range(0, DRAWS, block):
        times = np.empty((min(block, DRAWS - start), len(index)))
        for draw in range(len(times)):
            while True:
                times[draw] = np.bincount(rng.integers(size, size=size), minlength=size)[index]
                if np.bincount(seed_of[active], times[draw, active], len(seeds)).all():
                    break
        yield [times[:, seed_of == i] for i in range(len(seeds))]
