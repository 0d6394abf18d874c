"""A convex quadratic programme over a set of weights with rows or an L1 ball."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.barrier import Linear, longest_step
from mixwright.constraints.newton import newton_step
from mixwright.constraints.polytope import Polytope
from mixwright.simplex import project_onto_bounds

Array = NDArray[np.float64]
END = 1e-16  # slack times dual, relative to the scale of the problem


def project(w: Array, region: Polytope) -> Array:
    """Return the allowed weights [k] nearest to `w` [k]; Conflict if nothing is allowed."""
    if region.simple:
        return project_onto_bounds(w, region.lower, region.upper, region.mass)
    if region.contains(w):
        return w.copy()
    return minimise_quadratic(np.eye(w.size), w, region)


def minimise_quadratic(H: Array, at: Array, region: Polytope, gain: Array | None = None) -> Array:
    """
    Return the weights v [k] of the region that minimise (v - at) H (v - at) / 2 - gain (v - at).

    A primal-dual interior-point method; a weight or a row is put on a bound where it is nearer to it than its
    multiplier. `H` [k, k] is positive semi-definite, `at` [k] need not be allowed.

    Raises
    ------
    Conflict
        If the region is empty.
    """
    gain = np.zeros(at.size) if gain is None else gain
    explicit, inside = region.relative_interior
    free = np.flatnonzero(explicit.upper > explicit.lower)
    out = explicit.lower.copy()
    if free.size < 2:
        return inside if free.size == 1 else out
    fixed = np.setdiff1d(np.arange(at.size), free)
    shift = H[np.ix_(free, fixed)] @ (out - at)[fixed]
    # `at` may lie on the boundary, where a barrier is infinite: step inside first
    start = 0.9 * at + 0.1 * inside if region.contains(at, 0.0) else inside
    part = explicit.take(free, np.where(explicit.upper > explicit.lower, inside, out))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is not finite ends the iteration
        out[free] = _solve(H[np.ix_(free, free)], at[free], gain[free] - shift, part, start[free], inside[free])
    return out


def _solve(H: Array, at: Array, gain: Array, region: Polytope, start: Array, inside: Array) -> Array:
    """Return the minimum over the free weights, from a start that leaves all inequalities slack."""
    k = at.size
    lower, upper = region.lower, region.upper
    if not _slack(region, start):
        start = inside
    v = start[None]
    equal = np.vstack([np.ones((1, k)), region.equal]) if len(region.equal) else np.ones((1, k))
    # END and the first mu are for a problem of size 1
    scale = max(float(np.abs(gain - H @ (start - at)).max()), float(np.trace(H)) / k * 1e-3, 1e-12)
    H, gain = H / scale, gain / scale
    mu = np.full(1, 1e-2)
    z1, z2 = mu / (v - lower), mu / (upper - v)
    linear = Linear(region, v, mu) if region.has_inequalities else None
    ridge = 1e-13 * float(np.trace(H)) + 1e-14
    best = v
    for _ in range(100):
        s1, s2 = v - lower, upper - v
        total, pairs = (z1 * s1 + z2 * s2).sum(1), 2 * k
        if linear is not None:
            more, count = linear.complementarity(v)
            total, pairs = total + more, pairs + count
        best = v
        if total[0] / pairs < END:
            break
        # never up again: the barrier only sharpens
        mu = np.clip(0.1 * total / pairs, 0.05 * END, mu)
        pull = gain - (v - at) @ H + mu / s1 - mu / s2
        diagonal, low = z1 / s1 + z2 / s2, None
        if linear is not None:
            more_diagonal, low = linear.matrix(v)
            pull, diagonal = pull + linear.pull(v, mu), diagonal + more_diagonal
        dv = newton_step(H[None], diagonal + ridge, pull, low, equal)
        if not np.isfinite(dv).all():
            break
        longest = np.minimum(longest_step(s1, dv), longest_step(s2, -dv))
        if linear is not None:
            longest = np.minimum(longest, linear.longest(v, dv, mu))
        # primal and dual go at their own lengths
        step = np.minimum(1.0, 0.99 * longest)
        dz1, dz2 = (mu - z1 * (s1 + dv)) / s1, (mu - z2 * (s2 - dv)) / s2
        if linear is not None:
            linear.move(v, dv, step, mu)
        v = v + step * dv
        if not _slack(region, v[0]):
            break
        z1 = _near(z1 + np.minimum(1.0, 0.99 * longest_step(z1, dz1)) * dz1, mu / (v - lower))
        z2 = _near(z2 + np.minimum(1.0, 0.99 * longest_step(z2, dz2)) * dz2, mu / (upper - v))
    return _settle(best[0], z1[0], z2[0], linear, region, equal)


def _slack(region: Polytope, v: Array) -> bool:
    """Return whether all inequalities are slack."""
    inside = (v > region.lower).all() and (v < region.upper).all() and (region.rows @ v < region.limits).all()
    within = region.centre is None or np.maximum(v - region.centre, 0.0).sum() < region.excess()
    return bool(inside and within)


def _settle(v: Array, z1: Array, z2: Array, linear: Linear | None, region: Polytope, equal: Array) -> Array:
    """Return `v` with what is nearer to a limit than its multiplier on it, or as it is where that does not fit."""
    at_lower, at_upper = v - region.lower < z1, region.upper - v < z2
    out = np.where(at_lower, region.lower, np.where(at_upper, region.upper, v))
    free = ~(at_lower | at_upper)
    active, values = [equal], [equal @ v]
    if linear is not None and linear.rows is not None:
        tight = linear.rows.slack(v[None])[0] < linear.rows.z[0]
        active.append(region.rows[tight])
        values.append(region.limits[tight])
    if linear is not None and linear.ball is not None:
        assert region.centre is not None
        ball = linear.ball
        on = (np.abs(v - region.centre) < 1e-7) & free  # a kink of the ball: stays on the centre where that is meant
        on &= (ball.za[0] > ball.slacks(v[None], ball.u)[0][0]) & (ball.zb[0] > ball.u[0])
        out[on], free = region.centre[on], free & ~on
        if ball.slacks(v[None], ball.u)[2][0] < ball.zs[0]:
            over = (v > region.centre) & ~on
            active.append(over.astype(np.float64)[None])
            values.append(np.array([region.excess() + float(region.centre[over].sum())]))
    B, b = np.vstack(active), np.concatenate(values)
    b[0] = region.mass
    if free.any():
        # the second round takes out the rounding of the first
        for _ in range(2):
            out[free] += np.linalg.lstsq(B[:, free], b - B @ out, rcond=1e-12)[0]
    out = np.clip(out, region.lower, region.upper)
    # a wrong guess of what binds moves the weights: then the interior point is the better answer
    fits = region.contains(out, 4e-16 * max(4, out.size)) and np.abs(equal @ (out - v)).max(initial=0) < 1e-9
    return out if fits and np.abs(out - v).max() < 1e-6 else v


def _near(z: Array, centre: Array) -> Array:
    """Return duals that are not far from the central path's."""
    return np.clip(z, centre * 1e-8, centre * 1e8)
