"""Other sources for a run under way: some are added, removed, or split into parts."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SourceChange:
    """
    How the sources of a run follow from its former ones, and what becomes of their weights.

    A new source gets a weight of its own, and the others share the rest in proportion. The parts of a split source
    share its weight in proportion to their sizes. What a removed source had goes to the others in proportion. Added
    sources stand at the end, parts where their source stood.

    Attributes
    ----------
    before, names
        The former sources, and those after the change.
    parents
        [k] the position in `before` of what each source is, or is a part of; -1 for a new one.
    shares
        [k] how large a part of its parent each is: 1 for a source that stays.
    added
        [k] the weight of each new source; 0 for the others.

    Examples
    --------
    >>> change = SourceChange.add(["code", "web"], {"law": 0.2})
    >>> change.names, change.weights(np.array([0.75, 0.25]))
    (('code', 'web', 'law'), array([0.6, 0.2, 0.2]))
    >>> change = SourceChange.split(["code", "web"], "code", {"python": 30, "rust": 10})
    >>> change.names, change.weights(np.array([0.8, 0.2]))
    (('python', 'rust', 'web'), array([0.6, 0.2, 0.2]))
    """

    before: tuple[str, ...]
    names: tuple[str, ...]
    parents: tuple[int, ...]
    shares: tuple[float, ...]
    added: tuple[float, ...]

    @classmethod
    def add(cls, before: Sequence[str], weights: Mapping[str, float]) -> SourceChange:
        """Return the change that adds sources with these weights; InputError if one is there or a weight is wrong."""
        if not isinstance(weights, Mapping) or not weights:
            raise InputError(f"new sources should have weights by name, such as {{law: 0.1}}, found {weights!r}")
        for name, weight in weights.items():
            _check_new(name, before)
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (number and 0 <= weight < 1):
                raise InputError(f"the weight of the new source {name!r} should be from 0 to below 1, found {weight!r}")
        if sum(weights.values()) >= 1:
            raise InputError(f"the weights of new sources should sum to less than 1, found {sum(weights.values()):g}")
        k, new = len(before), len(weights)
        parents, shares = (*range(k), *(-1,) * new), (*(1.0,) * k, *(0.0,) * new)
        return cls(tuple(before), (*before, *weights), parents, shares, (*(0.0,) * k, *map(float, weights.values())))

    @classmethod
    def remove(cls, before: Sequence[str], names: Iterable[str]) -> SourceChange:
        """Return the change that removes sources; InputError if one is not there or none would be left."""
        gone = [names] if isinstance(names, str) else list(names)
        for name in gone:
            _position(name, before)
        kept = [i for i, name in enumerate(before) if name not in gone]
        if not gone or not kept:
            raise InputError(f"there should be sources to remove and others that stay, found {gone} of {list(before)}")
        k = len(kept)
        return cls(tuple(before), tuple(before[i] for i in kept), tuple(kept), (1.0,) * k, (0.0,) * k)

    @classmethod
    def split(cls, before: Sequence[str], name: str, sizes: Mapping[str, float]) -> SourceChange:
        """Return the change that puts parts of these sizes in the place of a source; InputError if they do not fit."""
        at, whole = _position(name, before), math.fsum(sizes.values())
        if len(sizes) < 2:
            raise InputError(f"the source {name!r} should be split into at least two parts, found {list(sizes)}")
        for part, size in sizes.items():
            _check_new(part, before)
            if not size > 0:
                raise InputError(f"the part {part!r} of {name!r} should have rows, found {size}; leave it out")
        names = (*before[:at], *sizes, *before[at + 1 :])
        parents = (*range(at), *(at,) * len(sizes), *range(at + 1, len(before)))
        shares = (*(1.0,) * at, *(size / whole for size in sizes.values()), *(1.0,) * (len(before) - at - 1))
        return cls(tuple(before), names, parents, shares, (0.0,) * len(names))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SourceChange:
        """Return what `to_json` gave."""
        return cls(**{name: tuple(value) for name, value in values.items()})

    def to_json(self) -> dict[str, Any]:
        """Return the change as JSON-able values."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}

    @property
    def stays(self) -> NDArray[np.bool_]:
        """Return which sources [k] were there before, whole."""
        return np.array([p >= 0 and self.before[p] == name for p, name in zip(self.parents, self.names, strict=True)])

    @property
    def adds(self) -> bool:
        """Whether there is a new source."""
        return -1 in self.parents

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """Return the parts of each source that is split."""
        halves = [(self.before[p], name) for p, name, s in zip(self.parents, self.names, self.stays, strict=True)
                  if p >= 0 and not s]  # fmt: skip
        return {whole: tuple(part for each, part in halves if each == whole) for whole, _ in halves}

    def check_not_split(self, split: Collection[str]) -> None:
        """Raise InputError if a new source, or a part, has the name of one that was split: its rows are its parts'."""
        for name, stays in zip(self.names, self.stays.tolist(), strict=True):
            if not stays and name in split:
                raise InputError(
                    f"a new source should have a name of its own, found {name!r}, which was split: its rows are those "
                    "of its parts; choose another name"
                )

    def weights(self, former: Array) -> Array:
        """Return weights [k], or anything that is shared out like them, out of the former ones; the sum stays."""
        kept = np.where(self._known, np.array(self.shares) * former[self._from], 0.0)
        if not former.any():
            return kept
        if not kept.any():
            raise InputError(
                f"the sources that stay should have some weight, found none for {', '.join(self.names)}; give them "
                "some first"
            )
        new = np.array(self.added)
        return float(former.sum()) * ((1 - new.sum()) * kept / kept.sum() + new)

    def logs(self, former: Array) -> Array:
        """Return the logs of weights [k], of which some may be too small for `weights`, out of the former logs."""
        with np.errstate(divide="ignore"):
            kept = np.where(self._known, np.log(self.shares) + former[self._from], -np.inf)
            if not np.isfinite(kept).any():
                return np.log(self.weights(np.exp(former)))
            most = kept.max()
            whole = np.log(np.exp(kept - most).sum()) + most
            new = np.array(self.added)
            return np.where(new > 0, np.log(new), kept - whole + np.log1p(-new.sum()))

    def values(self, former: Array, fresh: Array) -> Array:
        """Return values [..., k] of sources, with those of a source for its parts; new ones have the `fresh` ones."""
        return np.where(self._known, former[..., self._from], fresh).astype(fresh.dtype)

    @property
    def _known(self) -> NDArray[np.bool_]:
        return np.array(self.parents) >= 0

    @property
    def _from(self) -> NDArray[np.int64]:
        return np.maximum(np.array(self.parents), 0)


def _position(name: Any, names: Sequence[str]) -> int:
    if name not in names:
        close = difflib.get_close_matches(str(name), names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the sources are {', '.join(names)}"
        raise InputError(f"there should be a source {name!r}, found none; {hint}")
    return list(names).index(name)


def _check_new(name: Any, names: Sequence[str]) -> None:
    if not isinstance(name, str) or not name.strip() or name in names:
        raise InputError(f"a new source should have a name that is not in use, found {name!r} beside {list(names)}")
