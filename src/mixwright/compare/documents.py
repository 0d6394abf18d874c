"""Comparing two trained mixtures on the same held-out documents, and saying in words what came out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.search.inputs import FEWEST_DOCUMENTS
from mixwright.search.resampling.resample import paired_error, student_quantile

_ALONE = "(this seed alone)"


@dataclass(frozen=True)
class DocumentComparison:
    """
    The held-out loss of a mixture minus that of another, nats per token.

    Parameters
    ----------
    over
        The other mixture.
    difference
        Below 0: the mixture is better.
    low, high
        The interval of the difference over documents; None with fewer than 3 documents.
    level
        The level of the interval.
    """

    over: str
    difference: float
    low: float | None
    high: float | None
    level: float

    @property
    def verdict(self) -> str:
        """One sentence: better, worse or no better, by how much, and how sure that is."""
        if self.low is None or self.high is None:
            return f"unverified: too few held-out documents to compare with {self.over}"
        if self.high < 0:
            return f"better than {self.over} by {self._figures(-self.difference, -self.high, -self.low)} {_ALONE}"
        if self.low > 0:
            return f"worse than {self.over} by {self._figures(self.difference, self.low, self.high)} {_ALONE}"
        figures = self._figures(self.difference, self.low, self.high)
        return f"no better than {self.over} on this evidence: difference {figures} {_ALONE}"

    def _figures(self, value: float, low: float, high: float) -> str:
        """Show a difference and its interval with as many digits as the width of the interval deserves."""
        width = high - low
        digits = 3 if width >= 0.01 else 4 if width >= 0.001 else 6
        return f"{value:.{digits}f} nats per token [{low:.{digits}f}, {high:.{digits}f}]"


def compare(
    nats: NDArray[np.float64],
    other_nats: NDArray[np.float64],
    tokens: NDArray[np.float64],
    over: str,
    level: float = 0.9,
) -> DocumentComparison:
    """
    Compare two mixtures on the same documents.

    The difference is sum(nats - other_nats) / sum(tokens). Its standard error is that of a ratio over documents (their
    losses are paired, their lengths differ), its interval Student's.

    Parameters
    ----------
    nats, other_nats
        [d], the loss of each document under the mixture and under the other.
    tokens
        [d], tokens of each document.
    over
        Name of the other mixture.
    level
        Level of the interval.
    """
    tokens = np.asarray(tokens, np.float64)
    per_token = (np.asarray(nats, np.float64) - other_nats) / np.maximum(tokens, 1)
    mean, error, documents = paired_error(per_token, tokens, np.arange(tokens.size))
    if documents < FEWEST_DOCUMENTS or not math.isfinite(error):
        return DocumentComparison(over, mean, None, None, level)
    half = student_quantile((1 + level) / 2, documents - 1) * error
    return DocumentComparison(over, mean, mean - half, mean + half, level)
