"""What a search over a table of runs found, and how far to believe it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.runs.choice import Choice
from mixwright.runs.folds import fit_all
from mixwright.runs.goal import Goal
from mixwright.runs.measured import Measured
from mixwright.runs.optimism import MISFIT, Optimism
from mixwright.runs.optimum.curve import TwoLaws
from mixwright.runs.optimum.hull import nearest_in_hull
from mixwright.runs.optimum.outer import Outer, SoftWorst, WeightedSum
from mixwright.runs.optimum.problem import Problem
from mixwright.runs.scores import LawScores
from mixwright.runs.table import RunTable
from mixwright.search.inputs import checked_level
from mixwright.search.pareto import ParetoCurve, ParetoPoint
from mixwright.search.result import SearchResult

Array = NDArray[np.float64]
DRAWS = 50
BEYOND = 1e-6  # a weight above the largest measured one by more than this is outside what any run has seen
NAMED = 3
INSIDE = 0.01  # a proposal that is nearer than this to the hull of the runs counts as inside


@dataclass(frozen=True)
class Incumbent:
    """The best measured mixture: its run, its weights [k], and its measured loss (the mean of its repeats)."""

    run: str
    weights: Array
    loss: float
    repeats: int


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
    _optimism: Optimism
    _at: Array
    _descents: tuple[int, int] = (1, 1)  # that ended as low as the best one, of all
    _notes: tuple[str, ...] = ()

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
        return float(self._mean(self._problem.full(self._at)[None])[0])

    @cached_property
    def optimism(self) -> float:
        """Return the measured minus the predicted loss that is to be expected of the proposal, in the target's unit."""
        w = self._problem.full(self._at)[None]
        return float((self._optimism.mean * self._spread(w) + self._further(w))[0])

    def optimism_interval(self, level: float = 0.9) -> tuple[float, float]:
        """Return the low and high end of measured minus predicted loss of the proposal."""
        low, high = self._errors(self._problem.full(self._at)[None], checked_level(level))
        return float(low[0]), float(high[0])

    def _errors(self, flat: Array, level: float) -> tuple[Array, Array]:
        """Return the low and high end [n] of measured minus predicted losses at weights [n, d]."""
        low, high = self._optimism.ends(level)
        spread = self._spread(flat)
        return low * spread - MISFIT * self._optimism.rmse, high * spread + self._further(flat)

    def _further(self, flat: Array) -> Array:
        """Return [n] by how much less a law predicts than for the nearest mixture in the hull of the runs."""
        near = nearest_in_hull(flat, self._measured.W)
        out = np.abs(near - flat).sum(1) / 2 > INSIDE
        return np.where(out, np.maximum(self._mean(near) - self._mean(flat), 0.0), 0.0)

    @cached_property
    def incumbent(self) -> Incumbent:
        """Return the best measured mixture among those that the constraints allow (of all if they allow none)."""
        loss = self.goal.loss(self._measured.Y)
        allowed = np.array([self._allows(w) for w in self._measured.W])
        rows = np.flatnonzero(allowed) if allowed.any() else np.arange(loss.size)
        best = int(rows[loss[rows].argmin()])
        weights = self._measured.W[best].reshape(self._problem.shares.size, -1).sum(0)
        return Incumbent(self._measured.names[best], weights, float(loss[best]), int(self._measured.repeats[best]))

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
        w = self._problem.full(self._at)[None]
        into = float(np.abs(nearest_in_hull(w, self._measured.W) - w).sum() / 2)
        return min(into, self.distance)  # the nearest point in squares may be the farther one in weight

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
        mean = self._mean(flat)
        if level is None:
            return mean[0] if single else mean
        low, high = self._errors(flat, checked_level(level))
        out = mean, mean + low, mean + high
        return tuple(part[0] for part in out) if single else out

    def predict_targets(self, W: ArrayLike) -> dict[str, Array]:
        """Return {target: the law's prediction [n]} for weights as in `predict`, without intervals."""
        flat, _ = self._checked(W)
        laws = self.choice.taken.fitted
        return {name: law.predict(flat) for name, law in zip(self.goal.targets, laws, strict=True)}

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
        w = np.asarray(W, np.float64)
        shape = (k,) if p == 1 else (p, k)
        single = w.shape == shape
        w = w[None] if single else w
        if w.shape[1:] != shape or not np.isfinite(w).all() or (w < -1e-9).any():
            raise InputError(f"W should be weights [n, {', '.join(map(str, shape))}] of at least 0; found {w.shape}")
        off = np.abs(w.sum(-1) - 1)
        if off.max(initial=0.0) > 1e-6:
            raise InputError(f"each row of W should sum to 1; found a row that misses it by {off.max():.3g}")
        return (w.reshape(len(w), p, k) * self._problem.shares[:, None]).reshape(len(w), -1), single

    def _mean(self, flat: Array) -> Array:
        laws = self.choice.taken.fitted
        return self.goal.loss(np.stack([law.predict(flat) for law in laws], axis=1))

    def _spread(self, flat: Array) -> Array:
        laws = self.choice.taken.fitted
        return self.goal.spread(np.stack([law.spread(flat) for law in laws], axis=1))

    def _spread_at(self, w: Array) -> float:
        return float(self._spread(w[None])[0])

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
        out, d = list(self._notes), self._measured.W.shape[1]
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
        other = float(self._mean(there)[0])
        low, high = self.optimism_interval(level)
        spread = self._spread_at(there[0])
        estimate = other - self.predicted - self.optimism
        half = np.hypot((high - low) / 2, NormalDist().inv_cdf((1 + level) / 2) * spread)
        return estimate, float(estimate - half), float(estimate + half)

    def _verdict(self, level: float) -> str:
        low, high = (self.predicted + part for part in self.optimism_interval(level))
        best = self.incumbent
        against = f"that run, {best.run!r}, has {best.loss:.4g}"
        said = (
            f"predicted {self.predicted:.4g}, expected {self.predicted + self.optimism:.4g} after selection "
            f"({100 * level:g} % interval {low:.4g} to {high:.4g}); {against}"
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
