"""A reference model, and which fields of an observation it makes possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mixwright.batch_losses import TOKEN_CLIPS
from mixwright.errors import InputError
from mixwright.files.models import model_fingerprint
from mixwright.strategy import Strategy

REPORTED = frozenset({"excess_loss", "reference_loss"})  # what an observation has only with a reference


@dataclass(frozen=True)
class Reference:
    """
    A reference model, over whose losses the excess of a training is measured.

    Parameters
    ----------
    path
        Folder of the model, in transformers' format.
    clip
        Where a negative excess becomes 0: per "token" (DoReMi), per "example" (a row's mean), or nowhere ("none").

    Raises
    ------
    InputError
        If `clip` is none of the three.
    """

    path: Path
    clip: str = "token"

    def __post_init__(self) -> None:
        """Check the clip."""
        if self.clip not in TOKEN_CLIPS:
            raise InputError(f"clip should be {' or '.join(map(repr, TOKEN_CLIPS))}, found {self.clip!r}")

    @cached_property
    def fingerprint(self) -> str:
        """Name the model's files, those of an adapter's base too."""
        return model_fingerprint(self.path)


def reads_reference(strategy: Strategy[Any]) -> bool:
    """Say whether a strategy reads what takes a reference model."""
    # not `uses`: a Guard would watch excess losses if there are any
    return bool(strategy.needs & REPORTED)
