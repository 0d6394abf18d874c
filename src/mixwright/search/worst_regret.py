"""Several targets at once: the mixture whose worst regret over them is least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.search.inputs import PerSource, Prior, check_settings, checked_seed
from mixwright.search.resampling.regret_resample import TargetFolds, bootstrap
from mixwright.search.result import SearchResult, warn_uncertified
from mixwright.search.solver.all_sources import gain_of
from mixwright.search.solver.minimax import Best, Minimax
from mixwright.search.solver.target_problem import TargetProblem
from mixwright.search.table.table import LikelihoodTable

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

    The problem is convex. Its certificate counts what is not known of the F_t* too. At the optimum the worst regret
    equals the regret of a weighted sum of the targets; these weights are part of the result.

    Parameters
    ----------
    tolerance
        The certificate to reach: worst regret - minimum <= tolerance, nats per row.
    shrinkage
        tau >= 0, in units of a target's total row weight. There is no "cv": what one shrinkage does to several targets
        is to be seen, not averaged; choose one by MixMin on the target with the fewest documents.
    prior
        "uniform", "natural" (proportional to the `sizes` given to `fit`), weights [k], or {source: weight}.

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
    prior: Prior = "uniform"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_settings(self.prior, self.shrinkage, self.tolerance, 1e-10, cross_validated=False)

    def fit(
        self,
        evidence: LikelihoodTable,
        *,
        sizes: PerSource | None = None,
        constraints: Constraints | None = None,
        seed: int = 0,
        targets: Sequence[str] | None = None,
    ) -> WorstRegretResult:
        """
        Return the weights for the targets of a table.

        Parameters
        ----------
        evidence
            A table with rows of one target or more.
        sizes
            Rows or tokens of each source, [k] or {source: size}: for `prior="natural"`, `max_epochs` and the comparison
            with natural weights.
        constraints
            What weights are allowed; the F_t* are of allowed weights too.
        seed
            Of the folds and of the bootstrap.
        targets
            The targets that count; default: all that have rows.

        Raises
        ------
        InputError
            For a table, targets, sizes or constraints that do not fit; the message says which and what to do.
        """
        seed = checked_seed(seed)
        problem = TargetProblem.of(evidence, targets, self.prior, self.shrinkage, constraints, sizes)
        best = problem.targets.best(self.tolerance / 10, problem.start)
        found = problem.targets.minimise(best, self.tolerance, best.weights.mean(0))
        warn_uncertified(found.gap, self.tolerance)
        return WorstRegretResult.of(self, problem, best, found, seed)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class WorstRegretResult(SearchResult):
    """
    What a search for the least worst regret found, with its evidence.

    Attributes
    ----------
    weights, objective, gap, shrinkage, settings, seed
        As in every `SearchResult`; the objective is the largest regret, in nats per row of its target.
    regrets
        {target: F_t(w) - F_t*}, nats per row of that target; without shrinkage F_t is the loss f_t.
    target_weights
        {target: lambda_t} with sum 1: the weights nearly minimise sum_t lambda_t F_t; 0 where a target does not decide.
    target_losses
        {target: f_t(w)}, nats per row, without the penalty.
    best
        {target: F_t*}, what the best allowed mixture for that target alone reaches, nats per row; `best_gaps` is the
        certificate of each, `best_weights` are those mixtures.

    Notes
    -----
    `interval` refits on 100 bootstrap draws of documents within targets, to 1e-4 nats; every draw finds the best of
    each target again. It takes a search a draw: seconds to minutes. `improvement` is worst(over) - worst(weights) in
    nats per row; its interval is by bootstrap of the out-of-fold scores, documents within targets. The prices in
    `binding` hold each F_t* where it is, although a looser limit lowers it too.
    """

    method = "worst_regret"
    measured = "nats per row in the worst regret"
    where = ", in the worst regret"

    regrets: dict[str, float]
    target_weights: dict[str, float]
    target_losses: dict[str, float]
    best: dict[str, float]
    best_gaps: dict[str, float]
    best_weights: dict[str, Array]
    _problem: TargetProblem
    _best: Best
    _gains: Array  # [m, allowed]

    @classmethod
    def of(
        cls, settings: WorstRegret, problem: TargetProblem, best: Best, found: Minimax, seed: int
    ) -> WorstRegretResult:
        """Return the result for where the solver ended."""
        names, at, offsets, allowed = problem.names, found.point, problem.offsets, problem.allowed
        better = at.value < best.value  # these weights may be better for a target than its own, within the tolerance
        high = np.where(better, at.value, best.value)
        own = np.where(better[:, None], at.weights, best.weights)
        regrets = at.value - high

        def named(values: Array) -> dict[str, float]:
            return dict(zip(names, values.tolist(), strict=True))

        return cls(
            weights=allowed.full(at.weights),
            objective=float(regrets.max()),
            gap=found.gap,
            shrinkage=float(settings.shrinkage),
            settings=settings,
            seed=seed,
            allowed=allowed,
            regrets=named(regrets),
            target_weights=named(found.multipliers),
            target_losses=named(at.loss - offsets),
            best=named(high - offsets),
            best_gaps=named(high - best.least),
            best_weights=dict(zip(names, allowed.full(own), strict=True)),
            _problem=problem,
            _best=best,
            _gains=at.gains,
        )

    def _figures(self) -> dict[str, float]:
        return {"targets": len(self.regrets), "worst": self.worst}

    @property
    def table(self) -> LikelihoodTable:
        """Return the evidence."""
        return self._problem.table

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result."""
        return self.table.notes

    @property
    def worst(self) -> float:
        """Return the largest regret: the objective."""
        return self.objective

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
        counts = [int(np.count_nonzero(share)) for _, share in self._problem.documents]
        return dict(zip(self.targets, counts, strict=True))

    @property
    def fewest(self) -> tuple[int, str]:
        """Return the documents of the target that has fewest, and how to name it."""
        name = min(self.documents, key=lambda target: self.documents[target])
        return self.documents[name], f" of target {name!r}"

    @cached_property
    def gain(self) -> Array:
        """Return [k], minus the gradient of the weighted sum of the targets: nats per row and unit of weight."""
        problem, positions = self._problem, self.allowed.positions
        shares, own = np.array(list(self.target_weights.values())), self.weights[positions]
        out = self.allowed.full(problem.targets.region.with_penalty(shares @ self._gains, own))
        excluded = np.setdiff1d(np.arange(out.size), positions)
        if excluded.size:
            for share, part, rows in zip(shares, problem.tables, problem.targets.rows, strict=True):
                out[excluded] += share * gain_of(part, rows, self.weights, excluded)
        return out

    @property
    def _start(self) -> Array:
        return np.vstack([self.weights[self.allowed.positions], self._best.weights])

    def _drawn(self) -> Array:
        return bootstrap(self._problem, self._start, self.seed)

    @cached_property
    def _folds(self) -> TargetFolds:
        return TargetFolds.fit(self._problem, self._start, self.seed)

    def _improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        return self._folds.improvement(reference, level)

    def _verdict(self, level: float) -> str:
        sentence = super()._verdict(level)
        if not sentence.startswith("the proxies favour"):
            return sentence
        name = max(self.regrets, key=lambda target: self.regrets[target])
        return f"{sentence}; the largest regret is {self.worst:.4g} nats per row, for target {name!r}"

    def _file_parts(self) -> dict[str, dict[str, Any]]:
        table = self.table
        figures = {
            "weight": self.target_weights,
            "regret": self.regrets,
            "loss": self.target_losses,
            "best": self.best,
            "best_gap": self.best_gaps,
        }
        return {
            "method": {},
            "evidence": {
                "documents": sum(self.documents.values()),
                "targets": {name: {"documents": count} for name, count in self.documents.items()},
                "unit": table.unit,
                "fingerprints": {**table.fingerprints, "data": table.data_fingerprint},
            },
            "certificate": {
                "targets": {name: {what: of[name] for what, of in figures.items()} for name in self.targets}
            },
        }
