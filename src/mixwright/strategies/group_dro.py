"""Group DRO: more weight to the sources with the highest loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.observation import Observation
from mixwright.strategies._checked import one_of
from mixwright.strategies._mirror_ascent import MirrorAscent, known_losses

Array = NDArray[np.float64]
LOSSES = ("loss", "eval_loss")


@dataclass(frozen=True)
class GroupDRO(MirrorAscent):
    r"""
    More weight to the sources with the highest loss (online group DRO): AMA-R without specialists.

    Observes each source's loss L_i, and solves min over the model of max_i L_i: after each observation

        q_i <- q_i exp(eta L_i), normalised;    w = (1 - c) q + c prior

    - L_i [k]: mean loss, nats per token in a language model (`loss`, or `eval_loss`)
    - eta: `learning_rate`, per update and nat
    - c: `smoothing`; w_i >= c prior_i

    The paper weights the losses of rows that are drawn by the prior (apply="loss": a row of source i counts
    w_i B / n_i). Drawing rows by w (apply="sampling") has the same gradient in expectation, and is allowed too.

    Parameters
    ----------
    learning_rate, smoothing, cap
        As in `AMAR`.
    loss
        Which loss is read: "loss" (training) or "eval_loss" (held out).

    Notes
    -----
    Sources differ in the loss that can be reached: the one with the most entropy takes the weight however well it is
    learned. `AMAR` and `AMAS` compare with a specialist instead. A source without a loss in an observation counts with
    its last known one; the paper leaves its weight as it is before normalising, so that it sinks.

    Examples
    --------
    >>> strategy = GroupDRO(learning_rate=0.5)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> strategy.weights(strategy.update(state, Observation(0, 8, [4, 4], loss=[2.1, 2.5]))).round(3)
    array([0.45, 0.55])

    References
    ----------
    Sagawa, Koh, Hashimoto, Liang, "Distributionally Robust Neural Networks for Group Shifts: On the Importance of
    Regularization for Worst-Case Generalization", ICLR 2020, arXiv 1911.08731.
    """

    learning_rate: float = 0.05
    smoothing: float = 0.0
    cap: float = 1.0
    loss: str = "loss"

    costs = "nothing: it reads training losses (or an evaluation per update)"
    fails = "a source with much entropy takes the weight, however well it is learned"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        one_of(self.loss, "loss of GroupDRO", LOSSES)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The loss that it reads."""
        return frozenset({self.loss})

    def losses(self, obs: Observation) -> Array:
        return known_losses(self, obs, self.loss)
