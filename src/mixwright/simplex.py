"""All simplex mathematics: weights are `[k]`, not negative, with sum 1, optionally between bounds."""

from __future__ import annotations

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
    w = np.asarray(weights)
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
