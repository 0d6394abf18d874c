"""An alarm on weights that collapse and on observations that cannot be used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.simplex import entropy
from mixwright.strategies._checked import number, one_of
from mixwright.strategies.wrappers.wrapper import Wrapper
from mixwright.strategy import carrying

Array = NDArray[np.float64]
LOSSES = ("loss", "excess_loss")
FALLBACKS = {"last": "the last good weights stay", "prior": "the strategy starts again from its prior"}


class GuardState(NamedTuple):
    """The prior [k], the last update's alarm ("": none), the number of alarms so far, and the state inside."""

    prior: Array
    alarm: str
    alarms: int
    inner: Any


@dataclass(frozen=True)
class Guard(Wrapper[GuardState]):
    """
    Sound an alarm where a strategy goes wrong, and fall back.

    An alarm goes off at an update

    - whose observation cannot be used: a loss or excess loss is nan for a source that was seen, whether the strategy
      reads it or not (gradient statistics may be nan: steps that are not sampled have none);
    - after which the weights are not finite numbers on the simplex, their entropy is below a share of the greatest
      possible one, or a weight is below `lower` or above `upper`.

    The update is then undone: with fallback "last" the strategy is as if the observation had not been made; with
    "prior" it starts again from its prior if the weights were at fault. It continues with the next observation. The
    alarm is kept in the state and in the decision log ("remarks"), and `Mixture` raises it as an `AlarmWarning`.

    Parameters
    ----------
    strategy
        The strategy inside.
    entropy
        The least entropy, as a share of ln k (k: the sources that the prior gives a weight). 0: no such alarm.
    lower, upper
        The least and the largest weight that is no alarm. A single source never is one.
    fallback
        "last" or "prior".

    Notes
    -----
    It belongs outside `Every`, which pools observations and leaves out what is nan.

    Examples
    --------
    >>> from mixwright import PiKE
    >>> strategy = Guard(PiKE(), upper=0.9)
    """

    entropy: float = 0.1
    lower: float = 0.0
    upper: float = 1.0
    fallback: str = "last"

    also_carries = carrying(weights="prior", kept="alarms")

    def __post_init__(self) -> None:
        """Check the arguments."""
        super().__post_init__()
        for name in ("entropy", "lower", "upper"):
            object.__setattr__(self, name, number(getattr(self, name), f"{name} of a guard", 0.0, 1.0))
        one_of(self.fallback, "fallback of a guard", FALLBACKS)

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """Losses, for the alarm, beside what the strategy inside reads."""
        return (self.strategy.uses | frozenset(LOSSES)) - self.strategy.needs

    def init(self, prior: Array) -> GuardState:
        return GuardState(prior.copy(), "", 0, self.strategy.init(prior))

    def update(self, state: GuardState, obs: Observation) -> GuardState:
        if fault := self._unusable(obs):
            return self._alarm(state, f"{fault}; the observation is not used", state.inner)
        inner = self.strategy.update(state.inner, obs)
        fault = self._collapse(self.strategy.weights(inner), state.prior)
        if not fault:
            return state._replace(alarm="", inner=inner)
        inner = state.inner if self.fallback == "last" else self.strategy.init(state.prior)
        return self._alarm(state, f"{fault}; {FALLBACKS[self.fallback]}", inner)

    def weights(self, state: GuardState) -> Array:
        return self.strategy.weights(state.inner)

    def remarks(self, state: GuardState) -> dict[str, Any]:
        remarks = self.strategy.remarks(state.inner)
        if state.alarm:  # the state inside is an earlier one: what it says was said before
            remarks = {**remarks, "alarm": state.alarm}
        return {**remarks, "alarms": state.alarms} if state.alarms else remarks

    def _alarm(self, state: GuardState, text: str, inner: Any) -> GuardState:
        return GuardState(state.prior, text, state.alarms + 1, inner)

    def _unusable(self, obs: Observation) -> str:
        """Return what is wrong with an observation, or nothing."""
        seen = obs.counts > 0
        for name in LOSSES:
            value = getattr(obs, name)
            if value is not None and np.isnan(value[seen]).any():
                return f"{name} of source {int(np.flatnonzero(seen & np.isnan(value))[0])} is nan"
        return ""

    def _collapse(self, weights: Array, prior: Array) -> str:
        """Return what is wrong with weights, or nothing."""
        if not np.isfinite(weights).all() or abs(float(weights.sum()) - 1) > 1e-6 or np.any(weights < 0):
            return f"weights should be on the simplex, found {weights.tolist()}"
        k, least, most = int(np.sum(prior > 0)), int(weights.argmin()), int(weights.argmax())
        if len(weights) == 1:
            return ""
        bound = self.entropy * math.log(max(k, 1))
        if entropy(weights) < bound:
            return (
                f"weights collapse: their entropy is {entropy(weights):.3g} nats, below {bound:.3g} ({self.entropy:g} "
                f"of ln {k}); source {most} has {weights[most]:.3g}"
            )
        if weights[least] < self.lower - 1e-12:
            return f"weights collapse: source {least} has {weights[least]:.3g}, below {self.lower:g}"
        if weights[most] > self.upper + 1e-12:
            return f"weights collapse: source {most} has {weights[most]:.3g}, above {self.upper:g}"
        return ""
