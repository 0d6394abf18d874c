"""From the batch of a step to the rows that one rank reads at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.stream.gather import Sources
from mixwright.stream.plan.plan import Plan, PlannedStep


@dataclass(frozen=True, slots=True)
class Slots:
    """
    Rows that are read at once: a part of a step's batch. It has a length, slices and (source, row) pairs like a list.

    Attributes
    ----------
    step, piece
        The optimiser step, and the number of the part of this rank in it (0 without accumulation).
    source, row
        int32 [b] and int64 [b].
    weights
        [k], those that the step was planned with.
    counts
        int64 [k], each source's rows in the whole step: of all pieces and ranks.
    """

    step: int
    piece: int
    source: NDArray[np.int32]
    row: NDArray[np.int64]
    weights: NDArray[np.float64]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Go over the (source, row) pairs."""
        return zip(self.source.tolist(), self.row.tolist(), strict=True)

    def __getitem__(self, at: Any) -> Any:
        """Return one pair, or the slots of a slice."""
        if isinstance(at, slice):
            return replace(self, source=self.source[at], row=self.row[at])
        return int(self.source[at]), int(self.row[at])

    def sorted(self) -> Slots:
        """Return the same rows, those of one source side by side."""
        order = np.argsort(self.source, kind="stable")
        return replace(self, source=self.source[order], row=self.row[order])


class Slices:
    """
    Which part of each step's batch goes where.

    A batch of B rows is cut into `accumulate` pieces, and each piece into one slice per rank: slice (a, r) has the
    slots (a * world_size + r) * b up to + b, b = B / (accumulate * world_size). So the slices of all ranks, piece by
    piece, are the batch, whatever the world size.

    Parameters
    ----------
    plan
        Its batch size is checked, and that groups of `co_locate` slots stay whole.
    rank
        None: all ranks' slices in turn, for libraries that deal batches out to the ranks themselves.
    world_size, accumulate
        Ranks, and pieces per optimiser step.
    sort_by_source
        Whether rows of one source stand side by side in each slice.
    """

    def __init__(
        self, plan: Plan, rank: int | None = 0, world_size: int = 1, accumulate: int = 1, sort_by_source: bool = False
    ) -> None:
        self.world_size, self.accumulate = (
            whole_number(world_size, "the world size", 1),
            whole_number(accumulate, "accumulate", 1),
        )
        self.rank, self.sort_by_source = None if rank is None else whole_number(rank, "the rank", 0), sort_by_source
        if self.rank is not None and self.rank >= self.world_size:
            raise InputError(f"the rank should be below the world size {self.world_size}, found {rank}")
        parts, total = self.world_size * self.accumulate, plan.batch_size
        if total % parts:
            raise InputError(
                f"the batch size should be a multiple of {parts} (world size {self.world_size} x accumulate "
                f"{self.accumulate}), found {total}; use {total // parts * parts or parts} rows a step, or other ranks"
            )
        self.rows = total // parts
        group = plan.settings.co_locate
        if self.rows % group:
            raise InputError(
                f"rows that a rank reads at once should be a multiple of co_locate ({group}), found {self.rows}; use a "
                f"batch size that is a multiple of {group * parts}"
            )

    @property
    def per_step(self) -> int:
        """Return how many slices come out of a step."""
        return self.accumulate * (self.world_size if self.rank is None else 1)

    def of(self, step: PlannedStep) -> Iterator[Slots]:
        """Go over the slices of a step."""
        counts = np.bincount(step.source, minlength=len(step.weights))
        for piece in range(self.accumulate):
            for rank in range(self.world_size) if self.rank is None else (self.rank,):
                at = (piece * self.world_size + rank) * self.rows
                part = slice(at, at + self.rows)
                slots = Slots(step.step, piece, step.source[part], step.row[part], step.weights, counts)
                yield slots.sorted() if self.sort_by_source else slots


class PlanSampler:
    """
    A `batch_sampler` for a plain `torch.utils.data.DataLoader` over `SourceRows`.

    It goes on where the plan is. With workers the plan is ahead of what was consumed; count the batches and save
    `plan.state_dict(step)` of the next step to be consumed (MixtureLoader does).

    Parameters
    ----------
    plan, rank, world_size, accumulate, sort_by_source
        As for Slices. Under accelerate or the Trainer with more than one process leave `rank=None`, with the world
        size: they deal the batches out to the ranks.
    steps
        The step before which it ends; None: where the plan does.
    """

    drop_last = True

    def __init__(
        self,
        plan: Plan,
        rank: int | None = 0,
        world_size: int = 1,
        accumulate: int = 1,
        sort_by_source: bool = False,
        steps: int | None = None,
    ) -> None:
        self.plan, self.slices = plan, Slices(plan, rank, world_size, accumulate, sort_by_source)
        self.steps, self.batch_size = None if steps is None else whole_number(steps, "steps", 0), self.slices.rows

    def __iter__(self) -> Iterator[Slots]:
        """Go on with the plan."""
        while self.steps is None or self.plan.step < self.steps:
            try:
                step = next(self.plan)
            except StopIteration:
                return
            yield from self.slices.of(step)

    def __len__(self) -> int:
        """Return the batches of the whole run, known if `steps` is."""
        if self.steps is None:
            raise TypeError("the stream has no length; give steps=")
        return self.steps * self.slices.per_step


def check_sizes(sources: Sources, plan: Plan) -> None:
    """Raise InputError unless the plan was made for these sources."""
    if sources.names != plan.sources:
        raise InputError(
            f"the plan and the sources should have the same names in the same order, found {list(plan.sources)[:5]} "
            f"and {list(sources.names)[:5]}; make the plan with Plan(Sources(...).sizes, ...)"
        )
    for name, size in zip(plan.sources, plan.settings.sizes.tolist(), strict=True):
        if sources.sizes[name] != size:
            raise InputError(
                f"the source {name!r} should have the {size} rows of the plan, found {sources.sizes[name]}"
            )
