"""The mathematics that PiKE and Balanced-PiKE share: averaged statistics, three rules, a floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.simplex import exponentiated_step, minimise_separable, raise_to_floor
from mixwright.strategies._checked import floors, number, one_of
from mixwright.strategy import carrying

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
RULES = ("exponentiated", "restoring", "optimal")
FLOOR_OF_PRIOR = 0.1
DECAY = 0.7
NOTHING = 1e-3
GONE = 1e-9  # of one example: what is left of an average that nothing was added to
STALE = 0.1  # of one example, without numbers: gradients of long ago say nothing of today's


PIKE_CARRIES = carrying(weights="weights", values="norm norm_examples variance variance_examples")


class PiKEState(NamedTuple):
    """Weights [k], their floors [k], sums and examples of the averaged statistics [k], and the last update's alarm."""

    weights: Array
    floor: Array
    norm: Array
    norm_examples: Array
    variance: Array
    variance_examples: Array
    alarm: str


class Bound(NamedTuple):
    """
    The loss after a step is bounded by zeta_2 / 2 sum_i curvature_i w_i^2 + sum_i (zeta_2 noise_i - zeta_1 gain_i) w_i.

    For PiKE gain [k] and curvature / gamma [k] are |grad L_i|^2, noise [k] is sigma_i^2 / (2 b); nan where unknown.
    """

    gain: Array
    curvature: Array
    noise: Array


@dataclass(frozen=True, kw_only=True)
class PiKERule:
    """The hyperparameters of `PiKE`, and one update."""

    zeta1: float | None = None
    zeta2: float | None = None
    rule: str = "exponentiated"
    floor: float | None = None
    gamma: float = 1.0
    variance: bool = True
    rate: float = 0.2
    ratio: float = 1.0
    move: float = 0.3
    decay: float | None = None

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        if (self.zeta1 is None) != (self.zeta2 is None):
            raise InputError(
                f"zeta1 and zeta2 should both be given or both be left out, found {self.zeta1!r} and {self.zeta2!r}"
            )
        one_of(self.rule, "rule", RULES)
        if not isinstance(self.variance, bool):
            raise InputError(f"variance should be True or False, found {self.variance!r}")
        for name in ("zeta1", "zeta2", "gamma", "rate", "ratio"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(getattr(self, name), name, 0.0))
        object.__setattr__(self, "move", number(self.move, "move", above=0.0))
        for name in ("floor", "decay"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, number(getattr(self, name), name, 0.0, 1.0))
        if self.decay == 1:
            raise InputError("decay should be below 1, found 1; nothing would be learnt")

    @property
    def scale_free(self) -> bool:
        """Whether no numbers are given."""
        return self.zeta1 is None

    @property
    def revision(self) -> int:
        """Which form of the rule this is: sources that cannot be measured come back since the second."""
        return 2 if self.scale_free else 1

    @property
    def reads_variance(self) -> bool:
        """Whether the variance term is there."""
        return self.variance and (self.zeta2 if self.zeta2 is not None else self.ratio) > 0

    def begin(self, prior: Array) -> PiKEState:
        """Return the state before any observation."""
        lower = FLOOR_OF_PRIOR * prior if self.floor is None else floors(self.floor, len(prior), "floor of PiKE")
        none = np.zeros(len(prior))
        return PiKEState(raise_to_floor(prior, lower), lower, none, none, none, none, "")

    def with_statistics(self, state: PiKEState, obs: Observation) -> PiKEState:
        """Return the state with an observation's statistics in its averages."""
        decay = self.decay if self.decay is not None else DECAY if self.scale_free else 0.0
        norm = _averaged(state.norm, state.norm_examples, obs.grad_sq_norm, obs.counts, decay)
        if not self.reads_variance:
            return state._replace(norm=norm[0], norm_examples=norm[1])
        variance = _averaged(state.variance, state.variance_examples, obs.grad_variance, obs.counts, decay)
        return state._replace(norm=norm[0], norm_examples=norm[1], variance=variance[0], variance_examples=variance[1])

    def bound(self, state: PiKEState, batch_size: int) -> Bound:
        """Return the bound at the averaged statistics; a norm is clipped at 0 here, where it is used."""
        decay = DECAY if self.decay is None else self.decay
        least = STALE * (1 - decay) if self.scale_free else GONE
        norm = np.maximum(_mean(state.norm, state.norm_examples, least), 0.0)
        noise = np.where(np.isnan(norm), np.nan, 0.0)
        if self.reads_variance:
            noise = _mean(state.variance, state.variance_examples, least) / (2 * batch_size)
        return Bound(norm, self.gamma * norm, noise)

    def moved(self, state: PiKEState, bound: Bound) -> PiKEState:
        """Return the state with the weights of the rule; sources with an unknown entry are not moved by it."""
        known = ~np.isnan(bound.gain + bound.noise)
        weights = self._returning(state, known) if self.scale_free else state.weights.copy()
        if known.any():
            part = Bound(bound.gain[known], bound.curvature[known], bound.noise[known])
            weights[known] = self._rule(part, weights[known], state.floor[known])
        alarm = ""
        if _one_is_left(weights, state.floor) and not _one_is_left(state.weights, state.floor):
            most = int(weights.argmax())
            alarm = f"winner takes all: source {most} has {weights[most]:.3g}, the others are at their floors"
        return state._replace(weights=weights / weights.sum(), alarm=alarm)

    def _returning(self, state: PiKEState, known: Mask) -> Array:
        """
        Return the weights with those of unknown sources nearer to ten times their floors, where they are below that.

        By default this is the prior; with a floor of one's own a uniform share at most.

        At its floor a source may have too few rows in a batch to be measured at all, and would stay there for ever.
        """
        weights = state.weights.copy()
        if known.all() or not known.any():
            return weights
        usual = state.floor / FLOOR_OF_PRIOR
        usual = usual if self.floor is None else np.minimum(usual, 1 / len(weights))
        back = np.where(known, weights, np.clip(usual, weights, weights * np.exp(self.move)))
        room = float((weights - state.floor)[known].sum())
        added = float((back - weights).sum())
        if added <= 0 or room <= 0:
            return weights
        weights += min(1.0, room / added) * (back - weights)
        weights[known] = state.floor[known] + (state.weights - state.floor)[known] * max(1 - added / room, 0.0)
        return weights

    def _rule(self, bound: Bound, weights: Array, lower: Array) -> Array:
        """Return the new weights of the known sources, which share what they had."""
        zeta1, zeta2 = self._zetas(bound)
        mass = float(weights.sum())
        if self.rule == "optimal":
            return _optimal(bound, zeta1, zeta2, weights, lower)
        exponent = zeta1 * bound.gain - zeta2 * bound.noise
        if self.rule == "restoring":
            exponent = exponent - zeta2 * bound.curvature * weights
        spread = float(np.ptp(exponent[weights > 0])) if np.any(weights > 0) else 0.0
        # only differences of exponents matter; bounding them bounds how far one update may go
        if self.scale_free and spread > self.move:
            exponent = exponent * (self.move / spread)
        return exponentiated_step(weights, exponent, lower, mass)

    def _zetas(self, bound: Bound) -> tuple[float, float]:
        """Return the numbers given; without, those relative to the size of the terms."""
        if self.zeta1 is not None and self.zeta2 is not None:
            return self.zeta1, self.zeta2
        # gradients shrink in training: relative to their size, one rate serves all of it
        scale = float((bound.gain + self.ratio * bound.noise).mean())
        zeta1 = self.rate / scale if scale > 0 else 0.0
        return zeta1, self.ratio * zeta1


