"""
Differences between arms that were trained with the same seeds.

Losses move more from seed to seed than from mixture to mixture, and arms with the same seed (the same initial model,
the same order of rows within a source) move together. So each seed gives one difference per arm, and the seeds'
spread of that difference is its error. With few seeds the spread is hardly known: it is shrunk towards that of all
arms, as far as the arms' spreads agree (an empirical-Bayes variance: Smyth, 2004, "Linear models and empirical Bayes
methods for assessing differential expression", section 6). Where one arm scatters much more than the others, its own
interval is then too narrow: simulated with three times the spread and three seeds, a 90 % interval covered 73 to 82
%, those of the others 95 %.
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
        Its own interval, not corrected for the number of arms.
    unpaired
        (low, high) of the same difference if the runs had not been paired: Welch's interval.
    p
        One-sided evidence that the arm is better, corrected for the number of arms (Holm, 1979).
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
    unpaired: tuple[float, float]
    p: float
    p_worse: float
    error: float
    seeds: int
    unit: str = "nats per token"
    higher: bool = False

    @property
    def verdict(self) -> str:
        """One sentence: better, worse or no better, by how much, and how sure that is."""
        if not np.isfinite(self.low):
            if self.seeds > 1:
                return (
                    f"unverified: all {self.seeds} seeds give the same difference, {self.difference:+.4g} "
                    f"{self.unit}, which tells nothing of how far runs differ; measure on more held-out rows"
                )
            return f"unverified: {self.seeds} seed(s) do not tell how far runs differ; run at least 2"
        figures = (
            f"{self.unit}, {100 * self.level:g} % interval {self.low:+.4g} to {self.high:+.4g}, {self.seeds} seeds"
        )
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
    paired = table[others] - table[base]
    mean, seeds = paired.mean(1), table.shape[1]
    spread, freedom = _moderated(table[base], paired)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, mean / (spread / np.sqrt(seeds)), 0.0)
    t = np.where(np.isnan(t), 0.0, t)
    stats = _stats()
    enough = seeds > 1
    below = _holm(stats.t.cdf(t, freedom) if enough else np.ones(len(others)))
    above = _holm(stats.t.sf(t, freedom) if enough else np.ones(len(others)))
    better, worse = (above, below) if higher else (below, above)
    half = stats.t.ppf((1 + level) / 2, freedom) * spread / np.sqrt(seeds) if enough else np.full(len(others), np.nan)
    half = np.where((spread == 0) & (mean != 0), np.nan, half)  # equal differences: not certain, but unknown
    return [
        PairedDifference(
            arm=arms[i],
            over=over,
            difference=float(mean[j]),
            low=float(mean[j] - half[j]),
            high=float(mean[j] + half[j]),
            level=level,
            unpaired=_unpaired(table[i], table[base], level),
            p=float(better[j]),
            p_worse=float(worse[j]),
            error=error,
            seeds=seeds,
            unit=unit,
            higher=higher,
        )
        for j, i in enumerate(others)
    ]


def _moderated(base: Array, paired: Array) -> tuple[Array, Array]:
    """Return the standard deviation [m] of each arm's paired differences and its degrees of freedom [m]."""
    own = paired.shape[1] - 1
    if own < 1:
        return np.full(len(paired), np.nan), np.ones(len(paired))
    told = paired.any(1)  # the others are the baseline under another name: they say nothing of the spread
    spread, freedom = np.zeros(len(paired)), np.full(len(paired), float(own))
    if told.any():
        spread[told], freedom[told] = _shared_spread(base, paired[told])
    return spread, freedom


def _shared_spread(base: Array, paired: Array) -> tuple[Array, Array]:
    own, variance = paired.shape[1] - 1, paired.var(1, ddof=1)
    some = variance > 0
    if len(paired) < 3 or some.sum() < 2:
        return np.sqrt(variance), np.full(len(paired), float(own))
    table = np.vstack([base, base + paired])
    residual = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    common_freedom = len(paired) * own
    common = 2 * float((residual**2).sum()) / common_freedom  # of a difference of two runs with equal errors
    prior = _prior_freedom(np.log(variance[some]), own)
    total = np.minimum(prior + own, common_freedom)
    weight = np.inf if np.isinf(prior) else prior
    pooled = common if np.isinf(weight) else (weight * common + own * variance) / (weight + own)
    return np.sqrt(np.broadcast_to(pooled, variance.shape)), np.full(len(paired), float(total))


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


def _holm(p: Array) -> Array:
    """Return p-values [m] corrected for their number: the chance that any true null is called is that of the least."""
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty(len(p))
    out[order] = np.minimum(raised, 1.0)
    return out


def _unpaired(a: Array, b: Array, level: float) -> tuple[float, float]:
    """Return Welch's interval of mean(a) - mean(b)."""
    if len(a) < 2:
        return float("nan"), float("nan")
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    mean, total = float(a.mean() - b.mean()), float(va + vb)
    if total == 0:
        return mean, mean
    freedom = total**2 / ((va**2 + vb**2) / (len(a) - 1))
    half = float(_stats().t.ppf((1 + level) / 2, freedom)) * float(np.sqrt(total))
    return mean - half, mean + half


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
