"""DoGE: more weight to the sources whose gradient points where the others' (or a target's) do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.observation import Observation
from mixwright.strategies._checked import number, one_of
from mixwright.strategies.online._moving_weights import CARRIES, MovingWeights
from mixwright.strategies.online._products import Products
from mixwright.strategy import Strategy

Array = NDArray[np.float64]
OBJECTIVES = ("sources", "targets")
SCALES = ("square", "norm", "none")


class DoGEState(NamedTuple):
    """The weights, and the inner products they follow."""

    moving: MovingWeights
    products: Products


@dataclass(frozen=True)
class DoGE(Strategy[DoGEState]):
    r"""
    More weight to the sources whose gradient helps all sources, or the targets; the answer is the mean weight.

    Observes inner products of gradients. After each observation (Algorithm 1)

        W_i = <g_i, sum_j g_j>;    alpha_i <- alpha_i exp(eta W_i / mu), normalised

    - g_i: the gradient of source i's loss. W comes from `gram` [k, k], with i itself in the sum; with
      objective="targets" the sum is over the targets' gradients, from `target_gram` [k, m]
    - eta / mu: `learning_rate`, times a scale, see `scale`

    It is meant for a small proxy run. `average` is the mean of alpha over its updates, with which the final model is
    trained. The paper weights the proxy's gradients (apply="loss"). Drawing rows by alpha has the same gradient in
    expectation, and is allowed too.

    Parameters
    ----------
    learning_rate
        eta / mu, per update; at least 0. The paper's proxy has eta = .0005 and mu = .05, hence .01, in 10,000 updates.
    objective
        "sources" (the average over all sources) or "targets" (out-of-domain generalisation).
    scale
        "square": W is divided by the mean of |g_j|^2, so that gradients c times as large give the same weights.
        "norm": by the mean of |g_j| + 1e-6, as in the code. "none": W as it is, as in the paper.
    clip
        Whether the scaled W is clipped to 0 ... 5, as in the code.

    Notes
    -----
    Where paper and published code differ, the paper is taken but for the scale, which needs a number otherwise:

    - the code clips each gradient to the norm 1, and divides W by the mean norm. With gradients above 1, all three
      scales agree with it, since all norms are 1;
    - it clips scores at 0 and 5: a source that hurts the others counts as one that does nothing;
    - eta follows the model's learning rate there, with its warm-up; here it is constant, since a strategy does not
      know it;
    - it does not set the gradients to zero between two sources, so that the gradient of source i has those of the
      sources before it in it, and the order of sources matters. The copy of DoGE in the code of Aioli does not;
    - it means to leave the term <g_i, g_i> out where sources are the targets, but its test compares tensors as objects
      and never holds: the published weights have the term, as the paper does.

    A source without rows counts with its last gradient's products, as in the code. If one of its products was never
    known, it keeps its weight. The start is the prior (the paper's: uniform).

    Limits: eta = 0, or gradients that are orthogonal and of one size, is the prior; one source has 1.

    Examples
    --------
    >>> strategy = DoGE(learning_rate=0.1)
    >>> state = strategy.init(np.full(3, 1 / 3))
    >>> gram = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]  # W = 1.5, 1.5, 1
    >>> strategy.weights(strategy.update(state, Observation(0, 9, [3, 3, 3], gram=gram))).round(3)
    array([0.339, 0.339, 0.322])

    References
    ----------
    Fan, Pagliardini, Jaggi, "DoGE: Domain Reweighting with Generalization Estimation", ICML 2024, arXiv 2310.15393.
    """

    learning_rate: float = 0.01
    objective: str = "sources"
    scale: str = "square"
    clip: bool = False

    carries = CARRIES
    costs = "inner products of the sources' gradients (source-level statistics), and a proxy run before the final one"
    fails = "few rows in the sampled steps: products are noise; a source with large gradients gains by its size"

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        object.__setattr__(self, "learning_rate", number(self.learning_rate, "learning_rate of DoGE", 0.0))
        one_of(self.objective, "objective of DoGE", OBJECTIVES)
        one_of(self.scale, "scale of DoGE", SCALES)
        if not isinstance(self.clip, bool):
            raise InputError(f"clip of DoGE should be True or False, found {self.clip!r}")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The inner products, and the norms where the products do not have them."""
        return frozenset({"gram"} if self.objective == "sources" else {"target_gram", "grad_sq_norm"})

    def init(self, prior: Array) -> DoGEState:
        return DoGEState(MovingWeights.begin(prior), Products.none(len(prior)))

    def update(self, state: DoGEState, obs: Observation) -> DoGEState:
        latest = state.products.with_new(*self._read(obs), obs.counts)
        return DoGEState(state.moving.moved(self.learning_rate * self._scores(latest)), latest)

    def weights(self, state: DoGEState) -> Array:
        return state.moving.weights

    def average(self, state: DoGEState) -> Array:
        return state.moving.average

    def _read(self, obs: Observation) -> tuple[Array, Array]:
        """Return an observation's products [k, k or m] and squared norms [k]."""
        if self.objective == "sources" and obs.gram is not None:
            seen = obs.counts > 0
            return np.where(np.outer(seen, seen), obs.gram, np.nan), np.diag(obs.gram)
        if self.objective == "targets" and obs.target_gram is not None and obs.grad_sq_norm is not None:
            return obs.target_gram, obs.grad_sq_norm
        raise InputError(f"DoGE needs {' and '.join(sorted(self.needs))} in each observation; report it")

    def _scores(self, products: Products) -> Array:
        """Return W [k], scaled; nan for a source with an unknown product."""
        matrix = products.matrix
        W = matrix[:, ~np.isnan(matrix).all(0)].sum(1)  # what was never seen at all is in no sum
        if self.scale == "square":
            W = W / products.size if products.size > 0 else 0.0 * W
        elif self.scale == "norm":
            norms = np.sqrt(np.maximum(products.norms, 0.0))
            W = W / (float(np.nanmean(norms)) + 1e-6) if not np.isnan(norms).all() else 0.0 * W
        return np.clip(W, 0.0, 5.0) if self.clip else W
