"""What every tracker does, and which there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from mixwright.errors import InputError, missing_extra

PROJECT = "mixwright"  # where the tracker's own settings name none
TRACKERS = {
    "tensorboard": "tensorboard:TensorBoard",
    "wandb": "wandb:WeightsAndBiases",
    "mlflow": "mlflow:MLflow",
    "trackio": "trackio:Trackio",
}


@dataclass
class About:
    """
    What a tracker knows of a run.

    Parameters
    ----------
    name, group
        Of the run, and of those that belong together.
    folder
        Of the run; a tracker that writes files into it takes a folder of its own there.
    facts
        {what: value}, such as arm and seed.
    config
        The configuration, JSON-able.
    ids
        {tracker: what names the run there}: filled by the trackers, and kept, so that a resumed run goes on there.
    """

    name: str
    group: str
    folder: Path
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)


class Tracker(ABC):
    """One run in one tracker. Whatever a method raises ends the tracking there, never the run."""

    package: ClassVar[str]  # what it needs installed

    @classmethod
    def load(cls) -> None:
        """Import what it needs: a package that is there may be broken."""
        import_module(cls.package)

    @classmethod  # noqa: B027 - not every tracker needs more than its package
    def check(cls) -> None:
        """Raise InputError, before any work, if the tracker cannot be used here; nothing is sent for that."""

    @classmethod  # noqa: B027 - not every tracker has a server
    def reach(cls) -> None:
        """Raise InputError, within seconds, if the server where runs go does not answer."""

    @classmethod  # noqa: B027 - not every tracker has a store of its own
    def prepare(cls) -> None:
        """Make what the processes of a run share, before they begin."""

    @abstractmethod
    def open(self, about: About, step: int) -> int:
        """
        Begin, or go on with the run that `about.ids` names; return the last step whose numbers it has.

        Parameters
        ----------
        about
            Of the run.
        step
            The last step that is done: what a former process did after it comes again.
        """

    @abstractmethod
    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step."""

    @abstractmethod
    def words(self, step: int, kind: str, text: str) -> None:
        """Take a sentence: `kind` is "decision", "alarm" or "verdict"."""

    def keep(self, path: Path) -> None:  # noqa: B027 - not every tracker keeps files
        """Keep a file of the run, such as its page, where the tracker keeps files."""

    def flush(self) -> None:  # noqa: B027 - not every tracker holds back
        """Put on disk, or send, what was taken so far."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the run; `failed`: it was stopped before its end."""


def tracker_of(name: str) -> type[Tracker]:
    """Return a tracker by name."""
    module, _, own = TRACKERS[name].partition(":")
    found: type[Tracker] = getattr(import_module(f"{__package__}.{module}"), own)
    return found


def check_trackers(names: Sequence[str], where: str, begun: bool = False) -> None:
    """
    Raise InputError if one of these trackers is not installed or not logged in, or a new run does not reach its server.

    Parameters
    ----------
    names
        Of `TRACKERS`.
    where
        Stands for the key in the message.
    begun
        Whether the run has begun: a server that is away never stops it then.
    """
    for name in names:
        kind = tracker_of(name)
        if find_spec(kind.package) is None:
            raise InputError(
                f"{where}: {name} should be installed, found no package {kind.package!r}; install it: pip install "
                f"'mixwright[track]' (or {kind.package} alone), or remove {name}"
            )
        try:
            kind.load()
        except Exception as error:  # whatever a broken package raises
            raise InputError(f"{where}: {missing_extra(kind.package, 'track')}, or remove {name}") from error
        try:
            kind.check()
            if not begun:
                kind.reach()
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        except Exception as error:  # whatever it says of its own settings
            said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise InputError(
                f"{where}: {name} should take its settings, found {said}; correct its variables, or remove {name}"
            ) from error
