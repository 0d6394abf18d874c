"""A run folder and its stages: what is done is kept, what depends on a change is done again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mixwright.errors import InputError
from mixwright.files import explain_write_error, fingerprint, write_json
from mixwright.files.claims import Claim, Owner
from mixwright.files.holder import ClaimLost, Holder
from mixwright.steering.orders import CONTROL

_VERSION = 1  # of the stages' results; a change makes every stage start again
_MARK = ".mixwright-run"  # a folder with this file is a run, and what is in it is ours
_HEAD = ".head"  # the claims of commands that do the run
_LOCK = ".lock"  # of former versions
_CLAIMS = ".claims"  # of processes that work in a stage


PLAN = "plan"  # the stage in whose note a run says beforehand what it will take


class Progress(Protocol):
    """How long work reports: `progress(stage, done, total, note)`."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Say that `done` of `total` parts of a stage are done."""


def silent(stage: str, done: int, total: int, note: str = "") -> None:
    """Report nothing."""


def folder_name(name: str) -> str:
    """Return a name that any file system takes for the folder of a source, a target or a mixture."""
    text = quote(name, safe=" ()+,=@~").replace(".", "%2E") if name.startswith(".") else quote(name, safe=" ()+,=@~.")
    if len(text) <= 100:
        return text
    return f"{text[:80]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class Stage:
    """
    One step of a run: a folder that is made from inputs.

    The folder belongs to the inputs with one fingerprint, which `begin.json` names; `done.json` is written last. A
    folder that belongs to other inputs is emptied before the work starts, so that no part of it is taken for new.
    Within `at_work`, one process at a time is between `begin` and `finish`.

    Parameters
    ----------
    folder
        Where the stage's files are.
    inputs
        Everything that the result depends on, JSON-able.
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        self.folder = folder
        self.inputs = dict(inputs)
        self.fingerprint = fingerprint(_versioned(self.inputs))
        self._started, self._damaged = 0.0, False

    def result(self, check: Callable[[Path, dict[str, Any]], object] | None = None) -> dict[str, Any] | None:
        """
        Return what `finish` was given, or None if this stage is not done for these inputs.

        Parameters
        ----------
        check
            Given the folder and the result; an error that it raises for files that are missing or damaged (InputError,
            OSError, ValueError) makes the stage one that is not done, and `begin` empties its folder.
        """
        self._damaged = False
        record = _read_record(self.folder / "done.json")
        result = record.get("result") if record.get("fingerprint") == self.fingerprint else None
        if result is not None and check is not None:
            try:
                check(self.folder, result)
            except (InputError, OSError, ValueError, EOFError):
                self._damaged = True
                return None
        return result

    def begin(self) -> None:
        """Make the folder ready: keep what belongs to these inputs, remove what belongs to others or is damaged."""
        _hold(self.folder)
        self._started = time.monotonic()
        begin = self.folder / "begin.json"
        try:
            if self._damaged or _read_record(begin).get("fingerprint") != self.fingerprint:
                write_json(begin, {"fingerprint": ""})  # first: from here on the folder belongs to no inputs
                for path in sorted(self.folder.iterdir(), key=lambda p: p.name != "done.json"):
                    if path != begin and path.name != _CLAIMS:
                        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                write_json(begin, {"fingerprint": self.fingerprint, "inputs": self.inputs})
        except OSError as error:
            raise explain_write_error(self.folder, error) from error

    def finish(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Record that the stage is done, and its result; the seconds since `begin` are added."""
        seconds = round(time.monotonic() - self._started, 3)
        whole = {**result, "seconds": result.get("seconds", seconds)}
        _check(self.folder)
        write_json(self.folder / "done.json", {"fingerprint": self.fingerprint, "result": whole})
        _let_go(self.folder)
        return whole


class _AtWork(threading.local):
    """What this thread holds: for each `at_work`, the innermost last, its holder and the stages begun in it."""

    def __init__(self) -> None:
        self.layers: list[tuple[Holder, dict[Path, Claim], Progress]] = []

    def found(self, folder: Path) -> tuple[Holder, dict[Path, Claim]] | None:
        """Return the layer that holds a stage."""
        return next(((holder, stages) for holder, stages, _ in self.layers if folder in stages), None)


_AT_WORK = _AtWork()


@contextmanager
def at_work(claim: Claim, progress: Progress = silent) -> Iterator[Holder]:
    """
    Hold a claim that was taken, of a run or a piece, and those of the stages that are begun within.

    Parameters
    ----------
    claim
        The claim.
    progress
        Called when a stage is waited for, since another process is at it.
    """
    with Holder(claim) as held:
        _AT_WORK.layers.append((held, {}, progress))
        try:
            yield held
        finally:
            _AT_WORK.layers.pop()


def check_held(now: bool = False) -> None:
    """Raise ClaimLost if something that this thread works on was taken over; `now`: look at the storage for that."""
    for held, _, _ in _AT_WORK.layers:
        held.check(now)


def _hold(folder: Path) -> None:
    """Claim a stage; wait while another process is at it, such as a task that a former command handed over."""
    if not _AT_WORK.layers or _AT_WORK.found(folder):
        return
    held, stages, progress = _AT_WORK.layers[-1]
    claim = Claim(folder / _CLAIMS)
    if not claim.try_take():
        if (owner := claim.owner()) is not None:
            progress(PLAN, 0, 1, f"waiting for {folder}, where {_words(owner)} is at work")
        claim.take(wait=True, until=check_held)
    held.add(claim)
    stages[folder] = claim


