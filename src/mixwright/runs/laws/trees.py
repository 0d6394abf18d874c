"""Boosted trees, as RegMix fits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import missing_extra
from mixwright.runs.laws.law import FittedLaw, Law, Runs

Array = NDArray[np.float64]
INNER = 4  # folds for the spread


@dataclass(frozen=True)
class TreesLaw(Law):
    """
    Gradient-boosted regression trees on the weights, with RegMix's settings.

    Trees are flat outside the runs and between splits, so they need more than 100 runs, cannot predict anything better
    than the best runs, and have no certificate: the optimum is the mean of the best of many mixtures, as in RegMix.

    Parameters
    ----------
    trees, rate
        How many trees, and the learning rate.

    Needs lightgbm (extra `runs`).

    References
    ----------
    Liu et al., RegMix, 2407.01492 (1,000 trees, rate .01).
    """

    trees: int = 1000
    rate: float = 0.01

    name = "trees"
    fewest = 40  # LightGBM wants 20 rows in a leaf

    def automatic(self, mixtures: int, exposures: bool) -> bool:
        """Return False: one fit is a hundred times dearer than the log-linear law's; ask for trees by name."""
        return False

    def fit(self, runs: Runs, like: FittedLaw | None = None) -> FittedTrees:
        """Return the fitted law."""
        model = self._model(runs)
        if isinstance(like, FittedTrees):
            return FittedTrees(model, like.error)
        fold = np.random.default_rng(0).permutation(np.arange(runs.n) % INNER)
        off = np.empty(runs.n)
        for f in range(INNER):
            out = fold == f
            off[out] = self._model(runs.take(~out)).predict(runs.W[out]) - runs.y[out]
        return FittedTrees(model, float(np.average(off**2, weights=runs.c)))

    def _model(self, runs: Runs) -> Any:
        try:
            from lightgbm import LGBMRegressor
        except (ImportError, OSError):  # OSError: it needs the system's library of OpenMP
            raise missing_extra("lightgbm", "runs") from None
        settings: dict[str, Any] = {
            "n_estimators": self.trees,
            "learning_rate": self.rate,
            "random_state": 0,
            "deterministic": True,
        }
        model = LGBMRegressor(**settings, num_threads=1, force_row_wise=True, verbose=-1)
        return model.fit(runs.W, runs.y, sample_weight=runs.c).booster_


@dataclass(frozen=True, eq=False)
class FittedTrees(FittedLaw):
    """Trees, with their squared error out of fold."""

    model: Any
    error: float
    smooth = False

    def predict(self, W: Array) -> Array:
        """Return the predicted losses [n]."""
        return np.asarray(self.model.predict(W, num_threads=1), np.float64)

    def spread(self, W: Array) -> Array:
        """Return the error out of fold [n], the same everywhere."""
        return np.full(len(W), np.sqrt(self.error))

    def gradient(self, W: Array) -> Array:
        """Return zeros: a step function has no slope."""
        return np.zeros_like(W)
