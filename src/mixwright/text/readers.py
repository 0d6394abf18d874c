"""Documents and questions out of text files, with errors that name the file and the line."""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mixwright.errors import InputError, missing_extra

_LINES = (".jsonl", ".ndjson", ".json")
_PACKED = (".gz", ".zst")
_KNOWN = ".jsonl, .ndjson, .json (one JSON object per line) or .txt, each also with .gz or .zst, .parquet, or a folder"
_CHUNK = 1 << 17


@dataclass(frozen=True)
class Question:
    """A prompt, its correct answer and the other choices; both start with white space, to read well after it."""

    prompt: str
    answer: str
    others: tuple[str, ...] = ()


def read_documents(path: Path | str, field: str = "text") -> Iterator[str]:
    """
    Return an iterator over the documents of a file or folder. Empty documents are left out.

    Parameters
    ----------
    path
        JSON lines (`.jsonl`, `.ndjson`, `.json`) or one document (`.txt`), plain or with `.gz` or `.zst`; `.parquet`;
        or a folder, read recursively in the order of the names: there each file of another kind is one document too,
        and names that start with a dot are left out.
    field
        The key (JSON lines) or column (parquet) that holds the text.

    Raises
    ------
    InputError
        At once if the path is missing or of an unknown kind; while reading if a file is damaged, is not UTF-8, lacks
        the field, or if there is no document at all.
    """
    path = Path(path)
    members = _members(path)
    return _not_empty(path, (text for member in members for text in _documents(member, field, path.is_dir())))


def read_questions(path: Path | str, prompt: str = "Question: {question}\nAnswer:") -> Iterator[Question]:
    """
    Return an iterator over the questions of a JSON lines or parquet file, or of a folder of them.

    Parameters
    ----------
    path
        As for `read_documents`. Rows are {question: str, choices: [str], answer: index from 0}.
    prompt
        The text before the answer; `{question}` stands for the row's question.

    Raises
    ------
    InputError
        As for `read_documents`, and if an answer is not the index of a choice.
    """
    path = Path(path)
    if "{question}" not in prompt:
        raise InputError(f"the prompt of {path} should contain {{question}}, found {prompt!r}")
    members = _members(path)
    for member in members:
        if _kind(member) == ".txt":
            raise InputError(f"{member}: questions should be in JSON lines or parquet, found a text file")
    rows = (row for member in members for row in _rows(member, ("question", "choices", "answer")))
    return _not_empty(path, (_question(where, row, prompt) for where, row in rows))


def _not_empty(path: Path, items: Iterable[Any]) -> Iterator[Any]:
    """Pass on the items; raise if there was none."""
    found = False
    for item in items:
        found = True
        yield item
    if not found:
        raise InputError(f"{path}: there should be at least one document, found none; check the file or remove it")


def _members(path: Path) -> list[Path]:
    """Return the files to read, in order; check that they exist and are of a known kind."""
    try:
        there, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a folder above it is closed to us
        raise _unreadable(path, error) from None
    if is_folder:
        found = [Path(folder) / name for folder, _, names in os.walk(path, onerror=_refuse) for name in names]
        inside = [p for p in found if not any(part.startswith(".") for part in p.relative_to(path).parts)]
        return sorted(inside, key=lambda p: p.relative_to(path).as_posix())
    if not there:
        raise InputError(f"{path}: there should be a file or folder here, found nothing; check the path")
    if _kind(path) not in (*_LINES, ".txt", ".parquet"):
        raise InputError(f"{path}: the name should end in {_KNOWN}; found {''.join(path.suffixes) or 'no suffix'!r}")
    return [path]


def _unreadable(path: Path | str, error: OSError) -> InputError:
    return InputError(f"{path}: cannot read it: {error.strerror or error}")


def _refuse(error: OSError) -> None:
    """Raise for a folder that cannot be listed, which `os.walk` would leave out."""
    raise _unreadable(error.filename, error) from None


def _kind(path: Path) -> str:
    """Return the suffix that says what is inside, without .gz and .zst."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in _PACKED else path.suffix.lower()


def _documents(path: Path, field: str, in_folder: bool) -> Iterator[str]:
    """Yield the documents of one file; in a folder a file of an unknown kind is one document."""
    kind = _kind(path)
    if kind in _LINES or kind == ".parquet":
        texts: Iterator[str] = (_text(where, row, field) for where, row in _rows(path, (field,)))
    else:
        advice = "save it as UTF-8" + (" or move it out of the folder" if in_folder else "")
        texts = iter([_whole_text(path, advice)])
    return (text for text in texts if text)


def _whole_text(path: Path, advice: str) -> str:
    with _open(path) as handle:
        raw = handle.read()
    return _decode(raw, str(path), advice, many_lines=True)


def _decode(raw: bytes, where: str, advice: str = "save it as UTF-8", many_lines: bool = False) -> str:
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        found = f"byte 0x{raw[error.start]:02x} at position {error.start}"
        if many_lines:
            line = raw.count(b"\n", 0, error.start) + 1
            where, found = f"{where}, line {line}", f"byte 0x{raw[error.start]:02x}"
        raise InputError(f"{where}: the text should be UTF-8, found {found}; {advice}") from None


def _rows(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) for each row of a JSON lines or parquet file; every row has the fields."""
    if _kind(path) == ".parquet":
        yield from _parquet_rows(path, fields)
        return
    with _open(path) as handle:
        for number, line in enumerate(handle, start=1):
            where = f"{path}, line {number}"
            if line.strip():
                yield where, _json_row(_decode(line, where), where, fields)


