"""A training reads the control file of its folder between steps, and keeps a record of what it took from it."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any, Protocol

from mixwright.errors import AlarmWarning, InputError
from mixwright.files import atomic_write
from mixwright.steering.hand import Hand
from mixwright.steering.orders import CONTROL, Order, read_orders

RECORD = "steering.jsonl"
Change = tuple[int, dict[str, Any]]


class Steered(Protocol):
    """What is steered: a `Mixture`."""

    sources: tuple[str, ...]
    lag: int

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
    named
        Whether the record gets the sources' names at once: for a folder without the `config.yaml` that
        `mixwright steer` reads them from.

    Raises
    ------
    InputError
        The folder has orders that a run of other sources follows.
    """

    def __init__(self, folder: Path, mixture: Steered, named: bool = False) -> None:
        self._folder, self._mixture = folder, mixture
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
        self._seen = self._signature()
        try:
            orders = read_orders(self._folder)
            new = self._new(orders)
        except InputError as error:
            # once for each state of the file, not at every step that finds it so
            if str(error) != self._problem:
                self._alarm(str(error), {"read": step})
            self._problem = str(error)
            return self._changes()
        self._problem = ""
        for order in new:
            self._take(order, step)
        return self._changes()

    def _new(self, orders: list[Order]) -> list[Order]:
        """Return the orders that were not read yet; InputError if one that holds is gone or another one."""
        read = [line for line in self._record if "order" in line]
        same = 0
        while same < min(len(read), len(orders)) and read[same]["order"] == orders[same].to_json():
            same += 1
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
            hand = order.applied(self._hands(), self._mixture.sources)[-1]
            self._mixture.check_steer(hand, at)
        except InputError as error:
            self._alarm(f"an order in {self._folder / CONTROL} is ignored: {error}", line)
            return
        self._write({**line, "at": at, "by_hand": hand.to_json()})

    def _hands(self) -> list[Hand]:
        """Return what was set after each order that is followed and not undone."""
        hands = [Hand()]
        for line in self._record:
            if "at" in line:
                hands = Order.of(line["order"]).applied(hands, self._mixture.sources)
        return hands

    def _changes(self) -> list[Change]:
        """Return what is set by hand from which step on; the last order of a step counts."""
        return list({line["at"]: line["by_hand"] for line in self._record if "at" in line}.items())

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


def follow(mixture: Any, changes: list[Change]) -> None:
    """Bring a mixture to the changes that `Control.take` returned; those that it knows already stay."""
    known = dict(mixture.hands)
    for at, values in changes:
        hand = Hand.from_json(values, mixture.sources)
        if known.get(at) != hand:
            mixture.steer(hand, at)


def read_record(folder: Path) -> list[dict[str, Any]]:
    """Return what a run took from its control file, a line each; nothing where it took none."""
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
    except OSError:
        return []
    return [json.loads(line) for line in text.splitlines() if line]


def orders_of(folder: Path) -> list[dict[str, Any]]:
    """Return what a run made of its orders, a line each, and of a control file that it could not read."""
    return [line for line in read_record(folder) if "sources" not in line]


def sources_of(record: list[dict[str, Any]]) -> list[str] | None:
    """Return the sources that a record names; None where `config.yaml` has them."""
    return next((list(line["sources"]) for line in record if "sources" in line), None)
