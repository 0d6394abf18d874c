"""The rows of a plan by their number, for loaders that ask for rows one by one, in any order, from several threads."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.stream.gather import Sources
from mixwright.stream.plan.plan import Plan, PlannedStep
from mixwright.stream.slices import Slices, Slots, check_sizes
from mixwright.stream.sources.source import Rows

_KEPT = 64  # steps; what asks for rows in several threads is a few steps apart


class PlanSource:
    """
    The rows of a plan as a random-access source: row i is slot i % B of step i // B.

    For grain (`MapDataset.source`, `DataLoader`), and for whatever asks a source for its length and its rows. Rows are
    asked for in order, by and large: a row of a step long past has the plan run again from its start, and so has a
    resume in the middle. (The plan runs at millions of rows a second with numba.) The plan that is given stays where it
    is.

    Parameters
    ----------
    sources, plan
        As for MixtureLoader. Weights that change must be known: `plan.set_weights(w, at_step=...)`, or a Mixture of a
        Schedule.
    steps
        The step before which it ends: it has `steps` * B rows.
    rank, world_size
        This process, where it should have its slots of each step side by side, as in MixtureLoader. Leave them where
        the loader deals rows out to the processes itself.
    name
        The key that holds the number of a row's source; None: rows stay as they are. Arrays become "input_ids".

    Raises
    ------
    InputError
        If sources and plan differ, or the batch does not divide. While reading: it names the source and the row.

    Examples
    --------
    >>> from mixwright.stream import TokenRows
    >>> plan = Plan({"a": 4, "b": 4}, [0.5, 0.5], batch_size=2)
    >>> tokens = np.arange(8)
    >>> rows = PlanSource({"a": TokenRows(tokens, 2), "b": TokenRows(tokens, 2)}, plan, steps=3)
    >>> len(rows), sorted(rows[0])
    (6, ['input_ids', 'source'])
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        plan: Plan,
        steps: int,
        rank: int = 0,
        world_size: int = 1,
        name: str | None = "source",
    ) -> None:
        self.sources = sources if isinstance(sources, Sources) else Sources(sources)
        check_sizes(self.sources, plan)
        self.plan, self.steps, self.name = copy.deepcopy(plan), whole_number(steps, "steps", 1), name
        self.slices = Slices(self.plan, rank, world_size)
        self._begin()

    def _begin(self) -> None:
        self._running, self._known = copy.deepcopy(self.plan), dict[int, Slots]()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_running", "_known", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin in another process."""
        self.__dict__.update(state)
        self._begin()

    def __len__(self) -> int:
        """Return the rows of the whole run."""
        return self.steps * self.slices.rows

    def __getitem__(self, index: int) -> Any:
        """Return one row."""
        return self._getitems([index])[0]

    def _getitems(self, indices: Sequence[int]) -> list[Any]:
        """Return several rows, read in one go; grain asks for them by this name."""
        slots = [self.slot(int(i)) for i in indices]
        source, row = (np.array(numbers) for numbers in zip(*slots, strict=True))
        return apart(self.sources.read(source, row), source, self.name, self.sources.names)

    def slot(self, index: int) -> tuple[int, int]:
        """Return the number of the source, and the row of it, that stand at a place."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} rows, found the number {index}")
        step, slot = divmod(index, self.slices.rows)
        with self._lock:
            source, row = self._slots(step)[slot]
        return source, row

    def _slots(self, step: int) -> Slots:
        if step not in self._known:
            if step < self._running.step:
                self._running = copy.deepcopy(self.plan)
            for planned in _up_to(self._running, step):
                self._known[planned.step] = next(self.slices.of(planned))
                self._known.pop(planned.step - _KEPT, None)
        return self._known[step]

    def __repr__(self) -> str:
        """Say what the rows are drawn from: grain compares it at a resume."""
        p, prints = self.plan, self.sources.fingerprints
        return f"PlanSource({prints}, batch_size={p.batch_size}, seed={p.settings.seed}, draw={p.settings.draw!r})"


def _up_to(plan: Plan, step: int) -> Iterator[PlannedStep]:
    """Plan up to a step; InputError if it lies before the plan, or the plan ends before."""
    if step < plan.step:
        raise InputError(
            f"the plan should begin at step {step} or before, found step {plan.step}; give the plan as it was made"
        )
    while plan.step <= step:
        try:
            yield next(plan)
        except StopIteration:
            raise InputError(
                f"the plan should have the steps that are asked for, found its end at step {plan.step}; give fewer "
                "steps, or exhausted='repeat'"
            ) from None


def labelled(rows: Rows, source: NDArray[Any], name: str | None, names: Sequence[str]) -> Any:
    """Return the rows of a batch as a dict of arrays with the number of each row's source; lists stay lists."""
    if isinstance(rows, list):
        return apart(rows, source, name, names)
    if name is None:
        return rows
    columns = rows if isinstance(rows, dict) else {"input_ids": rows}
    if name in columns:
        raise _taken(name, names[int(source[0])])
    return {**columns, name: source.astype(np.int32)}


def apart(rows: Rows, source: NDArray[Any], name: str | None, names: Sequence[str]) -> list[Any]:
    """Return the rows of a batch one by one, each with the number of its source."""
    if not isinstance(rows, list):
        columns = labelled(rows, source, name, names)
        if not isinstance(columns, dict):
            return list(columns)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if name is None:
        return rows
    made = []
    for row, number in zip(rows, source.tolist(), strict=True):
        columns = row if isinstance(row, Mapping) else {"input_ids": row}
        if name in columns:
            raise _taken(name, names[number])
        made.append({**columns, name: number})
    return made


def _taken(name: str, source: str) -> InputError:
    return InputError(
        f"the source {source!r}: {name!r} should be free for the number of the source, found a column of that name; "
        "choose another with name=, or rename the column"
    )
