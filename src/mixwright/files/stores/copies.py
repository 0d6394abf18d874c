"""
The folder of copies: what was fetched, named by address and version.

`blobs/` has each file once. `views/ID/` has the files of one address, in one version, under the names that they have
there: a reader sees the same folders and names as in the store. A view is never changed, so that a run reads one
version from its beginning to its end. `about.json` beside them says what they are copies of.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mixwright.files.stores.addresses import Address
from mixwright.files.writing import explain_write_error, write_json

PLACE = "MIXWRIGHT_CACHE"
_ABOUT = "about.json"
_ID = 12  # hex digits


class Kept(NamedTuple):
    """A file of an address: its name within it ("" for the file itself), its size, and what names its version."""

    name: str
    size: int
    version: str


def cache_folder() -> Path:
    """Return the folder of copies: MIXWRIGHT_CACHE, or mixwright in XDG_CACHE_HOME, which is ~/.cache by default."""
    if given := os.environ.get(PLACE):
        return Path(given).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "mixwright"


@contextmanager
def copies_in(folder: Path) -> Iterator[None]:
    """Read copies in a folder, such as that of another process, where that is here and this one has no own."""
    own = os.environ.get(PLACE)
    if own or not folder.is_dir():
        yield
        return
    os.environ[PLACE] = str(folder)
    try:
        yield
    finally:
        del os.environ[PLACE]


def digest(value: Any) -> str:
    """Return 16 hex digits that name a JSON-able value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def blob(address: Address, kept: Kept) -> Path:
    """Return where the content of a file is kept, once for all addresses that it belongs to."""
    whole = f"{address.scheme}://{address.fixed}/{kept.name}".rstrip("/")
    name = digest([whole, kept.size, kept.version])
    return cache_folder() / "blobs" / name[:2] / name


def view_of(address: Address, files: Sequence[Kept]) -> str:
    """Return the ID of the view of an address with these files."""
    return digest([str(address), sorted(files)])[:_ID]


def opened(address: Address, view: str) -> Path | None:
    """Return the path, or the pattern, that stands for an address in a view; None if that is not, or not all, here."""
    folder = cache_folder() / "views" / view
    try:
        files = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["files"]
        whole = all((folder / name).stat().st_size == size for name, size, _ in files)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / _inside(address) if whole else None


def _inside(address: Address, name: str = "") -> str:
    """Return where an address, or a file of it, lies in its view; a pattern stays one."""
    path = address.path if not name else f"{address.fixed}/{name}".strip("/")
    if address.scheme == "dataset":
        parts = [address.query.get("config", ""), address.query.get("split", "train")]
        path += "/" + re.sub(r"[^\w.-]", "_", "-".join(filter(None, parts))) + ".parquet"
    return f"{address.scheme}/{path}"


def make_view(address: Address, files: Mapping[Kept, Path]) -> Path:
    """Make the view of an address of files that are here, all at once, and return what stands for the address in it."""
    view = view_of(address, list(files))
    folder = cache_folder() / "views" / view
    made = folder.with_name(f".{view}.{os.getpid()}{secrets.token_hex(4)}.tmp")
    rows = [[_inside(address, kept.name), kept.size, kept.version] for kept in files]
    try:
        for kept, content in files.items():
            _link(content, made / _inside(address, kept.name))
        (made / _inside(address, "")).parent.mkdir(parents=True, exist_ok=True)
        write_json(made / _ABOUT, {"address": str(address), "files": sorted(rows)})
        if folder.exists() and opened(address, view) is None:  # damaged, by whoever
            os.replace(folder, folder.with_name(f"{made.name}.old"))
            shutil.rmtree(folder.with_name(f"{made.name}.old"), ignore_errors=True)
        if not folder.exists():
            os.rename(made, folder)
    except OSError as error:
        if opened(address, view) is None:
            raise explain_write_error(folder, error) from error
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder / _inside(address)


def _link(content: Path, path: Path) -> None:
    """Give a file another name, without a copy where the file system can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(content, path)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(content, path)


def in_view(path: Path | str) -> str | None:
    """Return the name of a copy in the folder of copies, which says its address and version; None for other paths."""
    text, start = os.fspath(path), os.path.join(cache_folder(), "views", "")
    return text[len(start) :].replace(os.sep, "/") if text.startswith(start) else None


def address_of_copy(path: Path) -> str | None:
    """Return the address that a path is the copy of, as it was given; None for other paths."""
    inside = in_view(path)
    if inside is None:
        return None
    try:
        folder = cache_folder() / "views" / inside.partition("/")[0]
        return str(json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return with_addresses(str(path))


def with_addresses(text: str) -> str:
    """Return a text in which copies have the names that their files have in the store."""
    start = re.escape(os.path.join(cache_folder(), "views", ""))
    return re.sub(start + rf"[0-9a-f]{{{_ID}}}/([a-z][a-z0-9+.-]+)/", r"\1://", text)
