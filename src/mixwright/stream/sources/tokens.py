"""Sources of tokens: memory maps cut into rows of one width, with the boundaries of documents where they are known."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mixwright.checks import whole_number
from mixwright.errors import InputError
from mixwright.files.kinds import found_at
from mixwright.files.opening import load_array
from mixwright.files.pointers import refuse_pointer
from mixwright.stream.sources.source import Source, as_rows, sample


class MappedArray:
    """
    An array on disk that is mapped when it is first used, and again in a process that unpickles it.

    Parameters
    ----------
    path
        `.npy`, or raw values with `dtype`.
    dtype
        Of raw values; None for `.npy`.
    length
        Values that should be there; None: what the file holds.
    """

    def __init__(self, path: Path, dtype: DTypeLike | None = None, length: int | None = None) -> None:
        self.path, self.dtype, self.length = path, None if dtype is None else np.dtype(dtype), length
        self._array: NDArray[Any] | None = None

    def __call__(self) -> NDArray[Any]:
        """Return the array."""
        if self._array is None:
            self._array = self._map()
        return self._array

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself: maps, views, caches."""
        return {**self.__dict__, "_array": None}

    def _map(self) -> NDArray[Any]:
        refuse_pointer(self.path)
        try:
            if self.dtype is None:
                return np.asarray(load_array(self.path, mapped=True))
            size, item = self.path.stat().st_size, self.dtype.itemsize
        except FileNotFoundError:
            raise InputError(f"{self.path}: there should be a file of tokens, found none; check the path") from None
        except (ValueError, OSError) as error:
            found = found_at(self.path)
            found = f"one that cannot be mapped ({error})" if found in (None, "a NumPy array") else found
            raise InputError(
                f"{self.path}: there should be a complete .npy array, found {found}; copy the file again"
            ) from None
        if not size:
            raise InputError(f"{self.path}: there should be tokens, found an empty file; remove the source")
        expected = size - size % item if self.length is None else self.length * item
        if size != expected:
            should = (
                f"{expected} bytes" if self.length is not None else f"a whole number of {self.dtype} ({item} bytes)"
            )
            raise InputError(
                f"{self.path}: there should be {should}, found {size} bytes; it was cut off or is of another "
                f"dtype: copy it again or name its dtype"
            )
        return np.asarray(np.memmap(self.path, self.dtype, "r"))


