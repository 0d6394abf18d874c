"""Constraints resolved for the sources of a run: the nearest allowed weights, step after step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.constraints.polytope import Polytope
from mixwright.constraints.quadratic import project
from mixwright.errors import InputError

Array = NDArray[np.float64]


class ResolvedLimits:
    """Constraints of named sources: the set of allowed weights and how it is written down."""

    def __init__(self, space: Polytope, described: dict[str, Any]) -> None:
        self.space, self.described = space, described
        self._last: tuple[Array, Array] | None = None

    @classmethod
    def of(cls, constraints: Any, sources: Any, names: tuple[str, ...], prior: Array) -> ResolvedLimits | None:
        """Return the limits; None where everything is allowed. InputError, which names what is wrong, otherwise."""
        if constraints is not None and not isinstance(constraints, Constraints):
            raise InputError(f"constraints should be mixwright.Constraints, found {constraints!r}")
        if constraints is None or constraints.empty:
            return None
        sizes = None
        if constraints.max_epochs is not None:
            if not isinstance(sources, Mapping):
                raise InputError("max_epochs needs the rows of each source; give sources as {name: rows}")
            sizes = [sources[name] for name in names]
        space = constraints.allowed(names, sizes, prior)
        described = constraints.to_json()
        if sizes is not None:
            described["sizes"] = [float(size) for size in sizes]
        if constraints.max_distance is not None and constraints.prior is None:
            described["prior"] = prior.tolist()
        return cls(space, described)

    def project(self, weights: Array) -> Array:
        """Return the nearest allowed weights [k], read-only; those of the last call where the weights are the same."""
        if self._last is None or not np.array_equal(self._last[0], weights):
            nearest = project(weights, self.space)
            nearest.flags.writeable = False
            self._last = weights, nearest
        return self._last[1]


def with_pins(constraints: Constraints, pins: Mapping[str, float]) -> Constraints:
    """Return constraints that hold these sources at these shares, too."""
    return replace(constraints, frozen={**(constraints.frozen or {}), **pins})
