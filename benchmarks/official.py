"""A named reference for the benchmarks: the update rule of the paper's public code, in plain numpy."""

import numpy as np


def entropic_steps(P, steps=100, eta=1.0):
    """Return weights [k] after entropic descent from uniform, w <- w exp(eta g) / Z, all rows of P [n, k] a step."""
    w = np.full(P.shape[1], 1 / P.shape[1], P.dtype)
    for _ in range(steps):
        gain = P.T @ (1 / (P @ w)) / len(P)
        w = w * np.exp(eta * (gain - gain.max()))
        w /= w.sum()
    return w


def loss(P, w):
    """Return the mean loss of P [n, k] at w, nats per row."""
    return float(-np.log(P.astype(np.float64) @ np.asarray(w, np.float64)).mean())
