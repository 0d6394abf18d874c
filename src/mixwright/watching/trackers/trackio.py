"""trackio: a local database, or a Space or server where its settings name one."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from mixwright.watching.trackers.tracker import PROJECT, About, Tracker

_QUIET = Lock()  # one at a time has trackio's words


class Trackio(Tracker):
    """
    A run of trackio in the project TRACKIO_PROJECT.

    trackio knows a run by its name, so the name ends with a number that no other run has. It writes twice a second: a
    process that is killed may leave out the steps since then.
    """

    package = "trackio"

    def open(self, about: About, step: int) -> int:
        """Begin a run, or go on with it."""
        import trackio

        again = "trackio" in about.ids
        name = about.ids.setdefault("trackio", f"{about.name} {secrets.token_hex(2)}")
        project = os.environ.get("TRACKIO_PROJECT") or PROJECT
        with _without_words():
            self._run = trackio.init(
                project,
                name=name,
                group=about.group,
                config={**about.facts, "mixwright": dict(about.config)},
                resume="allow" if again else "never",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )
        return self._last(project, name) if again else 0

    def _last(self, project: str, name: str) -> int:
        """Return the last step in the database here, or what `init` found out from a server."""
        from trackio.sqlite_storage import SQLiteStorage

        return int(SQLiteStorage.get_max_step_for_run(project, name) or getattr(self._run, "_next_step", 1) - 1)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers."""
        self._run.log(dict(values), step=step)

    def words(self, step: int, kind: str, text: str) -> None:
        """Log a text."""
        self._run.log({kind: text}, step=step)

    def keep(self, path: Path) -> None:
        """Keep a file as an artifact, where this version of trackio has some."""
        if hasattr(self._run, "log_artifact"):
            self._run.log_artifact(path, name=f"{path.stem}-{self._run.name.rpartition(' ')[2]}", type=path.stem)

    def close(self, failed: bool) -> None:
        """End the run."""
        with _without_words():
            self._run.finish()


@contextmanager
def _without_words() -> Iterator[None]:
    """Keep what trackio prints from the results on stdout; what others print meanwhile stays where they print it."""
    with _QUIET:
        modules = [vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] == "trackio"]
        for names in modules:
            names["print"] = _print
        try:
            yield
        finally:
            for names in modules:
                del names["print"]


def _print(*words: object, file: Any = None, **how: Any) -> None:
    """Print what does not go to stdout."""
    if file not in (None, sys.stdout):
        print(*words, file=file, **how)
