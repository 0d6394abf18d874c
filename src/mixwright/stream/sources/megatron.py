"""Megatron's indexed data sets: `.bin` holds the tokens, `.idx` says where the sequences and documents are."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files.pointers import refuse_pointer
from mixwright.stream.sources.tokens import MappedArray, PaddedDocuments, TokenRows

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<QBQQ")  # version, code of the dtype, sequences, entries of the document index
_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}  # 6 and 7 are floats, which are no tokens


class MegatronRows(TokenRows):
    """
    A Megatron data set, its sequences end to end, cut into rows of `context` tokens.

    Parameters
    ----------
    prefix
        The path without `.bin` and `.idx`, or with either.
    context, overlap, boundaries
        As for TokenRows. The index says where documents are; they include their end-of-document tokens.

    Raises
    ------
    InputError
        If either file is missing or cut off, or the index points outside of the tokens.

    Notes
    -----
    The format of Megatron-LM, megatron/core/datasets/indexed_dataset.py, version 1: the magic, version uint64,
    code of the dtype uint8, number of sequences uint64, length of the document index uint64; then the sequences'
    lengths int32, their byte offsets int64, and the first sequence of each document int64, with the end.
    """

    def __init__(self, prefix: Path | str, context: int, overlap: int = 0, boundaries: bool = False) -> None:
        tokens, documents = read_index(prefix)
        super().__init__(tokens, context, overlap, documents=documents, boundaries=boundaries)


def is_megatron(path: Path, raw: bool = False) -> bool:
    """
    Return whether a path stands for a Megatron data set: its `.idx`, its prefix, or its `.bin`.

    Other tools write `.idx` files too. A `.bin` of `raw` tokens is Megatron's only if the `.idx` beside it is.
    """
    if path.suffix.lower() == ".idx":
        return True
    if path.suffix.lower() != ".bin":
        return not path.exists() and Path(f"{path}.idx").is_file()
    index = path.with_suffix(".idx")
    return index.is_file() and (not raw or _begins(index, _MAGIC))


def _begins(path: Path, wanted: bytes) -> bool:
    with open(path, "rb") as handle:
        return handle.read(len(wanted)) == wanted


def megatron_documents(prefix: Path | str, context: int, pad: int = 0, long: str = "split") -> PaddedDocuments:
    """Return a Megatron data set with one document per row, padded; see PaddedDocuments."""
    tokens, documents = read_index(prefix)
    return PaddedDocuments(tokens, context, pad, long, documents=documents)


def read_index(prefix: Path | str) -> tuple[MappedArray, NDArray[np.int64]]:
    """
    Read and check `prefix.idx`.

    Returns
    -------
    tokens, documents
        The tokens of `prefix.bin`, mapped when used; int64 [d + 1], where each document starts, and the end.
    """
    prefix = Path(prefix)
    prefix = prefix.with_suffix("") if prefix.suffix in (".idx", ".bin") else prefix
    index, data = Path(f"{prefix}.idx"), Path(f"{prefix}.bin")
    for path in (index, data):
        if not path.is_file():
            raise InputError(f"{path}: a Megatron data set should have a .bin and an .idx, found no such file")
        refuse_pointer(path)
    dtype, sizes, pointers, starts = _parts(index)
    size = data.stat().st_size
    ends = pointers + sizes.astype(np.int64) * dtype.itemsize
    if len(ends) and int(ends.max()) > size:
        bad = int(np.flatnonzero(ends > size)[0])
        raise InputError(
            f"{data}: the index asks for {int(ends.max())} bytes, found {size} (the first sequence out of range "
            f"is number {bad}); the file was cut off or belongs to another index: copy both again"
        )
    expected = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    if np.any(pointers != expected[:-1] * dtype.itemsize):
        bad = int(np.flatnonzero(pointers != expected[:-1] * dtype.itemsize)[0])
        raise InputError(
            f"{index}: sequences should lie one after the other, found sequence {bad} at byte {pointers[bad]}; build "
            f"the index again"
        )
    if int(expected[-1]) * dtype.itemsize != size:
        raise InputError(
            f"{data}: the index knows {int(expected[-1])} tokens ({int(expected[-1]) * dtype.itemsize} bytes), found "
            f"{size} bytes; they belong to different data: copy both again"
        )
    if len(starts) < 2:
        starts = np.arange(len(sizes) + 1)
    elif starts[0] != 0 or starts[-1] != len(sizes) or np.any(np.diff(starts) < 0):
        raise InputError(
            f"{index}: the document index should ascend from 0 to {len(sizes)} sequences, found "
            f"{starts[0]} to {starts[-1]}; an index out of range: build it again"
        )
    return MappedArray(data, dtype, int(expected[-1])), expected[starts]


def _parts(path: Path) -> tuple[np.dtype[Any], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the dtype, the sizes [n], the byte offsets [n] and the document index of an `.idx` file."""
    content = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    first = len(_MAGIC) + _HEADER.size
    if bytes(content[: len(_MAGIC)]) != _MAGIC or len(content) < first:
        raise InputError(
            f"{path}: it should begin with MMIDIDX (a Megatron index), found {bytes(content[:9])!r}; check the path"
        )
    version, code, n, d = _HEADER.unpack(bytes(content[len(_MAGIC) : first]))
    if version != 1:
        raise InputError(f"{path}: the version of the index should be 1, found {version}")
    if code not in _DTYPES:
        raise InputError(f"{path}: the dtype's code should be one of {sorted(_DTYPES)} (integers), found {code}")
    needed = first + 12 * n + 8 * d
    if len(content) < needed:
        raise InputError(
            f"{path}: the index of {n} sequences and {d} documents should have {needed} bytes, found {len(content)}; "
            f"it was cut off: copy it again"
        )
    sizes = np.frombuffer(content, "<i4", n, first)
    pointers = np.frombuffer(content, "<i8", n, first + 4 * n)
    starts = np.frombuffer(content, "<i8", d, first + 12 * n)
    bad = np.flatnonzero((sizes < 0) | (pointers < 0))
    if len(bad):
        raise InputError(
            f"{path}: an index out of range: sequence {bad[0]} has length {sizes[bad[0]]} at byte {pointers[bad[0]]}"
        )
    return np.dtype(_DTYPES[code]), sizes, pointers, starts
