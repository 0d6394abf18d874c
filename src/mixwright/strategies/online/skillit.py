"""Skill-It: more rows of the sources that help those whose held-out loss is high."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import number, one_of
from mixwright.strategies._mirror_ascent import exponentiated
from mixwright.strategy import Strategy

Array = NDArray[np.float64]
LOSSES = ("eval_loss", "target_loss")


class SkillItState(NamedTuple):
    """The prior [k], and the losses of the last updates [window, m], the newest last (nan: none yet)."""

    prior: Array
    losses: Array


@dataclass(frozen=True)
class SkillIt(Strategy[SkillItState]):
    r"""
    More rows of the sources that help the sources whose held-out loss is high, by a matrix of who helps whom.

    Observes held-out losses L_j. After each observation (Algorithm 1)

        p_i ~ prior_i exp(eta sum_j A_ij sum over the last updates of L_j)

    - L_j: `eval_loss` [k], or `target_loss` [m], nats per token; the sum is over the last `window` updates
    - A [k, k or m]: `graph`; A_ij > 0 if training on i lowers the loss of j
    - eta: `learning_rate`, per nat

    Each update starts from the prior again: steps do not add up.

    Parameters
    ----------
    graph
        A, as k rows. None: the identity, where every source helps itself alone.
    learning_rate
        eta; at least 0. The paper's runs have .1 to .8; .2 with natural instructions and with SlimPajama.
    window
        Updates whose losses are summed; the paper's 3.
    loss
        "eval_loss": sources are also what is to be learnt. "target_loss": A is [k, m], and says how sources help
        targets (the paper's out-of-domain setting).

    Notes
    -----
    Where paper and published code differ: with some targets alone the code takes the mean over the window, and it can
    divide losses by the first, raise eta as losses fall, and halve the off-diagonal of A after each update, all
    options that are off in its runs. The paper is taken. The first weights are the prior's times exp(eta sum_j A_ij),
    as if all losses were 1, which with the identity is the prior. The paper's prior is uniform.

    The paper learns A before: one short training per source (or pair), and A_ij is how much training on i lowers the
    loss of j. `Aioli` learns it in the training.

    A loss that is unknown counts with its last known value; if there never was one, with the mean of the others.

    Limits: eta = 0, or equal losses with the identity, is the prior; one source has 1.

    Examples
    --------
    >>> strategy = SkillIt(graph=[[1.0, 0.5], [0.0, 1.0]])
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> state = strategy.update(state, Observation(99, 8, [400, 400], eval_loss=[2.0, 3.0]))
    >>> strategy.weights(state).round(3)  # .2 (2 + 1.5) and .2 x 3
    array([0.525, 0.475])

    References
    ----------
    Chen, Roberts, Bhatia, Wang, Zhang, Sala, Ré, "Skill-it! A Data-Driven Skills Framework for Understanding and
    Training Language Models", NeurIPS 2023, arXiv 2307.14430.
    """

    graph: Sequence[Sequence[float]] | None = None
    learning_rate: float = 0.2
    window: int = 3
    loss: str = "eval_loss"

    apply = frozenset({"sampling"})
    costs = "a held-out evaluation of every source per update; for a graph, one short training per source before"
    fails = "without a graph, a source with much entropy takes weight; a graph of another model or stage"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        object.__setattr__(self, "graph", None if self.graph is None else _graph(self.graph))
        object.__setattr__(self, "learning_rate", number(self.learning_rate, "learning_rate of SkillIt", 0.0))
        object.__setattr__(self, "window", whole_number(self.window, "window of SkillIt"))
        one_of(self.loss, "loss of SkillIt", LOSSES)
        if self.loss == "target_loss" and self.graph is None:
            raise InputError("SkillIt with loss='target_loss' needs a graph [k, m]: how each source helps each target")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The held-out losses that it reads."""
        return frozenset({self.loss})

    def init(self, prior: Array) -> SkillItState:
        return SkillItState(prior.copy(), np.full((self.window, self._graph_of(len(prior)).shape[1]), np.nan))

    def starts_at(self, prior: Array) -> Array:
        return self._tilted(prior, self._graph_of(len(prior)).sum(1))

    def update(self, state: SkillItState, obs: Observation) -> SkillItState:
        value = getattr(obs, self.loss)
        if value is None:
            raise InputError(f"SkillIt needs {self.loss} in each observation, found none; report it")
        if value.shape != state.losses[-1].shape:
            raise InputError(f"{self.loss} should have one number per column of the graph, found {len(value)}")
        known = ~np.isnan(value) & ((obs.counts > 0) if self.loss == "eval_loss" else True)
        if not known.any():
            return state
        latest = np.where(known, value, state.losses[-1])
        return SkillItState(state.prior, np.concatenate([state.losses[1:], latest[None]]))

    def weights(self, state: SkillItState) -> Array:
        rows = state.losses[~np.isnan(state.losses).all(1)]
        if not len(rows):
            return self.starts_at(state.prior)
        filled = np.where(np.isnan(rows), np.nanmean(rows, 1, keepdims=True), rows)
        return self._tilted(state.prior, self._graph_of(len(state.prior)) @ filled.sum(0))

    def _tilted(self, prior: Array, score: Array) -> Array:
        with np.errstate(divide="ignore"):
            weights = np.exp(exponentiated(np.log(prior), self.learning_rate * score))
        return weights / weights.sum()

    def _graph_of(self, k: int) -> Array:
        if self.graph is None:
            return np.eye(k)
        graph = np.array(self.graph)
        if len(graph) != k or (self.loss == "eval_loss" and graph.shape[1] != k):
            shape = f"{k} rows" if self.loss == "target_loss" else f"{k} rows and columns"
            raise InputError(f"graph of SkillIt should have {shape} for {k} sources, found shape {graph.shape}")
        return graph


def _graph(graph: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    try:
        values = np.asarray(graph, np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InputError(f"graph of SkillIt should be rows of finite numbers, all of one length, found {graph!r}")
    return tuple(tuple(row) for row in values.tolist())
