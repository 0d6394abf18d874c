"""Numbers and names as readers see them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

NOTHING = "–"
_MINUS = "\u2212"
_THIN = "\u202f"
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BROKEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def number(value: float | None, digits: int = 4) -> str:
    """Return `value` with a fixed number of digits and a true minus sign."""
    if value is None:
        return NOTHING
    text = f"{value:,.{digits}f}"
    return text[1:] if text.startswith("-") and not text.strip("-0.,") else text.replace("-", _MINUS)


def signed(value: float | None, digits: int = 4) -> str:
    """Return `value` with its sign, also when it is positive."""
    text = number(value, digits)
    return f"+{text}" if value is not None and text.strip("0.,") and value > 0 else text


def digits_of(values: Iterable[Any]) -> int:
    """Return how many digits behind the point show three of the largest of some numbers (3 to 8)."""
    largest = max((abs(value) for value in values if finite(value)), default=0.0)
    return 4 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 3), 8)


def figure(value: float | None) -> str:
    """Return a number that stands alone with three digits: 131, 2.24, 13,100."""
    if value is None or value == 0:
        return NOTHING if value is None else "0"
    rounded = float(f"{value:.3g}")
    return number(rounded, max(2 - math.floor(math.log10(abs(rounded))), 0))


def compared(share: float | None, whole: str) -> str:
    """Return a share of a whole in words: 11.2 % of one final run, 131 times one final run."""
    if share is None:
        return NOTHING
    return f"{figure(share)} times {whole}" if share >= 1 else f"{percent(share)} of {whole}"


def small(value: float | None) -> str:
    """Return a number that may be very small, such as 3.2e-10."""
    if value is None:
        return NOTHING
    text = f"{value:.2g}" if value == 0 or abs(value) < 1e-3 else f"{value:.3g}"
    return re.sub(r"e\+?0*", "e", re.sub(r"e-0?", f"e{_MINUS}", text)).replace("-", _MINUS)


def scientific(value: float | None) -> str:
    """Return a number of any size with three digits, such as 1.27e13."""
    return NOTHING if value is None else re.sub(r"e\+0*", "e", f"{value:.3g}")


def large(value: float | None) -> str:
    """Return a big number in short: 950, 12.4 k, 3.12 M, 2 G, then powers of ten."""
    if value is None or abs(value) >= 1e15:
        return scientific(value)
    rounded = float(f"{value:.3g}")
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= size:
            return f"{rounded / size:.3g}{_THIN}{letter}"
    return f"{rounded:,.0f}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as a percentage; a share that would round to zero says that it is not zero."""
    if share is None:
        return NOTHING
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"<{_THIN}{least:.{digits}f}{_THIN}%"
    return f"{number(100 * share, digits)}{_THIN}%"


def span(
    low: float | None, high: float | None, digits: int = 4, say: Callable[[float | None, int], str] = number
) -> str:
    """Return an interval in words, such as 0.0120 to 0.0340; `say` writes its ends."""
    if low is None or high is None:
        return "no interval"
    return f"{say(low, digits)} to {say(high, digits)}"


def base_rate(rows: float | None, positives: float | None) -> str:
    """Return how many held-out rows have a 1 (means over seeds) and their share, or nothing where it is not known."""
    if not rows or positives is None:
        return ""
    return (
        f"{number(positives, 0 if positives == round(positives) else 1)} of {count(rows)} held-out rows have a 1 "
        + (f"(base rate {figure(positives / rows)})")
    )


def duration(seconds: float | None) -> str:
    """Return a length of time: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def moment(text: str) -> str:
    """Return an ISO 8601 time as a reader writes it; other texts stay as they are."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = "" if when.tzinfo is None else " UTC"
    try:
        return f"{when if when.tzinfo is None else when.astimezone(UTC):%Y-%m-%d, %H:%M}{zone}"
    except (OverflowError, ValueError):
        return text


def shorten(text: str, limit: int = 80) -> str:
    """Return `text` cut to `limit` characters, with an ellipsis where something was left out."""
    return text if len(text) <= limit else text[: max(limit - 1, 1)].rstrip() + "…"


def address(name: str) -> str:
    """Return the relative address of a file beside the page: never one with a scheme, a host or another folder."""
    return f"./{quote(name.replace(chr(92), '/').rsplit('/', 1)[-1], safe='', errors='replace')}"


def tidy(text: str) -> str:
    """Replace characters that no page may hold (control characters, halves of surrogate pairs)."""
    return _BROKEN.sub("\ufffd", text)


def label(text: str, limit: int = 24) -> str:
    """
    Return `text` for a chart, where it is shown literally.

    Charts read a small dialect of HTML, so markup is written as entities; line breaks become spaces, and characters
    that turn the direction of the text round become visible replacements. A long name loses its middle, since names of
    sources often differ at the end.
    """
    line = " ".join(_BIDI.sub("\ufffd", tidy(text)).split()) or "(no name)"
    if len(line) > limit:
        head = (limit - 1) * 4 // 9
        line = f"{line[:head].rstrip()}…{line[len(line) - (limit - 1 - head) :].lstrip()}"
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def finite(value: object) -> bool:
    """Say whether `value` is a finite number (true and false are not numbers)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
