"""The hull of measured mixtures."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEPS = 300
INSIDE = 0.01  # a mixture whose nearest point by squares is nearer than this to the hull counts as inside


def nearest_in_hull(X: Array, W: Array) -> Array:
    """
    Return for each row of X [r, d] the nearest mixture [r, d] of rows of W [n, d], by squared distance.

    Accelerated projected gradient for all rows at once; shares are exact to about .001.
    """
    S = np.zeros((len(X), len(W)))
    near = np.array([int(((W - x) ** 2).sum(1).argmin()) for x in X])
    S[np.arange(len(X)), near] = 1.0
    step = 1 / max(float(np.linalg.norm(W, 2)) ** 2, 1e-12)
    ahead, t = S, 1.0
    for _ in range(STEPS):
        new = _onto_simplex(ahead - step * ((ahead @ W - X) @ W.T))
        t_new = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ahead, S, t = new + (t - 1) / t_new * (new - S), new, t_new
    return np.asarray(S @ W)


def weight_into_hull(x: Array, W: Array) -> float:
    """
    Return how much weight must move from x [d] into the hull of rows of W [n, d]: half the least absolute distance.

    Without scipy it is an upper bound, from the nearest point by squares, and 0 where that is nearer than INSIDE.
    """
    if find_spec("scipy") is None:
        bound = float(np.abs(nearest_in_hull(x[None], W)[0] - x).sum() / 2)
        return bound if bound > INSIDE else 0.0
    from scipy.optimize import linprog

    n, d = W.shape
    moved = np.hstack([W.T, np.eye(d), -np.eye(d)])  # shares of the rows, then what is too little and too much
    whole = np.r_[np.ones(n), np.zeros(2 * d)]
    cost = 0.5 * (1 - whole)
    found = linprog(cost, A_eq=np.vstack([moved, whole]), b_eq=np.r_[x, 1.0], method="highs")
    return max(0.0, float(found.fun))


def hull_notes(outside: float) -> list[str]:
    """Return what must be known of a weight that `weight_into_hull` returned: that it is a bound, without scipy."""
    if outside == 0 or find_spec("scipy") is not None:
        return []
    words = f"the weight that must move into the hull of the runs, {outside:.3g}, is an upper bound"
    return [f"{words}: the least needs scipy; install it with: pip install 'mixwright[runs]'"]


def _onto_simplex(V: Array) -> Array:
    """Return the nearest rows on the simplex."""
    ordered = -np.sort(-V, axis=1)
    over = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, V.shape[1] + 1)
    count = (ordered > over).sum(1)
    return np.asarray(np.maximum(V - over[np.arange(len(V)), count - 1][:, None], 0.0))