def _json_row(line: str, where: str, fields: tuple[str, ...]) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and endless brackets
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{where}: each line should be one JSON object, found bad JSON ({found}); mend it") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: each line should be one JSON object, found {_name(row)}; write one object per line")
    for field in fields:
        if field not in row:
            raise InputError(f"{where}: the field {field!r} is missing, found {sorted(row)}; name the right field")
    return row


def _parquet_rows(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("pyarrow", "data") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for field in fields:
                if field not in file.schema_arrow.names:
                    found = file.schema_arrow.names
                    raise InputError(f"{path}: the column {field!r} is missing, found {found}; name the right one")
            number = 0
            for batch in file.iter_batches(batch_size=1024, columns=list(fields)):
                for row in _batch_rows(path, batch, number):
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: this should be a parquet file, but reading it failed: {error}") from None


def _batch_rows(path: Path, batch: Any, before: int) -> list[dict[str, Any]]:
    """Return the rows of a batch, which has `before` rows before it; name the row whose text is not UTF-8."""
    try:
        return list(batch.to_pylist())
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                batch.slice(i, 1).to_pylist()
            except UnicodeDecodeError as error:
                found = f"byte 0x{error.object[error.start]:02x}"
                where = f"{path}, row {before + i + 1}"
                raise InputError(f"{where}: the text should be UTF-8, found {found}; write the file again") from None
        raise


def _text(where: str, row: dict[str, Any], field: str) -> str:
    """Return a field of a row that must be a string, and one that can be written as UTF-8."""
    value = row[field]
    if not isinstance(value, str):
        raise InputError(f"{where}: the field {field!r} should be a string, found {_name(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair ({value[error.start]!r})"
        raise InputError(f"{where}: the field {field!r} should be Unicode text, found {found}; mend the row") from None
    return value


def _question(where: str, row: dict[str, Any], prompt: str) -> Question:
    question, choices, answer = _text(where, row, "question"), row["choices"], row["answer"]
    if not isinstance(choices, list) or not choices:
        raise InputError(f"{where}: 'choices' should be a list of strings, found {_name(choices)}")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        found = answer if isinstance(answer, int) else _name(answer)
        raise InputError(f"{where}: 'answer' should be an index from 0 to {len(choices) - 1}, found {found}")
    texts = [_text(where, {f"choices[{i}]": choice}, f"choices[{i}]") for i, choice in enumerate(choices)]
    spaced = [_spaced(where, text) for text in texts]
    others = tuple(dict.fromkeys(text for text in spaced if text != spaced[answer]))
    return Question(prompt.replace("{question}", question), spaced[answer], others)


def _spaced(where: str, answer: str) -> str:
    if not answer.strip():
        raise InputError(f"{where}: the answer should not be empty; fill it in or remove the row")
    return answer if answer[0].isspace() else " " + answer


def _name(value: Any) -> str:
    """Say what a value is, in the words of JSON."""
    words = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a number"}
    return (
        "null" if value is None else words.get(type(value), "a number" if isinstance(value, float) else "another value")
    )


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading bytes, unpacked by its suffix; a damaged or unreadable file is an InputError."""
    damaged: tuple[type[Exception], ...] = (EOFError, gzip.BadGzipFile, zlib.error, _DamagedError)
    try:
        with open(path, "rb") as raw:
            yield _unpacked(path, raw)
    except damaged as error:
        advice = "it may be cut off; copy or make it again"
        raise InputError(f"{path}: this should be a whole {path.suffix} file, found {error}; {advice}") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK)
    if path.suffix.lower() == ".zst":
        return io.BufferedReader(_ZstdReader(raw), _CHUNK)
    return raw


class _DamagedError(Exception):
    """A packed file that is cut off or is not what its name says."""


class _ZstdReader(io.RawIOBase):
    """Unpacks zstandard frames and, unlike the library's reader, notices that the last one is cut off."""

    def __init__(self, raw: IO[bytes]) -> None:
        try:
            import zstandard
        except ImportError:
            raise missing_extra("zstandard", "data") from None
        self._raw, self._library = raw, zstandard
        self._frame: Any = None
        self._packed = self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(_CHUNK)
            if not self._packed:
                if self._frame is not None:
                    raise _DamagedError("an end before the end of the last frame")
                return 0
            self._unpack()
        part, self._ready = self._ready[: len(buffer)], self._ready[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _unpack(self) -> None:
        """Give all packed bytes to the current frame; what lies behind its end starts the next one."""
        self._frame = self._frame or self._library.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(self._packed)
        except self._library.ZstdError as error:
            raise _DamagedError(str(error)) from None
        self._packed = self._frame.unused_data if self._frame.eof else b""
        self._frame = None if self._frame.eof else self._frame
