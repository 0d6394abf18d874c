"""The rows of several targets as one problem, and what weights are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import near
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.inputs import Allowed, PerSource, Prior
from mixwright.search.solver.evidence import Array, Evidence
from mixwright.search.solver.interior import Region
from mixwright.search.solver.minimax import Targets
from mixwright.search.table.table import LikelihoodTable
from mixwright.simplex import scale_onto_bounds

Documents = list[tuple[NDArray[np.int64], Array]]


@dataclass(frozen=True)
class TargetProblem:
    """
    The rows of each target of a table, and what weights are allowed.

    names: of the m targets; tables: their rows; targets: the problem over the allowed sources; start: weights of these
    to start from.
    """

    names: tuple[str, ...]
    table: LikelihoodTable
    tables: tuple[LikelihoodTable, ...]
    targets: Targets
    allowed: Allowed
    start: Array

    @classmethod
    def of(
        cls,
        table: LikelihoodTable,
        names: Sequence[str] | None,
        prior: Prior,
        shrinkage: float,
        constraints: Constraints | None,
        sizes: PerSource | None,
    ) -> TargetProblem:
        """Return the problem for checked settings; InputError where the table or the rest does not fit."""
        if not isinstance(table, LikelihoodTable):
            raise TypeError(
                f"the evidence should be a mixwright.LikelihoodTable; found {type(table).__name__}; make one with "
                "LikelihoodTable.from_array(logs, targets=..., target_names=...)"
            )
        allowed = Allowed.of(prior, table.sources, sizes, constraints)
        table.check()
        chosen = _names(table, names)
        tables = tuple(table.select(name) for name in chosen)
        rows = tuple(Evidence(part, allowed.positions, np.asarray(part.weights, np.float64)) for part in tables)
        pi = allowed.prior[allowed.positions]
        region = Region(*allowed.limits, shrinkage * pi, linear=allowed.linear)
        start = scale_onto_bounds(pi, region.lower, region.upper)
        return cls(chosen, table, tables, Targets(rows, region), allowed, start)

    @property
    def offsets(self) -> Array:
        """Return what the losses [m] of the solver have over nats per row."""
        return np.array([rows.offset for rows in self.targets.rows])

    @cached_property
    def documents(self) -> Documents:
        """Return for each target the document [n_t] of its rows, 0..d-1, and the share [d] of each document."""
        out = []
        for table, rows in zip(self.tables, self.targets.rows, strict=True):
            _, document = np.unique(table.documents, return_inverse=True)
            out.append((document.astype(np.int64), np.bincount(document, rows.c).astype(np.float64)))
        return out


def _names(table: LikelihoodTable, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the targets that count, each once."""
    if names is None:
        present = np.unique(np.asarray(table.targets)).tolist()
        return tuple(table.target_names[t] for t in present)
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise InputError(f"targets should be a list of different names; found {names!r}")
    for name in names:
        if name not in table.target_names:
            known = table.target_names
            raise InputError(f"targets should be among those of the table{near(name, known, 'targets')}")
    return tuple(names)
