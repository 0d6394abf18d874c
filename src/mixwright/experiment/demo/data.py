"""Text of several kinds that any machine with Python has, read from the installed Python itself."""

from __future__ import annotations

import ast
import importlib.metadata
import io
import json
import random
import sysconfig
import textwrap
import tokenize
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write

TARGET_PACKAGES = ("jinja2", "pydantic", "rich", "typer")
_SKIPPED = {"test", "tests", "idlelib", "lib2to3", "pydoc_data", "encodings", "site-packages", "dist-packages"}
_LARGEST = 1_000_000  # characters of a source
_LEAST = 100_000
_DOCUMENT = 20_000  # characters of a document: longer texts are cut at a line
_EXCERPT = 1_500  # characters of a document of the target
_MEASURED = 4  # one in four files of the target says how much of it is code
_SEED = 7


def python_file(path: Path) -> Iterator[str]:
    """Yield the text of a Python file, if it can be read and parsed."""
    try:
        with tokenize.open(path) as handle:
            text = handle.read()
        ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    yield text


def split_code(text: str) -> tuple[str, str]:
    """
    Split Python code into what runs and what explains.

    Returns
    -------
    code, prose
        The code without its docstrings and comments, and the docstrings.
    """
    docstrings, prose = _docstrings(ast.parse(text))
    kept: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.start in docstrings):
            continue
        kept.append(token)
    lines = [line.rstrip() for line in _join(kept).splitlines()]
    return "\n".join(line for line in lines if line) + "\n", prose


def _docstrings(tree: ast.Module) -> tuple[set[tuple[int, int]], str]:
    """Return where docstrings start (line, column in characters) and their texts."""
    starts: set[tuple[int, int]] = set()
    texts: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                first = node.body[0]
                starts.add((first.lineno, first.col_offset))
                texts.append(textwrap.dedent(text))
    return starts, "\n\n".join(texts)


def _join(tokens: list[tokenize.TokenInfo]) -> str:
    """Put tokens back at their columns; lines that are empty now stay empty."""
    parts: list[str] = []
    row, column = 1, 0
    for token in tokens:
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        if token.start[0] > row:
            parts.append("\n" * (token.start[0] - row))
            row, column = token.start[0], 0
        parts.append(" " * max(0, token.start[1] - column))
        if token.type in (tokenize.NEWLINE, tokenize.NL):
            continue
        parts.append(token.string)
        row, column = token.end
    return "".join(parts)


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _site_packages() -> list[Path]:
    return [Path(path) for path in dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))]


