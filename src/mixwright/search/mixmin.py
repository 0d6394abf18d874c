"""MixMin: the mixture whose proxies explain the target best (Thudi et al., arXiv 2502.10510)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.errors import InputError
from mixwright.search.resampling import resample
from mixwright.search.resampling.sampled import MEMORY, SearchRows
from mixwright.search.result import MixMinResult, enough_documents, is_number, per_source
from mixwright.search.solver.evidence import Evidence
from mixwright.search.solver.reuse import starting_weights
from mixwright.search.solver.solve import solve
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.table.target_weights import sum_of_targets
from mixwright.simplex import normalise, scale_onto_bounds

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MixMin:
    """
    The weights that minimise the target's loss under the mixture of the proxies.

    Train one cheap proxy model per source and score the target's rows with each: L[i, k] = log-likelihood of row i
    under proxy k. With P = exp(L) and row weights c (sum 1), MixMin minimises

        F(w) = - sum_i c_i log(sum_k w_k P_ik) - tau * sum_k pi_k log w_k      over the weights that are allowed

    - the first term is `loss`, nats per row: the convex programme of the paper (section 4);
    - pi [k] is the prior, tau the shrinkage: the same as K pseudo-rows of weight tau * pi_k, one for each source. The
      exact optimum (tau = 0) over-fits a small target sample; the paper's code stops after 100 steps, which shrinks
      without saying so. Here tau is chosen by cross-validation over whole documents, on paired differences.

    The optimum is right as far as the best model of a mixture is the mixture of the best models: exactly for generative
    models of whole rows, or where sources agree on p(x). Under covariate shift between sources with conditional rows it
    is a heuristic: train with the result and compare.

    Parameters
    ----------
    prior
        "uniform", "natural" (proportional to the `sizes` given to `fit`), or weights [k]. Sources that are not allowed
        (cap 0) are left out of it and the rest is renormalised.
    shrinkage
        tau >= 0, in units of the target's total row weight, or "cv".
    tolerance
        The certificate to reach: objective - minimum <= tolerance, nats per row.
    max_rows
        Search on at most so many rows: whole documents, drawn at random. One pass over all rows then says what the
        weights are worth there: `loss`, `objective` and `gap` are those of all rows, so the gap bounds what the other
        rows could still bring, and is larger than the tolerance. By default all rows are used.
    memory
        Bytes. A table whose likelihoods would take more in float32 is read anew in each pass; shrinkage, intervals
        and improvement are then those of a sample of its documents (`result.notes`): of memory / (16 k) rows, at most
        four million numbers or 20,000 rows, at least 1,000 rows. The whole process takes about twice as much, apart
        from an array that it is given and what Python takes by itself.

    Examples
    --------
    >>> import numpy as np
    >>> logs = np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]])
    >>> MixMin(shrinkage=0.0).fit(logs).weights.round(3)
    array([0.703, 0.297])

    References
    ----------
    Thudi, Rovers, Ruan, Thrush, Maddison, "MixMin: Finding Data Mixtures via Convex Minimization", ICML 2025.
    """

    prior: Literal["uniform", "natural"] | ArrayLike = "uniform"
    shrinkage: float | Literal["cv"] = "cv"
    tolerance: float = 1e-8
    max_rows: int | None = None
    memory: float = MEMORY

    def __post_init__(self) -> None:
        """Check the settings."""
        if isinstance(self.prior, str) and self.prior not in ("uniform", "natural"):
            raise InputError(f"prior should be 'uniform', 'natural' or weights; found {self.prior!r}")
        if isinstance(self.shrinkage, str):
            if self.shrinkage != "cv":
                raise InputError(f"shrinkage should be 'cv' or a number >= 0; found {self.shrinkage!r}")
        elif not is_number(self.shrinkage) or not 0 <= self.shrinkage <= 1e6:
            raise InputError(f"shrinkage should be 'cv' or a number from 0 to 1,000,000, found {self.shrinkage!r}")
        if not is_number(self.tolerance) or not 1e-12 <= self.tolerance <= 1:
            raise InputError(f"tolerance should be a number from 1e-12 to 1 (nats); found {self.tolerance!r}")
        most = self.max_rows
        if most is not None and not (isinstance(most, (int, np.integer)) and not isinstance(most, bool) and most >= 3):
            raise InputError(f"max_rows should be a whole number of at least 3, or None for all rows; found {most!r}")
        if not is_number(self.memory) or not self.memory > 0:
            raise InputError(f"memory should be a positive number of bytes, such as 1e9; found {self.memory!r}")

    def check(
        self, sources: Sequence[str], sizes: ArrayLike | None = None, constraints: Constraints | None = None
    ) -> None:
        """Raise InputError if prior or constraints do not fit the sources, before there are likelihoods."""
        _limits(self, tuple(sources), sizes, constraints)

    def fit(
        self,
        log_likelihood: ArrayLike | LikelihoodTable,
        row_weights: ArrayLike | None = None,
        sizes: ArrayLike | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        documents: ArrayLike | None = None,
        start: MixMinResult | MixtureFile | Mapping[str, float] | ArrayLike | None = None,
        target_weights: Mapping[str, float] | None = None,
    ) -> MixMinResult:
        """
        Return the weights for a table of likelihoods.

        Parameters
        ----------
        log_likelihood
            [n, k] natural logs, or a LikelihoodTable. -inf is allowed, NaN and +inf are not.
        row_weights
            [n], not negative; they multiply the table's own weights.
        sizes
            [k] rows or tokens of each source: for `prior="natural"` and the comparison with natural weights.
        constraints
            What weights are allowed.
        seed
            Of the folds and of the bootstrap: the same seed gives the same numbers.
        documents
            [n] document of each row, where `log_likelihood` is an array; rows of one document are kept together in
            folds and bootstrap draws. By default each row is a document of its own.
        start
            Where to begin: the result of a table with other sources, a MixtureFile, weights [k], or {source: weight}.
            It saves time and changes the answer within the tolerance only. Of a result in memory, the likelihoods of
            the columns that both tables share (`with_source`, `add_source`, ... of one table) are not computed again.
            The shrinkage is not taken from it.
        target_weights
            {target: weight} where the table has rows of several targets: the loss is the weighted sum of the targets'
            losses, each per row of that target. They are normalised; targets that are not named do not count.

        Raises
        ------
        InputError
            For likelihoods, weights, sizes, constraints or a start that do not fit (the message says which and what to
            do), for `shrinkage="cv"` with fewer than 3 documents, and for `max_rows` that hold fewer than 3.
        """
        if not isinstance(log_likelihood, LikelihoodTable):
            table = LikelihoodTable.from_array(log_likelihood, documents=documents)
        elif documents is not None:
            raise InputError("documents should be given with an array only; this table has its own (table.documents)")
        else:
            table = log_likelihood
            table.require_complete()
        rows = sum_of_targets(table, target_weights, _row_weights(row_weights, table))
        return _fit(self, table, rows, sizes, constraints, _seed(seed), start)


def _fit(
    settings: MixMin,
    table: LikelihoodTable,
    row_weights: Array,
    sizes: ArrayLike | None,
    constraints: Constraints | None,
    seed: int,
    start: Any,
) -> MixMinResult:
    """Return the result for a complete table."""
    space, natural, prior = _limits(settings, table.sources, sizes, constraints)
    lower, upper = space.reach
    allowed = np.flatnonzero(upper > 0)
    previous = start._search if isinstance(start, MixMinResult) else None
    if previous is not None:
        allowed = previous.order(table, allowed)
    near = None if start is None else starting_weights(start, table.sources, allowed)

    def problem(rows: Evidence, document: NDArray[np.int64]) -> resample.Setting:
        limits = lower[allowed], upper[allowed], prior[allowed]
        return resample.Setting(rows, *limits, document, _space(space, allowed))

    search = SearchRows(
        table, allowed, row_weights, problem, settings.memory, settings.max_rows, seed, previous=previous
    )
    folds = None
    if settings.shrinkage == "cv":
        shrinkage, folds = _cross_validate(search.setting, seed)
    else:
        shrinkage = float(settings.shrinkage)
    setting = problem(search.fitted, np.empty(0, np.int64))
    region = setting.region(shrinkage)
    first = scale_onto_bounds(setting.prior, setting.lower, setting.upper)
    solution = solve(search.fitted, region, settings.tolerance, first, near)
    if solution.gap > settings.tolerance:
        warnings.warn(
            f"the certificate was not reached: gap {solution.gap:.2g}, tolerance {settings.tolerance:.2g} nats per row",
            RuntimeWarning,
            stacklevel=3,
        )
    solution, offset = search.of_all(solution, region)
    weights = np.zeros(table.k)
    weights[allowed] = solution.weights
    gain = np.zeros(table.k)
    with np.errstate(divide="ignore", invalid="ignore"):
        penalty = shrinkage * setting.prior
        gain[allowed] = solution.gain + np.where(penalty > 0, penalty / solution.weights, 0.0)
    return MixMinResult(
        weights=weights,
        loss=solution.loss - offset,
        objective=solution.objective - offset,
        gap=solution.gap,
        shrinkage=shrinkage,
        prior=prior,
        natural=natural,
        space=space,
        _gain=gain,
        table=table,
        settings=settings,
        seed=seed,
        _search=search,
        _allowed=allowed,
        _folds=folds,
    )


def _limits(
    settings: MixMin, sources: tuple[str, ...], sizes: ArrayLike | None, constraints: Constraints | None
) -> tuple[Polytope, Array | None, Array]:
    """Return the allowed weights, the natural weights and the prior."""
    if constraints is not None and not isinstance(constraints, Constraints):
        raise TypeError(f"constraints should be a mixwright.Constraints or None; found {type(constraints).__name__}")
    constraints, k = constraints or Constraints(), len(sources)
    natural = None if sizes is None else per_source(sizes, k, "sizes")
    _, upper = constraints.bounds(k, sources, sizes)
    space = constraints.allowed(sources, sizes, prior_of(settings.prior, natural, k, upper))
    _, upper = space.reach  # limits of groups may shut sources out as well
    return space, natural, prior_of(settings.prior, natural, k, upper)


def _cross_validate(setting: resample.Setting, seed: int) -> tuple[float, resample.FoldFits]:
    """Return the shrinkage with the fits that chose it."""
    enough_documents(setting, "shrinkage='cv'", "pass a number, shrinkage=0.0 for the exact optimum")
    fold = resample.assign_folds(setting, seed)[setting.document]
    fits = resample.fit_folds(setting, fold, resample.GRID, pairs=False)
    losses = np.empty((len(resample.GRID), setting.rows.n))
    for position, (left,) in enumerate(fits.left_out):
        inside, loss = fits.losses([position], left)
        losses[:, inside] = loss[:, 0]
    return resample.GRID[resample.choose(losses, setting.rows.c, setting.document)], fits


def _space(space: Polytope, allowed: NDArray[np.intp]) -> Polytope | None:
    """Return the set of the allowed sources where it has limits beyond bounds."""
    return None if space.simple else space.take(allowed, np.zeros(space.lower.size))


def _seed(seed: int) -> int:
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed should be an integer >= 0; found {seed!r}")
    return int(seed)


def prior_of(prior: Any, natural: Array | None, k: int, upper: Array) -> Array:
    """Return the prior [k], zero where the cap is zero and renormalised elsewhere."""
    if isinstance(prior, str) and prior == "natural":
        if natural is None:
            raise InputError("prior='natural' needs the sizes of the sources; call fit(..., sizes=...)")
        out = natural
    else:
        out = np.full(k, 1 / k) if isinstance(prior, str) else per_source(prior, k, "prior")
    out = np.where(upper > 0, out, 0.0)
    if out.sum() == 0:
        raise InputError("the prior should give weight to a source that is allowed; all of its sources have cap 0")
    return out / out.sum()


def _row_weights(row_weights: ArrayLike | None, table: LikelihoodTable) -> Array:
    """Return the weights [n] of the rows: the table's own, times those given."""
    own = np.asarray(table.weights, np.float64)
    if row_weights is None:
        return own / own.sum()
    given = normalise(row_weights, "row_weights")
    if given.size != table.n:
        raise InputError(f"row_weights should be one number per row ({table.n}); found {given.size}")
    if (given * own).sum() == 0:
        raise InputError("row_weights times the table's weights should not be zero for every row")
    return given * own / (given * own).sum()
