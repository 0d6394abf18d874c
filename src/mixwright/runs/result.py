"""What a search over a table of runs found, and how far to believe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.runs.choice import Choice
from mixwright.runs.columns import floats
from mixwright.runs.folds import fit_all
from mixwright.runs.goal import Goal
from mixwright.runs.measured import Incumbent, Measured
from mixwright.runs.optimism import Optimism
from mixwright.runs.optimum.change import Change, lowest, start_of, wished
from mixwright.runs.optimum.curve import TwoLaws
from mixwright.runs.optimum.hull import hull_notes, nearest_in_hull, weight_into_hull
from mixwright.runs.optimum.outer import Outer, SoftWorst, WeightedSum
from mixwright.runs.optimum.prediction import Predictor
from mixwright.runs.optimum.problem import Problem
from mixwright.runs.scores import LawScores
from mixwright.runs.table import RunTable
from mixwright.search.inputs import PerSource, checked_level
from mixwright.search.pareto import ParetoCurve, ParetoPoint
from mixwright.search.result import SearchResult

Array = NDArray[np.float64]
DRAWS = 50
BEYOND = 1e-6  # a weight above the largest measured one by more than this is outside what any run has seen
NAMED = 3


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class RunSearchResult(SearchResult):
    """
    The mixture that a law proposes, with what is known of how good it is.

    Attributes
    ----------
    weights, objective, gap, shrinkage, settings, seed
        As in every `SearchResult`; objective and gap in the unit of the losses. The gap is infinite where the law is
        not convex.
    goal
        The targets and their shares.
    choice
        The law that was taken and those that stood beside it.
    table
        The evidence.

    Notes
    -----
    `predict` has an interval of what a training would measure: the law's spread, which grows with the distance from the
    runs, times the errors of picks made inside the table. What a law promises beyond the hull of the runs counts as
    optimism in full: in the largest public study none of it came true. `interval` refits on 50 bootstrap draws of
    mixtures (repeats together).
    """

    method = "runs"
    measured = "in predicted loss"
    unit = ""

    goal: Goal
    choice: Choice
    table: RunTable
    _measured: Measured
    _problem: Problem
    _optimism: tuple[Optimism, ...]  # of what counts, then of each target
    _at: Array
    _descents: tuple[int, int] = (1, 1)  # that ended as low as the best one, of all
    _notes: tuple[str, ...] = ()
    _lowest: dict[int, Array] = field(default_factory=dict)

    # ---------------------------------------------------------------- what was found

    @property
    def law(self) -> str:
        """Return the name of the law that was taken."""
        return self.choice.taken.law.name

    @property
    def scores(self) -> dict[str, LawScores]:
        """Return {law: its scores out of fold} of the laws that were tried."""
        return {name: one.scores for name, one in self.choice.candidates.items()}

    @property
    def out_of_fold(self) -> tuple[tuple[str, ...], Array, Array]:
        """Return the runs that stand for the mixtures, their measured losses [n], and predictions without them [n]."""
        held = [self.goal.loss(one.predicted) for one in self.choice.taken.held]
        return self._measured.names, self.goal.loss(self._measured.Y), np.mean(held, axis=0)

    @property
    def mixtures(self) -> Array:
        """Return the measured mixtures [n, d] that were fitted, repeats once; d = k, or phases times k."""
        return self._measured.W

    @property
    def epochs(self) -> Array | None:
        """Return [k], the epochs per unit of weight in the training that is predicted; None if not known."""
        return None if self._measured.R is None else np.asarray(self._measured.R[: len(self.sources)].diagonal())

    @cached_property
    def predictors(self) -> tuple[Predictor, ...]:
        """Return what predicts what counts, then each target alone."""
        goals = [self.goal, *(self.goal.alone(j) for j in range(len(self.goal.targets)))]
        laws, W = self.choice.taken.fitted, self._measured.W
        return tuple(Predictor(goal, laws, one, W) for goal, one in zip(goals, self._optimism, strict=True))

    @property
    def noise(self) -> float | None:
        """Return the standard deviation of one training's loss, by repeats; None where no mixture was repeated."""
        found = float(self.goal.spread(self._measured.noise[None])[0])
        return found if np.isfinite(found) else None

    @property
    def phase_weights(self) -> Array:
        """Return the weights [p, k] of each phase."""
        return self._problem.phase_weights(self._at)

    @property
    def predicted(self) -> float:
        """Return the law's prediction for the proposal, as it stands (see `optimism`)."""
        return float(self.predictors[0].mean(self._problem.full(self._at)[None])[0])

    @cached_property
    def optimism(self) -> float:
        """Return the measured minus the predicted loss that is to be expected of the proposal, in the target's unit."""
        return float(self.predictors[0].expected_error(self._problem.full(self._at)[None])[0])

    def optimism_interval(self, level: float = 0.9) -> tuple[float, float]:
        """Return the low and high end of measured minus predicted loss of the proposal."""
        low, high = self.predictors[0].errors(self._problem.full(self._at)[None], checked_level(level))
        return float(low[0]), float(high[0])

    @cached_property
    def incumbent(self) -> Incumbent:
        """Return the best measured mixture among those that the constraints allow (of all if they allow none)."""
        best, measured = self._best_row, self._measured
        weights = measured.W[best].reshape(self._problem.shares.size, -1).sum(0)
        loss = float(self.goal.loss(measured.Y[[best]])[0])
        return Incumbent(measured.names[best], weights, loss, int(measured.repeats[best]))

    @cached_property
    def _best_row(self) -> int:
        loss = self.goal.loss(self._measured.Y)
        allowed = np.array([self._allows(w) for w in self._measured.W])
        rows = np.flatnonzero(allowed) if allowed.any() else np.arange(loss.size)
        return int(rows[loss[rows].argmin()])

    def _allows(self, w: Array) -> bool:
        rest = np.delete(w, self._problem.positions)
        return bool(rest.max(initial=0.0) <= 1e-6 and self._problem.space.contains(w[self._problem.positions], 1e-6))

    @cached_property
    def distance(self) -> float:
        """Return how much weight must move to come from the proposal to the nearest measured mixture (0 to 1)."""
        w = self._problem.full(self._at)
        return float(np.abs(self._measured.W - w).sum(1).min() / 2)

    @cached_property
    def outside(self) -> float:
        """Return how much weight must move to come from the proposal into the hull of the measured mixtures."""
        return min(weight_into_hull(self._problem.full(self._at), self._measured.W), self.distance)

    def predict(self, W: ArrayLike, level: float | None = 0.9) -> Any:
        """
        Return what a training on each mixture would measure.

        Parameters
        ----------
        W
            Weights [n, k] (or [k] for one mixture, [n, p, k] for phases); rows with sum 1.
        level
            Of the interval, which includes the expected optimism; None: the mean alone.

        Returns
        -------
        mean [n], or mean, low, high [n] each; without the first axis for one mixture.

        Raises
        ------
        InputError
            For weights that do not fit.
        """
        flat, single = self._checked(W)
        if level is None:
            mean = self.predictors[0].mean(flat)
            return mean[0] if single else mean
        out = self.predictors[0].interval(flat, checked_level(level))
        return tuple(part[0] for part in out) if single else out

    def predict_targets(self, W: ArrayLike, level: float | None = None) -> dict[str, Any]:
        """
        Return {target: the law's prediction [n]} for weights as in `predict`; with a level {target: (mean, low, high)}.

        Intervals are made as those of `predict`, from the errors of each target where the search picked a mixture.
        """
        flat, _ = self._checked(W)
        each = dict(zip(self.goal.targets, self.predictors[1:], strict=True))
        if level is None:
            return {name: one.mean(flat) for name, one in each.items()}
        level, near = checked_level(level), nearest_in_hull(flat, self._measured.W)
        return {name: one.interval(flat, level, near) for name, one in each.items()}

    def smallest_change(
        self, target: str | None = None, by: float = 0.01, start: str | PerSource = "incumbent", level: float = 0.9
    ) -> Change:
        """
        Return the smallest change of a mixture that is predicted to lower the loss of a target.

        Parameters
        ----------
        target
            One of the search's targets or guardrails. None where there is one alone.
        by
            The share by which its predicted loss is to be lower than the prediction at the start, such as 0.02.
        start
            "incumbent" (the best measured mixture), "prior", "proposal", "uniform", "natural", or weights with sum 1.
        level
            Of the interval.

        Returns
        -------
        Change
            With the least weight moved among the mixtures that the constraints and guardrails of the search allow.

        Raises
        ------
        InputError
            No allowed mixture is predicted to do it (the message has the least loss), the law is trees, or an argument
            does not fit.
        """
        own = {"prior": self._problem.full(self._problem.prior), "proposal": self._problem.full(self._at)}
        own["incumbent"] = self._measured.W[self._best_row]
        level, j = checked_level(level), self.goal.position(target)
        begin = start_of(start, own, self.sources, self.natural, self._problem)
        laws = self.choice.taken.fitted
        if j not in self._lowest:  # kept: several wishes of one target need it
            self._lowest[j] = lowest(self._problem, laws, self.goal, self._measured, j)
        unit = self._problem.unit(self.goal.alone(j), self._measured)
        found, proven = wished(self._problem, laws, self.goal, j, by, begin, self._lowest[j], unit)
        ends = (begin, self._problem.full(found))
        return Change.between(ends, self._problem, self.predictors[1 + j], self.goal.targets[j], by, level, proven)

    def pareto(self, points: int = 11) -> tuple[ParetoPoint, ...]:
        """
        Return mixtures from the best one for the second target to the best one for the first, as `mixwright.pareto`.

        The search was of two targets; laws and shrinkage are the result's own. Losses are predictions as they stand:
        what optimism does to each point is seen with `predict`.

        Raises
        ------
        InputError
            For another number of targets, or fewer than 2 points.
        """
        if len(self.goal.targets) != 2:
            raise InputError(f"pareto needs a search for two targets; found {len(self.goal.targets)}")
        points = whole_number(points, "points", 2)
        names, pull = (self.goal.targets[0], self.goal.targets[1]), self.shrinkage * self._scale
        two = TwoLaws(self._problem, self.choice.taken.fitted, self._measured, names, pull)
        found = ParetoCurve(two, self.settings.tolerance * self._scale).points(points, self._at)
        return tuple(
            ParetoPoint(
                self._problem.mean_weights(one.weights),
                dict(zip(names, one.loss.tolist(), strict=True)),
                one.share,
                one.gap,
            )
            for one in found
        )

    def _checked(self, W: ArrayLike) -> tuple[Array, bool]:
        """Return weights [n, d], and whether one mixture was given."""
        p, k = self._problem.shares.size, len(self.sources)
        w = floats(W, "W")
        shape = (k,) if p == 1 else (p, k)
        single = w.shape == shape
        w = w[None] if single else w
        if w.shape[1:] != shape or not len(w):
            raise InputError(f"W should be weights [n, {', '.join(map(str, shape))}] of n > 0; found {w.shape}")
        if (bad := w[~np.isfinite(w) | (w < -1e-9)]).size:
            raise InputError(f"W should be weights of at least 0; found {bad[0]:g}")
        off = np.abs(w.sum(-1) - 1)
        if off.max(initial=0.0) > 1e-6:
            raise InputError(f"each row of W should sum to 1; found a row that misses it by {off.max():.3g}")
        return (w.reshape(len(w), p, k) * self._problem.shares[:, None]).reshape(len(w), -1), single

    # ---------------------------------------------------------------- what a search result has

    @property
    def rows(self) -> int:
        """Return the number of runs that were fitted."""
        return int(self._measured.repeats.sum())

    @property
    def gain(self) -> Array:
        """Return [k], minus the gradient of the objective at the weights (the mean over phases)."""
        laws = self.choice.taken.fitted
        outer: Outer = WeightedSum(self.goal.shares)
        if self.goal.best is not None:
            outer = SoftWorst(self.goal.best, self.goal.counts, 1e4 / self._scale)
        objective = self._problem.objective(laws, outer, self.shrinkage * self._scale)
        whole = objective.full(objective.gradient(self._at)).reshape(self._problem.shares.size, -1)
        return np.asarray(-whole.mean(0))

    @property
    def fewest(self) -> tuple[int, str]:
        """Return the number of mixtures; they are what is resampled."""
        return self._measured.n, ""

    @property
    def _scale(self) -> float:
        return self._problem.unit(self.goal, self._measured)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences that belong beside the result."""
        out, d = [*self._notes, *hull_notes(self.outside)], self._measured.W.shape[1]
        if self._measured.n < 3 * (d + 1):
            words = f"a rule of thumb asks for {3 * (d + 1)} (Olmix)"
            out.append(f"{self._measured.n} mixtures are few for a law of {d} weights: {words}")
        seen = self._measured.W.reshape(self._measured.n, self._problem.shares.size, -1).sum(1)
        beyond = np.flatnonzero(self.weights > seen.max(0) + BEYOND)
        if beyond.size:
            named = ", ".join(f"{self.sources[i]!r} ({self.weights[i]:.3g})" for i in beyond[:NAMED])
            more = f" and {beyond.size - NAMED} others" if beyond.size > NAMED else ""
            out.append(f"the proposal gives more weight than any run to {named}{more}; the law extrapolates there")
        return tuple(dict.fromkeys(out))

    def _figures(self) -> dict[str, float]:
        return {"predicted": self.predicted, "optimism": self.optimism, "incumbent": self.incumbent.loss}

    def _drawn(self) -> Array:
        rng = np.random.default_rng([self.seed, 18])
        taken, n, out = self.choice.taken, self._measured.n, []
        for _ in range(DRAWS):
            rows = np.sort(rng.integers(0, n, n))
            laws = fit_all(taken.law, self._measured.take(rows), taken.fitted)
            scale = self._scale
            found = self._problem.minimise_from(
                laws, self.goal, self.shrinkage * scale, [self._at], 10 * self.settings.tolerance * scale, scale
            )
            out.append(self._problem.mean_weights(found.weights)[self.allowed.positions])
        return np.stack(out)

    def _improvement(self, reference: Array, level: float) -> tuple[float, float, float]:
        """Return the predicted loss of `reference` minus the proposal's as it is to be expected, with its interval."""
        there = (reference * self._problem.shares[:, None]).reshape(1, -1)
        other = float(self.predictors[0].mean(there)[0])
        low, high = self.optimism_interval(level)
        spread = float(self.predictors[0].spread(there)[0])
        estimate = other - self.predicted - self.optimism
        half = np.hypot((high - low) / 2, NormalDist().inv_cdf((1 + level) / 2) * spread)
        return estimate, float(estimate - half), float(estimate + half)

    def _verdict(self, level: float) -> str:
        low, high = (self.predicted + part for part in self.optimism_interval(level))
        best = self.incumbent
        seen = "after selection" if self.optimism > 0 else "(picks inside the table measured no worse than predicted)"
        said = (
            f"predicted {self.predicted:.4g}, expected {self.predicted + self.optimism:.4g} {seen} "
            f"({100 * level:g} % interval {low:.4g} to {high:.4g}); that run, {best.run!r}, has {best.loss:.4g}"
        )
        return f"unverified: not shown better than the best measured run; {said}; train both to confirm"

    def _uncertified(self, limit: float) -> str:
        if not np.isfinite(self.gap):
            return f"the law {self.law!r} is not convex, so its optimum has no certificate ({self.search_words})"
        return super()._uncertified(limit)

    @property
    def search_words(self) -> str:
        """Return how the optimum was sought where it has no certificate."""
        agreed, descents = self._descents
        if not descents:
            return "the mean of the best of thousands of mixtures"
        return f"{agreed} of {descents} descents, from different ones of thousands of mixtures, end there"

    def _file_parts(self) -> dict[str, dict[str, Any]]:
        scores = {name: vars(one) for name, one in self.scores.items()}
        taken = {"law": self.law, "targets": dict(zip(self.goal.targets, self.goal.shares.tolist(), strict=True))}
        evidence = {"mixtures": self._measured.n, "scores": scores, "unit": "loss"}
        best = self.incumbent
        return {
            "method": taken,
            "evidence": evidence,
            "certificate": {
                "predicted": self.predicted,
                "optimism": self.optimism,
                "incumbent": {"run": best.run, "loss": best.loss},
                "unit": "loss",
                **({} if np.isfinite(self.gap) else {"search": self.search_words}),
            },
        }
