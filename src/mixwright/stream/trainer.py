"""The stream under transformers' Trainer: its batches are the plan's, and its checkpoints hold the stream."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor
from torch.nn import Embedding, Module

from mixwright.checks import POSITIONS
from mixwright.errors import InputError, missing_extra
from mixwright.stream.batches import Batch, language_model_inputs
from mixwright.stream.loader import MixtureLoader
from mixwright.stream.plan.state import ALLOW
from mixwright.stream.trainer_models import mend_loading

try:
    from transformers import TrainerCallback
    from transformers.trainer_callback import ExportableState
except ImportError:
    raise missing_extra("transformers", "lm") from None

Callback = TypeVar("Callback", bound="MixtureCallback")
logger = logging.getLogger(__name__)


def use_stream(trainer: Any, loader: MixtureLoader, inputs: Callable[[Batch], Any] | None = None) -> MixtureCallback:
    """
    Let a Trainer train on a MixtureLoader, and save and resume it with its checkpoints.

    Call it between making the Trainer (any train_dataset, or none) and `train()`. One optimiser step is one step of the
    plan: gradient_accumulation_steps of the Trainer and `accumulate` of the loader must be the same, and so must the
    rows per device. The state of the stream, with that of its Mixture, is in the checkpoint's trainer_state.json, so
    that stream and step count cannot come from different moments.

    Parameters
    ----------
    trainer
        A transformers Trainer, or one of its kin (TRL). `max_steps` must be set.
    loader
        Made with the rank and world size of this process.
    inputs
        Makes the model's inputs out of a Batch; None: `language_model_inputs`.

    Returns
    -------
    callback
        Its `batches` belong to the optimiser step at work, one per piece. A loss per source needs their `source` and
        `weights`.

    Raises
    ------
    InputError
        If the Trainer's settings do not fit the loader's: it names both.
    """
    return attach(trainer, MixtureCallback(loader), inputs)


def attach(trainer: Any, callback: Callback, inputs: Callable[[Batch], Any] | None = None) -> Callback:
    """Let a Trainer train on a callback's loader; as `use_stream`, with a MixtureCallback or one of its kin."""
    args, loader = trainer.args, callback.loader
    assert loader is not None
    slices = loader._sampler.slices
    checks: tuple[tuple[str, Any, str, Any], ...] = (
        ("gradient_accumulation_steps", args.gradient_accumulation_steps, "accumulate", slices.accumulate),
        ("per_device_train_batch_size", trainer._train_batch_size, "rows per rank and piece", slices.rows),
        ("world_size", args.world_size, "world_size", slices.world_size),
        ("process_index", args.process_index, "rank", slices.rank),
    )
    for theirs, found, ours, expected in checks:
        if found != expected:
            raise InputError(
                f"the Trainer's {theirs} should be the loader's {ours} ({expected}), found {found}; set the same"
            )
    if args.max_steps <= 0:
        raise InputError(f"the Trainer's max_steps should be set (the stream has no epochs), found {args.max_steps}")
    if args.restore_callback_states_from_checkpoint:
        raise InputError("restore_callback_states_from_checkpoint should be False: the stream restores itself")
    batches = _TrainerBatches(loader, inputs or language_model_inputs, callback, trainer)
    trainer.get_train_dataloader = lambda: batches
    mend_loading(trainer)
    args.ignore_data_skip = True  # the stream goes on by its state; skipping batches would lose them
    trainer.add_callback(callback)
    return callback


def _vocabulary(model: Any) -> float:
    """Return how many tokens the model has embeddings for; inf where it does not say so."""
    try:
        found = model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        return math.inf
    return found if isinstance(found, int) else math.inf


def _positions(model: Any) -> float:
    """Return how many positions the model has learned; inf where there is no such end (rotary ones have none)."""
    config = getattr(model, "config", None)
    limit = next((v for name in POSITIONS if isinstance(v := getattr(config, name, None), int)), None)
    if limit is None or not isinstance(model, Module):
        return math.inf
    for path, module in model.named_modules():
        name = path.rpartition(".")[2]
        if not isinstance(module, Embedding) or not ("pos" in name or name == "wpe"):
            continue
        if module.padding_idx is not None:  # RoBERTa and its kin count from there on
            return module.num_embeddings - module.padding_idx - 1
        if 0 <= module.num_embeddings - limit <= 2:  # a table may have two rows more, for padding
            return limit
    return math.inf


def check_width(model: Any, width: int, title: str) -> None:
    """Raise InputError if rows are wider than the positions that a model has learned, where it learns them."""
    if width > (limit := _positions(model)):
        raise InputError(
            f"{title} should have at most {limit} tokens, as many as the model has positions, found {width}; give rows "
            f"of context={limit}, or a model with more positions"
        )


