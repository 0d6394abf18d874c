"""Switching a model's layers for the duration of a `with`: by their class, nothing in the modules is rewritten."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from mixwright.errors import InputError
from mixwright.gradients.layers import NAME, Layer

_CLASSES: dict[Any, type] = {}


@contextmanager
def observed(layers: Iterable[Layer]) -> Iterator[None]:
    """Let layers report to their probes; at the end, however it comes, each module is as it was."""
    switched: list[tuple[Layer, type]] = []
    try:
        for layer in layers:
            if NAME in vars(layer.module):
                raise InputError("a model should be observed once at a time, found an observe() within another one")
            original = type(layer.module)
            vars(layer.module)[NAME] = layer
            switched.append((layer, original))
            # a class and not an attribute: hooks, state_dict and compiled code see the same module
            layer.module.__class__ = _observing(original, layer)
        yield
    finally:
        for layer, original in switched:
            layer.module.__class__ = original
            del vars(layer.module)[NAME]


def _observing(original: type, layer: Layer) -> type:
    """Return a class like the module's that runs the layer's forward; the same one each time, for compiled code."""
    key = (original, layer.forward)
    if key not in _CLASSES:
        _CLASSES[key] = type(f"Observed{original.__name__}", (original,), {"forward": layer.forward})
    return _CLASSES[key]
