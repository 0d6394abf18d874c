"""Several sources read as one: one gather per source and batch, and one compiled copy where all of them are arrays."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import unique_names
from mixwright.errors import InputError, missing_extra
from mixwright.stream.sources.opening import open_source
from mixwright.stream.sources.source import Rows, Source
from mixwright.stream.sources.tokens import TokenRows

_FAILURES = (Exception,)
_PLAIN_ROWS = 1 << 16  # loading numba takes about a second


class Sources(Mapping[str, Source]):
    """
    The sources of a stream, in order, whose rows have one layout.

    Parameters
    ----------
    sources
        By name: Source, or anything that `open_source` opens.
    compiled
        Whether to copy rows with compiled code; None: where numba is installed, once it is loaded or 65,536 rows were
        read, since loading it takes a second. The rows are the same.

    Raises
    ------
    InputError
        If rows of two sources cannot stand in one batch (dtype, width, array or not), or a source does not open.
    """

    def __init__(self, sources: Mapping[str, Any], compiled: bool | None = None) -> None:
        if not isinstance(sources, Mapping):
            raise InputError(f"sources should be a mapping from names to sources, found {type(sources).__name__}")
        self.names = unique_names(sources)
        self._number = {name: i for i, name in enumerate(self.names)}
        self._sources = tuple(_opened(name, sources[name]) for name in self.names)
        self.sizes = {name: len(source) for name, source in self.items()}
        self._compiled = (None if _has_numba() else False) if compiled is None else compiled
        if self._compiled and not _has_numba():
            raise missing_extra("numba", "stream")
        self._check_layouts()
        self._flat: tuple[Any, ...] | None = None
        self._copy: Any = None
        self._read = 0
        self._note = np.empty(2, np.int64)

    def __getitem__(self, name: str) -> Source:
        """Return a source by name."""
        return self._sources[self._number[name]]

    def __iter__(self) -> Iterator[str]:
        """Go over the names, in order."""
        return iter(self.names)

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.names)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a process makes for itself: maps, views, caches."""
        return {**self.__dict__, "_flat": None, "_copy": None}

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each source's content."""
        return {name: self[name].fingerprint for name in self.names}

    def check_prints(self, known: Any) -> dict[str, str]:
        """
        Return the fingerprints of a state, those of removed sources too, after comparing them with the sources.

        Raises
        ------
        InputError
            If a source has other rows or another content than at the checkpoint: it names the source.
        """
        if not isinstance(known, Mapping):
            raise InputError(f"the state of the loader is damaged: 'fingerprints' has {known!r:.80}; use another one")
        for name, now in self.fingerprints.items():
            if known.get(name, now) != now:
                raise InputError(
                    f"the source {name!r} ({self.sizes[name]} rows) should have the rows and content that it "
                    f"had at the checkpoint (fingerprint {known[name]}), found {now}; restore the data, or give the "
                    "new data another name"
                )
        return dict(known)

    @property
    def by_address(self) -> bool:
        """Whether rows are copied out of memory maps, one by one: then `note` says exactly which one is read."""
        if self._flat is None:
            self._flat = self._addresses()
        return bool(self._flat)

    def read(
        self, source: NDArray[np.integer[Any]], row: NDArray[np.int64], note: NDArray[np.int64] | None = None
    ) -> Rows:
        """
        Return the rows of one batch in the order of its slots.

        Parameters
        ----------
        source, row
            int32 or int64 [b], and int64 [b].
        note
            int64 [2], written with what is read now: the last read of a process that died.

        Returns
        -------
        rows
            An array [b, ...] or a dict of arrays, if that is what the sources give; else a list of b rows.

        Raises
        ------
        InputError
            If a source fails: it names the source, the row, the file and the failure.
        """
        if self.by_address:
            return self._copied(source, row, note)
        parts, slots = [], []
        # one call per source and batch; stable, so that rows stay in the order of the plan
        order = np.argsort(source, kind="stable")
        ordered = source[order]
        edges = np.flatnonzero(np.diff(ordered)) + 1
        for at in np.split(order, edges):
            i = int(source[at[0]])
            if note is not None:
                note[:] = i, row[at[0]]
            parts.append(self._gather(i, row[at]))
            slots.append(at)
        return _joined(parts, slots, [self.names[int(source[at[0]])] for at in slots])

    def _gather(self, i: int, rows: NDArray[np.int64]) -> Rows:
        try:
            return self._sources[i].gather(rows)
        except _FAILURES as error:
            raise self._failure(i, rows, error) from error

    def _failure(self, i: int, rows: NDArray[np.int64], error: Exception) -> InputError:
        """Find the first row that fails when it is read alone, and say so."""
        source, bad = self._sources[i], int(rows[0])
        # a source fails for a whole batch: read row by row to name the one at fault
        for one in rows.tolist():
            try:
                source.gather(np.array([one]))
            except _FAILURES as alone:
                bad, error = one, alone
                break
        try:
            where = source.where(bad)
        except _FAILURES:
            where = ""
        place = f" ({where})" if where and where not in str(error) else ""
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return InputError(f"the source {self.names[i]!r}, row {bad}{place}: it cannot be read: {reason}")

    def _addresses(self) -> tuple[Any, ...]:
        """Return what a copy by address needs, or () if it does not apply."""
        # memory maps of equal windows: a row is an address, so a batch is one loop of copies
        sources = [s for s in self._sources if isinstance(s, TokenRows) and not s.boundaries]
        windows = [s.windows for s in sources]
        alike = len({(w.dtype, w.shape[1:]) for w in windows}) == 1 and len(windows) == len(self)
        if not alike or any(w.dtype.hasobject or not _row_is_whole(w) for w in windows):
            return ()
        address = np.array([w.ctypes.data for w in windows], np.int64)
        stride = np.array([w.strides[0] for w in windows], np.int64)
        length = np.array([len(w) for w in windows], np.int64)
        return address, stride, length, windows[0].shape[1:], windows[0].dtype, windows

    def _copied(self, source: NDArray[np.integer[Any]], row: NDArray[np.int64], note: Any) -> NDArray[Any]:
        address, stride, length, shape, dtype, _ = self._flat  # type: ignore[misc]
        copy = self._copy or self._chosen(len(row))
        out = np.empty((len(row), *shape), dtype)
        bad = copy(
            address,
            stride,
            length,
            source,
            row,
            out.ctypes.data,
            out.nbytes // max(len(row), 1),
            self._note if note is None else note,
        )
        if bad >= 0:
            i, found = int(source[bad]), int(row[bad])
            if not 0 <= i < len(self):
                raise InputError(f"a source should be between 0 and {len(self) - 1}, found {i}")
            raise self._failure(i, row[bad : bad + 1], InputError(f"found row {found} of {length[i]}"))
        return out

    def _chosen(self, rows: int) -> Any:
        """Return the compiled copy if it is wanted and pays by now, else the plain one."""
        # loading numba takes a second: only after enough rows
        self._read += rows
        if self._compiled or (self._compiled is None and (self._read >= _PLAIN_ROWS or "numba" in sys.modules)):
            self._copy = _compiled_copy()
        return self._copy or _copy_plainly

    def _check_layouts(self) -> None:
        """Compare the rows of all sources that have any."""
        known = [(name, self._layout(name)) for name in self.names if self.sizes[name]]
        for name, layout in known[1:]:
            first, other = known[0]
            for key in sorted(layout.keys() | other.keys()):
                if layout.get(key) != other.get(key) and ((key in layout and key in other) or "" in (*layout, *other)):
                    raise InputError(
                        f"rows of all sources should have one dtype and width, found {_told(other, key)} in {first!r} "
                        f"and {_told(layout, key)} in {name!r}; convert one of them"
                    )

    def _layout(self, name: str) -> dict[str, str]:
        try:
            return self[name].layout
        except _FAILURES as error:
            raise self._failure(self._number[name], np.zeros(1, np.int64), error) from error