@lru_cache(maxsize=1)
def _library() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return code and docstrings of files of the standard library: as many, in random order, as are needed."""
    paths = [
        path
        for path in sorted(_standard_library().rglob("*.py"))
        if not _SKIPPED & set(path.relative_to(_standard_library()).parts[:-1])
    ]
    random.Random(_SEED).shuffle(paths)
    code: list[str] = []
    prose: list[str] = []
    for path in paths:
        if sum(map(len, code)) > 1.2 * _LARGEST and sum(map(len, prose)) > _LARGEST / 2:
            break
        for text in python_file(path):
            parts = split_code(text)
            code.append(parts[0])
            prose.append(parts[1])
    return tuple(code), tuple(prose)


def _code() -> Iterable[str]:
    return _library()[0]


def _docstring_prose() -> Iterable[str]:
    return _library()[1]


def _topics() -> Iterator[str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return iter(())
    return iter(topics[name] for name in sorted(topics))


def _package_pages() -> Iterator[str]:
    for distribution in sorted(importlib.metadata.distributions(), key=lambda d: d.metadata["Name"] or ""):
        metadata: Any = distribution.metadata
        if metadata["Name"] != "mixwright":  # its README, which shows this demo's result, would change it
            yield str(metadata.get("Description") or metadata.get_payload() or "")


def _licences() -> Iterator[str]:
    words = ("LICEN", "COPYING", "NOTICE", "PATENTS")
    for folder in _site_packages():
        for path in sorted(folder.glob("*.dist-info/**/*")):
            if path.is_file() and any(word in path.name.upper() for word in words):
                yield from _read(path)
    yield from _read(_standard_library() / "LICENSE.txt")


def _headers() -> Iterator[str]:
    """Yield the C and C++ headers that come with PyTorch and with Python."""
    folders = [Path(sysconfig.get_path("include")), *(folder / "torch" / "include" for folder in _site_packages())]
    for folder in folders:
        for path in sorted(folder.rglob("*.h")):
            yield from _read(path)


def _unicode_table() -> Iterator[str]:
    lines: list[str] = []
    for code in range(0x20, 0x20000):
        name = unicodedata.name(chr(code), "")
        if name and not name.startswith(("CJK", "HANGUL SYLLABLE", "TANGUT", "NUSHU", "KHITAN")):
            lines.append(f"U+{code:04X};{unicodedata.category(chr(code))};{name}")
        if len(lines) == 100:
            yield "\n".join(lines) + "\n"
            lines = []


def _read(path: Path) -> Iterator[str]:
    try:
        yield path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return


SOURCES: dict[str, tuple[str, Callable[[], Iterable[str]]]] = {
    "python_code": ("the standard library's code without docstrings and comments", _code),
    "docstrings": ("the standard library's docstrings", _docstring_prose),
    "language_manual": ("the topics of pydoc_data, Python's built-in help", _topics),
    "package_pages": ("the long descriptions of the installed packages", _package_pages),
    "licences": ("the licence texts of the installed packages", _licences),
    "cpp_headers": ("the C and C++ headers of PyTorch and of Python", _headers),
    "unicode_table": ("the names of the Unicode characters", _unicode_table),
}


def cut(texts: Iterable[str], largest: int = _LARGEST) -> list[str]:
    """
    Make documents of texts: no duplicates, none too long, in a random but fixed order, `largest` characters in all.

    Parameters
    ----------
    texts
        The texts.
    largest
        Characters to keep.
    """
    documents: dict[str, None] = {}
    for text in texts:
        for piece in _pieces(text.replace("\r\n", "\n")):
            documents[piece] = None
    shuffled = sorted(documents)
    random.Random(_SEED).shuffle(shuffled)
    kept: list[str] = []
    total = 0
    for piece in shuffled:
        if total + len(piece) > largest:
            continue
        kept.append(piece)
        total += len(piece)
    return kept


def _pieces(text: str) -> Iterator[str]:
    """Cut a text at line ends into pieces of about `_DOCUMENT` characters; pieces of a few words are left out."""
    lines: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        if size + len(line) > _DOCUMENT and lines:
            yield from _if_long("".join(lines))
            lines, size = [], 0
        lines.append(line[:_DOCUMENT])
        size += len(lines[-1])
    yield from _if_long("".join(lines))


def _if_long(text: str) -> Iterator[str]:
    if len(text.strip()) >= 200:
        yield text


@lru_cache(maxsize=1)
def target_documents() -> tuple[tuple[str, ...], float]:
    """
    Return the target: an excerpt, at a random place, of each Python file of packages that mixwright itself needs.

    Returns
    -------
    documents, code_share
        The excerpts, and how much of the packages' text (characters other than blanks, in a quarter of the files) is
        code, not docstrings and comments.
    """
    rng = random.Random(_SEED)
    documents: list[str] = []
    code = total = 0
    for folder in _site_packages():
        for path in sorted(path for package in TARGET_PACKAGES for path in (folder / package).rglob("*.py")):
            for text in python_file(path):
                if len(text) >= 2 * _EXCERPT and (start := rng.randrange(len(text) - _EXCERPT)) >= 0:
                    documents.append(text[start : start + _EXCERPT].partition("\n")[2])
                    if len(documents) % _MEASURED == 0:  # telling code from prose takes longer than all else here
                        code += _ink(split_code(text)[0])
                        total += _ink(text)
    return tuple(documents), code / max(total, 1)


def _ink(text: str) -> int:
    """Count the characters that are not blanks."""
    return len("".join(text.split()))


def write_documents(path: Path, documents: Sequence[str]) -> None:
    """Write documents as JSON lines."""
    with atomic_write(path) as handle:
        for text in documents:
            handle.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def write_demo_data(folder: Path, progress: Callable[[str, int, int, str], None]) -> tuple[list[str], list[str], float]:
    """
    Write the demo's sources and target.

    Parameters
    ----------
    folder
        Where `NAME.jsonl` go.
    progress
        Called as `progress(stage, done, total, note)`.

    Returns
    -------
    sources, absent, code_share
        Names of the sources that were written, sentences about those that this Python lacks, and the share of the
        target's characters that is code.
    """
    written: list[str] = []
    absent: list[str] = []
    for index, (name, (about, texts)) in enumerate(SOURCES.items()):
        progress("data", index, len(SOURCES) + 1, name)
        documents = cut(texts())
        size = sum(map(len, documents))
        if size < _LEAST:
            absent.append(f"{name}: this Python has too little of {about} ({size:,} characters); the demo goes without")
            continue
        write_documents(folder / f"{name}.jsonl", documents)
        written.append(name)
    progress("data", len(SOURCES), len(SOURCES) + 1, "target")
    target, code_share = target_documents()
    if len(written) < 4 or sum(map(len, target)) < _LEAST:
        raise InputError(
            "this Python has too little text for the demo: "
            + "; ".join(absent or ["the packages of the target are absent"])
            + ". Use a Python with its whole standard library, or run: mixwright search CONFIG.yaml"
        )
    write_documents(folder / "target.jsonl", target)
    progress("data", len(SOURCES) + 1, len(SOURCES) + 1, "")
    return written, absent, code_share