@contextmanager
def without_reading_ahead(array: NDArray[Any]) -> Iterator[None]:
    """Read no more of a memory map than the pages that are asked for; the system reads up to megabytes around each."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_RANDOM"):
        yield
        return
    base.madvise(mmap.MADV_RANDOM)
    try:
        yield
    finally:
        base.madvise(mmap.MADV_NORMAL)


class TokenRows(Source):
    """
    Tokens laid end to end, cut into rows of `context` tokens; or an array of rows that are cut already.

    Row i is tokens[i * context : (i + 1) * context + overlap]; tokens after the last whole row are left out.

    Parameters
    ----------
    tokens
        A path (`.npy`, or raw values with `dtype`), an array of integers [n], or an array of rows [n, ...] of any
        dtype, which is handed out as it is; a TokenStore, whose documents are known.
    context
        Tokens per row. Not for an array of rows.
    overlap
        Tokens that a row shares with the next one: 0, or 1 for trainings that shift the targets themselves.
    dtype
        Of a raw file.
    documents
        int64 [d + 1], where each document starts, and the end; None: a TokenStore's own, else not known.
    boundaries
        Whether rows say which document each token is of: then `gather` returns {"input_ids", "position_ids",
        "document_ids"}, each [m, context + overlap]. A position counts from the start of the document or of the row,
        whichever is later, so that 0 marks each boundary; documents are numbered over the source.

    Raises
    ------
    InputError
        If the file is missing or cut off, tokens are not integers, or there is not one whole row.

    Examples
    --------
    >>> source = TokenRows(np.arange(10, dtype=np.uint16), context=4, overlap=1)
    >>> source.gather(np.array([1, 0])).tolist()
    [[4, 5, 6, 7, 8], [0, 1, 2, 3, 4]]
    """

    def __init__(
        self,
        tokens: Any,
        context: int | None = None,
        overlap: int = 0,
        dtype: DTypeLike | None = None,
        documents: ArrayLike | None = None,
        boundaries: bool = False,
    ) -> None:
        self.name, self._data, documents = _opened(tokens, dtype, documents)
        shape = self._data().shape
        _check_native(self.name, self._data().dtype)
        if len(shape) == 1:
            if context is None:
                raise InputError(
                    f"{self.name}: tokens that lie end to end need context= (tokens per row), found none; say how many"
                )
            self.context = whole_number(context, f"{self.name}: the context")
            self.overlap = whole_number(overlap, f"{self.name}: the overlap", 0)
            self._length = max((shape[0] - self.overlap) // self.context, 0)
            self._check_tokens(shape[0])
        elif context is not None or overlap:
            raise InputError(f"{self.name}: it is cut into rows already ({list(shape)}); leave context and overlap out")
        else:
            self.context, self.overlap, self._length = int(np.prod(shape[1:])), 0, shape[0]
        self.documents = None if documents is None else _checked_documents(self.name, documents, shape[0])
        self.boundaries = boundaries
        if boundaries and (self.documents is None or len(shape) != 1):
            raise InputError(f"{self.name}: boundaries need to know where documents start; give `documents`")

    def _check_tokens(self, found: int) -> None:
        if self._data().dtype.kind not in "iu":
            raise InputError(f"{self.name}: tokens should be integers, found {self._data().dtype}")
        if not self._length:
            raise InputError(
                f"{self.name}: there should be at least {self.context + self.overlap} tokens (one row), found {found}; "
                f"add data, lower the context or remove the source"
            )

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself: maps, views, caches."""
        return {key: value for key, value in self.__dict__.items() if key != "_windows"}

    @property
    def windows(self) -> NDArray[Any]:
        """All rows as one read-only view [length, ...]; nothing is read or copied."""
        if "_windows" not in self.__dict__:
            data = self._data()
            if data.ndim == 1:
                shape, step = (self._length, self.context + self.overlap), data.strides[0]
                data = as_strided(data, shape, (self.context * step, step), writeable=False)
            self._windows = data
        return self._windows

    def gather(self, rows: NDArray[np.int64]) -> Any:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, self._length)
        tokens = self.windows.take(rows, 0) if self.windows.flags.c_contiguous else self.windows[rows]
        if not self.boundaries or self.documents is None:
            return tokens
        at = rows[:, None] * self.context + np.arange(self.context + self.overlap)
        document = np.searchsorted(self.documents, at, side="right") - 1
        start = np.maximum(self.documents[document], rows[:, None] * self.context)
        return {"input_ids": tokens, "position_ids": at - start, "document_ids": document}

    def _content(self) -> bytes:
        with without_reading_ahead(self._data()):
            picked = self.windows[sample(self._length, 64)]
        return f"{picked.dtype.str} {list(picked.shape[1:])} {self.overlap} {self.boundaries}".encode() + _digest(
            picked
        )

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        return self.name


