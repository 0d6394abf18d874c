"""What a plan is made of, checked before the first step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.checks import unique_names, whole_number
from mixwright.errors import InputError
from mixwright.stream.plan.rows import halves, key_of

Array = NDArray[np.float64]
POLICIES = ("repeat", "drop", "stop", "error")
DRAWS = ("carry", "iid")
UNLIMITED = 2**62
_SMALL = 1e-6


@dataclass(frozen=True)
class PlanSettings:
    """
    The fixed part of a plan, as numpy arrays in source order; made by `checked_settings`.

    Attributes
    ----------
    names, sizes, fingerprints
        Of the sources: text, int64 [k] rows, text or None.
    limits, policies, epochs
        Rows that a source may give at most, int64 [k]; what happens then; the epochs [k] that say so (inf: no limit).
    keys, a, b
        uint64 [k] each: the key of a source's permutations, and the halves of its numbers.
    """

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    batch_size: int
    seed: int
    draw: str
    unit: str
    co_locate: int
    limits: NDArray[np.int64]
    policies: tuple[str, ...]
    epochs: Array
    fingerprints: tuple[str | None, ...]
    keys: NDArray[np.uint64]
    a: NDArray[np.uint64]
    b: NDArray[np.uint64]
    shuffle_key: int
    draw_key: int

    @property
    def k(self) -> int:
        """Return the number of sources."""
        return len(self.names)


def checked_settings(
    sizes: Mapping[str, int],
    batch_size: int,
    seed: int,
    max_epochs: float | Mapping[str, float] | None,
    exhausted: str | Mapping[str, str] | None,
    draw: str,
    unit: str,
    co_locate: int,
    fingerprints: Mapping[str, str] | None,
) -> PlanSettings:
    """Check each argument of a plan; InputError names what is wrong with which source."""
    if not isinstance(sizes, Mapping):
        raise InputError(f"sizes should be a mapping from each source's name to its rows, found {type(sizes).__name__}")
    names = unique_names(sizes)
    rows = np.array([_size(name, sizes[name]) for name in names], np.int64)
    batch_size = whole_number(batch_size, "the batch size", 1)
    co_locate = whole_number(co_locate, "co_locate", 1)
    if batch_size % co_locate:
        raise InputError(
            f"the batch size should be a multiple of co_locate ({co_locate}), found {batch_size}; use "
            f"{batch_size // co_locate * co_locate or co_locate} or co_locate=1"
        )
    _one_of("draw", draw, DRAWS)
    _one_of("unit", unit, ("rows", "tokens"))
    if draw == "iid" and unit == "tokens":
        # tokens are paid from a credit, row by row: there is nothing to draw independently
        raise InputError("draw='iid' should come with unit='rows', found unit='tokens'; use draw='carry' for tokens")
    seed = whole_number(seed, "seed", 0)
    policies, epochs = _limits(names, max_epochs, exhausted)
    limits = [_limit(size, e) for size, e in zip(rows.tolist(), epochs.tolist(), strict=True)]
    prints = per_source("fingerprints", fingerprints or {}, names)
    pairs = [halves(size) for size in rows.tolist()]
    return PlanSettings(
        names,
        rows,
        batch_size,
        seed,
        draw,
        unit,
        co_locate,
        np.array(limits, np.int64),
        policies,
        epochs,
        tuple(prints.get(name) for name in names),
        np.array([key_of("rows", seed, name) for name in names], np.uint64),
        np.array([p[0] for p in pairs], np.uint64),
        np.array([p[1] for p in pairs], np.uint64),
        key_of("slots", seed),
        key_of("draws", seed),
    )


def checked_weights(weights: ArrayLike, names: Sequence[str], sizes: NDArray[np.int64] | None = None) -> Array:
    """Return weights [k] with the sum 1; InputError names the source whose weight is wrong."""
    try:
        values = np.array(weights, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights should be one number per source ({len(names)}), found {weights!r}") from None
    if values.shape != (len(names),):
        raise InputError(f"there should be one weight per source ({len(names)}), found shape {values.shape}")
    for i in np.flatnonzero(~np.isfinite(values) | (values < 0)).tolist():
        raise InputError(f"the weight of {names[i]!r} should be a number of at least 0, found {values[i]}")
    total = values.sum()
    if not abs(total - 1) <= _SMALL:
        raise InputError(f"weights should sum to 1 within 1e-6, found the sum {total:.9g}; divide them by their sum")
    if sizes is not None:
        for i in np.flatnonzero((sizes == 0) & (values > 0)).tolist():
            raise InputError(
                f"the source {names[i]!r} has no rows and the weight {values[i]:.6g}; give it rows or the weight 0"
            )
    return values if abs(total - 1) < 1e-12 else values / total


def per_source(what: str, values: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, Any]:
    """Return a mapping by source after checking that it names sources of the plan alone."""
    known = set(names)
    for name in values:
        if name not in known:
            some = ", ".join(repr(n) for n in names[:5]) + (", ..." if len(names) > 5 else "")
            raise InputError(f"{what} should name sources of the plan ({some}), found {name!r}")
    return values


def _size(name: str, size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 <= size < 2**62:
        raise InputError(f"the source {name!r} should have a whole number of rows, at least 0, found {size!r}")
    return int(size)


def _one_of(what: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{what} should be one of {', '.join(allowed)}, found {value!r}")


def _limits(
    names: tuple[str, ...], max_epochs: float | Mapping[str, float] | None, exhausted: str | Mapping[str, str] | None
) -> tuple[tuple[str, ...], Array]:
    """Return the policy of each source, and the epochs [k] after which it acts."""
    caps = _epochs_by_name(names, max_epochs)
    if isinstance(exhausted, Mapping):
        chosen: Mapping[str, str | None] = per_source("exhausted", exhausted, names)
    else:
        chosen = dict.fromkeys(names, exhausted)
    policies, epochs = [], []
    for name in names:
        cap, policy = caps.get(name), chosen.get(name)
        if policy is None:
            policy = "repeat" if cap is None else "drop"
        _one_of(f"exhausted of {name!r}", policy, POLICIES)
        if policy == "repeat" and cap is not None:
            raise InputError(
                f"the source {name!r} has max_epochs {cap:g} and exhausted='repeat', which has no limit; leave "
                "exhausted out, or say 'drop', 'stop' or 'error'"
            )
        policies.append(policy)
        epochs.append(math.inf if policy == "repeat" else cap or 1.0)
    return tuple(policies), np.array(epochs)


def _epochs_by_name(names: tuple[str, ...], max_epochs: float | Mapping[str, float] | None) -> dict[str, float]:
    if max_epochs is None:
        return {}
    if isinstance(max_epochs, Mapping):
        given = dict(per_source("max_epochs", max_epochs, names))
    else:
        given = dict.fromkeys(names, max_epochs)
    for name, value in given.items():
        number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not number or not (math.isfinite(value) and value > 0):
            raise InputError(f"max_epochs of {name!r} should be a number above 0, found {value!r}")
    return {name: float(value) for name, value in given.items()}


def _limit(size: int, epochs: float) -> int:
    """Return the most rows that a source may give; whole epochs are exact whatever the size."""
    if math.isinf(epochs):
        return UNLIMITED
    return min(UNLIMITED, size * int(epochs) if epochs.is_integer() else math.floor(size * epochs + 1e-9))
