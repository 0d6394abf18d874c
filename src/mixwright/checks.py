"""Checks that several file formats share: names of sources, and JSON files with a schema version."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mixwright.errors import InputError


def unique_names(names: Iterable[str], what: str = "sources") -> tuple[str, ...]:
    """
    Return `names` as a tuple after checking that they are different, non-empty texts and that there is at least one.

    Parameters
    ----------
    names : iterable of str
        The names, in order.
    what : str
        What they name, for the message.

    Raises
    ------
    InputError
        No names, or a name that is not text, is blank, is not valid Unicode or occurs twice.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise InputError(f"{what} should be a list of names, found {names!r}; write [{names!r}] for one")
    checked: dict[str, int] = {}
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip() or not _is_unicode(name):
            raise InputError(f"each of the {what} should have a name, found {name!r} at position {i}; give it a name")
        if name in checked:
            raise InputError(
                f"{what} should have different names, found {name!r} at positions {checked[name]} and {i}; rename one"
            )
        checked[str(name)] = i
    if not checked:
        raise InputError(f"there should be at least one name in {what}, found none; name at least one")
    return tuple(checked)


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written as UTF-8 (half of a surrogate pair cannot)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def whole_number(value: Any, name: str, least: int = 1) -> int:
    """Return `value` as a whole number of at least `least`, else InputError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise InputError(f"{name} should be a whole number of at least {least}, found {value!r}")
    return number


def read_object(path: Path | str, what: str, schema: int) -> dict[str, Any]:
    """
    Return the JSON object in a file that carries a schema version of at most `schema`.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What the file is, for the messages ("a mixture file").
    schema : int
        The newest schema version that this version of the library reads.

    Raises
    ------
    InputError
        The file is missing, cannot be read, is not JSON, is no object, or has a wrong or newer schema version.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path} should be {what}, found no such file; check the path") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; it should be {what}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} should be {what}, found bytes that are not UTF-8; {_MEND}") from error
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} should be {what}, found text that is not JSON ({error}); {_MEND}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} should be {what}, found a JSON {type(value).__name__} and no object; check the path")
    _check_schema(path, what, value.get("schema"), schema)
    return value


_MEND = "restore it from a copy or make it again"


def _check_schema(path: Path | str, what: str, found: Any, newest: int) -> None:
    """Raise InputError unless `found` is a schema version from 1 to `newest`."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise InputError(
            f"{path} should be {what} with a field 'schema' from 1 to {newest}, found {found!r}; check the path"
        )
    if found > newest:
        raise InputError(
            f"{path} was written by a newer version of mixwright: its schema is {found}, this version reads up to "
            f"{newest}; install a newer mixwright"
        )


def _refuse_constant(text: str) -> None:
    """Refuse NaN and infinity, which are not JSON."""
    raise ValueError(f"{text} is not a JSON number")
