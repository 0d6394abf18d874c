"""torchtitan: a data loader for its trainer; its checkpoints hold the stream and resume on other numbers of ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from mixwright.checks import reading_state
from mixwright.errors import InputError, missing_extra
from mixwright.stream.batches import Batch, language_model_inputs
from mixwright.stream.loader import MixtureLoader
from mixwright.stream.plan.plan import resumed

try:
    if _configured := find_spec("torchtitan.components.dataloader") is None:  # since August 2026
        from torchtitan.components.data.loader import BaseDataLoader
    else:
        from torchtitan.components.dataloader import BaseDataLoader
except ImportError as error:
    raise missing_extra("torchtitan", "torchtitan") from error

IGNORE = -100
Made = Callable[[int, int], MixtureLoader]
Inputs = Callable[[Batch], tuple[dict[str, Any], torch.Tensor]]


def dataloader(make: Made, inputs: Inputs | None = None) -> Any:
    """
    Return what torchtitan builds its data loader with.

    That is a value for `Trainer.Config.dataloader`; in torchtitan up to 0.2.2, for `TrainSpec.build_dataloader_fn`.

    Parameters
    ----------
    make
        Makes the loader of a rank: `make(dp_rank, dp_world_size)` returns a MixtureLoader of that rank. Its
        `accumulate` is the number of batches that the trainer takes for a step: gradient accumulation, times the
        micro-batches of a pipeline where torchtitan counts these in batches.
    inputs
        Makes (input dict, labels) out of a Batch; None: `next_token_inputs`, flat where this torchtitan wants that.

    Examples
    --------
    In the trainer's configuration::

        config.dataloader = dataloader(lambda rank, size: MixtureLoader(sources, plan, rank, size))
    """
    given = Given(make, inputs)
    if _configured:
        return MixtureDataLoader.Config(given=given)
    return lambda **runtime: MixtureDataLoader(given, **runtime)


@dataclass(frozen=True)
class Given:
    """What `dataloader` was given."""

    make: Made
    inputs: Inputs | None


class MixtureDataLoader(BaseDataLoader):
    """
    Batches of a plan for torchtitan's trainer; `dataloader` makes it.

    Attributes
    ----------
    loader
        The MixtureLoader of this rank; a Mixture in its plan can be observed.
    batch
        The Batch that was handed out last, with the source of each row.
    """

    if _configured:

        @dataclass(kw_only=True, slots=True)
        class Config(BaseDataLoader.Config):
            """torchtitan's way to name a component."""

            given: Any = None

            def to_dict(self) -> dict[str, Any]:
                """Return what torchtitan writes into its log: the loader cannot be written."""
                return {"given": repr(self.given)}

    def __init__(self, config: Any, *, dp_world_size: int, dp_rank: int, **runtime: Any) -> None:
        given = config if isinstance(config, Given) else config.given
        self.loader = given.make(dp_rank, dp_world_size)
        self.inputs = given.inputs or (flat_inputs if _configured else next_token_inputs)
        self.batch: Batch | None = None
        self._tokens = runtime.get("num_tokens_per_batch")
        self._check(dp_rank, dp_world_size, getattr(runtime.get("job_config"), "training", None))

    def _check(self, rank: int, world_size: int, training: Any) -> None:
        slices = self.loader.slices
        checks = [("rank", rank, slices.rank), ("world size", world_size, slices.world_size)]
        if training is not None:
            rows, whole = training.local_batch_size, training.global_batch_size
            parts = whole // (rows * world_size) if whole > 0 else 1
            checks += [("rows of a batch (local_batch_size)", rows, slices.rows),
                       ("accumulate (global_batch_size)", parts, slices.accumulate)]  # fmt: skip
        for what, theirs, ours in checks:
            if theirs != ours:
                raise InputError(
                    f"the {what} of the loader should be torchtitan's, {theirs}, found {ours}; use what `make` is "
                    "given as rank and world size, and a plan and accumulate that fit the trainer's batch sizes"
                )

    def __iter__(self) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        """Go on with the first batch that was not consumed."""
        for batch in self.loader:
            self.batch = batch
            made, labels = self.inputs(batch)
            if self._tokens is not None and labels.numel() != self._tokens:
                raise InputError(
                    f"a batch should have torchtitan's {self._tokens} tokens, found {labels.numel()} "
                    f"({len(batch)} rows); use a plan whose rows of a rank and piece make that many"
                )
            yield made, labels

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the stream as one text: the same on every rank, of the same form at any time."""
        if self.batch is not None and self.batch.piece + 1 != self.loader.slices.accumulate:
            raise InputError(
                f"a checkpoint should be taken after a whole step of the plan, found one after piece "
                f"{self.batch.piece + 1} of {self.loader.slices.accumulate}; set the loader's accumulate to the "
                "batches that the trainer takes for a step"
            )
        return {"stream": json.dumps(self.loader.state_dict())}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where a state was taken, on any number of ranks; what the plan has for later steps holds there, too."""
        if not state_dict:
            return
        with reading_state("the stream"):
            if not isinstance(state_dict.get("stream"), str):
                raise InputError(
                    f"the checkpoint should hold the stream, found {', '.join(map(str, state_dict))}; it was saved "
                    "with another data loader: leave it out (checkpoint.exclude_from_loading)"
                )
            state, plan = json.loads(state_dict["stream"]), self.loader.plan
            if plan.changes:  # asked for in `make`, before torchtitan loads the state
                state = {**state, "plan": resumed(plan, state["plan"]).state_dict()}
            self.loader.load_state_dict(state)
        self.batch = None


def next_token_inputs(batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return ({"input": [b, t]}, labels [b, t]) of rows of t + 1 tokens; what is not learned from has -100."""
    made = language_model_inputs(batch)
    inputs = {"input": made["input_ids"][:, :-1].contiguous()}
    if "position_ids" in made:
        inputs["positions"] = made["position_ids"][:, :-1].contiguous()
    return inputs, made["labels"][:, 1:].contiguous()


def flat_inputs(batch: Batch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the same as one row: ({"input": [b * t], "positions": [b * t]}, labels [b * t])."""
    inputs, labels = next_token_inputs(batch)
    rows, length = labels.shape
    positions = inputs.get("positions", torch.arange(length).repeat(rows, 1))
    return {"input": inputs["input"].flatten(), "positions": positions.flatten().long()}, labels.flatten()
