"""What AMA-R, AMA-S and Group DRO share: exponentiated ascent on weights, mixed with the prior, under a cap."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.simplex import scale_onto_bounds
from mixwright.strategies._checked import number
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class MirrorState(NamedTuple):
    """The prior within the cap [k], log q [k], the last known losses [k] (nan: none yet), updates without one [k]."""

    prior: Array
    log_q: Array
    latest: Array
    absent: Array


class MirrorAscent(Strategy[MirrorState]):
    """
    The update q_i <- q_i exp(learning_rate r_i), normalised, and the weights (1 - smoothing) q + smoothing prior.

    A class that derives from it has the three numbers as fields of its dataclass, and says what it reads. The state
    keeps log q: a source whose q is 0 in floating point comes back all the same.
    """

    learning_rate: float
    smoothing: float
    cap: float

    carries = carrying(weights="prior", logs="log_q", values="latest absent")

    def __post_init__(self) -> None:
        """Check the numbers."""
        name = type(self).__name__
        object.__setattr__(self, "learning_rate", number(self.learning_rate, f"learning_rate of {name}", 0.0))
        object.__setattr__(self, "smoothing", number(self.smoothing, f"smoothing of {name}", 0.0, 1.0))
        object.__setattr__(self, "cap", number(self.cap, f"cap of {name}", most=1.0, above=0.0))

    def losses(self, obs: Observation) -> Array:
        """Return the losses [k] of an observation that are to be evened out, nan where unknown."""
        return known_losses(self, obs, "excess_loss")

    def rewards(self, state: MirrorState, obs: Observation) -> Array:
        """
        Return what an observation says of each source, r [k], nats: its mean loss, or the last known one.

        nan: nothing is known of it yet. Such a source keeps its weight.
        """
        losses = self.losses(obs)
        return np.where(np.isnan(losses), state.latest, losses)

    def init(self, prior: Array) -> MirrorState:
        within = self.starts_at(prior)
        with np.errstate(divide="ignore"):
            log_q = np.log(within)
        return MirrorState(within, log_q, np.full(len(prior), np.nan), np.zeros(len(prior)))

    def starts_at(self, prior: Array) -> Array:
        k = len(prior)
        if k == 1 or prior.max() <= self.cap:
            return np.array(prior, np.float64)
        if self.cap * k < 1 - 1e-9:
            raise InputError(
                f"cap of {type(self).__name__} should be at least 1/{k} for {k} sources, found {self.cap:g}; raise it"
            )
        return scale_onto_bounds(prior, np.zeros(k), np.full(k, self.cap))

    def update(self, state: MirrorState, obs: Observation) -> MirrorState:
        rewards, losses = self.rewards(state, obs), self.losses(obs)
        known = ~np.isnan(losses)
        return MirrorState(
            state.prior,
            self._raised(state, rewards),
            np.where(known, losses, state.latest),
            np.where(known, 0.0, state.absent + 1),
        )

    def weights(self, state: MirrorState) -> Array:
        return (1 - self.smoothing) * np.exp(state.log_q) + self.smoothing * state.prior

    def remarks(self, state: MirrorState) -> dict[str, Any]:
        if self.cap == 1 or len(state.prior) == 1:
            return {}
        held = np.flatnonzero(self.weights(state) >= self.cap * (1 - 1e-9)).tolist()
        return {"at_cap": held} if held else {}

    def _raised(self, state: MirrorState, rewards: Array) -> Array:
        """Return the new log q [k]: sources with a reward share what they had, none is above the cap."""
        log_q = exponentiated(state.log_q, self.learning_rate * rewards)
        if self.cap == 1 or self.smoothing == 1 or len(log_q) == 1:
            return log_q
        return _held_below(log_q, (self.cap - self.smoothing * state.prior) / (1 - self.smoothing))


def known_losses(strategy: Strategy[Any], obs: Observation, field: str) -> Array:
    """Return a field [k] of an observation, nan where a source was not seen; InputError if the field is absent."""
    value = getattr(obs, field)
    if value is None:
        raise InputError(f"{type(strategy).__name__} needs {field} in each observation, found none; report it")
    return np.where(obs.counts > 0, value, np.nan)


def exponentiated(log_weights: Array, exponent: Array) -> Array:
    """Return the logs of w exp(exponent) [k] with the sum 1; where the exponent is unknown (nan), w stays."""
    out = log_weights.copy()
    moves = ~np.isnan(exponent) & np.isfinite(out)  # what the prior leaves out stays out
    if not moves.any():
        return out
    # sources without an exponent keep their weight, so the others share theirs only
    mass = _log_sum(out[moves])
    out[moves] = _of_sum_1(out[moves] + exponent[moves]) + mass
    return _of_sum_1(out)


def _log_sum(logs: Array) -> float:
    """Return log(sum(exp(logs))) of logs of which one is finite."""
    most = float(logs.max())
    return most + float(np.log(np.exp(logs - most).sum()))


def _of_sum_1(logs: Array) -> Array:
    """Return logs, shifted so that their exponentials sum to 1."""
    logs = logs - logs.max()
    return logs - _log_sum(logs)


def _held_below(log_q: Array, upper: Array) -> Array:
    """Return the logs of min(s q_i, upper_i) [k] with the s for which they sum to 1 (the KL projection)."""
    log_q, held = log_q.copy(), np.zeros(len(log_q), bool)
    # holding one source lifts the others, which may then pass their caps: at most k rounds
    while True:
        over = ~held & (np.exp(log_q) > upper * (1 + 1e-12))
        if not over.any():
            return log_q
        held |= over
        with np.errstate(divide="ignore"):
            log_q[over] = np.log(upper[over])
        free = ~held & np.isfinite(log_q)
        if free.any():
            log_q[free] = _of_sum_1(log_q[free]) + np.log(1 - upper[held].sum())
