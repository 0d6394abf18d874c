"""grain: the batches of a plan as an IterDataset, whose iterators save and restore the whole state of the stream."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from mixwright.checks import reading_state, whole_number
from mixwright.errors import InputError, missing_extra
from mixwright.stream.gather import Sources
from mixwright.stream.numbered import labelled
from mixwright.stream.plan.plan import Plan, PlannedStep, resumed
from mixwright.stream.slices import Slices, check_sizes

try:
    from grain import DatasetIterator, IterDataset
except ImportError:
    raise missing_extra("grain", "grain") from None

VERSION = 1
_ANCHOR = 64  # steps; a state holds the plan's at an anchor, and the steps from there are planned again


class PlanBatches(IterDataset):
    """
    The batches of a plan, as a `grain.IterDataset` of dicts of arrays.

    `get_state()` of its iterators has the plan's whole state, as a text and a few numbers. So a resume takes no time,
    however late it is, and may have another number of processes. Worker processes (`mp_prefetch`) plan every step and
    read their share of the batches: the order does not depend on how many there are.

    Parameters
    ----------
    sources, plan
        As for MixtureLoader. Weights that change must be known: `plan.set_weights(w, at_step=...)`, or a Mixture of a
        Schedule. What was set for a later step than that of a restored state holds there, too.
    rank, world_size
        This process and how many there are: `jax.process_index()` and `jax.process_count()`.
    accumulate
        Batches per optimiser step.
    steps
        The step before which it ends; None: where the plan does.
    name
        The key that holds the number of each row's source, int32 [b]; None: rows stay as they are. Arrays become
        "input_ids".

    Raises
    ------
    InputError
        If sources and plan differ, the batch does not divide, or a state does not fit. While reading: it names the
        source and the row.
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        plan: Plan,
        rank: int = 0,
        world_size: int = 1,
        *,
        accumulate: int = 1,
        steps: int | None = None,
        name: str | None = "source",
    ) -> None:
        super().__init__()
        self.sources = sources if isinstance(sources, Sources) else Sources(sources)
        check_sizes(self.sources, plan)
        self.plan, self.steps, self.name = plan, None if steps is None else whole_number(steps, "steps", 0), name
        self.slices = Slices(plan, rank, world_size, accumulate)
        self.worker, self.workers = 0, 1

    def set_slice(self, sl: slice, sequential_slice: bool = False) -> None:
        """Read every n-th batch alone: grain asks for it in each worker process."""
        self.worker, self.workers = self.worker + sl.start * self.workers, self.workers * sl.step

    def __iter__(self) -> DatasetIterator:
        """Return an iterator that begins where the plan is; the plan itself stays there."""
        return _PlanIterator(self)


class _PlanIterator(DatasetIterator):
    """
    The batches of one worker. Batch n is piece n % accumulate of step n // accumulate.

    It counts its own batches, as grain asks for the state of a worker that has given none in another process.
    """

    def __init__(self, of: PlanBatches) -> None:
        super().__init__()
        self._of, self._plan = of, copy.deepcopy(of.plan)
        self._begin, self._given = self._plan.step * of.slices.accumulate, 0
        self._planned: PlannedStep | None = None
        self._anchor, self._saved = self._plan.step, self._text()

    @property
    def _at(self) -> tuple[int, int]:
        """Return the step and the piece of the next batch."""
        of = self._of
        return divmod(self._begin + of.worker + self._given * of.workers, of.slices.accumulate)

    def __next__(self) -> Any:
        of, (step, piece) = self._of, self._at
        self._assert_not_closed()
        if of.steps is not None and step >= of.steps:
            raise StopIteration
        slots = list(of.slices.of(self._up_to(step)))[piece]
        self._given += 1
        return labelled(of.sources.read(slots.source, slots.row), slots.source, of.name, of.sources.names)

    def _up_to(self, step: int) -> PlannedStep:
        while self._planned is None or self._planned.step < step:
            if self._plan.step >= self._anchor + _ANCHOR:
                self._anchor, self._saved = self._plan.step, self._text()
            self._planned = next(self._plan)
        return self._planned

    def _text(self) -> str:
        return json.dumps({"plan": self._plan.state_dict(), "fingerprints": self._of.sources.fingerprints})

    def get_state(self) -> dict[str, Any]:
        """Return the place after the last batch: the same keys and types at any time, the same on every rank."""
        accumulate = self._of.slices.accumulate
        place = {"begin": self._begin, "batches": self._given, "accumulate": accumulate}
        return {"version": VERSION, **place, "stream": self._saved}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where a state was taken."""
        if not isinstance(state, Mapping) or state.get("version") != VERSION or "stream" not in state:
            raise InputError(f"there should be a state of PlanBatches, version {VERSION}, found {state!r:.80}")
        with reading_state("PlanBatches"):
            self._load(state)

    def _load(self, state: Mapping[str, Any]) -> None:
        of, accumulate = self._of, self._of.slices.accumulate
        if state["accumulate"] != accumulate:
            raise InputError(
                f"a state should be restored with its accumulate ({state['accumulate']}), found {accumulate}; set the "
                "same, or accumulate in the training"
            )
        saved, text = json.loads(state["stream"]), state["stream"]
        of.sources.check_prints(saved["fingerprints"])
        begin, given = (whole_number(state[name], f"{name!r} of the state", 0) for name in ("begin", "batches"))
        step, piece = divmod(begin + of.worker + given * of.workers, accumulate)  # of a worker it may be after the end
        plan = resumed(of.plan, saved["plan"], step + bool(piece))
        if not plan.step <= step <= plan.step + _ANCHOR + of.workers // accumulate + 1:
            raise InputError(
                f"the state of PlanBatches is damaged: its next step should be at or soon after {plan.step}, found "
                f"{step}; use another checkpoint"
            )
        self._plan, self._planned, self._anchor, self._saved = plan, None, plan.step, text
        self._begin, self._given = begin, given
        if plan.changes:
            self._saved = self._text()
