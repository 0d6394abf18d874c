"""
Problems with a known answer, and what every strategy keeps to: for tests and benchmarks, yours too.

A strategy of your own is checked with `check_strategy(lambda k: Mine())`, or one property per test:

    @pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__)
    def test_mine(check):
        check(StrategyCase(lambda k: Mine()))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.testing.conformance import STRATEGY_CHECKS, StrategyCase, check_strategy, observations

__all__ = ["STRATEGY_CHECKS", "SimulatedTarget", "StrategyCase", "check_strategy", "observations"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SimulatedTarget:
    """
    A target that is a known mixture of known sources over a finite alphabet, so that population losses are exact.

    Attributes
    ----------
    log_probability
        [symbols, k]: log p_k(x) of each symbol under each source.
    truth
        [k]: the weights that the target is drawn with.
    """

    log_probability: Array
    truth: Array

    @classmethod
    def make(
        cls, k: int, truth: str = "sparse", spread: float = 0.5, symbols: int = 2000, seed: int = 0
    ) -> SimulatedTarget:
        """
        Return a target of `k` sources, each a random distribution over `symbols`.

        `truth` is "sparse" (4 sources), "dense" (Dirichlet of concentration 1) or "uniform"; `spread` is the standard
        deviation of the sources' log-probabilities: the larger, the easier they are to tell apart.
        """
        rng = np.random.default_rng(seed)
        logits = rng.normal(size=(symbols, k)) * spread
        logits -= np.log(np.exp(logits).sum(0))
        weights = np.full(k, 1 / k)
        if truth == "dense":
            weights = rng.dirichlet(np.ones(k))
        elif truth == "sparse":
            used = min(4, k)
            weights = np.zeros(k)
            weights[rng.choice(k, used, replace=False)] = rng.dirichlet(np.full(used, 3.0))
        return cls(logits, weights)

    def draw(self, n: int, seed: int) -> Array:
        """Return log-likelihoods [n, k] of `n` independent rows of the target."""
        rng = np.random.default_rng(seed)
        symbols = rng.choice(len(self.log_probability), n, p=np.exp(self.log_probability) @ self.truth)
        return self.log_probability[symbols]

    def loss(self, weights: Array) -> float:
        """Return the population loss of `weights` [k], nats per row."""
        P = np.exp(self.log_probability)
        return float(-(P @ self.truth) @ np.log(P @ weights))

    def excess(self, weights: Array) -> float:
        """Return how much the population loss of `weights` exceeds the least possible, nats per row."""
        return self.loss(weights) - self.loss(self.truth)
