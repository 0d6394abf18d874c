"""AMA-R: re-weighted losses, so that no source stays far behind its specialist."""

from __future__ import annotations

from dataclasses import dataclass

from mixwright.strategies._mirror_ascent import MirrorAscent


@dataclass(frozen=True)
class AMAR(MirrorAscent):
    r"""
    More weight in the loss to the sources that are furthest behind their specialists (AutoMixAlign, re-weighting).

    Observes the mean excess loss e_i of each source over its specialist, and solves min over the model of max_i e_i:
    after each observation

        q_i <- q_i exp(eta e_i), normalised;    alpha = (1 - c) q + c prior

    - e_i [k]: `excess_loss`, nats; the mean over the source's rows of max(loss - loss of the specialist, 0)
    - eta: `learning_rate`, per update and nat
    - c: `smoothing`; alpha_i >= c prior_i

    Rows are drawn by the prior (equal counts: a uniform prior), and the model steps on sum_i alpha_i grad e_i: a row of
    source i counts alpha_i B / n_i in the batch's mean (`row_weights`), times its gate (`excess_losses`).

    Parameters
    ----------
    learning_rate
        eta. The log-odds of two sources move by about eta x updates x the gap of their excess losses, so .02 to .1 for
        DPO (its excess is 0 to .7) and some thousand updates: .01 hardly moves in 1,000 steps, 1 jumps.
    smoothing
        c, from 0 to 1.
    cap
        The largest weight, from 1/k; 1: none. It is part of the step (the projection in Kullback-Leibler divergence),
        so a source that was held there comes down at once when its excess falls.

    Notes
    -----
    Where the paper leaves a choice: the start is the prior (the paper's: uniform), and so is what is mixed in. A source
    that an observation has no rows of counts with its last known excess loss; one that was never seen keeps its weight.
    Where the excess is clipped (per example, per source, nowhere) is the training's choice; the strategy takes the mean
    as it is, also below 0.

    Limits: one source has 1 (DPO with the gate); eta = 0 is the prior; specialists of loss 0 are `GroupDRO`.

    Examples
    --------
    >>> import numpy as np
    >>> from mixwright import Observation
    >>> strategy = AMAR(learning_rate=0.5)
    >>> state = strategy.init(np.array([0.5, 0.5]))
    >>> strategy.weights(strategy.update(state, Observation(0, 8, [4, 4], excess_loss=[0.1, 0.5]))).round(3)
    array([0.45, 0.55])

    References
    ----------
    Corrado, Katz-Samuels, Devraj, Yun, Zhang, Xu, Pan, Yin, Chilimbi, "AutoMixAlign: Adaptive Data Mixing for
    Multi-Task Preference Optimization in LLMs", ACL 2025, arXiv 2506.00569.
    """

    learning_rate: float = 0.05
    smoothing: float = 0.0
    cap: float = 1.0

    needs = frozenset({"excess_loss"})
    apply = frozenset({"loss"})
    costs = "a specialist per source, and its losses on all rows once; rows of little weight are computed all the same"
    fails = "a source that contradicts the others holds the weight (`cap`); over-fitted specialists"
