"""Dynamic batch loading: more rows of the sources whose held-out loss is furthest above a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.source_change import SourceChange
from mixwright.strategies._checked import number
from mixwright.strategies._mirror_ascent import known_losses
from mixwright.strategies.online._moving_weights import CARRIES, MovingWeights
from mixwright.strategies.static import matching
from mixwright.strategy import Strategy, carrying

Array = NDArray[np.float64]


class LossRatioState(NamedTuple):
    """The weights, and the last known held-out and reference losses [k] (nan: none yet)."""

    moving: MovingWeights
    latest: Array
    reference: Array


@dataclass(frozen=True)
class LossRatio(Strategy[LossRatioState]):
    r"""
    More rows of the sources whose held-out loss is furthest above the loss that they should reach (Sheared LLaMA).

    Observes held-out losses L_i. After each observation (Algorithm 1, dynamic batch loading)

        w_i <- w_i exp(eta max(L_i - R_i, 0)), normalised

    - L_i [k]: `eval_loss`, nats per token
    - R_i [k]: `reference`, or what the training reports as `reference_loss`
    - eta: `learning_rate`, per update and nat

    Parameters
    ----------
    reference
        [k] the losses to reach: of a model of the size wanted, or predicted by a scaling law, on the same held-out
        texts and tokens. None: the training reports them.
    learning_rate
        eta; at least 0. The paper's is 1, with an update every 50 to 400 steps: observe as often as the training
        evaluates, or wrap it in `Every`. A loss that is reported twice counts twice.
    clip
        Whether a difference below 0 counts as 0.
    smoothing
        The share of the prior mixed into each step, from 0 to 1.

    Notes
    -----
    Where paper and published code differ: the code does not clip at 0, and mixes in a uniform share of .0001. The
    paper is taken; `LossRatio(reference, clip=False, smoothing=1e-4)` is the code (its update "doremi").

    Where the paper starts from the proportions of the pre-training corpus, this starts from the prior. A source
    without a loss in an observation counts with its last known one; if there never was one, it keeps its weight.

    Limits: eta = 0, or losses at or below the reference, is the prior; one source has 1.

    Examples
    --------
    >>> strategy = LossRatio(reference=[2.0, 1.5])
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> state = strategy.update(state, Observation(99, 8, [400, 400], eval_loss=[2.4, 1.4]))
    >>> strategy.weights(state).round(3)
    array([0.599, 0.401])

    References
    ----------
    Xia, Gao, Zeng, Chen, "Sheared LLaMA: Accelerating Language Model Pre-training via Structured Pruning", ICLR 2024,
    arXiv 2310.06694.
    """

    reference: Sequence[float] | None = None
    learning_rate: float = 1.0
    clip: bool = True
    smoothing: float = 0.0

    carries = CARRIES | carrying(values="latest reference")
    costs = "a held-out evaluation of every source per update; reference losses on the same texts"
    fails = "references that cannot be reached: their source takes all; at or below all of them weights no longer move"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        if self.reference is not None:
            values = (number(each, "reference of LossRatio") for each in self.reference)
            object.__setattr__(self, "reference", tuple(values))
        object.__setattr__(self, "learning_rate", number(self.learning_rate, "learning_rate of LossRatio", 0.0))
        object.__setattr__(self, "smoothing", number(self.smoothing, "smoothing of LossRatio", 0.0, 1.0))
        if not isinstance(self.clip, bool):
            raise InputError(f"clip of LossRatio should be True or False, found {self.clip!r}")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The held-out losses, and the reference's unless they are given."""
        return frozenset({"eval_loss"} if self.reference is not None else {"eval_loss", "reference_loss"})

    def for_sources(self, change: SourceChange) -> LossRatio:
        """Return it with the references of the sources that stay; a new source needs one, which `init` misses."""
        if self.reference is None or change.adds:
            return self
        return replace(self, reference=[self.reference[parent] for parent in change.parents])

    def init(self, prior: Array) -> LossRatioState:
        unknown = np.full(len(prior), np.nan)
        given = self.reference
        reference = unknown if given is None else np.asarray(matching(tuple(given), len(prior), "reference"))
        return LossRatioState(MovingWeights.begin(prior), unknown.copy(), reference.copy())

    def update(self, state: LossRatioState, obs: Observation) -> LossRatioState:
        latest = _newest(state.latest, known_losses(self, obs, "eval_loss"))
        reference = state.reference
        if self.reference is None:
            reference = _newest(reference, known_losses(self, obs, "reference_loss"))
        behind = latest - reference
        behind = np.maximum(behind, 0.0) if self.clip else behind
        return LossRatioState(state.moving.moved(self.learning_rate * behind, self.smoothing), latest, reference)

    def weights(self, state: LossRatioState) -> Array:
        return state.moving.weights


def _newest(before: Array, found: Array) -> Array:
    return np.where(np.isnan(found), before, found)
