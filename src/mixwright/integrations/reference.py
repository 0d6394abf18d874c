"""A reference model in a Trainer: its loss of each token, one forward pass per row, kept by the row's content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.batch_losses import row_excess
from mixwright.checks import check_context
from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.models import check_model_folder
from mixwright.gradients.distributed import sum_over_ranks
from mixwright.integrations.loss_weights import shifts_labels
from mixwright.integrations.row_losses import IGNORED, targets_of, token_nats
from mixwright.strategy import Strategy
from mixwright.watching.kept_losses import KEY, KeptLosses
from mixwright.watching.reference import REPORTED, Reference, reads_reference

Array = NDArray[np.float64]
_NOT_OF_THE_MODEL = ("labels", "shift_labels", "num_items_in_batch")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "tokenizer.model")


def trainer_reference(
    trainer: Any, given: Any, strategy: Strategy[Any], context: int | None, fused: bool
) -> TrainerReference | None:
    """
    Return the reference of a Trainer, checked; None if none is given. The model is not loaded.

    Parameters
    ----------
    trainer
        Before it trains.
    given
        The folder of a model, a Reference, or None. The clip of a folder is what the strategy asks for.
    strategy
        Of the mixture: it should read what a reference makes possible.
    context
        Tokens per row, if it is known.
    fused
        Whether the Trainer asks models for a loss that is fused with the head.

    Raises
    ------
    InputError
        The strategy reads nothing of it, or its losses cannot be compared with those of the model in training.
    """
    if given is None:
        return None
    if not isinstance(given, Reference | str | PathLike):
        raise InputError(
            f"reference should be the folder of a model, or a Reference, found {type(given).__name__}; save the model, "
            "with its tokenizer, and give the folder"
        )
    if not reads_reference(strategy):
        raise InputError(
            f"reference should go with a strategy that reads {' or '.join(sorted(REPORTED))}, found {strategy!r}; "
            "leave it out, or use a strategy such as DoReMi or LossRatio"
        )
    made = given if isinstance(given, Reference) else Reference(Path(given), strategy.excess_clip)
    found = TrainerReference(trainer, replace(made, path=Path(made.path)), fused)
    found.check(context)
    return found


class TrainerReference:
    """
    The reference's losses of the rows that a Trainer trains on, and of its held-out data.

    A row goes through the model when it is first drawn, with the rows of its micro-batch; then its losses come from a
    file of this rank, in the folder reference_losses of the Trainer's output. Rows are known by their content: the
    model's inputs and labels, without padding.

    Attributes
    ----------
    reference
        The model's folder, and where excess is clipped.
    """

    def __init__(self, trainer: Any, reference: Reference, fused: bool) -> None:
        self._trainer, self.reference, self._fused = trainer, reference, fused
        self._measured: Array | None = None  # it does not change

    @property
    def tokens(self) -> int:
        """Return how many tokens this rank's rows have, each row counted once: the cost is a forward pass over them."""
        return self._kept.tokens if "_kept" in vars(self) else 0

    def check(self, context: int | None) -> None:
        """Raise InputError if the model's losses cannot be compared with those of the model in training."""
        folder, trainer = self.reference.path, self._trainer
        check_model_folder(folder)
        if not shifts_labels(trainer):
            raise InputError(
                "a reference needs a causal language model, whose loss shifts the labels by one, found "
                f"{type(trainer.accelerator.unwrap_model(trainer.model)).__name__}; leave reference out"
            )
        config, own = _config_of(folder), trainer.accelerator.unwrap_model(trainer.model).config
        theirs, ours = _vocabulary(folder), _vocabulary_of(trainer.processing_class)
        advice = "give a reference that was trained with this tokenizer"
        if theirs is not None and ours is not None and theirs != ours:
            raise InputError(
                f"the reference {folder} should have the tokenizer of this training, found another; {advice}"
            )
        known = theirs is not None and ours is not None
        if not known and config.vocab_size != own.vocab_size:  # one may be padded where the tokenizers are the same
            raise InputError(
                f"the reference {folder} should have the vocabulary of the model in training ({own.vocab_size}), found "
                f"{config.vocab_size}; {advice}"
            )
        if context is not None:
            check_context(config, context, f"the reference {folder}")

    def excess(self, inputs: Mapping[str, Any], targets: Tensor, nats: Tensor, tokens: Tensor) -> Tensor:
        """
        Return [b], the sums over rows of what their tokens' losses are above the reference's, clipped.

        Parameters
        ----------
        inputs, targets
            Of a micro-batch: the model's, and what each position should predict [b, t].
        nats
            [b, t] (or one position less) losses of the model in training.
        tokens
            [b] how many count.
        """
        mine, losses = nats.detach().double().cpu().numpy(), np.zeros(tuple(targets.shape))
        if losses.shape[1] - mine.shape[1] not in (0, 1):  # the last position may have nothing to predict
            raise InputError(
                f"with a reference there should be a loss for each of the {losses.shape[1]} positions of a row, found "
                f"{mine.shape[1]}; do without tokens that are added to rows (prompt learning)"
            )
        losses[:, : mine.shape[1]] = mine
        counted = tokens.cpu().numpy()
        rows = row_excess(losses, self.of(inputs, targets), self.reference.clip, counted)
        return torch.from_numpy(rows * counted).to(nats.device, nats.dtype)

    def of(self, inputs: Mapping[str, Any], targets: Tensor) -> Array:
        """Return [b, t]: the losses, nats, of what each position should predict; 0 where nothing is learned."""
        learned = targets.ne(IGNORED).cpu().numpy()
        keys = row_keys(inputs, targets)
        if not self._kept.has(keys):
            # the whole micro-batch, also where some rows are known: a resumed training computes the same numbers
            losses = self._computed(inputs, targets).float().cpu().numpy()
            if not np.isfinite(losses[learned]).all():
                raise InputError(
                    f"the reference {self.reference.path} should give finite losses, found others; choose another"
                )
            self._kept.add(keys, [row[here] for row, here in zip(losses, learned, strict=True)])
        found = np.zeros(learned.shape)
        found[learned] = np.concatenate(self._kept.read(keys))
        return found

    def held_out(self, names: tuple[str, ...]) -> Array:
        """Return `reference_loss` [k]: the reference's loss of the held-out data of each source, as the Trainer's."""
        if self._measured is None:
            self._measured = np.array([self._held_out_loss(name) for name in names])
        return self._measured

    def flush(self) -> None:
        """Put what is kept on disk: a checkpoint relies on it."""
        if "_kept" in vars(self):
            self._kept.flush()

    @cached_property
    def _kept(self) -> KeptLosses:
        args, precision = self._trainer.args, [str(self._dtype), str(self._trainer.accelerator.mixed_precision)]
        folder, name = Path(args.output_dir) / "reference_losses", [self.reference.fingerprint, *precision]
        return KeptLosses(folder / f"{fingerprint(name)}-rank{args.process_index}.losses")

    @property
    def _dtype(self) -> torch.dtype:
        found: torch.dtype = next(self._trainer.model.parameters()).dtype
        return found

    @cached_property
    def _model(self) -> Any:
        # loaded at the first row that is not known; in the precision of the model in training, as losses are compared
        from transformers import AutoModelForCausalLM

        loader: Any = AutoModelForCausalLM
        try:
            model = loader.from_pretrained(
                str(self.reference.path), local_files_only=True, trust_remote_code=False, dtype=self._dtype
            )
        except Exception as error:  # files of weights fail in every way
            raise InputError(f"{self.reference.path}: {_in_words(error)}; give another reference") from error
        return model.eval().requires_grad_(False).to(self._trainer.args.device)

    @torch.no_grad()
    def _computed(self, inputs: Mapping[str, Any], targets: Tensor) -> Tensor:
        device = self._trainer.args.device
        given = {n: v.to(device) if isinstance(v, Tensor) else v for n, v in inputs.items()}
        given = {name: value for name, value in given.items() if name not in _NOT_OF_THE_MODEL}
        check_context(self._model.config, targets.shape[1], f"the reference {self.reference.path}")
        with self._trainer.compute_loss_context_manager():
            logits = self._model(**{**given, "use_cache": False}).logits
        return token_nats(logits, targets.to(device))

    def _held_out_loss(self, name: str) -> float:
        """Return a mean over rows of their batches' losses, since that is what the Trainer reports of its model."""
        sums = np.zeros(2)
        for batch in self._trainer.get_eval_dataloader(name):
            inputs = self._trainer._prepare_inputs(batch)
            targets = targets_of(inputs, True)
            sums += len(targets) * np.array([self._batch_loss(inputs, targets), 1.0])
        total, rows = sum_over_ranks(sums, self._trainer.args.device)
        return float(total / rows)

    def _batch_loss(self, inputs: Mapping[str, Any], targets: Tensor) -> float:
        if self._fused:  # this Trainer's own loss asks for a fused head, which the reference does not have
            return float(self._computed(inputs, targets).sum() / targets.ne(IGNORED).sum().clamp(min=1))
        loss, *_ = self._trainer.prediction_step(self._model, dict(inputs), True)
        return float(loss)


