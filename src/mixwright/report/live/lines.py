"""Lines over the steps as a picture that no script draws: a page that is read again stays still."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from mixwright.report.charts import Line, padded
from mixwright.report.courses import Say

_WIDTH, _HEIGHT = 1000, 260  # of the picture's own coordinates, which the browser stretches
_TICKS = 5  # at most, beside the axis


def drawn(lines: Sequence[Line], say: Say, held: bool, zero: bool) -> dict[str, Any]:
    """
    Return what the template draws: the points of each line, and what stands beside the axes.

    Parameters
    ----------
    lines
        One per source, with the same steps.
    say
        How a value is written.
    held
        Whether a value holds until the next step that is given.
    zero
        Whether the axis begins at 0.
    """
    values = [v for line in lines for v in line.values if v is not None]
    low, high = padded([*values, 0.0] if zero else values, 0.0 if zero else 0.05, 0.05)
    last = max(line.steps[-1] for line in lines)
    first = min(line.steps[0] for line in lines)

    def place(step: float, value: float) -> str:
        x = _WIDTH * (step - first) / ((last - first) or 1)
        return f"{x:.1f},{_HEIGHT * (high - value) / (high - low):.1f}"

    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "lines": [(line.look, _path(line, place, held)) for line in lines],
        "ticks": [(100 * (high - at) / (high - low), _said(at, say)) for at in ticks(low, high)],
        "first": first,
        "last": last,
    }


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers in a range, at most six."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (1, 2, 2.5, 5, 10) if step * power >= rough * (1 - 1e-9)) * power
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _said(value: float, say: Say) -> str:
    """Return a round number without the zeros at its end."""
    text = say(value)
    return re.sub(r"(\.\d*?)0+(?=\D|$)", r"\1", text).replace(".\u202f", "\u202f").rstrip(".")


def _path(line: Line, place: Any, held: bool) -> str:
    """Return the path of a line; it is broken where nothing is known."""
    parts, before = [], None
    for step, value in zip(line.steps, line.values, strict=True):
        if value is None:
            before = None
            continue
        if held and before is not None:
            parts.append(f"L{place(step, before)}")
        parts.append(f"{'M' if before is None else 'L'}{place(step, value)}")
        before = value
    return "".join(parts)
