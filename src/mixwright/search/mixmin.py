"""MixMin: the mixture whose proxies explain the target best (Thudi et al., arXiv 2502.10510)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints import Constraints
from mixwright.errors import InputError
from mixwright.search import _resample as resample
from mixwright.search._evidence import Evidence
from mixwright.search._solve import solve
from mixwright.search.table import LikelihoodTable
from mixwright.simplex import normalise, scale_onto_bounds

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile

Array = NDArray[np.float64]
FEWEST_DOCUMENTS = 3
FIT_SPREAD = (
    0.35  # the spread of a fit's excess loss as a share of its optimism: sqrt(2 / p) / 2 for p = 4 free weights
)


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

    Examples
    --------
    >>> import numpy as np
    >>> logs = np.log([[0.5, 0.1], [0.4, 0.1], [0.1, 0.6]])
    >>> MixMin(shrinkage=0.0).fit(logs).weights.round(3)
    array([0.708, 0.292])

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
        if isinstance(self.shrinkage, str):
            if self.shrinkage != "cv":
                raise InputError(f"shrinkage should be 'cv' or a number >= 0; found {self.shrinkage!r}")
        elif not _is_number(self.shrinkage) or not 0 <= self.shrinkage < 1e6:
            raise InputError(f"shrinkage should be 'cv' or a number from 0 to 1e6; found {self.shrinkage!r}")
        if not _is_number(self.tolerance) or not 1e-12 <= self.tolerance <= 1:
            raise InputError(f"tolerance should be a number from 1e-12 to 1 (nats); found {self.tolerance!r}")

    def fit(
        self,
        log_likelihood: ArrayLike | LikelihoodTable,
        row_weights: ArrayLike | None = None,
        sizes: ArrayLike | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        documents: ArrayLike | None = None,
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

        Raises
        ------
        InputError
            For likelihoods, weights, sizes or constraints that do not fit (the message says which and what to do), and
            for `shrinkage="cv"` with fewer than 3 documents.
        """
        if not isinstance(log_likelihood, LikelihoodTable):
            table = LikelihoodTable.from_array(log_likelihood, documents=documents)
        elif documents is not None:
            raise InputError("documents should be given with an array only; this table has its own (table.documents)")
        else:
            table = log_likelihood
            table.check()
        return _fit(self, table, row_weights, sizes, constraints, _seed(seed))


def _fit(
    settings: MixMin,
    table: LikelihoodTable,
    row_weights: ArrayLike | None,
    sizes: ArrayLike | None,
    constraints: Constraints | None,
    seed: int,
) -> MixMinResult:
    """Return the result for a checked table."""
    if len(set(np.asarray(table.targets).tolist())) > 1:
        raise InputError(
            f"the rows should be those of one target; found {len(table.target_names)} "
            f"({', '.join(table.target_names[:5])}); choose one with table.select(name)"
        )
    if constraints is not None and not isinstance(constraints, Constraints):
        raise TypeError(f"constraints should be a mixwright.Constraints or None; found {type(constraints).__name__}")
    lower, upper = (constraints or Constraints()).bounds(table.k, table.sources)
    natural = None if sizes is None else _per_source(sizes, table.k, "sizes")
    prior = _prior(settings.prior, natural, table.k, upper)
    allowed = np.flatnonzero(upper > 0)
    rows = Evidence(table, allowed, _row_weights(row_weights, table))
    _, document = np.unique(table.documents, return_inverse=True)
    setting = resample.Setting(rows, lower[allowed], upper[allowed], prior[allowed], document)
    folds = None
    if settings.shrinkage == "cv":
        shrinkage, folds = _cross_validate(setting, seed)
    else:
        shrinkage = float(settings.shrinkage)
    start = scale_onto_bounds(setting.prior, setting.lower, setting.upper)
    solution = solve(rows, setting.region(shrinkage), settings.tolerance, start)
    if solution.gap > settings.tolerance:
        warnings.warn(
            f"the certificate was not reached: gap {solution.gap:.2g}, tolerance {settings.tolerance:.2g} nats per row",
            RuntimeWarning,
            stacklevel=3,
        )
    weights = np.zeros(table.k)
    weights[allowed] = solution.weights
    return MixMinResult(
        weights=weights / weights.sum(),
        loss=solution.loss - rows.offset,
        objective=solution.objective - rows.offset,
        gap=solution.gap,
        shrinkage=shrinkage,
        prior=prior,
        natural=natural,
        table=table,
        settings=settings,
        seed=seed,
        _setting=setting,
        _allowed=allowed,
        _folds=folds,
    )


