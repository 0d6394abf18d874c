"""Weights as shares of tokens: rows of different lengths, and a credit that is paid in tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.stream.plan.counts import arranged, draws_of
from mixwright.stream.plan.rows import rows_of
from mixwright.stream.plan.settings import PlanSettings, per_source
from mixwright.stream.plan.steps import PlanState, drop, laid_out

Ints = NDArray[np.int64]
_RowsOfDraws = Callable[[int, int, Any, Any, Any, Any], Ints]


class Lengths:
    """
    Tokens of each row of each source, asked for in the order in which rows are drawn.

    Parameters
    ----------
    lengths
        By name: an array [size], a function of int64 [m] rows that returns [m] lengths, or one number for every row.

    Attributes
    ----------
    values, first
        int64 [k, width] and [k]: lengths that were read ahead, of the draws from `first[i]` on.

    Raises
    ------
    InputError
        If a source has none, or lengths that are no whole numbers of at least 1; it names the source.
    """

    def __init__(self, p: PlanSettings, lengths: Mapping[str, Any] | None) -> None:
        self._p, self.known = p, lengths is not None
        if p.unit == "tokens" and lengths is None:
            raise InputError("unit='tokens' needs lengths: the tokens of each source's rows, by name")
        given = per_source("lengths", lengths or {}, p.names)
        if lengths is not None:
            for i, name in enumerate(p.names):
                if name not in given and p.sizes[i]:
                    raise InputError(f"lengths should have every source, found none for {name!r}")
        self._lengths = [self._check(i, given.get(name)) for i, name in enumerate(p.names)]
        # about 2**20 lengths in all, however many sources there are
        width = min(1024, max(32, 2**20 // p.k)) if p.unit == "tokens" else 0
        self.values, self.first = np.zeros((p.k, width), np.int64), np.full(p.k, -width, np.int64)

    def of_draw(self, i: int, draw: int) -> int:
        """Return the tokens of the row that is drawn `draw`-th from source i."""
        if not 0 <= draw - self.first[i] < self.values.shape[1]:
            self.refill(i, draw)
        return int(self.values[i, draw - self.first[i]])

    def refill(self, i: int, draw: int, rows_of_draws: _RowsOfDraws | None = None) -> None:
        """Read ahead: `values[i]` becomes the tokens of the draws of source i from `first[i]` = draw on."""
        self.values[i] = self.of_draws(i, draw, draw + self.values.shape[1], rows_of_draws)
        self.first[i] = draw

    def of_draws(self, i: int, first: int, stop: int, rows_of_draws: _RowsOfDraws | None = None) -> Ints:
        """Return the tokens of the draws first .. stop - 1 of source i; `rows_of_draws`: compiled `rows_of`."""
        p, known = self._p, self._lengths[i]
        if isinstance(known, int):
            return np.full(stop - first, known, np.int64)
        if rows_of_draws is not None:
            rows = rows_of_draws(first, stop - first, p.sizes[i], p.keys[i], p.a[i], p.b[i])
        else:
            rows = rows_of(np.full(stop - first, i), np.arange(first, stop), p.sizes, p.keys, p.a, p.b)
        return known[rows] if isinstance(known, np.ndarray) else self._asked(i, known, rows)

    def count(self, state: PlanState, before: Ints) -> None:
        """Add the tokens of the draws since the cursors `before` [k] to the state."""
        tokens = state.tokens.copy()
        for i in np.flatnonzero(state.cursor > before).tolist():
            tokens[i] += int(self.of_draws(i, int(before[i]), int(state.cursor[i])).sum())
        state.tokens = tokens

    def _check(self, i: int, lengths: Any) -> Any:
        name, size = self._p.names[i], int(self._p.sizes[i])
        if lengths is None or callable(lengths):
            return lengths
        values = np.asarray(lengths)
        if values.shape not in ((), (size,)):
            raise InputError(f"lengths of {name!r} should be one per row ({size}), found shape {values.shape}")
        self._whole(i, values)
        return int(values) if values.ndim == 0 else values

    def _asked(self, i: int, lengths: Any, rows: Ints) -> Ints:
        values = np.asarray(lengths(rows))
        if values.shape != rows.shape:
            raise InputError(
                f"the lengths function of {self._p.names[i]!r} should return one number per row ({len(rows)}), found "
                f"shape {values.shape}"
            )
        self._whole(i, values)
        return values.astype(np.int64)

    def _whole(self, i: int, values: NDArray[Any]) -> None:
        if values.dtype.kind not in "iu" or (values.size and values.min() < 1):
            found = values.dtype if values.dtype.kind not in "iu" else values.min()
            raise InputError(f"lengths of {self._p.names[i]!r} should be whole numbers of at least 1, found {found}")


def token_step(p: PlanSettings, state: PlanState, lengths: Lengths) -> tuple[Ints, Ints]:
    """
    Advance by one step in which weights are shares of tokens; return source and row [1, B].

    Slot by slot, the source gives whose credit, with its share of a row of average length, is the largest (ties: the
    lower index). Its row's length l is paid from its credit, and credit + l * share goes to all.
    """
    first, slots = state.cursor, p.batch_size
    counts, tokens, credit = [0] * p.k, state.tokens.copy(), state.credit.copy()
    share = state.shares()
    # -inf: a source without a share never gives, however much credit it has left
    off = np.where(share > 0, 0.0, -np.inf)
    drawn_tokens, drawn_rows = int(tokens.sum()), int(state.cursor.sum())
    while slots:
        # a row's length is known only once its source is chosen, so sources compete with the mean length so far
        usual = float(drawn_tokens) / float(drawn_rows) if drawn_rows else 1.0
        i = int((credit + usual * share + off).argmax())
        draw = int(first[i]) + counts[i]
        if draw >= p.limits[i]:
            # `drop` works on the state: hand the step's credit over, and take it back
            state.credit = credit
            drop(p, state, [i])
            credit, share = state.credit, state.shares()
            off = np.where(share > 0, 0.0, -np.inf)
            continue
        length = lengths.of_draw(i, draw)
        # shares sum to 1, so what all sources are owed together stays the same
        credit += length * share
        credit[i] -= length
        tokens[i] += length
        counts[i], slots = counts[i] + 1, slots - 1
        drawn_tokens, drawn_rows = drawn_tokens + length, drawn_rows + 1
    given = np.array(counts, np.int64)
    # what a step asks in tokens is known only after it: the total depends on the rows drawn
    state.asked = state.asked + state.weights * (drawn_tokens - int(state.tokens.sum()))
    state.credit, state.tokens, state.cursor, state.step = credit, tokens, first + given, state.step + 1
    state.since = state.step
    return laid_out(p, arranged(given, p.co_locate)[None], draws_of(given, first)[None], state.step - 1)
