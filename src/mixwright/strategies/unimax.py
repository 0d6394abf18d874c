"""Weights as uniform as a cap on epochs allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.source_change import SourceChange
from mixwright.strategies._checked import number
from mixwright.strategies.static import Unchanging, matching
from mixwright.strategies.temperature import replace_sizes, size_tuple

Array = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class UniMax(Unchanging):
    r"""
    Weights that stay, as uniform as a cap on epochs allows (UniMax).

    Observes nothing. From the smallest source to the largest, each gets an equal part of what is left of the budget,
    but at most N epochs of its own rows: u_i = min(N n_i, (C - sum of the smaller ones' u) / (sources left)), w_i =
    u_i / C

    - n [k]: the sources' sizes, in the unit of the weights (rows or tokens)
    - C: the budget of the whole training in the same unit
    - N: the most epochs of a source

    Parameters
    ----------
    sizes
        n [k], in source order.
    budget
        C.
    max_epochs
        N. The paper compares 1, 5 and 10.

    Raises
    ------
    InputError
        If the budget is more than N epochs of all sources: then no weights keep the cap. (The paper normalises what
        there is, so that every source exceeds its cap without a word.)

    Examples
    --------
    >>> strategy = UniMax(sizes=[10, 500, 500], budget=100, max_epochs=1)
    >>> strategy.weights(strategy.init(np.full(3, 1 / 3)))
    array([0.1 , 0.45, 0.45])

    Notes
    -----
    Starts at its weights, not at the prior. The cap holds for a training of that budget; a cap that the stream keeps at
    each draw is `Plan(max_epochs=...)`, and both can be given.

    References
    ----------
    Chung et al., "UniMax: Fairer and More Effective Language Sampling for Large-Scale Multilingual Pretraining", ICLR
    2023, arXiv 2304.09151.
    """

    sizes: tuple[float, ...]
    budget: float
    max_epochs: float = 1.0

    costs = "nothing"
    fails = "sizes say nothing of what a source is worth"

    def __init__(self, sizes: Sequence[float] | Array, budget: float, max_epochs: float = 1.0) -> None:
        object.__setattr__(self, "sizes", size_tuple(sizes))
        object.__setattr__(self, "budget", number(budget, "budget", above=0.0))
        object.__setattr__(self, "max_epochs", number(max_epochs, "max_epochs", above=0.0))
        most = self.max_epochs * sum(self.sizes)
        if self.budget > most * (1 + 1e-9):
            raise InputError(
                f"budget should be at most {self.max_epochs:g} epochs of all sources ({most:g}), found "
                f"{self.budget:g}; lower it, or use max_epochs={self.budget / sum(self.sizes):.3g} or more"
            )

    def for_sources(self, change: SourceChange) -> UniMax:
        found: UniMax = replace_sizes(self, change)
        return found

    def starts_at(self, prior: Array) -> Array:
        sizes = np.array(matching(self.sizes, len(prior), "sizes"))
        order = np.argsort(sizes, kind="stable")
        given, left = np.zeros(sizes.size), self.budget
        for place, i in enumerate(order):
            given[i] = min(self.max_epochs * sizes[i], left / (sizes.size - place))
            left -= given[i]
        return given / given.sum()
