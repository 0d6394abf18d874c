"""Writing files so that they are complete or absent."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mixwright.errors import InputError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some room and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some room and run the same command again",
    errno.EROFS: "the file system is read-only; choose a folder that can be written",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
}
_TOKEN = f"{secrets.randbelow(10**9):09d}"  # another machine may have a process of the same number


def explain_write_error(path: Path | str, error: OSError) -> InputError:
    """Return the InputError that explains a failed write to `path`."""
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return InputError(f"cannot write {path}: {advice}")


@contextmanager
def atomic_write(path: Path | str, mode: str = "w", durable: bool = True) -> Iterator[IO[Any]]:
    """
    Open a temporary file beside `path`; on a clean exit it replaces `path`, on any error it is removed.

    Where not `durable`, a machine that crashes may lose the file, which is for what is easily written again.

    Raises InputError when the folder cannot be written or the disk is full; `path` is then as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TOKEN}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode, encoding=encoding) as handle:
            yield handle
            handle.flush()
            if durable:
                os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise explain_write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path | str, value: Any, durable: bool = True) -> None:
    """Write `value` as indented JSON, atomically, `durable` as for `atomic_write`. NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with atomic_write(path, durable=durable) as handle:
        handle.write(text + "\n")
