"""What the tests of the plan share."""

import json

import numpy as np
from hypothesis import strategies as st

from mixwright.stream import Plan


def weights_of(raw):
    raw = np.asarray(raw, float)
    return raw / raw.sum() if raw.sum() > 1e-3 else np.full(len(raw), 1 / len(raw))


def simplex(k):
    return st.lists(st.floats(0, 1) | st.just(0.0), min_size=k, max_size=k).map(weights_of)


@st.composite
def arguments(draw, max_sources=10, max_size=12, limits=False):
    """Arguments of a Plan, as (sizes, weights, keyword arguments)."""
    k = draw(st.integers(1, max_sources))
    sizes = {f"s{i}": draw(st.integers(1, max_size)) for i in range(k)}
    unit = draw(st.sampled_from([1, 1, 2]))
    more = {
        "batch_size": unit * draw(st.integers(1, 9)),
        "seed": draw(st.integers(0, 99)),
        "draw": draw(st.sampled_from(["carry", "carry", "iid"])),
        "co_locate": unit,
        "compiled": draw(st.booleans()),
    }
    if limits and draw(st.booleans()):
        some = draw(st.lists(st.sampled_from(sorted(sizes)), unique=True))
        more["max_epochs"] = {
            n: draw(st.sampled_from([c for c in (0.5, 1, 2, 3.5) if sizes[n] * c >= 1])) for n in some
        }
    return sizes, draw(simplex(k)), more


def take(plan, steps):
    """Return up to `steps` steps of a plan."""
    return [step for _, step in zip(range(steps), plan, strict=False)]


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.step == y.step
        for name in ("source", "row", "weights"):
            np.testing.assert_array_equal(getattr(x, name), getattr(y, name))


def through_json(state):
    return json.loads(json.dumps(state, allow_nan=False))


def rows_by_source(steps, k):
    found = [[] for _ in range(k)]
    for step in steps:
        for i, row in zip(step.source.tolist(), step.row.tolist(), strict=True):
            found[i].append(row)
    return found


def counts_of(steps, k):
    """Return drawn rows [steps, k]."""
    return np.array([np.bincount(step.source, minlength=k) for step in steps])


def make(arguments, **more):
    sizes, weights, settings = arguments
    return Plan(sizes, weights, **{**settings, **more})
