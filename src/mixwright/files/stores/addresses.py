"""Addresses of data that lie elsewhere, and what they must not hold: credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from mixwright.errors import InputError

DATASET = ("dataset", "config", "split", "revision")  # what names a data set of the hub
WEB = ("http", "https")
_SAME = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}
_FORM = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(?=[^/])")  # one slash is left where a Path was made of it
_MAGIC = re.compile(r"[*?[]")
_HARMLESS = {  # parts of a query that say which data, and are no credentials
    *("alt", "dl", "download", "export", "format", "generation", "id", "inline", "raw", "ref", "rev", "revision"),
    *("version", "versionid"),
}
_HAS_USER = re.compile(r"@|:(?!\d+$)")  # in front of the first slash; what follows a colon may only be a port
_SIGNED = re.compile(r"[?&][^/=]*(sig|token|secret|key|credential|password)[^/=]*=", re.IGNORECASE)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^\s'\"<>]+")


@dataclass(frozen=True)
class Address:
    """
    Where data lie.

    Attributes
    ----------
    scheme
        "s3", "gs", "hf", "https", another one that fsspec knows, or "dataset": a data set of the hub, by its name.
    path
        What follows, with folders between single slashes.
    query
        What stands behind the `?`, of the web and of data sets.
    """

    scheme: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the address as it is written."""
        return f"{self.scheme}://{self.path}{'?' if self.query else ''}{urlencode(self.query, safe='/')}"

    @property
    def pattern(self) -> bool:
        """Whether it stands for all files that match."""
        return self.scheme not in (*WEB, "dataset") and bool(_MAGIC.search(self.path))

    @property
    def fixed(self) -> str:
        """The path up to the first part with a `*`, `?` or `[`; the whole path where there is none."""
        if not self.pattern:
            return self.path
        parts = self.path.split("/")
        return "/".join(parts[: next(i for i, part in enumerate(parts) if _MAGIC.search(part))])


def address_of(what: Path | str) -> Address | None:
    """
    Return the address in a text or a Path; None if it is a path of this machine.

    Raises
    ------
    InputError
        It holds a credential, or is no address of data.
    """
    text = what.as_posix() if isinstance(what, Path) else what
    found = _FORM.match(text)
    if found is None:
        return None
    scheme, rest = _SAME.get(found[1].lower(), found[1].lower()), text[found.end() :]
    text = f"{found[1]}://{rest}"  # as it was written, for messages
    path, _, query = rest.partition("?") if scheme in (*WEB, "dataset") else (rest, "", "")
    _refuse_credentials(scheme, text, path, query)
    address = Address(scheme, path.rstrip("/"), dict(parse_qsl(query, keep_blank_values=True)))
    _check(address, text)
    return address


def _refuse_credentials(scheme: str, text: str, path: str, query: str) -> None:
    """Raise InputError for user:password@, and for all of a query that is not known to be harmless."""
    if _HAS_USER.search(path.partition("/")[0]):
        raise _with_credentials(text, "a user or a key before the host")
    if scheme not in (*WEB, "dataset") and _SIGNED.search(text):
        raise _with_credentials(text, "a signature or a token")
    names = [name for name, _ in parse_qsl(query, keep_blank_values=True)] or ([query] if query else [])
    if scheme in WEB and (unknown := [name for name in names if name.lower() not in _HARMLESS]):
        raise _with_credentials(text, f"?{unknown[0][:40]}=..., which may be one" if "=" in query else "a query")


def _with_credentials(text: str, found: str) -> InputError:
    return InputError(
        f"{masked(text)}: an address should hold no credentials, since it is written into the run folder, found {found}"
        "; remove it, and give credentials in the store's own way (environment, profile, ~/.config/fsspec), or "
        "download the file first"
    )


def _check(address: Address, text: str) -> None:
    if address.scheme in ("file", "local") or "::" in text:
        raise InputError(f"{masked(text)}: an address should be of a store, found another one; give the path itself")
    parts = address.path.split("/")
    if "" in parts or {".", ".."} & set(parts) or "#" in text or "\\" in text:
        raise InputError(
            f"{masked(text)}: an address should have a name between any two slashes, and no .. # or \\, found another; "
            "correct it, or download the file first"
        )
    if address.scheme == "dataset":
        _check_dataset(address)
    elif address.scheme in WEB and len(parts) < 2:
        raise InputError(f"{text}: an address should be of a file, found a host alone; add the file's path")


def _check_dataset(address: Address) -> None:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", address.path):
        raise InputError(
            f"{address}: a data set should be owner/name as on the hub, found {address.path!r}; give files and folders "
            "of this disk as a path"
        )
    if unknown := sorted(set(address.query) - set(DATASET[1:])):
        raise InputError(
            f"{address}: a data set should have the keys {', '.join(DATASET)}, found {unknown[0]!r}; correct it"
        )


def of_dataset(values: Mapping[str, object]) -> Address:
    """Return the address of {dataset: owner/name, config, split, revision}; InputError for other keys or values."""
    if unknown := sorted(str(key) for key in set(values) - set(DATASET)):
        raise InputError(f"a data set should have the keys {', '.join(DATASET)}, found {unknown[0]!r}; correct it")
    given = {key: value for key, value in values.items() if value is not None}
    if "dataset" not in given or not all(isinstance(value, str) and value for value in given.values()):
        raise InputError("a data set should be {dataset: owner/name}, with texts for config, split and revision")
    address = Address("dataset", str(given["dataset"]), {key: str(given[key]) for key in DATASET[1:] if key in given})
    _check_dataset(address)
    return address


def masked(text: str) -> str:
    """Return a text in which no address has a user, a password or a query; errors of libraries name whole requests."""
    return _URL.sub(lambda found: _masked_url(found[0]), text)


def _masked_url(url: str) -> str:
    start, _, rest = url.partition(":")
    slashes = rest[: len(rest) - len(rest.lstrip("/"))]
    host, slash, path = rest[len(slashes) :].partition("/")
    if _HAS_USER.search(host):  # a password may have slashes: nothing after them is sure to be none
        return f"{start}:{slashes}..."
    path, mark, _ = path.partition("?")
    host, host_mark, _ = host.partition("?")
    return f"{start}:{slashes}{host}{slash}{path}{'?...' if mark or host_mark else ''}"
