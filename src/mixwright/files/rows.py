"""The rows of JSON lines, JSON lists and parquet files, one by one, each with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from mixwright.errors import InputError
from mixwright.files.kinds import LINES, kind_of
from mixwright.files.opening import decode, open_text, peek
from mixwright.files.packed import LONGEST
from mixwright.files.parquet import parquet_rows

_CHUNK = 1 << 16
_SPACE = " \t\r\n"
_BOM = b"\xef\xbb\xbf"


class FoundRow(NamedTuple):
    """
    One row of a file.

    Parameters
    ----------
    label, number
        Where it lies: "pairs.jsonl, line" and 7; together "pairs.jsonl, line 7".
    value
        The row, or what is wrong with it.
    """

    label: str
    number: int
    value: dict[str, Any] | InputError

    @property
    def place(self) -> str:
        """Where the row lies."""
        return f"{self.label} {self.number}"


def rows_of_file(
    path: Path, fields: Sequence[str] | None = None, advice: str = "name the right field"
) -> Iterator[FoundRow]:
    """
    Yield the rows of a file of JSON lines, of a JSON list or of parquet; a bad row comes out as its error.

    Parameters
    ----------
    path
        `.jsonl`, `.ndjson` or `.json`, each also `.gz` or `.zst`, or `.parquet`. Blank lines are no rows.
    fields
        Columns that every row has; only these are read of parquet. None: all.
    advice
        What to do where one is missing.

    Raises
    ------
    InputError
        The file is missing, damaged, a pointer, or of another kind.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        for number, row in parquet_rows(path, fields, advice):
            yield FoundRow(f"{path}, row", number, row)
    elif kind in LINES:
        with open_text(path, "JSON lines") as handle:
            word = "item" if is_list(handle) else "line"
            numbered = list_items(handle, path) if word == "item" else enumerate(handle, start=1)
            label = f"{path}, {word}"
            for number, raw in ((n, r) for n, r in numbered if r.strip()):
                yield FoundRow(label, number, _json_row(raw, f"{label} {number}", word, fields or (), advice))
    else:
        known = ".jsonl, .ndjson, .json (JSON lines or a list of objects, also with .gz or .zst) or .parquet"
        raise InputError(f"{path}: rows should be in {known}, found another kind of file; move it or convert it")


def _json_row(raw: bytes, where: str, word: str, fields: Sequence[str], advice: str) -> dict[str, Any] | InputError:
    try:
        row = json.loads(decode(raw, where))
    except InputError as error:
        return error
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and endless brackets
        found = (
            f"{error.msg.removesuffix(' at')} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        return InputError(f"{where}: each {word} should be one JSON object, found bad JSON ({found}); correct it")
    if not isinstance(row, dict):
        found = name_of(row)
        return InputError(f"{where}: each {word} should be one JSON object, found {found}; write one object per {word}")
    for field in fields:
        if field not in row:
            hint = " (for questions: kind: questions)" if {"question", "choices"} <= row.keys() else ""
            found = f"found {sorted(row)}; {advice}{hint}"
            return InputError(f"{where}: the field {field!r} is missing, {found}")
    return row


def name_of(value: Any) -> str:
    """Say what a value is, in the words of JSON."""
    words = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number"}
    return (
        "null" if value is None else words.get(type(value), "a number" if isinstance(value, float) else "another value")
    )


def is_list(handle: IO[bytes]) -> bool:
    """Return whether a file of JSON begins with a list; nothing is read."""
    return peek(handle, 4096).removeprefix(_BOM).lstrip().startswith(b"[")


def list_items(handle: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """
    Yield (number from 1, bytes) of each item of a JSON list, of which only an item at a time is in memory.

    Raises
    ------
    InputError
        The list is cut off, is not JSON, or something follows it.
    """
    for number, (_, item) in enumerate(placed_items(handle, path), start=1):
        yield number, item


def placed_items(handle: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (position of its first byte, bytes) of each item of a JSON list; errors as for `list_items`."""
    scan = _Scan(handle, path)
    scan.take("[")
    if scan.next_character() == "]":
        scan.take("]")
    else:
        while True:
            yield scan.item()
            if scan.next_character() != ",":
                break
            scan.take(",")
        scan.take("]")
    if scan.next_character():
        raise InputError(
            f"{path}: a file should be one JSON list or one JSON value in each line, found more after the end "
            "of the list; remove it, or write one object per line"
        )


class _Scan:
    """A place in a JSON text. Bytes are read as Latin-1: JSON's own marks are ASCII, and one character is one byte."""

    def __init__(self, handle: IO[bytes], path: Path) -> None:
        self.handle, self.path, self.ended = handle, path, False
        self.text, self.at, self.before, self.number = "", 0, 0, 0
        self.decoder = json.JSONDecoder(strict=False, parse_int=len, parse_float=len)
        if peek(handle, 3) == _BOM:
            self.before = len(handle.read(3))

    def next_character(self) -> str:
        """Return the next character that is no white space; "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in _SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Pass over a mark that has to be there."""
        found = self.next_character()
        if found != wanted:
            raise self._bad(f"{found!r} where {wanted!r} should be" if found else "the end of the file")
        self.at += 1

    def item(self) -> tuple[int, bytes]:
        """Return the position and the bytes of the value that comes next."""
        self.number += 1
        self.next_character()
        while True:
            try:
                _, end = self.decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self.ended:
                    break
                problem = "the end of the file"  # a number may go on in the next piece
            except json.JSONDecodeError as error:
                problem = f"bad JSON: {error.msg}"
                # What is cut off by the end of the piece is reported there, except for a string: at its beginning.
                if error.pos < len(self.text) - 16 and not error.msg.startswith("Unterminated string"):
                    raise self._bad(problem) from None
            except RecursionError:
                raise self._bad("brackets in brackets without an end") from None
            if not self._more():
                raise self._bad(problem)
        start, self.at = self.at, end
        return self.before + start, self.text[start:end].encode("latin-1")

    def _more(self) -> bool:
        """Read on, twice as much as there is: an item of any length is then scanned a few times at most."""
        piece = self.handle.read(max(_CHUNK, len(self.text) - self.at))
        self.before += self.at
        self.text, self.at = self.text[self.at :] + piece.decode("latin-1"), 0
        if len(self.text) > LONGEST:
            raise self._bad(f"an item of more than {LONGEST:,} bytes")
        self.ended = not piece
        return bool(piece)

    def _bad(self, found: str) -> InputError:
        where = f"{self.path}, item {self.number}" if self.number else str(self.path)
        return InputError(f"{where}: this should be a whole JSON list, found {found}; it may be cut off: correct it")
