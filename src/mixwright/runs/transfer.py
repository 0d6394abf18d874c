"""Whether what is good at a small scale is good at a large one, and AutoScale's way from two scales to a third."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import is_number
from mixwright.errors import InputError
from mixwright.mixture_file import MixtureFile
from mixwright.runs.scores import regret, spearman
from mixwright.runs.table import RunTable

Array = NDArray[np.float64]
FEWEST = 3  # mixtures at both scales
MOST = 100.0  # steps from the small budget to the large one that a continuation may have
HALVINGS = 100


@dataclass(frozen=True)
class Transfer:
    """
    What one scale says of another, for a target.

    mixtures: how many were trained at both; spearman: of their mean losses; regret: the loss at `to` of the mixture
    that is best at `of`, minus the least loss there.
    """

    of: str
    to: str
    mixtures: int
    spearman: float
    regret: float

    def __str__(self) -> str:
        """Return a sentence."""
        return (
            f"the losses of {self.mixtures} mixtures that were trained at {self.of!r} and at {self.to!r} have a rank "
            f"correlation of {self.spearman:.3f}; the best one at {self.of!r} is {self.regret:.3g} worse than the best "
            f"one at {self.to!r}"
        )


def transfers(table: RunTable, target: str) -> tuple[Transfer, ...]:
    """
    Return what each scale of a table says of the others, both ways, where some mixtures were trained at both.

    Raises
    ------
    InputError
        For a target that the table does not have.
    """
    y, code, scales = table.target(target), table.mixtures, np.array(table.scales)
    means = {scale: _means(y[scales == scale], code[scales == scale]) for scale in sorted(set(table.scales))}
    out = []
    for one, other in combinations(means, 2):
        both = sorted(set(means[one]) & set(means[other]))
        if len(both) >= FEWEST:
            a, b = (np.array([means[scale][mixture] for mixture in both]) for scale in (one, other))
            out.append(Transfer(one, other, len(both), spearman(a, b), regret(a, b)))
            out.append(Transfer(other, one, len(both), spearman(a, b), regret(b, a)))
    return tuple(out)


def _means(y: np.ndarray, code: np.ndarray) -> dict[int, float]:
    there = ~np.isnan(y)
    return {int(c): float(y[there & (code == c)].mean()) for c in set(code[there].tolist())}


def autoscale(small: MixtureFile, large: MixtureFile, tokens: tuple[float, float], to: float) -> MixtureFile:
    """
    Return the mixture for `to` tokens that continues the way from the best one for few tokens to that for more.

    With N1, N2 [k] the tokens of each source in the two mixtures, a source's tokens grow by the same factor again and
    again,

        N(t)_k = N2_k (N2_k / N1_k)^t

    and t is where they sum to `to`; t = 1 is AutoScale's N2 N1^-1 N2. It is an extrapolation from two points: nothing
    that was measured says whether it holds, and the file's verdict says so.

    Parameters
    ----------
    small, large
        The best mixtures of the same sources, such as those of two `RunSearch`, one for each scale.
    tokens
        Of the trainings that they are best for: the first number below the second.
    to
        Tokens of the training that is wanted: at least the second number.

    Raises
    ------
    InputError
        For other sources, numbers that do not grow, or a source whose weight at only one of the two is 0.

    Examples
    --------
    >>> small = MixtureFile(sources=("web", "law"), weights=(0.5, 0.5))
    >>> large = MixtureFile(sources=("web", "law"), weights=(0.75, 0.25))
    >>> autoscale(small, large, (1e6, 2e6), 5e6).weights
    (0.9, 0.1)

    References
    ----------
    Kang et al., "AutoScale: Scale-Aware Data Mixing for Pre-Training LLMs", 2407.20177.
    """
    _check(small, large, tokens, to)
    first, second = (
        np.array(file.weights, np.float64) * n for file, n in zip((small, _like(large, small)), tokens, strict=True)
    )
    there = second > 0
    growth = np.log(second[there] / first[there])

    def at(t: float) -> Array:
        return np.log(second[there]) + t * growth

    low, high, wanted = 0.0, MOST, np.log(to)
    if _log_sum(at(high)) < wanted:
        near = f"{tokens[0]:g} and {tokens[1]:g} are too close to say anything of {to:g}"
        raise InputError(f"tokens should be further apart; found that {near}; train at budgets that differ more")
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _log_sum(at(middle)) < wanted else (low, middle)
    weights = np.zeros(second.size)
    weights[there] = np.exp(at(high) - _log_sum(at(high)))
    steps = f"AutoScale: {tokens[0]:g} to {tokens[1]:g} tokens, continued to {to:g}"
    return MixtureFile(
        sources=small.sources,
        weights=tuple(np.round(weights / weights.sum(), 12).tolist()),
        unit=small.unit,
        method={"name": "autoscale", "tokens": list(tokens), "to": to},
        verdict=f"unverified: extrapolated from two mixtures ({steps}); no run says whether it holds",
    )


def _log_sum(logs: Array) -> float:
    return float(np.logaddexp.reduce(logs))


def _like(file: MixtureFile, other: MixtureFile) -> MixtureFile:
    """Return a mixture with its sources in the order of another one."""
    weights = dict(zip(file.sources, file.weights, strict=True))
    return MixtureFile(other.sources, tuple(weights[name] for name in other.sources), file.unit)


def _check(small: MixtureFile, large: MixtureFile, tokens: tuple[float, float], to: float) -> None:
    if set(small.sources) != set(large.sources) or small.unit != large.unit:
        raise InputError("both mixtures should have the same sources and the same unit; found different ones")
    numbers = (*tokens, to) if isinstance(tokens, Sequence | np.ndarray) else ()
    if (
        len(numbers) != 3
        or not all(is_number(n) and np.isfinite(n) for n in numbers)
        or not 0 < tokens[0] < tokens[1] <= to
    ):
        raise InputError(
            "tokens should be two numbers above 0 that grow (of small, of large), and to at least the second; found "
            f"{tokens!r} and {to!r}"
        )
    other = dict(zip(large.sources, large.weights, strict=True))
    for name, weight in zip(small.sources, small.weights, strict=True):
        if (weight > 0) != (other[name] > 0):
            raise InputError(
                f"source {name!r} should have weight 0 in both mixtures or in neither, found {weight:g} and "
                f"{other[name]:g}: its growth is not known; search with a floor for it"
            )
