"""Which files a path stands for: a file, a folder, a pattern, or a list of them; and what is left out beside them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mixwright.errors import InputError
from mixwright.files.kinds import LINES, kind_of
from mixwright.files.pointers import refuse_pointer
from mixwright.files.stores.fetching import local

Paths = Path | str | Sequence[Path | str]
"""A file, a folder, a pattern such as `web/**/*.jsonl`, or a list of them."""

ROWS = (*LINES, ".parquet")
_HIDDEN, _TEMPORARY, _OTHER = "hidden", "temporary or backup", "of another kind"
_LEFTOVERS = ("~", ".tmp", ".temp", ".bak", ".orig", ".swp", ".swo", ".part", ".partial", ".crdownload")


@dataclass(frozen=True)
class Listing:
    """
    The files to read, in order.

    Attributes
    ----------
    files
        The files.
    left_out
        {why: the paths that are left out}, in the order in which they were found.
    in_folder
        Those of `files` that were found in a folder or by a pattern.
    """

    files: tuple[Path, ...]
    left_out: dict[str, list[Path]] = field(default_factory=dict)
    in_folder: frozenset[Path] = frozenset()

    @property
    def notes(self) -> list[str]:
        """What is left out, as one sentence; empty if it is nothing."""
        if not self.left_out:
            return []
        parts = []
        for why, paths in self.left_out.items():
            names = ", ".join(path.name for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
            parts.append(f"{len(paths)} {why} ({names})")
        total = sum(map(len, self.left_out.values()))
        what = "file or folder was" if total == 1 else "files or folders were"
        return [f"{total} {what} left out: {'; '.join(parts)}; a pattern that names them, such as *.md, reads them"]

    @property
    def unread(self) -> set[Path]:
        """The visible files that are left out, which are no part of the content."""
        return {path for why, paths in self.left_out.items() if why != _HIDDEN for path in paths}


def list_files(what: Paths, kinds: Sequence[str] = ROWS, texts: bool = False) -> Listing:
    """
    Return the files that a path stands for.

    Parameters
    ----------
    what
        A file; a folder, with all its sub-folders, in the order of the names; a pattern with `*`, `?`, `[...]` or
        `**`; an address (s3://, gs://, hf://, https://, dataset://), of which a copy is read; or a list of them. A
        file that is named twice is read once.
    kinds
        The kinds of files that a folder is read for. Links to files and folders are followed.
    texts
        Whether files of other kinds are documents: those of a folder in which no file has rows, and those that a
        pattern names.

    Raises
    ------
    InputError
        Nothing is there, a folder cannot be listed, links form a loop, or data are not fetched yet.
    """
    what = local(what)
    found: dict[Path, bool] = {}
    left_out: dict[str, list[Path]] = {}
    for path in [Path(what)] if isinstance(what, str | Path) else [Path(one) for one in what]:
        for file, inside in _files_of(path, kinds, texts, left_out):
            found[file] = found.get(file, True) and inside
    if not isinstance(what, str | Path) and not len(what):
        raise InputError("a list of files should name at least one, found none; add one")
    return Listing(tuple(found), left_out, frozenset(file for file, inside in found.items() if inside))


def _files_of(
    path: Path, kinds: Sequence[str], texts: bool, left_out: dict[str, list[Path]]
) -> Iterator[tuple[Path, bool]]:
    """Yield the files of one path, and whether a folder or a pattern led to them."""
    if _is_there(path):
        if not path.is_dir():
            yield path, False
            return
        found = sorted(walk(path, left_out), key=lambda file: file.relative_to(path).as_posix())
        found = _data_among(found, kinds, texts, left_out)
    else:
        refuse_pointer(path)
        if not glob.has_magic(str(path)):
            what = "the file that this link leads to" if path.is_symlink() else "a file or folder here"
            raise InputError(f"{path}: there should be {what}, found nothing; check the path")
        named, inside = _matching(path, left_out)
        if "." in path.name:  # *.md asks for files of this kind, * does not; what is in a folder x.md/ nobody asked for
            found = sorted([*named, *_data_among(inside, kinds, texts, left_out)])
        else:
            found = _data_among(sorted([*named, *inside]), kinds, texts, left_out)
    for file in found:
        _refuse_absent(file)
        yield file, True


def _matching(pattern: Path, left_out: dict[str, list[Path]]) -> tuple[list[Path], list[Path]]:
    """Return the files that match a pattern, and those in the folders that match it."""
    matching = sorted(map(Path, glob.glob(str(pattern), recursive=True)))
    for pointer in glob.glob(f"{pattern}.dvc", recursive=True):  # of data that would match, were they here
        refuse_pointer(Path(pointer).with_suffix(""))
    named, inside = list[Path](), list[Path]()
    for match in matching:
        _refuse_circle(match)
        if why := _unwanted_match(match, pattern):
            left_out.setdefault(why, []).append(match)
        elif not match.is_dir():
            named.append(match)
        elif "**" not in pattern.parts:  # which matches what is in the folder too
            inside += sorted(walk(match, left_out))
    if not named and not inside:
        raise InputError(f"{pattern}: this pattern should match files, found none; check it")
    return named, inside


def _unwanted_match(match: Path, pattern: Path) -> str | None:
    """Return why a match, or a folder that a `*` of the pattern led through, is no data; None if it may be."""
    fixed = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    if any(unwanted(part) for part in pattern.parts[fixed:]):  # *.bak asks for backups
        return None
    return next((why for part in match.parts[fixed:] if (why := unwanted(part))), None)


def _refuse_circle(match: Path) -> None:
    folders = [os.path.realpath(folder) for folder in match.parents if folder.name]
    if len(set(folders)) < len(folders):
        raise _circle(match.parent)


def _circle(folder: Path) -> InputError:
    return InputError(f"{folder}: links should not form a loop, found one to a folder above it; remove it")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a folder above it is closed to us
        raise unreadable(path, error) from None


def _data_among(found: list[Path], kinds: Sequence[str], texts: bool, left_out: dict[str, list[Path]]) -> list[Path]:
    """Return the files that are data, in order; what is not goes to `left_out`."""
    data = {path for path in found if kind_of(path) in kinds}
    if texts and not any(kind_of(path) in ROWS for path in data):
        data = set(found)
    for path in found:
        if path.suffix == ".dvc":  # where it stands for data that are not here, reading only the rest would be wrong
            data.discard(path)
            refuse_pointer(path.with_suffix(""))
        if path not in data:
            if not path.suffix:  # a link to nothing may have led to a folder of data
                _refuse_absent(path)
            left_out.setdefault(_OTHER, []).append(path)
    return [path for path in found if path in data]


def walk(folder: Path, left_out: dict[str, list[Path]] | None = None) -> Iterator[Path]:
    """
    Yield the files below a folder, behind links too; hidden and temporary ones go to `left_out`.

    Raises
    ------
    InputError
        A folder cannot be listed, or a link leads back to a folder that it is in.
    """
    yield from _walk(folder, (), {} if left_out is None else left_out)


def _walk(folder: Path, above: tuple[tuple[int, int], ...], left_out: dict[str, list[Path]]) -> Iterator[Path]:
    try:
        about = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(error.filename or folder, error) from None
    if (here := (about.st_dev, about.st_ino)) in above:
        raise _circle(folder)
    for entry in entries:
        path = folder / entry.name
        if why := unwanted(entry.name):
            left_out.setdefault(why, []).append(path)
        elif entry.is_dir():
            yield from _walk(path, (*above, here), left_out)
        else:
            yield path


def unwanted(name: str) -> str | None:
    """Return why a file or folder of this name is no data; None if it may be."""
    if name.startswith(".") and name not in (".", ".."):
        return _HIDDEN
    left = name.lower().endswith(_LEFTOVERS) or name.startswith(("~$", "_temporary"))
    return _TEMPORARY if left or (name.startswith("#") and name.endswith("#")) else None


def _refuse_absent(path: Path) -> None:
    """Raise InputError for a link to nothing."""
    if not path.exists():
        refuse_pointer(path)
        raise InputError(
            f"{path}: there should be the file that this link leads to, found nothing; restore or remove it"
        )


def unreadable(path: Path | str, error: OSError) -> InputError:
    """Return the InputError that explains why a path cannot be read."""
    return InputError(f"{path}: cannot read it: {error.strerror or error}")


def the_file(path: Path, kinds: Iterable[str], other: str) -> Path:
    """
    Return `path` if it is a file of one of these kinds, for readers of a single file.

    Raises
    ------
    InputError
        It is missing, a folder (then `other` says what to do), a pointer, or of another kind.
    """
    wanted = " or ".join(kinds)
    if path.is_dir():
        raise InputError(f"{path} should be a {wanted} file, found a folder; {other}")
    if kind_of(path) not in kinds:
        raise InputError(f"{path} should end in {wanted}, found {path.suffix!r}; convert the file")
    refuse_pointer(path)
    if not path.exists():
        raise InputError(f"{path} should be a {wanted} file, found no such file; check the path")
    return path
