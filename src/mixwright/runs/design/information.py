"""What measured mixtures tell about the coefficients of laws, and which further ones tell most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import near
from mixwright.errors import InputError
from mixwright.runs.laws.exposure import ONSET, POWERS, RATES, exposure_features

Array = NDArray[np.float64]
DESIGNED = ("log_linear", "exposure", "linear")  # laws whose features are known before any run
DRAWS = 6  # of a log-linear law's slopes, which its features depend on
SLOPE = 2.0  # their standard deviation: a source alone changes the reducible loss by a factor of 7
RIDGE = 1e-3  # information that is there before any run, in units of one average mixture
PASSES = 2  # of exchanges after the greedy choice


def features(laws: Sequence[str], W: Array, E: Array | None, rng: np.random.Generator) -> list[Array]:
    """
    Return feature matrices [n, f] of mixtures W [n, k] (with exposures E [n, k]): a few for each law.

    The features of a law are the gradient of its prediction in its coefficients. Where they depend on coefficients that
    are not known yet, there is a matrix for each of several guesses (Chaloner and Verdinelli 1995, section 3).

    Raises
    ------
    InputError
        For a law that has none, or that needs exposures that are not known.
    """
    one, out = np.ones((len(W), 1)), []
    for law in laws:
        if law not in DESIGNED:
            raise InputError(f"runs can be designed for a law{near(law, DESIGNED, 'laws')}")
        if law == "linear":
            out.append(np.hstack([one, W]))
        elif law == "log_linear":
            slopes = SLOPE * rng.normal(size=(DRAWS, W.shape[1]))
            out += [np.hstack([one, np.exp(W @ t - (W @ t).max())[:, None] * W]) for t in slopes]
        elif E is None:
            raise InputError(
                "a design for the law 'exposure' needs the sizes of the sources and the tokens of a run; give both"
            )
        else:
            shapes = [(rate, power, ONSET, bool(E.max() > 1)) for rate in RATES for power in POWERS[::2]]
            out += [np.hstack([one, exposure_features(E, shape)]) for shape in shapes]
    return out


class Information:
    """
    The information in a set of rows, by each of several feature matrices, and what each further row would add.

    The gain of a row is the increase of log det(ridge + sum of x x') / f, averaged over the matrices.
    """

    def __init__(self, matrices: Sequence[Array]) -> None:
        scales = [np.sqrt((X**2).mean(0)) for X in matrices]
        self._X = [X / np.where(s > 0, s, 1.0) for X, s in zip(matrices, scales, strict=True)]
        self._inverse = [np.eye(X.shape[1]) / RIDGE for X in self._X]
        self._leverage = [np.einsum("nf,nf->n", X, X) / RIDGE for X in self._X]
        self.value = 0.0

    def gains(self) -> Array:
        """Return [n], what adding each row would add to `value`."""
        gains = [np.log1p(h) / X.shape[1] for h, X in zip(self._leverage, self._X, strict=True)]
        return np.asarray(np.mean(gains, axis=0))

    def add(self, i: int, sign: float = 1.0) -> None:
        """Add row i, or take it away with sign -1."""
        change = 0.0
        for j, X in enumerate(self._X):
            v = self._inverse[j] @ X[i]
            own = 1 + sign * float(X[i] @ v)
            self._inverse[j] = self._inverse[j] - sign * np.outer(v, v) / own
            self._leverage[j] = np.maximum(self._leverage[j] - sign * (X @ v) ** 2 / own, 0.0)
            change += float(np.log(own)) / X.shape[1]
        self.value += change / len(self._X)

    def of(self, rows: Sequence[int]) -> float:
        """Return the value of a set of rows alone."""
        values = []
        for X in self._X:
            part = X[list(rows)]
            sign, found = np.linalg.slogdet(np.eye(X.shape[1]) + part.T @ part / RIDGE)
            values.append(sign * found / X.shape[1])
        return float(np.mean(values))


def most_informative(matrices: Sequence[Array], W: Array, fixed: Sequence[int], count: int, least: float) -> list[int]:
    """
    Return the rows that, with the fixed ones, have the most information: greedily, then by exchanges (Fedorov 1972).

    Parameters
    ----------
    matrices
        From `features`.
    W
        [n, k], the mixtures.
    fixed
        Rows that are done, or are done anyway.
    count
        How many are chosen.
    least
        How much weight must move at least from each to every other one; fewer rows are returned where that is too much.
    """
    state = Information(matrices)
    chosen: list[int] = []
    for i in fixed:
        state.add(i)
    free = far(W, list(fixed), least)
    while len(chosen) < count and free.any():
        best = int(np.where(free, state.gains(), -np.inf).argmax())
        state.add(best)
        chosen.append(best)
        free &= distances(W, W[best]) >= least
    for _ in range(PASSES):
        changed = [_exchanged(state, W, chosen, fixed, place, least) for place in range(len(chosen))]
        if not any(changed):
            break
    return chosen


def _exchanged(state: Information, W: Array, chosen: list[int], fixed: Sequence[int], place: int, least: float) -> bool:
    """Replace one chosen row by the best of all; return whether that was another one."""
    old = chosen[place]
    state.add(old, -1.0)
    free = far(W, [*fixed, *chosen[:place], *chosen[place + 1 :]], least)
    gains = np.where(free, state.gains(), -np.inf)
    best = int(gains.argmax())
    if gains[best] <= gains[old] + 1e-9:
        best = old
    state.add(best)
    chosen[place] = best
    return best != old


def far(W: Array, rows: list[int], least: float) -> NDArray[np.bool_]:
    """Return [n], which mixtures are that far from all of some."""
    free = np.ones(len(W), bool)
    for i in rows:
        free &= distances(W, W[i]) >= least
    return free


def distances(W: Array, w: Array) -> Array:
    """Return how much weight must move [n] to come from each mixture to another."""
    return np.asarray(np.abs(W - w).sum(1) / 2)
