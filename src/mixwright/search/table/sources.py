"""Sources that come and go: columns are added to a table or taken out, and the others stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Self, TypeVar

import numpy.typing as npt

from mixwright.checks import near, unique_names
from mixwright.errors import InputError
from mixwright.files import explain_write_error
from mixwright.search.table.attributes import check_values
from mixwright.search.table.column_views import JoinedColumns
from mixwright.search.table.columns import ArrayColumns, TableColumns
from mixwright.search.table.files import (
    Header,
    column_name,
    column_numbers,
    locked,
    read_header,
    write_header,
)
from mixwright.search.table.reading import TableReading
from mixwright.search.table.rows import RowInfo, real_array
from mixwright.search.table.values import require_logs

Item = TypeVar("Item")


class TableSources(TableReading):
    """The methods of a table that add and remove sources; those of a folder change its header and one file alone."""

    def with_source(self, source: str, values: npt.ArrayLike) -> Self:
        """
        Return a table with one more source, last; nothing on disk changes and the other columns are shared.

        Parameters
        ----------
        source : str
            A name that the table does not have.
        values : array of real numbers, [n]
            Its natural logs, in nats; -inf is allowed. They are not copied: do not change them afterwards. Most should
            not be above 0, unless the table is one of densities.

        Raises
        ------
        InputError
            The name is taken, or the values are not as above.
        """
        names = _with_name(self.sources, source)
        logs = real_array(f"the log-likelihoods of source {source!r}", values, 1)
        if len(logs) != self.n:
            raise InputError(
                f"the log-likelihoods of source {source!r} should be one for each of the {self.n} rows, found "
                f"{len(logs)}; give {self.n}"
            )
        check_values(source, logs, 0)
        if not self._info.densities:
            require_logs("", [source], logs[:, None])
        columns = JoinedColumns([*self._members(), (ArrayColumns(logs[:, None]), 0)])
        out = type(self)(replace(self._info, sources=names), columns)
        out._checked = self._checked
        return out

    def without_source(self, source: str) -> Self:
        """
        Return a table without one of the sources; nothing on disk changes and the other columns are shared.

        Raises
        ------
        InputError
            There is no such source, or no other one.
        """
        at = self._index(source)
        members = self._members()
        return type(self)(_without(self._info, at), JoinedColumns(members[:at] + members[at + 1 :]))

    def with_sources(self, sources: Sequence[str] | Mapping[str, str]) -> Self:
        """
        Return a table of some of the sources, in the order given; nothing on disk changes and the columns are shared.

        Parameters
        ----------
        sources : sequence of str, or mapping
            Names of sources; {new name: name} renames them.

        Raises
        ------
        InputError
            There is no such source, or a new name is empty or used twice.
        """
        columns = sources if isinstance(sources, Mapping) else dict.fromkeys(unique_names(sources))
        names, members = unique_names(columns), self._members()
        former = [new if old is None else old for new, old in columns.items()]
        prints = {
            new: self.fingerprints[old] for new, old in zip(names, former, strict=True) if old in self.fingerprints
        }
        info = replace(self._info, sources=names, fingerprints=prints)
        return type(self)(info, JoinedColumns([members[self._index(old)] for old in former]))

    def add_source(self, source: str, fingerprint: str = "") -> Self:
        """
        Add a source, last, to a table in a folder, and return that table; the other columns are not touched.

        Its column is then written with `append` and `finish`. `fingerprint` identifies its proxy model.

        Raises
        ------
        InputError
            The name is taken, the table is not in a folder, or it cannot be written. Nothing is changed then.
        """
        folder = self._folder()
        if not isinstance(fingerprint, str):
            raise InputError(f"the fingerprint of {source!r} should be a text, found {fingerprint!r:.60}; correct it")

        def change(header: Header) -> None:
            sources = list(_with_name(header["sources"], source))
            numbers = column_numbers(header)
            number = max([*numbers, *_numbers_on_disk(folder)]) + 1  # what a kill left is never taken for a column
            fingerprints = header["fingerprints"] | ({source: fingerprint} if fingerprint else {})
            header.update(sources=sources, columns=[*numbers, number], fingerprints=fingerprints)

        _change_header(folder, change)
        return self.open(folder)

    def remove_source(self, source: str) -> Self:
        """
        Delete a source and its likelihoods from a table in a folder, and return that table; others are not touched.

        Tables of that folder that were opened before should not be used any more. `without_source` deletes nothing.

        Raises
        ------
        InputError
            There is no such source or no other one, the table is not in a folder, or it cannot be written.
        """
        folder = self._folder()
        removed: list[str] = []

        def change(header: Header) -> None:
            if source not in header["sources"]:
                raise InputError(f"source should be one of {header['sources']}, found {source!r}; correct the name")
            if len(header["sources"]) == 1:
                raise InputError(f"a table should have a source, found {source!r} alone; delete the folder instead")
            at, numbers = header["sources"].index(source), column_numbers(header)
            removed.append(column_name(numbers[at]))
            header["checksums"].pop(removed[0], None)
            header["fingerprints"].pop(source, None)
            header.update(sources=_without_item(header["sources"], at), columns=_without_item(numbers, at))

        _change_header(folder, change)
        try:
            for name in removed:
                (folder / name).unlink(missing_ok=True)
                (folder / f"{name}.part").unlink(missing_ok=True)
        except OSError as error:
            raise explain_write_error(folder, error) from error
        return self.open(folder)

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """Open a table's folder."""
        raise NotImplementedError

    def _folder(self) -> Path:
        raise NotImplementedError

    def _index(self, source: str) -> int:
        if source not in self.sources:
            raise InputError(f"source should be in the table{near(source, self.sources, 'sources')}")
        return self.sources.index(source)

    def _members(self) -> list[tuple[TableColumns, int]]:
        return JoinedColumns.of(self._columns, self.k).members


def _with_name(sources: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the names with one more."""
    if source in sources:
        raise InputError(
            f"the new source should have a name of its own, found {source!r}, which is in the table; choose another "
            "name, or remove that source first"
        )
    return unique_names([*sources, source])


def _without(info: RowInfo, at: int) -> RowInfo:
    """Return what is known of the table without a source."""
    source = info.sources[at]
    if len(info.sources) == 1:
        raise InputError(f"a table should have at least one source, found {source!r} alone; keep it")
    fingerprints = {name: text for name, text in info.fingerprints.items() if name != source}
    return replace(info, sources=tuple(_without_item(info.sources, at)), fingerprints=fingerprints)


def _without_item(items: Sequence[Item], at: int) -> list[Item]:
    return [*items[:at], *items[at + 1 :]]


def _numbers_on_disk(folder: Path) -> list[int]:
    """Return the numbers of the files of columns that are there, finished or not."""
    stems = (path.name.split(".")[0] for path in (folder / "columns").glob("*.f64*"))
    return [int(stem) for stem in stems if stem.isdigit()]


def _change_header(folder: Path, change: Callable[[Header], None]) -> None:
    """Change table.json in one step."""
    try:
        with locked(folder):
            header = read_header(folder)
            change(header)
            write_header(folder, header)
    except OSError as error:
        raise explain_write_error(folder, error) from error
