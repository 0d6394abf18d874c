"""ADO: more rows of the sources whose loss still falls, by a power law of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.observation import Observation
from mixwright.simplex import raise_to_floor
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import known_losses
from mixwright.strategies.online._power_law import LossCourse, PowerLaws
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class ADOState(NamedTuple):
    """
    The prior, the weights, the mean preference and the credit (each [k]); rows and updates; the record and its fit.

    The rows seen so far are of all sources, and the number of updates includes those of the warm-up.
    """

    prior: Array
    shares: Array
    preference: Array
    credit: Array
    rows: float
    updates: int
    course: LossCourse
    laws: PowerLaws


@dataclass(frozen=True)
class ADO(Strategy[ADOState]):
    r"""
    More rows of the sources whose loss still falls, and more of those that did the work (adaptive data optimisation).

    Observes training losses. A power law L_i(n) = e_i + b_i n^-a_i is fitted to each source's losses every `refit`
    updates. At each update t

        h_i <- (1 - gamma_1) h_i + gamma_1 n_i / B
        rho_i ~ prior_i h_i^s a_i (L_i(n) - e_i) / n,  normalised, at least `floor`
        pi = gamma_2 rho + (1 - gamma_2) mean of the earlier rho

    - a_i (L_i - e_i) / n: minus the slope of the law, the learning speed; n: rows of all sources seen so far
    - h: credit, the share of rows that source i had of late; n_i of the B rows that were observed (`counts`)
    - the mean starts with the prior and counts the updates of the warm-up, which leave pi at the prior

    Parameters
    ----------
    warmup
        Updates before the first fit, in which the weights are the prior; at least 1. The first half of their losses
        is in no fit. The paper's is 5,000 of 60,000 steps with an update at each.
    refit
        Updates between two fits; at least 1. The paper's is 1,000 steps.
    credit
        s, from 0 to 1.
    credit_rate, rate
        gamma_1 and gamma_2, above 0 and at most 1, per update.
    floor
        The least rho of a source that the prior does not leave out; at most 1/(2k) is taken.

    Notes
    -----
    Where paper and published code differ: h follows the share of rows that were drawn in the code, and pi in the
    paper; the code is taken, since constraints may stand between pi and the rows. n is the rows of all sources for
    every source in the code, so that laws are comparable and transfer counts; this is taken, and 1 / n falls out of
    rho. The code multiplies by at least .05 for the exponent; no law here has a lower one. Its clip at the floor leaves
    weights a little below it, which this does not.

    The fit minimises the same error (Huber of log L, delta .001) without L-BFGS: for a given exponent the law is
    linear. The exponent is at most .8, as in the code; the code keeps e_i above 1.65 nats, a number
    of its data, and here e_i is at least 0. Instead of a Savitzky-Golay filter of 101 steps, losses are averaged over
    stretches: at most 64 points are kept.

    A source without a fit (four points with a loss) has the mean learning speed of the others. Where nothing can be
    learnt any more, rho is the prior.

    A law cannot rise. Where sources conflict, the one with more rows falls and the losses of the others rise; their
    laws are flat, so they go to the floor, and the first one takes nearly all. The published fit does the same.

    Limits: equal laws with s = 0 is the prior; one source has 1.

    Examples
    --------
    >>> strategy, n = ADO(warmup=40, refit=20, credit=0.0), 0
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> for step in range(200):
    ...     n += 32
    ...     loss = [1.0 + 8.0 * n**-0.5, 3.0]  # the second has nothing to learn
    ...     state = strategy.update(state, Observation(step, 32, [16, 16], loss=loss))
    >>> strategy.weights(state).round(2)
    array([0.9, 0.1])

    References
    ----------
    Jiang, Zhou, Feng, Malladi, Kolter, "Adaptive Data Optimization: Dynamic Sample Selection with Scaling Laws", ICLR
    2025, arXiv 2410.11820.
    """

    warmup: int = 40
    refit: int = 20
    credit: float = 0.5
    credit_rate: float = 0.1
    rate: float = 0.1
    floor: float = 0.01

    needs = frozenset({"loss"})
    apply = frozenset({"sampling"})
    carries = carrying(
        weights="prior shares preference credit",
        values="loss seen floor height exponent",
        kept="rows updates size span scale",
    )
    costs = "nothing but the fits: it reads training losses"
    fails = (
        "conflicting sources: a loss that rises counts as learnt out, so one source takes nearly all; short or noisy "
        "courses; a learning rate that decays looks like a source learnt out"
    )

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        for name in ("warmup", "refit"):
            object.__setattr__(self, name, whole_number(getattr(self, name), f"{name} of ADO"))
        for name in ("credit", "floor"):
            object.__setattr__(self, name, number(getattr(self, name), f"{name} of ADO", 0.0, 1.0))
        for name in ("credit_rate", "rate"):
            object.__setattr__(self, name, number(getattr(self, name), f"{name} of ADO", most=1.0, above=0.0))

    def init(self, prior: Array) -> ADOState:
        k, (given, shares, preference, credit) = len(prior), (prior.copy() for _ in range(4))
        return ADOState(given, shares, preference, credit, 0.0, 0, LossCourse.empty(k), PowerLaws.none(k))

    def update(self, state: ADOState, obs: Observation) -> ADOState:
        state = self._observed(state, known_losses(self, obs, "loss"), obs.counts)
        if state.updates < self.warmup:
            return state
        if (state.updates - self.warmup) % self.refit == 0:
            state = state._replace(laws=PowerLaws.fit(*state.course.points()))
        rho, t = self.preferred(state), state.updates
        shares = self.rate * rho + (1 - self.rate) * state.preference
        return state._replace(shares=shares, preference=(1 - 1 / t) * state.preference + rho / t)

    def weights(self, state: ADOState) -> Array:
        return state.shares / state.shares.sum()

    def preferred(self, state: ADOState) -> Array:
        """Return rho [k] of a state: learning speed times credit times prior, at least the floor."""
        speed = state.laws.exponent * state.laws.reducible(state.rows) if state.rows > 0 else np.zeros(len(state.prior))
        if np.isnan(speed).all():
            return state.prior.copy()
        speed = np.where(np.isnan(speed), np.nanmean(speed), speed)
        score = state.prior * state.credit**self.credit * speed
        if not score.sum() > 0:
            return state.prior.copy()
        held = state.prior > 0
        lower = np.where(held, min(self.floor, 0.5 / held.sum()), 0.0)
        return raise_to_floor(score / score.max() / (score / score.max()).sum(), lower)

    def remarks(self, state: ADOState) -> dict[str, Any]:
        laws = {name: getattr(state.laws, name).tolist() for name in ("floor", "exponent")}
        return (
            {}
            if np.isnan(state.laws.floor).all()
            else {name: [None if np.isnan(v) else v for v in values] for name, values in laws.items()}
        )

    def _observed(self, state: ADOState, loss: Array, counts: Array) -> ADOState:
        """Return the state with an observation in its credit and, after half of the warm-up, in its record."""
        rows, seen = state.rows + float(counts.sum()), float(counts.sum())
        credit = state.credit
        if seen > 0:
            credit = (1 - self.credit_rate) * credit + self.credit_rate * counts / seen
        course = state.course
        if state.updates >= self.warmup // 2:
            course = course.add(rows, loss, counts)
        return state._replace(rows=rows, updates=state.updates + 1, credit=credit, course=course)
