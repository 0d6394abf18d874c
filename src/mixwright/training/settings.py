"""How to train: settings that are checked, and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from mixwright.errors import InputError

_FINAL_SHARE = 0.1
_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "context": 1,
    "warmup": 0,
    "evaluate_every": 0,
    "observe_every": 1,
    "lag": 1,
    "accumulate": 1,
    "statistics_steps": 1,
}
_LATER = ("statistics", "statistics_steps", "statistics_metric", "accumulate", "precision", "non_finite", "ema")
_MOST_AVERAGED = 0.5  # share of a training
_WORDS = {
    "precision": ("auto", "float32", "bfloat16"),
    "non_finite": ("stop", "skip"),
    "statistics": ("needed", "always"),
    "statistics_metric": ("plain", "adam"),
}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """
    How to train.

    Parameters
    ----------
    steps, batch_size, context
        Optimiser steps, rows per step, tokens per row.
    learning_rate, warmup, weight_decay
        AdamW's largest learning rate, reached after `warmup` steps and lowered along a cosine to a tenth at the end;
        decay of matrices (not of biases, gains and other vectors).
    seed
        Names the new weights and the order of the rows.
    evaluate_every
        Steps between evaluations; 0: at the end only.
    checkpoint_seconds
        Longest time between checkpoints. It does not change the result.
    max_epochs
        How often a source may be gone through; what it cannot give goes to the others. None: no limit.
    observe_every, lag
        Where a strategy gives the weights: steps between its observations, and from one to the first step of the
        weights that follow.
    statistics, statistics_steps
        Gradient statistics per source: "needed" (where the strategy reads them) or "always". They are taken in the last
        `statistics_steps` steps before each observation: recent, since a strategy acts on them, and several, since
        one step may have too few rows of a source.
    statistics_metric
        "plain", or "adam": norms of the gradient as the optimiser scales it, each parameter by its second moment. See
        `GradientStatistics`.
    accumulate
        Micro-batches that a step's rows are dealt out to, on each rank.
    precision
        "float32", "bfloat16" (autocast), or "auto": bfloat16 on a GPU.
    non_finite
        What happens at a loss or gradient that is not finite: "stop", or "skip" the update of that step.
    ema
        Evaluate, and keep, averaged weights: their exponential moving average over about this share of the steps, at
        most .5. None: the weights of the last step. Training and observations are the same with and without.
    """

    steps: int
    batch_size: int = 32
    context: int = 128
    learning_rate: float = 1e-3
    warmup: int = 0
    weight_decay: float = 0.1
    seed: int = 0
    evaluate_every: int = 0
    checkpoint_seconds: float = 20.0
    max_epochs: float | None = None
    observe_every: int = 10
    lag: int = 8
    statistics: str = "needed"
    statistics_steps: int = 4
    statistics_metric: str = "plain"
    accumulate: int = 1
    precision: str = "auto"
    non_finite: str = "stop"
    ema: float | None = None

    def __post_init__(self) -> None:
        """Check each value."""
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} should be a whole number of at least {least}, found {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InputError(f"seed should be a whole number of at least 0, found {self.seed!r}")
        if self.warmup > self.steps:
            raise InputError(f"warmup should be at most the number of steps ({self.steps}), found {self.warmup}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate should be a number above 0, found {self.learning_rate!r}")
        for name in ("weight_decay", "checkpoint_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} should be a number of at least 0, found {value!r}")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise InputError(f"{name} should be {' or '.join(words)}, found {getattr(self, name)!r}")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"batch_size should be a multiple of accumulate ({self.accumulate}), found {self.batch_size}; change "
                "one of them"
            )
        if self.max_epochs is not None and not (math.isfinite(self.max_epochs) and self.max_epochs > 0):
            raise InputError(f"max_epochs should be a number above 0, found {self.max_epochs!r}")
        check_ema(self.ema, self.steps)


def check_ema(ema: float | None, steps: int) -> None:
    """Raise InputError if weights cannot be averaged over a share `ema` of a training of `steps` steps."""
    if ema is None:
        return
    if isinstance(ema, bool) or not isinstance(ema, int | float) or not 0 < ema <= _MOST_AVERAGED:
        raise InputError(
            "ema should be the share of the steps that weights are averaged over, above 0 and at most "
            f"{_MOST_AVERAGED:g} (0.05, or 5 %, is usual), found {ema!r}; a decay d is 1 / ((1 - d) x steps) as a share"
        )
    if ema * steps < 2:
        raise InputError(
            f"ema should be over at least 2 steps, found {ema:g} of {steps}; raise it, train for longer, or remove it"
        )


def ema_notes(ema: float | None) -> list[str]:
    """Return a sentence that belongs beside results, if they are of averaged weights."""
    if ema is None:
        return []
    return [
        f"losses and models are of averaged weights (ema: {ema:g}, over about {100 * ema:g} % of the steps), not of "
        "those of the last step"
    ]


def described(settings: TrainingSettings) -> dict[str, Any]:
    """
    Return the settings by name, for what names a training.

    Those that came later are left out at their default: what was trained before them is still known.
    """
    later = {field.name: field.default for field in fields(settings) if field.name in _LATER}
    return {name: value for name, value in asdict(settings).items() if name not in later or value != later[name]}


def learning_rate_at(step: int, settings: TrainingSettings) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then a cosine down to a tenth."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    share = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (_FINAL_SHARE + (1 - _FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * share)))
