"""Opening a file for reading: unpacked, and with one clear error where it is damaged, absent or something else."""

from __future__ import annotations

import math
import zipfile
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


def load_arrays(path: Path, *names: str) -> dict[str, Any]:
    """
    Return arrays of a `.npz` file as `numpy.savez` writes it, all or some; ValueError for another or damaged file.

    Packed members, and those that claim other sizes than they have, are refused before any is read: a small file of
    somebody else may stand for more than the memory holds.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise ValueError("members that are packed, or larger than the file")
            for member in members:
                with archive.open(member) as handle:
                    _check_size(handle, member.file_size)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except (OSError, ValueError):
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise ValueError(f"no arrays: {error}") from None


def _check_size(handle: IO[bytes], size: int) -> None:
    """Raise ValueError if an array in a file of some bytes says that it has others."""
    from numpy.lib import format as npy

    read = npy.read_array_header_1_0 if npy.read_magic(handle) == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(handle)
    if math.prod(shape) * kind.itemsize != size - handle.tell():
        raise ValueError(f"an array {shape} in {size} bytes")


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