def _cross_validate(setting: resample.Setting, seed: int) -> tuple[float, resample.FoldFits]:
    """Return the shrinkage with the fits that chose it."""
    _enough_documents(setting, "shrinkage='cv'", "pass a number, shrinkage=0.0 for the exact optimum")
    fold = resample.assign_folds(setting, seed)[setting.document]
    fits = resample.fit_folds(setting, fold, resample.GRID, pairs=False)
    losses = np.empty((len(resample.GRID), setting.rows.n))
    for position, (left,) in enumerate(fits.left_out):
        inside, loss = fits.losses([position], left)
        losses[:, inside] = loss[:, 0]
    return resample.GRID[resample.choose(losses, setting.rows.c, setting.document)], fits


@dataclass(frozen=True, eq=False)
class MixMinResult:
    """
    What a search found, with its evidence.

    Attributes
    ----------
    weights
        [k] on the simplex, in source order; 0 for a source that is not allowed.
    loss
        f(w), nats per row of the table, without the penalty.
    objective
        F(w) = loss + penalty, nats per row.
    gap
        The certificate: objective - its minimum over the allowed weights <= gap, nats per row.
    shrinkage
        The tau used.
    prior, natural
        [k]; `natural` is None where no sizes were given.
    """

    weights: Array
    loss: float
    objective: float
    gap: float
    shrinkage: float
    prior: Array
    natural: Array | None
    table: LikelihoodTable
    settings: MixMin
    seed: int
    _setting: resample.Setting
    _allowed: NDArray[np.intp]
    _folds: resample.FoldFits | None

    def __repr__(self) -> str:
        """Return a line with the figures."""
        return (
            f"MixMinResult(k={self.weights.size}, loss={self.loss:.6g}, gap={self.gap:.2g}, "
            f"shrinkage={self.shrinkage:g}, weights={np.array2string(self.weights, precision=4, threshold=8)})"
        )

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence."""
        return self._setting.rows.n

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return self._setting.documents

    @cached_property
    def _bootstrap(self) -> Array:
        return resample.bootstrap(self._setting, self.shrinkage, self.weights[self._allowed], self.seed)

    def interval(self, level: float = 0.9) -> Array:
        """
        Return [k, 2], the interval of each weight: percentiles over 200 bootstrap draws of whole documents.

        The shrinkage is that of the result in every draw. Intervals are of each weight alone, not joint.

        Raises
        ------
        InputError
            With fewer than 3 documents.
        """
        tail = (1 - _level(level)) / 2
        _enough_documents(self._setting, "an interval", "give more target rows, or their documents")
        out = np.zeros((self.weights.size, 2))
        out[self._allowed] = np.quantile(self._bootstrap, [tail, 1 - tail], axis=0).T
        return np.clip(out, 0.0, 1.0)

    def improvement(
        self, over: Literal["uniform", "natural"] | ArrayLike = "uniform", level: float = 0.9
    ) -> tuple[float, float, float]:
        """
        Return (estimate, low, high) of f(over) - f(weights) in the population of target rows, nats per row.

        Out of fold: each fold of documents is scored by weights fitted without it, the shrinkage chosen without it too.
        The interval is that of the mean of paired differences, by document; its error is the larger one of this
        estimate and of that with the result's shrinkage in every fold. In quadrature to it: their difference, since a
        choice that is a toss-up differs between folds, and a share of the optimism (in-sample minus out-of-fold), since
        the loss of one fit varies about the mean of the folds' fits. A lower end of 0 or less means: no better.

        Raises
        ------
        InputError
            With fewer than 3 documents, or for "natural" where no sizes were given to `fit`.
        """
        level = _level(level)
        reference = self._reference(over)
        losses, rows, document = self._reference_losses(reference), self._setting.rows, self._setting.document
        counted = rows.c > 0
        nested, given = (
            resample.paired_error((losses - own)[counted], rows.c[counted], document[counted])
            for own in self._out_of_fold
        )
        mean, d = nested[0], nested[2]
        in_sample = float(rows.c[counted] @ (losses - self._reference_losses(self.weights))[counted])
        own = FIT_SPREAD * max(in_sample - given[0], 0.0)
        error = float(np.linalg.norm([max(nested[1], given[1]), mean - given[0], own]))
        half = resample.student_quantile((1 + level) / 2, d - 1) * error
        return mean, mean - half, mean + half

    def _reference_losses(self, reference: Array) -> Array:
        """Return the loss of each row [n], nats, relative to its offset, under some weights."""
        rows, used = self._setting.rows, np.flatnonzero(reference)
        out, logs = np.empty(rows.n), np.log(reference[used])
        for part in rows.parts():
            block = self.table.block(part.start, part.stop)[:, used] + logs
            top = block.max(1)
            possible = np.isfinite(top)
            top[~possible] = 0.0
            with np.errstate(divide="ignore"):
                out[part] = rows.maximum[part] - top - np.log(np.exp(block - top[:, None]).sum(1))
        if not np.isfinite(out[rows.c > 0]).all():
            row = int(np.flatnonzero(~np.isfinite(out) & (rows.c > 0))[0])
            raise InputError(
                f"the weights to compare with should make every row possible; row {row} is -inf under their sources"
            )
        return out

    @cached_property
    def _out_of_fold(self) -> tuple[Array, Array]:
        """Return the losses [n], [n] of rows under weights fitted without their fold: shrinkage nested, and given."""
        setting = self._setting
        _enough_documents(setting, "the improvement out of fold", "give more target rows, or their documents")
        singles = self._folds
        if singles is None:
            fold = resample.assign_folds(setting, self.seed)[setting.document]
            singles = resample.fit_folds(setting, fold, (self.shrinkage,), pairs=False)
        nested, given = np.empty(setting.rows.n), np.empty(setting.rows.n)
        chosen = self._nested_choice(singles)
        for position, (left,) in enumerate(singles.left_out):
            inside, losses = singles.losses([position], left)
            nested[inside] = losses[chosen[left], 0]
            given[inside] = losses[singles.grid.index(self.shrinkage), 0]
        return nested, given

    def _nested_choice(self, singles: resample.FoldFits) -> list[int]:
        """Return, for each fold, the position on the grid that cross-validation without that fold chooses."""
        folds = len(singles.left_out)
        if len(singles.grid) == 1:
            return [0] * folds
        setting = self._setting
        pairs = resample.fit_folds(setting, singles.fold, singles.grid, pairs=True)
        chosen = []
        for outer in range(folds):
            losses, keep = np.zeros((len(singles.grid), setting.rows.n)), singles.fold != outer
            for inner in range(folds):
                if inner != outer:
                    fit = pairs.left_out.index((min(inner, outer), max(inner, outer)))
                    inside, loss = pairs.losses([fit], inner)
                    losses[:, inside] = loss[:, 0]
            chosen.append(resample.choose(losses[:, keep], setting.rows.c[keep], setting.document[keep]))
        return chosen

    def _reference(self, over: Any) -> Array:
        if isinstance(over, str):
            if over == "uniform":
                return np.full(self.weights.size, 1 / self.weights.size)
            if over != "natural":
                raise InputError(f"over should be 'uniform', 'natural' or weights; found {over!r}")
            if self.natural is None:
                raise InputError("over='natural' needs the sizes of the sources; call fit(..., sizes=...)")
            return self.natural
        weights = np.asarray(over, np.float64)
        if weights.ndim == 1 and abs(float(weights.sum()) - 1) > 1e-6:
            raise InputError(f"over should be weights with sum 1; found sum {weights.sum():g}")
        return _per_source(weights, self.weights.size, "over")

    @cached_property
    def verdict(self) -> str:
        """Return one sentence: whether the evidence says that the mixture is better than uniform (90 % interval)."""
        return self.verdict_at(0.9)

    def verdict_at(self, level: float) -> str:
        """Return `verdict` with an interval of another level."""
        sentence = self._verdict(_level(level))
        if self.gap <= self.settings.tolerance:
            return sentence
        return (
            f"{sentence}; the certificate was not reached: gap {self.gap:.2g} > tolerance {self.settings.tolerance:.2g}"
        )

    def _verdict(self, level: float) -> str:
        if self.documents < FEWEST_DOCUMENTS:
            return (
                f"unverified: {self.documents} target document(s) are too few to say whether it is better than uniform"
            )
        if self.weights.size == 1:
            return "no better than uniform on this evidence: there is one source"
        estimate, low, high = self.improvement("uniform", level)
        interval = f"({100 * level:g} % interval {low:+.4g} to {high:+.4g} nats per row, {self.documents} documents)"
        rounding = 1e-12 * (1 + abs(self.loss))
        if low > rounding:
            return f"better than uniform by {estimate:.4g} nats per row of the target {interval}"
        if high < -rounding:
            return f"no better than uniform on this evidence: worse by {-estimate:.4g} nats per row {interval}"
        return f"no better than uniform on this evidence {interval}"

    def to_file(self, sources: Sequence[str] | None = None, level: float = 0.9) -> MixtureFile:
        """Return the content of mixture.json: weights with method, evidence, certificate, uncertainty and verdict."""
        from mixwright.mixture_file import MixtureFile

        names = tuple(self.table.sources if sources is None else sources)
        if len(names) != self.weights.size:
            raise InputError(f"sources should be {self.weights.size} names, one per source; found {len(names)}")
        uncertainty: dict[str, Any] = {}
        if self.documents >= FEWEST_DOCUMENTS:
            improvement = dict(zip(("estimate", "low", "high"), self.improvement("uniform", level), strict=True))
            uncertainty = {
                "level": level,
                "interval": self.interval(level).tolist(),
                "improvement": {"over": "uniform", **improvement},
            }
        prior = self.settings.prior if isinstance(self.settings.prior, str) else self.prior.tolist()
        return MixtureFile(
            sources=names,
            weights=tuple(self.weights.tolist()),
            method={
                "name": "mixmin",
                "prior": prior,
                "shrinkage": self.shrinkage,
                "shrinkage_by": "cv" if self.settings.shrinkage == "cv" else "given",
                "tolerance": self.settings.tolerance,
                "seed": self.seed,
            },
            evidence={
                "rows": self.rows,
                "documents": self.documents,
                "unit": self.table.unit,
                "fingerprints": {**self.table.fingerprints, "data": self.table.data_fingerprint},
            },
            certificate={"loss": self.loss, "objective": self.objective, "gap": self.gap},
            uncertainty=uncertainty,
            verdict=self.verdict_at(level),
        )

    def save(self, path: str | PathLike[str], sources: Sequence[str] | None = None) -> None:
        """Write mixture.json, atomically; `sources` [k] are the names (default: the table's)."""
        self.to_file(sources).write(path)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _seed(seed: int) -> int:
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed should be an integer >= 0; found {seed!r}")
    return int(seed)


def _level(level: float) -> float:
    if not _is_number(level) or not 0 < level < 1:
        raise InputError(f"level should be between 0 and 1, such as 0.9; found {level!r}")
    return float(level)


def _enough_documents(setting: resample.Setting, what: str, instead: str) -> None:
    if setting.documents < FEWEST_DOCUMENTS:
        raise InputError(f"{what} needs at least {FEWEST_DOCUMENTS} documents; found {setting.documents}; {instead}")


def _per_source(values: ArrayLike, k: int, what: str) -> Array:
    out = normalise(values, what)
    if out.size != k:
        raise InputError(f"{what} should be one number per source ({k}); found {out.size}")
    return out


def _prior(prior: Any, natural: Array | None, k: int, upper: Array) -> Array:
    """Return the prior [k], zero where the cap is zero and renormalised elsewhere."""
    if isinstance(prior, str) and prior == "natural":
        if natural is None:
            raise InputError("prior='natural' needs the sizes of the sources; call fit(..., sizes=...)")
        out = natural
    else:
        out = np.full(k, 1 / k) if isinstance(prior, str) else _per_source(prior, k, "prior")
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
