"""
The set of weights that linear constraints allow: its interior, its extreme points, projections, conflicts.

    lower <= w <= upper,   sum w = mass,   rows w <= limits,   sum_k |w_k - centre_k| <= radius

Linear programmes are solved by scipy (HiGHS), which only sets with `rows` or a `centre` need.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import missing_extra
from mixwright.simplex import maximise_linear

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Named = tuple[str, str, int]
Inequalities = tuple[Any, Array, list[tuple[float | None, float | None]]]
TIGHT = 1e-7  # a constraint with less slack than this holds with equality
ROOM = 1e-9  # an inequality that can never be slack by more than this is an equality
SCALES = (1e7, 1e4, 1e2, 1.0)
LEAST = (
    2e-10  # constraints that are violated by less, all together, are not in conflict: what a linear programme can tell
)
NAMED = 8  # constraints of a conflict that are named at most


class Conflict(ValueError):
    """Constraints that no weights satisfy; the text names a least set of them."""


class Unsolved(Conflict):
    """A linear programme that the solver fails on, so that a conflict is open; the text is the solver's."""


@dataclass(frozen=True)
class Binding:
    """
    A constraint that holds with equality at the optimum.

    price: nats per row that a relaxation saves, per unit of the limit (a share, or a distance), for small relaxations:
    the multiplier of the constraint. 0 where the constraint is met without costing anything.
    """

    constraint: str
    limit: float
    price: float

    def __str__(self) -> str:
        """Return a sentence."""
        return binding_words(self.constraint, self.price)


def binding_words(constraint: str, price: float, unit: str = " nats per row") -> str:
    """Return what a constraint that binds costs, in a sentence."""
    if price < 1e-6:
        return f"{constraint} holds with equality and costs nothing"
    return f"{constraint} binds: relaxing it by 0.01 would lower the objective by about {0.01 * price:.3g}{unit}"


@dataclass(frozen=True)
class Prices:
    """
    The multipliers of the constraints at a linear gain: what a unit more of each limit is worth.

    lower, upper [k]; rows [m]; radius: for sum |w - centre|; bound: an upper bound of max <gain, v> over the set, which
    is exact where the multipliers are.
    """

    lower: Array
    upper: Array
    rows: Array
    radius: float
    bound: float


