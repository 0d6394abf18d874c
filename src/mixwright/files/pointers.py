"""Pointers: small files and links that stand for data which Git LFS, git-annex or DVC have not fetched yet."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from mixwright.errors import InputError

SIZE = 1024  # bytes; no pointer is larger
_LFS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_ANNEX = b"/annex/objects/"
_LINK = re.compile(rb"(\.\./)*\.git/annex/objects/[^\n]*\n?")


def refuse_pointer(path: Path | str) -> None:
    """
    Raise InputError, with the command that fetches the data, if a file is only a pointer to them.

    A path where there is nothing is refused if a pointer of DVC stands beside it. Other paths pass, whatever they are.
    """
    path = Path(path)
    try:
        if not path.exists():
            _refuse_absent(path)
        elif path.is_file() and path.stat().st_size <= SIZE:
            with open(path, "rb") as handle:
                refuse_beginning(path, handle.read(SIZE))
    except OSError:  # reading the file says what is wrong with it
        return


def refuse_beginning(path: Path, beginning: bytes) -> None:
    """Raise InputError if these are the first bytes of a pointer; see `refuse_pointer`."""
    if beginning.startswith(_LFS) and b"\noid sha256:" in beginning:
        raise _not_here(path, "Git LFS", f"git -C {_quoted(path.parent)} lfs pull")
    written_link = _LINK.fullmatch(beginning)  # git writes a link as a file where links are turned off
    if beginning.startswith(_ANNEX) or written_link:
        raise _not_here(path, "git-annex", f"git -C {_quoted(path.parent)} annex get {_quoted(path.name)}")
    if path.suffix == ".dvc" and b"outs:" in beginning:
        raise _not_here(path, "DVC", f"dvc pull {_quoted(path)}")


def refuse_pointers_in(folder: Path | str) -> None:
    """Raise InputError if a file of a folder (of a model, a tokeniser) is only a pointer; sub-folders are not read."""
    for path in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        refuse_pointer(path)


def _refuse_absent(path: Path) -> None:
    if path.is_symlink() and "annex" in Path(os.readlink(path)).parts:
        raise _not_here(path, "git-annex", f"git -C {_quoted(path.parent)} annex get {_quoted(path.name)}")
    beside = path.with_name(f"{path.name}.dvc") if path.name else path
    if path.name and beside.is_file():
        raise _not_here(path, "DVC", f"dvc pull {_quoted(beside)}")


def _not_here(path: Path, tool: str, command: str) -> InputError:
    return InputError(
        f"{path}: there should be data, found only a pointer of {tool}, which has not fetched them; run: {command}"
    )


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
