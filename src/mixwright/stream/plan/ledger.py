"""The ledger: what was asked of each source, and what it gave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import whole_number
from mixwright.stream.plan.settings import PlanSettings
from mixwright.stream.plan.steps import PlanState

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LedgerLine:
    """
    One source's account.

    Attributes
    ----------
    source, size
        Its name and rows.
    asked, drawn
        Shares of the ledger's unit over the steps so far, as the weights asked and as it came.
    rows, tokens
        Drawn so far; tokens None where the lengths are not known.
    asked_amount
        Rows (tokens where they are the unit) that were asked.
    epochs, repeated
        How often the source was gone through (rows / size), and rows that came before.
    max_epochs, can_give
        The cap, None without one; with it the largest share of rows that the source can have of the run so far, or of
        the steps that were named.
    dropped
        It gave all it may and was taken out.
    """

    source: str
    size: int
    asked: float
    drawn: float
    rows: int
    tokens: int | None
    asked_amount: float
    epochs: float
    repeated: int
    max_epochs: float | None
    can_give: float | None
    dropped: bool

    @property
    def note(self) -> str:
        """Return "asked .30, can give .22" where a cap binds, "" otherwise."""
        if self.can_give is None or self.can_give >= self.asked - 5e-4:
            return ""
        return f"asked {_share(self.asked)}, can give {_share(self.can_give)}"


@dataclass(frozen=True)
class Ledger:
    """
    Asked and drawn, source by source.

    Attributes
    ----------
    step
        Steps that are accounted for.
    unit
        "rows" or "tokens": what the shares are of.
    lines
        One per source, in order.
    """

    step: int
    unit: str
    lines: tuple[LedgerLine, ...]

    @classmethod
    def of(cls, p: PlanSettings, state: PlanState, lengths_known: bool, steps: int | None = None) -> Ledger:
        """Return the ledger of a plan's state; `steps`: of a whole run, for what a capped source can give."""
        steps = None if steps is None else whole_number(steps, "steps", 1)
        asked = state.asked_so_far(p.batch_size, p.unit)
        drawn = (state.tokens if p.unit == "tokens" else state.cursor).astype(np.float64)
        asked_share = asked / asked.sum() if asked.sum() else state.weights
        if steps is not None and p.unit == "rows":
            # the rest of the run asks with the present weights
            future = max(0, int(steps) - state.step)
            asked_share = (asked + future * p.batch_size * state.weights) / max(
                1, max(steps, state.step) * p.batch_size
            )
        total = drawn.sum() or 1.0
        rows_in_all = p.batch_size * max(state.step, steps or 0)
        lines = []
        for i, name in enumerate(p.names):
            size, rows = int(p.sizes[i]), int(state.cursor[i])
            capped = not math.isinf(p.epochs[i])
            # a cap is worth a note only where it was reached, or where a whole run is looked at
            binds = capped and (bool(state.dropped[i]) or steps is not None)
            if not binds:
                can_give = None
            elif p.unit == "tokens":
                can_give = float(drawn[i] / total) if state.dropped[i] else None
            else:
                can_give = min(1.0, int(p.limits[i]) / max(1, rows_in_all))
            lines.append(
                LedgerLine(
                    source=name,
                    size=size,
                    asked=float(asked_share[i]),
                    drawn=float(drawn[i] / total),
                    rows=rows,
                    tokens=int(state.tokens[i]) if lengths_known else None,
                    asked_amount=float(asked[i]),
                    epochs=rows / size if size else 0.0,
                    repeated=max(0, rows - size),
                    max_epochs=float(p.epochs[i]) if capped else None,
                    can_give=can_give,
                    dropped=bool(state.dropped[i]),
                )
            )
        return cls(state.step, p.unit, tuple(lines))

    def __getitem__(self, source: str) -> LedgerLine:
        """Return the line of a source; KeyError if there is none."""
        for line in self.lines:
            if line.source == source:
                return line
        raise KeyError(source)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return "hi: asked .30, can give .22" for each source whose cap binds."""
        return tuple(f"{line.source}: {line.note}" for line in self.lines if line.note)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able numbers and texts."""
        names = tuple(LedgerLine.__dataclass_fields__)
        lines = [{name: getattr(line, name) for name in names} | {"note": line.note} for line in self.lines]
        return {"step": self.step, "unit": self.unit, "sources": lines}

    def table(self, most: int = 50) -> str:
        """Return a text of aligned columns; of more than `most` sources, those with the largest shares."""
        head = ("source", "asked", "drawn", "rows", "tokens", "epochs", "repeated", "")
        lines = (
            sorted(self.lines, key=lambda x: -max(x.asked, x.drawn))[:most] if len(self.lines) > most else self.lines
        )
        cells = [head, *(_cells(line) for line in lines)]
        if all(line.tokens is None for line in lines):
            cells = [row[:4] + row[5:] for row in cells]
        widths = [max(len(row[j]) for row in cells) for j in range(len(cells[0]))]
        text = [
            "  ".join(
                c.ljust(w) if j in (0, len(row) - 1) else c.rjust(w)
                for j, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        left = len(self.lines) - len(lines)
        title = f"after {self.step} steps, shares of {self.unit}" + (
            f"; {left} smaller sources left out" if left else ""
        )
        return "\n".join([title, *(line.rstrip() for line in text)])


def _cells(line: LedgerLine) -> tuple[str, ...]:
    """Return the texts of a line: as many as the head of the table has."""
    tokens = "" if line.tokens is None else f"{line.tokens:,}"
    shares = (_share(line.asked), _share(line.drawn))
    note = line.note or ("exhausted" if line.dropped else "")
    return (line.source, *shares, f"{line.rows:,}", tokens, f"{line.epochs:.2f}", f"{line.repeated:,}", note)


def _share(value: float) -> str:
    """Return a share with two significant digits at least: .30, .022, 1.00."""
    if value >= 0.995:
        return f"{value:.2f}"
    digits = 2 if value >= 0.01 or value == 0 else min(9, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"[1:]
