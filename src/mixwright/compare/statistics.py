"""
Differences between arms that were trained with the same seeds.

Two designs estimate the error of a difference. *Paired*: each seed gives one difference per arm (arms with one seed
share the initial model and the order of rows, so they move together), and the seeds' spread of it is the error.
*Unpaired*: the spread of each arm over its seeds. Both are right where seeds do not make arms move against each other;
pairing is the sharper where seeds move the losses, and loses degrees of freedom where they do not. The rule: the design
with the narrower intervals, over all arms of a measure, is the one that is reported. Choosing after looking makes an
error more likely, so intervals and verdicts pay for it: their tail is cut by the factor 1 - 0.8 / arms, which holds
the chance of a false "better" in simulations (tests/compare; docs/decisions).

With few seeds a spread is hardly known: each arm's is shrunk towards that of all arms, as far as the arms' spreads
agree (an empirical-Bayes variance: Smyth, 2004, "Linear models and empirical Bayes methods for assessing differential
expression", section 6). Where one arm scatters much more than the others, its own interval is then too narrow.

All intervals of a measure hold together (Sidak): an arm is called better exactly where its interval says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError, missing_extra

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """
    What an arm measured minus what another did, over paired seeds.

    Attributes
    ----------
    arm, over
        Names.
    difference
        The mean over seeds, in the unit of the measure; the arm is better below 0, or above 0 where `higher` says so.
    low, high, level
        Its interval; those of all arms hold together at this level.
    design
        "paired" or "unpaired": the one with the narrower intervals.
    p
        One-sided evidence that the arm is better, corrected for the number of arms and the choice of the design.
    p_worse
        The same for worse.
    error
        The verdict says "better" (or "worse") where p (p_worse) is at most this.
    seeds
        How many.
    unit
        Of the measure, for the sentence.
    higher
        Whether higher is better.
    """

    arm: str
    over: str
    difference: float
    low: float
    high: float
    level: float
    design: str
    p: float
    p_worse: float
    error: float
    seeds: int
    unit: str = "nats per token"
    higher: bool = False

    @property
    def word(self) -> str:
        """The verdict in one word: better, worse, no better or unverified."""
        if not np.isfinite(self.low):
            return "unverified"
        return "better" if self.p <= self.error else "worse" if self.p_worse <= self.error else "no better"

    @property
    def verdict(self) -> str:
        """One sentence: better, worse or no better, by how much, and how sure that is."""
        if not np.isfinite(self.low):
            if self.seeds > 1:
                return (
                    f"unverified: all {self.seeds} seeds give the same difference, {self.difference:+.4g} "
                    f"{self.unit}, so the spread between runs is unknown; measure on more held-out rows"
                )
            return f"unverified: the spread between runs is unknown with {self.seeds} seed(s); run at least 2"
        figures = f"{self.unit}, {100 * self.level:g} % interval {self.low:+.4g} to {self.high:+.4g}, "
        figures += f"{self.seeds} seeds, {self.design}"
        if self.p <= self.error:
            return f"better than {self.over} by {abs(self.difference):.4g} {figures}"
        if self.p_worse <= self.error:
            return f"no better than {self.over}: worse by {abs(self.difference):.4g} {figures}"
        return f"no better than {self.over} on this evidence: difference {self.difference:+.4g} {figures}"


def paired_differences(
    losses: ArrayLike,
    arms: Sequence[str],
    over: str = "uniform",
    level: float = 0.9,
    error: float = 0.05,
    unit: str = "nats per token",
    higher: bool = False,
) -> list[PairedDifference]:
    """
    Return the difference of each arm from the arm `over`, in the order of `arms`.

    Parameters
    ----------
    losses
        [arms, seeds]; column s holds the runs that share seed s. Lower is better, unless `higher`.
    arms
        Their names.
    over
        The arm to compare with.
    level
        Of the intervals.
    error
        The chance, over all arms together, of calling any arm better that is not (and of calling any worse).
    unit
        Of the losses, for the verdicts.
    higher
        The losses are a metric where higher is better.

    Raises
    ------
    InputError
        If the shapes do not fit, a loss is not finite, names repeat, or `over` is not an arm.
    """
    table = _checked(losses, arms, over, level, error)
    base = list(arms).index(over)
    others = [i for i in range(len(arms)) if i != base]
    mean, seeds = table[others].mean(1) - table[base].mean(), table.shape[1]
    twins = ~(table[others] - table[base]).any(1)  # the baseline under another name: says nothing of the spread
    compared = max(int((~twins).sum()), 1)
    design, error_of, freedom = _design(table[base], table[others], twins, level)
    stats = _stats()
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(np.where(error_of > 0, mean / error_of, 0.0))
    enough = seeds > 1
    below = _corrected(stats.t.cdf(t, freedom) if enough else np.ones(len(others)), compared)
    above = _corrected(stats.t.sf(t, freedom) if enough else np.ones(len(others)), compared)
    better, worse = (above, below) if higher else (below, above)
    half = _half(error_of, freedom, level, compared) if enough else np.full(len(others), np.nan)
    half = np.where((error_of == 0) & (mean != 0), np.nan, half)  # equal differences: not certain, but unknown
    return [
        PairedDifference(
            arm=arms[i],
            over=over,
            difference=float(mean[j]),
            low=float(mean[j] - half[j]),
            high=float(mean[j] + half[j]),
            level=level,
            design=design,
            p=float(better[j]),
            p_worse=float(worse[j]),
            error=error,
            seeds=seeds,
            unit=unit,
            higher=higher,
        )
        for j, i in enumerate(others)
    ]


def _cut(compared: int) -> float:
    """Return what a tail is cut by for the choice of the design, with `compared` arms beside the baseline."""
    return 1 - 0.8 / (compared + 1)


def _corrected(p: Array, compared: int) -> Array:
    """Return p-values [m] of the least of `compared` arms (Sidak), after the choice of a design."""
    return np.asarray(1 - (1 - np.minimum(p / _cut(compared), 1.0)) ** compared)


def _half(error_of: Array, freedom: Array, level: float, compared: int) -> Array:
    """Return the half widths [m] of intervals that hold together."""
    tail = (1 - (1 - (1 - level) / 2) ** (1 / compared)) * _cut(compared)
    return np.asarray(_stats().t.isf(tail, freedom) * error_of)


def _design(base: Array, others: Array, twins: NDArray[np.bool_], level: float) -> tuple[str, Array, Array]:
    """Return the design, and the standard error and degrees of freedom of each arm's difference [m]."""
    m, seeds = others.shape
    error_of, freedom = np.zeros(m), np.full(m, max(seeds - 1.0, 1.0))
    if seeds < 2:
        return "paired", np.full(m, np.nan), freedom
    if twins.all():
        return "paired", error_of, freedom
    found = {"paired": _paired(base, others[~twins]), "unpaired": _unpaired(base, others[~twins])}
    compared = int((~twins).sum())
    widths = {name: float(_half(*own, level, compared).mean()) for name, own in found.items()}
    design = min(widths, key=lambda name: widths[name])
    error_of[~twins], freedom[~twins] = found[design]
    return design, error_of, freedom


