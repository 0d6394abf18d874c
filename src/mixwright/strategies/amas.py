"""AMA-S: re-sampled sources, so that none stays far behind its specialist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import one_of
from mixwright.strategies._mirror_ascent import MirrorAscent, MirrorState

Array = NDArray[np.float64]
ESTIMATORS = ("importance", "present", "stratified")


@dataclass(frozen=True)
class AMAS(MirrorAscent):
    r"""
    More rows of the sources that are furthest behind their specialists (AutoMixAlign, re-sampling).

    Observes the mean excess loss e_i of each source over its specialist, and solves min over the model of max_i e_i as
    a bandit (EXP3): rows are drawn by alpha, and after each observation

        q_i <- q_i exp(eta r_i), normalised;    alpha = (1 - c) q + c prior

    - r_i [k]: an estimate of e_i out of the rows that were drawn, see `estimator`
    - e_i [k]: `excess_loss`, nats; the mean over the source's rows of max(loss - loss of the specialist, 0)
    - eta: `learning_rate`, per update and nat
    - c: `smoothing`; alpha_i >= c prior_i, so that no source is left unseen

    The model steps on the plain mean of the rows' gradients, times their gates (`excess_losses`): drawing them is the
    weight.

    Parameters
    ----------
    learning_rate
        eta, as in `AMAR`.
    smoothing
        c, from 0 to 1. It bounds r of "importance": by the largest excess / (c prior_i).
    estimator
        How r is made of the n_i rows of source i among the B rows observed:

        - "importance" (the paper's): r_i = n_i e_i / (B alpha_i), 0 if no row was drawn, with alpha the weights with
          which these rows were drawn (`planned`). Unbiased if draws are independent (draw="iid").
        - "present": r_i = e_i, the mean of the rows there are; without any, the last known one. For either draw.
        - "stratified": for the stream's usual plan (draw="carry"), where shares of rows are exact over steps: r_i =
          m_i e_i, m_i being the updates since the source was last seen; 0 if it is not. So each update counts once, at
          the next rows of the source, and no old value is used.
    cap
        As in `AMAR`.

    Notes
    -----
    Theory (for "importance" and a uniform prior): with losses of at most M, T steps and gradients of at most G over a
    set of diameter D, the average model is within D G / sqrt(T) + (5 / sqrt 2) M sqrt(k ln k / T) of the best worst
    source, for eta = sqrt(ln k / (2 k M^2 T)) and c = k M eta.

    Where the paper leaves a choice: start and what is mixed in are the prior (the paper's: uniform), and B is the sum
    of the counts. `planned` averaged over several steps by their rows (as `Every` does) leaves r unbiased. A source
    whose rows' mean is unknown (nan) keeps its weight in "importance" and counts as not seen in the others.

    Limits: one source has 1 (DPO with the gate); eta = 0 is the prior.

    Examples
    --------
    >>> strategy = AMAS(learning_rate=0.5, smoothing=0.1)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> seen = Observation(0, 8, counts=[6, 2], planned=[0.5, 0.5], excess_loss=[0.2, 0.4])
    >>> strategy.rewards(state, seen)  # 6 x .2 / (8 x .5), 2 x .4 / (8 x .5)
    array([0.3, 0.2])
    >>> strategy.weights(strategy.update(state, seen)).round(3)
    array([0.511, 0.489])

    References
    ----------
    Corrado, Katz-Samuels, Devraj, Yun, Zhang, Xu, Pan, Yin, Chilimbi, "AutoMixAlign: Adaptive Data Mixing for
    Multi-Task Preference Optimization in LLMs", ACL 2025, arXiv 2506.00569.
    """

    learning_rate: float = 0.05
    smoothing: float = 0.1
    estimator: str = "importance"
    cap: float = 1.0

    apply = frozenset({"sampling"})
    costs = "a specialist per source, and its losses on all rows once"
    fails = "as AMAR; a source of little weight is rarely seen, so its estimate is noisy"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        one_of(self.estimator, "estimator of AMAS", ESTIMATORS)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The excess losses, and the weights at draw time where they are divided by."""
        return frozenset({"excess_loss", "planned"} if self.estimator == "importance" else {"excess_loss"})

    @property
    def draw(self) -> frozenset[str]:  # type: ignore[override]
        """The plans for which the estimate is right."""
        draws = {"importance": ("iid",), "present": ("carry", "iid"), "stratified": ("carry",)}
        return frozenset(draws[self.estimator])

    def rewards(self, state: MirrorState, obs: Observation) -> Array:
        """Return the estimates r [k] that an observation gives, nats; nan: unknown, the source keeps its weight."""
        if self.estimator == "importance":
            return self._by_importance(obs)
        if self.estimator == "stratified":
            losses = self.losses(obs)
            return np.where(np.isnan(losses), 0.0, (state.absent + 1) * losses)
        return super().rewards(state, obs)

    def _by_importance(self, obs: Observation) -> Array:
        losses, drawn, planned = self.losses(obs), obs.counts > 0, obs.planned
        if planned is None:
            raise InputError(
                "AMAS with estimator='importance' needs planned, the weights that the rows were drawn with, "
                "found none; report PlannedStep.weights, or use estimator='present'"
            )
        if impossible := np.flatnonzero(drawn & (planned == 0)).tolist():
            raise InputError(
                f"planned should be above 0 for a source that was drawn, found 0 for source {impossible[0]} with "
                f"{obs.counts[impossible[0]]:g} rows; report the weights that these rows were drawn with"
            )
        return np.where(drawn, obs.counts * losses / np.where(drawn, obs.counts.sum() * planned, 1.0), 0.0)
