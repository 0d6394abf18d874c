"""Sources that come to a training under way: where they are found, and what of them is measured."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.mixture import Mixture
from mixwright.source_change import SourceChange
from mixwright.steering.orders import Order
from mixwright.strategy import Strategy
from mixwright.text.tokens import TokenPart, TokenStore
from mixwright.watching.watcher import Measure


class Others(Protocol):
    """Where a training finds the sources that come to it."""

    def store(self, name: str) -> TokenStore:
        """Return the tokens of a source, or of a part of one; InputError if there are none."""

    def check_fed(self, strategy: Strategy[Any], names: Sequence[str]) -> None:
        """Raise InputError if there is nothing to measure for a strategy of these sources."""

    def measured(
        self, names: Sequence[str]
    ) -> tuple[Mapping[str, Measure], Callable[[Any], Mapping[str, float]] | None]:
        """Return the measures of these sources, and what evaluates a model on them, as `train` takes them."""


def rows_of(others: Others, change: SourceChange, context: int) -> dict[str, Any]:
    """Return the rows of each new source, and which rows of its source each part has, int64 [n]."""
    found: dict[str, Any] = {}
    for name, parent in zip(change.names, change.parents, strict=True):
        if parent < 0:
            found[name] = others.store(name).rows(context)
    for whole, parts in change.parts.items():
        for part in parts:
            found[part] = _part(others, whole, part).rows_of_whole(context)
    return found


def planned_change(
    order: Order, mixture: Mixture, others: Others, sizes: Mapping[str, int], prior: Any, context: int
) -> SourceChange:
    """
    Return the change of the sources that an order asks for; InputError if the training cannot make it.

    Parameters
    ----------
    order, mixture, others
        The order, the mixture at work, where new sources are.
    sizes
        Rows of the sources at work.
    prior
        Of the training: a new source without a weight of its own has the prior's.
    context
        Tokens per row.
    """

    def share(name: str) -> float:
        if prior not in ("uniform", "natural"):
            raise InputError(f"the new source {name!r} should have a weight, since the prior has none for it; give it")
        rows = others.store(name).rows(context)
        return 1 / (len(sizes) + 1) if prior == "uniform" else rows / (sum(sizes.values()) + rows)

    def size(part: str) -> float:
        whole = next(iter(order.value))
        return len(_part(others, whole, part).rows_of_whole(context))

    change = order.source_change(mixture.sources, share, size)
    rows = rows_of(others, change, context)
    with warnings.catch_warnings():  # the alarm about what begins again comes when it does
        warnings.simplefilter("ignore")
        new = mixture.with_sources(change, counts(change, sizes, rows))
    others.check_fed(new.last_strategy, change.names)
    _check_parts(change, rows, sizes)
    return change


def counts(change: SourceChange, sizes: Mapping[str, int], rows: Mapping[str, Any]) -> dict[str, int]:
    """Return the rows of all sources after a change."""
    found = {**sizes, **{name: each if isinstance(each, int) else len(each) for name, each in rows.items()}}
    return {name: found[name] for name in change.names}


def _part(others: Others, whole: str, part: str) -> TokenPart:
    found = others.store(part)
    if not isinstance(found, TokenPart) or found.whole.name != whole:
        raise InputError(
            f"{part!r} should be a part of {whole!r}, found another source; split with mixwright steer --split"
        )
    return found


def _check_parts(change: SourceChange, rows: Mapping[str, NDArray[np.int64]], sizes: Mapping[str, int]) -> None:
    for whole, parts in change.parts.items():
        every = np.sort(np.concatenate([rows[part] for part in parts]))
        if not np.array_equal(every, np.arange(sizes[whole])):
            raise InputError(
                f"each row of {whole!r} should be in one of {', '.join(parts)}, found others; name all parts"
            )
