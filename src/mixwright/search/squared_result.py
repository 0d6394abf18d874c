"""What a search under squared error found, with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.constraints.polytope import Binding, Polytope
from mixwright.errors import InputError
from mixwright.search.resampling.resample import paired_error, student_quantile
from mixwright.search.result import FEWEST_DOCUMENTS, checked_level, per_source
from mixwright.search.solver.squared_problem import Choice, Found, SquaredProblem

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile
    from mixwright.search.squared_error import SquaredError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SquaredErrorResult:
    """
    What a search under squared error found.

    Attributes
    ----------
    weights
        [k] on the simplex; 0 for a source that is not allowed.
    loss
        Mean squared error of the mixed predictions, in squared units of the outcomes.
    objective
        loss + penalty.
    gap
        The certificate: objective - its minimum over the allowed weights <= gap, in squared units.
    shrinkage
        The tau used.
    sources
        k names.
    space
        The allowed weights, a Polytope.
    gain
        [k], minus the gradient of the objective at the weights; of a source that is not allowed, of the loss alone.
    prior, natural
        [k]; `natural` is None where no sizes were given.
    """

    weights: Array
    loss: float
    objective: float
    gap: float
    shrinkage: float
    sources: tuple[str, ...]
    space: Polytope
    gain: Array
    prior: Array
    natural: Array | None
    settings: SquaredError
    seed: int
    _problem: SquaredProblem
    _choice: Choice | None

    @classmethod
    def of(
        cls,
        settings: SquaredError,
        problem: SquaredProblem,
        found: Found,
        shrinkage: float,
        choice: Choice | None,
        sources: tuple[str, ...],
        space: Polytope,
        prior: Array,
        natural: Array | None,
        seed: int,
    ) -> SquaredErrorResult:
        """Return the result for where the solver ended."""
        weights = np.zeros(len(sources))
        weights[problem.allowed] = found.weights
        gain = -2 * problem.moments.total @ weights
        gain[problem.allowed] = found.gain
        figures = found.loss, found.objective, found.gap, shrinkage
        return cls(weights, *figures, sources, space, gain, prior, natural, settings, seed, problem, choice)

    def __repr__(self) -> str:
        """Return a line with the figures."""
        return (
            f"SquaredErrorResult(k={self.weights.size}, loss={self.loss:.6g}, gap={self.gap:.2g}, "
            f"shrinkage={self.shrinkage:g}, weights={np.array2string(self.weights, precision=4, threshold=8)})"
        )

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence."""
        return self._problem.moments.rows

    @property
    def documents(self) -> int:
        """Return the number of documents with a positive weight."""
        return self._problem.documents

    @cached_property
    def binding(self) -> tuple[Binding, ...]:
        """Return the constraints that hold with equality, with what relaxing each would save; dearest first."""
        return self.space.binding(self.weights, self.gain)

    def _enough(self, what: str) -> None:
        if self.documents < FEWEST_DOCUMENTS:
            raise InputError(
                f"{what} needs at least {FEWEST_DOCUMENTS} documents; found {self.documents}; give more target rows, "
                "or their documents"
            )

    @cached_property
    def _bootstrap(self) -> Array:
        return self._problem.bootstrap(self.shrinkage, self.weights[self._problem.allowed], self.seed)

    def interval(self, level: float = 0.9) -> Array:
        """
        Return [k, 2], the interval of each weight: percentiles over 200 bootstrap draws of groups of whole documents.

        There are at most 60 groups, so that one pass over the rows is enough; the shrinkage is that of the result.

        Raises
        ------
        InputError
            With fewer than 3 documents.
        """
        tail = (1 - checked_level(level)) / 2
        self._enough("an interval")
        out = np.zeros((self.weights.size, 2))
        out[self._problem.allowed] = np.quantile(self._bootstrap, [tail, 1 - tail], axis=0).T
        return np.clip(out, 0.0, 1.0)

    @cached_property
    def _out_of_fold(self) -> tuple[Array, Array]:
        """Return the errors [groups], times shares, out of fold: with the shrinkage nested, and as given."""
        self._enough("the improvement out of fold")
        problem, choice = self._problem, self._choice
        folds = int(problem.moments.folds.max()) + 1
        if choice is None:
            alone = problem.fit_folds((self.shrinkage,), [(f,) for f in range(folds)])[self.shrinkage]
            given = problem.out_of_fold(alone)
            return given, given
        nested = np.stack([choice.weights[tau][f] for f, tau in enumerate(problem.nested())])
        return problem.out_of_fold(nested), choice.errors[self.shrinkage]

    def improvement(
        self, over: Literal["uniform", "natural"] | ArrayLike = "uniform", level: float = 0.9
    ) -> tuple[float, float, float]:
        """
        Return (estimate, low, high) of f(over) - f(weights) in the population of target rows, in squared units.

        Out of fold, the shrinkage chosen without the fold too; the interval is that of the mean of paired differences
        by group of documents, widened as that of `MixMinResult.improvement` (an error e counts e / (2 loss) nats). A
        lower end of 0 or less means: no better.

        Raises
        ------
        InputError
            With fewer than 3 documents, or for "natural" where no sizes were given to `fit`.
        """
        level, reference = checked_level(level), self._reference(over)
        moments = self._problem.moments
        there = np.einsum("gij,i,j->g", moments.M, reference, reference, optimize=True)
        share, each = moments.share, np.arange(moments.share.size)
        nested, given = (paired_error((there - own) / share, share, each) for own in self._out_of_fold)
        mean, d = nested[0], nested[2]
        optimism = max(0.0, float(self._out_of_fold[1].sum()) - self.loss)
        own = np.sqrt(optimism * self.loss / moments.effective)  # sqrt(nats / (2 m)), in squared units
        error = float(np.linalg.norm([max(nested[1], given[1]), (mean - given[0]) / 2, own]))
        half = student_quantile((1 + level) / 2, d - 1) * error
        return mean, mean - half, mean + half

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
        return per_source(weights, self.weights.size, "over")

    @cached_property
    def verdict(self) -> str:
        """Return one sentence: whether the evidence says that the mixture is better than uniform (90 % interval)."""
        return self.verdict_at(0.9)

    def verdict_at(self, level: float) -> str:
        """Return `verdict` with an interval of another level."""
        sentence, limit = self._verdict(checked_level(level)), self.settings.tolerance * self._problem.scale
        if self.gap <= limit:
            return sentence
        return f"{sentence}; the certificate was not reached: gap {self.gap:.2g} > tolerance {limit:.2g}"

    def _verdict(self, level: float) -> str:
        if self.documents < FEWEST_DOCUMENTS:
            return (
                f"unverified: {self.documents} target document(s) are too few to say whether it is better than uniform"
            )
        if self.weights.size == 1:
            return "no better than uniform on this evidence: there is one source"
        estimate, low, high = self.improvement("uniform", level)
        interval = f"({100 * level:g} % interval {low:+.4g} to {high:+.4g}, {self.documents} documents)"
        rounding = 1e-12 * (self._problem.scale + self.loss)
        if low > rounding:
            return f"better than uniform by {estimate:.4g} in mean squared error {interval}"
        if high < -rounding:
            return f"no better than uniform on this evidence: worse by {-estimate:.4g} in mean squared error {interval}"
        return f"no better than uniform on this evidence {interval}"

    def to_file(self, sources: Sequence[str] | None = None, level: float = 0.9) -> MixtureFile:
        """Return the content of mixture.json: weights with method, evidence, certificate, uncertainty and verdict."""
        from mixwright.mixture_file import MixtureFile

        names = tuple(self.sources if sources is None else sources)
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
        binding = [{"constraint": b.constraint, "limit": b.limit, "price": b.price} for b in self.binding]
        prior = self.settings.prior if isinstance(self.settings.prior, str) else self.prior.tolist()
        return MixtureFile(
            sources=names,
            weights=tuple(self.weights.tolist()),
            method={
                "name": "squared_error",
                "prior": prior,
                "shrinkage": self.shrinkage,
                "shrinkage_by": "cv" if self.settings.shrinkage == "cv" else "given",
                "tolerance": self.settings.tolerance,
                "seed": self.seed,
            },
            evidence={"rows": self.rows, "documents": self.documents, "unit": "squared error"},
            certificate={
                "loss": self.loss,
                "objective": self.objective,
                "gap": self.gap,
                "unit": "squared error",
                **({"binding": binding} if binding else {}),
            },
            uncertainty=uncertainty,
            verdict=self.verdict_at(level),
        )

    def save(self, path: str | PathLike[str], sources: Sequence[str] | None = None) -> None:
        """Write mixture.json, atomically; `sources` [k] are the names (default: those given to `fit`)."""
        self.to_file(sources).write(path)
