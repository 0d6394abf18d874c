"""What the loader hands out, and what its workers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate, get_worker_info

from mixwright.errors import InputError
from mixwright.stream.gather import Sources
from mixwright.stream.slices import Slots
from mixwright.stream.sources.source import Rows


@dataclass(slots=True)
class Batch:
    """
    Rows of one step, or of one part of it.

    Attributes
    ----------
    inputs
        The rows: a tensor [b, ...], a dict of tensors, or what `collate` made.
    source, row
        int64 tensors [b]: which source and row each one is.
    weights
        [k], the shares that the step was planned with.
    step, piece
        The optimiser step, and the part of it (0 without accumulation).
    counts
        int64 [k], each source's rows in the whole step, of all ranks and parts: what `row_weights` needs.
    """

    inputs: Any
    source: torch.Tensor
    row: torch.Tensor
    weights: NDArray[np.float64]
    step: int
    piece: int = 0
    counts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.row)

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on a device."""
        inputs, source, row = _moved([self.inputs, self.source, self.row], device, non_blocking)
        return replace(self, inputs=inputs, source=source, row=row)


@dataclass(frozen=True)
class Failure:
    """What a worker says instead of a batch."""

    message: str


class SourceRows(Dataset[Any]):
    """
    Sources as a map-style Dataset of (source, row) pairs, for a plain DataLoader with PlanSampler.

    Parameters
    ----------
    sources
        By name, in the plan's order: Source, or what `open_source` opens.
    """

    def __init__(self, sources: Any) -> None:
        self.sources = sources if isinstance(sources, Sources) else Sources(sources)

    def __getitem__(self, pair: tuple[int, int]) -> Any:
        """Return one row."""
        return self.__getitems__([pair])[0]

    def __getitems__(self, pairs: Any) -> list[Any]:
        """Return the rows of a list of (source, row) pairs, or of Slots, in one gather per source."""
        if isinstance(pairs, Slots):
            source, row = pairs.source, pairs.row
        else:
            source, row = (np.array(numbers, np.int64) for numbers in zip(*pairs, strict=True))  # type: ignore[assignment]
        return listed(self.sources.read(source, row))


class Reader(Dataset[Any]):
    """Reads and collates in a worker; a failure comes back as a message, and `notes` keep what is being read."""

    def __init__(self, sources: Sources, collate: Callable[[list[Any]], Any] | None, notes: torch.Tensor) -> None:
        self.sources, self.collate, self.notes = sources, collate, notes

    def __getitems__(self, slots: Slots) -> Any:
        """Return the inputs of a batch, or a Failure."""
        worker = get_worker_info()
        note = self.notes[0 if worker is None else worker.id].numpy()
        try:
            rows = self.sources.read(slots.source, slots.row, note)
            note[:] = -1
            return to_torch(rows, self.collate, slots, self.sources.names)
        except InputError as error:
            return Failure(str(error))


def to_torch(rows: Rows, collate: Callable[[list[Any]], Any] | None, slots: Slots, names: Sequence[str]) -> Any:
    """
    Return inputs out of the rows of a batch: tensors of arrays, or what `collate` makes of the list of rows.

    Raises
    ------
    InputError
        If rows cannot be stacked, or differ in dtype: it names the sources and rows.
    """
    if collate is not None:
        return collate(listed(rows))
    if isinstance(rows, np.ndarray):
        return torch.from_numpy(rows)
    if isinstance(rows, dict):
        return {name: torch.from_numpy(values) for name, values in rows.items()}
    first, *others = (_kind(row) for row in rows)
    places = [f"the source {names[i]!r}, row {row}" for i, row in slots]
    for kind, place in zip(others, places[1:], strict=True):
        if kind != first:
            raise InputError(
                f"rows of a batch should be of one form, found {first:.120} in {places[0]}, and {kind:.120} in "
                f"{place}; convert one of them, or give collate=, a function that takes the list of rows"
            )
    try:
        return default_collate(rows)
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"rows of a batch should be stackable, found {first:.120} in {places[0]} ({error}); give collate=, a "
            f"function that takes the list of rows"
        ) from None


def language_model_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Return {"input_ids", "labels", ...} int64 for a causal language model; padding is not learned from."""
    if isinstance(batch.inputs, torch.Tensor):
        tokens = batch.inputs.long()
        return {"input_ids": tokens, "labels": tokens.clone()}
    if not isinstance(batch.inputs, Mapping) or "input_ids" not in batch.inputs:
        raise InputError(
            f"a batch should be tokens or have 'input_ids', found {type(batch.inputs).__name__}; give inputs=, "
            f"a function from a Batch to the model's inputs"
        )
    found = {k: v for k, v in batch.inputs.items() if k in ("input_ids", "attention_mask", "position_ids", "labels")}
    tokens = found["input_ids"].long()
    labels = found.get("labels", tokens).long().clone()
    if "labels" not in found and "attention_mask" in found:
        labels[found["attention_mask"] == 0] = -100
    if "labels" not in found and "position_ids" in found:
        labels[
            found["position_ids"] == 0
        ] = -100  # the first token of a document does not follow from the one before it
    return {**found, "input_ids": tokens, "labels": labels}


def _kind(row: Any) -> str:
    """Say what a row is, the same for rows that can be stacked without a change of dtype."""
    if hasattr(row, "dtype") and hasattr(row, "shape"):
        return f"{str(row.dtype).removeprefix('torch.')} {list(row.shape)}"
    if isinstance(row, Mapping):
        return "{" + ", ".join(f"{name!r}: {_kind(row[name])}" for name in sorted(row, key=str)) + "}"
    if isinstance(row, list | tuple):
        return f"a list of {len(row)}"
    return "a number" if isinstance(row, int | float) else type(row).__name__


def listed(rows: Rows) -> list[Any]:
    """Return rows as a list, arrays as tensors."""
    if isinstance(rows, np.ndarray):
        return list(torch.from_numpy(rows))
    if isinstance(rows, dict):
        tensors = {name: torch.from_numpy(values) for name, values in rows.items()}
        return [dict(zip(tensors, values, strict=True)) for values in zip(*tensors.values(), strict=True)]
    return rows


def _moved(value: Any, device: Any, non_blocking: bool) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, dict):
        return {name: _moved(part, device, non_blocking) for name, part in value.items()}
    if isinstance(value, list):
        return [_moved(part, device, non_blocking) for part in value]
    return value