def _check(folder: Path) -> None:
    """Raise ClaimLost if a stage that was begun was taken over."""
    if found := _AT_WORK.found(folder):
        found[0].check(now=True)


def _let_go(folder: Path) -> None:
    if found := _AT_WORK.found(folder):
        holder, stages = found
        holder.release(stages.pop(folder))


def _words(owner: Owner) -> str:
    return f"process {owner.process} on {owner.host}"


def _versioned(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs with the version of the results; an input of that name counts beside it."""
    if "version" in inputs and _VERSION > 1:  # at 1 it stood alone: former runs have that fingerprint
        return {**inputs, "version": [_VERSION, inputs["version"]]}
    return {"version": _VERSION, **inputs}


def inputs_of(folder: Path) -> dict[str, Any]:
    """Return the inputs that the folder of a stage belongs to; none where it is damaged or there is none."""
    inputs = _read_record(folder / "begin.json").get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _read_record(path: Path) -> dict[str, Any]:
    """Return a stage's record, or an empty one if there is none or it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


@contextmanager
def open_run(folder: Path, config_text: str, progress: Progress = silent) -> Iterator[Claim]:
    """
    Make `folder` a run folder and hold it, by the claim that this yields: two commands never work in the same one.

    Parameters
    ----------
    folder
        A new or empty folder, or one that is a run already.
    config_text
        Written as `config.yaml`.
    progress
        Called when a former command is waited for, which may be dead.

    Raises
    ------
    InputError
        The folder holds something else, cannot be written, or another command is at work in it; or one took over.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    claim = head_of(folder)
    if (taken := claim.try_take()) is None:
        progress(PLAN, 0, 1, f"looking whether a former command still works in {folder}; this takes half a minute")
    if not (taken or claim.take()):
        raise _at_work(folder, claim)
    try:
        with at_work(claim, progress):
            if not is_run(folder):
                _write_text(folder / _MARK, "A folder of mixwright: it writes, and removes, what is in here.\n")
            path = folder / "config.yaml"
            if not path.exists() or path.read_text(encoding="utf-8") != config_text:
                _write_text(path, config_text)
            yield claim
    except ClaimLost as lost:
        raise InputError(
            f"this command should have shown every {claim.seconds:.0f} s that it works in {lost.claim.folder.parent}, "
            "found that it did not (it stood still, or the storage did), and another one took over, or may do so; "
            "wait for that one, or run it again if there is none"
        ) from None


def is_run(folder: Path) -> bool:
    """Whether a path is a run folder."""
    return (folder / _MARK).exists()


def check_folder(folder: Path) -> None:
    """Raise InputError if `folder` is neither new, nor empty, nor a run; cannot be written; or a command is in it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} should be a folder for the run, found a file; choose another folder")
    if folder.is_dir() and not is_run(folder):
        held = [path.name for path in folder.iterdir() if not _left_by_us(path)]
        if held:
            found = ", ".join(sorted(held)[:3])
            raise InputError(f"{folder} should be a run or an empty folder, found {found}; choose another folder")
    _check_writable(folder)
    _check_free(folder)


def _check_writable(folder: Path) -> None:
    """Raise InputError if a folder, or the one that it is to be made in, may not be written to."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise explain_write_error(folder, OSError(errno.ENOTDIR, ""))
    if not os.access(there, os.W_OK | os.X_OK):
        read_only = hasattr(os, "statvfs") and os.statvfs(there).f_flag & os.ST_RDONLY
        raise explain_write_error(folder, OSError(errno.EROFS if read_only else errno.EACCES, ""))


def head_of(folder: Path, reads_only: bool = False) -> Claim:
    """Return the claim of the command that does a run, not taken."""
    return Claim(folder / _HEAD, reads_only=reads_only)


def held_by_another(folder: Path) -> bool:
    """Whether another process than this one does a run now."""
    claim = head_of(folder)
    owner = claim.owner()
    return owner is not None and (owner.machine, owner.process) != (claim.machine, os.getpid())


def _check_free(folder: Path) -> None:
    """Raise InputError if another command is at work in a run."""
    claim = head_of(folder)
    if claim.held():
        raise _at_work(folder, claim)
    if _locked(folder / _LOCK):
        raise InputError(
            f"another command, of a former version, is at work in {folder}; wait for it, or choose another folder"
        )


def _locked(path: Path) -> bool:
    """Whether a process of a former version holds its lock; False where that cannot be seen."""
    try:
        import fcntl

        with open(path, "rb+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def _at_work(folder: Path, claim: Claim) -> InputError:
    owner, where, dead = claim.owner(), "", ""
    if owner is not None and owner.machine != claim.machine:
        age = max(claim.age(), 0)
        where = f" ({_words(owner)}, last seen {age:.0f} s ago)"
        dead = f" (if it died, the folder is free in {max(claim.seconds - age, 0):.0f} s)"
    return InputError(f"another command is at work in {folder}{where}; wait for it{dead}, or choose another folder")


def _left_by_us(path: Path) -> bool:
    """Whether a path in a folder without the mark is of a command that was killed early, or is orders for a run."""
    temporary = path.name.startswith(".") and path.name.endswith(".tmp")
    return (
        path.name in (_HEAD, _LOCK, CONTROL) or temporary or (path.name == "data" and (path / "begin.json").is_file())
    )


def _write_text(path: Path, text: str) -> None:
    from mixwright.files import atomic_write

    with atomic_write(path) as handle:
        handle.write(text)
