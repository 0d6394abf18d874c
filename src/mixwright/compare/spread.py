"""
How far the difference of an arm from a baseline moves by chance, from a few seeds.

Two designs estimate it. *Paired*: each seed gives one difference per arm (arms with one seed share the initial model
and the order of rows, so they move together), and the seeds' spread of it is the error. *Unpaired*: the spread of each
arm over its seeds. Both are right where seeds do not make arms move against each other; pairing is the sharper where
seeds move the losses, and loses degrees of freedom where they do not. The rule: the design with the narrower intervals,
over all arms of a measure, is the one that is reported. Choosing after looking makes an error more likely, so intervals
and verdicts pay for it: their tail is cut by the factor 1 - 0.8 / arms.

With few seeds a spread is hardly known: each arm's is shrunk towards that of all arms, as far as the arms' spreads
agree (an empirical-Bayes variance: Smyth, 2004, "Linear models and empirical Bayes methods for assessing differential
expression", section 6). Where arms scatter differently, that is too narrow for those that scatter most. So an interval
is also at least as wide as the arm's own spread and the baseline's make it, at the same level for this arm alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import missing_extra

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Student:
    """Standard errors of arms' mean differences [..., m], and their degrees of freedom [..., m]."""

    error: Array
    freedom: Array

    def half(self, tail: ArrayLike) -> Array:
        """Return how far Student's quantile of an upper tail lies from the mean [..., m]."""
        return np.asarray(-special().stdtrit(self.freedom, tail) * self.error)

    def below(self, mean: Array) -> Array:
        """Return the chance of a mean difference this low or lower if there is none [..., m]; 0 or 1 without error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(mean == 0, 0.0, mean / self.error)
        return np.asarray(special().stdtr(self.freedom, t))


@dataclass(frozen=True)
class Scatter:
    """
    The spread of m differences in one design.

    Attributes
    ----------
    shared
        Each arm's, shrunk towards that of all as far as they agree.
    own
        Each arm's own and the baseline's.
    """

    shared: Student
    own: Student

    @property
    def arms(self) -> int:
        """Return m."""
        return self.shared.error.shape[-1]

    def tails(self, tail: float) -> tuple[float, float]:
        """Return the tails of `shared` and `own` for intervals that hold together: the first is Sidak's of m arms."""
        cut = 1 - 0.8 / (self.arms + 1)  # for the choice of the design
        return (1 - (1 - tail) ** (1 / self.arms)) * cut, tail * cut

    def half(self, tail: float) -> Array:
        """Return the half widths [..., m] of intervals that hold together, each with `tail` beyond either end."""
        shared, own = self.tails(tail)
        return np.maximum(self.shared.half(shared), self.own.half(own))

    def below(self, mean: Array) -> Array:
        """Return corrected p-values [..., m] of differences this low or lower: at most a tail where `half` says so."""
        cut = 1 - 0.8 / (self.arms + 1)
        shared = 1 - (1 - np.minimum(self.shared.below(mean) / cut, 1.0)) ** self.arms
        return np.maximum(shared, np.minimum(self.own.below(mean) / cut, 1.0))


def spread(base: Array, others: Array, tail: float) -> tuple[NDArray[np.bool_], Scatter]:
    """
    Return whether the paired design has the narrower intervals, and the spread in the narrower design.

    Parameters
    ----------
    base
        [..., n], a baseline's runs with n >= 2 seeds. Tables with the same leading axes are judged apart.
    others
        [..., m, n], those of the other arms.
    tail
        Beyond either end of the intervals that are compared.
    """
    pair, apart = _paired(base, others), _unpaired(base, others)
    narrower = np.asarray(pair.half(tail).mean(-1) <= apart.half(tail).mean(-1))
    chosen = narrower[..., None]

    def either(one: Student, other: Student) -> Student:
        return Student(np.where(chosen, one.error, other.error), np.where(chosen, one.freedom, other.freedom))

    return narrower, Scatter(either(pair.shared, apart.shared), either(pair.own, apart.own))


