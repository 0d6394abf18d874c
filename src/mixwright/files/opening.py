"""Opening a file for reading: unpacked, and with one clear error where it is damaged, absent or something else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mixwright.errors import InputError
from mixwright.files.kinds import packing_of, refuse_other
from mixwright.files.listing import unreadable
from mixwright.files.packed import DAMAGED, unpacked
from mixwright.files.pointers import SIZE, refuse_beginning, refuse_pointer


@contextmanager
def open_text(path: Path, should: str = "text") -> Iterator[IO[bytes]]:
    """
    Open a file of text for reading its bytes, unpacked if its name says so.

    Raises
    ------
    InputError
        The file is missing, cannot be read, is a pointer, is damaged, or is not text (`should` says what it should be).
    """
    packing = packing_of(path)
    try:
        with _opened(path, should) as raw:
            refuse_beginning(path, peek(raw, SIZE))
            content = unpacked(packing, raw)
            refuse_other(path, peek(content, 16), should)
            yield content
    except DAMAGED as error:
        advice = "it may be cut off; copy or make it again"
        raise InputError(f"{path}: this should be a whole {packing} file, found {error}; {advice}") from None
    except OSError as error:
        raise unreadable(path, error) from None


def _opened(path: Path, should: str) -> IO[bytes]:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        refuse_pointer(path)
        raise InputError(f"{path} should be {should}, found no such file; check the path") from None
    except ValueError as error:  # a path that no file can have
        raise InputError(f"cannot read {path}: {error}; it should be {should}") from None


def load_array(path: Path, mapped: bool = False) -> Any:
    """Return the array of a `.npy` file, or a map of it; ValueError for what is no whole file of numbers."""
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:  # a header that is damaged can raise nearly anything
        raise ValueError(f"no array: {error}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError("not one array")
    return array


def peek(handle: IO[bytes], size: int) -> bytes:
    """Return up to `size` of the next bytes of a buffered file without reading on."""
    buffered: Any = handle
    return bytes(buffered.peek(size)[:size])


def read_text(path: Path, should: str = "text", advice: str = "save it as UTF-8") -> str:
    """Return a whole file of text in UTF-8, without a byte order mark; errors as for `open_text`."""
    with open_text(path, should) as handle:
        return decode(handle.read(), str(path), advice, many_lines=True)


def decode(raw: bytes, where: str, advice: str = "save it as UTF-8", many_lines: bool = False) -> str:
    """Return the text of bytes in UTF-8, without a byte order mark; InputError names the byte, and its line."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        if many_lines:
            line = raw.count(b"\n", 0, error.start) + 1
            where, found = f"{where}, line {line}", f"byte 0x{raw[error.start]:02x}"
        raise InputError(f"{where}: the text should be UTF-8, found {found}; {advice}") from None
