"""Unpacking gzip and zstandard as a stream of bytes: a small file may stand for one that would fill the memory."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from typing import IO, Any

from mixwright.errors import InputError, missing_extra

_CHUNK = 1 << 17
_PIECE = 256  # bytes of zstandard at a time: 4 of them may stand for 128 KB, and the library gives all that there is
_LARGEST = 1 << 31  # bytes; the longest window that zstandard knows
LONGEST = 1 << 30  # bytes of a line, or of a text that is read whole, in a packed file
MEMORY = "MIXWRIGHT_ZSTD_MEMORY"
"""The environment variable that limits the memory for one file: 512MB, 2GB. Long windows (zstd --long) need it."""


class DamagedError(Exception):
    """A packed file that is cut off or is not what its name says."""


DAMAGED: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error, DamagedError)


def unpacked(packing: str, raw: IO[bytes]) -> IO[bytes]:
    """Return a file's content, unpacked; `packing` is .gz, .zst or nothing. Reading raises one of `DAMAGED`."""
    if packing == ".gz":
        return _Bounded(gzip.GzipFile(fileobj=raw), _CHUNK)
    if packing == ".zst":
        return _Bounded(_ZstdReader(raw), _CHUNK)
    return raw


def memory_limit() -> int:
    """Return the bytes that unpacking one file may take; InputError if MIXWRIGHT_ZSTD_MEMORY is not a size."""
    text = os.environ.get(MEMORY, "").strip()
    if not text:
        return _LARGEST
    found = re.fullmatch(r"(\d+)\s*([KMG]?)(i?B)?", text, re.IGNORECASE)
    if not found or not int(found[1]):
        raise InputError(f"{MEMORY} should be a size such as 512MB or 2GB, found {text!r}; correct it")
    return min(int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2].upper()], _LARGEST)


class _Bounded(io.BufferedReader):
    """A buffered reader that gives no line, and no whole content, that is longer than `LONGEST`."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) if size is not None and size >= 0 else _checked(super().read(LONGEST + 1))

    def readline(self, size: int | None = -1) -> bytes:
        if size is not None and size >= 0:
            return super().readline(size)
        return _checked(super().readline(LONGEST + 1))


def _checked(content: bytes) -> bytes:
    if len(content) > LONGEST:
        raise DamagedError(f"a line, or a text without lines, of more than {LONGEST:,} bytes")
    return content


class _ZstdReader(io.RawIOBase):
    """Unpacks zstandard frames and, unlike the library's reader, notices that the last one is cut off."""

    def __init__(self, raw: IO[bytes]) -> None:
        try:
            import zstandard
        except ImportError:
            raise missing_extra("zstandard", "data") from None
        self._raw, self._library, self._limit = raw, zstandard, memory_limit()
        self._frame: Any = None
        self._packed, self._ready = b"", memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(_PIECE)
            if not self._packed:
                if self._frame is not None:
                    raise DamagedError("an end before the end of the last frame")
                return 0
            self._unpack()
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _unpack(self) -> None:
        """Give all packed bytes to the current frame; what lies behind its end starts the next one."""
        if self._frame is None:
            self._frame = self._library.ZstdDecompressor(max_window_size=self._limit).decompressobj(write_size=1 << 16)
        try:
            self._ready = memoryview(self._frame.decompress(self._packed))
        except self._library.ZstdError as error:
            if "too much memory" in str(error):
                raise InputError(
                    f"{getattr(self._raw, 'name', 'a .zst file')}: unpacking it should take at most "
                    f"{self._limit >> 20} MB, found a window that needs more; raise {MEMORY} (2GB reads all files)"
                ) from None
            raise DamagedError(str(error)) from None
        self._packed = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame
