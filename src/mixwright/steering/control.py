"""A training reads the control file of its folder between steps, and keeps a record of what it took from it."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

from mixwright.errors import AlarmWarning, InputError
from mixwright.files import atomic_write
from mixwright.source_change import SourceChange
from mixwright.steering.hand import Hand
from mixwright.steering.known import RECORD, Known, read_record
from mixwright.steering.orders import CONTROL, Order, parts_of_file
from mixwright.strategies.registry import from_config
from mixwright.strategy import Strategy

Change = tuple[int, dict[str, Any]]


class Regroup(Protocol):
    """A training whose sources can be changed under way."""

    def planned_change(self, order: Order, first: int) -> tuple[int, SourceChange]:
        """Return the first step of a change of the sources, at `first` or later, and the change; InputError if none."""

    def check_fed(self, strategy: Strategy[Any]) -> None:
        """Raise InputError if there is nothing to measure for a strategy that is set by hand."""


class Steered(Protocol):
    """What is steered: a `Mixture`."""

    sources: tuple[str, ...]
    lag: int

    @property
    def reported(self) -> tuple[Collection[str], str, str] | None:
        """Return what `Mixture.check` was given; None before."""

    def check_steer(self, hand: Hand, at_step: int | None = None) -> int:
        """Return the step from which a change would hold; InputError if it would not."""

    def steer(self, hand: Hand, at_step: int | None = None) -> int:
        """Change what is set by hand from a step on."""


class Control:
    """
    The orders of a run folder, for the rank that reads them.

    An order holds from a step that is written to `steering.jsonl` before it is used. The file is never cut back: a run
    that is killed and goes on from an older checkpoint follows each order at the same step again.

    Parameters
    ----------
    folder
        The run folder, with `control.yaml` (which may come later).
    mixture
        What is steered.
    regroup
        What says which change of the sources an order is; None: the training's sources stay.
    named
        Whether the record gets the sources' names at once: for a folder without the `config.yaml` that
        `mixwright steer` reads them from.

    Raises
    ------
    InputError
        The folder has orders that a run of other sources follows.
    """

    def __init__(self, folder: Path, mixture: Steered, named: bool = False, regroup: Regroup | None = None) -> None:
        self._folder, self._mixture, self._regroup, self._regrouped = folder, mixture, regroup, 0
        self._record = read_record(folder)
        others = sources_of(self._record)
        if others != list(mixture.sources) and not orders_of(folder):
            self._record, others = [], None
        if others not in (None, list(mixture.sources)):
            raise InputError(
                f"{folder} should have orders for the sources {', '.join(mixture.sources)}, found those of a run of "
                f"{', '.join(map(str, others))}; remove {RECORD} and {CONTROL} there, or choose another folder"
            )
        if named and others is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._write({"sources": list(mixture.sources)}, first=True)
        self._seen: object = None
        self._problem = ""
        self._say()

    def changed(self) -> bool:
        """Whether the control file is another one than at the last `take`; cheap enough for every step."""
        return self._signature() != self._seen

    def take(self, step: int) -> list[Change]:
        """
        Read the control file before a step; return all changes of the run so far, for `follow` on every rank.

        Parameters
        ----------
        step
            The next one to be done. An order holds from `lag` steps after it at the earliest: steps may be planned
            ahead, and decisions may be made. Before step 0 an order may hold from the first step.

        Warns
        -----
        AlarmWarning
            If the file or an order in it cannot be used. It is ignored, and the record says so.
        """
        if self._waits:  # further orders are of the sources after a change that is to come
            return self._changes()
        self._seen = self._signature()
        try:
            orders, problem = parts_of_file(self._folder)
            new = self._new(orders, whole=not problem)
        except InputError as error:
            new, problem = [], str(error)
        for order in new:
            self._take(order, step)
            if self._waits:
                break
        # once for each state of the file, not at every step that finds it so
        if problem and problem != self._problem:
            self._alarm(problem, {"read": step})
        self._problem = problem
        return self._changes()

    def regrouped(self, mixture: Steered, changes: int) -> None:
        """Go on with the mixture after this number of changes of the sources."""
        self._mixture, self._regrouped, self._seen = mixture, changes, object()
        self._say()

    def _say(self) -> None:
        """Write what `mixwright steer` should know of the run."""
        if self._mixture.reported is not None:
            Known.of(self._mixture.lag, self._mixture.reported).write(self._folder)

    @property
    def _waits(self) -> bool:
        return sum("change" in line for line in self._record) > self._regrouped

    def _new(self, orders: list[Order], whole: bool) -> list[Order]:
        """Return the orders that were not read yet; InputError if one that holds is gone or another one."""
        read = [line for line in self._record if "order" in line]
        same = 0
        while same < min(len(read), len(orders)) and read[same]["order"] == orders[same].to_json():
            same += 1
        if not whole and same == len(orders):  # nothing new so far, and the rest may be there in a moment
            return []
        if orders and any("at" in line for line in read[same:]):
            raise InputError(
                f"order {same + 1} of {self._folder / CONTROL} should stay {read[same]['order']}, which the run "
                "follows; put it back and add new orders at the end"
            )
        # orders that were ignored may be corrected in their place
        gone = read[same:] if orders else []
        self._record = [line for line in self._record if not any(line is each for each in gone)]
        return orders[same:]

    def _take(self, order: Order, step: int) -> None:
        """Name the step of an order, or ignore it, and write that down."""
        line: dict[str, Any] = {"order": order.to_json(), "read": step}
        first = max([step + self._mixture.lag if step else 0, *(at for at, _ in self._changes())])
        at = first if order.at is None else order.at
        try:
            if at < first:
                raise InputError(f"a change should begin at step {first} or later, found {at} (the run is at {step})")
            found = self._followed(order, at)
        except InputError as error:
            self._alarm(f"an order in {self._folder / CONTROL} is ignored: {error}", line)
            return
        self._write({**line, **found})

    def _followed(self, order: Order, at: int) -> dict[str, Any]:
        """Return the step of an order and what holds from there; InputError if it cannot be followed."""
        if not order.changes_sources:
            hand = order.applied(self._hands(), self._mixture.sources)[-1]
            self._mixture.check_steer(hand, at)
            if order.action == "strategy" and self._regroup is not None:
                self._regroup.check_fed(from_config(hand.strategy, self._mixture.sources))
            return {"at": at, "by_hand": hand.to_json()}
        if self._regroup is None:
            raise InputError(
                "the sources of this training stay as they are; stop it, and start another one from its model"
            )
        begins, change = self._regroup.planned_change(order, at)
        if order.at not in (None, begins):
            raise InputError(
                f"sources should change right after an observation, at step {begins} or later, found {order.at}; the "
                "steps between two observations (observe_every) say which these are"
            )
        return {"at": begins, "change": change.to_json()}

    def _hands(self) -> list[Hand]:
        """Return what was set after each order that is followed and not undone."""
        hands, names = [Hand()], first_names(self._record, self._mixture.sources)
        for line in self._record:
            if "change" in line:
                change = SourceChange.from_json(line["change"])
                hands, names = [hands[-1].for_sources(change)], change.names
            elif "at" in line:
                hands = Order.of(line["order"]).applied(hands, names)
        return hands

    def _changes(self) -> list[Change]:
        """Return what changes from which step on: what is set by hand (the last order of a step counts), or sources."""
        found: list[Change] = []
        for line in self._record:
            if "at" not in line:
                continue
            same = found and found[-1][0] == line["at"] and not ({"change"} & {*found[-1][1], *line})
            found = found[:-1] if same else found
            found.append((line["at"], {"change": line["change"]} if "change" in line else line["by_hand"]))
        return found

    def _alarm(self, text: str, line: dict[str, Any]) -> None:
        self._write({**line, "ignored": text})
        warnings.warn(text, AlarmWarning, stacklevel=3)

    def _write(self, line: dict[str, Any], first: bool = False) -> None:
        self._record = [line, *self._record] if first else [*self._record, line]
        with atomic_write(self._folder / RECORD) as handle:
            handle.writelines(json.dumps(each, allow_nan=False) + "\n" for each in self._record)

    def _signature(self) -> object:
        try:
            found = os.stat(self._folder / CONTROL)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def follow(mixture: Any, changes: list[Change], regrouped: int = 0) -> tuple[int, SourceChange] | None:
    """
    Bring a mixture to the changes that `Control.take` returned; those that it knows already stay.

    Parameters
    ----------
    mixture
        Of the sources after the first `regrouped` changes of them.
    changes
        All of the run.
    regrouped
        How many changes of the sources it has made.

    Returns
    -------
    change
        The next one of the sources, and its step; None: there is none so far.
    """
    known, passed = dict(mixture.hands), 0
    for at, values in changes:
        if "change" in values:
            if passed == regrouped:
                return at, SourceChange.from_json(values["change"])
            passed += 1
            continue
        if passed < regrouped:
            continue
        hand = Hand.from_json(values, mixture.sources)
        if known.get(at) != hand:
            mixture.steer(hand, at)
    return None


def orders_of(folder: Path) -> list[dict[str, Any]]:
    """Return what a run made of its orders, a line each, and of a control file that it could not read."""
    return [line for line in read_record(folder) if "sources" not in line]


def sources_of(record: list[dict[str, Any]]) -> list[str] | None:
    """Return the sources that a record names; None where `config.yaml` has them."""
    return next((list(line["sources"]) for line in record if "sources" in line), None)


def first_names(record: list[dict[str, Any]], names: Sequence[str]) -> tuple[str, ...]:
    """Return the sources of a run at its start, out of those that it has after the changes in its record."""
    return tuple(next((line["change"]["before"] for line in record if "change" in line), names))
