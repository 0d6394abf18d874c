"""What a search over several targets found: regrets, target weights, certificate, uncertainty, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.search.resampling.regret_resample import TargetFolds, bootstrap, documents_of
from mixwright.search.result import FEWEST_DOCUMENTS, checked_level, per_source
from mixwright.search.solver.minimax import Best, Minimax

if TYPE_CHECKING:
    from mixwright.mixture_file import MixtureFile
    from mixwright.search.worst_regret import TargetProblem, WorstRegret

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WorstRegretResult:
    """
    What a search for the least worst regret found, with its evidence.

    Attributes
    ----------
    weights
        [k] on the simplex, in source order; 0 for a source that is not allowed.
    regrets
        {target: F_t(w) - F_t*}, nats per row of that target; without shrinkage F_t is the loss f_t.
    worst
        The largest regret: the objective.
    gap
        The certificate: worst - its minimum over the allowed weights <= gap, nats per row.
    target_weights
        {target: lambda_t} with sum 1: the weights nearly minimise sum_t lambda_t F_t; 0 where a target does not decide.
    target_losses
        {target: f_t(w)}, nats per row, without the penalty.
    best
        {target: F_t*}, what the best allowed mixture for that target alone reaches, nats per row; `best_gaps` is the
        certificate of each, `best_weights` are those mixtures.
    prior, natural
        [k]; `natural` is None where no sizes were given.
    """

    weights: Array
    regrets: dict[str, float]
    worst: float
    gap: float
    target_weights: dict[str, float]
    target_losses: dict[str, float]
    best: dict[str, float]
    best_gaps: dict[str, float]
    best_weights: dict[str, Array]
    prior: Array
    natural: Array | None
    settings: WorstRegret
    seed: int
    _problem: TargetProblem
    _best: Best

    @classmethod
    def of(
        cls, settings: WorstRegret, problem: TargetProblem, best: Best, found: Minimax, seed: int
    ) -> WorstRegretResult:
        """Return the result for where the solver ended."""
        names, at, offsets = problem.names, found.point, problem.offsets
        better = at.value < best.value  # these weights may be better for a target than its own, within the tolerance
        high = np.where(better, at.value, best.value)
        own = np.where(better[:, None], at.weights, best.weights)
        regrets = at.value - high

        def named(values: Array) -> dict[str, float]:
            return dict(zip(names, values.tolist(), strict=True))

        return cls(
            weights=problem.full(at.weights),
            regrets=named(regrets),
            worst=float(regrets.max()),
            gap=found.gap,
            target_weights=named(found.multipliers),
            target_losses=named(at.loss - offsets),
            best=named(high - offsets),
            best_gaps=named(high - best.least),
            best_weights=dict(zip(names, problem.full(own), strict=True)),
            prior=problem.prior,
            natural=problem.natural,
            settings=settings,
            seed=seed,
            _problem=problem,
            _best=best,
        )

    def __repr__(self) -> str:
        """Return a line with the figures."""
        return (
            f"WorstRegretResult(k={self.weights.size}, targets={len(self.regrets)}, worst={self.worst:.6g}, "
            f"gap={self.gap:.2g}, weights={np.array2string(self.weights, precision=4, threshold=8)})"
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the names of the targets."""
        return self._problem.names

    @property
    def rows(self) -> int:
        """Return the number of rows of evidence, of all targets together."""
        return sum(rows.n for rows in self._problem.targets.rows)

    @property
    def documents(self) -> dict[str, int]:
        """Return {target: its documents with a positive weight}."""
        counts = [int(np.count_nonzero(share)) for _, share in self._documents]
        return dict(zip(self.targets, counts, strict=True))

    @cached_property
    def _documents(self) -> list[tuple[NDArray[np.int64], Array]]:
        return documents_of(self._problem)

    def _enough(self, what: str) -> None:
        few = [name for name, count in self.documents.items() if count < FEWEST_DOCUMENTS]
        if few:
            raise InputError(
                f"{what} needs at least {FEWEST_DOCUMENTS} documents of each target; found "
                f"{self.documents[few[0]]} of {few[0]!r}; give more rows of it, or their documents"
            )

    @cached_property
    def _bootstrap(self) -> Array:
        start = np.vstack([self.weights[self._problem.allowed], self._best.weights])
        return bootstrap(self._problem, self._documents, start, self.seed)

    def interval(self, level: float = 0.9) -> Array:
        """
        Return [k, 2], the interval of each weight: percentiles over 100 bootstrap draws of documents within targets.

        Every draw finds the best of each target and the least worst regret anew, to 1e-4 nats. It takes a search a
        draw: seconds to minutes.

        Raises
        ------
        InputError
            With fewer than 3 documents of a target.
        """
        tail = (1 - checked_level(level)) / 2
        self._enough("an interval")
        out = np.zeros((self.weights.size, 2))
        out[self._problem.allowed] = np.quantile(self._bootstrap, [tail, 1 - tail], axis=0).T
        return np.clip(out, 0.0, 1.0)

    @cached_property
    def _folds(self) -> TargetFolds:
        self._enough("the improvement out of fold")
        start = np.vstack([self.weights[self._problem.allowed], self._best.weights])
        return TargetFolds.fit(self._problem, self._documents, start, self.seed)

    def improvement(
        self, over: Literal["uniform", "natural"] | ArrayLike = "uniform", level: float = 0.9
    ) -> tuple[float, float, float]:
        """
        Return (estimate, low, high) of worst(over) - worst(weights) in the populations of target rows, nats per row.

        Out of fold: each fold of documents of all targets is scored by weights, and by the best of each target, that
        were fitted without it. The interval is by bootstrap of documents within targets, of these scores. A lower end
        of 0 or less means: no better.

        Raises
        ------
        InputError
            With fewer than 3 documents of a target, or for "natural" where no sizes were given to `fit`.
        """
        return self._folds.improvement(self._reference(over), checked_level(level))

    def _reference(self, over: Any) -> Array:
        k = self.weights.size
        if isinstance(over, str):
            if over == "uniform":
                return np.full(k, 1 / k)
            if over != "natural":
                raise InputError(f"over should be 'uniform', 'natural' or weights; found {over!r}")
            if self.natural is None:
                raise InputError("over='natural' needs the sizes of the sources; call fit(..., sizes=...)")
            return self.natural
        weights = np.asarray(over, np.float64)
        if weights.ndim == 1 and abs(float(weights.sum()) - 1) > 1e-6:
            raise InputError(f"over should be weights with sum 1; found sum {weights.sum():g}")
        return per_source(weights, k, "over")

    @cached_property
    def verdict(self) -> str:
        """Return one sentence: whether the worst regret is better than that of uniform weights (90 % interval)."""
        return self.verdict_at(0.9)

    def verdict_at(self, level: float) -> str:
        """Return `verdict` with an interval of another level."""
        sentence = self._verdict(checked_level(level))
        if self.gap <= self.settings.tolerance:
            return sentence
        return (
            f"{sentence}; the certificate was not reached: gap {self.gap:.2g} > tolerance {self.settings.tolerance:.2g}"
        )

    def _verdict(self, level: float) -> str:
        few = [name for name, count in self.documents.items() if count < FEWEST_DOCUMENTS]
        if few:
            return (
                f"unverified: {self.documents[few[0]]} document(s) of target {few[0]!r} are too few to say whether it "
                "is better than uniform"
            )
        if self.weights.size == 1:
            return "no better than uniform on this evidence: there is one source"
        estimate, low, high = self.improvement("uniform", level)
        interval = f"({100 * level:g} % interval {low:+.4g} to {high:+.4g} nats per row)"
        name = max(self.regrets, key=lambda target: self.regrets[target])
        if low > 1e-12:
            return (
                f"better than uniform by {estimate:.4g} nats per row in the worst regret {interval}; most is given up "
                f"for target {name!r}, {self.worst:.4g} nats per row"
            )
        if high < -1e-12:
            return f"no better than uniform on this evidence: worst regret worse by {-estimate:.4g} {interval}"
        return f"no better than uniform on this evidence, in the worst regret {interval}"

    def to_file(self, sources: Sequence[str] | None = None, level: float = 0.9) -> MixtureFile:
        """Return the content of mixture.json: weights with method, evidence, certificate, uncertainty and verdict."""
        from mixwright.mixture_file import MixtureFile

        table = self._problem.table
        names = tuple(table.sources if sources is None else sources)
        if len(names) != self.weights.size:
            raise InputError(f"sources should be {self.weights.size} names, one per source; found {len(names)}")
        uncertainty: dict[str, Any] = {}
        if min(self.documents.values()) >= FEWEST_DOCUMENTS:
            improvement = dict(zip(("estimate", "low", "high"), self.improvement("uniform", level), strict=True))
            uncertainty = {
                "level": level,
                "interval": self.interval(level).tolist(),
                "improvement": {"over": "uniform", "of": "worst regret", **improvement},
            }
        prior = self.settings.prior if isinstance(self.settings.prior, str) else self.prior.tolist()
        return MixtureFile(
            sources=names,
            weights=tuple(self.weights.tolist()),
            method={
                "name": "worst_regret",
                "prior": prior,
                "shrinkage": self.settings.shrinkage,
                "tolerance": self.settings.tolerance,
                "seed": self.seed,
            },
            evidence={
                "rows": self.rows,
                "documents": sum(self.documents.values()),
                "targets": {name: {"documents": count} for name, count in self.documents.items()},
                "unit": table.unit,
                "fingerprints": {**table.fingerprints, "data": table.data_fingerprint},
            },
            certificate={
                "objective": self.worst,
                "gap": self.gap,
                "targets": {
                    name: {
                        "weight": self.target_weights[name],
                        "regret": self.regrets[name],
                        "loss": self.target_losses[name],
                        "best": self.best[name],
                        "best_gap": self.best_gaps[name],
                    }
                    for name in self.targets
                },
            },
            uncertainty=uncertainty,
            verdict=self.verdict_at(level),
        )

    def save(self, path: str | PathLike[str], sources: Sequence[str] | None = None) -> None:
        """Write mixture.json, atomically; `sources` [k] are the names (default: the table's)."""
        self.to_file(sources).write(path)
