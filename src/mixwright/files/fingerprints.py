"""Names of content: values and files by their fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixwright.files.listing import walk


def fingerprint(value: Any) -> str:
    """Return 16 hex digits that name a JSON-able value."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def file_fingerprint(path: Path | str, left_out: Collection[Path] = ()) -> str:
    """
    Return 16 hex digits that name the bytes of a file, or of all files of a folder with their relative names.

    Links to folders are followed. Files in `left_out` do not count.

    Raises
    ------
    InputError
        Links lead around in a circle.
    """
    path, digest = Path(path), hashlib.sha256()
    members = _members(path, left_out) if path.is_dir() else [path]
    for member in members:
        if path.is_dir():
            digest.update(str(member.relative_to(path)).encode() + b"\0")
        with open(member, "rb") as handle:
            while chunk := handle.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:16]


def folder_fingerprint(folder: Path | str) -> str:
    """Return `file_fingerprint` of a folder with large files; unless one changes they are read once in a process."""
    stats = ((str(path), path.stat()) for path in _members(Path(folder), ()))
    return _of_unchanged(Path(folder), tuple((name, s.st_size, s.st_mtime_ns, s.st_ino) for name, s in stats))


@lru_cache(maxsize=64)
def _of_unchanged(folder: Path, stamps: object) -> str:
    return file_fingerprint(folder)


def _members(folder: Path, left_out: Collection[Path]) -> list[Path]:
    # Hidden files count although nobody reads them: fingerprints of runs that were made before have them.
    found = {path for path in folder.rglob("*") if path.is_file()}
    found |= {path for path in walk(folder) if path.is_file()}
    return sorted(found - set(left_out))
