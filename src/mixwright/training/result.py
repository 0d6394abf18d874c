"""What a finished training leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixwright.errors import InputError


class DivergedError(InputError):
    """A training whose numbers stop being finite: the learning rate is too high."""


@dataclass(frozen=True)
class TrainingResult:
    """
    A finished training.

    Attributes
    ----------
    folder
        Holds `model/` (transformers' own format; with `ema` of averaged weights), `metrics.jsonl` (a line per step) and
        `result.json`.
    steps, tokens, seconds, flops
        Of this training; seconds of work, pauses between a stop and a resume left out.
    curve
        Per evaluation {"step", "tokens", "train_loss": mean nats per token since the last one (None: no step had a
        finite one), "source_train_loss": {source: the same}, "loss": what `evaluate` returned}. With averaged weights
        the losses are of these, and the last point has "last_weights_loss", too: of the last step's weights.
    fingerprint
        Names all that the training was made from.
    weights
        {source: weight} in the last step: shares of the rows, or of the objective where `sampling` is not empty.
    sampling
        {source: share of rows} that rows were drawn by, where the weights acted on the loss; empty elsewhere.
    ledger
        What was asked of each source and what it gave (`Ledger.to_json`).
    average
        {source: mean weight} where the strategy's answer is a mean over the run (`Strategy.average`); else None.
    reference_tokens, reference_flops
        What the passes of the reference model took; 0 without one.
    skipped
        Steps without an update, since a loss or the gradient was not finite.
    notes
        Sentences that belong beside the result.
    """

    folder: Path
    steps: int
    tokens: int
    seconds: float
    flops: float
    curve: list[dict[str, Any]]
    fingerprint: str
    weights: dict[str, float] = field(default_factory=dict)
    sampling: dict[str, float] = field(default_factory=dict)
    ledger: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    average: dict[str, float] | None = None
    reference_tokens: int = 0
    reference_flops: float = 0.0

    @property
    def model_folder(self) -> Path:
        """Return the folder that {"path": ...} of `build_model` reads."""
        return self.folder / "model"

    @classmethod
    def read(cls, folder: Path | str) -> TrainingResult:
        """Read the result of a finished training; InputError if there is none."""
        folder = Path(folder)
        try:
            values = json.loads((folder / "result.json").read_text(encoding="utf-8"))
            return cls(folder=folder, **values)
        except (OSError, ValueError, TypeError):
            raise InputError(f"{folder}: there should be a finished training (result.json), found none") from None
