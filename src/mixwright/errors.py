"""Errors that a user can fix."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

_MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml"}  # imported by another name


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
    """
    Return the error for an optional package that is absent; `extra` is the part of mixwright that needs it.

    Where an import failed although the package is there, the message says why: a package that it
    needs is absent, or a version does not fit.
    """
    error, name = sys.exception(), _MODULES.get(package, package).partition(".")[0]
    if isinstance(error, Exception) and _is_there(name):
        why = " ".join(str(error).split())
        return MissingExtraError(
            f"the package {package!r} is installed, but could not be imported ({why}); install what it needs, or "
            f"versions that fit together: pip install --upgrade 'mixwright[{extra}]'"
        )
    return MissingExtraError(f"this needs the package {package!r}; install it with: pip install 'mixwright[{extra}]'")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
