"""A run tells how far it is while it goes: by its claim, and on its page, for at most a hundredth of its time."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mixwright.errors import AlarmWarning, InputError, MissingExtraError
from mixwright.experiment.core.stages import PLAN, Progress
from mixwright.experiment.live.look import FINISHED, STOPPED, RunState, Watched
from mixwright.experiment.live.pace import Pace, Rests
from mixwright.files import atomic_write
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost
from mixwright.files.stores import with_addresses
from mixwright.report import render

REPORT = "report"  # the stage that is reported when the finished page is written
EVERY = 5.0  # seconds between two pages, at least
_FIRST = 2.0  # seconds before the first one: a run of a moment writes its page at the end alone
_SHARE = 0.01  # of the processor that pages may take
_TOLD = 0.5  # seconds between two words to the claim, which renews them with its next beat


@contextmanager
def telling(
    claim: Claim, folder: Path, title: str, has_page: bool, former: Callable[[], object], progress: Progress
) -> Iterator[Progress]:
    """
    Yield a progress that also tells others how far the run is.

    Parameters
    ----------
    claim
        On the run, which is held.
    folder, title
        Of the run.
    has_page
        Whether it has a page.
    former
        Called when the run stops with an error and its folder has the result of a former command: writes that page.
    progress
        Called with everything that is reported.
    """
    live = _Live(claim, folder, title, has_page, progress)
    try:
        yield live
    except ClaimLost:
        raise  # the page is somebody else's now
    except BaseException as error:
        with suppress(Exception):  # whatever fails here, the run's own error is the one that is raised
            live.end(STOPPED, _why(error))
            if live.wrote and (folder / "summary.json").exists():
                former()
        raise
    live.end(FINISHED)


def _why(error: BaseException) -> str:
    return "Ctrl-C" if isinstance(error, KeyboardInterrupt) else with_addresses(f"{error}") or type(error).__name__


class _Live:
    def __init__(self, claim: Claim, folder: Path, title: str, has_page: bool, progress: Progress) -> None:
        self._claim, self._folder, self._progress = claim, folder, progress
        self._pace, self._stages, self._left = Pace(), {}, {}  # type: ignore[var-annotated]
        self._said: dict[str, Any] = {"title": title}
        self._watched = Watched(folder) if has_page else None
        self._told, self._next = 0.0, time.monotonic() + (0.0 if self._left_over() else _FIRST)
        self._rests = Rests(EVERY, _SHARE)
        self.wrote = False
        claim.about = self._about()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Pass on what is reported; tell it, and write the page, if it is time to."""
        self._progress(stage, done, total, note)
        if stage == PLAN:
            self._said["plan"] = note
            return
        self._stages[stage] = (done, total)
        self._left[stage] = self._pace.left(stage, done / max(total, 1))
        self._said["note"] = note if done < total else ""
        now = time.monotonic()
        if now - self._told >= _TOLD:
            self._told, self._claim.about = now, self._about()
        if stage == REPORT:  # the finished page is there, and no other one comes after it
            self._watched = None
        if now >= self._next:
            self._write()

    def _about(self) -> dict[str, Any]:
        left = {stage: seconds if seconds is None else round(seconds, 1) for stage, seconds in self._left.items()}
        return {**self._said, "stages": {stage: [*found, left[stage]] for stage, found in self._stages.items()}}

    def end(self, state: str, why: str = "") -> None:
        """Tell how the run ended, and write it on the page where that shows a run that goes."""
        self._said |= {"ended": state, **({"why": why} if why else {})}
        self._claim.about = self._about()
        if state != FINISHED and (self.wrote or self._left_over()):
            self._write(state)

    def _left_over(self) -> bool:
        """Whether there is a page of a former command that was killed."""
        return (self._folder / "report.html").exists() and not (self._folder / "summary.json").exists()

    def _write(self, state: str | None = None) -> None:
        """Write the page; what goes wrong with it never stops the run."""
        with self._rests.counted():
            try:
                if self._watched is not None:
                    seen = self._watched.look(self._about())
                    write_live(seen if state is None else seen.ended(state), self._folder, self._rests.seconds)
                    self.wrote = True
            except (InputError, OSError):
                pass  # such as a full disk: the run itself will meet it
            except MissingExtraError:
                self._watched = None
            except Exception as error:  # of a chart or a template: it would fail again
                self._watched = None
                said = f"{type(error).__name__}: {error}".splitlines()[0]
                warnings.warn(f"the page of the run is not written while it goes ({said})", AlarmWarning, stacklevel=2)
        self._next = time.monotonic() + self._rests.seconds


def write_live(seen: RunState, folder: Path, every: float) -> None:
    """Write the page of a run that goes into its folder; a browser reads it again every `every` seconds."""
    text = render("live", seen.to_json(), every=every)
    with atomic_write(folder / "report.html", durable=False) as handle:
        handle.write(text)
