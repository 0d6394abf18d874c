"""Weights that flatten the sources' sizes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.simplex import normalise
from mixwright.source_change import SourceChange
from mixwright.strategies._checked import number
from mixwright.strategies.static import Unchanging, matching

Array = NDArray[np.float64]


@dataclass(frozen=True, init=False)
class Temperature(Unchanging):
    r"""
    Weights that stay, between natural (temperature 1) and uniform (a high one).

    Observes nothing. w_i = n_i^(1/T) / sum_j n_j^(1/T)

    - n [k]: the sources' sizes in rows or tokens; without them the prior, so that with the prior "natural" nothing
      needs to be written twice. A source of size 0 has the weight 0.
    - T > 0: the temperature. Below 1 large sources get more than their share.

    Parameters
    ----------
    temperature
        T.
    sizes
        [k]; None: the prior.

    Examples
    --------
    >>> strategy = Temperature(2.0, sizes=[900, 100])
    >>> strategy.weights(strategy.init(np.array([0.5, 0.5])))
    array([0.75, 0.25])

    Notes
    -----
    Papers of multilingual pre-training write alpha = 1/T (XLM-R, arXiv 1911.02116: alpha = .3) or T (mT5's ancestors,
    arXiv 1907.05019: T = 5). Starts at its weights, not at the prior.

    References
    ----------
    Conneau et al., "Unsupervised Cross-lingual Representation Learning at Scale", ACL 2020, arXiv 1911.02116.
    """

    temperature: float
    sizes: tuple[float, ...] | None = None

    costs = "nothing"
    fails = "small sources repeat many times at a high temperature"

    def __init__(self, temperature: float, sizes: Sequence[float] | Array | None = None) -> None:
        object.__setattr__(self, "temperature", number(temperature, "temperature", above=0.0))
        object.__setattr__(self, "sizes", None if sizes is None else size_tuple(sizes))

    def for_sources(self, change: SourceChange) -> Temperature:
        found: Temperature = self if self.sizes is None else replace_sizes(self, change)
        return found

    def starts_at(self, prior: Array) -> Array:
        sizes = prior if self.sizes is None else np.array(matching(self.sizes, len(prior), "sizes"))
        out = np.zeros(len(prior))
        held = sizes > 0
        out[held] = np.exp((np.log(sizes[held]) - np.log(sizes.max())) / self.temperature)
        return out / out.sum()


def replace_sizes(strategy: Any, change: SourceChange) -> Any:
    """Return a strategy with the sizes of the sources that stay or are parts; a new one's is missing to `init`."""
    if change.adds:
        return strategy
    found = copy.copy(strategy)
    sizes = [strategy.sizes[parent] * share for parent, share in zip(change.parents, change.shares, strict=True)]
    object.__setattr__(found, "sizes", size_tuple(sizes))
    return found


def size_tuple(sizes: Sequence[float] | Array) -> tuple[float, ...]:
    """Return sizes as a tuple; InputError if they are not finite, negative or all 0."""
    if isinstance(sizes, dict):
        raise InputError(f"sizes should be one number per source in their order, found a mapping of {list(sizes)[:5]}")
    normalise(sizes, "sizes")
    return tuple(np.asarray(sizes, np.float64).tolist())
