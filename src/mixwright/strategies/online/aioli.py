"""Aioli: learn in the training which source lowers whose loss, and draw more of those that help most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import known_losses
from mixwright.strategies.online._moving_weights import MovingWeights
from mixwright.strategy import Strategy

Array = NDArray[np.float64]


class AioliState(NamedTuple):
    """
    The weights; where in a period the next update is (-1: the first losses are to come); what was learnt so far.

    `before` [k] has the last known losses, `drops` and `drawn` [n, k] how much each loss fell in each perturbation and
    with which weights its rows were drawn, `graph` [k, k] the last A (nan: none yet).
    """

    moving: MovingWeights
    position: int
    before: Array
    drops: Array
    drawn: Array
    graph: Array


@dataclass(frozen=True)
class Aioli(Strategy[AioliState]):
    r"""
    More rows of the sources that lower all losses, by a matrix that short perturbations of the weights measure.

    Observes held-out losses L_j. The law is that a loss falls linearly in the weights of a stretch: L_j - L_j' =
    sum_i A_ji p_i. A period of updates begins with perturbations, one per source and sweep, in which the source has the
    weight `strength` and the others share the rest. Then A is solved from how the losses fell, and (Algorithm 1)

        p_i <- p_i exp(eta sum_j A_ji), normalised,    with A shifted to be at least 0 and divided by its sum

    holds for the rest of the period.

    - L_j [k]: `eval_loss`, nats per token; unknown entries leave a row of A out
    - p in the law: the weights that the rows were drawn with (`planned`), so that a lag between asked and drawn
      weights does no harm; observe at equal distances, so that stretches are equally long
    - eta: `learning_rate`

    `average` is the mean of p (perturbations left out) over the updates.

    Parameters
    ----------
    learning_rate
        eta; at least 0. Entries of A are shares of its sum, so the paper's .1 to 1 needs no scale.
    strength
        Above 1/k and at most 1. 1 draws one source alone; the published runs have .75.
    sweeps
        Perturbations of each source in a period; A is the least-squares solution. The published runs have 2.
    explore
        The share of the updates that are perturbations, above 0 and at most 1.
    ema
        The share of the old A that a new one keeps; the weights are then the prior's times exp(eta sum_j A_ji), and do
        not add up over periods. None: without, as in Algorithm 1.
    order
        Positions of the sources in the order of their perturbations. None: as they are.

    Notes
    -----
    Where paper and published code differ: in the code the smoothed A of `ema` moves the weights from uniform, not from
    the last ones, and its runs have ema = .1; both forms are here, Algorithm 1 is the default. The code draws a random
    order of perturbations in each sweep; here it is fixed, since a strategy has no randomness. It solves A with the
    weights that were asked for; here with those that were drawn. The paper sums each source's drops over sweeps and
    divides by their number; with equal drawn weights that is the least-squares solution.

    The first update measures the losses before any perturbation, under the prior. What the prior leaves out is never
    perturbed and stays out. A perturbation whose losses are unknown is left out; a row of A that no perturbation
    shows counts as nothing.

    Limits: eta = 0 is the prior between perturbations; if all sources help as much, so is any eta; one source has 1.

    Examples
    --------
    >>> strategy = Aioli(explore=0.5)
    >>> state, losses = strategy.init(np.array([0.5, 0.5])), np.array([3.0, 3.0])
    >>> A = np.array([[0.4, 0.0], [0.2, 0.2]])
    >>> for step in range(4):
    ...     weights = strategy.weights(state)
    ...     losses = losses - A @ weights  # source 0 helps both
    ...     state = strategy.update(state, Observation(step, 8, [4, 4], planned=weights, eval_loss=losses))
    >>> strategy.weights(state).round(3)
    array([0.622, 0.378])

    References
    ----------
    Chen, Hu, Lourie, Cho, Ré, "Aioli: A Unified Optimization Framework for Language Model Data Mixing", ICLR 2025,
    arXiv 2411.05735.
    """

    learning_rate: float = 1.0
    strength: float = 0.75
    sweeps: int = 1
    explore: float = 0.25
    ema: float | None = None
    order: Sequence[int] | None = None

    needs = frozenset({"eval_loss", "planned"})
    apply = frozenset({"sampling"})
    costs = "a held-out evaluation of every source per update, and a quarter of the updates on perturbed weights"
    fails = "evaluation noise above what a short perturbation changes; many sources: a period has k / explore updates"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        object.__setattr__(self, "learning_rate", number(self.learning_rate, "learning_rate of Aioli", 0.0))
        object.__setattr__(self, "sweeps", whole_number(self.sweeps, "sweeps of Aioli"))
        for name in ("strength", "explore"):
            object.__setattr__(self, name, number(getattr(self, name), f"{name} of Aioli", most=1.0, above=0.0))
        if self.ema is not None:
            object.__setattr__(self, "ema", number(self.ema, "ema of Aioli", 0.0, 1.0))
        if self.order is not None:
            order = tuple(int(each) for each in self.order)
            if sorted(order) != list(range(len(order))):
                raise InputError(f"order of Aioli should have each position from 0 once, found {list(order)}")
            object.__setattr__(self, "order", order)

    def init(self, prior: Array) -> AioliState:
        k = len(prior)
        if self.order is not None and len(self.order) != k:
            raise InputError(f"order of Aioli should have {k} positions for {k} sources, found {len(self.order)}")
        perturbations = len(self._perturbed(prior))
        if perturbations and self.strength <= self.sweeps / perturbations:
            raise InputError(
                f"strength of Aioli should be above 1/{perturbations // self.sweeps}, found {self.strength:g}"
            )
        unknown = np.full((perturbations, k), np.nan)
        return AioliState(
            MovingWeights.begin(prior), -1, np.full(k, np.nan), unknown, unknown.copy(), np.full((k, k), np.nan)
        )

    def update(self, state: AioliState, obs: Observation) -> AioliState:
        losses, planned = known_losses(self, obs, "eval_loss"), obs.planned
        if planned is None:
            raise InputError("Aioli needs planned in each observation, found none; report PlannedStep.weights")
        n, moving = len(state.drops), state.moving
        drops, drawn, graph = state.drops.copy(), state.drawn.copy(), state.graph
        if 0 <= state.position < n:
            drops[state.position] = state.before - losses
            drawn[state.position] = self.weights(state) if np.isnan(planned).any() else planned
        position = state.position + 1
        if position == n > 0:
            graph = self._learnt(drops, drawn, state)
            moving = self._moved(moving, graph)
        else:
            moving = moving.replaced(moving.log_weights)
        before = np.where(np.isnan(losses), state.before, losses)
        return AioliState(moving, position % max(self._period(n), 1), before, drops, drawn, graph)

    def weights(self, state: AioliState) -> Array:
        if not 0 <= state.position < len(state.drops):
            return state.moving.weights
        held = state.moving.prior > 0
        out = np.where(held, (1 - self.strength) / max(held.sum() - 1, 1), 0.0)
        out[self._perturbed(state.moving.prior)[state.position]] = self.strength
        return out / out.sum()

    def average(self, state: AioliState) -> Array:
        return state.moving.average

    def remarks(self, state: AioliState) -> dict[str, Any]:
        return {"perturbation": state.position} if 0 <= state.position < len(state.drops) else {}

    def period(self, k: int) -> int:
        """Return how many updates a period has with k sources; the first weights follow its first 1 + k x sweeps."""
        return self._period(k * self.sweeps)

    def _perturbed(self, prior: Array) -> list[int]:
        """Return the source of each perturbation of a period; none if there is one source alone."""
        order = [i for i in (self.order or range(len(prior))) if prior[i] > 0]
        return order * self.sweeps if len(order) > 1 else []

    def _period(self, perturbations: int) -> int:
        return math.ceil(perturbations / self.explore)

    def _learnt(self, drops: Array, drawn: Array, state: AioliState) -> Array:
        """Return A [k, k], at least 0 with the sum 1; what the prior leaves out has 0."""
        held, A = state.moving.prior > 0, np.zeros(state.graph.shape)
        rows = np.flatnonzero(held & ~np.isnan(drops).all(0))
        for j in rows:
            known = ~np.isnan(drops[:, j])
            A[j, held] = np.linalg.lstsq(drawn[known][:, held], drops[known, j], rcond=None)[0]
        part = np.ix_(rows, np.flatnonzero(held))
        A[part] -= min(float(A[part].min(initial=0.0)), 0.0)
        A = A / A.sum() if A.sum() > 0 else A
        if self.ema is None or np.isnan(state.graph).any():
            return A
        return (1 - self.ema) * A + self.ema * state.graph

    def _moved(self, moving: MovingWeights, graph: Array) -> MovingWeights:
        exponent = self.learning_rate * graph.sum(0)
        if self.ema is None:
            return moving.moved(exponent)
        start = MovingWeights.begin(moving.prior).moved(exponent)
        return moving.replaced(start.log_weights)
