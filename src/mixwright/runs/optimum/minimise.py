"""The allowed weights for which laws predict the least, with a certificate where the laws are convex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.polytope import Polytope
from mixwright.constraints.quadratic import minimise_quadratic, project
from mixwright.runs.laws.law import FittedLaw
from mixwright.runs.optimum.outer import Outer

Array = NDArray[np.float64]
ROUNDS = 60
CANDIDATES = 4000  # mixtures between measured ones, where a law is not convex
TOP = 0.005  # of them whose mean is taken where a law has no slopes (RegMix: 100 of its best)
REFINED = 3  # of the best that descent starts from
APART = 0.1  # weight that must move between two of them
AS_LOW = 10.0  # descents whose ends differ by less, in tolerances, found one optimum
LEAST = 1e-9  # curvature that is added for a law that has none, in units of its gradient


@dataclass(frozen=True, eq=False)
class Objective:
    """
    outer(law_1(w), ..., law_m(w)) + pull * sum_i (w_i - prior_i)^2 / (2 metric_i), over the allowed positions of w [d].

    The last term is the second order of KL(w | prior) at the prior, which has no infinite slope at a weight of 0; the
    metric lies between the prior and uniform weights, so that a small source is not held fast.
    """

    laws: tuple[FittedLaw, ...]
    outer: Outer
    prior: Array  # [allowed]
    metric: Array  # [allowed]
    pull: float
    positions: NDArray[np.intp]
    d: int

    @property
    def convex(self) -> bool:
        """Return whether it is convex for certain."""
        return all(law.convex for law in self.laws)

    @property
    def smooth(self) -> bool:
        """Return whether every law has slopes."""
        return all(law.smooth for law in self.laws)

    def full(self, w: Array) -> Array:
        """Return weights [..., d] from those of the allowed positions."""
        out = np.zeros((*w.shape[:-1], self.d))
        out[..., self.positions] = w
        return out

    def losses(self, w: Array) -> Array:
        """Return the predictions [n, m] at weights [n, allowed]."""
        W = self.full(w)
        return np.stack([law.predict(W) for law in self.laws], axis=1)

    def penalty(self, w: Array) -> Array:
        """Return the pull's part [n]."""
        return np.asarray(self.pull * ((w - self.prior) ** 2 / (2 * self.metric)).sum(-1))

    def values(self, w: Array) -> Array:
        """Return the objective [n] at weights [n, allowed]."""
        return self.outer.value(self.losses(w)) + self.penalty(w)

    def gradient(self, w: Array) -> Array:
        """Return the gradient [allowed]."""
        own = self.outer.slopes(self.losses(w[None])[0]) @ self._gradients(w)
        return np.asarray(own + self.pull * (w - self.prior) / self.metric)

    def _gradients(self, w: Array) -> Array:
        W = self.full(w[None])
        return np.stack([law.gradient(W)[0][self.positions] for law in self.laws])

    def hessian(self, w: Array) -> Array:
        """Return the Hessian [allowed, allowed], made positive semi-definite."""
        p = self.losses(w[None])[0]
        slopes, J = self.outer.slopes(p), self._gradients(w)
        W = self.full(w)
        at = np.ix_(self.positions, self.positions)
        H = np.sum([s * law.hessian(W)[at] for s, law in zip(slopes, self.laws, strict=True) if s > 0], axis=0)
        H = H + J.T @ self.outer.curvature(p) @ J
        if not self.convex:
            values, vectors = np.linalg.eigh((H + H.T) / 2)
            H = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return H + np.diag(self.pull / self.metric)


@dataclass(frozen=True, eq=False)
class Least:
    """
    Weights [allowed], the objective there, and its certificate (infinite where there is none).

    Without a certificate: how many descents there were, and how many of them ended as low (0 of a law without slopes).
    """

    weights: Array
    value: float
    gap: float
    descents: int = 1
    agreed: int = 1


def minimise(objective: Objective, space: Polytope, starts: Sequence[Array], tolerance: float) -> Least:
    """
    Return the minimum over `space`, from the best of where several starts lead.

    Newton's method with a quadratic programme for each step, and a line search. Where the objective is convex, one
    start is enough and the gap max <-g, v - w> over allowed v is a certificate: value - minimum <= gap. Elsewhere many
    mixtures between the starts are tried first; of a law without slopes the mean of the best is the answer.
    """
    starts = [project(w, space) for w in starts]
    if not objective.convex and len(starts) > 1:
        tried = _between(np.array(starts))
        order = np.argsort(objective.values(tried))
        if not objective.smooth:
            w = tried[order[: max(1, int(TOP * len(tried)))]].mean(0)
            return Least(w, float(objective.values(w[None])[0]), np.inf, 0, 0)
        starts = _apart(tried[order])
    if objective.convex:
        starts = [min(starts, key=lambda w: float(objective.values(w[None])[0]))]
    found = [_descend(objective, space, w, tolerance) for w in starts]
    best = min(found, key=lambda one: one.value)
    agreed = sum(one.value <= best.value + AS_LOW * tolerance for one in found)
    return replace(best, descents=len(found), agreed=agreed)


def _apart(tried: Array) -> list[Array]:
    """Return the best of some mixtures [n, k], which come in order, and the next best ones that are not beside it."""
    found = [tried[0]]
    while len(found) < REFINED:
        far = np.min([np.abs(tried - one).sum(1) / 2 for one in found], axis=0) > APART
        if not far.any():
            break
        found.append(tried[int(far.argmax())])
    return found


def _between(starts: Array) -> Array:
    """Return the starts and random mixtures of some of them: all are allowed, since what is allowed is convex."""
    shares = np.random.default_rng(0).dirichlet(np.full(len(starts), 2.0 / len(starts)), CANDIDATES)
    return np.concatenate([starts, shares @ starts])


def gap_at(objective: Objective, space: Polytope, w: Array) -> float:
    """Return the certificate at w: how much less the linearised objective can be."""
    gain = -objective.gradient(w)
    own = max(0.0, float(space.maximum(gain).bound - gain @ w))
    return own + objective.outer.slack(objective.losses(w[None])[0])


def _descend(objective: Objective, space: Polytope, w: Array, tolerance: float) -> Least:
    value = float(objective.values(w[None])[0])
    damping, best = LEAST, np.inf
    for _ in range(ROUNDS):
        gain = -objective.gradient(w)
        gap = max(0.0, float(space.maximum(gain).bound - gain @ w))
        best = gap
        if gap <= tolerance:
            break
        H = objective.hessian(w)
        H[np.diag_indices(w.size)] += damping * max(float(np.ptp(gain)), 1e-12)
        step = minimise_quadratic(H, w, space, gain) - w
        size, after = _search(objective, w, step, value, float(gain @ step))
        if size == 0.0:
            if damping > 1e3:
                break
            damping = max(damping * 100, 1e-4)  # the model is not to be trusted so far out: shorter steps
            continue
        damping = max(damping / 10, LEAST)
        moved = value - after
        w, value = w + size * step, after
        if not objective.convex and moved <= 1e-3 * tolerance:
            break
    return Least(w, value, best if objective.convex else np.inf)


def _search(objective: Objective, w: Array, step: Array, value: float, slope: float) -> tuple[float, float]:
    """Return the length of the step that falls enough, and the value there; 0 where none does."""
    sizes = 0.5 ** np.arange(12)
    values = objective.values(w + sizes[:, None] * step)
    enough = np.flatnonzero(values <= value - 1e-4 * sizes * slope)
    return (float(sizes[enough[0]]), float(values[enough[0]])) if enough.size and slope > 0 else (0.0, value)
