"""PiKE: weights by how much each source's gradient promises to lower the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.strategies._pike_rule import PIKE_CARRIES, PiKERule, PiKEState
from mixwright.strategy import Strategy

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PiKE(PiKERule, Strategy[PiKEState]):
    r"""
    More weight to sources with a large gradient, less to those with a noisy one (PiKE).

    Observes the squared norm of each source's gradient and the variance of its examples' gradients, and lowers a bound
    on the loss after a step, sum_i lambda_i w_i + kappa_i w_i^2 / 2 (times a constant), with

        lambda_i = zeta_2 sigma_i^2 / (2 b) - zeta_1 |g_i|^2,    kappa_i = zeta_2 gamma |g_i|^2

    - |g_i|^2 [k]: squared norm of the gradient of L_i, unbiased (`grad_sq_norm`); clipped at 0 where it is used
    - sigma_i^2 [k]: trace of the covariance of one example's gradient (`grad_variance`)
    - b: rows of a batch (`batch_size`)
    - zeta_1, zeta_2: alpha eta beta and alpha Lip eta^2, with the step size eta, the smoothness Lip and the bound's
      beta = min_i(1 + c_lo (2 - k - b/b_i)); gamma = 1 + c_hi (k - 1) (c_lo, c_hi: the sources' conflict and alignment)

    The rules, from the paper's Algorithm 1 on:

    - "exponentiated": w_i <- w_i exp(zeta_1 |g_i|^2 - zeta_2 sigma_i^2 / (2 b)), normalised. It has no fixed point
      inside the simplex: as long as one source's exponent is the largest, that source gains, until the others are at
      the floor.
    - "restoring": the exact mirror step, with the term that the paper drops for small steps:
      w_i <- w_i exp((zeta_1 - zeta_2 gamma w_i) |g_i|^2 - zeta_2 sigma_i^2 / (2 b)).
    - "optimal": the minimum of the bound, w_i = max(floor_i, -(mu + lambda_i) / kappa_i), found by sorting. It jumps
      with its statistics; `Smooth(PiKE(rule="optimal"), 0.2)` does not.

    Parameters
    ----------
    zeta1, zeta2
        The paper's numbers, applied as printed. None: scale-free, see below.
    rule
        One of the three.
    floor
        The least weight, part of the step (the projection of mirror descent). None: a tenth of the prior, so that
        training starts at the prior and what the prior leaves out stays out. 0: none; a source whose weight is 0 is
        never observed again.
    gamma
        Of the second-order term. 1: gradients of different sources are orthogonal at worst (c_hi = 0).
    variance
        Whether the variance term is there. Without, only `grad_sq_norm` is needed.
    rate, ratio, move
        Of the scale-free form: the mean exponent, zeta_2 / zeta_1, and the most that an update of the rule
        may change the logarithm of the ratio of two weights.
    decay
        Share of the old averages of statistics that an update keeps. None: 0 with numbers given, .7 without.

    Notes
    -----
    Scale-free: zeta_1 = rate / S, zeta_2 = ratio zeta_1, with S the mean over sources of |g_i|^2 + ratio sigma_i^2 /
    (2 b), both averaged as below. So gradients that are c times as large give the same weights. The ratio is Lip eta
    / beta: 1 is a step size at about the edge of stability. At .2 even the exact optimum gives one source most of the
    weight, at .1 all of it.

    Averages: numerators and denominators are averaged apart, by examples, and the mean is clipped: single estimates are
    noisy and often negative, and clipping each would reward noise.

    Unknown statistics (nan, or a source that was not seen, where no average is left): the others share by the rule what
    the source leaves them. It keeps its weight; an exponent of 0 would let it sink below sources with a positive one.
    Without numbers an average is left while it has a tenth of a row's weight (at .7, 8 updates for two rows, 16 for
    thirty), and a source below its prior goes back up to it, by `move` an update (with a floor of your own: to ten
    times the floor, a uniform share at most). At its floor it may have too few rows in a batch to be measured, and
    would stay there for ever.

    A source with |g_i|^2 <= 0 after averaging has kappa = 0. The optimal rule gives it the floor; where all are like
    that, weights stay. In the other rules its first-order term is 0.

    The paper gives no values of zeta and T0. How often an update happens says `Every`.

    The rules follow the norms: they ignore the sources' sizes (use caps on epochs), and what Adam does to a gradient
    (have the statistics measured in the optimiser's metric).

    Examples
    --------
    >>> from mixwright import Every, Guard
    >>> strategy = Guard(Every(PiKE(rule="restoring"), 20))
    >>> theta, eta, b = np.array([2.0, 1.0]), 1.0, 8  # the paper's Example 2.1: L_i = theta_i^2 / 2
    >>> rule = PiKE(zeta1=eta, zeta2=eta**2, rule="optimal", floor=0.0)
    >>> seen = Observation(0, b, [4, 4], grad_sq_norm=theta**2, grad_variance=[1.0, 2.0])
    >>> rule.weights(rule.update(rule.init(np.array([0.5, 0.5])), seen))
    array([0.8125, 0.1875])

    References
    ----------
    Li, Deng, Zhong, Razaviyayn, Mirrokni, "PiKE: Adaptive Data Mixing for Large-Scale Multi-Task Learning Under Low
    Gradient Conflicts", NeurIPS 2025, arXiv 2502.06244.
    """

    apply = frozenset({"sampling"})
    carries = PIKE_CARRIES
    costs = "gradient statistics in sampled steps"
    fails = "the exponentiated rule ends with one source; few rows of a source in the sampled steps"

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The norms, and the variances where their term is there."""
        return frozenset({"grad_sq_norm", "grad_variance"} if self.reads_variance else {"grad_sq_norm"})

    def init(self, prior: Array) -> PiKEState:
        return self.begin(prior)

    def update(self, state: PiKEState, obs: Observation) -> PiKEState:
        state = self.with_statistics(state, obs)
        return self.moved(state, self.bound(state, obs.batch_size))

    def weights(self, state: PiKEState) -> Array:
        return state.weights.copy()

    def starts_at(self, prior: Array) -> Array:
        return self.begin(prior).weights

    def remarks(self, state: PiKEState) -> dict[str, Any]:
        return {"alarm": state.alarm} if state.alarm else {}
