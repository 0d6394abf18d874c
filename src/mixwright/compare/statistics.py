"""
Differences between arms that were trained with the same seeds.

All intervals of a measure hold together (Sidak): an arm is called better exactly where its interval says so. How far
differences move by chance, paired by seed or not, is `spread`'s to say; `power` says what could have been seen, and
`looks` what it costs to look while seeds are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mixwright.compare.looks import Looks
from mixwright.compare.power import detectable, seeds_needed, with_seeds
from mixwright.compare.spread import Array, spread
from mixwright.errors import InputError


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
        One-sided evidence that the arm is better, corrected for the number of arms and the choice of the design; with
        looks, scaled so that it is compared with `error`.
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
    detectable
        The true difference that would be called better with a chance of about .8, with this spread and these seeds, or
        with looks, after the most seeds; nan where the spread is not known.
    goal
        A difference that would be worth seeing.
    needed
        Seeds for the goal to be detectable; None where the spread is not known, with more than 1,000, or with looks.
    looks
        The looks that were allowed for; None: the number of seeds was fixed.
    margin
        A difference that is shown to be smaller than this needs no further look; None: there is no margin.
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
    detectable: float = float("nan")
    goal: float = float("nan")
    needed: int | None = None
    looks: Looks | None = None
    margin: float | None = None

    @property
    def decided(self) -> bool:
        """Whether no further seed is needed: better, worse, smaller than the margin, or the baseline once more."""
        if not np.isfinite(self.low):
            return False
        return self.low == self.high or self.word in ("better", "worse") or self.small

    @property
    def small(self) -> bool:
        """Whether the whole interval is smaller than the margin."""
        return self.margin is not None and max(-self.low, self.high) < self.margin

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
        figures += f"{self._seeds}, {self.design}"
        if self.p <= self.error:
            return f"better than {self.over} by {abs(self.difference):.4g} {figures}"
        if self.p_worse <= self.error:
            return f"no better than {self.over}: worse by {abs(self.difference):.4g} {figures}"
        if self.small:
            figures += f"; smaller than {self.margin:.4g}"
        return f"no better than {self.over} on this evidence: difference {self.difference:+.4g} {figures}"

    @property
    def _seeds(self) -> str:
        if self.looks is None:
            return f"{self.seeds} seeds"
        return f"{self.looks.at_least} to {self.looks.at_most} seeds, stopped at {self.seeds}"


def paired_differences(
    losses: ArrayLike,
    arms: Sequence[str],
    over: str = "uniform",
    level: float = 0.9,
    error: float = 0.05,
    unit: str = "nats per token",
    higher: bool = False,
    looks: Looks | None = None,
    goal: float = 0.01,
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
    looks
        Where seeds were added until something was seen: the looks that were taken or could have been. Intervals and
        verdicts then hold over all of them. None: the number of seeds was fixed beforehand.
    goal
        A difference that would be worth seeing, as a share of the baseline's mean.

    Raises
    ------
    InputError
        If the shapes do not fit, a loss is not finite, names repeat, `over` is not an arm, or there is no look at
        this number of seeds.
    """
    table = _checked(losses, arms, over, level, error)
    if not goal > 0:
        raise InputError(f"goal should be above 0, found {goal!r}")
    base, seeds = list(arms).index(over), table.shape[1]
    others = [i for i in range(len(arms)) if i != base]
    tail, share, last = (1 - level) / 2, error, error
    if looks is not None:
        tail, share, last = looks.tail(seeds, tail), looks.tail(seeds, error), looks.tail(looks.at_most, error)
    wanted = goal * abs(float(table[base].mean()))
    most = None if looks is None else looks.at_most
    design, found = _judged(table[base], table[others], tail, last, wanted, most)
    return [
        PairedDifference(
            arm=arms[i],
            over=over,
            difference=mean,
            low=mean - half,
            high=mean + half,
            level=level,
            design=design,
            p=min((above if higher else below) * error / share, 1.0),
            p_worse=min((below if higher else above) * error / share, 1.0),
            error=error,
            seeds=seeds,
            unit=unit,
            higher=higher,
            detectable=seen,
            goal=wanted,
            needed=needed,
            looks=looks,
            margin=None if looks is None or looks.margin is None else looks.margin * abs(float(table[base].mean())),
        )
        for i, (mean, half, below, above, seen, needed) in zip(others, found, strict=True)
    ]


def _judged(
    base: Array, others: Array, tail: float, error: float, goal: float, most: int | None
) -> tuple[str, list[tuple[float, float, float, float, float, int | None]]]:
    """
    Return the design, and of each arm what a `PairedDifference` is made of.

    These are the mean difference, half of its interval, corrected p-values of being lower and higher by chance, the
    detectable difference, and the seeds that the goal needs. With looks the difference is that after the `most` seeds,
    at the level `error` of the last look.
    """
    m, seeds = others.shape
    mean = others.mean(1) - base.mean()
    twins = ~(others - base).any(1)  # the baseline under another name: says nothing of the spread
    half, below, above, seen = (np.full(m, fill) for fill in (np.nan, 1.0, 1.0, np.nan))
    needed: list[int | None] = [None] * m
    half[twins], design = (0.0 if seeds > 1 else np.nan), "paired"
    if seeds > 1 and not twins.all():
        rest = ~twins
        paired, found = spread(base, others[rest], tail)
        design = "paired" if paired else "unpaired"
        half[rest], below[rest], above[rest] = found.half(tail), found.below(mean[rest]), found.below(-mean[rest])
        unknown = (half == 0) & (mean != 0)  # equal differences of all arms: not certain, but unknown
        half[unknown], below[unknown], above[unknown] = np.nan, 1.0, 1.0
        last = with_seeds(found, most or seeds, seeds)
        seen[rest] = np.where(half[rest] > 0, detectable(last, error), np.nan)
        if goal > 0 and most is None:
            for arm, least in zip(np.flatnonzero(rest), seeds_needed(found, error, seeds, goal), strict=True):
                needed[arm] = least if half[arm] > 0 else None
    columns = (mean, half, below, above, seen)
    parts = zip(*(map(float, column) for column in columns), needed, strict=True)
    return design, list(parts)


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
