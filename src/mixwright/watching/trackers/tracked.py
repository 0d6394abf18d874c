"""A run that trackers follow: they get each line that it writes down, and never stop it."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from mixwright.errors import AlarmWarning
from mixwright.files import write_json
from mixwright.watching.trackers.aside import Aside
from mixwright.watching.trackers.records import Numbers, measured_of, numbers_of, statistics_of, words_of
from mixwright.watching.trackers.tracker import About, Tracker, tracker_of

METRICS, MIXTURE = "metrics.jsonl", "mixture.json"
_PREPARE, _FLUSH, _END = 20.0, 5.0, 180.0  # seconds that a run waits for its trackers: first, at a checkpoint, last
_OPEN = 60.0  # seconds that trackers may take to begin, from the first call on; a run does not wait longer at its end
RECORD = "tracked.json"  # in the run's folder: how its trackers name it, and which of them failed or came back


@dataclass
class _At:
    """A tracker at work, and the last step that it had when it was opened."""

    tracker: Tracker
    held: int


@dataclass(eq=False)
class Tracked:
    """
    A run and its trackers.

    Whoever writes the run's files tells it the same lines; so a tracker has the numbers of the files. They get
    them in a thread of their own, so that no step waits. One that fails is left out until the run is resumed: a
    warning says it once, and `notes` goes into the summary.

    Parameters
    ----------
    names
        Of the trackers; without any, nothing is done.
    about
        The run.

    Examples
    --------
    >>> with Tracked([], About("first", "first", Path("runs/first"))) as tracked:
    ...     tracked.begin(0)
    ...     tracked.line({"step": 1, "loss": 2.0})
    """

    names: Sequence[str]
    about: About
    _live: dict[str, _At] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _back: dict[str, str] = field(default_factory=dict)  # that failed in a former process, and go on in this one
    _aside: Aside = field(default_factory=Aside)
    _begun: bool = False
    _first: float | None = None  # when they were first called
    _opened: Event = field(default_factory=Event)
    _late: dict[str, str] = field(default_factory=dict)  # that were not done at the end; they may still become so
    _ended: bool = False
    _measured: int = -1  # the last step whose measurements former processes passed on

    def prepare(self) -> None:
        """Make what the trackers of all trainings of a run share."""
        if not self.names:
            return
        self._first = time.monotonic()
        self._aside.do(self._prepare)
        if not self._aside.wait(_PREPARE):
            _warn(
                f"the trackers ({', '.join(self.names)}) did not answer for {_PREPARE:.0f} s; the run goes on, and "
                "they get what it writes when they answer"
            )

    def begin(self, step: int) -> None:
        """Open all trackers; `step`: the last one that is done, whose run goes on."""
        if self.names and not self._begun:
            self._begun, self._first = True, self._first or time.monotonic()
            self._opened.clear()
            self._do(partial(self._begin, step))

    def line(self, line: Mapping[str, Any]) -> None:
        """Take a line of `metrics.jsonl`."""
        self._do(partial(self._line, line))

    def decision(self, sources: Sequence[str], line: Mapping[str, Any]) -> None:
        """Take a line of `decisions.jsonl`, of these sources."""
        self._do(partial(self._decision, sources, line))

    def measured(self, point: Mapping[str, Any]) -> None:
        """Take what was measured after a step; a checkpoint of that step comes before."""
        self._do(partial(self._measurement, point))

    def flush(self) -> None:
        """Let trackers put on disk what they have: a checkpoint follows. One that takes long is not waited for."""
        self._do(partial(self._tell, None, lambda tracker: tracker.flush()))
        if self._opened.is_set():
            self._aside.wait(_FLUSH)

    def result(self, page: Path, verdict: Any = None) -> None:
        """Give the page and the mixture to the trackers that keep files, and the verdict and the weights to all."""
        training, ended = (self.about.folder / METRICS).exists(), _read(self.about.folder / RECORD).get("ended")
        if self.names and not (training and ended):  # a comparison with more arms has another page
            self.begin(max((line["step"] for line in _lines(self.about.folder / METRICS)), default=0))
            self._do(partial(self._result, page, None if ended else verdict, bool(training or ended)))

    def end(self, failed: bool = False) -> None:
        """Close all trackers, but wait no longer than a tracker may take for that; those that take longer are noted."""
        if not self._begun:
            return
        self._do(partial(self._end, failed))
        before, first = time.monotonic(), self._first or 0.0
        opened = self._opened.wait(max(_FLUSH, first + _OPEN - before))
        if not (opened and self._aside.wait(before + _END - time.monotonic())):
            said = f"no answer at the end of the run, for {time.monotonic() - before:.0f} s"
            self._late = {name: said for name in self.names if name not in self._failed}
            self._keep()
            for name in self._late:
                _warn(f"{_failure(name, said)}; the run goes on")
        self._begun = False

    def _do(self, what: Callable[[], None]) -> None:
        if self._begun:
            self._aside.do(partial(self._safely, what))

    def _safely(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # a thread that ends would do nothing for the others
            self._opened.set()
            for name in self.names:
                self._fail(name, error)

    def _prepare(self) -> None:
        for name in self.names:
            with suppress(Exception):  # it fails again, and is left out, where a training begins
                tracker_of(name).prepare()

    def _begin(self, step: int) -> None:
        record = _read(self.about.folder / RECORD)
        self.about.ids |= record.get("ids", {})
        failed = record.get("failed", {})
        self._failed |= {name: said for name, said in failed.items() if name not in self._late}
        self._back |= record.get("back", {})
        self._measured = record.get("measured", -1)
        for name in self.names:
            self._try(name, partial(self._open, name, step))
        self._opened.set()
        self._catch_up(step)
        self._keep()

    def _open(self, name: str, step: int) -> None:
        tracker = tracker_of(name)()
        self._live[name] = _At(tracker, tracker.open(self.about, step))
        if name in self._failed:
            self._back[name] = self._failed.pop(name)

    def _catch_up(self, step: int) -> None:
        """Tell each tracker the lines up to a step that it does not have: what it held back when a process ended."""
        later: list[tuple[int, Callable[[], None]]] = []
        for line in _lines(self.about.folder / METRICS):
            later.append((line["step"], partial(self._line, line)))
        sources: Sequence[str] = ()
        for line in _lines(self.about.folder / "decisions.jsonl"):
            sources = line.get("run", {}).get("sources", sources)
            later.append((line["observation"]["step"] + 1, partial(self._decision, sources, line)))
        for done, tell in sorted(later, key=lambda each: each[0]):
            if done <= step:
                tell()

    def _line(self, line: Mapping[str, Any]) -> None:
        self._numbers(line["step"], numbers_of(line))

    def _decision(self, sources: Sequence[str], line: Mapping[str, Any]) -> None:
        step = line["observation"]["step"] + 1
        self._numbers(step, statistics_of(line, sources))
        for kind, text in words_of(line, sources):
            self._tell(step, lambda tracker, kind=kind, text=text: tracker.words(step, kind, text))  # type: ignore[misc]

    def _measurement(self, point: Mapping[str, Any]) -> None:
        step, values = point["step"], measured_of(point)
        self._tell(None if step > self._measured else step, lambda tracker: tracker.numbers(step, values))
        self._tell(None, lambda tracker: tracker.flush())
        self._measured = max(step, self._measured)
        self._keep()

    def _result(self, page: Path, verdict: Any, weighed: bool) -> None:
        folder = self.about.folder
        mixture = _read(folder / MIXTURE)
        if mixture and not weighed:  # of a search; a training has the weights of each step
            named = zip(mixture["sources"], mixture["weights"], strict=True)
            weights = {f"weight/{name}": float(weight) for name, weight in named}
            self._tell(None, lambda tracker: tracker.numbers(0, weights))
        if isinstance(verdict, str):
            self._tell(None, lambda tracker: tracker.words(0, "verdict", verdict))
        for path in (page, folder / MIXTURE):
            if path.exists():
                self._tell(None, lambda tracker, path=path: tracker.keep(path))  # type: ignore[misc]
        self._ended = True

    def _end(self, failed: bool) -> None:
        self._tell(None, lambda tracker: tracker.close(failed))
        self._live.clear()
        self._late.clear()
        self._keep()

    @property
    def notes(self) -> list[str]:
        """Return sentences about trackers that failed."""
        return notes_of([{"failed": self._late | self._failed, "back": self._back}])

    def __enter__(self) -> Tracked:
        """Return it."""
        return self

    def __exit__(self, kind: object, *more: object) -> None:
        """End, however the run did."""
        self.end(failed=kind is not None)

    def _numbers(self, step: int, values: Numbers) -> None:
        if values:
            self._tell(step, lambda tracker: tracker.numbers(step, values))

    def _tell(self, step: int | None, what: Callable[[Tracker], None]) -> None:
        """Let each tracker do something; `step`: unless it had that step's numbers when it was opened."""
        for name, at in list(self._live.items()):
            if step is None or step > at.held:
                self._try(name, lambda at=at: what(at.tracker))  # type: ignore[misc]

    def _try(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # whatever a tracker raises, the run goes on
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> None:
        self._live.pop(name, None)
        self._back.pop(name, None)
        said = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        self._failed[name] = said
        self._keep()
        _warn(f"{_failure(name, said)}; the run goes on")

    def _keep(self) -> None:
        """Write the record; a full disk ends no run here."""
        record = {"name": self.about.name, "ids": self.about.ids, "failed": self._late | self._failed}
        place = {"back": self._back, "ended": self._ended, "measured": self._measured}
        try:
            write_json(self.about.folder / RECORD, record | place, durable=False)
        except (OSError, ValueError):
            return


NOBODY = Tracked((), About("", "", Path()))  # of a run that no tracker follows


def _warn(text: str) -> None:
    warnings.warn(text, AlarmWarning, stacklevel=3)


def _failure(name: str, said: str) -> str:
    return f"the tracker {name} failed and got nothing from then on ({said})"


def notes_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence about each tracker that failed in a run, from the records of its trainings."""
    failed: dict[str, str] = {}
    back: dict[str, str] = {}
    for record in records:
        failed |= record.get("failed", {})
        back |= record.get("back", {})
    again = [
        f"the tracker {name} failed and went on after a resume ({said}); it has every step, but may lack "
        "held-out losses that were measured in between"
        for name, said in back.items()
        if name not in failed
    ]
    return [f"{_failure(name, said)}; metrics.jsonl has everything" for name, said in failed.items()] + again


def records_of(folder: Path) -> list[dict[str, Any]]:
    """Return the records of the trainings in a run folder."""
    found = [path for pattern in ("", "*/", "*/*/", "*/*/*/") for path in sorted(folder.glob(f"{pattern}{RECORD}"))]
    return [_read(path) for path in found]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a file of JSON lines, which there may not be."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return
    yield from (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
