"""What is minimised: a law's prediction over the weights that are allowed, for one phase or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.runs.goal import Goal
from mixwright.runs.laws import FittedLaw
from mixwright.runs.measured import Measured
from mixwright.runs.optimum.minimise import Least, Objective, gap_at, minimise
from mixwright.runs.optimum.outer import Guarded, Outer, SoftWorst, WeightedSum
from mixwright.runs.table import RunTable
from mixwright.search.inputs import Allowed, PerSource, Prior

Array = NDArray[np.float64]
TURNS = 8  # of sharper worst regrets and of prices of guardrails
STARTS = 64  # measured mixtures to start from where a law is not convex


@dataclass(frozen=True, eq=False)
class Problem:
    """
    The weights that are allowed, of all phases together.

    allowed: of the whole training, [k]. space: of the allowed positions among d = phases * k weights, each phase's
    times its share of the tokens. prior [positions] likewise.
    """

    allowed: Allowed
    space: Polytope
    positions: NDArray[np.intp]
    prior: Array
    metric: Array
    shares: Array  # of phases

    @classmethod
    def of(
        cls, table: RunTable, prior: Prior | None, sizes: PerSource | None, constraints: Constraints | None
    ) -> Problem:
        """Return the problem for the sources of a table."""
        prior = ("uniform" if sizes is None else "natural") if prior is None else prior
        allowed = Allowed.of(prior, table.sources, sizes, constraints)
        own = allowed.prior[allowed.positions]
        metric = own + 1 / own.size
        if table.phases == 1:
            return cls(allowed, allowed.part, allowed.positions, own, metric, np.ones(1))
        shares, k = table.phase_shares, len(table.sources)
        positions = np.concatenate([allowed.positions + p * k for p in range(table.phases)])
        space = _in_phases(allowed.part, shares)
        return cls(allowed, space, positions, np.outer(shares, own).ravel(), np.outer(shares, metric).ravel(), shares)

    @property
    def d(self) -> int:
        """Return the number of weights of all phases."""
        return self.shares.size * len(self.allowed.sources)

    def objective(self, laws: Sequence[FittedLaw], outer: Outer, pull: float) -> Objective:
        """Return what is minimised."""
        return Objective(tuple(laws), outer, self.prior, self.metric, pull, self.positions, self.d)

    def unit(self, goal: Goal, measured: Measured) -> float:
        """Return the standard deviation of the measured losses of what counts."""
        return float(np.std(goal.loss(measured.Y)))

    def minimise(
        self, laws: Sequence[FittedLaw], goal: Goal, tau: float, measured: Measured, tolerance: float
    ) -> Least:
        """Return the optimum over the allowed positions."""
        unit = self.unit(goal, measured)
        convex = all(law.convex for law in laws)
        best = np.argsort(goal.loss(measured.Y))[: 1 if convex else STARTS]
        starts = [self.prior, *(measured.W[i][self.positions] for i in best)]
        return self.minimise_from(laws, goal, tau * unit, starts, tolerance * unit, unit)

    def minimise_from(
        self,
        laws: Sequence[FittedLaw],
        goal: Goal,
        pull: float,
        starts: Sequence[Array],
        tolerance: float,
        unit: float,
    ) -> Least:
        """Return the optimum: one search for a weighted sum, a few for the worst regret and for guardrails."""
        if goal.best is None and goal.limits is None:
            return minimise(self.objective(laws, WeightedSum(goal.shares), pull), self.space, starts, tolerance)
        found: Least | None = None
        prices = np.zeros(len(goal.targets))
        for turn in range(TURNS):
            sharp = 10.0 ** (1 + min(turn, 3)) / unit
            outer: Outer = WeightedSum(goal.shares)
            if goal.best is not None:
                outer = SoftWorst(goal.best, goal.counts, sharp)
            if goal.limits is not None:
                outer = Guarded(outer, goal.limits, prices, sharp)
            objective = self.objective(laws, outer, pull)
            before, found = found, minimise(objective, self.space, starts, tolerance)
            losses = objective.losses(found.weights[None])
            if isinstance(outer, Guarded):
                prices = outer.over(losses[0])
            starts = [found.weights]
            gap = gap_at(objective, self.space, found.weights) if objective.convex else np.inf
            value = float(goal.loss(losses)[0] + objective.penalty(found.weights[None])[0])
            first = found if before is None else before
            found = Least(found.weights, value, gap, first.descents, first.agreed)
            if turn >= 3 and gap <= tolerance and goal.excess(losses[0]) <= tolerance:
                break
        assert found is not None
        return found

    def penalty(self, measured: Measured, goal: Goal, tau: float) -> Array:
        """Return the pull's part of the objective [n] at the measured mixtures."""
        pull = tau * self.unit(goal, measured)
        off = measured.W[:, self.positions] - self.prior
        return np.asarray(pull * (off**2 / (2 * self.metric)).sum(1))

    def full(self, w: Array) -> Array:
        """Return weights [..., d] from those of the allowed positions."""
        out = np.zeros((*w.shape[:-1], self.d))
        out[..., self.positions] = w
        return out

    def mean_weights(self, w: Array) -> Array:
        """Return the weights [..., k] of the whole training from those of the allowed positions."""
        whole = self.full(w).reshape(*w.shape[:-1], self.shares.size, -1)
        out = np.clip(whole.sum(-2), 0.0, None)
        return np.asarray(out / out.sum(-1, keepdims=True))

    def phase_weights(self, w: Array) -> Array:
        """Return the weights [p, k] of each phase."""
        return np.asarray(self.full(w).reshape(self.shares.size, -1) / self.shares[:, None])


def _in_phases(part: Polytope, shares: Array) -> Polytope:
    """
    Return the set of all phases' weights whose sum over the phases is in `part`, each phase with its share.

    A distance is the mean over the phases, by their shares: one phase far on one side does not make up for another.
    """
    p, k = shares.size, part.lower.size
    sums = np.kron(np.eye(p), np.ones((1, k)))  # of each phase
    over = np.tile(np.eye(k), (1, p))  # of each source
    floors, caps = part.lower > 0, part.upper < 1
    rows = [sums, -sums, over[caps], -over[floors], np.tile(part.rows, (1, p))]
    limits = [shares, -shares, part.upper[caps], -part.lower[floors], part.limits]
    names = [f"{name} in phase {i + 1}" for i in range(p) for name in part.names]
    labels = [f"phase {i + 1}" for i in range(p)] * 2
    labels += [label for label, there in zip(part.cap_labels, caps, strict=True) if there]
    labels += [label for label, there in zip(part.floor_labels, floors, strict=True) if there]
    return Polytope(
        lower=np.zeros(p * k),
        upper=np.repeat(shares, k),
        rows=np.concatenate([np.reshape(r, (-1, p * k)) for r in rows]),
        limits=np.concatenate(limits),
        centre=None if part.centre is None else np.outer(shares, part.centre).ravel(),
        radius=part.radius,
        names=tuple(names),
        labels=(*labels, *part.labels),
        floor_labels=("",) * (p * k),
        cap_labels=("",) * (p * k),
    )