def _paired(base: Array, others: Array) -> tuple[Array, Array]:
    """Return standard errors [m] of the mean differences by seed, and degrees of freedom [m]."""
    paired = others - base
    own, variance = paired.shape[1] - 1, paired.var(1, ddof=1)
    if len(paired) < 3 or (variance > 0).sum() < 2:
        return np.sqrt(variance / paired.shape[1]), np.full(len(paired), float(own))
    table = np.vstack([base, others])
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    common = 2 * float((residual**2).sum()) / (len(paired) * own)  # of a difference of two runs with equal errors
    pooled, freedom = _moderated(variance, own, common, len(paired) * own)
    return np.sqrt(pooled / paired.shape[1]), freedom


def _unpaired(base: Array, others: Array) -> tuple[Array, Array]:
    """Return standard errors [m] of differences of means of independent runs, and degrees of freedom [m] (Welch)."""
    table = np.vstack([base, others])
    own, variance = table.shape[1] - 1, table.var(1, ddof=1)
    if (variance > 0).sum() < 2:
        return np.sqrt((variance[1:] + variance[0]) / table.shape[1]), np.full(len(others), float(own))
    most = float(len(table) * own)
    pooled, freedom = _moderated(variance, own, float(variance.mean()), most)
    total = pooled[1:] + pooled[0]
    welch = total**2 / (pooled[1:] ** 2 / freedom[1:] + pooled[0] ** 2 / freedom[0])
    shared = np.isinf(_prior_freedom(np.log(variance[variance > 0]), own))
    return np.sqrt(total / table.shape[1]), np.full(len(others), most) if shared else np.minimum(welch, most)


def _moderated(variance: Array, own: int, common: float, most: float) -> tuple[Array, Array]:
    """Return variances [m] shrunk towards a common one as far as they agree, and their degrees of freedom [m]."""
    prior = _prior_freedom(np.log(variance[variance > 0]), own)
    pooled = np.full(len(variance), common) if np.isinf(prior) else (prior * common + own * variance) / (prior + own)
    return pooled, np.full(len(variance), float(min(prior + own, most)))


def _prior_freedom(logs: Array, own: int) -> float:
    """Return how many degrees of freedom the common variance is worth: infinite where the arms' variances agree."""
    special = _special()
    excess = float(logs.var(ddof=1)) - float(special.polygamma(1, own / 2))
    if excess <= 0:
        return float("inf")
    low, high = 1e-3, 1e6  # trigamma falls: the half freedom with trigamma = excess
    for _ in range(200):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if special.polygamma(1, middle) > excess else (low, middle)
    return 2 * low


def _checked(losses: ArrayLike, arms: Sequence[str], over: str, level: float, error: float) -> Array:
    table = np.asarray(losses, np.float64)
    if table.ndim != 2 or table.shape[0] != len(arms) or table.shape[1] < 1:
        raise InputError(f"losses should be [arms, seeds] with {len(arms)} arms; found shape {table.shape}")
    if len(set(arms)) != len(arms):
        raise InputError(f"arms should have different names; found {', '.join(arms)}")
    if over not in arms:
        raise InputError(f"over should be one of the arms ({', '.join(arms)}); found {over!r}")
    if not np.isfinite(table).all():
        arm, seed = np.argwhere(~np.isfinite(table))[0]
        raise InputError(
            f"losses should be finite; found {table[arm, seed]} for {arms[arm]}, seed {seed}: run it again"
        )
    for name, value in (("level", level), ("error", error)):
        if not 0 < value < 1:
            raise InputError(f"{name} should be between 0 and 1; found {value!r}")
    return table


def _stats():  # type: ignore[no-untyped-def]
    try:
        from scipy import stats
    except ImportError:
        raise missing_extra("scipy", "compare") from None
    return stats


def _special():  # type: ignore[no-untyped-def]
    from scipy import special

    return special
