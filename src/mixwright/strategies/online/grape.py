"""GRAPE: more weight to the sources whose gradient helps the targets that improve least."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import exponentiated
from mixwright.strategies.online._moving_weights import CARRIES, MovingWeights
from mixwright.strategies.online._products import Products
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class GRAPEState(NamedTuple):
    """The weights, the products they follow, the targets' last losses [m] and the logs of the targets' weights [m]."""

    moving: MovingWeights
    products: Products
    losses: tuple[float, ...]
    log_targets: tuple[float, ...]


@dataclass(frozen=True)
class GRAPE(Strategy[GRAPEState]):
    r"""
    More weight to the sources that help the targets which improve least (group robust, several targets).

    Observes the targets' losses l_n and the inner products of each source's gradient g_i with the targets' gradients.
    After each observation targets are weighted by how slowly they improve, then sources by how much they help these:

        r_n = <grad l_n, sum_i alpha_i g_i> / l_n              rate of improvement of target n under today's weights
        z_n <- z_n exp(-rate_z r_n), normalised
        alpha_i <- alpha_i exp(rate_a sum_n z_n <grad l_n, g_i> / l_n), normalised

    - <grad l_n, g_i> [k, m]: `target_gram`; l_n [m]: `target_loss`, nats per token
    - rate_a, rate_z: `learning_rate` and `target_rate`, the paper's step size over mu_alpha and mu_z, times a scale
    - scale: products are divided by the mean |g_i|^2 (`grad_sq_norm`), and losses by their mean. So gradients c times
      as large give the same weights

    Parameters
    ----------
    learning_rate
        rate_a, per update; at least 0.
    target_rate
        rate_z, per update; at least 0. 0: targets count equally, and with equal losses this is `DoGE` with
        objective="targets" at learning rate / m.

    Notes
    -----
    It was written from the equations of the paper; the published code could not be read, so no update was compared
    with it. The paper updates z and alpha at periods of their own; here both are at each observation (`Every` sets how
    often). The rates are of this library: the paper's are of its unscaled gradients.

    A source without rows counts with the products of its last gradient; one with a product that was never known keeps
    its weight. A target counts from its first known loss above 0 on. z starts uniform, alpha at the prior.

    Limits: both rates 0 is the prior; one target has z = 1; one source has 1.

    Examples
    --------
    >>> strategy = GRAPE(learning_rate=0.5, target_rate=0.5)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> seen = {"target_loss": [2.0, 2.0], "target_gram": [[1.0, 0.0], [0.0, 0.2]], "grad_sq_norm": [1.0, 1.0]}
    >>> state = strategy.update(state, Observation(0, 8, [4, 4], **seen))
    >>> strategy.target_weights(state).round(3), strategy.weights(state).round(3)
    (array([0.45, 0.55]), array([0.542, 0.458]))

    References
    ----------
    Fan, Glarou, Jaggi, "GRAPE: Optimize Data Mixture for Group Robust Multi-target Adaptive Pretraining", NeurIPS
    2025, arXiv 2505.20380.
    """

    learning_rate: float = 0.1
    target_rate: float = 0.1

    needs = frozenset({"target_gram", "target_loss", "grad_sq_norm"})
    apply = frozenset({"sampling"})
    carries = CARRIES | carrying(kept="losses log_targets")
    costs = "a forward and backward pass of a batch of every target per observation"
    fails = "few target rows: products are noise; a target that no source helps holds the targets' weight"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        for name in ("learning_rate", "target_rate"):
            object.__setattr__(self, name, number(getattr(self, name), f"{name} of GRAPE", 0.0))

    def init(self, prior: Array) -> GRAPEState:
        return GRAPEState(MovingWeights.begin(prior), Products.none(len(prior)), (), ())

    def update(self, state: GRAPEState, obs: Observation) -> GRAPEState:
        if obs.target_gram is None or obs.target_loss is None or obs.grad_sq_norm is None:
            raise InputError(f"GRAPE needs {', '.join(sorted(self.needs))} in each observation; report them")
        products = state.products.with_new(obs.target_gram, obs.grad_sq_norm, obs.counts)
        m = obs.target_gram.shape[1]
        losses, logs = _of_length(state.losses, m, np.nan), _of_length(state.log_targets, m, -np.log(max(m, 1)))
        losses = np.where(np.isnan(obs.target_loss), losses, obs.target_loss)
        gains = _gains(products, losses)
        logs = exponentiated(logs, -self.target_rate * _improvement(gains, state.moving.weights))
        helps = ~np.isnan(gains).all(0)
        exponent = self.learning_rate * (gains[:, helps] @ _shares(logs[helps])) if helps.any() else 0.0
        moving = state.moving.moved(exponent + np.zeros(len(obs.counts)))
        return GRAPEState(moving, products, tuple(losses.tolist()), tuple(logs.tolist()))

    def weights(self, state: GRAPEState) -> Array:
        return state.moving.weights

    def target_weights(self, state: GRAPEState) -> Array:
        """Return z [m]; before the first observation, when m is not known, an empty array."""
        return np.exp(np.array(state.log_targets))

    def remarks(self, state: GRAPEState) -> dict[str, Any]:
        return {"target_weights": self.target_weights(state).tolist()} if state.log_targets else {}


def _gains(products: Products, losses: Array) -> Array:
    """Return <grad l_n, g_i> / l_n [k, m], scaled; nan where it is unknown."""
    usable = losses > 0
    if not usable.any() or products.size == 0:
        return np.full(products.matrix.shape, np.nan)
    relative = np.where(usable, losses / losses[usable].mean(), np.nan)
    return products.matrix / relative / products.size


def _improvement(gains: Array, weights: Array) -> Array:
    """Return r [m], from the sources whose gain is known; nan for a target without any."""
    known = ~np.isnan(gains)
    mass = weights @ known
    total = weights @ np.where(known, gains, 0.0)
    return np.where(mass > 0, total / np.where(mass > 0, mass, 1.0), np.nan)


def _of_length(values: tuple[float, ...], length: int, otherwise: float) -> Array:
    return np.array(values) if len(values) == length else np.full(length, otherwise)


def _shares(logs: Array) -> Array:
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()
