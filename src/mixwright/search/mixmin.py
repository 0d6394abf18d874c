"""MixMin: the mixture whose proxies explain the target best (Thudi et al., arXiv 2502.10510)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import is_number
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.search.inputs import Allowed, PerSource, Prior, check_settings, checked_seed
from mixwright.search.resampling import resample
from mixwright.search.resampling.out_of_fold import improvement, out_of_fold
from mixwright.search.resampling.sampled import MEMORY, Sample, SearchRows
from mixwright.search.result import FEWEST_DOCUMENTS, SearchResult, too_few_for_folds, warn_uncertified
from mixwright.search.solver.all_sources import gain_of, losses_under
from mixwright.search.solver.evidence import Evidence
from mixwright.search.solver.minimax import solve_certified
from mixwright.search.solver.reuse import starting_weights
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.table.target_weights import losses_by_target, sum_of_targets
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
        "uniform", "natural" (proportional to the `sizes` given to `fit`), weights [k], or {source: weight} (0 where not
        named). Sources that are not allowed (cap 0) are left out of it and the rest is renormalised.
    shrinkage
        tau >= 0, in units of the target's total row weight; or "cv": the middle of a grid of tau, each counted by the
        log-likelihood of documents that its weights did not see. See docs/search.md, "Small targets".
    tolerance
        The certificate to reach: objective - minimum <= tolerance, nats per row.
    max_rows
        Search on at most this many rows: whole documents, drawn at random. One pass over all rows then evaluates the
        weights: `loss`, `objective` and `gap` refer to all rows. The gap then bounds what the other rows could still
        bring, and is larger than the tolerance. By default all rows are used.
    memory
        Bytes. A table whose likelihoods would take more in float32 is read again in each pass. Shrinkage, intervals
        and improvement then come from a sample of its documents (`result.notes`): memory / (16 k) rows, at most
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
    Thudi, Rovers, Ruan, Thrush, Maddison, "MixMin: Finding Data Mixtures via Convex Minimization", ICML 2025,
    arXiv 2502.10510.
    """

    prior: Prior = "uniform"
    shrinkage: float | Literal["cv"] = "cv"
    tolerance: float = 1e-8
    max_rows: int | None = None
    memory: float = MEMORY

    def __post_init__(self) -> None:
        """Check the settings."""
        check_settings(self.prior, self.shrinkage, self.tolerance, 1e-12)
        most = self.max_rows
        if most is not None and not (isinstance(most, (int, np.integer)) and not isinstance(most, bool) and most >= 3):
            raise InputError(f"max_rows should be a whole number of at least 3, or None for all rows; found {most!r}")
        if not is_number(self.memory) or not self.memory > 0:
            raise InputError(f"memory should be a positive number of bytes, such as 1e9; found {self.memory!r}")

    def check(
        self, sources: Sequence[str], sizes: PerSource | None = None, constraints: Constraints | None = None
    ) -> None:
        """Raise InputError if prior or constraints do not fit the sources, before there are likelihoods."""
        Allowed.of(self.prior, tuple(sources), sizes, constraints)

    def fit(
        self,
        evidence: ArrayLike | LikelihoodTable,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        row_weights: ArrayLike | None = None,
        documents: ArrayLike | None = None,
        target_weights: Mapping[str, float] | None = None,
        start: MixMinResult | MixtureFile | Mapping[str, float] | ArrayLike | None = None,
    ) -> MixMinResult:
        """
        Return the weights for a table of likelihoods.

        Parameters
        ----------
        evidence
            Natural logs [n, k], or a LikelihoodTable. -inf is allowed, NaN and +inf are not.
        sizes
            Rows or tokens of each source, [k] or {source: size}: for `prior="natural"`, `max_epochs` and the comparison
            with natural weights.
        constraints
            What weights are allowed.
        seed
            Of the folds and of the bootstrap: the same seed gives the same numbers.
        row_weights
            [n], not negative; they multiply the table's own weights.
        documents
            [n] document of each row, where the evidence is an array; rows of one document are kept together in folds
            and bootstrap draws. By default each row is a document of its own.
        target_weights
            {target: weight} where the table has rows of several targets: the loss is the weighted sum of the targets'
            losses, each per row of that target. They are normalised; targets that are not named do not count.
        start
            Where to begin: the result of a table with other sources, a MixtureFile, weights [k], or {source: weight}.
            It saves time and changes the answer within the tolerance only. Of a result in memory, the likelihoods of
            the columns that both tables share (`with_source`, `add_source`, ... of one table) are not computed again.
            The shrinkage is not taken from it.

        Raises
        ------
        InputError
            For likelihoods, weights, sizes, constraints or a start that do not fit (the message says which and what to
            do), for `shrinkage="cv"` with fewer than 3 documents, and for `max_rows` that hold fewer than 3.
        """
        if isinstance(evidence, str | PathLike):
            raise InputError(
                "the evidence should be a LikelihoodTable or an array, found a path; read it with "
                "LikelihoodTable.from_file(...)"
            )
        if not isinstance(evidence, LikelihoodTable):
            table = LikelihoodTable.from_array(evidence, documents=documents)
        elif documents is not None:
            raise InputError("documents should be given with an array only; this table has its own (table.documents)")
        else:
            table = evidence
            table.require_complete()
        rows = sum_of_targets(table, target_weights, _row_weights(row_weights, table))
        return _fit(self, table, rows, Allowed.of(self.prior, table.sources, sizes, constraints), seed, start)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MixMinResult(SearchResult):
    """
    What MixMin found, with its evidence.

    Attributes
    ----------
    weights, objective, gap, shrinkage, settings, seed
        As in every `SearchResult`; the objective F(w) = loss + penalty and its gap are in nats per row of the table.
    loss
        f(w), nats per row of the table, without the penalty.
    table
        The evidence.
    documents_are
        What is kept together in folds and bootstrap draws, for sentences: documents, molecules, scaffolds.

    Notes
    -----
    `interval` refits on 200 bootstrap draws. The interval of `improvement` is for the mean of paired differences,
    by document, in nats per row.
    """

    method = "mixmin"

    loss: float
    table: LikelihoodTable
    documents_are: str = "documents"
    _gain: Array
    _search: SearchRows
    _folds: resample.FoldFits | None

    def _figures(self) -> dict[str, float]:
        return {"loss": self.loss, "shrinkage": self.shrinkage}

    @cached_property
    def gain(self) -> Array:
        """
        Return [k], minus the gradient of the objective at the weights: nats per row and unit of weight.

        For a source that is far from being used it may be an upper bound. For one that is not allowed it is the
        gradient of the loss alone.
        """
        out = self.allowed.full(self._gain)
        excluded = np.setdiff1d(np.arange(out.size), self.allowed.positions)
        if excluded.size:
            # of sources that are not allowed nothing was computed: a pass over the table, made only if asked for
            out[excluded] = gain_of(self.table, self._search.whole, self.weights, excluded)
        return out

    @cached_property
    def target_losses(self) -> dict[str, float]:
        """Return {target: f_t(w)}, nats per row of that target by the table's own row weights, without the penalty."""
        return losses_by_target(self.table, self.weights)

    @property
    def target_weights(self) -> dict[str, float]:
        """Return {target: its weight in the loss}, with sum 1."""
        share = np.bincount(self.table.targets, self._search.row_weights, minlength=len(self.table.target_names))
        return dict(zip(self.table.target_names, (share / share.sum()).tolist(), strict=True))

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence."""
        return self.table.n

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return self._search.documents

    @property
    def fewest(self) -> tuple[int, str]:
        """Return the number of documents; there is one target."""
        return self.documents, ""

    @cached_property
    def sample(self) -> Sample | None:
        """
        Return the rows that intervals and improvement (with `max_rows`, the weights too) come from; None for all.

        It has `rows`, `documents`, and the mean `loss` of the weights there (nats per row) with its standard `error`.
        """
        return self._search.sample(self.weights[self.allowed.positions])

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result."""
        return self.table.notes + self._search.notes()

    def _drawn(self) -> Array:
        weights = self.weights[self.allowed.positions]
        return resample.bootstrap(self._search.problem, self.shrinkage, weights, self.seed)

    @cached_property
    def _scored(self) -> tuple[Array, Array]:
        return out_of_fold(self._search.problem, self.shrinkage, self.seed, self._folds)

    def _improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        problem, table = self._search.problem, self._search.resampled[0]
        there, ours = (losses_under(table, problem.rows, w) for w in (reference, self.weights))
        return improvement(problem, there, ours, self._scored, level)

    def _uncertified(self, limit: float) -> str:
        if not self._search.partial:
            return super()._uncertified(limit)
        return (
            f"from {self._search.problem.rows.n:,} of {self.rows:,} rows: the optimum of all is at most "
            f"{self.gap:.2g} nats per row better"
        )

    @property
    def _counted(self) -> str:
        return f", {self._search.problem.documents} {self.documents_are}"

    def _file_parts(self) -> dict[str, dict[str, Any]]:
        table, several = self.table, len(self.table.target_names) > 1
        kept = {} if self.documents_are == "documents" else {"documents_are": self.documents_are}
        return {
            "method": {"target_weights": self.target_weights} if several else {},
            "evidence": {
                "documents": self.documents,
                "unit": table.unit,
                **kept,
                "fingerprints": {**table.fingerprints, "data": table.data_fingerprint},
                **({} if self.sample is None else {"sample": asdict(self.sample)}),
            },
            "certificate": {"loss": self.loss},
        }


