"""Training a language model on a mixture: a small loop that can be stopped anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.files.models import holds_model
from mixwright.strategies import Static
from mixwright.strategy import Strategy
from mixwright.text.tokenizer import Tokenizer
from mixwright.text.tokens import TokenStore
from mixwright.training.loop import Evaluate, LanguageModelLoop, Progress
from mixwright.training.others import Others
from mixwright.training.ranks import Ranks
from mixwright.training.reference import Reference
from mixwright.training.result import DivergedError, TrainingResult
from mixwright.training.settings import TrainingSettings
from mixwright.watching.trackers.tracked import NOBODY, Tracked
from mixwright.watching.watcher import Measure

__all__ = ["DivergedError", "TrainingResult", "train"]


def train(
    spec: Mapping[str, Any],
    stores: Mapping[str, TokenStore],
    weights: Sequence[float] | NDArray[np.float64] | Strategy[Any],
    settings: TrainingSettings,
    folder: Path | str,
    tokenizer: Tokenizer,
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    *,
    prior: str | Sequence[float] = "uniform",
    measures: Mapping[str, Measure] | None = None,
    constraints: Constraints | None = None,
    ranks: Ranks | None = None,
    reference: Reference | None = None,
    sampling: Any = None,
    others: Others | None = None,
    anew: bool = True,
    track: Tracked = NOBODY,
) -> TrainingResult:
    """
    Train a language model on a mixture of token stores, or return the result if `folder` already holds it.

    Stopped anywhere, kill -9 included, and called again with the same arguments, it goes on from the last checkpoint
    and ends, on the same machine's CPU and with as many threads, with bitwise the same model. Called with other
    arguments it starts from the beginning, or (`anew=False`) refuses the checkpoint.

    Parameters
    ----------
    spec
        As for `build_model`.
    stores
        The sources; those with weight 0 are not read.
    weights
        [k], shares of rows in the order of `stores`; or a strategy, which gets the training loss of each source
        every `settings.observe_every` steps, and the gradient statistics that it reads. Its decisions are in
        `decisions.jsonl`.
    settings, folder, tokenizer
        How; where to; what the stores were made with.
    progress
        Called as progress("train", steps done, steps in all, note) after each step.
    evaluate
        Model -> {name: loss}, called every `settings.evaluate_every` steps and at the end. An attribute
        `fingerprint` of it, if there is one, is part of what the training is made from.
    prior
        Where a strategy starts: [k], "uniform", or "natural" (in proportion to rows).
    measures
        {field of Observation: model -> array}: what a strategy gets besides, such as "eval_loss".
    constraints
        What weights a strategy may ask for; those it gives are projected.
    ranks
        Among whom the rows of each step are dealt out (`started_ranks`); every rank calls `train`. None: one rank.
    reference
        A model over whose losses the excess of each source is measured, for a strategy that reads `excess_loss`.
    sampling
        What rows are drawn by, while the weights act on the loss: see `sampling_shares`. A row of source s then counts
        w_s / q_s. None: rows are drawn by the weights (by the prior where a strategy acts on the loss alone).
    others
        Where sources are found that are added under way, or that are parts of one; None: the sources stay.
    track
        Trackers that get each line as it is written, on the rank that writes.

    Raises
    ------
    InputError
        If the arguments do not fit, a source is shorter than a context, the strategy or the model cannot be served
        with gradient statistics, the loss stops being finite, or the folder cannot be written. On KeyboardInterrupt a
        checkpoint is written first, where there is one rank.
    """
    folder = Path(folder)
    for name, store in stores.items():
        if store.tokenizer_fingerprint != tokenizer.fingerprint:
            raise InputError(f"the tokens of {name!r} were made with another tokenizer; write them again")
    used, asked = dict(stores), weights
    if sampling is not None and not isinstance(weights, Strategy):
        asked = weights = Static(weights)
    if not isinstance(weights, Strategy):
        values = np.asarray(weights, np.float64)
        if values.shape != (len(stores),):
            raise InputError(f"there should be one weight per source ({len(stores)}), found shape {values.shape}")
        used = {name: store for (name, store), w in zip(stores.items(), values.tolist(), strict=True) if w != 0}
        asked = values[values != 0]
    ranks = ranks or Ranks()
    given = dict(measures or {})
    run = LanguageModelLoop(
        spec,
        used,
        asked,
        settings,
        folder,
        tokenizer,
        progress,
        evaluate,
        prior,
        given,
        constraints,
        ranks,
        reference,
        sampling=sampling,
        others=others,
        track=track,
    )
    name = run.fingerprint
    done = ranks.shared(ranks.main and _finished(folder, name))
    return TrainingResult.read(folder) if done else run.run(anew)


def _finished(folder: Path, name: str) -> bool:
    try:
        result = TrainingResult.read(folder)
    except InputError:
        return False
    return result.fingerprint == name and holds_model(result.model_folder)
