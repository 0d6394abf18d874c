"""What a run says of itself, so that `mixwright steer` can refuse what the run would ignore."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import write_json
from mixwright.strategy import Strategy, check_fed

RECORD = "steering.jsonl"
_FILE = "steerable.json"
_MEND = "put back the file that the run wrote, or begin another run"
_TAIL = 2**20  # bytes: more than a line of a log has


@dataclass(frozen=True)
class Known:
    """The lag of a run, what its observations have, and how its weights act and its rows are drawn."""

    lag: int
    given: list[str]
    apply: str
    draw: str

    @classmethod
    def of(cls, lag: int, reported: tuple[Collection[str], str, str]) -> Known:
        """Return this for a run that `Mixture.check` checked."""
        given, apply, draw = reported
        return cls(lag, sorted(given), apply, draw)

    @classmethod
    def read(cls, folder: Path) -> Known | None:
        """Return what the run in a folder wrote; None if it wrote nothing that can be read."""
        try:
            found = cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        words = [found.apply, found.draw, *(found.given if isinstance(found.given, list) else [None])]
        return found if type(found.lag) is int and all(isinstance(word, str) for word in words) else None

    def write(self, folder: Path) -> None:
        """Write it into the folder of the run, if that is there."""
        if folder.is_dir() and self != self.read(folder):
            write_json(folder / _FILE, asdict(self))


def check_step(folder: Path, at: int | None) -> None:
    """Raise InputError if a change should begin at a step that the run in a folder has planned already."""
    if at is None:
        return
    known, done = Known.read(folder), steps_done(folder)
    first = done + (known.lag if known else 0) if done else 0
    if at < first:
        raise InputError(f"a change should begin at step {first} or later, found {at} (the run is at {done})")


def check_strategy(folder: Path, strategy: Strategy[Any]) -> None:
    """Raise InputError if the run in a folder does not report what a strategy needs."""
    if (known := Known.read(folder)) is not None:
        check_fed(strategy, known.given, known.apply, known.draw)


def steps_done(folder: Path) -> int:
    """Return how many steps the logs of a run have; 0 if there are none yet."""
    observed = _last_line(folder / "decisions.jsonl").get("observation")
    seen = observed.get("step") if isinstance(observed, Mapping) else None
    found = [_last_line(folder / "metrics.jsonl").get("step"), seen + 1 if isinstance(seen, int) else None]
    found += [line.get("read") for line in read_record(folder)]
    return max([0, *(step for step in found if isinstance(step, int))])


def _last_line(path: Path) -> Mapping[str, Any]:
    """Return the last whole line of a log; nothing if there is none."""
    try:
        with open(path, "rb") as handle:
            handle.seek(max(0, path.stat().st_size - _TAIL))
            lines = handle.read().splitlines(keepends=True)
        found = json.loads(next(line for line in reversed(lines) if line.endswith(b"\n")))
    except (OSError, ValueError, RecursionError, StopIteration):
        return {}
    return found if isinstance(found, Mapping) else {}


def read_record(folder: Path) -> list[dict[str, Any]]:
    """Return what a run took from its control file, a line each; nothing where it took none."""
    try:
        text = (folder / RECORD).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line]
    except OSError:
        return []
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{folder / RECORD} should be JSON lines, found a line that is none ({error}); {_MEND}"
        ) from None
    if not all(isinstance(line, dict) for line in lines):
        raise InputError(f"{folder / RECORD} should have an object in each line, found another value; {_MEND}")
    return lines
