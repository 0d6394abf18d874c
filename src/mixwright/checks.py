"""Checks that several rooms share: names of sources, numbers by name, contexts, JSON files with a schema version."""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError

_INDEX = re.compile(r"index|level_\d+|Unnamed: \d+|__index_level_\d+__")  # what pandas calls an index that it writes

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length")  # of configurations


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


def is_index(name: str, at: int) -> bool:
    """Return whether the column at a position is an index by its name; that of a .csv file may have none."""
    return bool(_INDEX.fullmatch(name)) or (at == 0 and not name.strip())


@contextmanager
def reading_state(of: str | Path, otherwise: str = "use another checkpoint") -> Iterator[None]:
    """
    Turn what goes wrong where a state is read into an InputError.

    `of` is "a plan", or the file, which errors of the states in it then name; `otherwise` says what to do.
    """
    try:
        yield
    except InputError as error:
        if isinstance(of, Path):
            raise InputError(f"{of}: {error}") from error
        raise
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"the state of {of} is damaged ({why}); {otherwise}") from error


def state_numbers(values: Any, *shape: int) -> NDArray[np.float64]:
    """Return finite numbers of a shape from a state; ValueError, which `reading_state` explains, if they are others."""
    found = np.array(values, np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"there should be finite numbers of shape {shape}, found {values!s:.80}")
    return found


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


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[float]:
    """Return whether a value is a whole number, also as 3.0; True and False are."""
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def near(name: object, names: Sequence[str], what: str) -> str:
    """Return the end of a message about a name that is not among `names`: what was found, and the nearest name."""
    close = difflib.get_close_matches(str(name), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"the {what} are {', '.join(map(str, names[:10])) or 'none'}"
    return f"; found {name!r}; {hint}"


def position(name: object, names: Sequence[str], what: str) -> int:
    """Return where a source is among `names`; InputError if it is not there."""
    found = _index(tuple(names)).get(name) if isinstance(name, Hashable) else None
    if found is None:
        raise InputError(f"{what} should name a source{near(name, names, 'sources')}")
    return found


@lru_cache(maxsize=8)
def _index(names: tuple[str, ...]) -> dict[object, int]:
    return {name: i for i, name in enumerate(names)}


def by_name(values: Mapping[Any, Any], names: Sequence[str], what: str, missing: float | None = 0.0) -> list[float]:
    """
    Return the numbers of a mapping {source: number} in the order of `names`.

    Parameters
    ----------
    values
        The mapping.
    names
        k names.
    what
        What the numbers are, for the message ("prior").
    missing
        The number of a source that is not named; None: every source should be named.

    Raises
    ------
    InputError
        A name is not a source, a value is not a number, or a source is missing.
    """
    out = [missing] * len(names)
    for name, value in values.items():
        if not is_number(value):
            raise InputError(f"the {what} of source {name!r} should be a number; found {value!r}")
        out[position(name, names, what)] = float(value)
    absent = [name for name, value in zip(names, out, strict=True) if value is None]
    if absent:
        raise InputError(f"{what} should have a number for each source; found none for {absent[0]!r}; add it")
    return [float(value) for value in out if value is not None]


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
        raise InputError(f"{path} should be {what}, found bytes that are not UTF-8; {_RESTORE}") from error
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} should be {what}, found text that is not JSON ({error}); {_RESTORE}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} should be {what}, found a JSON {type(value).__name__}, not an object; check the path")
    _check_schema(path, what, value.get("schema"), schema)
    return value


_RESTORE = "restore it from a copy or create it again"


def _check_schema(path: Path | str, what: str, found: Any, newest: int) -> None:
    """Raise InputError unless `found` is a schema version from 1 to `newest`."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        field = "'schema': 1" if newest == 1 else f"'schema' from 1 to {newest}"
        raise InputError(
            f"{path} should be {what} with the field {field}, found {'none' if found is None else repr(found)}; check "
            "the path"
        )
    if found > newest:
        raise InputError(
            f"{path} was written by a newer version of mixwright: its schema is {found}, this version reads up to "
            f"{newest}; install a newer mixwright"
        )


def check_context(config: Any, context: int, title: str = "the model") -> None:
    """Raise InputError if a model with this configuration cannot read `context` tokens at once."""
    limit = next((v for name in POSITIONS if isinstance(v := getattr(config, name, None), int)), context)
    if limit < context:
        raise InputError(f"{title} reads at most {limit} tokens at once, found a context of {context}; lower it")


def _refuse_constant(text: str) -> None:
    """Refuse NaN and infinity, which are not JSON."""
    raise ValueError(f"{text} is not a JSON number")