def row_keys(inputs: Mapping[str, Any], targets: Tensor) -> list[bytes]:
    """
    Return a name for each row [b] by its content: what the model reads of it and should predict, without padding.

    Padding is where the attention mask is 0; without one, nothing is.
    """
    mask = inputs.get("attention_mask")
    parts = {n: v for n, v in inputs.items() if isinstance(v, Tensor) and n not in _NOT_OF_THE_MODEL}
    arrays = {name: _flat(value) for name, value in sorted(parts.items()) if len(value) == len(targets)}
    wanted = _flat(targets).reshape(len(targets), -1)
    seen = None if mask is None or mask.shape != targets.shape else mask.ne(0).cpu().numpy()
    keys = []
    for i in range(len(targets)):
        digest = blake2b(digest_size=KEY)
        for name, values in arrays.items():
            row = values[i]
            own = row[seen[i]] if seen is not None and row.shape[:1] == seen[i].shape else row
            digest.update(f"{name} {own.shape} {own.dtype}".encode() + own.tobytes())
        digest.update(wanted[i][wanted[i] != IGNORED].tobytes())
        keys.append(digest.digest())
    return keys


def _flat(values: Tensor) -> NDArray[Any]:
    found = values.detach().cpu()
    array: NDArray[Any] = (found.float() if found.dtype == torch.bfloat16 else found).numpy()
    return array


def _config_of(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # configurations fail in every way
        raise InputError(f"{folder}: there should be a model (config.json); {_in_words(error)}") from error


def _vocabulary(folder: Path) -> dict[str, int] | None:
    """Return the vocabulary of the tokenizer that a model came with; None if it came with none."""
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return None
    try:
        return _vocabulary_of(
            AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        )
    except Exception as error:  # tokenizers fail in every way
        raise InputError(f"{folder}: there should be a tokenizer that can be read; {_in_words(error)}") from error


def _vocabulary_of(tokenizer: Any) -> dict[str, int] | None:
    inner = getattr(tokenizer, "tokenizer", tokenizer)  # of a processor of text and images
    return dict(inner.get_vocab()) if hasattr(inner, "get_vocab") else None


def _in_words(error: Exception) -> str:
    return f"reading it failed: {' '.join(str(error).split())}"
