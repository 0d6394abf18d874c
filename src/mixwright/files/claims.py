"""
Claims with leases: one process at a time does a thing, on storage that several machines share.

A claim is a file `claim.N` in a folder of its own. It is made by a link, which one process alone can make, also on NFS.
The highest number holds; the next one may be made when that one is released, its process is dead, or its lease ran out.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mixwright.files.writing import explain_write_error

LEASE = 60.0  # seconds without a beat, from which on a claim of another machine has run out
BEAT = 10.0  # seconds between two beats
_WATCHED = 2.5  # beats that must be seen to be missing, besides what the file's age says: clocks may differ
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}


@dataclass(frozen=True)
class Here:
    """
    A process as claims see it; tests have several.

    Parameters
    ----------
    machine
        What tells machines apart, and containers on one: process numbers mean something within it alone.
    host, process, started
        Its host, for people; its process, and when that began, since numbers are used again.
    monotonic, sleep
        The clock that waiting is measured by.
    touch
        Gives a file the time that the file system has now.
    lives
        Whether a process of this machine that began at some time lives; None where that cannot be seen.
    """

    machine: str
    host: str
    process: int
    started: str
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    touch: Callable[[Path], None] = os.utime
    lives: Callable[[int, str], bool | None] = field(default=lambda process, started: _lives(process, started))


def here() -> Here:
    """Return this process."""
    return Here(_machine(), socket.gethostname(), os.getpid(), _started(os.getpid()))


@cache
def _machine() -> str:
    """Return what names this boot of this machine, and the container in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _started(process: int) -> str:
    """Return when a process began, as the system counts; empty for none, "?" where that is not known."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        state, *rest = text.rpartition(")")[2].split()
        return "" if state in ("Z", "X") else rest[18]
    except OSError:
        pass
    if os.name == "nt":  # a signal 0 is Ctrl-C there
        return "?"
    try:
        os.kill(process, 0)
    except PermissionError:  # somebody else's, and hidden from us
        return "?"
    except (OSError, OverflowError):
        return ""
    return "" if Path("/proc/self/stat").exists() else "?"


def _lives(process: int, started: str) -> bool | None:
    now = _started(process)
    return None if now and "?" in (now, started) else now == started


@dataclass(frozen=True)
class Owner:
    """Who has a claim, as its file says; `held` is false where it was released."""

    id: str
    machine: str
    host: str
    process: int
    started: str
    beat: int
    held: bool
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Return how much of a piece is done, as its process said last; 0 before it did, or where that is damaged."""
        found = self.about.get("share")
        return float(found) if isinstance(found, int | float) and 0 <= found <= 1 else 0.0


_KINDS = (str, str, str, int, str, int, bool, dict)  # of an Owner's fields


def _owner(text: str) -> Owner:
    """Return the owner that a claim's file names; ValueError, TypeError or RecursionError where that is damaged."""
    owner = Owner(**json.loads(text))
    if not all(isinstance(value, kind) for value, kind in zip(vars(owner).values(), _KINDS, strict=True)):
        raise ValueError("a field of another kind")
    return owner


