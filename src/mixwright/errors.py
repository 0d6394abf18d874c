"""Errors that a user can fix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class InputError(ValueError):
    """Bad input: the message says what should be, what was found and what to do. Commands exit with status 2 on it."""


class UnreachableError(InputError):
    """A cluster does not answer; what was handed over to it goes on, and is found again later."""


class MissingExtraError(ImportError):
    """An optional part is not installed; the message is the one line that installs it."""


class DryRun(Exception):
    """
    A command ends before its work, as it was asked to.

    Parameters
    ----------
    text
        Says what it wrote and how to go on.
    scripts
        What it wrote.
    """

    def __init__(self, text: str, scripts: Sequence[Path] = ()) -> None:
        super().__init__(text)
        self.scripts = list(scripts)


class AlarmWarning(UserWarning):
    """A strategy's alarm (weights that collapse, an observation that cannot be used); the training goes on."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for an optional package that is absent; `extra` is the part of mixwright that needs it."""
    return MissingExtraError(f"this needs the package {package!r}; install it with: pip install 'mixwright[{extra}]'")
