"""Errors that a user can fix."""


class InputError(ValueError):
    """Bad input: the message says what should be, what was found and what to do. Commands exit with status 2 on it."""


class MissingExtraError(ImportError):
    """An optional part is not installed; the message is the one line that installs it."""


class DryRun(Exception):
    """A command ends before its work, as it was asked to; the text says what it wrote and how to go on."""


class AlarmWarning(UserWarning):
    """A strategy's alarm (weights that collapse, an observation that cannot be used); the training goes on."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Return the error for an optional package that is absent; `extra` is the part of mixwright that needs it."""
    return MissingExtraError(f"this needs the package {package!r}; install it with: pip install 'mixwright[{extra}]'")
