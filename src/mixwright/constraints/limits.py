"""What weights are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import by_name, is_number, near, position
from mixwright.constraints.polytope import Conflict, Polytope, Unsolved
from mixwright.constraints.quadratic import project
from mixwright.errors import InputError
from mixwright.simplex import normalise

Array = NDArray[np.float64]
PerSource = Mapping[str, float] | Sequence[float] | Array | None


@dataclass(frozen=True)
class Constraints:
    """
    Limits on the weights; all are linear, so the search stays convex.

    Parameters
    ----------
    floors, caps
        Shares between 0 and 1: a mapping from source names (the sources that are not named are free), or one number per
        source. A cap of 0 takes a source out; a floor equal to its cap fixes a weight.
    frozen
        {source: its weight}, fixed.
    groups
        {group: names of its sources}; groups may overlap.
    group_floors, group_caps
        {group: share}: limits on the sum of the group's weights.
    max_epochs, budget
        A source may be repeated at most `max_epochs` times (a number, or {source: number}) in a training on `budget`
        rows: w_k <= max_epochs * size_k / budget. The sizes are those given to `fit`, in the unit of the budget (rows,
        or tokens if both are).
    max_distance
        The largest sum_k |w_k - prior_k|, from 0 to 2.
    prior
        The weights that `max_distance` is from, a mapping (sources not named: 0) or one number per source, normalised;
        default: the method's own prior.

    Examples
    --------
    >>> Constraints(floors={"law": 0.05}, caps={"web": 0.5}).bounds(3, ("law", "web", "code"))
    (array([0.05, 0.  , 0.  ]), array([1. , 0.5, 1. ]))
    >>> limits = Constraints(groups={"text": ["law", "web"]}, group_caps={"text": 0.6})
    >>> limits.project([0.5, 0.5, 0.0], ("law", "web", "code")).round(3)
    array([0.3, 0.3, 0.4])
    """

    floors: PerSource = None
    caps: PerSource = None
    frozen: Mapping[str, float] | None = None
    groups: Mapping[str, Sequence[str]] | None = None
    group_floors: Mapping[str, float] | None = None
    group_caps: Mapping[str, float] | None = None
    max_epochs: float | Mapping[str, float] | None = None
    budget: float | None = None
    max_distance: float | None = None
    prior: PerSource = None

    def __post_init__(self) -> None:
        """Check what can be checked without the sources."""
        for name in ("frozen", "groups", "group_floors", "group_caps"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise InputError(f"{name} should be a mapping from names; found {type(value).__name__}")
        for name in ("group_floors", "group_caps"):
            for group in getattr(self, name) or ():
                if group not in (self.groups or {}):
                    raise InputError(f"{name} should name groups{near(group, list(self.groups or ()), 'groups')}")
        if (self.max_epochs is None) != (self.budget is None):
            raise InputError("max_epochs and budget belong together; found one of them; give both or neither")
        if self.budget is not None and not (is_number(self.budget) and 0 < self.budget < np.inf):
            raise InputError(f"budget should be a positive number of rows or tokens; found {self.budget!r}")
        if self.max_distance is not None and not (is_number(self.max_distance) and 0 <= self.max_distance <= 2):
            raise InputError(f"max_distance should be a number from 0 to 2; found {self.max_distance!r}")
        if self.prior is not None and self.max_distance is None:
            raise InputError("prior should come with max_distance, the largest distance from it; give both or neither")

    @property
    def empty(self) -> bool:
        """Whether everything is allowed."""
        return all(getattr(self, field.name) is None for field in fields(self))

    def to_json(self) -> dict[str, Any]:
        """Return the limits that are given as JSON-able values by name; infinity is "inf"."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: _plain(value) for name, value in given.items() if value is not None}

    def bounds(
        self, k: int, sources: Sequence[str] | None = None, sizes: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """
        Return the lower and the upper bound of each weight, `[k]` and `[k]`: floors, caps, frozen sources and epochs.

        Raises
        ------
        InputError
            If a name is not a source, a number is not in [0, 1], epochs are limited and there are no sizes, or no
            weights satisfy all of the bounds; the sources in conflict are named.
        """
        names = tuple(sources) if sources is not None else tuple(f"source_{i}" for i in range(k))
        lower, upper, why = self._bounds(names, sizes)
        for i in np.flatnonzero(lower > upper):
            raise InputError(
                f"the floor of a source should not exceed its cap; source {names[i]!r} has floor {lower[i]:g} and cap "
                f"{upper[i]:g}{why[i]}; lower the one or raise the other"
            )
        # floors and caps typed with few digits may miss 1 by rounding
        if lower.sum() > 1 + 1e-12:
            named = ", ".join(f"{names[i]}: {lower[i]:g}" for i in np.flatnonzero(lower)[:10])
            raise InputError(f"floors should sum to at most 1; found {lower.sum():g} ({named}); lower some of them")
        if upper.sum() < 1 - 1e-12:
            named = ", ".join(f"{names[i]}: {upper[i]:g}{why[i]}" for i in np.argsort(-upper, kind="stable")[:10])
            raise InputError(f"caps should sum to at least 1; found {upper.sum():g} ({named}); raise some of them")
        return lower, upper

    def allowed(
        self, sources: Sequence[str], sizes: ArrayLike | None = None, prior: ArrayLike | None = None
    ) -> Polytope:
        """
        Return the set of weights that are allowed.

        Parameters
        ----------
        sources
            k names.
        sizes
            [k] rows or tokens, needed for `max_epochs`.
        prior
            [k], what `max_distance` is from where the constraints have no prior of their own; uniform by default.

        Raises
        ------
        InputError
            As in `bounds`; for a group with sources that are not there or named twice; and where nothing satisfies all
            constraints: those in conflict are named.
        """
        names = tuple(sources)
        lower, upper = self.bounds(len(names), names, sizes)
        floors, caps = self._labels(names, lower, upper, sizes)
        rows, limits, labels = self._group_rows(names)
        centre = None
        if self.max_distance is not None:
            given = self.prior if self.prior is not None else prior
            centre = np.full(len(names), 1 / len(names)) if given is None else self._centre(given, names)
        polytope = Polytope(
            lower=lower,
            upper=upper,
            rows=rows,
            limits=limits,
            centre=centre,
            radius=float(self.max_distance) if self.max_distance is not None else 2.0,
            names=names,
            labels=tuple(labels),
            floor_labels=floors,
            cap_labels=caps,
        )
        try:
            polytope.check()
        except Unsolved as error:
            raise InputError(
                f"some weights should satisfy all constraints; whether any do is open, as the solver failed ({error}); "
                "relax some of them, or leave some out"
            ) from None
        except Conflict as conflict:
            raise InputError(
                f"some weights should satisfy all constraints; found a conflict between {conflict}; relax one of them"
            ) from None
        return polytope

    def project(
        self,
        weights: ArrayLike,
        sources: Sequence[str] | None = None,
        sizes: ArrayLike | None = None,
        prior: ArrayLike | None = None,
    ) -> Array:
        """Return the allowed weights [k] nearest to `weights` [k] (Euclidean distance); see `allowed` for the rest."""
        try:
            w = np.asarray(weights, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"weights should be numbers, one per source; found {weights!r}") from None
        names = tuple(sources) if sources is not None else tuple(f"source_{i}" for i in range(w.size))
        if w.shape != (len(names),) or not np.isfinite(w).all():
            raise InputError(f"weights should be {len(names)} finite numbers, one per source; found {weights!r}")
        return project(w, self.allowed(names, sizes, prior))

    def _bounds(self, names: tuple[str, ...], sizes: ArrayLike | None) -> tuple[Array, Array, list[str]]:
        """Return the bounds, and for each source why its cap is what it is, for messages."""
        lower = _per_source(self.floors, 0.0, names, "floor")
        upper = _per_source(self.caps, 1.0, names, "cap")
        why = [""] * len(names)
        for i, limit in enumerate(self._epoch_caps(names, sizes)):
            # remember which limit made the cap, so that messages name the one to change
            if limit < upper[i]:
                upper[i], why[i] = limit, f" (all that {self._epochs(names[i]):g} epochs of it give)"
        for name, value in (self.frozen or {}).items():
            i = position(name, names, "a frozen source")
            weight = _share(value, "frozen weight", name)
            if not lower[i] <= weight <= upper[i]:
                raise InputError(
                    f"the frozen weight of source {name!r} should lie between its floor {lower[i]:g} and its cap "
                    f"{upper[i]:g}{why[i]}; found {weight:g}"
                )
            lower[i] = upper[i] = weight
        return lower, upper, why

    def _labels(
        self, names: tuple[str, ...], lower: Array, upper: Array, sizes: ArrayLike | None
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what the floor and the cap of each source are called, "" where there is none."""
        floors, caps, epochs = [], [], self._epoch_caps(names, sizes)
        for i, name in enumerate(names):
            # one label for both bounds: relaxing a frozen weight moves it either way
            if name in (self.frozen or {}):
                label = f"the frozen weight {lower[i]:g} of source {name!r}"
                floors.append(label)
                caps.append(label)
                continue
            floors.append(f"the floor {lower[i]:g} of source {name!r}" if lower[i] > 0 else "")
            by_epochs = f"the {self._epochs(name):g} epochs of source {name!r} (a share of {upper[i]:.4g})"
            cap = by_epochs if epochs[i] <= upper[i] else f"the cap {upper[i]:g} of source {name!r}"
            caps.append(cap if upper[i] < 1 else "")
        return tuple(floors), tuple(caps)

    def _epochs(self, name: str) -> float:
        if isinstance(self.max_epochs, Mapping):
            return float(self.max_epochs.get(name, np.inf))
        return float(self.max_epochs) if self.max_epochs is not None else np.inf

    def _epoch_caps(self, names: tuple[str, ...], sizes: ArrayLike | None) -> Array:
        if self.max_epochs is None or self.budget is None:
            return np.full(len(names), np.inf)
        given = self.max_epochs if isinstance(self.max_epochs, Mapping) else {"": self.max_epochs}
        for name, epochs in given.items():
            if isinstance(self.max_epochs, Mapping):
                position(name, names, "max_epochs")
            if not (is_number(epochs) and epochs >= 0):
                raise InputError(f"max_epochs should be numbers of at least 0; found {epochs!r}")
        if sizes is None:
            raise InputError("max_epochs needs the sizes of the sources; give them, in the unit of the budget")
        try:
            size = np.asarray(sizes, np.float64)
        except (TypeError, ValueError):
            size = np.empty(0)
        if size.shape != (len(names),) or not (np.isfinite(size).all() and (size >= 0).all()):
            raise InputError(f"sizes should be {len(names)} numbers of at least 0, one per source; found {sizes!r}")
        most = np.array([self._epochs(name) for name in names])
        # inner where: inf * 0 rows would be nan
        caps = np.where(np.isinf(most), np.inf, np.where(np.isinf(most), 0.0, most) * size / self.budget)
        if caps.sum() < 1 - 1e-12:
            raise InputError(
                f"the sources should hold enough for the budget of {self.budget:g}; within max_epochs they give "
                f"{caps.sum() * self.budget:g}; lower the budget to that, or allow more epochs"
            )
        return caps

    def _group_rows(self, names: tuple[str, ...]) -> tuple[Array, Array, list[str]]:
        """Return rows [m, k] and limits [m] of rows @ w <= limits, and what each is called."""
        rows, limits, labels = [], [], []
        for group, members in (self.groups or {}).items():
            if isinstance(members, str) or not isinstance(members, Sequence) or not members:
                raise InputError(f"group {group!r} should be a list of at least one source; found {members!r}")
            member = np.zeros(len(names))
            for name in members:
                i = position(name, names, f"group {group!r}")
                if member[i]:
                    raise InputError(f"group {group!r} should name a source once; found {name!r} twice")
                member[i] = 1.0
            for sign, what, shares in ((-1, "floor", self.group_floors), (1, "cap", self.group_caps)):
                if group in (shares or {}):
                    value = _share((shares or {})[group], what, group, "group")
                    rows.append(sign * member)
                    limits.append(sign * value)
                    labels.append(f"the {what} {value:g} of group {group!r}")
        return np.reshape(rows, (len(rows), len(names))).astype(np.float64), np.array(limits, np.float64), labels

    def _centre(self, given: Any, names: tuple[str, ...]) -> Array:
        centre = normalise(by_name(given, names, "prior") if isinstance(given, Mapping) else given, "prior")
        if centre.size != len(names):
            raise InputError(f"prior should be one number per source ({len(names)}); found {centre.size}")
        return centre


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence | np.ndarray):
        return [_plain(part) for part in value]
    return float(value) if np.isfinite(value) else str(float(value))


def _per_source(values: PerSource, default: float, names: Sequence[str], what: str) -> Array:
    """Return one number per source from a mapping or a sequence, each checked to lie in [0, 1]."""
    out = np.full(len(names), default)
    if values is None:
        return out
    if isinstance(values, Mapping):
        index = {name: i for i, name in enumerate(names)}
        for name, value in values.items():
            if name not in index:
                raise InputError(f"a {what} should name a source{near(name, names, 'sources')}")
            out[index[name]] = _share(value, what, name)
        return out
    if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
        raise InputError(f"{what}s should be {{source: share}} or one number per source; found {values!r}")
    if len(values) != len(names):
        raise InputError(f"{what}s should be one number per source ({len(names)}); found {len(values)}")
    return np.array([_share(value, what, name) for name, value in zip(names, values, strict=True)])


def _share(value: object, what: str, name: str, of: str = "source") -> float:
    """Return `value` as a float in [0, 1]."""
    if not is_number(value) or not 0 <= value <= 1:
        raise InputError(f"the {what} of {of} {name!r} should be a number from 0 to 1; found {value!r}")
    return float(value)
