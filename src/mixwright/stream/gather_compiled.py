"""The copy of rows from memory maps into a batch, compiled."""

from __future__ import annotations

from typing import Any

import numba
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def _copy_bytes(typing_context: Any, target: Any, source: Any, count: Any) -> Any:
    """Copy `count` bytes from one address to another: the machine's own memcpy."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, origin = (builder.inttoptr(argument, cgutils.voidptr_t) for argument in arguments[:2])
        cgutils.raw_memcpy(builder, to, origin, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@numba.njit(
    [
        f"int64(int64[:], int64[:], int64[:], {kind}[:], int64[:], int64, int64, int64[:])"
        for kind in ("int32", "int64")
    ],
    nogil=True,
    cache=True,
)
def copy_rows(address: Any, stride: Any, length: Any, source: Any, row: Any, target: int, width: int, note: Any) -> int:
    """
    Copy rows to `target`, one after the other.

    Parameters
    ----------
    address, stride, length
        int64 [k]: where each source's first row is in memory, bytes from one row to the next, and its rows.
    source, row
        int32 or int64 [b], and int64 [b]: what to copy.
    target, width
        The address to write to, and bytes per row.
    note
        int64 [2]: the source and row that is copied now; read by others if this process dies.

    Returns
    -------
    bad
        The first slot that asks for a source or a row that is not there, before anything is copied; -1: none.
    """
    for i in range(len(source)):
        if not 0 <= source[i] < len(length) or not 0 <= row[i] < length[source[i]]:
            return i
    for i in range(len(source)):
        note[0], note[1] = source[i], row[i]
        _copy_bytes(target + i * width, address[source[i]] + row[i] * stride[source[i]], width)  # type: ignore[call-arg]
    return -1
