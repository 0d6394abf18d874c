"""Losses that fall as a power law of the rows: fitted without an optimiser, and a bounded record to fit them to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
POINTS = 64
LEAST, MOST = 0.05, 0.8  # exponents
DELTA = 1e-3  # of the Huber loss, in logs: as good as absolute errors
ROUNDS = 15


class LossCourse(NamedTuple):
    """
    Losses of k sources over a training, as at most 64 points: each is the mean over `span` observations.

    When all points are full, each two become one. So memory stays the same however long a training is, and a point
    averages over more of the noise the more there is of it.

    Attributes
    ----------
    rows
        [64] the sum of the rows seen so far, over a point's observations.
    loss, seen
        [64, k] sums of loss times rows, and of rows.
    size
        [64] observations in each point.
    span
        Observations that a full point has.
    """

    rows: Array
    loss: Array
    seen: Array
    size: Array
    span: int

    @classmethod
    def empty(cls, k: int) -> LossCourse:
        """Return the course before any observation."""
        none = np.zeros((POINTS, k))
        return cls(np.zeros(POINTS), none, none.copy(), np.zeros(POINTS), 1)

    def add(self, rows: float, loss: Array, counts: Array) -> LossCourse:
        """Return the course with one more observation: rows so far, losses [k] (nan: unknown) and rows of each [k]."""
        course = self._halved() if self.size[-1] == self.span else self
        at = min(int((course.size == course.span).sum()), POINTS - 1)
        known = ~np.isnan(loss) & (counts > 0)
        new = LossCourse(course.rows.copy(), course.loss.copy(), course.seen.copy(), course.size.copy(), course.span)
        new.rows[at] += rows
        new.size[at] += 1
        new.loss[at] += np.where(known, counts * np.where(known, loss, 0.0), 0.0)
        new.seen[at] += np.where(known, counts, 0.0)
        return new

    def points(self) -> tuple[Array, Array]:
        """Return the rows [p] and mean losses [p, k] (nan: none) of the points that have an observation."""
        used = self.size > 0
        count = self.seen[used]
        mean = np.divide(self.loss[used], count, out=np.full(count.shape, np.nan), where=count > 0)
        return self.rows[used] / self.size[used], mean

    def _halved(self) -> LossCourse:
        return LossCourse(_paired(self.rows), _paired(self.loss), _paired(self.seen), _paired(self.size), 2 * self.span)


def _paired(part: Array) -> Array:
    """Return the sums of each two neighbours, and zeros for the points that become free."""
    pairs: Array = part[0::2] + part[1::2]
    return np.concatenate([pairs, np.zeros_like(pairs)])


class PowerLaws(NamedTuple):
    """L(n) = floor + height (n / scale)^-exponent of each source [k]; nan where there is no fit."""

    floor: Array
    height: Array
    exponent: Array
    scale: float

    @classmethod
    def none(cls, k: int) -> PowerLaws:
        """Return no fit, for k sources."""
        unknown = np.full(k, np.nan)
        return cls(unknown, unknown.copy(), unknown.copy(), 1.0)

    @classmethod
    def fit(cls, rows: Array, loss: Array) -> PowerLaws:
        """
        Return the laws of losses [p, k] at `rows` [p] with the least sum of Huber errors of log L; 4 points or more.

        For one exponent the law is linear in the other two, which are at least 0: weighted least squares in two
        unknowns, with weights that make them least absolute errors. The exponent is found on a grid that is refined.
        """
        laws, scale = cls.none(loss.shape[1]), float(rows.max(initial=1.0))
        for i, values in enumerate(loss.T):
            known = values > 0
            if known.sum() >= 4:
                laws.floor[i], laws.height[i], laws.exponent[i] = _fit(rows[known] / scale, values[known])
        return laws._replace(scale=scale)

    def reducible(self, rows: float) -> Array:
        """Return L(rows) - floor [k]: what more rows can still take away."""
        return self.height * (rows / self.scale) ** -self.exponent


def _fit(rows: Array, loss: Array) -> tuple[float, float, float]:
    grid, width = np.linspace(LEAST, MOST, 16), (MOST - LEAST) / 15
    for _ in range(4):
        floor, height, error = _linear(rows, loss, grid)
        best = int(error.argmin())
        found = float(floor[best]), float(height[best]), float(grid[best])
        grid, width = np.clip(found[2] + width * np.linspace(-1, 1, 9), LEAST, MOST), width / 4
    return found


def _linear(rows: Array, loss: Array, exponents: Array) -> tuple[Array, Array, Array]:
    """Return floors and heights [e] for each exponent, and the sum of the Huber errors of log L."""
    x = rows ** -exponents[:, None]  # [e, p]
    weight = np.broadcast_to(1 / loss**2, x.shape)
    for _ in range(ROUNDS):
        floor, height = _least_squares(x, loss, weight)
        residual = np.log(np.maximum(floor[:, None] + height[:, None] * x, 1e-300)) - np.log(loss)
        weight = np.minimum(1.0, DELTA / np.maximum(np.abs(residual), 1e-300)) / loss**2
    size = np.abs(residual)
    return floor, height, np.where(size > DELTA, DELTA * (size - DELTA / 2), size**2 / 2).sum(1)


def _least_squares(x: Array, loss: Array, weight: Array) -> tuple[Array, Array]:
    """Return floors and heights [e], both at least 0, with the least weighted squares; x and weight are [e, p]."""
    w, wx, wl = weight.sum(1), (weight * x).sum(1), (weight * loss).sum(1)
    wxx, wxl = (weight * x * x).sum(1), (weight * x * loss).sum(1)
    determinant = w * wxx - wx**2
    safe = np.where(determinant > 1e-12 * w * wxx, determinant, 1.0)
    floor, height = (wxx * wl - wx * wxl) / safe, (w * wxl - wx * wl) / safe
    flat, steep = (height < 0) | (determinant <= 1e-12 * w * wxx), floor < 0
    return (
        np.where(flat, wl / w, np.where(steep, 0.0, floor)),
        np.where(flat, 0.0, np.where(steep, wxl / wxx, height)),
    )
