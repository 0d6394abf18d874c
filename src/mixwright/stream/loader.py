"""The loader: batches of a mixture for a training, with exact resume."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from mixwright.checks import near, whole_number
from mixwright.errors import InputError
from mixwright.source_change import SourceChange
from mixwright.stream.batches import Batch, Failure, Reader, to_torch
from mixwright.stream.gather import Sources
from mixwright.stream.plan.ledger import Ledger
from mixwright.stream.plan.parts import check_after, check_given
from mixwright.stream.plan.plan import Plan
from mixwright.stream.slices import PlanSampler, Slices, Slots, check_sizes
from mixwright.stream.sources.opening import open_source
from mixwright.stream.sources.source import PartRows

VERSION = 1


class MixtureLoader:
    """
    Batches of the rows that a plan says, in the order that it says, for any number of workers.

    Each rank has its own loader over the same plan. An interrupted `for` goes on with the next batch that was not
    consumed. A checkpoint is `state_dict()`: it is the state after the last whole step that was consumed, whatever
    was read ahead, and is the same on every rank.

    Parameters
    ----------
    sources
        By name, in the plan's order: Source, or what `open_source` opens.
    plan
        Its sizes must match the sources. Weights change by `plan.set_weights`, or by the Mixture in it.
    rank, world_size
        This process, and how many there are. The plan's batch size counts the rows of all of them.
    accumulate
        Batches per optimiser step (gradient accumulation): the rows of a step come in this many parts.
    num_workers, ahead
        Worker processes, and batches that each reads ahead. `loader.steps_ahead` steps are then planned beyond the one
        at work: weights can be changed from the next one on.
    sort_by_source
        Whether rows of one source stand side by side in a batch.
    co_locate
        None, or the plan's `co_locate`, checked.
    collate
        Makes the inputs out of a list of rows, in the worker; None: arrays are stacked to tensors.
    steps
        The step before which the stream ends; None: where the plan does.
    pin_memory, multiprocessing_context
        As for torch's DataLoader.

    Raises
    ------
    InputError
        If sources and plan differ, the batch does not divide, or the lag of the plan's Mixture does not cover
        `steps_ahead`. While reading: it names the source, the row and the file.

    Examples
    --------
    >>> from mixwright.stream import TokenRows
    >>> plan = Plan({"a": 4, "b": 4}, [0.5, 0.5], batch_size=2)
    >>> tokens = np.arange(8)
    >>> loader = MixtureLoader({"a": TokenRows(tokens, 2), "b": TokenRows(tokens, 2)}, plan)
    >>> next(iter(loader)).inputs.shape
    torch.Size([2, 2])
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        plan: Plan,
        rank: int = 0,
        world_size: int = 1,
        *,
        accumulate: int = 1,
        num_workers: int = 0,
        ahead: int = 2,
        sort_by_source: bool = False,
        co_locate: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        steps: int | None = None,
        pin_memory: bool = False,
        multiprocessing_context: Any = None,
    ) -> None:
        if not isinstance(plan, Plan):
            raise InputError(
                f"there should be a Plan, found {type(plan).__name__}; a Mixture goes into it: Plan(sizes, mixture)"
            )
        self.sources = sources if isinstance(sources, Sources) else Sources(sources)
        self.plan, self.collate, self.pin_memory = plan, collate, pin_memory
        self._context = multiprocessing_context
        self.num_workers, self.ahead = (
            whole_number(num_workers, "the number of workers", 0),
            whole_number(ahead, "ahead", 1),
        )
        self._sampler = PlanSampler(plan, rank, world_size, accumulate, sort_by_source, steps)
        check_sizes(self.sources, plan)
        if co_locate is not None and co_locate != plan.settings.co_locate:
            raise InputError(
                f"co_locate should be the plan's ({plan.settings.co_locate}), found {co_locate}; the plan lays the "
                f"slots out: Plan(..., co_locate={co_locate})"
            )
        self._driver = plan._driver
        if self._driver is not None and hasattr(self._driver, "check_ahead"):
            self._driver.check_ahead(self.steps_ahead)
        # the state of any consumed step must still be known while workers read ahead
        plan._history_steps = max(plan._history_steps, self.steps_ahead + 8)
        self._step, self._piece, self._round = plan.step, 0, 0
        self._gone: dict[str, str] = {}  # fingerprints of removed sources, for the day they come back

    @property
    def steps_ahead(self) -> int:
        """Return how many steps are planned beyond the one whose last batch was handed out."""
        return -(-self.num_workers * self.ahead // self._sampler.slices.accumulate)

    @property
    def slices(self) -> Slices:
        """Return which part of each step comes here: `rank`, `world_size`, `accumulate` and `rows` of a batch."""
        return self._sampler.slices

    @property
    def step(self) -> int:
        """Return the next step of which not every batch was consumed."""
        return self._step

    def __len__(self) -> int:
        """Return the batches of the whole run; TypeError if `steps` was not given."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Go on with the first batch that was not consumed."""
        self.plan.check_arrived()
        self._rewind()
        self._round += 1
        skip, slots = self._piece, iter(self._sampler)
        for _ in range(skip):
            # a state may lie within a step: its first batches were consumed already
            next(slots)
        return self._from_workers(slots) if self.num_workers else self._here(slots)

    def _here(self, slots: Iterator[Slots]) -> Iterator[Batch]:
        at, read, collate = self._round, self.sources.read, self.collate
        for s in slots:
            inputs = to_torch(read(s.source, s.row), collate, s, self.sources.names)
            yield self._consumed(s, inputs, at)

    def _from_workers(self, slots: Iterator[Slots]) -> Iterator[Batch]:
        at, waiting = self._round, deque[Slots]()
        # shared memory outlives a worker that dies: it says which row was read last
        notes = torch.full((self.num_workers, 2), -1, dtype=torch.int64).share_memory_()
        loader = DataLoader(
            Reader(self.sources, self.collate, notes),
            batch_sampler=_Watched(slots, waiting),  # type: ignore[arg-type]
            num_workers=self.num_workers,
            prefetch_factor=self.ahead,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(self._step),  # torch's own is the training's: it stays as it is
            pin_memory=self.pin_memory,
            multiprocessing_context=self._context,
        )
        batches = iter(loader)
        while True:
            try:
                inputs = next(batches)
            except StopIteration:
                return
            # torch reports a dead worker so; the row at fault is found from the notes
            except RuntimeError as error:
                if explained := self._explained(error, batches, notes.numpy()):
                    raise explained from error
                raise
            # torch would wrap an exception of a worker in its own text: the message comes as a value
            if isinstance(inputs, Failure):
                raise InputError(inputs.message)
            yield self._consumed(waiting.popleft(), inputs, at)

    def _consumed(self, slots: Slots, inputs: Any, at: int) -> Batch:
        """Count a batch that is handed out in the iteration `at`."""
        # two iterations of one loader would take turns at one plan
        if at != self._round:
            raise InputError(
                "this iteration is over: a new one was started, or the loader took a state; use iter(loader) again"
            )
        if (slots.step, slots.piece) != (self._step, self._piece):
            raise InputError(
                f"the plan should be at step {self._step}, found step {slots.step}: something else takes steps of it "
                f"or loads its state; make a plan for each loader, and load states through the loader"
            )
        done = slots.piece + 1 == self._sampler.slices.accumulate
        self._step, self._piece = (slots.step + 1, 0) if done else (slots.step, slots.piece + 1)
        source = torch.from_numpy(slots.source.astype(np.int64))
        row = torch.from_numpy(slots.row)
        return Batch(inputs, source, row, slots.weights, slots.step, slots.piece, slots.counts)

    def _rewind(self) -> None:
        """Take the plan back over what was read ahead and not consumed."""
        # what was planned ahead and never consumed must be planned again, or its rows would be lost
        if self.plan.step != self._step:
            try:
                state = self.plan.state_dict(self._step)
            except InputError as error:
                raise InputError(
                    f"the plan should be at step {self._step} or a little ahead, found step {self.plan.step}; make a "
                    f"plan for each loader, and load states through the loader"
                ) from error
            self.plan.load_state_dict(state)

    def ledger(self, steps: int | None = None) -> Ledger:
        """Return what was asked and drawn in the steps that were consumed; `steps` as for `Plan.ledger`."""
        return self.plan.ledger(steps, self._step)

    def state_dict(self, step: int | None = None) -> dict[str, Any]:
        """
        Return the state after the last step that was consumed whole, as JSON-able numbers and texts.

        A Mixture's state is part of it: take it after the step was observed, else its observation is lost.

        Parameters
        ----------
        step
            The next step of the training, where something between loader and training reads ahead (accelerate).
        """
        at = self._step if step is None else whole_number(step, "step", 0)
        if at > self._step:
            raise InputError(f"the state should be of a step that was consumed (up to {self._step}), found {at}")
        prints = {**self._gone, **self.sources.fingerprints}
        state = {"version": VERSION, "plan": self.plan.state_dict(at), "fingerprints": prints}
        return state if self._driver is None else {**state, "mixture": self._driver.state_dict()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: Mapping[str, Any], *, changed: bool = False) -> None:
        """
        Go on where a state was taken, with any number of workers and ranks.

        Parameters
        ----------
        state
            From `state_dict`.
        changed
            Allow sources that were added, removed or reordered; see Plan.load_state_dict. A Mixture of other sources
            than the checkpoint's starts again: its strategy's state belongs to the former ones (`with_sources` keeps
            it).

        Raises
        ------
        InputError
            If the state is damaged or does not fit, or a source's content is another: it names the source. The loader
            is then as it was.
        """
        _check_form(state)
        if (self._driver is None) != ("mixture" not in state):
            raise InputError(
                "the state should have a Mixture exactly if this plan has one; make the plan as it was then"
            )
        known = self.sources.check_prints(state.get("fingerprints", {}))
        mixture, driver = state.get("mixture"), self._driver
        afresh = changed and isinstance(mixture, Mapping) and mixture.get("sources") != list(self.sources.names)
        before, awaits = self.plan._state_dict(self._step), self.plan.awaits
        self.plan.load_state_dict(state["plan"], changed=changed)
        if driver is not None and not afresh:
            try:
                driver.load_state_dict(mixture)  # type: ignore[attr-defined]
            except BaseException:  # the Mixture is as it was, its log too
                self.plan.load_state_dict(before)
                self.plan.awaits = awaits
                raise
        self._gone = {name: found for name, found in known.items() if name not in self.sources}
        self._step, self._piece, self._round = self.plan.step, 0, self._round + 1

    def with_sources(
        self,
        change: SourceChange,
        sources: Mapping[str, Any],
        weights: Any = None,
        *,
        rows: Mapping[str, Any] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> MixtureLoader:
        """
        Return a loader of other sources that goes on after the last whole step; this one is not read any more.

        Parameters
        ----------
        change
            From the sources of this loader.
        sources
            What is new: sources by name, for `open_source`. None for parts of a split source.
        weights
            Of a plan that has no Mixture; None: those it has, moved. A Mixture goes on with the new sources.
        rows
            {part: rows of the source that is split}.
        state
            A state after this change: to go on there, or, if it is of other sources, to make further changes first:
            the loader gives no batch before they are made.

        Raises
        ------
        InputError
            As from `Mixture.with_sources` and `Plan.with_sources`; also if sources are given that the change does not
            bring.
        """
        if state is not None:
            _check_form(state)
            check_after(change, state["plan"])
        _check_brought(change, sources, rows or {})
        parts, own = dict(rows or {}), {name: _opened_alone(name, what) for name, what in sources.items()}
        sizes = {**{name: len(source) for name, source in own.items()}, **parts}
        if self._driver is not None:
            known = {**self.sources.sizes, **sizes}
            names = {name: known[name] if isinstance(known[name], int) else len(known[name]) for name in change.names}
            weights = self._driver.with_sources(change, names)  # type: ignore[attr-defined]
        saved = None if state is None else state["plan"]
        plan = self.plan.with_sources(change, sizes, weights, step=self._step, state=saved)
        stay = {name: self.sources[name] for name in plan.sources if name in self.sources}
        split = {
            name: PartRows(self.sources[of], plan.tables[name]) for of, each in change.parts.items() for name in each
        }
        slices, steps = self._sampler.slices, self._sampler.steps
        made = MixtureLoader(
            {name: {**own, **stay, **split}[name] for name in plan.sources},
            plan,
            0 if slices.rank is None else slices.rank,
            slices.world_size,
            accumulate=slices.accumulate,
            num_workers=self.num_workers,
            ahead=self.ahead,
            sort_by_source=slices.sort_by_source,
            collate=self.collate,
            steps=steps,
            pin_memory=self.pin_memory,
            multiprocessing_context=self._context,
        )
        made._gone = {**self._gone, **{n: self.sources[n].fingerprint for n in self.sources if n not in stay}}
        if saved is not None and list(saved["sources"]) == list(change.names):
            made.load_state_dict(state)  # type: ignore[arg-type]
        return made

    def _explained(self, error: RuntimeError, batches: Any, notes: NDArray[np.int64]) -> InputError | None:
        """Name what a dead worker was reading; None if no worker died while it read."""
        dead = [i for i, worker in enumerate(getattr(batches, "_workers", [])) if not worker.is_alive()]
        reading = [notes[i].tolist() for i in dead if notes[i, 0] >= 0]
        if not reading:
            return None
        source, row = reading[0]
        name = self.sources.names[source]
        it = "it" if self.sources.by_address else "it or another row of the source in its batch"
        return InputError(
            f"the source {name!r}, row {row} ({self.sources[name].where(row)}): a worker process died while it read "
            f"{it} ({error}); was the file cut off while it was in use, or is memory short?"
        )


class _Watched:
    """Slots on their way to the workers, kept in order until their batch comes back."""

    def __init__(self, slots: Iterator[Slots], waiting: deque[Slots]) -> None:
        self._slots, self._waiting = slots, waiting

    def __iter__(self) -> Iterator[Slots]:
        for slots in self._slots:
            self._waiting.append(slots)
            yield slots


def _check_form(state: Any) -> None:
    if not isinstance(state, Mapping) or state.get("version") != VERSION or "plan" not in state:
        raise InputError(f"there should be a state of MixtureLoader.state_dict, version {VERSION}; found {state!r:.80}")


def _check_brought(change: SourceChange, sources: Mapping[str, Any], rows: Mapping[str, Any]) -> None:
    """Raise InputError unless the new sources and the parts of a change are given, and nothing else."""
    parts = [part for each in change.parts.values() for part in each]
    new = [name for name, parent in zip(change.names, change.parents, strict=True) if parent < 0]
    for given, brought, what in ((sources, new, "new sources"), (rows, parts, "parts")):
        for name in given:
            if name not in brought:
                raise InputError(f"what is given should be {what} of the change{near(name, brought, what)}")
    check_given(change, {**sources, **rows})


def _opened_alone(name: str, what: Any) -> Any:
    try:
        return open_source(what)
    except InputError as error:
        raise InputError(f"the source {name!r}: {error}") from error


def _as_it_is(inputs: Any) -> Any:
    return inputs
