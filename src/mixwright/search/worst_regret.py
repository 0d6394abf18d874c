"""Several targets at once: the mixture whose worst regret over them is least."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.errors import InputError
from mixwright.search.mixmin import _seed, _space, prior_of
from mixwright.search.regret_result import WorstRegretResult
from mixwright.search.result import is_number, per_source
from mixwright.search.solver.evidence import Evidence
from mixwright.search.solver.interior import Region
from mixwright.search.solver.minimax import Minimax, Targets
from mixwright.search.table.table import LikelihoodTable
from mixwright.simplex import scale_onto_bounds

__all__ = ["TargetProblem", "WorstRegret", "WorstRegretResult"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WorstRegret:
    """
    The weights that minimise the worst regret over the targets of a table.

    With f_t(w) the loss of target t (as in MixMin, over the rows of that target alone, their weights with sum 1) it
    minimises

        max_t F_t(w) - F_t*,    F_t(w) = f_t(w) - tau * sum_k pi_k log w_k,    F_t* = min F_t    over what is allowed

    - F_t* is what the best mixture for target t alone would reach, so a regret is what target t gives up, in nats per
      row of that target. A target that is hard for every mixture does not decide; one that has much to lose does.
    - pi [k] is the prior, tau the shrinkage. It is the same for all targets and part of F_t*, so that no regret is
      negative. The exact optimum (tau = 0) over-fits targets with few rows, and so does their F_t*.

    The problem is convex. Its certificate counts what is not known of the F_t* too. At the optimum the worst regret is
    that of a weighted sum of the targets; these weights are part of the result.

    Parameters
    ----------
    tolerance
        The certificate to reach: worst regret - minimum <= tolerance, nats per row.
    shrinkage
        tau >= 0, in units of a target's total row weight. There is no "cv": what one shrinkage does to several targets
        is to be seen, not averaged; choose one by MixMin on the target with the fewest documents.
    prior
        "uniform", "natural" (proportional to the `sizes` given to `fit`), or weights [k].

    Examples
    --------
    >>> import numpy as np
    >>> logs = np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]])
    >>> table = LikelihoodTable.from_array(logs, targets=[0, 0, 1], target_names=["news", "code"])
    >>> result = WorstRegret().fit(table)
    >>> result.weights.round(3)
    array([0.482, 0.518])
    """

    tolerance: float = 1e-6
    shrinkage: float = 0.0
    prior: Literal["uniform", "natural"] | ArrayLike = "uniform"

    def __post_init__(self) -> None:
        """Check the settings."""
        if isinstance(self.prior, str) and self.prior not in ("uniform", "natural"):
            raise InputError(f"prior should be 'uniform', 'natural' or weights; found {self.prior!r}")
        if not is_number(self.shrinkage) or not 0 <= self.shrinkage <= 1e6:
            raise InputError(f"shrinkage should be a number from 0 to 1,000,000, found {self.shrinkage!r}")
        if not is_number(self.tolerance) or not 1e-10 <= self.tolerance <= 1:
            raise InputError(f"tolerance should be a number from 1e-10 to 1 (nats); found {self.tolerance!r}")

    def fit(
        self,
        table: LikelihoodTable,
        constraints: Constraints | None = None,
        sizes: ArrayLike | None = None,
        seed: int = 0,
        targets: Sequence[str] | None = None,
    ) -> WorstRegretResult:
        """
        Return the weights for the targets of a table.

        Parameters
        ----------
        table
            Rows of one target or more.
        constraints
            What weights are allowed; the F_t* are of allowed weights too.
        sizes
            [k] rows or tokens of each source: for `prior="natural"`, `max_epochs` and the comparison with natural.
        seed
            Of the folds and of the bootstrap.
        targets
            The targets that count; default: all that have rows.

        Raises
        ------
        InputError
            For a table, targets, sizes or constraints that do not fit; the message says which and what to do.
        """
        problem = TargetProblem.of(table, targets, self.prior, self.shrinkage, constraints, sizes)
        best = problem.targets.best(self.tolerance / 10, problem.start)
        found = problem.targets.minimise(best, self.tolerance, best.weights.mean(0))
        self._warn(found)
        return WorstRegretResult.of(self, problem, best, found, _seed(seed))

    def _warn(self, found: Minimax) -> None:
        if found.gap > self.tolerance:
            warnings.warn(
                f"the certificate was not reached: gap {found.gap:.2g}, tolerance {self.tolerance:.2g} nats per row",
                RuntimeWarning,
                stacklevel=3,
            )


@dataclass(frozen=True)
class TargetProblem:
    """
    The rows of each target of a table, and what weights are allowed.

    names: of the m targets; tables: their rows; targets: the problem over the `allowed` sources; start: weights to
    start from; prior, natural [k]; space: what the constraints allow.
    """

    names: tuple[str, ...]
    table: LikelihoodTable
    tables: tuple[LikelihoodTable, ...]
    targets: Targets
    allowed: NDArray[np.intp]
    start: Array
    prior: Array
    natural: Array | None
    constraints: Constraints
    space: Polytope

    @classmethod
    def of(
        cls,
        table: LikelihoodTable,
        names: Sequence[str] | None,
        prior: Literal["uniform", "natural"] | ArrayLike,
        shrinkage: float,
        constraints: Constraints | None,
        sizes: ArrayLike | None,
    ) -> TargetProblem:
        """Return the problem for checked settings; InputError where the table or the rest does not fit."""
        if not isinstance(table, LikelihoodTable):
            raise TypeError(
                f"table should be a mixwright.LikelihoodTable; found {type(table).__name__}; make one with "
                "LikelihoodTable.from_array(logs, targets=..., target_names=...)"
            )
        if constraints is not None and not isinstance(constraints, Constraints):
            raise TypeError(
                f"constraints should be a mixwright.Constraints or None; found {type(constraints).__name__}"
            )
        table.check()
        constraints = constraints or Constraints()
        chosen = _names(table, names)
        tables = tuple(table.select(name) for name in chosen)
        natural = None if sizes is None else per_source(sizes, table.k, "sizes")
        _, upper = constraints.bounds(table.k, table.sources, sizes)
        space = constraints.allowed(table.sources, sizes, prior_of(prior, natural, table.k, upper))
        lower, upper = space.reach  # limits of groups may shut sources out as well
        pi = prior_of(prior, natural, table.k, upper)
        allowed = np.flatnonzero(upper > 0)
        rows = tuple(Evidence(part, allowed, np.asarray(part.weights, np.float64)) for part in tables)
        region = Region(lower[allowed], upper[allowed], shrinkage * pi[allowed], linear=_space(space, allowed))
        start = scale_onto_bounds(pi[allowed], region.lower, region.upper)
        targets = Targets(rows, region)
        return cls(chosen, table, tables, targets, allowed, start, pi, natural, constraints, space)

    def full(self, w: Array) -> Array:
        """Return weights [..., k] of all sources from those of the allowed ones."""
        out = np.zeros((*w.shape[:-1], self.table.k))
        out[..., self.allowed] = w
        return out

    @property
    def offsets(self) -> Array:
        """Return what the losses [m] of the solver have over nats per row."""
        return np.array([rows.offset for rows in self.targets.rows])


def _names(table: LikelihoodTable, names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the targets that count, each once."""
    if names is None:
        present = np.unique(np.asarray(table.targets)).tolist()
        return tuple(table.target_names[t] for t in present)
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise InputError(f"targets should be a list of different names; found {names!r}")
    for name in names:
        if name not in table.target_names:
            raise InputError(
                f"targets should be some of {', '.join(map(repr, table.target_names))}; found {name!r}; correct it"
            )
    return tuple(names)
