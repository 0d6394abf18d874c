"""ODM: a bandit that draws the sources whose loss is high."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import exponentiated, known_losses
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class ODMState(NamedTuple):
    """The prior [k], the averaged rewards [k], the weights [k], and the number of updates."""

    prior: Array
    rewards: Array
    shares: Array
    updates: int


@dataclass(frozen=True)
class ODM(Strategy[ODMState]):
    r"""
    More rows of the sources with a high training loss, as a bandit that explores less and less (online data mixing).

    Observes the loss L_i of the sources that were drawn. At the update t = 1, 2, ... (Algorithm 1, EXP3)

        R_i <- a R_i + (1 - a) L_i / pi_i    for each source that was drawn; the others keep R_i
        eps_t = min(1/k, sqrt(ln k / (k t)))
        pi_i = (1 - k eps_t) softmax(eps_{t-1} R)_i + eps_t

    - L_i [k]: `loss`, nats per token; pi_i in the reward: the weights that the rows were drawn with (`planned`)
    - a: `decay`; eps_0 = 1/k

    Parameters
    ----------
    decay
        a, the share of the old reward that an update keeps; at least 0, below 1.

    Notes
    -----
    Where paper and published code differ: of the code's two updates, "smoothed_mean" averages exp(L_i) without
    dividing by pi_i and normalises rewards instead of their exponentials, and "exp3" adds up L_i / (10 pi_i) without a
    decay. The equations of the paper are taken. It does not print a; .9 is the code's default, its runs have .5.

    The paper is uniform where this has the prior: pi_i = (1 - k eps) prior_i exp(eps R_i) / Z + k eps prior_i, with k
    the sources that the prior does not leave out. A uniform prior is the paper.

    The first k ln k updates leave the weights at the prior. Dividing by pi_i is right for one source per draw. In a
    batch with rows of every source it favours small weights, which keeps the weights near the prior.

    Limits: equal rewards are the prior; one source has 1.

    Examples
    --------
    >>> strategy, state = ODM(decay=0.5), ODM().init(np.array([0.5, 0.5]))
    >>> for step in range(8):
    ...     seen = Observation(step, 8, [4, 4], planned=strategy.weights(state), loss=[3.0, 2.0])
    ...     state = strategy.update(state, seen)
    >>> strategy.weights(state).round(3)
    array([0.539, 0.461])

    References
    ----------
    Albalak, Pan, Raffel, Wang, "Efficient Online Data Mixing For Language Model Pre-Training", 2023, arXiv 2312.02406.
    """

    decay: float = 0.9

    needs = frozenset({"loss", "planned"})
    apply = frozenset({"sampling"})
    carries = carrying(weights="prior shares", values="rewards", kept="updates")
    costs = "nothing: it reads training losses"
    fails = "a source with much entropy takes weight however well it is learned"

    def __post_init__(self) -> None:
        """Check the hyperparameter."""
        object.__setattr__(self, "decay", number(self.decay, "decay of ODM", 0.0, 1.0))
        if self.decay == 1:
            raise InputError("decay of ODM should be below 1, found 1; nothing would be learnt")

    def init(self, prior: Array) -> ODMState:
        return ODMState(prior.copy(), np.zeros(len(prior)), prior.copy(), 0)

    def update(self, state: ODMState, obs: Observation) -> ODMState:
        rewards, updates = self.rewards(state, obs), state.updates + 1
        k = int((state.prior > 0).sum())
        explored = k * exploration(k, updates)
        with np.errstate(divide="ignore"):
            logs = exponentiated(np.log(state.prior), exploration(k, updates - 1) * rewards)
        return ODMState(state.prior, rewards, (1 - explored) * np.exp(logs) + explored * state.prior, updates)

    def weights(self, state: ODMState) -> Array:
        return state.shares / state.shares.sum()

    def rewards(self, state: ODMState, obs: Observation) -> Array:
        """Return the averaged rewards [k] after an observation, nats."""
        loss, planned = known_losses(self, obs, "loss"), obs.planned
        if planned is None:
            raise InputError("ODM needs planned in each observation, found none; report PlannedStep.weights")
        known = ~np.isnan(loss) & (planned > 0)
        new = np.where(known, loss / np.where(known, planned, 1.0), state.rewards)
        return np.where(known, self.decay * state.rewards + (1 - self.decay) * new, state.rewards)


def exploration(k: int, update: int) -> float:
    """Return eps_t, the least weight of each of k sources at an update t (0: before the first)."""
    return min(1 / k, math.sqrt(math.log(k) / (k * update))) if update > 0 else 1 / k