def _fit(
    settings: MixMin, table: LikelihoodTable, row_weights: Array, allowed: Allowed, seed: int, start: Any
) -> MixMinResult:
    """Return the result for a complete table."""
    seed = checked_seed(seed)
    # a result in memory has likelihoods to use again; a file or numbers have only weights
    previous = start._search if isinstance(start, MixMinResult) else None
    if previous is not None:
        allowed = replace(allowed, positions=previous.order(table, allowed.positions))
    near = None if start is None else starting_weights(start, table.sources, allowed.positions)

    def problem(rows: Evidence, document: NDArray[np.int64]) -> resample.SearchProblem:
        return resample.SearchProblem(rows, *allowed.limits, allowed.prior[allowed.positions], document, allowed.linear)

    search = SearchRows(
        table, allowed.positions, row_weights, problem, settings.memory, settings.max_rows, seed, previous=previous
    )
    folds = _cross_validate(search.problem, seed) if settings.shrinkage == "cv" else None
    shrinkage = float(settings.shrinkage) if folds is None else _chosen(folds)
    # of all rows, or of the sample under max_rows
    own = problem(search.fitted, np.empty(0, np.int64))
    region = own.region(shrinkage)
    first = scale_onto_bounds(own.prior, own.lower, own.upper)
    found = solve_certified(search.fitted, region, settings.tolerance, first, near)
    warn_uncertified(found.gap, settings.tolerance, depth=4)
    # the offset: likelihoods are scaled row by row, which shifts the loss
    found, offset = search.of_all(found, region)
    return MixMinResult(
        weights=allowed.full(found.weights),
        loss=found.loss - offset,
        objective=found.objective - offset,
        gap=found.gap,
        shrinkage=shrinkage,
        settings=settings,
        seed=seed,
        allowed=allowed,
        table=table,
        _gain=region.with_penalty(found.gain, found.weights),
        _search=search,
        _folds=folds,
    )


def _cross_validate(problem: resample.SearchProblem, seed: int) -> resample.FoldFits:
    """Return the fits from which the shrinkage is chosen."""
    if problem.documents < FEWEST_DOCUMENTS:
        raise too_few_for_folds(problem.documents)
    fold = resample.assign_folds(problem.share, seed)[problem.document]
    return resample.fit_folds(problem, fold, resample.GRID, pairs=False)


def _chosen(fits: resample.FoldFits) -> float:
    """Return the shrinkage that the losses out of fold choose."""
    rows = fits.problem.rows
    losses = np.empty((len(fits.grid), rows.n))
    for position, (left,) in enumerate(fits.left_out):
        inside, loss = fits.losses([position], left)
        losses[:, inside] = loss[:, 0]
    return fits.grid[resample.choose(losses, rows.c, fits.problem.document)]


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
