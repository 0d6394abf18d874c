"""Squared error: the mixture whose proxies' mean prediction is nearest to the target's outcomes, from one pass."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.mixmin import _seed, _space, prior_of
from mixwright.search.result import FEWEST_DOCUMENTS, is_number, per_source
from mixwright.search.solver.cross_moments import cross_moments
from mixwright.search.solver.squared_problem import SquaredProblem
from mixwright.search.squared_result import SquaredErrorResult

__all__ = ["SquaredError", "SquaredErrorResult"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SquaredError:
    """
    The weights that minimise the target's squared error under the mean of the proxies' predictions.

    Train one cheap proxy per source and let each predict the target's rows: F[i, k]. With outcomes y and row weights c
    (sum 1) this minimises

        sum_i c_i (sum_k w_k F_ik - y_i)^2 + tau * s * sum_k (w_k - pi_k)^2      over the weights that are allowed

    - the first term is `loss`, in squared units of y. As weights have sum 1 it is w^T M w with
      M = sum_i c_i (F_i - y_i)(F_i - y_i)^T [k, k]: after one pass over the rows they are not needed again, neither for
      the choice of tau nor for intervals.
    - pi [k] is the prior, tau the shrinkage. s is the mean squared deviation of the predictions from their mean over
      the sources, per row and source: with tau = 1 the penalty is as curved as the evidence is on average. So tau has
      no unit, and the problem stays a quadratic programme, which a penalty in log w (MixMin's) would not.

    The mixture of the best models is the best model of the mixture where the sources agree on p(x); under covariate
    shift between sources the result is a heuristic: train with it and compare.

    Parameters
    ----------
    prior
        "uniform", "natural" (proportional to the `sizes` given to `fit`), or weights [k].
    shrinkage
        tau >= 0, or "cv": the largest tau that gives away at most a little of the out-of-fold error, as in MixMin.
    tolerance
        The certificate to reach, as a share of the variance of the outcomes (or of a hundredth of the sources' mean
        squared error, where that is larger): objective - minimum <= tolerance * that.

    Examples
    --------
    >>> import numpy as np
    >>> F = np.array([[1.0, 3.0], [2.0, 0.0], [0.0, 4.0]])
    >>> SquaredError(shrinkage=0.0).fit(F, [1.5, 1.5, 1.0]).weights.round(3)
    array([0.75, 0.25])

    References
    ----------
    Thudi, Rovers, Ruan, Thrush, Maddison, "MixMin: Finding Data Mixtures via Convex Minimization", ICML 2025.
    """

    prior: Literal["uniform", "natural"] | ArrayLike = "uniform"
    shrinkage: float | Literal["cv"] = "cv"
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        """Check the settings."""
        if isinstance(self.prior, str) and self.prior not in ("uniform", "natural"):
            raise InputError(f"prior should be 'uniform', 'natural' or weights; found {self.prior!r}")
        if self.shrinkage != "cv" and (not is_number(self.shrinkage) or not 0 <= self.shrinkage <= 1e6):
            raise InputError(f"shrinkage should be 'cv' or a number from 0 to 1,000,000, found {self.shrinkage!r}")
        if not is_number(self.tolerance) or not 1e-11 <= self.tolerance <= 1:
            raise InputError(f"tolerance should be a number from 1e-11 to 1; found {self.tolerance!r}")

    def fit(
        self,
        predictions: ArrayLike | Iterable[ArrayLike],
        outcomes: ArrayLike,
        row_weights: ArrayLike | None = None,
        sizes: ArrayLike | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        documents: ArrayLike | None = None,
        sources: Sequence[str] | None = None,
    ) -> SquaredErrorResult:
        """
        Return the weights for predictions of the target's rows.

        Parameters
        ----------
        predictions
            [n, k], an array or a memory map; or blocks [., k] of it in row order, which are read once.
        outcomes
            [n], finite.
        row_weights
            [n], not negative; ones by default.
        sizes
            [k] rows of each source: for `prior="natural"`, `max_epochs` and the comparison with natural weights.
        constraints
            What weights are allowed.
        seed
            Of the folds and of the bootstrap.
        documents
            [n] document of each row (or patient, or molecule): rows of one are kept together.
        sources
            [k] names, for constraints and files; source_0, source_1, ... by default.

        Raises
        ------
        InputError
            For input that does not fit (the message says which and what to do), and for `shrinkage="cv"` with fewer
            than 3 documents.
        """
        if constraints is not None and not isinstance(constraints, Constraints):
            raise TypeError(
                f"constraints should be a mixwright.Constraints or None; found {type(constraints).__name__}"
            )
        seed, constraints = _seed(seed), constraints or Constraints()
        moments = cross_moments(predictions, outcomes, row_weights, documents, seed)
        k = moments.M.shape[1]
        names = _names(sources, k)
        natural = None if sizes is None else per_source(sizes, k, "sizes")
        _, upper = constraints.bounds(k, names, sizes)
        prior = prior_of(self.prior, natural, k, upper)
        space = constraints.allowed(names, sizes, prior)
        allowed = np.flatnonzero(upper > 0)
        part = space.take(allowed, np.zeros(k)) if space.simple else _space(space, allowed)
        assert part is not None
        problem = SquaredProblem(moments, allowed, prior[allowed], part)
        choice = None
        if self.shrinkage == "cv":
            if problem.documents < FEWEST_DOCUMENTS:
                raise InputError(
                    f"shrinkage='cv' needs at least {FEWEST_DOCUMENTS} documents; found {problem.documents}; pass a "
                    "number, shrinkage=0.0 for the exact optimum"
                )
            choice = problem.choose()
        shrinkage = choice.shrinkage if choice is not None else float(self.shrinkage)
        found = problem.solve(moments.total, shrinkage, self.tolerance)
        limit = self.tolerance * problem.scale
        if found.gap > limit:
            warnings.warn(
                f"the certificate was not reached: gap {found.gap:.2g}, tolerance {limit:.2g}",
                RuntimeWarning,
                stacklevel=2,
            )
        return SquaredErrorResult.of(self, problem, found, shrinkage, choice, names, space, prior, natural, seed)


def _names(sources: Sequence[str] | None, k: int) -> tuple[str, ...]:
    from mixwright.checks import unique_names

    names: Any = [f"source_{i}" for i in range(k)] if sources is None else sources
    out = unique_names(names)
    if len(out) != k:
        raise InputError(f"sources should be {k} names, one per column of predictions; found {len(out)}")
    return out
