"""What every search is given: its settings, numbers per source, and the weights that are allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import by_name, is_number
from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.errors import InputError
from mixwright.simplex import normalise

Array = NDArray[np.float64]
PerSource = ArrayLike | Mapping[str, float]
Prior = Literal["uniform", "natural"] | PerSource
OFF = 0.01  # by which the sum of a prior may miss 1: weights that were rounded
FEWEST_DOCUMENTS = 3  # with fewer, resampling says nothing


def check_settings(
    prior: Any, shrinkage: Any, tolerance: Any, least: float, cross_validated: bool = True, unit: str = " (nats)"
) -> None:
    """Raise InputError for settings that a search cannot have; `least` is the smallest tolerance it can reach."""
    if isinstance(prior, str) and prior not in ("uniform", "natural"):
        raise InputError(f"prior should be 'uniform', 'natural' or weights; found {prior!r}")
    by_folds = cross_validated and isinstance(shrinkage, str) and shrinkage == "cv"
    if not by_folds and not (is_number(shrinkage) and 0 <= shrinkage <= 1e6):
        ways = "'cv' or a number" if cross_validated else "a number"
        raise InputError(f"shrinkage should be {ways} from 0 to 1,000,000, found {shrinkage!r}")
    if not is_number(tolerance) or not least <= tolerance <= 1:
        raise InputError(f"tolerance should be a number from {least:g} to 1{unit}; found {tolerance!r}")


def checked_seed(seed: int) -> int:
    """Return a checked seed."""
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"seed should be an integer >= 0; found {seed!r}")
    return int(seed)


def checked_level(level: float) -> float:
    """Return a checked level of an interval."""
    if not is_number(level) or not 0 < level < 1:
        raise InputError(f"level should be between 0 and 1, such as 0.9; found {level!r}")
    return float(level)


def in_order(values: PerSource, sources: Sequence[str], what: str, missing: float | None = None) -> ArrayLike:
    """Return numbers in the order of the sources where they are given by name; others as they are."""
    return by_name(values, sources, what, missing) if isinstance(values, Mapping) else values


def per_source(values: PerSource, sources: Sequence[str], what: str) -> Array:
    """Return weights [k] normalised, from {source: number} (0 where it is not named) or one number per source."""
    out = normalise(in_order(values, sources, what, 0.0), what)
    if out.size != len(sources):
        raise InputError(f"{what} should be one number per source ({len(sources)}); found {out.size}")
    return out


def reference_weights(over: Any, sources: Sequence[str], natural: Array | None) -> Array:
    """Return the weights [k] that a mixture is compared with: "uniform", "natural", or weights with sum 1."""
    if isinstance(over, str):
        if over == "uniform":
            return np.full(len(sources), 1 / len(sources))
        if over != "natural":
            raise InputError(f"over should be 'uniform', 'natural' or weights; found {over!r}")
        if natural is None:
            raise InputError("over='natural' needs the sizes of the sources; call fit(..., sizes=...)")
        return natural
    weights = np.asarray(in_order(over, sources, "over", 0.0), np.float64)
    if weights.ndim == 1 and abs(float(weights.sum()) - 1) > 1e-6:
        raise InputError(f"over should be weights with sum 1; found sum {weights.sum():g}")
    return per_source(weights, sources, "over")


@dataclass(frozen=True)
class Allowed:
    """
    The weights that a search may return.

    space: what the constraints allow; prior, natural [k] (`natural` is None without sizes); positions: the sources that
    may have a weight.
    """

    space: Polytope
    prior: Array
    natural: Array | None
    positions: NDArray[np.intp]

    @classmethod
    def of(
        cls, prior: Prior, sources: tuple[str, ...], sizes: PerSource | None, constraints: Constraints | None
    ) -> Allowed:
        """Return what is allowed for k sources; InputError where prior, sizes or constraints do not fit them."""
        if constraints is not None and not isinstance(constraints, Constraints):
            raise TypeError(
                f"constraints should be a mixwright.Constraints or None; found {type(constraints).__name__}"
            )
        constraints = constraints or Constraints()
        sizes = None if sizes is None else in_order(sizes, sources, "sizes")
        natural = None if sizes is None else per_source(sizes, sources, "sizes")
        _, upper = constraints.bounds(len(sources), sources, sizes)
        space = constraints.allowed(sources, sizes, _prior(prior, natural, sources, upper))
        _, upper = space.reach  # limits of groups may shut sources out as well
        return cls(space, _prior(prior, natural, sources, upper), natural, np.flatnonzero(upper > 0))

    @property
    def sources(self) -> tuple[str, ...]:
        """Return the names [k]."""
        return self.space.names

    @property
    def limits(self) -> tuple[Array, Array]:
        """Return the lower and the upper bound of the allowed sources, which all other limits leave."""
        lower, upper = self.space.reach
        return lower[self.positions], upper[self.positions]

    @cached_property
    def part(self) -> Polytope:
        """Return the set of the allowed sources' weights."""
        return self.space.take(self.positions, np.zeros(self.space.lower.size))

    @property
    def linear(self) -> Polytope | None:
        """Return `part` where there are limits beyond bounds."""
        return None if self.space.simple else self.part

    def full(self, w: Array) -> Array:
        """Return weights [..., k] of all sources from those of the allowed ones."""
        out = np.zeros((*w.shape[:-1], self.space.lower.size))
        out[..., self.positions] = w
        return out


def _prior(prior: Prior, natural: Array | None, sources: Sequence[str], upper: Array) -> Array:
    """Return the prior [k], zero where the cap is zero and renormalised elsewhere."""
    if isinstance(prior, str) and prior == "natural":
        if natural is None:
            raise InputError("prior='natural' needs the sizes of the sources; call fit(..., sizes=...)")
        out = natural
    else:
        k = len(sources)
        out = np.full(k, 1 / k) if isinstance(prior, str) else _complete(prior, sources)
    out = np.where(upper > 0, out, 0.0)
    if out.sum() == 0:
        raise InputError("the prior should give weight to a source that is allowed; all of its sources have cap 0")
    return out / out.sum()


def _complete(prior: PerSource, sources: Sequence[str]) -> Array:
    """Return a prior [k] that is given as weights or as relative numbers; InputError if shares of 1 are missing."""
    given = in_order(prior, sources, "prior", 0.0)
    out = per_source(given, sources, "prior")
    if (total := float(np.sum(given))) < 1 - OFF:
        raise InputError(
            f"prior should be weights with sum 1, or relative numbers with a larger one; found sum {total:.6g}; add "
            "what is missing"
        )
    return out
