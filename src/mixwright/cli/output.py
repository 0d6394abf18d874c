"""What goes to the terminal: results to stdout, progress and errors to stderr."""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mixwright.errors import DryRun, InputError, MissingExtraError
from mixwright.experiment.live.pace import Pace

STOPPED = "Stopped. Finished work is saved; run the same command to resume."
_PLAN = "plan"  # the stage in whose note a run says beforehand what it will take
_Report = Callable[..., None]


class Output:
    """
    Where a command's words go.

    Parameters
    ----------
    quiet
        Errors only.
    as_json
        The result as JSON on stdout instead of tables.
    """

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.quiet, self.as_json = quiet, as_json
        for stream in (sys.stdout, sys.stderr):  # names in damaged files may have halves of surrogate pairs
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")  # which is right in JSON too
        self.stdout, self.stderr = Console(), Console(stderr=True)

    def json(self, value: Any) -> None:
        """Write the result as JSON, if that was asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def show(self, draw: Callable[[Console], None]) -> None:
        """Draw the result, unless JSON or quiet was asked for."""
        if not self.quiet and not self.as_json:
            draw(self.stdout)

    def note(self, text: str) -> None:
        """Say something beside the result."""
        if not self.quiet:
            self.stderr.print(text, markup=False, highlight=False, soft_wrap=True)

    def error(self, text: str) -> None:
        """Say what went wrong."""
        self.stderr.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)

    @contextmanager
    def bars(self) -> Iterator[_Report]:
        """Yield the callback that shows progress: bars on a terminal, lines in a log, nothing when quiet."""
        if self.quiet:
            yield lambda *args, **more: None
        elif self.stderr.is_terminal:
            with _Bars(self.stderr) as bars:
                yield bars
        else:
            yield StageLines(self.stderr)


class _Bars:
    """One bar per stage."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<14}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bars:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop drawing."""
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show how far a stage is, or what a run will take."""
        if stage == _PLAN:
            self._progress.console.print(f"{stage}: {note}", markup=False, highlight=False, soft_wrap=True)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=total, note="")
        shown = "" if done >= total else escape(note[:40])
        self._progress.update(self._tasks[stage], completed=done, total=total, note=shown)


class StageLines:
    """A line when a stage starts, each 20 seconds, and when it is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage, self._last, self._finished = "", 0.0, set[str]()
        self._pace = Pace()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Say how far a stage is and how long the rest of it may take, if it is time to; or what a run will take."""
        if stage == _PLAN:
            self._console.print(f"{stage}: {note}", markup=False, highlight=False, soft_wrap=True)
            return
        now = time.monotonic()
        left = self._pace.left(stage, done / max(total, 1))
        if done >= total:
            if stage in self._finished:
                return
            self._finished.add(stage)
        elif stage == self._stage and now - self._last < 20:
            return
        self._stage, self._last = stage, now
        text = f"{stage}: done" if done >= total else f"{stage}: {100 * done // max(total, 1)} % {note}"
        if left is not None:
            text += f", about {_time(left)} left"
        self._console.print(text.rstrip(), markup=False, highlight=False, soft_wrap=True)


def _time(seconds: float) -> str:
    from mixwright.report.words import duration

    return duration(seconds)


@contextmanager
def guarded(output: Output) -> Iterator[None]:
    """Turn errors that the user can correct, and Ctrl-C, into one message and an exit status."""
    try:
        yield
    except InputError as error:
        output.error(str(error))
        raise typer.Exit(2) from None
    except DryRun as ended:
        output.json({"submitted": False, "scripts": [str(script) for script in ended.scripts]})
        output.stderr.print(str(ended), markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(0) from None
    except PermissionError as error:
        found = f"cannot get at {error.filename}: permission denied" if error.filename else str(error)
        output.error(f"{found}; change its rights or choose another path")
        raise typer.Exit(2) from None
    except MissingExtraError as error:
        output.error(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        output.stderr.print(STOPPED, highlight=False)
        raise typer.Exit(130) from None


def open_page(path: Path) -> bool:
    """Open a page in the browser; False if there is none to open it in."""
    on_a_screen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not on_a_screen:  # a browser for terminals would take the terminal
        return False
    try:
        return webbrowser.open(path.as_uri())
    except (webbrowser.Error, OSError):
        return False
