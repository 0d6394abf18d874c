"""Small sources whose rows say where they come from, and plans over them."""

from itertools import islice

import numpy as np

from mixwright.stream.plan.plan import Plan
from mixwright.stream.sources.tokens import TokenRows

SIZES = {"a": 37, "b": 11, "c": 5}
WEIGHTS = [0.5, 0.3, 0.2]


def tokens(i, size, width=4):
    """Return rows [size, width]: source, row, then zeros."""
    rows = np.zeros((size, width), np.int64)
    rows[:, 0], rows[:, 1] = i, np.arange(size)
    return rows.ravel()


def sources(sizes=None, width=4):
    return {n: TokenRows(tokens(i, s, width), width) for i, (n, s) in enumerate((sizes or SIZES).items())}


def plan(batch_size=12, weights=WEIGHTS, sizes=None, **options):
    return Plan(sizes or SIZES, weights, batch_size=batch_size, seed=3, **options)


def rows_of(batch):
    """Return the (source, row) pairs of a batch, after checking that the inputs are those rows."""
    pairs = list(zip(batch.source.tolist(), batch.row.tolist(), strict=True))
    assert batch.inputs[:, :2].tolist() == [list(pair) for pair in pairs]
    return pairs


def take(iterable, count):
    return list(islice(iterable, count))