@dataclass(frozen=True)
class Polytope:
    """Bounds [k], rows [m, k] with limits [m], and optionally an L1 ball around `centre` [k]."""

    lower: Array
    upper: Array
    rows: Array
    limits: Array
    centre: Array | None = None
    radius: float = 2.0
    mass: float = 1.0  # of the weights that are in the set: less where others are fixed
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()  # of rows
    floor_labels: tuple[str, ...] = ()  # of lower, "" where there is no floor
    cap_labels: tuple[str, ...] = ()
    equal: Array = field(default_factory=lambda: np.empty((0, 0)))  # rows [q, k] that no weights leave slack

    @classmethod
    def box(cls, lower: Array, upper: Array, mass: float = 1.0) -> Polytope:
        """Return the set of bounds alone."""
        return cls(lower, upper, np.empty((0, lower.size)), np.empty(0), mass=mass)

    @property
    def simple(self) -> bool:
        """Whether there are bounds alone."""
        return len(self.rows) == 0 and self.centre is None and len(self.equal) == 0

    @property
    def has_inequalities(self) -> bool:
        """Whether there are inequalities beyond bounds."""
        return len(self.rows) > 0 or self.centre is not None

    def check(self) -> None:
        """Raise Conflict, which names a least set of constraints in conflict, if nothing is allowed."""
        if self.simple:
            return
        named = self._named()
        taking_part = self._violated(named)
        if not taking_part:
            return
        kept = list(taking_part)
        for constraint in taking_part:
            rest = [one for one in kept if one != constraint]
            with suppress(Unsolved):  # the conflict is proven: a constraint that cannot be judged stays in its list
                kept = rest if self._violated(rest) else kept
        shown = [name for name, _, _ in kept[:NAMED]]
        more = f" and {len(kept) - NAMED} others like these" if len(kept) > NAMED else ""
        raise Conflict(", ".join(shown[:-1]) + " and " + shown[-1] + more if len(shown) > 1 else shown[0])

    def _violated(self, named: list[Named]) -> list[Named]:
        """Return, of some constraints, those that prove that nothing satisfies all of them; none if something does."""
        sparse, k = _sparse(), self.lower.size
        rows: list[Any] = []
        limits: list[float] = []
        unit = sparse.identity(k, format="csr")
        ball = self.centre is not None and any(kind == "ball" for _, kind, _ in named)
        for _, kind, i in named:
            row = {"lower": lambda i: -unit[[i]], "upper": lambda i: unit[[i]]}.get(kind)
            rows.append(sparse.csr_array((1, k)) if kind == "ball" else row(i) if row else self.rows[[i]])
            limits.append({"lower": -self.lower, "upper": self.upper, "row": self.limits}.get(kind, np.zeros(1))[i])
            if kind == "lower" and self.lower[i] == self.upper[i]:  # frozen: both bounds are one constraint
                rows.append(unit[[i]])
                limits.append(self.upper[i])
        if not rows:
            return []
        owner = [j for j, (_, kind, i) in enumerate(named) for _ in range(1 + self._is_frozen(kind, i))]
        A, b = sparse.vstack([sparse.csr_array(row) for row in rows]), np.array(limits, np.float64)
        A = sparse.hstack([A, -sparse.identity(len(b))])
        cost = np.r_[np.zeros(k), np.ones(len(b))]
        bounds: list[tuple[float | None, float | None]] = [(0.0, None)] * (k + len(b))
        if ball:
            assert self.centre is not None
            place = next(j for j, (_, kind, _) in enumerate(named) if kind == "ball")
            place = owner.index(place)
            over = sparse.lil_array((len(b), k))
            over[place, :] = 1.0
            b[place] = self.excess()
            A = sparse.hstack([A, over.tocsr()])
            extra = sparse.hstack([unit, sparse.csr_array((k, len(b))), -unit])
            A, b = sparse.vstack([A, extra]), np.concatenate([b, self.centre])
            cost, bounds = np.r_[cost, np.zeros(k)], [*bounds, *[(0.0, None)] * k]
        equal = np.zeros((1, cost.size))
        equal[0, :k] = 1.0
        found = _linprog(cost, A, b, equal, bounds, self.mass)
        if found.fun <= LEAST:
            return []
        dual = -found.ineqlin.marginals[: len(owner)]
        return [named[j] for j in sorted({owner[i] for i in np.flatnonzero(dual > 1e-9)})] or named

    def _is_frozen(self, kind: str, i: int) -> bool:
        return kind == "lower" and bool(self.lower[i] == self.upper[i])

    def take(self, chosen: NDArray[np.intp], w: Array) -> Polytope:
        """Return the set of the chosen weights, in rising order, where the others stay as in `w`."""
        if chosen.size == w.size:
            return self  # with what was computed of it
        others = np.ones(w.size, bool)
        others[chosen] = False
        fixed = np.where(others, w, 0.0)
        centre, radius = None, self.radius
        if self.centre is not None:
            centre = self.centre[chosen]
            radius = self.radius - float(np.abs(w - self.centre)[others].sum())
        return replace(
            self,
            lower=self.lower[chosen],
            upper=self.upper[chosen],
            rows=self.rows[:, chosen],
            limits=self.limits - self.rows @ fixed,
            centre=centre,
            radius=radius,
            mass=self.mass - float(fixed.sum()),
            names=tuple(self.names[i] for i in chosen) if self.names else (),
            floor_labels=tuple(self.floor_labels[i] for i in chosen) if self.floor_labels else (),
            cap_labels=tuple(self.cap_labels[i] for i in chosen) if self.cap_labels else (),
            equal=self.equal[:, chosen] if len(self.equal) else self.equal,
        )

    def above(self, lower: Array) -> Polytope:
        """Return the set with other lower bounds."""
        return self if np.array_equal(lower, self.lower) else replace(self, lower=lower)

    def contains(self, w: Array, slack: float = 1e-12) -> bool:
        """Return whether `w` [k] is allowed, up to `slack`."""
        inside = abs(float(w.sum()) - self.mass) <= slack and (w >= self.lower - slack).all()
        inside = inside and (w <= self.upper + slack).all() and (self.rows @ w <= self.limits + slack).all()
        return bool(inside and (self.centre is None or np.abs(w - self.centre).sum() <= self.radius + slack))

    def interior(self) -> tuple[Polytope, Array]:
        """
        Return the set with its implied equalities made explicit, and weights that leave all other constraints slack.

        Bounds that can never be slack become equal bounds, rows become `equal`.
        """
        if self.simple:
            room = self.upper - self.lower
            return self, self.lower + room * ((self.mass - self.lower.sum()) / max(room.sum(), 1e-300))
        sparse = _sparse()

        k, m = self.lower.size, len(self.rows)
        t = 2 * k if self.centre is not None else k
        # homogenised: x = t w, and the sum of the slacks (each counted up to 1) is as large as it can be
        eye = sparse.identity(k)
        matrix, limits = [-eye, eye, sparse.csr_array(self.rows)], [-self.lower, self.upper, self.limits]
        if self.centre is not None:
            none, ones = sparse.csr_array((k, k)), sparse.csr_array(np.ones((1, k)))
            matrix = [sparse.hstack([part, sparse.csr_array(part.shape)]) for part in matrix]
            matrix += [sparse.hstack([eye, -eye]), sparse.hstack([none, -eye])]
            matrix.append(sparse.hstack([sparse.csr_array((1, k)), ones]))
            limits += [self.centre, np.zeros(k), np.array([self.excess()])]
        A, b = sparse.vstack(matrix), np.concatenate(limits)
        A = sparse.hstack([A, sparse.csr_array(-b[:, None]), sparse.identity(len(b))])
        equal = np.zeros((1, A.shape[1]))
        equal[0, :k], equal[0, t] = 1.0, -self.mass
        cost = -np.r_[np.zeros(t + 1), np.ones(len(b))]
        for largest in SCALES:  # a thin set is scaled up, as far as the solver bears it
            bounds = [(None, None)] * t + [(1.0, largest)] + [(0.0, 1.0)] * len(b)
            try:
                found = _linprog(cost, A, np.zeros(len(b)), equal, bounds)
                break
            except Conflict:
                if largest == SCALES[-1]:
                    raise
        s = t + 1
        w, slack = found.x[:k] / found.x[t], found.x[s:]
        tight = slack / found.x[t] <= ROOM
        value = np.clip(w, self.lower, self.upper)
        lower = np.where(tight[:k], self.lower, np.where(tight[k : 2 * k], self.upper, self.lower))
        upper = np.where(tight[:k], self.lower, self.upper)
        stays = ~tight[2 * k : 2 * k + m]
        rows, centre = self.rows[~stays], self.centre
        if centre is not None and tight[-1]:  # no weights are nearer to the centre: each stays on its side of it
            over, under = value > centre + ROOM, value < centre - ROOM
            lower = np.where(under, lower, np.maximum(lower, np.minimum(centre, upper)))
            upper = np.where(over, upper, np.minimum(upper, np.maximum(centre, lower)))
            rows, centre = np.vstack([rows, over.astype(np.float64)]), None
            value = np.clip(value, lower, upper)
        explicit = replace(
            self, lower=lower, upper=upper, rows=self.rows[stays], limits=self.limits[stays], equal=rows, centre=centre
        )
        return explicit, value

    @cached_property
    def reach(self) -> tuple[Array, Array]:
        """Return the bounds [k], [k], equal where a weight cannot move: a group's cap of 0 fixes its sources at 0."""
        if not self.simple:
            return self.relative_interior[0].lower, self.relative_interior[0].upper
        if self.mass - self.lower.sum() <= 1e-14:
            return self.lower, self.lower
        return self.lower, self.upper

    def maximum(self, gain: Array) -> Prices:
        """Return the multipliers of max <gain, v> over the set, with a bound that holds whatever their precision."""
        if self.simple:
            best = maximise_linear(gain, self.lower / self.mass, self.upper / self.mass) * self.mass
            return self._prices(gain, np.empty(0), 0.0, float(gain @ best))
        try:
            dual = np.maximum(-self.programme(-gain).ineqlin.marginals, 0.0)
        except Conflict:  # rounding in a set that is almost empty: the bound below holds for any multipliers
            dual = np.zeros(len(self.rows) + 1)
        rows = dual[: len(self.rows)]
        radius = float(dual[-1]) if self.centre is not None else 0.0
        return self._prices(gain, rows, radius, self._bound(gain, rows, radius))

    def programme(self, cost: Array, rows: Array | None = None, limits: Array | None = None) -> Any:
        """
        Return scipy's result of min <cost, x> for x = (w, others of at least 0), w in the set, and rows x <= limits.

        The first of `x` are the weights. Inequalities: the set's rows, those given, and last the radius.

        Raises
        ------
        Conflict
            There are no such weights.
        Unsolved
            The solver fails, and whether there are any is open.
        """
        plain = rows is None and cost.size == self.lower.size
        A, b, bounds = self._own_inequalities if plain else self._inequalities(cost.size, rows, limits)
        cost = np.r_[cost, np.zeros(A.shape[1] - cost.size)]
        equal = np.r_[np.ones(self.lower.size), np.zeros(cost.size - self.lower.size)][None]
        return _linprog(cost, A, b, equal, bounds, self.mass)

    @cached_property
    def _own_inequalities(self) -> Inequalities:
        """Return `_inequalities` of the weights alone, computed once: only gains change from step to step."""
        return self._inequalities(self.lower.size)

    def _inequalities(self, d: int, rows: Array | None = None, limits: Array | None = None) -> Inequalities:
        """Return A, b and bounds of `programme`, for d columns and those that the centre needs."""
        sparse, k = _sparse(), self.lower.size
        padded = np.hstack([self.rows, np.zeros((len(self.rows), d - k))])
        matrix, ends = [sparse.csr_array(padded)], [self.limits]
        if rows is not None and limits is not None:
            matrix, ends = [*matrix, sparse.csr_array(rows)], [*ends, limits]
        bounds: list[tuple[float | None, float | None]] = list(zip(self.lower, self.upper, strict=True))
        bounds += [(0.0, None)] * (d - k)
        if self.centre is not None:  # how far each weight is above the centre
            eye, total = sparse.identity(k), sparse.csr_array(np.r_[np.zeros(d), np.ones(k)][None])
            matrix = [sparse.hstack([part, sparse.csr_array((part.shape[0], k))]) for part in matrix]
            matrix += [sparse.hstack([sparse.eye(k, d), -eye]), total]
            ends, bounds = [*ends, self.centre, np.array([self.excess()])], bounds + [(0.0, None)] * k
        return sparse.vstack(matrix), np.concatenate(ends), bounds

    def _least_prices(self, w: Array, gain: Array) -> Prices:
        """
        Return the least price of each tight constraint over all multipliers that prove `w` optimal.

        Where several constraints meet, multipliers are not unique, and what relaxing one of them alone saves is the
        least. A frozen weight has one price for both of its directions: the larger.
        """
        at_lower, at_upper = w - self.lower <= TIGHT, self.upper - w <= TIGHT
        frozen = self.lower == self.upper
        tight = self.limits - self.rows @ w <= TIGHT
        on_ball = self.centre is not None and self.radius - float(np.abs(w - self.centre).sum()) <= TIGHT
        if not tight.any() and not on_ball:
            inside = ~at_lower & ~at_upper
            least = float(np.max(gain[at_lower & ~frozen], initial=-np.inf))
            most = float(np.min(gain[at_upper & ~frozen], initial=np.inf))
            if inside.any():
                least = most = float(gain[inside].mean())
            elif not np.isfinite(least) or not np.isfinite(most):  # one end of what the level may be is open
                least = most = least if np.isfinite(least) else most
                if not np.isfinite(least):  # both: nothing can move
                    return Prices(np.zeros(w.size), np.zeros(w.size), np.zeros(len(self.rows)), 0.0, np.nan)
            lower, upper = np.maximum(least - gain, 0.0), np.maximum(gain - most, 0.0)
            lower = np.where(frozen, np.maximum(lower, upper), lower)
            return Prices(lower * at_lower, upper * at_upper, np.zeros(len(self.rows)), 0.0, np.nan)
        return self._linear_prices(gain, at_lower, at_upper, tight, bool(on_ball), w)

    def _linear_prices(
        self, gain: Array, at_lower: Mask, at_upper: Mask, tight: Mask, on_ball: bool, w: Array
    ) -> Prices:
        """Return `_least_prices` by a linear programme for each: gain = level + rows^T y + ball + upper - lower."""
        sparse, k = _sparse(), w.size
        kink = np.zeros(k, bool)
        columns = [np.ones((k, 1)), self.rows[tight].T]
        if on_ball:
            assert self.centre is not None
            kink = np.abs(w - self.centre) <= TIGHT
            columns += [(w > self.centre + TIGHT).astype(np.float64)[:, None], np.eye(k)[:, kink]]
        first = sum(part.shape[1] for part in columns)
        columns += [np.eye(k)[:, at_upper], -np.eye(k)[:, at_lower]]
        matrix = np.hstack(columns)
        count = matrix.shape[1]
        ball = 1 + int(tight.sum())
        gain = np.clip(np.nan_to_num(gain), -1e12, 1e12)
        loose = 1e-4 / np.maximum(
            w - self.lower, 1e-4
        )  # a gap says little of the gain of a source with next to no weight
        worst = self._residual(matrix, gain, loose, bounds_of(count))
        # The second part stays above what the solver takes for feasible (1e-10), or it may find no multipliers at all.
        scale = loose * worst * (1 + 1e-6) + 1e-9 * (1 + float(np.abs(gain).max()))
        A, b = [matrix, -matrix], [gain + scale, scale - gain]
        if on_ball and kink.any():  # the share of the ball's price at a kink lies between none and all of it
            share = np.zeros((int(kink.sum()), count))
            share[:, ball] = -1.0
            share[np.arange(len(share)), ball + 1 + np.arange(len(share))] = 1.0
            A.append(share)
            b.append(np.zeros(len(share)))
        bounds = bounds_of(count)
        equations, limits = sparse.csr_array(np.vstack(A)), np.concatenate(b)

        def least(column: int) -> float:
            cost = np.zeros(count)
            cost[column] = 1.0
            try:
                return float(_linprog(cost, equations, limits, np.zeros((1, count)), bounds).fun)
            except Conflict:  # not an optimum to that precision: nothing is proven
                return float("nan")

        lower, upper, rows = np.zeros(k), np.zeros(k), np.zeros(len(self.rows))
        rows[tight] = [least(1 + i) for i in range(int(tight.sum()))]
        labelled = np.array([bool(x) for x in self.cap_labels] or [True] * k)
        for i, place in enumerate(np.flatnonzero(at_upper)):
            upper[place] = least(first + i) if labelled[place] else 0.0
        labelled = np.array([bool(x) for x in self.floor_labels] or [True] * k)
        for i, place in enumerate(np.flatnonzero(at_lower)):
            lower[place] = least(first + int(at_upper.sum()) + i) if labelled[place] else 0.0
        lower = np.where(self.lower == self.upper, np.maximum(lower, upper), lower)
        return Prices(lower, upper, rows, least(ball) / 2 if on_ball else 0.0, np.nan)

    @staticmethod
    def _residual(matrix: Array, gain: Array, loose: Array, bounds: list[tuple[float | None, float | None]]) -> float:
        """Return the least e for which some multipliers explain each gain to within e times its looseness."""
        count = matrix.shape[1]
        A = np.vstack([np.hstack([matrix, -loose[:, None]]), np.hstack([-matrix, -loose[:, None]])])
        cost = np.r_[np.zeros(count), 1.0]
        found = _linprog(cost, A, np.r_[gain, -gain], np.zeros((1, count + 1)), [*bounds, (0.0, None)])
        return float(found.x[-1])

    def _prices(self, gain: Array, rows: Array, radius: float, bound: float) -> Prices:
        """Return the prices, those of the bounds from the reduced gains at an optimum of the reduced problem."""
        reduced = gain - rows @ self.rows if rows.size else gain
        slopes, widths, ends = self._segments(reduced, radius)
        order = np.argsort(-slopes, kind="stable")
        filled = np.cumsum(widths[order])
        at = min(int(np.searchsorted(filled, self.mass - self.lower.sum() - 1e-13)), order.size - 1)
        level = slopes[order[at]] if order.size else 0.0
        down, up = ends
        return Prices(np.maximum(level - down, 0.0), np.maximum(up - level, 0.0), rows, radius / 2, bound)

    def _segments(self, reduced: Array, radius: float) -> tuple[Array, Array, tuple[Array, Array]]:
        """Return slopes and widths of the pieces of each weight's gain, and the slopes at its lower and upper end."""
        if self.centre is None:
            return reduced, self.upper - self.lower, (reduced, reduced)
        middle = np.clip(self.centre, self.lower, self.upper)
        slopes = np.concatenate([reduced, reduced - radius])
        widths = np.concatenate([middle - self.lower, self.upper - middle])
        at_lower = np.where(middle > self.lower, reduced, reduced - radius)
        at_upper = np.where(self.upper > middle, reduced - radius, reduced)
        return slopes, widths, (at_lower, at_upper)

    def _bound(self, gain: Array, rows: Array, radius: float) -> float:
        """Return an upper bound of max <gain, v>: by weak duality for any multipliers of at least 0."""
        reduced = gain - rows @ self.rows
        slopes, widths, _ = self._segments(reduced, radius)
        order = np.argsort(-slopes, kind="stable")
        widths = widths[order]
        before = np.cumsum(widths) - widths
        filled = np.clip(self.mass - self.lower.sum() - before, 0.0, widths)
        bound = float(reduced @ self.lower + filled @ slopes[order] + rows @ self.limits)
        if self.centre is not None:
            over = np.maximum(self.lower - self.centre, 0.0).sum()
            bound += radius * (self.excess() - float(over))
        return bound

    def excess(self) -> float:
        """Return the limit on sum_k max(w_k - centre_k, 0): half of the radius where both have the same sum."""
        assert self.centre is not None
        return (self.radius + self.mass - float(self.centre.sum())) / 2

    def binding(self, w: Array, gain: Array) -> tuple[Binding, ...]:
        """Return the named constraints that hold with equality at `w` [k] with gain `gain` [k], dearest first."""
        prices, out = self._least_prices(w, gain), []
        rows = self.limits - self.rows @ w
        distance = np.inf if self.centre is None else self.radius - float(np.abs(w - self.centre).sum())
        found = {
            "lower": (w - self.lower, self.lower, prices.lower),
            "upper": (self.upper - w, self.upper, prices.upper),
            "row": (rows, np.abs(self.limits), prices.rows),
            "ball": (np.array([distance]), np.array([self.radius]), np.array([prices.radius])),
        }
        for name, kind, i in self._named():
            slack, limit, price = (float(values[i]) for values in found[kind])
            if slack <= TIGHT:
                out.append(Binding(name, limit, price))
        return tuple(sorted(out, key=lambda b: -b.price))

    @cached_property
    def relative_interior(self) -> tuple[Polytope, Array]:
        """Return `interior()`, computed once."""
        return self.interior()

    def _named(self) -> list[Named]:
        """Return each constraint that could be left out: its name, its kind and its position."""
        out: list[Named] = []
        for i in range(self.lower.size):
            if self.floor_labels and self.floor_labels[i]:
                out.append((self.floor_labels[i], "lower", i))
            if self.cap_labels and self.cap_labels[i] and self.cap_labels[i] != self.floor_labels[i]:
                out.append((self.cap_labels[i], "upper", i))
        out += [(label, "row", i) for i, label in enumerate(self.labels)]
        if self.centre is not None:
            out.append((f"the distance {self.radius:g} from the prior", "ball", 0))
        return out


def bounds_of(count: int) -> list[tuple[float | None, float | None]]:
    """Return the bounds of multipliers: the first is of the sum and free, the others are at least 0."""
    return [(None, None), *[(0.0, None)] * (count - 1)]


def _sparse() -> Any:
    try:
        from scipy import sparse
    except ImportError:
        raise missing_extra("scipy", "constraints") from None
    return sparse


def _linprog(
    cost: Array, A: Any, b: Array, equal: Array, bounds: Sequence[tuple[float | None, float | None]], value: float = 0.0
) -> Any:
    from scipy.optimize import linprog

    right = np.zeros(len(equal))
    right[0] = value
    tight = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    found = linprog(cost, A, b, equal, right, bounds, method="highs", options=tight)
    if found.status == 4:  # numerical trouble with tight tolerances
        found = linprog(cost, A, b, equal, right, bounds, method="highs")
    if found.status == 2:
        raise Conflict(f"constraints that no weights satisfy ({found.message})")
    if found.status != 0:
        raise Unsolved(str(found.message).rstrip("."))
    return found