def _one_is_left(weights: Array, floor: Array) -> bool:
    """Return whether all sources but one are at their floors, or next to nothing where there is none."""
    return len(weights) > 1 and int((weights <= np.maximum(floor * (1 + 1e-9), NOTHING)).sum()) >= len(weights) - 1


def _averaged(total: Array, examples: Array, value: Array | None, counts: Array, decay: float) -> tuple[Array, Array]:
    """Return numerators and denominators of a mean over updates, by examples, that forgets."""
    if value is None:
        raise InputError("PiKE needs its gradient statistics in each observation, found none; report them")
    known = (counts > 0) & ~np.isnan(value)
    # by examples: a mean over few rows should not weigh as much as one over many
    new = (1 - decay) * np.where(known, counts, 0.0)
    return decay * total + new * np.where(known, value, 0.0), decay * examples + new


def _mean(total: Array, examples: Array, least: float) -> Array:
    known = examples > least
    return np.where(known, total / np.where(known, examples, 1.0), np.nan)


def _optimal(bound: Bound, zeta1: float, zeta2: float, weights: Array, lower: Array) -> Array:
    """Return the minimum of the bound; sources without a gradient get the floor, and all stay if none has one."""
    # without a gradient the bound says nothing of a source
    steep = (bound.gain > 0) | (bound.curvature > 0)
    if not steep.any():
        return weights
    out, mass = lower.copy(), float(weights.sum())
    linear = zeta2 * bound.noise - zeta1 * bound.gain
    left = mass - float(lower[~steep].sum())
    out[steep] = minimise_separable(linear[steep], zeta2 * bound.curvature[steep], lower[steep], left)
    return out
