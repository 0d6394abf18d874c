"""The quadratic programme of squared error with its certificate, its folds and its bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.newton import newton_step
from mixwright.constraints.polytope import Polytope
from mixwright.constraints.quadratic import minimise_quadratic, project
from mixwright.search.solver.cross_moments import CrossMoments
from mixwright.search.solver.programme import minimax_step

Array = NDArray[np.float64]
GRID = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
EVIDENCE, FULL_AT, FALL = 3.0, 50.0, 1.25  # nats that may be given away; see decision 5
ROUNDS = 8
RESAMPLED = 1e-6  # of the scale: far below the noise of resampling
REPLICATES = 200


@dataclass(frozen=True)
class SquaredSolution:
    """Weights [allowed], loss, objective and gap in squared units, and minus the gradient of the objective."""

    weights: Array
    loss: float
    objective: float
    gap: float
    gain: Array


@dataclass(frozen=True)
class SquaredFolds:
    """
    What cross-validation chose, with the fits that left out each fold.

    shrinkage; weights: {tau: [folds, allowed]}; errors: {tau: [groups]}, out-of-fold squared error of each group times
    its share.
    """

    shrinkage: float
    weights: dict[float, Array]
    errors: dict[float, Array]


@dataclass(frozen=True)
class SquaredProblem:
    """min w M w + tau s |w - prior|^2 over the allowed weights: matrices of the allowed sources, their prior, space."""

    moments: CrossMoments
    allowed: NDArray[np.intp]
    prior: Array
    space: Polytope

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return int(self.moments.documents.sum())

    @cached_property
    def scale(self) -> float:
        """Return the variance of outcomes, or a hundredth of the sources' mean squared error if that is larger."""
        return max(self.moments.spread, float(np.diag(self.moments.total).mean()) / 100) or 1.0

    @cached_property
    def curvature(self) -> float:
        """Return s: the mean squared deviation of the predictions from their mean over the allowed sources."""
        M = self.part(self.moments.total)
        k = len(M)
        return max(0.0, float(np.trace(M) - M.sum() / k) / max(1, k - 1))

    def part(self, M: Array) -> Array:
        """Return M of the allowed sources."""
        return M if self.allowed.size == len(M) else M[np.ix_(self.allowed, self.allowed)]

    def solve(self, M: Array, shrinkage: float, tolerance: float, start: Array | None = None) -> SquaredSolution:
        """
        Return the optimum for moments M [k, k] to a gap of tolerance * scale.

        The certificate is max <G, v - w> over allowed v, G minus the gradient of the objective at w. The first weights
        are the allowed ones nearest to the prior: they stay where all sources predict the same.
        """
        M = self.part(M) / self.scale
        tau = shrinkage * self.curvature / self.scale
        H = 2 * (M + tau * np.eye(len(M)))
        # the nearest to the prior: ties are broken towards it
        w = project(self.prior, self.space) if start is None else start
        best = self._certify(M, tau, w)
        # a fold or a draw mostly keeps the set of used sources: then one linear system solves it
        if start is not None and self.space.simple and best.gap > tolerance:
            near = self._same_face(H, best)
            best = best if near is None else min(best, self._certify(M, tau, near), key=lambda found: found.gap)
        for turn in range(ROUNDS):
            if best.gap <= tolerance:
                break
            if turn < 2:
                w = minimise_quadratic(H, best.weights, self.space, best.gain)
            else:
                step = minimax_step(H, best.weights, np.zeros(w.size), np.zeros(1), best.gain[None], self.space)
                if step is None:
                    break
                w = step[0]
            found = self._certify(M, tau, w)
            if found.gap < best.gap:
                best = found
            # no smaller gap: rounding sets the limit
            elif turn >= 2:
                break
        s = self.scale
        return SquaredSolution(best.weights, best.loss * s, best.objective * s, best.gap * s, best.gain * s)

    def _same_face(self, H: Array, at: SquaredSolution) -> Array | None:
        """Return the optimum over the weights that are not at a bound, or None where it leaves the bounds."""
        w, lower, upper = at.weights.copy(), self.space.lower, self.space.upper
        free = np.flatnonzero((w > lower) & (w < upper))
        if free.size < 2:
            return None
        part = H[np.ix_(free, free)]
        w[free] += newton_step(part[None], np.full((1, free.size), 1e-12 * float(np.trace(part))), at.gain[free][None])[
            0
        ]
        return w if (w >= lower).all() and (w <= upper).all() else None

    def _certify(self, M: Array, tau: float, w: Array) -> SquaredSolution:
        off = w - self.prior
        loss = float(w @ M @ w)
        gain = -2 * (M @ w + tau * off)
        gap = float(self.space.maximum(gain).bound - gain @ w)
        return SquaredSolution(w, loss, loss + tau * float(off @ off), max(gap, 0.0), gain)

    def fit_folds(self, grid: tuple[float, ...], left_out: list[tuple[int, ...]]) -> dict[float, Array]:
        """Return {tau: weights [len(left_out), allowed]} fitted without some folds, warm along the grid."""
        out = {tau: np.empty((len(left_out), self.allowed.size)) for tau in grid}
        fold, moments = self.moments.folds, self.moments
        for i, left in enumerate(left_out):
            keep = ~np.isin(fold, left)
            M, w = moments.M[keep].sum(0) / moments.share[keep].sum(), None
            for tau in sorted(grid, reverse=True):
                w = self.solve(M, tau, RESAMPLED, w).weights
                out[tau][i] = w
        return out

    def group_errors(self, w: Array, groups: NDArray[np.intp]) -> Array:
        """Return the squared error of some groups times their share, under weights of the allowed sources."""
        return np.array([w @ self.part(self.moments.M[g]) @ w for g in groups])

    def out_of_fold(self, weights: Array) -> Array:
        """Return the error [groups], times shares, of each group under the weights of its fold [folds, allowed]."""
        out, fold = np.empty(len(self.moments.share)), self.moments.folds
        for f in range(len(weights)):
            inside = np.flatnonzero(fold == f)
            out[inside] = self.group_errors(weights[f], inside)
        return out

    def choose(self) -> SquaredFolds:
        """Return the shrinkage by cross-validation."""
        folds = int(self.moments.folds.max()) + 1
        weights = self.fit_folds(GRID, [(f,) for f in range(folds)])
        errors = {tau: self.out_of_fold(w) for tau, w in weights.items()}
        chosen = self._pick({tau: float(e.sum()) for tau, e in errors.items()}, self.moments.effective)
        return SquaredFolds(chosen, weights, errors)

    def nested(self) -> list[float]:
        """Return, for each fold, the shrinkage that cross-validation without that fold chooses."""
        fold, share = self.moments.folds, self.moments.share
        folds = int(fold.max()) + 1
        pairs = list(combinations(range(folds), 2))
        if folds < 3:
            return [GRID[-1]] * folds
        weights, chosen = self.fit_folds(GRID, [*pairs]), []
        for outer in range(folds):
            total = dict.fromkeys(GRID, 0.0)
            for inner in range(folds):
                if inner != outer:
                    at = pairs.index((min(inner, outer), max(inner, outer)))
                    inside = np.flatnonzero(fold == inner)
                    for tau in GRID:
                        total[tau] += float(self.group_errors(weights[tau][at], inside).sum())
            rest = float(share[fold != outer].sum())
            chosen.append(self._pick({tau: e / rest for tau, e in total.items()}, self.moments.effective * rest))
        return chosen

    @staticmethod
    def _pick(error: dict[float, float], m: float) -> float:
        """
        Return the largest tau that gives away little, with squared error read as Gaussian nats.

        With m effective documents, m (error - least) / (2 least) <= 3 nats, falling beyond m = 50.
        """
        best = min(error, key=lambda tau: error[tau])
        least = error[best]
        allowance = EVIDENCE * min(1.0, FULL_AT / m) ** FALL
        fits = [t for t in error if t >= best and m * (error[t] - least) <= 2 * least * allowance]
        return max(fits, default=best)

    def bootstrap(self, shrinkage: float, weights: Array, seed: int) -> Array:
        """Return weights [replicates, allowed] refitted on groups of documents drawn with replacement."""
        rng = np.random.default_rng([seed, 1])
        groups = len(self.moments.share)
        out = np.empty((REPLICATES, self.allowed.size))
        for i in range(REPLICATES):
            times = rng.multinomial(groups, np.full(groups, 1 / groups)).astype(np.float64)
            M = np.tensordot(times, self.moments.M, 1) / float(times @ self.moments.share)
            out[i] = self.solve(M, shrinkage, RESAMPLED, weights).weights
        return out
