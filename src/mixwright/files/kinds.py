"""What is in a file: what its name says, and what its first bytes say."""

from __future__ import annotations

import os
from pathlib import Path

from mixwright.errors import InputError

LINES = (".jsonl", ".ndjson", ".json")
PACKED = (".gz", ".zst")
_KNOWN = (*LINES, ".txt", ".parquet", ".csv", ".npy", ".bin", ".idx")
_BEGINNINGS = (  # the first bytes of files that are no text
    (b"PAR1", "a parquet file", ".parquet"),
    (b"\x1f\x8b", "a gzip file", ".gz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", ".zst"),
    (b"PK\x03\x04", "a ZIP archive", ".zip"),
    (b"BZh", "a bzip2 file", ".bz2"),
    (b"\xfd7zXZ\x00", "an xz file", ".xz"),
    (b"ARROW1", "an Arrow file", ".arrow"),
    (b"\x93NUMPY", "a NumPy array", ".npy"),
    (b"MMIDIDX", "a Megatron index", ".idx"),
    (b"SQLite format 3", "an SQLite database", ".sqlite"),
    (b"%PDF", "a PDF file", ".pdf"),
    (b"\xff\xfe", "text in UTF-16", ".txt"),
    (b"\xfe\xff", "text in UTF-16", ".txt"),
)


def named_as(path: Path) -> Path:
    """
    Return the name that says what is in a file: its own, or that of the file it links to if its own says nothing.

    The caches of hubs, DVC and git-annex hold files under names without a suffix, behind links that have one.
    """
    if _kind(path) in _KNOWN or not os.path.islink(path):
        return path
    target = Path(os.path.realpath(path))
    return target if _kind(target) in _KNOWN else path


def kind_of(path: Path) -> str:
    """Return the suffix, in small letters, that says what is inside, without `.gz` and `.zst`; "" if there is none."""
    return _kind(named_as(path))


def packing_of(path: Path) -> str:
    """Return `.gz` or `.zst` for a packed file, else ""."""
    suffix = named_as(path).suffix.lower()
    return suffix if suffix in PACKED else ""


def found_in(beginning: bytes) -> str | None:
    """Return what a file is by its first 16 bytes, in words; None for text and what is not known."""
    return next((what for start, what, _ in _BEGINNINGS if beginning.startswith(start)), None)


def found_at(path: Path) -> str | None:
    """Return what a file is by its first bytes, as `found_in`; None too if it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return found_in(handle.read(16))
    except OSError:
        return None


def refuse_other(path: Path, beginning: bytes, should: str) -> None:
    """Raise InputError if a file that `should` be text begins like something else."""
    for start, what, suffix in _BEGINNINGS:
        if beginning.startswith(start):
            way = "save it as UTF-8" if "UTF-16" in what else "check the path, or convert it"
            names = f" (names of such files end in {suffix})" if suffix not in (".txt", ".idx") else ""
            raise InputError(f"{path}: this should be {should}, found {what}; {way}{names}")


def _kind(path: Path) -> str:
    return Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()
