"""The reference model of a run over texts: a folder, or a model that is trained on the prior first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixwright.experiment.text.proxies.reference_config import ReferenceConfig
from mixwright.watching.reference import Reference

if TYPE_CHECKING:
    from mixwright.experiment.core.stages import Progress
    from mixwright.experiment.text.evaluation import HeldOut
    from mixwright.text import Tokenizer, TokenStore
    from mixwright.training.ranks import Ranks
    from mixwright.training.settings import TrainingSettings


@dataclass(frozen=True)
class MadeReference:
    """
    A reference that is ready.

    Parameters
    ----------
    reference
        Where the model is, and how excess is clipped.
    tokens, flops, seconds
        What its training took in this run; 0 for a model from elsewhere.
    """

    reference: Reference
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0


def make_reference(
    config: ReferenceConfig,
    clip: str,
    spec: Mapping[str, Any],
    stores: Mapping[str, TokenStore],
    prior: str | Sequence[float],
    settings: TrainingSettings,
    folder: Path,
    tokenizer: Tokenizer,
    progress: Progress | None,
    ranks: Ranks | None = None,
    anew: bool = True,
) -> MadeReference:
    """
    Return the reference; one that is to be trained is trained in `folder`, or resumed.

    It is trained like the run itself (`settings`, the model `spec`, the same seed), with the prior as fixed weights.
    `clip` is what the strategy asks for; the configuration comes first.
    """
    from mixwright.training.language_model import train

    clip = config.clip or clip
    if config.path is not None:
        return MadeReference(Reference(config.path, clip))
    own = _settings(config, settings)
    weights = _prior(prior, [store.rows(own.context) for store in stores.values()])
    trained = train(spec, stores, weights, own, folder, tokenizer, progress, ranks=ranks, anew=anew)
    return MadeReference(Reference(trained.model_folder, clip), trained.tokens, trained.flops, trained.seconds)


def _settings(config: ReferenceConfig, settings: TrainingSettings) -> TrainingSettings:
    same = replace(settings, evaluate_every=0, statistics="needed", ema=None)
    if config.tokens is None:
        return same
    steps = max(1, -(-config.tokens // (settings.batch_size * settings.context)))
    warmup = round(settings.warmup / settings.steps * steps)
    return replace(same, steps=steps, warmup=warmup)


def _prior(prior: str | Sequence[float], rows: Sequence[int]) -> list[float]:
    if prior == "uniform":
        return [1 / len(rows)] * len(rows)
    return [n / sum(rows) for n in rows] if prior == "natural" else [float(w) for w in prior]


def reference_measure(reference: Reference, held: HeldOut, context: int) -> Callable[[Any], Any]:
    """Return the measure of `reference_loss` [k]: the reference's loss on the texts that `eval_loss` is measured on."""
    found: list[Any] = []

    def measure(model: Any) -> Any:
        if not found:  # the reference does not change
            from mixwright.training.model import build_model

            own = build_model({"path": str(reference.path)}, held.tokenizer, context, 0)
            found.append(np.asarray(held.strategy_source_losses(own)))
        return found[0]

    return measure
