"""What weights are allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]
PerSource = Mapping[str, float] | Sequence[float] | Array | None


@dataclass(frozen=True)
class Constraints:
    """
    Floors and caps on the weights.

    Parameters
    ----------
    floors, caps
        Shares between 0 and 1: a mapping from source names (the sources that are not named are free), or one number per
        source. A cap of 0 takes a source out; a floor equal to its cap fixes a weight.

    Examples
    --------
    >>> Constraints(floors={"law": 0.05}, caps={"web": 0.5}).bounds(3, ("law", "web", "code"))
    (array([0.05, 0.  , 0.  ]), array([1. , 0.5, 1. ]))
    """

    floors: PerSource = None
    caps: PerSource = None

    def bounds(self, k: int, sources: Sequence[str] | None = None) -> tuple[Array, Array]:
        """
        Return the lower and the upper bound of each weight, `[k]` and `[k]`.

        Raises
        ------
        InputError
            If a name is not a source, a number is not in [0, 1], or no weights satisfy all of the bounds; the sources
            in conflict are named.
        """
        names = tuple(sources) if sources is not None else tuple(f"source_{i}" for i in range(k))
        lower = _per_source(self.floors, 0.0, names, "floor")
        upper = _per_source(self.caps, 1.0, names, "cap")
        for i in np.flatnonzero(lower > upper):
            raise InputError(
                f"the floor of a source should not exceed its cap; source {names[i]!r} has floor {lower[i]:g} and cap "
                f"{upper[i]:g}; lower the one or raise the other"
            )
        if lower.sum() > 1 + 1e-12:
            named = ", ".join(f"{names[i]}: {lower[i]:g}" for i in np.flatnonzero(lower)[:10])
            raise InputError(f"floors should sum to at most 1; found {lower.sum():g} ({named}); lower some of them")
        if upper.sum() < 1 - 1e-12:
            named = ", ".join(f"{names[i]}: {upper[i]:g}" for i in np.argsort(-upper, kind="stable")[:10])
            raise InputError(f"caps should sum to at least 1; found {upper.sum():g} ({named}); raise some of them")
        return lower, upper


def _per_source(values: PerSource, default: float, names: Sequence[str], what: str) -> Array:
    """Return one number per source from a mapping or a sequence, each checked to lie in [0, 1]."""
    out = np.full(len(names), default)
    if values is None:
        return out
    if isinstance(values, Mapping):
        index = {name: i for i, name in enumerate(names)}
        for name, value in values.items():
            if name not in index:
                near = difflib.get_close_matches(str(name), names, 1)
                hint = (
                    f"; did you mean {near[0]!r}?" if near else f"; the sources are {', '.join(map(str, names[:10]))}"
                )
                raise InputError(f"a {what} should name a source; found {name!r}{hint}")
            out[index[name]] = _share(value, what, name)
        return out
    if len(values) != len(names):
        raise InputError(f"{what}s should be one number per source ({len(names)}); found {len(values)}")
    return np.array([_share(value, what, name) for name, value in zip(names, values, strict=True)])


def _share(value: object, what: str, name: str) -> float:
    """Return `value` as a float in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not 0 <= value <= 1:
        raise InputError(f"the {what} of source {name!r} should be a number from 0 to 1; found {value!r}")
    return float(value)
