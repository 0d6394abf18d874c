"""What a process that was killed while it made a table leaves beside it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from functools import cache
from pathlib import Path

from mixwright.files.claims import here

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

_DAY = 86_400.0
_OURS = re.compile(r"columns|columns/[0-9]{4,}\.f64|table\.json|(documents|weights|targets)\.npy")


def temporary_folder(path: Path) -> Path:
    """Return where this process makes a table, beside it: named by the process and its machine."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}.tmp")


def remove_stale(path: Path) -> None:
    """Remove the temporary folders that killed processes left beside a table, and nothing else."""
    if fcntl is None:  # no way here to ask whether a process lives
        return
    named = re.compile(rf"\.{re.escape(path.name)}\.([0-9]{{1,9}})(?:-([0-9a-f]{{8}}))?\.tmp")
    try:
        found = [(p, match[1], match[2]) for p in path.parent.iterdir() if (match := named.fullmatch(p.name))]
    except OSError:
        return
    for folder, process, machine in found:
        at_work = _lives(int(process)) if machine == _machine() else not _untouched(folder)
        if _is_ours(folder) and not at_work and not _held(folder):
            shutil.rmtree(folder, ignore_errors=True)


@cache
def _machine() -> str:
    return hashlib.sha256(here().machine.encode()).hexdigest()[:8]


def _untouched(folder: Path) -> bool:
    """Whether nothing in a folder changed for a day; who works in it may be a process that is not seen from here."""
    try:
        newest = max(os.lstat(p).st_mtime for p in (folder, *folder.rglob("*")))
    except OSError:
        return False
    return time.time() - newest > _DAY


def _is_ours(folder: Path) -> bool:
    """Return whether a folder holds nothing but what `write_folder` writes."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        inside = [p.relative_to(folder) for p in folder.rglob("*")]
    except OSError:
        return False
    finished = [re.sub(r"^\.(.+)\.[0-9]+\.tmp$", r"\1", p.name) for p in inside]  # a file that was being written
    return all(_OURS.fullmatch(p.with_name(name).as_posix()) for p, name in zip(inside, finished, strict=True))


def _lives(process: int) -> bool:
    """Return whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to somebody else
        return True
    return True


def _held(folder: Path) -> bool:
    """Return whether a process, of another machine perhaps, has locked a folder."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
