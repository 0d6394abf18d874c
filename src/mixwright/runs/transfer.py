"""Whether what is good at a small scale is good at a large one: mixtures that were trained at both."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mixwright.runs.scores import regret, spearman
from mixwright.runs.table import RunTable

FEWEST = 3  # mixtures at both scales


@dataclass(frozen=True)
class Transfer:
    """
    What one scale says of another, for a target.

    mixtures: how many were trained at both; spearman: of their mean losses; regret: the loss at `to` of the mixture
    that is best at `of`, minus the least loss there.
    """

    of: str
    to: str
    mixtures: int
    spearman: float
    regret: float

    def __str__(self) -> str:
        """Return a sentence."""
        return (
            f"the losses of {self.mixtures} mixtures that were trained at {self.of!r} and at {self.to!r} have a rank "
            f"correlation of {self.spearman:.3f}; the best one at {self.of!r} is {self.regret:.3g} worse than the best "
            f"one at {self.to!r}"
        )


def transfers(table: RunTable, target: str) -> tuple[Transfer, ...]:
    """
    Return what each scale of a table says of the others, both ways, where some mixtures were trained at both.

    Raises
    ------
    InputError
        For a target that the table does not have.
    """
    y, code, scales = table.target(target), table.mixtures, np.array(table.scales)
    means = {scale: _means(y[scales == scale], code[scales == scale]) for scale in sorted(set(table.scales))}
    out = []
    for one, other in combinations(means, 2):
        both = sorted(set(means[one]) & set(means[other]))
        if len(both) >= FEWEST:
            a, b = (np.array([means[scale][mixture] for mixture in both]) for scale in (one, other))
            out.append(Transfer(one, other, len(both), spearman(a, b), regret(a, b)))
            out.append(Transfer(other, one, len(both), spearman(a, b), regret(b, a)))
    return tuple(out)


def _means(y: np.ndarray, code: np.ndarray) -> dict[int, float]:
    there = ~np.isnan(y)
    return {int(c): float(y[there & (code == c)].mean()) for c in set(code[there].tolist())}