class Claim:
    """
    A claim on what belongs to a folder.

    Parameters
    ----------
    folder
        Of the claim's files; made where it is not there.
    seconds, beat
        The lease, and the time between two beats.
    where
        The process that claims.
    reads_only
        Nothing is written: time is this machine's own, and a claim of another one is held until that is surely not so.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float = LEASE,
        beat: float = BEAT,
        where: Here | None = None,
        reads_only: bool = False,
    ) -> None:
        self.folder, self.seconds, self.beat_seconds, self._reads_only = folder, seconds, beat, reads_only
        self.about: dict[str, Any] = {}  # what others may read beside the owner, such as how far the work is
        self.lost = False
        self._here, self._id, self._beats = where or here(), secrets.token_hex(8), 0
        self._number: int | None = None
        self._seen: tuple[Any, ...] | None = None
        self._since, self._renewed = 0.0, 0.0
        self._writing = threading.Lock()

    @property
    def machine(self) -> str:
        """Return the machine of the process that claims."""
        return self._here.machine

    # ------------------------------------------------------------ taking

    def try_take(self) -> bool | None:
        """Take it if it is free; False if somebody has it, None if that is not sure yet: ask again later."""
        number, free = self._look()
        if not free:
            return free
        try:
            made = self._make(number + 1)
        except OSError as error:
            raise explain_write_error(self.folder, error) from error
        if not made:
            return None
        self._number, self._beats, self.lost, self._renewed = number + 1, 0, False, self._here.monotonic()
        if self._see():
            self._number = None
            return None
        self._remove_old(number)
        return True

    def take(self, wait: bool = False, until: Callable[[], object] = lambda: False) -> bool:
        """
        Take it and return True; return False where somebody has it, or, with `wait`, as soon as `until` is true.

        Without `wait` it still takes as long as is needed to be sure whether a former holder is alive.
        """
        while (taken := self.try_take()) is not True:
            if (taken is False and not wait) or until():
                return False
            self._here.sleep(min(self.beat_seconds / 5, 2.0))
        return True

    def owner(self) -> Owner | None:
        """Return who has it; None where it is free, or damaged."""
        found = self.last_owner()
        return found if found is not None and found.held else None

    def last_owner(self) -> Owner | None:
        """Return who has it or had it last; None where nobody did, or its file is damaged."""
        return self._last()[1]

    def age(self) -> float:
        """Return the seconds since the last beat, by the file system's own clock."""
        _, _, stamp = self._last()
        return self._now() - stamp

    def held(self) -> bool:
        """Whether somebody surely has it; False also where a lease may have run out, unless this only reads."""
        free = self._look()[1]
        return free is False or (free is None and self._reads_only)

    def _look(self) -> tuple[int, bool | None]:
        """Return the highest number, and whether that is free (None: not sure)."""
        number, owner, stamp = self._last()
        if number == 0 or (owner is not None and not owner.held):
            return number, True
        if owner is not None and owner.machine == self._here.machine:
            lives = self._here.lives(owner.process, owner.started)
            if lives is not None:
                return number, not lives
        seen, now = (number, owner and owner.beat, stamp), self._here.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return number, self._ran_out(now - self._since, self._now() - stamp)

    def _ran_out(self, waited: float, age: float) -> bool | None:
        """Judge a lease by how long it was seen without a beat, and by the age that the file system says."""
        if waited >= self.seconds:
            return True
        if age > self.seconds:
            return True if waited >= _WATCHED * self.beat_seconds else None
        return False if age >= -self.beat_seconds else None  # a time to come: the holder's clock is another one

    def _last(self) -> tuple[int, Owner | None, float]:
        """Return the highest number, its owner (None: damaged or none), and the time of its file."""
        number = max(self._numbers(), default=0)
        while (self.folder / f"claim.{number + 1}").exists():  # a list of names may be older than a name
            number += 1
        if number == 0:
            return 0, None, 0.0
        try:
            with open(self.folder / f"claim.{number}", encoding="utf-8") as handle:  # opening asks the server
                text, stamp = handle.read(), os.fstat(handle.fileno()).st_mtime
            return number, _owner(text), stamp
        except (OSError, ValueError, TypeError, RecursionError):
            return number, None, self._stamp(number)

    def _stamp(self, number: int) -> float:
        try:
            return os.stat(self.folder / f"claim.{number}").st_mtime
        except OSError:
            return 0.0

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return [int(name[6:]) for name in names if name.startswith("claim.") and name[6:].isdecimal()]

    def _now(self) -> float:
        """Return the time that the file system gives to a file now; of this machine only where it gives none."""
        if self._reads_only:
            return time.time()
        probe = self.folder / f".now.{self._id}.tmp"
        try:
            with open(probe, "w", encoding="ascii"):
                pass
            self._here.touch(probe)
            return os.stat(probe).st_mtime
        except OSError:
            return time.time()
        finally:
            _remove(probe)

    def _make(self, number: int) -> bool:
        """Make the file of a number; False if it is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path, temporary = self.folder / f"claim.{number}", self._written(held=True)
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            # An answer may be lost on NFS, and the second try finds the file of the first one.
            return self._is_own(path)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._make_exclusively(path, temporary)
        finally:
            _remove(temporary)

    def _make_exclusively(self, path: Path, temporary: Path) -> bool:
        try:
            with open(path, "x", encoding="utf-8") as handle:
                handle.write(temporary.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
        self._here.touch(path)
        return True

    def _is_own(self, path: Path) -> bool:
        try:
            return bool(json.loads(path.read_text(encoding="utf-8")).get("id") == self._id)
        except (OSError, ValueError, AttributeError):
            return False

    def _remove_old(self, number: int) -> None:
        """Remove all but the last two claims: who read them long ago still finds the next number taken."""
        for old in self._numbers():
            if old < number:
                _remove(self.folder / f"claim.{old}")

    # ------------------------------------------------------------ holding

    def beat(self) -> bool:
        """Renew the lease; False if it was lost to somebody else, or given back."""
        with self._writing:
            if self._number is None or self._see():
                return False
            self._beats += 1
            self._write(held=True)
            self._renewed = self._here.monotonic()
            return True

    def release(self) -> None:
        """
        Give it back; what was lost is left as it is, and so is what cannot be reached: its lease runs out.

        A beat that waits for the storage is not waited for longer than until the next one: it would be written after
        this, so nothing is.
        """
        if not self._writing.acquire(timeout=self.beat_seconds):
            self._number = None
            return
        try:
            with suppress(OSError):
                if self._number is not None and not self._see():
                    self._write(held=False)
            self._number = None
        finally:
            self._writing.release()

    def renew(self) -> None:
        """Beat; storage that is away for a moment is no loss, but one that is away for a lease is: others may take."""
        try:
            self.beat()
        except OSError:
            self.lost = self.lost or self.silent

    @property
    def silent(self) -> bool:
        """Whether this process has not renewed the lease for as long as it lasts."""
        return self._here.monotonic() - self._renewed >= self.seconds

    def look(self) -> bool:
        """Look whether somebody else took over, as far as the storage can be read; return whether it is still held."""
        with suppress(OSError):
            self._see()
        return not self.lost

    def _see(self) -> bool:
        """Return whether it was lost: a higher number is there, or was once."""
        self.lost = self.lost or self._last()[0] > (self._number or 0)
        return self.lost

    def _text(self, held: bool) -> str:
        here = self._here
        owner = Owner(
            self._id, here.machine, here.host, here.process, here.started, self._beats, held, dict(self.about)
        )
        return json.dumps(vars(owner))

    def _written(self, held: bool) -> Path:
        """Write what the claim says to a temporary file, and return its path."""
        temporary = self.folder / f".claim.{self._id}.tmp"
        temporary.write_text(self._text(held), encoding="utf-8")
        self._here.touch(temporary)
        return temporary

    def _write(self, held: bool) -> None:
        """
        Replace the own claim; on a full disk only its time is renewed, which is enough for a beat.

        A release is then written over what is there, which needs no room: a process that lives would hold it for ever.
        """
        path = self.folder / f"claim.{self._number}"
        try:
            os.replace(self._written(held), path)
        except OSError:
            _remove(self.folder / f".claim.{self._id}.tmp")
            if not held:
                with open(path, "r+", encoding="utf-8") as handle:
                    handle.write(self._text(held))
                    handle.truncate()
            self._here.touch(path)


def _remove(path: Path) -> None:
    try:
        os.unlink(path)
    except OSError:
        return
