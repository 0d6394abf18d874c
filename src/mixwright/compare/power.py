"""What a comparison could have seen: the difference that it would have called, and the seeds for a smaller one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.compare.spread import Array, Scatter, Student, special

POWER = 0.8  # the chance of being called better that a detectable difference has
MOST_SEEDS = 1000  # more are not counted


def detectable(found: Scatter, tail: float) -> Array:
    """
    Return the true difference of each arm that is called better with a chance of about .8 [..., m].

    The test calls an arm better where mean / s > c, with s its standard error, f its degrees of freedom and c Student's
    quantile of the corrected tail. If the true difference is d, mean / s has Student's noncentral distribution with
    noncentrality d / s. So d = s l, where P(T(f, l) > c) = .8; of the two tests (shared and own spread) the larger d.
    With few seeds s is hardly known, and so is d.

    Parameters
    ----------
    found
        The spread of the differences in the design that was used.
    tail
        The chance of a false "better" over all arms: `error`, or its share of this look.
    """
    shared, own = found.tails(tail)
    return np.maximum(_needed(found.shared, shared), _needed(found.own, own))


def seeds_needed(found: Scatter, tail: float, seeds: int, goal: float) -> list[int | None]:
    """
    Return how many seeds each arm needs for a difference of `goal` to be detectable; None beyond 1,000.

    With n seeds in place of `seeds`, standard errors are sqrt(seeds / n) times as large, and there are (n - 1) /
    (seeds - 1) times as many degrees of freedom.

    Parameters
    ----------
    found, tail
        As for `detectable`.
    seeds
        How many `found` is from.
    goal
        The difference, above 0.
    """
    low, high = np.full(found.arms, 1), np.full(found.arms, MOST_SEEDS + 1)  # too few, enough or too many to count
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 2)
        enough = detectable(with_seeds(found, middle, seeds), tail) <= goal
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        low = np.minimum(low, high - 1)  # 2 seeds are the fewest
    return [int(n) if n <= MOST_SEEDS else None for n in high]


def with_seeds(found: Scatter, n: NDArray[np.int_] | int, seeds: int) -> Scatter:
    """Return the spread, found from `seeds` seeds, that each arm would have with n seeds [m]."""
    shrink, more = np.sqrt(seeds / n), (n - 1) / (seeds - 1)
    shared, own = (Student(part.error * shrink, part.freedom * more) for part in (found.shared, found.own))
    return Scatter(shared, own)


def _needed(part: Student, tail: float) -> Array:
    """Return the differences [..., m] of which .8 lie beyond the quantile of a tail."""
    critical = -special().stdtrit(part.freedom, tail)
    return np.asarray(part.error * special().nctdtrinc(part.freedom, 1 - POWER, critical))
