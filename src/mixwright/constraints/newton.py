"""Newton steps with a fixed sum, and a quadratic programme in bounds: what polytopes and the search share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MAX_GUESSES = 12  # of the weights on bounds: from near the optimum, two to five are enough


def newton_step(H: Array, diagonal: Array, pull: Array, low: Array | None = None, equal: Array | None = None) -> Array:
    """
    Return dw [b, k] of (H + diag + sum_r low_r low_r^T) dw = pull - equal^T lambda, equal dw = 0.

    H is [b, k, k] or, shared, [1, k, k]; `low` [b, r, k]; `equal` [q, k], by default the sum alone.
    """
    b, k = pull.shape
    E = np.ones((1, k)) if equal is None else equal
    # a factor per replicate would cost b k^3: iterate on the shared matrix instead
    if len(H) == 1 and b > 1:
        return _conjugate_gradients(H[0], diagonal, pull, low, E)
    M = np.broadcast_to(H, (b, k, k)).copy()
    index = np.arange(k)
    M[:, index, index] += diagonal
    if low is not None:
        M += np.swapaxes(low, 1, 2) @ low
    # weights near a bound have huge diagonals: scaled to ones, the matrix can be solved to all digits
    scale = 1 / np.sqrt(M[:, index, index])
    M *= scale[:, :, None] * scale[:, None, :]
    M[:, index, index] += 1e-13
    right = np.concatenate([(pull * scale)[:, :, None], scale[:, :, None] * E.T], axis=2)
    solved = np.linalg.solve(M, right) * scale[:, :, None]
    own, across = solved[:, :, 0], solved[:, :, 1:]
    return _level(own - (across @ _multipliers(E @ across, own @ E.T)[:, :, None])[:, :, 0], E)


def _multipliers(S: Array, right: Array) -> Array:
    """Return S^-1 right, [b, q, q] and [b, q]; equalities may depend on each other."""
    if S.shape[1] == 1:
        return right / S[:, 0]
    if not (np.isfinite(S).all() and np.isfinite(right).all()):
        return np.full_like(right, np.nan)  # the caller stops on it
    return (np.linalg.pinv(S, rcond=1e-11, hermitian=True) @ right[:, :, None])[:, :, 0]


def _level(dw: Array, E: Array) -> Array:
    """Return `dw` [b, k] without the rounding that leaves the equalities."""
    if len(E) == 1 and (E == 1).all():
        return dw - dw.mean(1, keepdims=True)
    return dw - (dw @ E.T) @ np.linalg.pinv(E, rcond=1e-11).T


def quadratic_step(H: Array, gain: Array, w: Array, lower: Array, upper: Array) -> Array | None:
    """
    Return the weights v [k] that minimise (v - w) H (v - w) / 2 - gain (v - w) within the bounds, with the sum of `w`.

    Which weights are on a bound is guessed from `w` and corrected by the signs of distances and multipliers: a few
    linear systems. Where that goes round in circles, a small primal-dual interior-point method follows; a weight is put
    on a bound where it is nearer to it than its multiplier (strict complementarity). None where it does not converge.

    References
    ----------
    Hintermueller, Ito, Kunisch, "The primal-dual active set strategy as a semismooth Newton method", 2002.
    """
    found = _active_set(H, gain, w, lower, upper)
    if found is not None:
        return found
    room, mass = upper - lower, w.sum()
    if (room <= 0).any():
        return None
    # the same share of every room: the point from which all bounds are slack
    share = (mass - lower.sum()) / room.sum()
    if not 0 < share < 1:
        return None
    v = 0.9 * w + 0.1 * (lower + room * share)
    ridge = np.full((1, w.size), 1e-12 * float(np.trace(H)))
    z1, z2, mu = np.full(w.size, 1e-2), np.full(w.size, 1e-2), np.inf
    for _ in range(60):
        s1, s2 = v - lower, upper - v
        if min(s1.min(), s2.min()) <= 0:  # a slack below the spacing of numbers near its bound
            return _onto_bounds(np.clip(v, lower, upper), z1, z2, lower, upper) if mu < 1e-12 else None
        mu = (z1 @ s1 + z2 @ s2) / (2 * w.size)
        if mu < 1e-17:
            return _onto_bounds(v, z1, z2, lower, upper)
        # aim well below the present mu: with few weights steps are cheap and rarely cut
        target = 0.05 * mu
        pull = gain - H @ (v - w) + target / s1 - target / s2
        dv = newton_step(H[None], ridge + z1 / s1 + z2 / s2, pull[None])[0]
        if not np.isfinite(dv).all():
            return None
        dz1, dz2 = (target - z1 * (s1 + dv)) / s1, (target - z2 * (s2 - dv)) / s2
        primal = 0.995 * min(_longest(s1, dv), _longest(s2, -dv))
        dual = 0.995 * min(_longest(z1, dz1), _longest(z2, dz2))
        v, z1, z2 = v + min(1, primal) * dv, z1 + min(1, dual) * dz1, z2 + min(1, dual) * dz2
    return None


def _active_set(H: Array, gain: Array, w: Array, lower: Array, upper: Array) -> Array | None:
    """Return the optimum of `quadratic_step`, None where the guesses of what is on a bound do not settle."""
    low, high, ridge = w <= lower, w >= upper, 1e-12 * float(np.trace(H)) + 1e-300
    for _ in range(MAX_GUESSES):
        free = np.flatnonzero(~(low | high))
        if free.size == 0:
            return None
        d = np.where(low, lower - w, np.where(high, upper - w, 0.0))
        with np.errstate(over="ignore", invalid="ignore"):
            pull = gain[free] - H[free] @ d
        d[free], level = _with_sum(H[np.ix_(free, free)], ridge, pull, -d.sum())
        if not np.isfinite(d).all():
            return None
        v, push = w + d, gain - H @ d - level  # push: towards larger weights, 0 for those that are free
        new_low = (low & (push <= 0)) | (~low & ~high & (v < lower))
        new_high = (high & (push >= 0)) | (~low & ~high & (v > upper))
        if (new_low == low).all() and (new_high == high).all():
            return np.clip(v, lower, upper)
        low, high = new_low, new_high
    return None


def _with_sum(H: Array, ridge: float, pull: Array, total: float) -> tuple[Array, float]:
    """Return d with (H + ridge) d = pull - level and the sum `total`, and the level."""
    scale = 1 / np.sqrt(np.diag(H) + ridge)
    M = H * scale * scale[:, None]
    M[np.diag_indices_from(M)] = 1 + 1e-13
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the caller stops on what is not finite
        own, across = (np.linalg.solve(M, np.stack([pull * scale, scale], axis=1)) * scale[:, None]).T
        level = (own.sum() - total) / across.sum()
        d = own - level * across
        return d + (total - d.sum()) / d.size, float(level)


def _longest(x: Array, dx: Array) -> float:
    """Return the largest step that keeps x + step * dx from being negative."""
    return float(np.min(x[dx < 0] / -dx[dx < 0], initial=np.inf))


def _onto_bounds(v: Array, z1: Array, z2: Array, lower: Array, upper: Array) -> Array:
    """Return `v` with the weights that are nearer to a bound than their multiplier on it, and the same sum."""
    out = np.where(v - lower < z1, lower, np.where(upper - v < z2, upper, v))
    free = (out > lower) & (out < upper)
    if not free.any():
        return v
    out[free] += (v.sum() - out.sum()) * out[free] / out[free].sum()
    return np.clip(out, lower, upper)


def _conjugate_gradients(H: Array, diagonal: Array, pull: Array, low: Array | None, E: Array) -> Array:
    """
    Return `newton_step` for a shared H [k, k], to a relative residual of 1e-4: one product with H for all replicates.

    The iteration stays on equal dw = 0 (a projected preconditioner); on sum dw = 0, H and H - 1 1^T are the same.
    """
    inverse = 1 / (diagonal + np.maximum(np.diag(H) - 1, 1e-3))
    ridge = 1e-6 * float(np.diag(H).mean())  # a float32 H is that inexact
    across = np.einsum("qk,bk,pk->bqp", E, inverse, E)

    def precondition(r: Array) -> Array:
        z = inverse * r
        return z - inverse * (_multipliers(across, z @ E.T) @ E)

    x, r = np.zeros_like(pull), pull.copy()
    z = precondition(r)
    p, rz = z, (r * z).sum(1)
    end = 1e-8 * rz
    for _ in range(min(200, 4 * len(H))):
        Hp = p @ H + (diagonal + ridge) * p
        if low is not None:
            Hp += (np.swapaxes(low, 1, 2) @ (low @ p[:, :, None]))[:, :, 0]
        curvature = (p * Hp).sum(1)
        end = np.where(curvature > 0, end, np.inf)
        step = np.where(rz > end, rz / np.where(curvature > 0, curvature, 1.0), 0.0)[:, None]
        x, r = x + step * p, r - step * Hp
        z = precondition(r)
        previous, rz = rz, np.maximum((r * z).sum(1), 0.0)
        if (rz <= end).all():
            break
        p = z + (rz / np.maximum(previous, 1e-300))[:, None] * p
    return _level(x, E)
