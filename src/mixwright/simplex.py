"""All simplex mathematics: weights are `[k]`, not negative, with sum 1, optionally between bounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]


def normalise(weights: ArrayLike, what: str = "weights") -> Array:
    """
    Return `weights` [k] divided by their sum.

    Raises
    ------
    InputError
        If `weights` is not one-dimensional, is empty, has a negative, NaN or infinite entry, or is all zero.
    """
    if isinstance(weights, Mapping):
        raise InputError(f"{what} should be a list of numbers, found a mapping; give them in the order of the sources")
    try:
        w = np.asarray(weights)
    except ValueError:
        raise InputError(f"{what} should be a list of numbers; found lists of other lengths in it") from None
    if w.ndim != 1 or w.size == 0:
        raise InputError(f"{what} should be a list of at least one number; found shape {w.shape}")
    if w.dtype.kind not in "buif":
        raise InputError(f"{what} should be numbers; found type {w.dtype}")
    w = w.astype(np.float64)
    if bad := np.flatnonzero(~np.isfinite(w) | (w < 0)).tolist():
        raise InputError(f"{what} should be finite and not negative; found {w[bad[0]]} at position {bad[0]}")
    if (largest := w.max()) == 0:
        raise InputError(f"{what} should have a positive sum; found only zeros")
    w = w / largest
    return w / w.sum()


def entropy(weights: Array) -> float:
    """Return the entropy of `weights` [k] in nats."""
    w = weights[weights > 0]
    return float(-(w * np.log(w)).sum())


def scale_onto_bounds(weights: Array, lower: Array, upper: Array, mass: float = 1.0) -> Array:
    """
    Return `clip(s * weights, lower, upper)` with the scale `s` for which the sum is `mass` (the KL projection).

    `weights` [k] are not negative; `lower.sum() <= mass <= upper.sum()` is the caller's promise. Where the sources with
    a positive weight cannot carry the mass, the others share what is missing in proportion to their room.
    """
    kinks = np.unique(np.concatenate([b[weights > 0] / weights[weights > 0] for b in (lower, upper)]))
    kinks = kinks[np.isfinite(kinks) & (kinks > 0)]
    low, high = 0.0, float(kinks[-1]) if kinks.size else 0.0
    w = np.clip(high * weights, lower, upper)
    if w.sum() >= mass:
        low, high = _bracket(weights, lower, upper, mass, kinks)
        at_low, at_high = (np.clip(s * weights, lower, upper) for s in (low, high))
        rise = at_high.sum() - at_low.sum()
        share = (mass - at_low.sum()) / rise if rise > 0 else 1.0
        w = at_low + share * (at_high - at_low)
    room = upper - w
    missing = mass - w.sum()
    return w + room * (missing / room.sum()) if missing > 0 and room.sum() > 0 else w


def _bracket(weights: Array, lower: Array, upper: Array, mass: float, kinks: Array) -> tuple[float, float]:
    """Return two neighbouring kinks of the sum, as a function of the scale, that hold `mass` between them."""
    low, high = -1, kinks.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if np.clip(kinks[middle] * weights, lower, upper).sum() >= mass:
            high = middle
        else:
            low = middle
    return (float(kinks[low]) if low >= 0 else 0.0), float(kinks[high])


def project_onto_bounds(weights: Array, lower: Array, upper: Array, mass: float = 1.0) -> Array:
    """
    Return `clip(weights + shift, lower, upper)` with the shift for which the sum is `mass`: the nearest such weights.

    `weights` [k] are finite; `lower.sum() <= mass <= upper.sum()` is the caller's promise.
    """
    kinks = np.sort(np.concatenate([lower - weights, upper - weights]))
    low, high = 0, kinks.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if np.clip(weights + kinks[middle], lower, upper).sum() >= mass:
            high = middle
        else:
            low = middle
    at_low, at_high = (np.clip(weights + kinks[i], lower, upper) for i in (low, high))
    rise = at_high.sum() - at_low.sum()
    share = min(max((mass - at_low.sum()) / rise, 0.0), 1.0) if rise > 0 else 1.0
    return at_low + share * (at_high - at_low)


def maximise_linear(gain: Array, lower: Array, upper: Array) -> Array:
    """
    Return the weights [..., k] within the bounds that maximise `(gain * weights).sum(-1)`; `gain` is [..., k].

    The linear programme is solved exactly: start at `lower`, then fill up to `upper` in order of falling gain.
    """
    order = np.argsort(-gain, axis=-1, kind="stable")
    room = np.broadcast_to(upper - lower, gain.shape)
    room_sorted = np.take_along_axis(room, order, -1)
    before = np.cumsum(room_sorted, -1) - room_sorted
    filled = np.clip(1.0 - lower.sum() - before, 0.0, room_sorted)
    out = np.empty_like(gain)
    np.put_along_axis(out, order, filled, -1)
    return out + lower


def raise_to_floor(weights: Array, lower: Array, mass: float = 1.0) -> Array:
    """
    Return the weights [k] of at least `lower` with the sum `mass` that keep the ratios of those above their floor.

    `weights` are not negative; `lower.sum() <= mass` is the caller's promise. No weight is below its floor afterwards,
    as one would be that is raised first and divided by the sum then.
    """
    room = mass - float(lower.sum())
    if room <= 1e-12 * mass:
        return lower * (mass / lower.sum()) if mass > 0 else lower.copy()
    if np.all(weights >= lower) and abs(float(weights.sum()) - mass) <= 1e-12:
        return weights.copy()
    held = (weights > 0) | (lower > 0)
    return scale_onto_bounds(
        weights, lower, np.where(held, mass, 0.0) if held.any() else np.full(weights.size, mass), mass
    )


def exponentiated_step(weights: Array, exponent: Array, lower: Array, mass: float = 1.0) -> Array:
    """Return `weights * exp(exponent)` [k], normalised to the sum `mass` with no weight below `lower`."""
    held = weights > 0
    if not held.any() or mass <= 0:
        return raise_to_floor(weights, lower, mass)
    moved = np.zeros(weights.size)
    moved[held] = weights[held] * np.exp(exponent[held] - exponent[held].max())
    return raise_to_floor(moved * (mass / moved.sum()), lower, mass)


def minimise_separable(linear: Array, curvature: Array, lower: Array, mass: float = 1.0) -> Array:
    """
    Return the weights [k] of at least `lower` with the sum `mass` that minimise `linear @ w + curvature @ w**2 / 2`.

    Water-filling: w_i = max(lower_i, (level - linear_i) / curvature_i), the level found by sorting. `curvature` is not
    negative; where it is 0 the level cannot rise above `linear_i`, and what is left of the mass goes there (in equal
    parts where several are lowest). `lower.sum() <= mass` is the caller's promise.
    """
    room = mass - float(lower.sum())
    start = linear + curvature * lower
    start = start - start.min()
    curved = curvature > 1e-30 * float(curvature.max(initial=0.0))
    order = np.flatnonzero(curved)[np.argsort(start[curved], kind="stable")]
    slope = 1 / curvature[order]
    levels = (room + np.cumsum(slope * start[order])) / np.cumsum(slope)
    level = min(float(levels.min(initial=np.inf)), float(start[~curved].min(initial=np.inf)))
    over = np.zeros(linear.size)
    over[order] = np.maximum(level - start[order], 0.0) * slope
    left = room - float(over.sum())
    if not np.isfinite(level) or room <= 0:
        return lower + room / linear.size
    flat = ~curved & (start <= level)
    if flat.any():
        over[flat] = max(left, 0.0) / int(flat.sum())
    total = float(over.sum())
    return lower + (over * (room / total) if total > 0 else room / linear.size)
