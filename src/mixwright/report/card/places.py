"""Where sources lie, in words that may be published: names of files, data sets of the hub, addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mixwright.errors import InputError
from mixwright.files.stores.addresses import WEB, Address, address_of, masked, of_dataset

_PUBLIC = ("s3", "gs", "hf", "az", "abfs", "adl", "oss", *WEB)  # other schemes name machines and disks
_HUB = re.compile(r"(?:huggingface\.co/)?datasets/([\w.-]+/[\w.-]+?)(?:@[^/]*)?(?:/|$)")
_END = r"\s\\/'\"`,;:()<>|\[\]{}"
_PATH = re.compile(rf"(?<![\w.~:/\\])(?:~|[A-Za-z]:)?[\\/](?:[^{_END}]+[\\/])+[^{_END}]*")
_HOMES = ("home", "Users")


@dataclass(frozen=True)
class Origin:
    """
    Where a source lies.

    Parameters
    ----------
    text
        What may be said of it: the name of a file or folder, a data set with its parts, an address.
    hub
        owner/name of a data set of the Hugging Face hub; None: it is none.
    """

    text: str
    hub: str | None = None

    @property
    def link(self) -> str | None:
        """Return the page of the data set, or the address on the web; None where there is nothing to open."""
        if self.hub:
            return f"https://huggingface.co/datasets/{self.hub}"
        return self.text if self.text.startswith("https://") else None


def origins(value: Any) -> list[Origin]:
    """Return where a source lies; `value` is what a configuration has for it, or its path."""
    if isinstance(value, Mapping) and "dataset" not in value:
        value = value.get("path")
    several = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return list(dict.fromkeys(_origin(one) for one in several))


def without_paths(text: str, config: Mapping[str, Any] | None = None) -> str:
    """Return a text in which no path of this machine is left but its last part, and no address has a credential."""
    for path in sorted(set(_paths(config or {})), key=len, reverse=True):
        begin = re.escape(path.rstrip("/\\"))  # what lies below it goes too
        whole = rf"(?<![\w.~:/\\]){begin}(?:[\\/]+[^{_END}]+)*(?!\.?[\w-])"
        text = re.sub(whole, lambda found: _last(found[0]), text)
    return _PATH.sub(lambda found: _last(found[0]), masked(text))


def _origin(value: Any) -> Origin:
    try:
        address = of_dataset(value) if isinstance(value, Mapping) else address_of(str(value))
    except InputError:  # it holds a credential, or is none
        return Origin("an address that is not shown")
    if address is None:
        return Origin(_last(str(value)))
    if address.scheme == "dataset":
        parts = ", ".join(f"{key} {value}" for key, value in address.query.items())
        return Origin(f"{address.path} ({parts})" if parts else address.path, address.path)
    if address.scheme not in _PUBLIC or (address.scheme in WEB and not _is_public(address)):
        return Origin(_last(address.path))
    found = _HUB.match(address.path) if address.scheme in ("hf", *WEB) else None
    return Origin(str(address), found[1] if found else None)


def _is_public(address: Address) -> bool:
    """Whether a host is one that others can reach: it has a domain, or an address that is not private."""
    host = address.path.partition("/")[0].partition(":")[0]
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".internal", ".lan", ".localhost"))


def _last(path: str) -> str:
    """Return the last part of a path; a home folder is not named, since it is named after a person."""
    made = PureWindowsPath(path) if "\\" in path else PurePosixPath(path)
    if not made.name or made.name in ("..", "~") or made.parent.name in _HOMES or str(made) == str(Path.home()):
        return "a folder"
    return made.name


def _paths(value: Any) -> Iterator[str]:
    """Yield the paths of this machine among the values of a configuration, at any depth."""
    if isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _paths(one)
    elif isinstance(value, str) and len(value) > 1 and re.match(r"~?/|[A-Za-z]:[\\/]|\\\\", value):
        yield value