def _paired(base: Array, others: Array) -> Scatter:
    """Return the spread of mean differences by seed."""
    differences = others - base[..., None, :]
    (m, seeds), variance = others.shape[-2:], differences.var(-1, ddof=1)
    own = Student(np.sqrt(variance / seeds), np.full(variance.shape, seeds - 1.0))
    if m < 3:
        return Scatter(own, own)
    table = np.concatenate([base[..., None, :], others], -2)
    residual = table - table.mean(-1, keepdims=True) - table.mean(-2, keepdims=True)
    residual += table.mean((-2, -1), keepdims=True)
    most = float(m * (seeds - 1))
    common = 2 * (residual**2).sum((-2, -1)) / most  # of a difference of two runs with equal errors
    pooled, freedom, _ = _moderated(variance, seeds - 1, np.maximum(common, variance.mean(-1)), most)
    return Scatter(Student(np.sqrt(pooled / seeds), freedom), own)


def _unpaired(base: Array, others: Array) -> Scatter:
    """Return the spread of differences of means of independent runs (Welch)."""
    table = np.concatenate([base[..., None, :], others], -2)
    arms, seeds = table.shape[-2:]
    variance, most = table.var(-1, ddof=1), float(arms * (seeds - 1))
    pooled, freedom, agree = _moderated(variance, seeds - 1, variance.mean(-1), most)
    base_variance = np.maximum(pooled[..., :1], variance[..., :1])  # is in every difference
    pooled = np.concatenate([base_variance, pooled[..., 1:]], -1)
    shared = _welch(pooled, freedom, seeds)
    freedom_of = np.where(agree[..., None], most, np.minimum(shared.freedom, most))
    return Scatter(Student(shared.error, freedom_of), _welch(variance, np.full(variance.shape, seeds - 1.0), seeds))


def _welch(variance: Array, freedom: Array, seeds: int) -> Student:
    """Return errors of the differences [..., m] from the first of the arms, by variances [..., 1 + m] of runs."""
    total = variance[..., 1:] + variance[..., :1]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = variance[..., 1:] ** 2 / freedom[..., 1:] + variance[..., :1] ** 2 / freedom[..., :1]
        welch = np.where(total > 0, total**2 / parts, freedom[..., 1:])
    return Student(np.sqrt(total / seeds), welch)


def _moderated(variance: Array, own: int, common: Array, most: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return variances [..., m] shrunk to `common` [...] as far as they agree, their freedom, and if they do wholly."""
    prior = _prior_freedom(variance, own)
    agree, finite = np.isinf(prior), np.where(np.isinf(prior), 0.0, prior)[..., None]
    shrunk = (finite * common[..., None] + own * variance) / (finite + own)
    pooled = np.where(agree[..., None], common[..., None], shrunk)
    return pooled, np.broadcast_to(np.minimum(prior + own, most)[..., None], variance.shape), agree


def _prior_freedom(variance: Array, own: int) -> Array:
    """Return how many degrees of freedom a common variance is worth [...]: infinite where variances [..., m] agree."""
    known = variance > 0
    count = known.sum(-1)
    logs = np.where(known, np.log(np.where(known, variance, 1.0)), 0.0)
    mean = logs.sum(-1) / np.maximum(count, 1)
    square = np.where(known, (logs - mean[..., None]) ** 2, 0.0).sum(-1) / np.maximum(count - 1, 1)
    excess = square - special().polygamma(1, own / 2)
    prior = np.where(excess > 0, 2 * _trigamma_inverse(np.where(excess > 0, excess, 1.0)), np.inf)
    return np.where(count < 2, 0.0, prior)


def _trigamma_inverse(value: Array) -> Array:
    """Return x > 0 with trigamma(x) = value: Newton's steps on 1 / trigamma, which is nearly a line (Smyth, 2004)."""
    x = 0.5 + 1 / np.asarray(value, np.float64)
    for _ in range(10):
        trigamma = special().polygamma(1, x)
        x = x + trigamma * (1 - trigamma / value) / special().polygamma(2, x)
    return np.asarray(x)


def special():  # type: ignore[no-untyped-def]
    """Return scipy.special, which judges and simulations need."""
    try:
        from scipy import special as functions
    except ImportError:
        raise missing_extra("scipy", "compare") from None
    return functions
