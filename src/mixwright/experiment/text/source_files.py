"""The files of the sources: read to their end before anything is written; a fault in the last line costs no work."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.text.config import SourceConfig, TargetConfig, TextConfig
from mixwright.files import file_fingerprint, fingerprint, write_json
from mixwright.text import Tokenizer, byte_tokenizer, is_held_out, load_tokenizer, read_documents, read_questions
from mixwright.text.readers import Reading, list_texts, lone_text

_VERSION = 1  # of the check; a change makes every run read its sources again
_RECORD = "checked.json"  # in the run folder: the fingerprints of what was read to its end
_SALT = "source"
_SPLIT = "sample_by: line or paragraph splits it; JSON lines with one text a line, or a folder of files, do too"


@contextmanager
def named(where: str) -> Iterator[None]:
    """Put the place in the configuration before an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def source_documents(source: SourceConfig) -> Reading[str]:
    """Return the documents of a source."""
    if source.kind == "questions":
        questions = read_questions(source.path, at_most=source.max_documents)
        return questions.each(lambda question: question.prompt + question.answer)
    return documents_of(source)


def documents_of(part: SourceConfig | TargetConfig) -> Reading[str]:
    """Return the documents of a source or target that is made of documents."""
    invalid, sample_by = part.invalid or "error", part.sample_by or "document"
    return read_documents(part.path, part.field, invalid=invalid, at_most=part.max_documents, sample_by=sample_by)


def lone_file(part: SourceConfig | TargetConfig) -> Path | None:
    """Return the file of text that a source or target is, as one document; None if it has, or may have, more."""
    whole = part.kind != "questions" and part.sample_by in (None, "document")
    return lone_text(part.path) if whole else None


def one_document(part: SourceConfig | TargetConfig) -> str:
    """Return the end of a message where a source or target is one document: that it is, and how to split it."""
    file = lone_file(part)
    return f"; the file {file.name} counts as one document: {_SPLIT}" if file else ""


def lone_documents(config: TextConfig) -> list[str]:
    """Return a sentence for each source that is one document: nothing of it can be held out."""
    found = {name: lone_file(source) for name, source in config.sources.items()}
    return [
        f"{name} is one document, the file {file.name}: nothing of it can be held out, and a trainer that draws "
        f"documents draws all of it at once; {_SPLIT}"
        for name, file in found.items()
        if file
    ]


def part_of_source(source: SourceConfig, fraction: float, held_out: bool) -> Iterator[str]:
    """Return the documents that are trained on, or those that are held out; a document's content says which it is."""
    return part_of(source_documents(source), fraction, held_out)


def part_of(documents: Iterable[str], fraction: float, held_out: bool) -> Iterator[str]:
    """Return the documents of one part, as `part_of_source`."""
    return (text for text in documents if is_held_out(text, fraction, _SALT) == held_out)


def check_sources(config: TextConfig, folder: Path, progress: Progress) -> dict[str, str]:
    """
    Read every source to its end and return a fingerprint of each: of its files and of how they are read.

    What a run folder says was read before is not read again. Nothing is written.

    Raises
    ------
    InputError
        A file cannot be read to its end (file and line are named), or a source is too short.
    """
    known = _known(folder)
    prints: dict[str, str] = {}
    for index, (name, source) in enumerate(config.sources.items()):
        progress("read", index, len(config.sources), name)
        with named(config.where("sources", name)):
            prints[name] = fingerprint([_of_files(source.path), source.field, source.max_documents, *_ways(source)])
            if prints[name] not in known:
                for _ in source_documents(source):
                    pass
    check_lengths(config, _tokenizer_beforehand(config))
    progress("read", len(prints), len(prints))
    return prints


def _of_files(path: Path | list[Path]) -> str:
    """Return the fingerprint of a file, of all files of a folder that are read, or of several."""
    listing = list_texts(path)
    try:
        if isinstance(path, Path) and path.exists():
            return file_fingerprint(path, listing.unread)
        return fingerprint([file_fingerprint(file) for file in listing.files])
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot read it: {error.strerror or error}; correct it") from error


def _ways(source: SourceConfig) -> list[str]:
    """Return what is read in another way than by former versions, which took the first documents."""
    ways = {"sample": source.max_documents, "drop": source.invalid == "drop", "questions": source.kind == "questions"}
    split = [f"by {source.sample_by}"] if source.sample_by not in (None, "document") else []
    return [way for way, given in ways.items() if given] + split


def remember_checked(folder: Path, prints: dict[str, str]) -> None:
    """Write down in a run folder what `check_sources` found to be good."""
    checked = sorted(set(prints.values()))
    if set(checked) != _known(folder):
        write_json(folder / _RECORD, {"version": _VERSION, "sources": checked})


def _known(folder: Path) -> set[str]:
    """Return the fingerprints of the sources that were read to their end; none if the record is damaged."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return set(record["sources"]) if record["version"] == _VERSION else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _tokenizer_beforehand(config: TextConfig) -> Tokenizer:
    """Return the run's tokenizer; for one that is yet to be trained the bytes: a text has at least as many of them."""
    if config.tokenizer.path is None:
        return byte_tokenizer()
    with named(config.where("tokenizer", "path")):
        return load_tokenizer(config.tokenizer.path)


def check_lengths(config: TextConfig, tokenizer: Tokenizer) -> None:
    """Raise InputError if a source has not even one row to train on; of the others only the start is read."""
    part, context = max(config.contexts.items(), key=lambda item: item[1])
    for name, source in config.sources.items():
        with named(config.where("sources", name)):
            found = _count(source, config.held_out, tokenizer, context + 1)
        if found <= context:
            raise InputError(
                f"{config.where('sources', name)}: should have at least {context + 1} tokens to train on (one context "
                f"and the token after it), found {found}, what is held out left aside; add text, lower "
                f"{part}.context or remove the source{one_document(source)}"
            )


def _count(source: SourceConfig, fraction: float, tokenizer: Tokenizer, enough: int) -> int:
    """Count the tokens that are trained on, up to `enough`; each document starts with one more."""
    found = 0
    for text in part_of_source(source, fraction, held_out=False):
        start = text[: 64 * enough]
        found += 1 + len(tokenizer.encode([start])[0])
        if found < enough and len(start) < len(text):
            found += len(tokenizer.encode([text[len(start) :]])[0])
        if found >= enough:
            break
    return found
