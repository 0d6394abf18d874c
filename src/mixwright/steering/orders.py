"""Orders for a run under way, one after another, and the file in the run folder that holds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.files.yaml_text import load_yaml, pyyaml
from mixwright.source_change import SourceChange
from mixwright.steering.hand import Hand
from mixwright.steering.known import check_step, check_strategy
from mixwright.strategies.registry import from_config

CONTROL = "control.yaml"
_CHANGES = ("add", "remove", "split")  # of the sources
ACTIONS = ("weights", "pin", "unpin", "strategy", "undo", *_CHANGES)
_HEAD = "# Orders for the run in this folder (mixwright steer). Add new ones at the end.\n"


@dataclass(frozen=True)
class Order:
    """
    One change: an action, what it is given, and the step from which it holds (None: the next one that is free).

    The actions are weights ({source: share}, or "strategy": those of the strategy again), pin ({source: share}), unpin
    (a list of sources), strategy (a name or a configuration) and undo (True: the last order that is not undone). Three
    change the sources: add ({source: weight}, None or a name alone: the prior's), remove (a list of sources) and split
    ({source: [its parts]}).
    """

    action: str
    value: Any
    at: int | None = None

    @classmethod
    def of(cls, values: Any) -> Order:
        """Return the order in a mapping such as {pin: {code: .2}, at: 500}; InputError if it holds none."""
        given = [key for key in ACTIONS if isinstance(values, Mapping) and key in values]
        if len(given) != 1 or set(values) - {*given, "at"}:
            raise InputError(
                f"an order should be a mapping with one of {', '.join(ACTIONS)}, and perhaps at, found {values!r:.200}"
            )
        try:
            # as the record has it: texts for keys, and nothing that JSON has no word for
            value = json.loads(json.dumps(values[given[0]], allow_nan=False))
        except (TypeError, ValueError):
            raise InputError(f"an order should hold names and finite numbers, found {values!r:.200}") from None
        at = values.get("at")
        return cls(given[0], value, None if at is None else whole_number(at, "at", 0))

    def to_json(self) -> dict[str, Any]:
        """Return the order as `of` reads it."""
        return {self.action: self.value, **({} if self.at is None else {"at": self.at})}

    @property
    def changes_sources(self) -> bool:
        """Whether it adds, removes or splits a source."""
        return self.action in _CHANGES

    def source_change(
        self,
        names: Sequence[str],
        prior: Callable[[str], float] = lambda name: 0.0,
        size: Callable[[str], float] = lambda name: 1.0,
    ) -> SourceChange:
        """
        Return the change of the sources.

        Parameters
        ----------
        names
            The sources before it.
        prior, size
            Return the weight of a new source that is given none, and the rows of a part.

        Raises
        ------
        InputError
            The order does not fit the sources.
        """
        if self.action == "remove":
            return SourceChange.remove(names, _names(self.value, "remove"))
        if self.action == "add":
            given = self.value if isinstance(self.value, Mapping) else dict.fromkeys(_names(self.value, "add"))
            return SourceChange.add(names, {n: prior(n) if w is None else w for n, w in given.items()})
        whole, parts = _parts(self.value)
        return SourceChange.split(names, whole, {part: size(part) for part in parts})

    def applied(self, before: Sequence[Hand], names: Sequence[str]) -> list[Hand]:
        """
        Return what is set by hand after this order.

        Parameters
        ----------
        before
            What was set after each earlier order that is not undone, the last one at the end.
        names
            The sources.

        Raises
        ------
        InputError
            The order is not right for the sources or for what is set.
        """
        hand = before[-1]
        if self.action == "undo":
            if self.value is not True or len(before) == 1:
                raise InputError(
                    "undo should be true and come after an order, found nothing to undo (remove takes back what was "
                    "added, and add what was removed; a split stays)"
                )
            return list(before[:-1])
        if self.action == "weights":
            new = hand.weighed(None if self.value == "strategy" else _shares(self.value, "weights"), names)
        elif self.action == "pin":
            new = hand.pinned(_shares(self.value, "pin"), names)
        elif self.action == "unpin":
            new = hand.unpinned(self.value if isinstance(self.value, list) else [self.value])
        else:
            new = hand.directed(self.value, names)
        return [*before, new]


def orders_in(text: str, where: str) -> list[Order]:
    """
    Return the orders in the text of a control file: a list of them, or one.

    Raises
    ------
    InputError
        The text is not YAML, or holds something else.
    """
    try:
        values = load_yaml(text)
    except pyyaml().YAMLError as error:
        raise InputError(f"{where} should be YAML, found what is not ({' '.join(str(error).split())})") from None
    listed = values if isinstance(values, list) else [] if values is None else [values]
    try:
        return [Order.of(each) for each in listed]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def parts_of_file(folder: Path) -> tuple[list[Order], str]:
    """
    Return the orders of a run folder, none if it has no control file, and what is wrong with its end.

    A file that does not end with a line break is written only in part. Of a list, an order is whole then if another one
    begins after it.

    Raises
    ------
    InputError
        As from `orders_in`, of the whole orders.
    """
    path = folder / CONTROL
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return [], ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from None
    if not text or text.endswith("\n"):
        return orders_in(text, str(path)), ""
    problem = f"{path} should end with a line break, found {text[-20:]!r}; is it written only in part?"
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith(("#", "---"))), "")
    whole = text[: text.rfind("\n-") + 1] if first.startswith("-") else ""
    try:
        orders = orders_in(whole, str(path))
    except InputError:
        raise InputError(problem) from None
    return orders, f"{problem} The orders before it ({len(orders)}) are read" if orders else problem


def read_orders(folder: Path) -> list[Order]:
    """Return the orders of a run folder, none if it has no control file; InputError also if it is cut off."""
    orders, problem = parts_of_file(folder)
    if problem:
        raise InputError(problem)
    return orders


def write_orders(folder: Path, orders: Iterable[Order]) -> None:
    """Write the control file of a run folder, atomically."""
    lines = [pyyaml().safe_dump([order.to_json()], default_flow_style=None, sort_keys=False) for order in orders]
    with atomic_write(folder / CONTROL) as handle:
        handle.write(_HEAD + "".join(lines))


def add_order(folder: Path, order: Order, names: Sequence[str]) -> None:
    """Add an order to the control file of a run, after `check_order`; if it does not fit, the file is as it was."""
    write_orders(folder, [*check_order(folder, order, names), order])


def check_order(folder: Path, order: Order, names: Sequence[str]) -> list[Order]:
    """
    Return the orders of a run so far; InputError if another one does not fit them.

    Parameters
    ----------
    folder, names
        The run folder, and the run's sources at its start.
    order
        The other one.
    """
    check_step(folder, order.at)
    orders, set_so_far, last = read_orders(folder), [Hand()], 0
    names, split = tuple(names), set[str]()
    for each in [*orders, order]:
        if each.at is not None and each.at < last:
            if each is order:
                raise InputError(
                    f"an order should begin at the step of the one before it ({last}) or later, found {each.at}"
                )
            continue
        try:
            if each.changes_sources:
                change = each.source_change(names)
                change.check_not_split(split)
                set_so_far, names = [set_so_far[-1].for_sources(change)], change.names
                split |= set(change.parts)
            else:
                set_so_far = each.applied(set_so_far, names)
            last = each.at or last
        except InputError:
            # the training has ignored such an order, too
            if each is order:
                raise
    if order.action == "strategy":
        check_strategy(folder, from_config(order.value, names))
    return orders


def _shares(value: Any, what: str) -> Mapping[str, float]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} should be shares by source, such as {{code: 0.3, books: 0.7}}, found {value!r}")
    return value


def _names(value: Any, what: str) -> list[str]:
    """Return the names in what an order is given; InputError if it holds something else."""
    found = [value] if isinstance(value, str) else value
    if not (isinstance(found, list) and found and all(isinstance(name, str) for name in found)):
        more = ", or weights by name, such as {law: 0.1}" if what == "add" else ""
        raise InputError(f"{what} should be the name of a source, or a list of names{more}, found {value!r:.200}")
    return found


def _parts(value: Any) -> tuple[str, list[str]]:
    """Return the source that is split, and its parts; InputError if an order is given something else."""
    parts = next(iter(value.values())) if isinstance(value, Mapping) and len(value) == 1 else None
    if not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
        raise InputError(
            f"split should be a source and its parts, as in {{code: [python, rust]}}, found {value!r:.200}"
        )
    return next(iter(value)), parts
