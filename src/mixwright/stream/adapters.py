"""The stream under other people's loops: iterable data sets for a DataLoader, and an order for streamed data sets."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from mixwright.checks import reading_state, whole_number
from mixwright.errors import InputError
from mixwright.stream.batches import SourceRows
from mixwright.stream.gather import Sources
from mixwright.stream.plan.plan import Plan
from mixwright.stream.slices import Slices, check_sizes


class StreamDataset(IterableDataset[Any]):
    """
    The rows of a plan one by one, as an IterableDataset for `DataLoader(dataset, batch_size=dataset.batch_size)`.

    The order does not depend on the number of workers: each of them plans every step and reads its share of the
    batches. So weights cannot be changed while it runs, but by a Schedule; MixtureLoader can. After n steps
    `state_dict(n)` is the state; `load_state_dict` goes on from there.

    Parameters
    ----------
    sources, plan
        As for MixtureLoader.
    rank, world_size, accumulate
        As for Slices. `rank=None` is right where a library deals rows out to ranks (accelerate, Trainer).
    steps
        The step before which it ends; None: where the plan does.
    """

    def __init__(
        self,
        sources: Any,
        plan: Plan,
        rank: int | None = 0,
        world_size: int = 1,
        accumulate: int = 1,
        steps: int | None = None,
    ) -> None:
        self.rows = SourceRows(sources)
        check_sizes(self.rows.sources, plan)
        self.plan, self.steps = plan, None if steps is None else whole_number(steps, "steps", 0)
        self.slices = Slices(plan, rank, world_size, accumulate)
        self.batch_size = self.slices.rows

    def __iter__(self) -> Iterator[Any]:
        """Go over the rows from the plan's state on; the plan itself stays where it is."""
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        ranks = self.slices.world_size if self.slices.rank is None else 1
        plan, batch = copy.deepcopy(self.plan), 0
        while self.steps is None or plan.step < self.steps:
            try:
                step = next(plan)
            except StopIteration:
                return
            for i, slots in enumerate(self.slices.of(step)):
                if (batch + i // ranks) % workers == number:
                    yield from self.rows.__getitems__(slots)
            batch += self.slices.accumulate

    def state_dict(self, step: int) -> dict[str, Any]:
        """Return the state before a step, found by planning up to it; JSON-able."""
        plan = copy.deepcopy(self.plan)
        while plan.step < step:
            next(plan)
        return plan.state_dict(step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin at the step of a state."""
        self.plan.load_state_dict(state)


class Interleaved(IterableDataset[Any]):
    """
    Streamed data sets, which have no row numbers, in the plan's order of sources.

    The plan says which source each slot is of; the next example of that source fills it. Which example it is, and its
    shuffling, is up to the data set. A data set that is at its end starts again (with `set_epoch`, where it has
    one). With workers, give each its own data (`datasets` shards): this reads in the process that iterates it.

    Parameters
    ----------
    streams
        By name, in the plan's order: `datasets.IterableDataset`, or any iterable that can be iterated again.
    plan
        Its sizes count examples, for the epochs in the ledger and for caps; a guess will do with exhausted="repeat".
    name
        The key that says which source an example (a dict) is of; None: examples stay as they are.

    Notes
    -----
    `state_dict()` is exact for streams that have a `state_dict` themselves (`datasets` has) and are not read ahead; it
    holds their states beside the plan's, after the last example that was handed out.
    """

    def __init__(self, streams: Mapping[str, Any], plan: Plan, name: str | None = "source") -> None:
        if tuple(streams) != plan.sources:
            raise InputError(
                f"the plan and the streams should have the same names in one order, found {list(plan.sources)[:5]} "
                f"and {list(streams)[:5]}"
            )
        self.streams, self.plan, self.name = dict(streams), plan, name
        self._epochs = dict.fromkeys(streams, 0)
        self._running: dict[str, Iterator[Any]] = {}
        self._slot, self._step = 0, plan.step

    def __iter__(self) -> Iterator[Any]:
        """Go on after the last example that was handed out."""
        if self.plan.step != self._step:
            self.plan.load_state_dict(self.plan.state_dict(self._step))
        for step in self.plan:
            for slot in range(self._slot, len(step.source)):
                source = self.plan.sources[int(step.source[slot])]
                example = self._next(source)
                last = slot + 1 == len(step.source)
                self._slot, self._step = (0, step.step + 1) if last else (slot + 1, step.step)
                yield example if self.name is None else _with_source(example, self.name, source)

    def _next(self, source: str) -> Any:
        stream, running = self.streams[source], self._running
        for attempt in range(2):
            if source not in running:
                running[source] = iter(stream)
            try:
                return next(running[source])
            except StopIteration:
                del running[source]
                self._epochs[source] += 1
                if hasattr(stream, "set_epoch"):
                    stream.set_epoch(self._epochs[source])
                if attempt:
                    raise InputError(f"the source {source!r} should have at least one example, found none") from None
            except InputError:
                raise
            except Exception as error:  # a stream is the user's own code
                raise InputError(
                    f"the source {source!r}: its next example cannot be read: {type(error).__name__}: {error}"
                ) from error
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return the plan's state, the place in its step, and each stream's own state."""
        streams = {name: stream.state_dict() for name, stream in self.streams.items() if hasattr(stream, "state_dict")}
        plan = self.plan.state_dict(self._step)
        return {"version": 1, "plan": plan, "slot": self._slot, "epochs": dict(self._epochs), "streams": streams}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """
        Go on where a state was taken.

        Raises
        ------
        InputError
            If it is damaged, or of another plan. Plan and streams are then as they were.
        """
        if not isinstance(state, Mapping) or state.get("version") != 1 or "streams" not in state:
            raise InputError(f"there should be a state of Interleaved.state_dict, found {state!r:.80}")
        before = self.state_dict()
        try:
            with reading_state("the streams"):
                self._load(state)
        except BaseException:
            self._load(before)
            raise
        self._running = {}

    def _load(self, state: Mapping[str, Any]) -> None:
        epochs = {name: whole_number(state["epochs"][name], f"the epoch of {name!r}", 0) for name in self.streams}
        self.plan.load_state_dict(state["plan"])
        slot = whole_number(state["slot"], "the slot", 0)
        if slot >= self.plan.batch_size:
            raise InputError(f"the slot should be within a batch of {self.plan.batch_size} rows, found {slot}")
        for name, stream in self.streams.items():
            if hasattr(stream, "set_epoch"):
                stream.set_epoch(epochs[name])
            if name in state["streams"]:
                stream.load_state_dict(state["streams"][name])
        self._epochs, self._slot, self._step = epochs, slot, self.plan.step


def as_datasets_iterable(sources: Any, plan: Plan, name: str = "source") -> Any:
    """
    Return a `datasets.IterableDataset` whose examples are the plan's rows, each with its source's name.

    Parameters
    ----------
    sources
        By name, in the plan's order; rows must be dicts, or arrays (then they are the column "input_ids").
    plan
        It is copied: the plan that is given stays where it is.
    name
        The column that holds the source's name.
    """
    import datasets

    opened = sources if isinstance(sources, Sources) else Sources(sources)
    check_sizes(opened, plan)
    return datasets.IterableDataset.from_generator(
        _examples, gen_kwargs={"sources": opened, "plan": plan, "name": name}
    )


def _examples(sources: Sources, plan: Plan, name: str) -> Iterator[dict[str, Any]]:
    rows = SourceRows(sources)
    for step in copy.deepcopy(plan):
        pairs = list(zip(step.source.tolist(), step.row.tolist(), strict=True))
        for (source, _), row in zip(pairs, rows.__getitems__(pairs), strict=True):
            example = row if isinstance(row, Mapping) else {"input_ids": row}
            yield _with_source(example, name, sources.names[source])


def _with_source(example: Mapping[str, Any], name: str, source: str) -> dict[str, Any]:
    """Return an example with the name of its source; a column of its own is not written over."""
    if example.get(name, source) != source:
        raise InputError(
            f"the source {source!r}: {name!r} should be free for the source's name, found a column of that name "
            f"({example[name]!r:.40}); choose another with name=, or rename the column"
        )
    return {**example, name: source}
