import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.stream import StaticPlan


@st.composite
def plans(draw, max_sources=12):
    k = draw(st.integers(1, max_sources))
    sizes = {f"s{i}": draw(st.integers(1, 9)) for i in range(k)}
    raw = np.array(draw(st.lists(st.floats(0, 1) | st.just(0.0), min_size=k, max_size=k)))
    weights = raw / raw.sum() if raw.sum() > 1e-3 else np.ones(k) / k
    return StaticPlan(sizes, weights, draw(st.integers(1, 9)), draw(st.integers(0, 99)))


def drawn_after(plan, steps):
    """Return the rows that each source gave in the first 1, 2, ... steps, [steps, k]."""
    return np.cumsum([np.bincount(plan.step(t)[0], minlength=len(plan.sources)) for t in range(steps)], axis=0)


@settings(deadline=None, max_examples=150)
@given(plans(max_sources=30))
def test_drawn_stays_within_one_row_of_asked(plan):
    for t, drawn in enumerate(drawn_after(plan, 80), start=1):
        assert drawn.sum() == t * plan.batch_size
        assert np.abs(drawn - t * plan.batch_size * plan.weights).max() < 1
        assert not drawn[plan.weights == 0].any()


def test_drawn_stays_within_one_row_where_largest_remainders_fail():
    rng = np.random.default_rng(0)
    for _ in range(60):
        k, size = int(rng.integers(2, 40)), int(rng.choice([1, 2, 8]))
        plan = StaticPlan({str(i): 1 for i in range(k)}, rng.dirichlet(np.full(k, 0.1)), size)
        drawn = drawn_after(plan, 150)
        assert np.abs(drawn - np.arange(1, 151)[:, None] * size * plan.weights).max() < 1


@settings(deadline=None, max_examples=60)
@given(plans())
def test_every_row_once_per_epoch_and_in_range(plan):
    drawn = {i: [] for i in range(len(plan.sources))}
    for t in range(25):
        for source, row in zip(*plan.step(t), strict=True):
            drawn[source].append(row)
    for i, rows in drawn.items():
        size = plan.sizes[i]
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            assert len(set(part)) == len(part)
            assert all(0 <= row < size for row in part)


@settings(deadline=None, max_examples=60)
@given(plans(), st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_a_step_is_a_pure_function(plan, steps):
    sizes = dict(zip(plan.sources, plan.sizes.tolist(), strict=True))
    for t in steps:
        fresh = StaticPlan(sizes, plan.weights, plan.batch_size, plan.seed)
        for a, b in zip(plan.step(t), fresh.step(t), strict=True):
            np.testing.assert_array_equal(a, b)


def rows_of(plan, source, count):
    found, t = [], 0
    while len(found) < count:
        sources, rows = plan.step(t)
        found += rows[sources == plan.sources.index(source)].tolist()
        t += 1
    return found[:count]


def test_mixtures_are_paired():
    a = StaticPlan({"x": 50, "y": 7}, [0.5, 0.5], 6, 3)
    b = StaticPlan({"y": 7, "z": 9, "x": 50}, [0.3, 0.6, 0.1], 8, 3)
    assert rows_of(a, "x", 120) == rows_of(b, "x", 120)
    assert rows_of(a, "y", 30) == rows_of(b, "y", 30)
    assert rows_of(a, "x", 50) != rows_of(StaticPlan({"x": 50, "y": 7}, [0.5, 0.5], 6, 4), "x", 50)


def test_epochs_have_different_orders_and_slots_are_shuffled():
    plan = StaticPlan({"x": 40, "y": 40}, [0.5, 0.5], 8, 0)
    rows = rows_of(plan, "x", 80)
    assert rows[:40] != rows[40:]
    assert sorted(rows[:40]) == sorted(rows[40:]) == list(range(40))
    assert len({tuple(plan.step(t)[0]) for t in range(10)}) > 5


def test_the_order_is_fixed_for_good():
    source, row = StaticPlan({"a": 10, "b": 5}, [0.6, 0.4], 5, seed=1).step(2)
    assert (source.tolist(), row.tolist()) == ([1, 1, 0, 0, 0], [1, 4, 0, 1, 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, [], 1), "one weight per source"),
        (({"a": 1}, [0.5, 0.5], 1), r"one weight per source \(1\), found shape \(2,\)"),
        (({"a": 0}, [1.0], 1), "the source 'a' should have a whole number of rows, at least 1, found 0"),
        (({"a": 1.5}, [1.0], 1), "found 1.5"),
        (({"a": 1, "b": 1}, [0.5, 0.6], 1), r"sum to 1, found .*sum 1.1"),
        (({"a": 1, "b": 1}, [1.5, -0.5], 1), "at least 0"),
        (({"a": 1, "b": 1}, [float("nan"), 1], 1), "at least 0 and sum to 1"),
        (({"a": 1}, [1.0], 0), "the batch size should be a whole number of at least 1, found 0"),
        (({"a": 1}, [1.0], 2.0), "batch size"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        StaticPlan(*arguments)


def test_negative_step():
    with pytest.raises(InputError, match="at least 0, found -1"):
        StaticPlan({"a": 1}, [1.0], 1).step(-1)