class PaddedDocuments(Source):
    """
    One document per row, padded to `context` tokens.

    Parameters
    ----------
    tokens, dtype, documents
        As for TokenRows; `documents` must be known.
    context
        Tokens per row.
    pad
        The id that fills a row.
    long
        What becomes of a document that is longer than the context: "split" into several rows, or "cut" at its end.

    Notes
    -----
    `gather` returns {"input_ids" [m, context], "attention_mask" int64 [m, context]}, the mask 0 on padding. Empty
    documents have no row.
    """

    def __init__(
        self,
        tokens: Any,
        context: int,
        pad: int = 0,
        long: str = "split",
        dtype: DTypeLike | None = None,
        documents: ArrayLike | None = None,
    ) -> None:
        self.name, self._data, documents = _opened(tokens, dtype, documents)
        if documents is None:
            raise InputError(f"{self.name}: one document per row needs to know where documents start; give `documents`")
        if long not in ("split", "cut"):
            raise InputError(f"{self.name}: `long` should be 'split' or 'cut', found {long!r}")
        _check_native(self.name, self._data().dtype)
        self.context, self.pad = whole_number(context, f"{self.name}: the context"), int(pad)
        bounds = _checked_documents(self.name, documents, len(self._data()))
        lengths = np.diff(bounds)
        pieces = -(-lengths // self.context) if long == "split" else (lengths > 0).astype(np.int64)
        before = np.cumsum(pieces) - pieces
        self._start = np.repeat(bounds[:-1], pieces) + self.context * (
            np.arange(int(pieces.sum())) - np.repeat(before, pieces)
        )
        self._stop = np.minimum(self._start + self.context, np.repeat(bounds[1:], pieces))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._start)

    def gather(self, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Return rows [m]; see Source."""
        rows = as_rows(rows, len(self))
        at = self._start[rows, None] + np.arange(self.context)
        mask = at < self._stop[rows, None]
        tokens = self._data()[np.where(mask, at, 0)]
        return {
            "input_ids": np.where(mask, tokens, np.asarray(self.pad, tokens.dtype)),
            "attention_mask": mask.astype(np.int64),
        }

    def _content(self) -> bytes:
        with without_reading_ahead(self._data()):
            rows = self.gather(sample(len(self), 64)) if len(self) else {}
        return f"padded {self.context} {self.pad}".encode() + b"".join(_digest(value) for value in rows.values())

    def where(self, row: int) -> str:
        """Return the file that holds a row."""
        return self.name


class _InMemory:
    """An array that is there already, with the face of MappedArray."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._array = array

    def __call__(self) -> NDArray[Any]:
        return self._array


def _opened(tokens: Any, dtype: DTypeLike | None, documents: Any) -> tuple[str, Any, Any]:
    """Return the name, the array and where documents start, of a path, an array or a TokenStore."""
    if isinstance(tokens, MappedArray):
        return str(tokens.path), tokens, documents
    if hasattr(tokens, "offsets") and hasattr(tokens, "folder"):
        data = MappedArray(tokens.folder / "tokens.bin", tokens.data.dtype, tokens.tokens)
        return str(tokens.folder), data, tokens.offsets if documents is None else documents
    if isinstance(tokens, str | Path):
        path = Path(tokens)
        if path.suffix.lower() != ".npy" and dtype is None:
            raise InputError(f"{path}: raw tokens should come with their dtype, found none; for example dtype='uint16'")
        return str(path), MappedArray(path, None if path.suffix.lower() == ".npy" else dtype), documents
    if isinstance(tokens, np.memmap) and tokens.filename is not None and tokens.mode == "r":
        return str(tokens.filename), _mapped_again(tokens), documents
    array = np.asarray(tokens)
    if array.ndim < 1 or array.dtype.kind not in "biufc":
        raise InputError(f"tokens should be an array of integers, found {type(tokens).__name__} of {array.dtype}")
    return "an array in memory", _InMemory(array), documents


def _check_native(name: str, dtype: np.dtype[Any]) -> None:
    """Raise InputError for numbers that torch cannot hold."""
    if dtype.kind not in "biufc" or not dtype.isnative:
        raise InputError(
            f"{name}: there should be numbers in this machine's byte order, found {dtype.str}; convert them with astype"
        )


def _mapped_again(array: np.memmap[Any, Any]) -> Any:
    """Return a memory map by its file if it is the whole of it, so that workers map it too; else the array itself."""
    path = Path(str(array.filename))
    whole = array.offset == 0 and array.flags.c_contiguous and path.is_file() and path.stat().st_size == array.nbytes
    if whole and array.ndim == 1:
        return MappedArray(path, array.dtype)
    return _InMemory(np.asarray(array))


def _checked_documents(name: str, documents: ArrayLike, tokens: int) -> NDArray[np.int64]:
    bounds = np.asarray(documents, np.int64)
    if bounds.ndim != 1 or len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != tokens or np.any(np.diff(bounds) < 0):
        raise InputError(
            f"{name}: documents should be where each one starts, ascending from 0, and the end ({tokens}); found "
            f"{len(bounds)} numbers: {np.array2string(bounds, threshold=6)}"
        )
    return bounds


def _digest(values: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()
