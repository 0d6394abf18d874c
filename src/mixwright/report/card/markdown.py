"""Markdown in which every name stands for itself, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mixwright.report.words import tidy

_SIGNS = re.compile(r"[\\`*_\[\]<>|#&~$^@]|:(?=[^\s\d])|(?<=[wW])\.")  # : and www. begin a link or a picture
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNSAFE = re.compile(r"[<>\\\s|\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # in an address between < and >, in a table
_START = re.compile(r"^(\d*)([-+.)])")  # what begins a list


def plain(text: str) -> str:
    """Return a text on one line, with every sign that Markdown or HTML reads escaped."""
    line = " ".join(_BIDI.sub("\ufffd", tidy(text)).split())
    return _START.sub(r"\1\\\2", _SIGNS.sub(lambda found: "\\" + found[0], line))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table; cells are Markdown, and the columns after the first `words` are numbers, set to the right."""
    line = ["---"] * words + ["---:"] * (len(columns) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([plain(name) for name in columns], line, *rows))


def bullets(lines: Sequence[str]) -> str:
    """Return a list; its items are Markdown."""
    return "\n".join(f"- {line}" for line in lines)


def linked(text: str, address: str | None) -> str:
    """Return a text that opens an address, or the text alone."""
    return plain(text) if address is None else f"[{plain(text)}](<{_UNSAFE.sub(_percent, address)}>)"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="replace"))
