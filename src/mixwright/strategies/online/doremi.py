"""DoReMi: more weight in the proxy's loss to the sources that are furthest behind a reference model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import known_losses
from mixwright.strategies.online._moving_weights import CARRIES, MovingWeights
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class DoReMiState(NamedTuple):
    """The weights, and the last known excess losses [k] (nan: none yet)."""

    moving: MovingWeights
    latest: Array


@dataclass(frozen=True)
class DoReMi(Strategy[DoReMiState]):
    r"""
    More weight to the sources whose loss is furthest above a reference model's; the answer is the mean weight.

    Observes the mean excess loss e_i of each source over a reference model. After each observation (Algorithm 1)

        alpha_i <- (1 - c) alpha_i exp(eta e_i) / sum_j alpha_j exp(eta e_j) + c u_i

    - e_i [k]: `excess_loss`, nats per token, clipped at 0 per token, as in the paper, unless the training's
      settings say otherwise
    - eta: `learning_rate`; c: `smoothing`; u: the prior

    It is meant for a small proxy run. `average` is the mean of alpha over its updates, with which the final model is
    trained. The paper weights the proxy's losses (apply="loss", rows drawn by the prior). Drawing rows by alpha has
    the same gradient in expectation, and is allowed too.

    Parameters
    ----------
    learning_rate
        eta, per update and nat; at least 0. The paper's is 1, with an update per step.
    smoothing
        c, from 0 to 1. The paper's is .001. It is part of the step: no weight falls below c u_i.

    Notes
    -----
    Where paper and published code differ: the code's default c is .0001; the paper's is taken. Both count a source
    without rows in a batch with its last known excess; so does this. With accumulated gradients the code weights all
    but the last micro-batch by weights that are a step old; here weights act from step + lag on in any case.

    Where the paper has a uniform start and a uniform u, this has the prior: what the prior leaves out stays out. A
    source that was never seen keeps its weight.

    Unlike `AMAR`, which mixes the prior into what is given out alone, the next step starts from the mixed weights.

    Limits: eta = 0, or equal excess of all sources, is the prior; one source has 1.

    Examples
    --------
    >>> strategy = DoReMi(smoothing=0.0)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> for step, excess in enumerate(([0.2, 0.6], [0.3, 0.3])):
    ...     state = strategy.update(state, Observation(step, 8, [4, 4], excess_loss=excess))
    >>> strategy.weights(state).round(3), strategy.average(state).round(3)
    (array([0.401, 0.599]), array([0.401, 0.599]))

    References
    ----------
    Xie, Pham, Dong, Du, Liu, Lu, Liang, Le, Ma, Yu, "DoReMi: Optimizing Data Mixtures Speeds Up Language Model
    Pretraining", NeurIPS 2023, arXiv 2305.10429.
    """

    learning_rate: float = 1.0
    smoothing: float = 1e-3

    needs = frozenset({"excess_loss"})
    excess_clip = "token"
    carries = CARRIES | carrying(values="latest")
    costs = "a reference model, one forward pass of it per row, and a proxy run before the final one"
    fails = "a poor reference; few rows of a source per observation, at a learning rate of 1"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        object.__setattr__(self, "learning_rate", number(self.learning_rate, "learning_rate of DoReMi", 0.0))
        object.__setattr__(self, "smoothing", number(self.smoothing, "smoothing of DoReMi", 0.0, 1.0))

    def init(self, prior: Array) -> DoReMiState:
        return DoReMiState(MovingWeights.begin(prior), np.full(len(prior), np.nan))

    def update(self, state: DoReMiState, obs: Observation) -> DoReMiState:
        excess = known_losses(self, obs, "excess_loss")
        latest = np.where(np.isnan(excess), state.latest, excess)
        return DoReMiState(state.moving.moved(self.learning_rate * latest, self.smoothing), latest)

    def weights(self, state: DoReMiState) -> Array:
        return state.moving.weights

    def average(self, state: DoReMiState) -> Array:
        return state.moving.average
