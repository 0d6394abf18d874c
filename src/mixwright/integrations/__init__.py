"""Mixtures in other people's trainers; each module needs the library that it is named after."""

from mixwright.lazy import lazy

__all__ = ["use_mixture"]

__getattr__ = lazy(__name__, {"use_mixture": "transformers"}, {"torch": "lm"})
