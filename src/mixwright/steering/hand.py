"""What somebody set by hand in a run under way: weights, pins, another strategy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import by_name, is_number, position
from mixwright.errors import InputError
from mixwright.source_change import SourceChange
from mixwright.strategies.registry import from_config

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_EXACT = 1e-6
_FIELDS = ("weights", "pins", "strategy", "added")


@dataclass(frozen=True)
class Hand:
    """
    What is set by hand from some step on; without arguments nothing is.

    Parameters
    ----------
    weights
        {source: share} with the sum 1, 0 where not named; None: the strategy gives the weights.
    pins
        {source: share}: these hold, and the other sources share the rest in proportion to the weights.
    strategy
        The strategy that gives the weights, as a configuration has it; None: the run's own.
    added
        {source: share}: sources that came while pins held, and the share that the unpinned ones had before. A new
        source then has its weight beside pins, too.
    """

    weights: Mapping[str, float] | None = None
    pins: Mapping[str, float] = field(default_factory=dict)
    strategy: Any = None
    added: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Any, names: Sequence[str]) -> Hand:
        """Return what `to_json` gave, checked; InputError if it is damaged."""
        if not isinstance(values, Mapping) or set(values) - set(_FIELDS):
            raise InputError(f"what is set by hand should be weights, pins and a strategy, found {values!r}")
        pins = values.get("pins", {})
        if not isinstance(pins, Mapping):
            raise InputError(f"pins should be a mapping from sources to shares, found {pins!r}")
        weighed = Hand(strategy=values.get("strategy")).weighed(values.get("weights"), names)
        added = values.get("added", {})
        if not isinstance(added, Mapping) or not all(is_number(v) and 0 <= v <= 1 for v in added.values()):
            raise InputError(f"sources added beside pins should have shares from 0 to 1, found {added!r}")
        by_name(added, names, "share")
        return replace(weighed, pins=dict(pins), added=dict(added))._checked(names)

    def to_json(self) -> dict[str, Any]:
        """Return what is set as JSON-able values by name."""
        return {name: value for name in _FIELDS if (value := getattr(self, name)) not in (None, {})}

    def weighed(self, weights: Mapping[str, float] | Sequence[float] | Array | None, names: Sequence[str]) -> Hand:
        """
        Return the same with other weights, by name or [k]; None: those of the strategy.

        Raises
        ------
        InputError
            If a name is not a source, the weights are not on the simplex, or a pinned source has another share.
        """
        if weights is None:
            return replace(self, weights=None)
        by = weights if isinstance(weights, Mapping) else _by_position(weights, names)
        values = by_name(by, names, "weight")
        if not all(math.isfinite(w) and w >= 0 for w in values) or abs(sum(values) - 1) > _EXACT:
            raise InputError(
                f"weights should be at least 0 and sum to 1, found {_said(by)} with the sum {sum(values):g}; "
                "correct them"
            )
        for name, share in self.pins.items():
            if abs(values[names.index(name)] - share) > _EXACT:
                raise InputError(
                    f"the source {name!r} is pinned at {share:g}, and the weights give it {by.get(name, 0.0):g}; unpin "
                    "it first, or give it that weight"
                )
        return replace(self, weights={str(name): float(w) for name, w in by.items()})

    def pinned(self, shares: Mapping[str, float], names: Sequence[str]) -> Hand:
        """Return the same with these sources pinned, too; InputError if they cannot be."""
        if not isinstance(shares, Mapping) or not shares:
            raise InputError(f"pins should be shares by source, such as {{{names[0]!r}: 0.2}}, found {shares!r}")
        return replace(self, pins={**self.pins, **shares}, added={})._checked(names)

    def unpinned(self, names: Iterable[str] | None = None) -> Hand:
        """Return the same with sources free again; None: all of them. InputError if one is not pinned."""
        gone = list(self.pins) if names is None else [names] if isinstance(names, str) else list(names)
        for name in gone:
            if name not in self.pins:
                raise InputError(f"the source {name!r} is not pinned; pinned: {', '.join(self.pins) or 'none'}")
        return replace(self, pins={name: share for name, share in self.pins.items() if name not in gone}, added={})

    def directed(self, strategy: Any, names: Sequence[str]) -> Hand:
        """Return the same with another strategy (a configuration), which gives the weights from there on."""
        _strategy_for(strategy, names)
        return replace(self, strategy=strategy, weights=None)

    def for_sources(self, change: SourceChange) -> Hand:
        """
        Return the same for other sources: weights and pins go over as `SourceChange` says.

        Raises
        ------
        InputError
            A strategy that was set by hand does not fit the new sources, or all sources that stay are pinned, and
            their pins leave something over.
        """
        weights, before = None, change.before
        if self.weights is not None:
            moved = change.weights(np.array(by_name(self.weights, before, "weight")))
            weights = dict(zip(change.names, moved.tolist(), strict=True))
        kept = 1 - sum(change.added)
        pins = {
            name: self.pins[before[parent]] * share * kept
            for name, parent, share in zip(change.names, change.parents, change.shares, strict=True)
            if parent >= 0 and before[parent] in self.pins
        }
        if len(pins) == len(change.names) and sum(pins.values()) < 1 - _EXACT:
            raise InputError(
                f"the sources that stay should take the weight of those that go, found all of them pinned "
                f"({_said(pins)}); unpin {' or '.join(pins)} first, or give it a new pin"
            )
        return Hand(weights, pins, self.strategy, self._added(change) if pins else {})._checked(change.names)

    def _added(self, change: SourceChange) -> dict[str, float]:
        share = next(iter(self.added.values()), max(0.0, 1.0 - sum(self.pins.values())))
        new = [name for name, weight in zip(change.names, change.added, strict=True) if weight > 0]
        return {name: share for name in (*self.added, *new) if name in change.names}

    def acted_on(self, given: Array, prior: Array, names: Sequence[str]) -> Array:
        """
        Return the weights [k] in force.

        Parameters
        ----------
        given
            [k], those of the strategy.
        prior
            [k], how the rest is shared if no source besides the pinned ones has a weight.
        names
            k sources.
        """
        weights = given if self.weights is None else np.array(by_name(self.weights, names, "weight"))
        if not self.pins:
            return weights
        rest, late = max(0.0, 1.0 - sum(self.pins.values())), np.array([name in self.added for name in names])
        free = np.array([name not in self.pins for name in names])
        part = self._part_of(weights, free, late)
        out = np.array(by_name(self.pins, names, "pin"))
        return out + rest * (
            part * _shared(weights, prior, free & late) + (1 - part) * _shared(weights, prior, free & ~late)
        )

    def _part_of(self, weights: Array, free: Mask, late: Mask) -> float:
        """Return which part of what the pins leave goes to sources that came while they held."""
        if not (free & late).any() or not (free & ~late).any():
            return float((free & late).any())
        # the new sources against all others, of which the unpinned ones had a share
        new, share = float(weights[free & late].sum()), next(iter(self.added.values()))
        whole = new + (1 - new) * share
        return new / whole if whole else 0.0

    def _checked(self, names: Sequence[str]) -> Hand:
        for name, share in self.pins.items():
            position(name, names, "a pin")
            if not (is_number(share) and 0 <= share <= 1):
                raise InputError(f"the pin of source {name!r} should be a share from 0 to 1, found {share!r}")
        total = sum(self.pins.values())
        if total > 1 + _EXACT or (len(self.pins) == len(names) and total < 1 - _EXACT):
            most = "1" if len(self.pins) == len(names) else "at most 1"
            raise InputError(f"pins should sum to {most}, found {total:g} ({_said(self.pins)}); change one of them")
        if self.strategy is not None:
            try:
                _strategy_for(self.strategy, names)
            except InputError as error:
                raise InputError(
                    f"the strategy set by hand should fit the sources {', '.join(names)}, found: {error}; set another "
                    "one first, or undo it"
                ) from error
        return replace(self, pins={name: float(share) for name, share in self.pins.items()})


def _strategy_for(config: Any, names: Sequence[str]) -> None:
    """Raise InputError if a configuration is of no strategy, or of one that has numbers for other sources."""
    from_config(config, names).init(np.full(len(names), 1 / len(names)))


def _by_position(weights: Any, names: Sequence[str]) -> dict[str, float]:
    values = np.asarray(weights).tolist()
    if not isinstance(values, list) or len(values) != len(names):
        raise InputError(f"weights should have one number per source ({len(names)}), found {weights!r}")
    return dict(zip(names, values, strict=True))


def _shared(weights: Array, prior: Array, among: Mask) -> Array:
    """Return shares [k] of some sources with the sum 1, in proportion to the weights; 0 if there are none."""
    # in proportion, and not to the nearest point: a source that the strategy gives nothing gets nothing
    share = next((w for w in (weights, prior, np.ones(len(weights))) if w[among].any()), weights) * among
    return share / share.sum() if share.any() else share


def _said(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name}: {share:g}" for name, share in list(shares.items())[:10])
