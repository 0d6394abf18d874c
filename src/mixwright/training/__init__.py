"""Language models: train, evaluate, score."""

from mixwright.lazy import lazy

_LATER = {
    "Reference": "reference",
    "TrainingResult": "result",
    "TrainingSettings": "settings",
    "train": "language_model",
}

__all__ = [*_LATER]

__getattr__ = lazy(__name__, _LATER, {"torch": "lm", "transformers": "lm"})
