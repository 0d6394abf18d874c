"""The smallest change of a mixture that laws predict to be enough: least weight moved, by linear programmes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import is_number
from mixwright.constraints.polytope import Conflict, Polytope, Unsolved
from mixwright.constraints.quadratic import project
from mixwright.errors import InputError, missing_extra
from mixwright.runs.goal import Goal
from mixwright.runs.laws.law import FittedLaw
from mixwright.runs.measured import Measured
from mixwright.runs.optimum.prediction import Predictor
from mixwright.runs.optimum.problem import Problem
from mixwright.search.inputs import PerSource, reference_weights

Array = NDArray[np.float64]
TOLERANCE = 1e-5  # of losses, in standard deviations of the measured ones
CUTS = 60  # linear programmes where laws are convex
ROUNDS = 40  # of steps that are short, where they are not
RESTORED = 4  # linear programmes that bring a step back to the limits
FAR, LEAST = 0.1, 1e-4  # the first and the last length of such a step, in weight
STARTS = 8  # measured mixtures that the search for the least loss starts from, where laws are not convex
LINE = 64  # mixtures that are tried on a line


class OutOfReach(InputError):
    """
    No allowed mixture is predicted to do what is asked.

    Attributes
    ----------
    before, least
        The predicted loss at the start, and the least that is predicted of an allowed mixture.
    certified
        Whether that is proven: the laws are convex. Of others, the least is what the search found.
    """

    def __init__(self, asked: str, before: float, least: float, certified: bool) -> None:
        self.before, self.least, self.certified = before, least, certified
        side = "lower" if least <= before else "higher"
        off = f"{100 * abs(before - least) / abs(before):.2g} % {side}" if before else f"{side} than 0"
        found, known = ("is", "is predicted") if certified else ("was found that is", "was found")
        super().__init__(
            f"no allowed mixture {found} predicted to {asked}; the least that {known} is {least:.4g} ({off}); ask for "
            "less, or relax the limits"
        )


@dataclass(frozen=True, eq=False)
class Change:
    """
    The smallest change of a mixture that is predicted to lower a target's loss by as much as is wished.

    Attributes
    ----------
    target, by
        The wish: the predicted loss of the target is to be lower than at the start by this share.
    start, weights
        [k], before and after.
    moved
        How much weight moves, from 0 to 1: half the sum of the absolute differences.
    before, after
        The predicted losses of the target.
    low, high
        The interval, at `level`, of what a training on `weights` would measure.
    certified
        Whether no smaller change is predicted to do it: the law is convex, and the solver did not fail.
    """

    target: str
    by: float
    start: Array
    weights: Array
    moved: float
    before: float
    after: float
    low: float
    high: float
    level: float
    certified: bool

    @property
    def unsure(self) -> bool:
        """Return whether the interval reaches the prediction at the start: a training may well show no difference."""
        return self.high >= self.before

    @classmethod
    def between(
        cls,
        ends: tuple[Array, Array],
        problem: Problem,
        predictor: Predictor,
        target: str,
        by: float,
        level: float,
        certified: bool,
    ) -> Change:
        """Return the change from weights [d] to others, with what is predicted of one target."""
        start, to = ends
        before = float(predictor.mean(start[None])[0])
        mean, low, high = (float(part[0]) for part in predictor.interval(to[None], level))
        moved = float(np.abs(to - start).sum() / 2)
        first, second = (w.reshape(problem.shares.size, -1).sum(0) for w in ends)
        return cls(target, float(by), first, second, moved, before, mean, low, high, level, certified)

    def __str__(self) -> str:
        """Return a sentence."""
        words = f"moving {self.moved:.3g} of the weight is predicted to lower {self.target!r} by {100 * self.by:g} %, "
        words += f"from {self.before:.4g} to {self.after:.4g}"
        if not self.unsure:
            return words
        interval = f"{100 * self.level:g} % interval, {self.low:.4g} to {self.high:.4g}"
        return f"{words}; that is less than the prediction is sure of ({interval}, has the loss of the start)"


@dataclass(frozen=True, eq=False)
class Wish:
    """
    What is asked of weights w [allowed]: law_j(w) <= limits_j for each j, in `space`, as near to `start` as can be.

    Only laws with a finite limit count. tolerance: by how much a limit may be missed.
    """

    problem: Problem
    laws: Sequence[FittedLaw]
    limits: Array
    start: Array
    tolerance: float

    @property
    def counted(self) -> list[int]:
        """Return the laws that have a limit."""
        return [int(j) for j in np.flatnonzero(np.isfinite(self.limits))]

    @property
    def convex(self) -> bool:
        """Return whether all laws that count are."""
        return all(self.laws[j].convex for j in self.counted)

    def excess(self, w: Array) -> Array:
        """Return [n] by how much the worst limit is missed at weights [n, allowed]."""
        W = self.problem.full(w)
        return np.max([self.laws[j].predict(W) - self.limits[j] for j in self.counted], axis=0)

    def holds(self, w: Array) -> bool:
        """Return whether the limits hold at weights [allowed]."""
        return bool(self.excess(w[None])[0] <= self.tolerance)

    def moved(self, w: Array) -> float:
        """Return how much weight moves from the start."""
        return float(np.abs(w - self.start).sum() / 2)

    def cuts(self, w: Array) -> tuple[Array, Array]:
        """Return rows and limits: the laws linearised at w."""
        W, at = self.problem.full(w[None]), self.problem.positions
        slopes = np.stack([self.laws[j].gradient(W)[0][at] for j in self.counted])
        room = np.array([self.limits[j] - float(self.laws[j].predict(W)[0]) for j in self.counted])
        return slopes, room + slopes @ w


def start_of(
    start: str | PerSource, own: Mapping[str, Array], sources: Sequence[str], natural: Array | None, problem: Problem
) -> Array:
    """Return the weights [d] that a name stands for, of `own` or as in `reference_weights`, or that are given."""
    if isinstance(start, str) and start in own:
        return own[start]
    if isinstance(start, str) and start not in ("uniform", "natural"):
        raise InputError(f"start should be {', '.join(own)}, uniform, natural or weights; found {start!r}")
    weights = reference_weights(start, sources, natural)
    return np.asarray((weights * problem.shares[:, None]).ravel())


def lowest(problem: Problem, laws: Sequence[FittedLaw], goal: Goal, measured: Measured, j: int) -> Array:
    """Return the weights [allowed] with the least loss that law j predicts, as far as guardrails allow."""
    if not all(law.smooth for law in laws):
        raise InputError("the smallest change needs a law with slopes; found trees; take another law")
    alone = Goal(goal.targets, goal.alone(j).shares, limits=goal.limits)
    unit = problem.unit(alone, measured)
    runs = np.argsort(measured.Y[:, j])[: 1 if all(law.convex for law in laws) else STARTS]
    starts = [problem.prior, *(measured.W[i][problem.positions] for i in runs)]
    return problem.minimise_from(laws, alone, 0.0, starts, TOLERANCE * unit, unit).weights


def wished(
    problem: Problem, laws: Sequence[FittedLaw], goal: Goal, j: int, by: float, start: Array, best: Array, unit: float
) -> tuple[Array, bool]:
    """
    Return the weights [allowed] nearest to `start` at which law j predicts enough, and whether that is proven.

    Guardrails of the goal hold as well. `best`: what `lowest` returned; unit: the standard deviation of the losses.

    Raises
    ------
    OutOfReach
        Where no allowed mixture is predicted to do it.
    InputError
        For a share that is none, or where the solver fails.
    """
    if not is_number(by) or not 0 < by < 1:
        raise InputError(f"by should be a share above 0 and below 1, such as 0.02; found {by!r}")
    before = float(laws[j].predict(start[None])[0])
    limits = np.full(len(laws), np.inf) if goal.limits is None else goal.limits.copy()
    limits[j] = min(limits[j], before - by * abs(before))
    wish = Wish(problem, laws, limits, start[problem.positions], TOLERANCE * unit)
    asked = f"lower the loss of {goal.targets[j]!r} by {100 * by:g} %, from {before:.4g} to {limits[j]:.4g}"
    try:
        found = least_change(wish, best)
    except Unsolved as error:
        raise InputError(
            f"whether an allowed mixture is predicted to {asked}, is open, as the solver failed ({error}); ask for "
            "more or less, or relax the limits"
        ) from None
    if found is None:
        raise OutOfReach(asked, before, float(laws[j].predict(problem.full(best)[None])[0]), wish.convex)
    return found


def least_change(wish: Wish, best: Array) -> tuple[Array, bool] | None:
    """
    Return the weights [allowed] that hold the limits and are nearest to the start, and whether no others are nearer.

    `best`: weights with the least loss that is known. Of convex laws the answer is the optimum, by cutting planes
    (Kelley), and None means that there are none. Of others it is where linearised steps from `best` end, and None
    means that `best` does not hold them.

    Raises
    ------
    Unsolved
        The solver fails, and `best` does not hold the limits: whether there are such weights is open.
    """
    if wish.convex:
        return _by_cuts(wish, best)
    if not wish.holds(best):
        return None
    return _by_steps(wish, _on_line(wish, project(wish.start, wish.problem.space), best)), False


def _by_cuts(wish: Wish, best: Array) -> tuple[Array, bool] | None:
    w, rows, limits = wish.start, [], []
    for _ in range(CUTS):
        more, most = wish.cuts(w)
        rows.append(more)
        limits.append(most)
        try:
            w = _nearest(wish.problem.space, wish.start, np.vstack(rows), np.concatenate(limits))
        except Conflict as error:
            if wish.holds(best):
                break
            if isinstance(error, Unsolved):
                raise
            return None
        if wish.holds(w):
            return w, True
    return (_on_line(wish, w, best), False) if wish.holds(best) else None


def _by_steps(wish: Wish, w: Array) -> Array:
    """Return where steps that are linear programmes lead, each no longer than the law is about linear for."""
    far, space = FAR, wish.problem.space
    for _ in range(ROUNDS):
        rows, limits = wish.cuts(w)
        part = replace(space, lower=np.maximum(space.lower, w - far), upper=np.minimum(space.upper, w + far))
        found = _step(part, wish.start, rows, np.maximum(limits, rows @ w))
        nearer = None if found is None else _restored(wish, found)
        if nearer is not None and wish.moved(nearer) < wish.moved(w) - 1e-7:
            w, far = nearer, 1.5 * far
            continue
        far /= 2
        if far < LEAST:
            break
    return w


def _restored(wish: Wish, w: Array) -> Array | None:
    """Return weights near w that hold the limits, which bend away from what they were linearised to; or None."""
    for _ in range(RESTORED):
        if wish.holds(w):
            return w
        found = _step(wish.problem.space, w, *wish.cuts(w))
        if found is None:
            return None
        w = found
    return w if wish.holds(w) else None


def _on_line(wish: Wish, w: Array, good: Array) -> Array:
    """Return the point on the line from w to weights that hold the limits that is nearest to w and holds them."""
    shares = np.linspace(0, 1, LINE + 1)[:, None]
    points = (1 - shares) * w + shares * good
    enough = np.flatnonzero(wish.excess(points) <= wish.tolerance)
    return np.asarray(points[enough[0]]) if enough.size else good


def _step(space: Polytope, start: Array, rows: Array, limits: Array) -> Array | None:
    """Return `_nearest`, or None where there are no such weights, or the solver finds none."""
    try:
        return _nearest(space, start, rows, limits)
    except Conflict:
        return None


def _nearest(space: Polytope, start: Array, rows: Array, limits: Array) -> Array:
    """Return the weights of the space with rows w <= limits and the least sum |w - start|."""
    if find_spec("scipy") is None:
        raise missing_extra("scipy", "runs")
    d = start.size
    eye = np.eye(d)
    blocks = [np.hstack([rows, np.zeros(rows.shape)]), np.hstack([eye, -eye]), np.hstack([-eye, -eye])]
    cost = np.r_[np.zeros(d), np.ones(d)]
    return np.asarray(space.programme(cost, np.vstack(blocks), np.r_[limits, start, -start]).x[:d])
