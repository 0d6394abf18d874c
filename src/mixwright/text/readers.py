"""Documents and questions out of text files, with errors that name the file and the line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random
from shlex import quote
from typing import Any, Generic, Literal, TypeVar

from mixwright.errors import InputError
from mixwright.files.kinds import kind_of
from mixwright.files.listing import ROWS, Listing, Paths, list_files
from mixwright.files.opening import decode, open_text, read_text
from mixwright.files.parquet import open_parquet
from mixwright.files.rows import FoundRow, name_of, rows_of_file

_TEXTS = (*ROWS, ".txt")
_KNOWN = ".jsonl, .ndjson, .json (one JSON object per line) or .txt, each also with .gz or .zst, .parquet, or a folder"
_NAME_IT = "name the right field with field: NAME"
_CONVERT = 'import pandas; pandas.read_csv({file}{how}).to_json({rows}, orient="records", lines=True)'
_SEPARATED = {".csv": "", ".tsv": ', sep="\\t"'}
_SEED = 0  # of samples: every run takes the same one
SampleBy = Literal["document", "paragraph", "line"]
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """A prompt, its correct answer and the other choices; both start with white space, to read well after it."""

    prompt: str
    answer: str
    others: tuple[str, ...] = ()


class Reading(Iterator[T], Generic[T]):
    """
    What is read out of files, one by one.

    Attributes
    ----------
    empty, null
        How many rows without a text were left out so far.
    notes
        What was left out so far, in sentences: rows, and files beside the data.
    """

    def __init__(self, listing: Listing, read: Callable[[Reading[T]], Iterator[T]], name: str) -> None:
        self.listing, self.empty, self.null = listing, 0, 0
        self._items, self._name, self._found = read(self), name, False

    def each(self, change: Callable[[T], S]) -> Reading[S]:
        """Return the reading whose items are these, each changed."""
        inner = self._items
        return Reading(self.listing, lambda reading: map(change, inner), self._name)

    def __next__(self) -> T:
        """Return the next one; InputError if there is none at all."""
        for item in self._items:
            self._found = True
            return item
        if not self._found:
            beside = f"; {self.listing.notes[0]}" if self.listing.left_out else ""
            raise InputError(
                f"{self._name}: there should be at least one document, found none; check the file or remove it{beside}"
            )
        raise StopIteration

    @property
    def notes(self) -> list[str]:
        """What was left out so far, in sentences."""
        counts = {"empty": self.empty, "null": self.null}
        rows = [f"{n} {'text' if n == 1 else 'texts'} left out: {what}" for what, n in counts.items() if n]
        return rows + self.listing.notes


def read_documents(
    path: Paths,
    field: str = "text",
    *,
    invalid: Literal["error", "drop"] = "error",
    at_most: int | None = None,
    sample_by: SampleBy = "document",
) -> Reading[str]:
    """
    Return an iterator over the documents of files and folders. Empty documents are left out, and counted.

    Parameters
    ----------
    path
        JSON lines (`.jsonl`, `.ndjson`, `.json`), a JSON list of objects, or one document (`.txt`), plain or with
        `.gz` or `.zst`; `.parquet`; a folder, read with its sub-folders in the order of the names; a pattern such as
        `web/**/*.jsonl`; or a list of them. In a folder without rows each file is one document, whatever its kind;
        beside rows, files of other kinds are left out. So are hidden, temporary and backup files. `notes` counts them.
    field
        The key (JSON lines) or column (parquet) that holds the text.
    invalid
        "error": a text that is null is an error. "drop": it is left out, and counted.
    at_most
        Take a random sample of this many documents, in the files' order: the same one at every reading. The files are
        read twice.
    sample_by
        What is a document of a file without rows, as in the text loader of datasets: "document", the whole file;
        "paragraph", what stands between blank lines; "line", each line that is not blank.

    Raises
    ------
    InputError
        At once if the path is missing or of an unknown kind; while reading if a file is damaged, is not UTF-8, lacks
        the field, or if there is no document at all.
    """
    if invalid not in ("error", "drop"):
        raise InputError(f"invalid should be 'error' or 'drop', found {invalid!r}; choose one")
    if sample_by not in ("document", "paragraph", "line"):
        raise InputError(f"sample_by should be 'document', 'paragraph' or 'line', found {sample_by!r}; choose one")
    listing = list_texts(path)
    if sample_by != "document" and not any(map(_is_text, listing.files)):
        raise InputError(
            f"{path}: sample_by is for files of text, such as .txt, found files of rows alone, where each row is a "
            "document; remove it"
        )

    def read(reading: Reading[str]) -> Iterator[str]:
        how = (field, invalid == "drop", sample_by)
        return (text for file in listing.files for text in _documents(file, *how, reading))

    return _reading(listing, read, str(path), at_most, (field, invalid, sample_by))


def lone_text(path: Paths) -> Path | None:
    """Return the file of text that is all that is read, and so one document; None if there are rows or more files."""
    files = list_texts(path).files
    return files[0] if len(files) == 1 and _is_text(files[0]) else None


def holds_text(path: Paths) -> bool:
    """Return whether a file without rows is among those that are read."""
    return any(map(_is_text, list_texts(path).files))


def _is_text(file: Path) -> bool:
    return kind_of(file) not in ROWS


def read_questions(
    path: Paths, prompt: str = "Question: {question}\nAnswer:", *, at_most: int | None = None
) -> Reading[Question]:
    """
    Return an iterator over the questions of JSON lines or parquet files.

    Parameters
    ----------
    path
        As for `read_documents`. Rows are {question: str, choices: [str], answer: index from 0}, or as data sets on the
        Hugging Face hub have them: {question: str, choices: {text: [str], label: [str]}, answerKey: str}.
    prompt
        The text before the answer; `{question}` stands for the row's question.
    at_most
        As for `read_documents`.

    Raises
    ------
    InputError
        As for `read_documents`, and if an answer is not the index of a choice.
    """
    if "{question}" not in prompt:
        raise InputError(f"the prompt of {path} should contain {{question}}, found {prompt!r}")
    listing = _known(list_files(path, ROWS))
    for file in listing.files:
        if kind_of(file) not in ROWS:
            raise InputError(f"{file}: questions should be in JSON lines or parquet, found a text file")

    def read(reading: Reading[Question]) -> Iterator[Question]:
        return (_question(row, prompt) for file in listing.files for row in _question_rows(file))

    return _reading(listing, read, str(path), at_most, ())


def list_texts(path: Paths) -> Listing:
    """Return the files that `read_documents` reads; errors as there."""
    return _known(list_files(path, _TEXTS, texts=True))


def _known(listing: Listing) -> Listing:
    """Check the kinds of files that were named themselves."""
    for file in listing.files:
        if file not in listing.in_folder and kind_of(file) not in _TEXTS:
            found, kind = "".join(file.suffixes) or "no suffix", kind_of(file)
            way = f"; convert it: {_conversion(file, kind)}" if kind in _SEPARATED else ""
            raise InputError(f"{file}: the name should end in {_KNOWN}; found {found!r}{way}")
    return listing


def _conversion(file: Path, kind: str) -> str:
    """Return the line for a shell that makes rows of a table of separated values, beside it."""
    rows = str(file.with_name(file.name.split(".")[0] + ".jsonl"))
    code = _CONVERT.format(file=json.dumps(str(file)), how=_SEPARATED[kind], rows=json.dumps(rows))
    return f"python -c {quote(code)}"


def _reading(
    listing: Listing, read: Callable[[Reading[T]], Iterator[T]], name: str, at_most: int | None, how: tuple[str, ...]
) -> Reading[T]:
    if at_most is None:
        return Reading(listing, read, name)

    def sampled(reading: Reading[T]) -> Iterator[T]:
        key = (*_state(listing), *how, at_most)
        if key not in _CHOSEN:
            _CHOSEN[key] = _sample(sum(1 for _ in Reading(listing, read, name)), at_most)
        chosen = _CHOSEN[key]
        return (item for index, item in enumerate(read(reading)) if index in chosen)

    return Reading(listing, sampled, name)


_CHOSEN: dict[tuple[Any, ...], frozenset[int]] = {}  # samples that this process took: each costs a reading of all files


def _state(listing: Listing) -> tuple[Any, ...]:
    """Return what changes when the files do."""
    about = [(file, file.stat()) for file in listing.files]
    return tuple((str(file), stat.st_size, stat.st_mtime_ns) for file, stat in about)


def _sample(count: int, size: int) -> frozenset[int]:
    """Return `size` numbers below `count`, drawn at random, or all (Floyd's method)."""
    if size >= count:
        return frozenset(range(count))
    draw, chosen = Random(_SEED).random, set[int]()  # of Random, Python promises the same numbers of random() alone
    for last in range(count - size, count):
        number = int(draw() * (last + 1))
        chosen.add(last if number in chosen else number)
    return frozenset(chosen)


def _documents(path: Path, field: str, drop: bool, sample_by: SampleBy, reading: Reading[str]) -> Iterator[str]:
    """Yield the documents of one file; one of an unknown kind is text."""
    advice = "save it as UTF-8" + (" or move it out of the folder" if path in reading.listing.in_folder else "")
    if not _is_text(path):
        texts: Iterable[str | None] = (_text(row, field, drop) for row in rows_of_file(path, (field,), _NAME_IT))
    elif sample_by == "document":
        texts = [read_text(path, "text", advice)]
    else:
        texts = _lines(path, advice) if sample_by == "line" else _paragraphs(path, advice)
    for text in texts:
        if text:
            yield text
        elif text is None:
            reading.null += 1
        else:
            reading.empty += 1


def _lines(path: Path, advice: str) -> Iterator[str]:
    """Yield the lines of a file without what ends them; a blank one is an empty text."""
    with open_text(path, "text") as handle:
        for number, raw in enumerate(handle, start=1):
            line = decode(raw, f"{path}, line {number}", advice)
            yield line.rstrip("\r\n") if line.strip() else ""


def _paragraphs(path: Path, advice: str) -> Iterator[str]:
    """Yield what stands between blank lines."""
    held: list[str] = []
    for line in chain(_lines(path, advice), [""]):
        if line:
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []


def _text(row: FoundRow, field: str, drop: bool) -> str | None:
    value = _checked(row)[field]
    return None if value is None and drop else _as_text(row.place, field, value, "leave such rows out (invalid: drop)")


def _checked(row: FoundRow) -> dict[str, Any]:
    if isinstance(row.value, InputError):
        raise row.value
    return row.value


def _as_text(where: str, field: str, value: Any, way_out: str = "") -> str:
    """Return a value that must be a string, and one that can be written as UTF-8."""
    if not isinstance(value, str):
        advice = f"; give the text, or {way_out}" if value is None and way_out else ""
        raise InputError(f"{where}: the field {field!r} should be a string, found {name_of(value)}{advice}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair ({value[error.start]!r})"
        raise InputError(f"{where}: the field {field!r} should be Unicode text, found {found}; correct it") from None
    return value


def _question_rows(file: Path) -> Iterator[FoundRow]:
    """Yield the rows of a file of questions; of parquet only the columns that a question needs are read."""
    fields = ["question", "choices"]
    if kind_of(file) == ".parquet":
        with open_parquet(file) as parquet:
            names = parquet.schema_arrow.names
            fields.append("answerKey" if "answerKey" in names and "answer" not in names else "answer")
    yield from rows_of_file(file, fields)


def _question(found: FoundRow, prompt: str) -> Question:
    row, where = _checked(found), found.place
    question, (choices, answer) = _as_text(where, "question", row["question"]), _choices(row, where)
    if not isinstance(choices, list) or not choices:
        raise InputError(f"{where}: 'choices' should be a list of strings, found {name_of(choices)}")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        shown = answer if isinstance(answer, int) else name_of(answer)
        raise InputError(f"{where}: 'answer' should be an index from 0 to {len(choices) - 1}, found {shown}")
    texts = [_as_text(where, f"choices[{i}]", choice) for i, choice in enumerate(choices)]
    spaced = [_spaced(where, text) for text in texts]
    others = tuple(dict.fromkeys(text for text in spaced if text != spaced[answer]))
    return Question(prompt.replace("{question}", question), spaced[answer], others)


def _choices(row: dict[str, Any], where: str) -> tuple[Any, Any]:
    """Return choices and answer; those of the hub have the texts and their labels, and the label of the answer."""
    choices, labels = row["choices"], None
    if isinstance(choices, dict) and {"text", "label"} <= set(choices):
        choices, labels = choices["text"], choices["label"]
    if "answer" not in row and "answerKey" not in row:
        raise InputError(f"{where}: the field 'answer' is missing, found {sorted(row)}; name the right choice by index")
    answer = row["answer"] if "answer" in row else row["answerKey"]
    if isinstance(answer, str) and isinstance(labels, list):
        if answer not in labels:
            raise InputError(f"{where}: 'answerKey' should be one of the labels {labels}, found {answer!r}")
        answer = labels.index(answer)
    return choices, answer


def _spaced(where: str, answer: str) -> str:
    if not answer.strip():
        raise InputError(f"{where}: the answer should not be empty; fill it in or remove the row")
    return answer if answer[0].isspace() else " " + answer
