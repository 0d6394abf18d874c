"""Balanced-PiKE: PiKE on losses that are weighted towards the worst source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.strategies._checked import number, one_of
from mixwright.strategies._pike_rule import PIKE_CARRIES, Bound, PiKERule, PiKEState
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]
READINGS = ("sampling", "steps")
LOSSES = ("auto", "loss", "eval_loss")


class BalancedPiKEState(NamedTuple):
    """The state of PiKE, and the latest known training and held-out loss of each source [k] (nan: none yet)."""

    pike: PiKEState
    loss: Array
    eval_loss: Array


@dataclass(frozen=True)
class BalancedPiKE(PiKERule, Strategy[BalancedPiKEState]):
    r"""
    PiKE for the objective (1/tau) log sum_i exp(tau L_i), between the mean and the worst source (Balanced-PiKE).

    Observes what `PiKE` does, and the sources' losses. The objective's dual weights and PiKE on y_i L_i take turns:

        y_i = k softmax(tau L)_i

    - L [k]: loss of each source, nats per token; y has the mean 1, so that zeta keeps its scale and tau = 0 is PiKE
      (the paper's y sums to tau)
    - reading "sampling" (the default): the model's own gradient stays unweighted, exponent
      zeta_1 y_i |g_i|^2 - zeta_2 sigma_i^2 / (2 b)
    - reading "steps": for trainings that multiply a row of source i by y_i (`dual_weights`), exponent
      zeta_1 y_i^2 |g_i|^2 - zeta_2 y_i^2 sigma_i^2 / (2 b), with the statistics of the unweighted losses

    The paper (as far as it could be read) leaves open which of the two is meant. In the rules "restoring" and
    "optimal" the second-order term follows the same choice: gamma |g_i|^2, times y_i^2 in the second reading.

    Parameters
    ----------
    tau
        At least 0, per nat. The paper has 1, 3 and 5; 1 to 3 is moderate.
    reading
        "sampling" or "steps".
    loss
        Which L: "loss" (training), "eval_loss" (held out), or "auto": the latest held-out losses once every source that
        was trained on has one, until then the training losses. The two are never mixed in one update. A source without
        a loss has y_i = 1.
    zeta1, zeta2, rule, floor, gamma, variance, rate, ratio, move, decay
        As in `PiKE`.

    Examples
    --------
    >>> strategy = BalancedPiKE(2.0)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> seen = Observation(0, 8, [4, 4], loss=[1.0, 2.0], grad_sq_norm=[1.0, 1.0], grad_variance=[1.0, 1.0])
    >>> strategy.dual_weights(strategy.update(state, seen)).round(3)
    array([0.238, 1.762])

    References
    ----------
    Li, Deng, Zhong, Razaviyayn, Mirrokni, "PiKE: Adaptive Data Mixing for Large-Scale Multi-Task Learning Under Low
    Gradient Conflicts", NeurIPS 2025, arXiv 2502.06244 (called Fair-PiKE in its first version).
    """

    tau: float = 1.0
    reading: str = field(default="sampling", kw_only=True)
    loss: str = field(default="auto", kw_only=True)

    apply = frozenset({"sampling"})
    carries = PIKE_CARRIES | carrying(values="loss eval_loss")
    costs = "as PiKE"
    fails = "as PiKE; a source with much entropy takes weight, the more the larger tau"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        object.__setattr__(self, "tau", number(self.tau, "tau", 0.0))
        one_of(self.reading, "reading", READINGS)
        one_of(self.loss, "loss of Balanced-PiKE", LOSSES)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The norms, the variances where their term is there, and the losses."""
        losses = "eval_loss" if self.loss == "eval_loss" else "loss"
        return frozenset({"grad_sq_norm", losses} | ({"grad_variance"} if self.reads_variance else set()))

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """The held-out losses, where they are given."""
        return frozenset({"eval_loss"} if self.loss == "auto" else ())

    def init(self, prior: Array) -> BalancedPiKEState:
        unknown = np.full(len(prior), np.nan)
        return BalancedPiKEState(self.begin(prior), unknown, unknown.copy())

    def update(self, state: BalancedPiKEState, obs: Observation) -> BalancedPiKEState:
        state = BalancedPiKEState(
            self.with_statistics(state.pike, obs),
            state.loss if self.loss == "eval_loss" else _latest(state.loss, obs.loss, obs.counts),
            state.eval_loss if self.loss == "loss" else _latest(state.eval_loss, obs.eval_loss, obs.counts),
        )
        y = self.dual_weights(state)
        bound = self._balanced(self.bound(state.pike, obs.batch_size), y)
        return state._replace(pike=self.moved(state.pike, bound))

    def weights(self, state: BalancedPiKEState) -> Array:
        return state.pike.weights.copy()

    def starts_at(self, prior: Array) -> Array:
        return self.begin(prior).weights

    def dual_weights(self, state: BalancedPiKEState) -> Array:
        """Return y [k], of mean 1 over the sources whose loss is known, 1 for the others."""
        L = self._losses(state)
        known, y = ~np.isnan(L), np.ones(L.size)
        if known.any():
            power = np.exp(self.tau * (L[known] - L[known].max()))
            y[known] = power * (power.size / power.sum())
        return y

    def remarks(self, state: BalancedPiKEState) -> dict[str, Any]:
        remarks: dict[str, Any] = {"dual": self.dual_weights(state).tolist(), "loss": self._which(state)}
        return {**remarks, "alarm": state.pike.alarm} if state.pike.alarm else remarks

    def _which(self, state: BalancedPiKEState) -> str:
        if self.loss != "auto":
            return self.loss
        trained, held_out = ~np.isnan(state.loss), ~np.isnan(state.eval_loss)
        return "eval_loss" if held_out.any() and held_out[trained].all() else "loss"

    def _losses(self, state: BalancedPiKEState) -> Array:
        return state.eval_loss if self._which(state) == "eval_loss" else state.loss

    def _balanced(self, bound: Bound, y: Array) -> Bound:
        if self.reading == "sampling":
            return bound._replace(gain=y * bound.gain)
        return Bound(y**2 * bound.gain, y**2 * bound.curvature, y**2 * bound.noise)


def _latest(before: Array, value: Array | None, counts: Array) -> Array:
    return before if value is None else np.where((counts > 0) & ~np.isnan(value), value, before)