def _opened(name: str, what: Any) -> Source:
    try:
        return open_source(what)
    except InputError as error:
        raise InputError(f"the source {name!r}: {error}") from None


def _told(layout: dict[str, str], key: str) -> str:
    named = layout.get(key)
    return "rows that are not one array" if named is None else f"{named}" + (f" in {key!r}" if key else "")


def _row_is_whole(windows: NDArray[Any]) -> bool:
    """Say whether the values of one row lie side by side."""
    return bool(windows[:1].flags.c_contiguous) if len(windows) else True


def _joined(parts: list[Rows], slots: list[NDArray[np.int64]], names: list[str]) -> Rows:
    """Put the rows of each source into their slots."""
    kinds = {type(part) for part in parts}
    if len(kinds) == 1 and isinstance(parts[0], np.ndarray):
        return _stacked(parts, slots, names)
    if len(kinds) == 1 and isinstance(parts[0], dict):
        if any(part.keys() != parts[0].keys() for part in parts):
            raise InputError(f"rows should have the same parts, found {[sorted(part) for part in parts]} in {names}")
        return {key: _stacked([part[key] for part in parts], slots, names) for key in parts[0]}
    out: list[Any] = [None] * sum(len(at) for at in slots)
    for part, at in zip(parts, slots, strict=True):
        for slot, value in zip(at.tolist(), _listed(part), strict=True):
            out[slot] = value
    return out


def _listed(part: Rows) -> Iterable[Any]:
    if isinstance(part, dict):
        return [dict(zip(part, values, strict=True)) for values in zip(*part.values(), strict=True)]
    return part


def _stacked(parts: list[NDArray[Any]], slots: list[NDArray[np.int64]], names: list[str]) -> NDArray[Any]:
    first = parts[0]
    for part, name in zip(parts, names, strict=True):
        if part.dtype != first.dtype or part.shape[1:] != first.shape[1:]:
            raise InputError(
                f"rows of all sources should have one dtype and width, found {first.dtype} {list(first.shape[1:])} in "
                f"{names[0]!r} and {part.dtype} {list(part.shape[1:])} in {name!r}; convert one of them"
            )
    out = np.empty((sum(len(at) for at in slots), *first.shape[1:]), first.dtype)
    for part, at in zip(parts, slots, strict=True):
        out[at] = part
    return out


@cache
def _has_numba() -> bool:
    return find_spec("numba") is not None


def _copy_plainly(
    address: NDArray[np.int64],
    stride: NDArray[np.int64],
    length: NDArray[np.int64],
    source: NDArray[np.integer[Any]],
    row: NDArray[np.int64],
    target: int,
    width: int,
    note: NDArray[np.int64],
) -> int:
    """Do what `gather_compiled.copy_rows` does, without numba."""
    there = (source >= 0) & (source < len(length)) & (row >= 0)
    there[there] &= row[there] < length[source[there]]
    if not there.all():
        return int(np.argmin(there))
    begins = (address[source] + row * stride[source]).tolist()
    for i, at in enumerate(begins):
        note[0], note[1] = source[i], row[i]
        ctypes.memmove(target + i * width, at, width)
    return -1


def _compiled_copy() -> Any:
    from mixwright.stream.gather_compiled import copy_rows

    return copy_rows
