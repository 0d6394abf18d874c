"""What laws are fitted to: the mixtures of one scale, repeats averaged, with the noise that repeats show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.runs.laws.law import Runs
from mixwright.runs.table import RunTable

Array = NDArray[np.float64]
PRIOR_REPEATS = 4.0  # repeats that the pooled variance counts for beside a mixture's own


@dataclass(frozen=True)
class Incumbent:
    """The best measured mixture: its run, its weights [k], and its measured loss (the mean of its repeats)."""

    run: str
    weights: Array
    loss: float
    repeats: int


@dataclass(frozen=True, eq=False)
class Measured:
    """
    Distinct mixtures with the losses of the targets that count.

    W [n, d], Y [n, m]; repeats [n], how often each was trained; variance [n, m], of one training's loss about its
    mixture's mean (nan where no mixture was repeated); E [n, k], R [d, k] as in `Runs`; first [n], the row of the table
    that stands for each mixture.
    """

    W: Array
    Y: Array
    repeats: Array
    variance: Array
    names: tuple[str, ...]
    targets: tuple[str, ...]
    E: Array | None = None
    R: Array | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: RunTable, targets: Sequence[str], sizes: Array | None, tokens: float | None) -> Measured:
        """Return the mixtures of a table of one scale; runs without one of the targets are left out, and noted."""
        Y = np.stack([table.target(name) for name in targets], axis=1)
        whole = ~np.isnan(Y).any(axis=1)
        notes: tuple[str, ...] = ()
        if not whole.all():
            missing = int((~whole).sum())
            notes = (f"{missing} of {table.n} runs have no loss of {_listed(targets)} and were left out",)
        if not whole.any():
            raise InputError(f"some run should have a loss of {_listed(targets)}; found none")
        part = table.take(whole)
        Y, code = Y[whole], part.mixtures
        n = int(code.max()) + 1
        repeats = np.bincount(code, minlength=n).astype(np.float64)
        means = np.stack([np.bincount(code, y, n) / repeats for y in Y.T], axis=1)
        first = np.array([int(np.argmax(code == i)) for i in range(n)])
        flat, to_sources = _flat(part)
        E, R = _exposures(part, sizes, tokens, flat[first], to_sources, code)
        return cls(
            flat[first],
            means,
            repeats,
            _variance(Y - means[code], code, repeats),
            tuple(part.runs[i] for i in first),
            tuple(targets),
            E,
            R,
            notes,
        )

    @property
    def n(self) -> int:
        """Return the number of mixtures."""
        return len(self.W)

    @property
    def noise(self) -> Array:
        """Return [m], the standard deviation of one training's loss (nan where no mixture was repeated)."""
        return np.sqrt(np.average(self.variance, axis=0, weights=self.repeats))

    def take(self, rows: NDArray[np.intp]) -> Measured:
        """Return some of the mixtures."""
        return replace(
            self,
            W=self.W[rows],
            Y=self.Y[rows],
            repeats=self.repeats[rows],
            variance=self.variance[rows],
            names=tuple(self.names[i] for i in rows),
            E=None if self.E is None else self.E[rows],
        )

    def runs(self, j: int, misfit: float | None = None) -> Runs:
        """
        Return the rows for a law of target j, weighted by how sure each mean is.

        `misfit` is the variance of means around the law where it is known: what repeats do not explain of it is the
        law's own error, which repeating a mixture does not lessen.
        """
        own = self.variance[:, j] / self.repeats
        if misfit is None or np.isnan(own).any() or not own.any():
            c = np.ones(self.n)
        else:
            of_law = max(misfit - float(own.mean()), 0.1 * misfit, 1e-300)
            c = 1 / (of_law + own)
        return Runs(self.W, self.Y[:, j], c / c.mean(), self.E, self.R)


def _listed(targets: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in targets[:3]) + (
        f" or {len(targets) - 3} others" if len(targets) > 3 else ""
    )


def _flat(table: RunTable) -> tuple[Array, Array]:
    """Return weights [n, d] with sum 1, and the matrix [d, k] that adds phases up."""
    k = len(table.sources)
    if table.phases == 1:
        return table.weights.reshape(table.n, k), np.eye(k)
    shared = table.weights * table.phase_shares[:, None]
    return shared.reshape(table.n, -1), np.tile(np.eye(k), (table.phases, 1))


def _exposures(
    table: RunTable, sizes: Array | None, tokens: float | None, W: Array, to_sources: Array, code: NDArray[np.intp]
) -> tuple[Array | None, Array | None]:
    sizes = sizes if sizes is not None else table.sizes
    if sizes is None or table.tokens is None or np.isnan(sizes).any() or np.isnan(table.tokens).any():
        return None, None
    n = len(W)
    own = np.bincount(code, table.tokens, n) / np.bincount(code, minlength=n)
    rate = (tokens if tokens is not None else float(np.median(table.tokens))) / sizes
    return (W @ to_sources) * own[:, None] / sizes, to_sources * rate


def _variance(off: Array, code: NDArray[np.intp], repeats: Array) -> Array:
    """Return the variance [n, m] of one training: a mixture's own where it was repeated, drawn to the pooled one."""
    free = repeats - 1
    if not free.any():
        return np.full((repeats.size, off.shape[1]), np.nan)
    squares = np.stack([np.bincount(code, d**2, repeats.size) for d in off.T], axis=1)
    pooled = squares.sum(0) / free.sum()
    return np.asarray((PRIOR_REPEATS * pooled + squares) / (PRIOR_REPEATS + free)[:, None])
