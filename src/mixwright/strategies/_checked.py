"""Checks of hyperparameters that strategies share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]


def number(
    value: Any, what: str, least: float = -math.inf, most: float = math.inf, above: float | None = None
) -> float:
    """Return a finite number within bounds (`above`: an open lower one); InputError, which names it, otherwise."""
    plain = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if plain and math.isfinite(value) and least <= value <= most and (above is None or value > above):
        return float(value)
    limits = [f"above {above:g}"] if above is not None else [f"of at least {least:g}"] if least > -math.inf else []
    limits += [f"at most {most:g}"] if most < math.inf else []
    raise InputError(f"{what} should be a number {' and '.join(limits) or 'that is finite'}, found {value!r}")


def one_of(value: Any, what: str, known: Iterable[str]) -> str:
    """Return one of the known texts; InputError, which names it, otherwise."""
    known = tuple(known)
    if value not in known:
        raise InputError(f"{what} should be {' or '.join(map(repr, known))}, found {value!r}")
    return str(value)


def floors(floor: float, k: int, what: str) -> Array:
    """Return `floor` for each of k sources; InputError where they do not fit into 1."""
    if floor * k > 1 + 1e-9:
        raise InputError(f"{what} should be at most 1/{k} for {k} sources, found {floor:g}; lower it")
    return np.full(k, floor)
