"""Squared error: the mixture whose proxies' mean prediction is nearest to the target's outcomes, from one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import is_index, near, unique_names
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.inputs import FEWEST_DOCUMENTS, Allowed, PerSource, Prior, check_settings, checked_seed
from mixwright.search.resampling.resample import improvement_interval, paired_error
from mixwright.search.result import SearchResult, numbered, too_few_for_folds, warn_uncertified
from mixwright.search.solver.cross_moments import cross_moments
from mixwright.search.solver.squared_problem import SquaredFolds, SquaredProblem

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
        "uniform", "natural" (proportional to the `sizes` given to `fit`), weights [k], or {source: weight}.
    shrinkage
        tau >= 0, or "cv": the largest tau that gives away at most a little of the out-of-fold error.
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
    Thudi, Rovers, Ruan, Thrush, Maddison, "MixMin: Finding Data Mixtures via Convex Minimization", ICML 2025,
    arXiv 2502.10510.
    """

    prior: Prior = "uniform"
    shrinkage: float | Literal["cv"] = "cv"
    tolerance: float = 1e-8

    def __post_init__(self) -> None:
        """Check the settings."""
        check_settings(self.prior, self.shrinkage, self.tolerance, 1e-11, unit="")

    def fit(
        self,
        evidence: ArrayLike | Iterable[ArrayLike],
        outcomes: ArrayLike,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        row_weights: ArrayLike | None = None,
        documents: ArrayLike | None = None,
        sources: Sequence[str] | None = None,
    ) -> SquaredErrorResult:
        """
        Return the weights for predictions of the target's rows.

        Parameters
        ----------
        evidence
            The predictions [n, k]: an array, a memory map, or a data frame (its columns name the sources, without an
            index); or blocks [., k] in row order, which are read once. Of outcomes 0 and 1, probabilities.
        outcomes
            [n], finite.
        sizes
            Rows of each source, [k] or {source: size}: for `prior="natural"`, `max_epochs` and the comparison with
            natural weights.
        constraints
            What weights are allowed.
        seed
            Of the folds and of the bootstrap.
        row_weights
            [n], not negative; ones by default.
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
        seed = checked_seed(seed)
        if hasattr(evidence, "columns"):
            evidence, sources = _of_frame(evidence, sources)
        moments = cross_moments(evidence, outcomes, row_weights, documents, seed)
        allowed = Allowed.of(self.prior, _names(sources, moments.M.shape[1]), sizes, constraints)
        problem = SquaredProblem(moments, allowed.positions, allowed.prior[allowed.positions], allowed.part)
        folds = None
        if self.shrinkage == "cv":
            if problem.documents < FEWEST_DOCUMENTS:
                raise too_few_for_folds(problem.documents)
            folds = problem.choose()
        shrinkage = float(self.shrinkage) if folds is None else folds.shrinkage
        found = problem.solve(moments.total, shrinkage, self.tolerance)
        warn_uncertified(found.gap, self.tolerance * problem.scale, unit="")
        weights = allowed.full(found.weights)
        gain = -2 * moments.total @ weights
        gain[allowed.positions] = found.gain
        return SquaredErrorResult(
            weights=weights,
            loss=found.loss,
            objective=found.objective,
            gap=found.gap,
            shrinkage=shrinkage,
            settings=self,
            seed=seed,
            allowed=allowed,
            _gain=gain,
            _problem=problem,
            _folds=folds,
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SquaredErrorResult(SearchResult):
    """
    What a search under squared error found.

    Attributes
    ----------
    weights, objective, gap, shrinkage, settings, seed
        As in every `SearchResult`; objective and gap are in squared units of the outcomes.
    loss
        Mean squared error of the mixed predictions, in squared units of the outcomes.

    Notes
    -----
    `interval` refits on 200 bootstrap draws of groups of documents; there are at most 60 groups, so that one pass over
    the rows is enough. The interval of `improvement` is for the mean of paired differences by group, widened as
    MixMin's (an error e counts e / (2 loss) nats).
    """

    method = "squared_error"
    measured = "in mean squared error"
    unit = ""

    loss: float
    _gain: Array
    _problem: SquaredProblem
    _folds: SquaredFolds | None

    def _figures(self) -> dict[str, float]:
        return {"loss": self.loss, "shrinkage": self.shrinkage}

    @property
    def moments(self) -> Array:
        """Return M [k, k]: the mean squared error of weights w is w^T M w."""
        return self._problem.moments.total

    @property
    def gain(self) -> Array:
        """Return [k], minus the gradient of the objective at the weights; of a source not allowed, of the loss."""
        return self._gain

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence."""
        return self._problem.moments.rows

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return self._problem.documents

    @property
    def fewest(self) -> tuple[int, str]:
        """Return the number of documents; there is one target."""
        return self.documents, ""

    @property
    def _scale(self) -> float:
        return self._problem.scale

    @property
    def _counted(self) -> str:
        return f", {self.documents} documents"

    def _drawn(self) -> Array:
        return self._problem.bootstrap(self.shrinkage, self.weights[self._problem.allowed], self.seed)

    @cached_property
    def _scored(self) -> tuple[Array, Array]:
        """Return the errors [groups], times shares, out of fold: with the shrinkage nested, and as given."""
        problem, choice = self._problem, self._folds
        if choice is None:
            folds = int(problem.moments.folds.max()) + 1
            alone = problem.fit_folds((self.shrinkage,), [(f,) for f in range(folds)])[self.shrinkage]
            given = problem.out_of_fold(alone)
            return given, given
        nested = np.stack([choice.weights[tau][f] for f, tau in enumerate(problem.nested())])
        return problem.out_of_fold(nested), choice.errors[self.shrinkage]

    def _improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        moments = self._problem.moments
        there = np.einsum("gij,i,j->g", moments.M, reference, reference, optimize=True)
        share, each = moments.share, np.arange(moments.share.size)
        nested, given = (paired_error((there - own) / share, share, each) for own in self._scored)
        optimism = max(0.0, float(self._scored[1].sum()) - self.loss)
        own = float(np.sqrt(optimism * max(self.loss, 0.0) / moments.effective))  # sqrt(nats / (2 m)), in squared units
        return improvement_interval(nested, given, own, level)

    def _file_parts(self) -> dict[str, dict[str, Any]]:
        return {
            "method": {},
            "evidence": {"documents": self.documents, "unit": "squared error"},
            "certificate": {"loss": self.loss, "unit": "squared error"},
        }


def _names(sources: Sequence[str] | None, k: int) -> tuple[str, ...]:
    out = numbered(k) if sources is None else unique_names(sources)
    if len(out) != k:
        raise InputError(f"sources should be {k} names, one per column of predictions; found {len(out)}")
    return out


def _of_frame(frame: Any, sources: Sequence[str] | None) -> tuple[Array, tuple[str, ...]]:
    """Return the predictions and the names of a data frame: the columns that are named, or all but its index."""
    columns = {str(name): name for name in frame.columns}
    chosen = [name for i, name in enumerate(columns) if not is_index(name, i)] if sources is None else sources
    names = unique_names(chosen)
    for name in names:
        if name not in columns:
            raise InputError(f"sources should name columns of the predictions{near(name, list(columns), 'columns')}")
    return np.stack([np.asarray(frame[columns[name]]) for name in names], axis=1), names
