"""Supervised fine-tuning on the better answers of pairs: only tokens of answers count in the loss."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Trainer

from mixwright.errors import InputError
from mixwright.integrations.row_losses import IGNORED, count_tokens, row_nats, targets_of
from mixwright.integrations.transformers import use_mixture
from mixwright.preference.fitting import CHECKPOINTS, FitSettings, _Journal, _quiet
from mixwright.preference.pairs.encode import EncodedPairs
from mixwright.stream.sources.source import Source, as_rows
from mixwright.training.model import no_bars
from mixwright.watching.trackers.tracked import NOBODY, Tracked


class AnswerRow(NamedTuple):
    """Tokens of prompt and answer, int32 [t], and where the answer starts."""

    tokens: NDArray[np.int32]
    start: int


class AnswerRows(Source):
    """
    The better answers of encoded pairs, each after its prompt, as a source of the stream.

    Pairs that share a prompt and its better answer (one for each worse answer) are a row each.

    Parameters
    ----------
    encoded
        From `encode_pairs`.
    """

    def __init__(self, encoded: EncodedPairs) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.encoded)

    def gather(self, rows: NDArray[np.int64]) -> list[AnswerRow]:
        """Return rows [m]; see Source."""
        return [AnswerRow(*self.encoded.sequence(i, "chosen")) for i in as_rows(rows, len(self)).tolist()]

    def _content(self) -> bytes:
        return f"answers {self.encoded.fingerprint}".encode()

    def where(self, row: int) -> str:
        """Return the file and the line of a row."""
        return self.encoded.place(row)


class AnswerLosses(NamedTuple):
    """
    What a model makes of answers.

    Attributes
    ----------
    nats
        float64 [n], minus the log-likelihood of each answer given its prompt.
    tokens
        int64 [n], how many tokens of it the model predicts.
    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]

    @property
    def mean(self) -> float:
        """The loss, nats per token over all answers."""
        return float(self.nats.sum() / self.tokens.sum())


def collate_answers(pad: int) -> Callable[[list[AnswerRow]], dict[str, torch.Tensor]]:
    """Return a function from rows to {"input_ids", "attention_mask", "labels"} int64 [b, t], padded on the right."""
    return functools.partial(_collated, pad=pad)


def _collated(rows: list[AnswerRow], pad: int) -> dict[str, torch.Tensor]:
    shape = (len(rows), max(len(row.tokens) for row in rows))
    ids, labels, mask = (torch.full(shape, value, dtype=torch.long) for value in (pad, IGNORED, 0))
    for i, row in enumerate(rows):
        tokens = torch.from_numpy(row.tokens.astype(np.int64))
        ids[i, : len(tokens)] = tokens
        labels[i, row.start : len(tokens)] = tokens[row.start :]
        mask[i, : len(tokens)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@torch.no_grad()
def answer_losses(model: Any, encoded: EncodedPairs, batch_size: int = 16) -> AnswerLosses:
    """Return the losses of the better answers of all pairs; the model is as before afterwards."""
    rows, device = AnswerRows(encoded), next(model.parameters()).device
    order = np.argsort([-len(row.tokens) for row in rows.gather(np.arange(len(rows)))], kind="stable")
    nats, tokens = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    training = model.training
    model.eval()
    for start in range(0, len(rows), batch_size):
        some = order[start : start + batch_size]
        inputs = {name: value.to(device) for name, value in _collated(rows.gather(some), 0).items()}
        targets = targets_of(inputs, True)
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
        nats[some], tokens[some] = row_nats(logits, targets).cpu().numpy(), count_tokens(targets).cpu().numpy()
    model.train(training)
    return AnswerLosses(nats, tokens)


def fine_tune(
    model: Any,
    sources: Mapping[str, EncodedPairs],
    weights: Mapping[str, float],
    settings: FitSettings,
    folder: Path | str,
    *,
    pad: int,
    checkpoints: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    track: Tracked = NOBODY,
) -> Any:
    """
    Fine-tune a model on the better answers, or do the rest of that, and return its TrainerMixture.

    Stopped in whatever way and called again it goes on from the last complete checkpoint, and on a CPU ends with the
    same model bit by bit.

    Parameters
    ----------
    model
        The model at the start, also where the training goes on; it is trained in place. PEFT's models, too.
    sources
        {name: encoded pairs}.
    weights
        {source: its share of each step's rows}.
    settings
        How to train; a step's loss is the mean over all tokens of its answers.
    folder
        Gets metrics.jsonl, a line per step.
    pad
        The token of padding.
    checkpoints
        Where checkpoints are until `forget_checkpoints`. Default: `folder`.
    progress
        Called as `progress(steps done, steps in all)`.
    track
        Trackers that get each line as it is written.

    Raises
    ------
    InputError
        As from `use_mixture`; a loss that is not finite names its source.
    """
    kept = (checkpoints or Path(folder)) / CHECKPOINTS
    trainer = Trainer(model, settings.arguments(kept))
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in ("PrinterCallback", "ProgressCallback"):
            trainer.remove_callback(callback)
    rows = {name: AnswerRows(encoded) for name, encoded in sources.items()}
    shares = [float(weights[name]) for name in rows]
    mixture = use_mixture(trainer, rows, shares, statistics=None, collate=collate_answers(pad), control=False)
    trainer.add_callback(_Journal(Path(folder), None, progress, settings, track=track))
    last = _last_whole(kept)
    with no_bars(), _quiet(last is not None):
        trainer.train(resume_from_checkpoint=last)
    return mixture


def _last_whole(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole: trainer_state.json is written last."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for place in found:
        try:
            state = json.loads((place / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if state.get("global_step") == int(place.name.rpartition("-")[2]):
            return str(place)
    return None


def shares_of(weights: str | Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """
    Return {source: share} of "uniform", "natural" (by the number of pairs), or of weights by name.

    Raises
    ------
    InputError
        There is no such word.
    """
    if isinstance(weights, Mapping):
        return {name: float(weights[name]) for name in sizes}
    if weights not in ("uniform", "natural"):
        raise InputError(f"weights should be uniform, natural or {{source: weight}}, found {weights!r}; choose one")
    whole = sum(sizes.values())
    return {name: size / whole if weights == "natural" else 1 / len(sizes) for name, size in sizes.items()}