def _placeholders(model: Any) -> list[int]:
    """Return the tokens that stand for something else, such as an image, and need no embedding."""
    config = getattr(model, "config", None)
    names = (f"{what}_token_{kind}" for what in ("image", "video", "audio") for kind in ("id", "index"))
    return [token for name in names if isinstance(token := getattr(config, name, None), int)]


class MixtureCallback(TrainerCallback, ExportableState):
    """Keeps the stream's state in the Trainer's, and takes it from there at a resume."""

    def __init__(self, loader: MixtureLoader | None = None) -> None:
        self.loader, self._offset = loader, 0
        self.batches: list[Batch] = []
        self._at: int | None = None

    def state(self) -> dict[str, Any]:
        """Return what `trainer_state.json` keeps: JSON-able."""
        saved = {} if self.loader is None else self.loader.state_dict(self._at)
        return {"args": {}, "attributes": {"stream": saved, "offset": self._offset}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the stream's state out of the checkpoint that the Trainer resumes from."""
        if self.loader is None:
            return
        if state.global_step:
            saved = self.saved(state)
            if not saved.get("stream"):
                raise InputError(
                    "the checkpoint should hold the stream's state (trainer_state.json), found none; it was "
                    "saved without use_stream"
                )
            self._offset = saved["offset"]
            self._load(saved["stream"])
            if self.loader.step != state.global_step + self._offset:
                raise InputError(
                    f"the stream's state should be of step {state.global_step + self._offset}, found "
                    f"{self.loader.step}; the checkpoint is incomplete: use an earlier one"
                )
        else:
            self._offset = self.loader.step - state.global_step
        self._at = None

    def _load(self, state: Mapping[str, Any]) -> None:
        assert self.loader is not None
        try:
            self.loader.load_state_dict(state)
        except InputError as error:
            if (what := str(error).removesuffix(ALLOW)) == str(error):
                raise
            advice = "give a Trainer what its checkpoint had, or begin a training in a new output_dir with its model"
            raise InputError(f"{what}{advice} (from_pretrained)") from error

    def saved(self, state: Any) -> dict[str, Any]:
        """Return what `state()` put into the checkpoint that is resumed from; empty if it did nothing."""
        saved = state.stateful_callbacks.get(type(self).__name__)
        saved = saved[0] if isinstance(saved, list) else saved
        return saved["attributes"] if saved else {}

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Remember which step was done: something may have read further."""
        self._at = state.global_step + self._offset
        # after a resume the Trainer counts the batches that it saw itself, and skips none
        state.epoch = state.global_step / state.max_steps

    def watch(self, batch: Batch) -> None:
        """Keep the batches of the step at work."""
        if self.batches and self.batches[0].step != batch.step:
            self.batches = []
        self.batches.append(batch)


class _TrainerBatches:
    """What the Trainer iterates over: model inputs."""

    def __init__(
        self, loader: MixtureLoader, inputs: Callable[[Batch], Any], callback: MixtureCallback, trainer: Any
    ) -> None:
        self.loader, self.inputs, self.callback = loader, inputs, callback
        self.args, self.model = trainer.args, trainer.model
        self.vocabulary, self._widest = _vocabulary(self.model), 0

    def __len__(self) -> int:
        """Return the batches of the training, one epoch; without a length a finished one takes another step."""
        return int(self.args.max_steps * self.loader.slices.accumulate)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.loader:
            self.callback.watch(batch)
            inputs = self.inputs(batch)
            self._check_tokens(batch, inputs)
            yield inputs
        logger.warning("the stream ends before step %d, and max_steps is %d", self.loader.step, self.args.max_steps)

    def _check_tokens(self, batch: Batch, inputs: Any) -> None:
        """Raise InputError if the model lacks a token or a position: torch says only that an index is out of range."""
        tokens = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
        if not isinstance(tokens, Tensor) or not tokens.numel():
            return
        places = inputs.get("position_ids")
        width = tokens.shape[-1] if places is None else int(places.max()) + 1
        if width > self._widest:  # looked at once for each width: it goes through the model
            check_width(self.model, width, "rows")
            self._widest = width
        if int(tokens.min()) >= 0 and int(tokens.max()) < self.vocabulary:
            return
        self.vocabulary = _vocabulary(self.model)  # it may have grown since
        wrong = (tokens < 0) | (tokens >= self.vocabulary)
        for token in _placeholders(self.model):
            wrong &= tokens != token
        if not wrong.any():
            return
        source = "a source"
        if tokens.ndim == 2 and len(tokens) == len(batch.source):
            row = int(wrong.any(1).nonzero()[0])
            source = f"the source {self.loader.sources.names[int(batch.source[row])]!r}"
        raise InputError(
            f"{source} has the token {int(tokens[wrong][0])}, but the model has {self.vocabulary:.0f} embeddings; "
            "make the rows with the model's own tokenizer, or enlarge the model (model.resize_token_embeddings)"
        )
