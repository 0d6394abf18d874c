"""Mixtures that could be trained, all of them allowed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope
from mixwright.search.inputs import Allowed

Array = NDArray[np.float64]
STRENGTHS = (0.1, 20.0)  # of the Dirichlet distribution: from nearly one source alone to near the prior
TEMPERATURE = 0.5  # power of the prior that mixtures are drawn around: small sources are drawn too (RegMix)
DIGITS = 6  # of a weight in a file


def candidates(allowed: Allowed, count: int, rng: np.random.Generator) -> Array:
    """Return mixtures [count, k] from Dirichlet distributions around the prior, moved into what is allowed."""
    own = allowed.prior[allowed.positions] ** TEMPERATURE
    centre = 0.9 * own / own.sum() + 0.1 / own.size
    strengths = np.exp(rng.uniform(np.log(STRENGTHS[0]), np.log(STRENGTHS[1]), count))
    draws = np.maximum(rng.standard_gamma(strengths[:, None] * centre), 1e-300)
    return inside(allowed, allowed.full(draws / draws.sum(1, keepdims=True)))


def inside(allowed: Allowed, W: Array) -> Array:
    """Return mixtures [n, k], each moved towards an inner one until it is allowed, and rounded as in files."""
    space = allowed.part
    own = W[:, allowed.positions]
    total = own.sum(1, keepdims=True)
    own = np.where(total > 0, own / np.where(total > 0, total, 1.0), 1 / own.shape[1])
    middle = space.interior()[1]
    low, high = np.zeros(len(own)), np.ones(len(own))
    fits = _allowed(space, own)
    for _ in range(40):  # bisection: the set is convex
        step = (low + high) / 2
        good = _allowed(space, middle + step[:, None] * (own - middle))
        low, high = np.where(good, step, low), np.where(good, high, step)
    step = np.where(fits, 1.0, low)
    return _rounded(allowed.full(middle + step[:, None] * (own - middle)))


def _allowed(space: Polytope, W: Array) -> NDArray[np.bool_]:
    """Return [n], which mixtures satisfy all limits."""
    over = np.maximum(space.lower - W, W - space.upper).max(1)
    if len(space.rows):
        over = np.maximum(over, (W @ space.rows.T - space.limits).max(1))
    if space.centre is not None:
        over = np.maximum(over, np.abs(W - space.centre).sum(1) - space.radius)
    return np.asarray(over <= 1e-12)


def _rounded(W: Array) -> Array:
    """Return weights that a file holds exactly; what rounding leaves goes to the largest."""
    out = np.asarray(np.round(np.maximum(W, 0.0), DIGITS), np.float64)
    largest = out.argmax(1)
    rows = np.arange(len(out))
    out[rows, largest] += 1 - out.sum(1)
    out[rows, largest] = np.round(out[rows, largest], DIGITS)
    return out
