import itertools
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import arguments, counts_of, make, rows_by_source, same, simplex, take, weights_of

import mixwright
from mixwright.errors import InputError
from mixwright.stream import Plan


@settings(max_examples=40)
@given(arguments(max_sources=30))
def test_constant_weights_stay_within_one_row(args):
    plan = make(args, draw="carry")
    counts, asked = counts_of(take(plan, 60), len(args[0])), plan.batch_size * args[1]
    assert (counts.sum(1) == plan.batch_size).all()
    assert np.abs(np.cumsum(counts, 0) - np.arange(1, 61)[:, None] * asked).max() < 1
    assert not counts[:, args[1] == 0].any()


@pytest.mark.parametrize(
    ("k", "batch", "steps"), [(3, 7, 30_000), (64, 32, 20_000), (1000, 32, 2_000), (10_000, 8, 200)]
)
def test_constant_weights_stay_within_one_row_in_long_runs_and_with_many_sources(k, batch, steps):
    pytest.importorskip("numba", reason="the numpy plan is slow")
    weights = np.random.default_rng(k).dirichlet(np.full(k, 0.3))
    plan, drawn = Plan(dict.fromkeys(map(str, range(k)), 99), weights, batch_size=batch, compiled=True), np.zeros(k)
    for t, step in enumerate(take(plan, steps), 1):
        drawn += np.bincount(step.source, minlength=k)
        assert np.abs(drawn - t * batch * weights).max() < 1
    assert np.abs(plan.state_dict()["credit"] - (steps * batch * weights - drawn)).max() < 1e-6


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([1, 3, 32]), st.sampled_from([1, 5]))
def test_random_changes_with_sources_switched_off_and_on_stay_within_two_rows(seed, k, batch, every):
    rng = np.random.default_rng(seed)
    plan, asked, drawn = Plan({f"s{i}": 9 for i in range(k)}, batch_size=batch), np.zeros(k), np.zeros(k)
    for t in range(200):
        if t % every == 0:
            weights = weights_of(rng.dirichlet(np.full(k, 0.3)) * (rng.random(k) < 0.6))
            plan.set_weights(weights)
        counts = counts_of([next(plan)], k)[0]
        assert not counts[weights == 0].any()
        asked, drawn = asked + batch * weights, drawn + counts
        assert np.abs(drawn - asked).max() <= 2


def away_from_the_poorest(owed, t):
    """Half of the sources keep their weight: those that have had most."""
    return weights_of(owed < np.median(owed))


def away_from_the_richest(owed, t):
    return weights_of(owed > np.median(owed))


def cup_game(sign):
    """One source less each step, the one that is nearest to what it asked, until one is left."""
    sets = {}

    def weights(owed, t):
        kept = np.arange(len(owed)) if len(sets.get("kept", ())) <= 1 else sets["kept"]
        kept = kept[np.argsort(-sign * owed[kept], kind="stable")]
        sets["kept"] = kept[:-1]
        return weights_of(np.isin(np.arange(len(owed)), kept))

    return weights


@pytest.mark.parametrize(("k", "batch"), [(2, 7), (16, 32), (64, 1), (64, 7), (256, 32)])
def test_an_adversary_stays_within_two_plus_log_k(k, batch):
    for adversary in (away_from_the_poorest, away_from_the_richest, cup_game(1), cup_game(-1)):
        plan, owed = Plan({f"s{i}": 99 for i in range(k)}, batch_size=batch), np.zeros(k)
        for t in range(400):
            weights = adversary(owed, t)
            plan.set_weights(weights)
            owed = owed + batch * weights - counts_of([next(plan)], k)[0]
            assert np.abs(owed).max() <= 2 + np.log(k)


@settings(max_examples=80)
@given(arguments())
def test_every_row_once_per_epoch(args):
    plan = make(args)
    for size, rows in zip(args[0].values(), rows_by_source(take(plan, 30), len(args[0])), strict=True):
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            assert len(set(part)) == len(part)
            assert all(0 <= row < size for row in part)


@settings(max_examples=40)
@given(arguments(), st.integers(1, 6))
def test_ranks_one_after_another_are_the_batch(args, steps):
    sizes, weights, more = args
    for step in take(Plan(sizes, weights, **{**more, "batch_size": 24, "co_locate": 1}), steps):
        for world in (1, 2, 3, 4, 8):
            parts = [step.for_rank(rank, world) for rank in range(world)]
            for name in ("source", "row"):
                joined = np.concatenate([getattr(part, name) for part in parts])
                np.testing.assert_array_equal(joined, getattr(step, name))


def test_slices_that_do_not_exist():
    step = next(Plan({"a": 5}, [1.0], batch_size=6))
    with pytest.raises(InputError, match=r"multiple of the world size 4, found 6; use 4 rows"):
        step.for_rank(0, 4)
    with pytest.raises(InputError, match="below the world size 2, found 2"):
        step.for_rank(2, 2)


@settings(max_examples=60)
@given(arguments(max_sources=20, max_size=40, limits=True), st.data())
def test_compiled_and_numpy_give_the_same_rows(args, data):
    changes = [(t, data.draw(simplex(len(args[0])))) for t in (7, 8, 20)]
    found = []
    for compiled in (False, True):
        plan, steps = make(args, compiled=compiled), []
        try:
            for t, weights in changes:
                plan.set_weights(weights, t)
            steps = take(plan, 40)
        except InputError as error:
            steps.append(str(error))
        state = json.dumps(plan.state_dict()) if not isinstance((steps or [0])[-1], str) else steps.pop()
        found.append((steps, state))
    same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@settings(max_examples=40)
@given(arguments(max_sources=6))
def test_co_located_slots_come_in_pairs(args):
    sizes, weights, more = args
    for step in take(Plan(sizes, weights, **{**more, "batch_size": 16, "co_locate": 2}), 10):
        pairs = step.source.reshape(-1, 2)
        odd = (np.bincount(step.source, minlength=len(sizes)) % 2).sum()
        assert (pairs[:, 0] != pairs[:, 1]).sum() == odd // 2


def test_independent_draws_are_what_their_probabilities_say():
    weights, steps = np.array([0.5, 0.3, 0.15, 0.05]), 2000
    plan = Plan(dict.fromkeys("abcd", 1000), weights, batch_size=10, draw="iid", seed=3)
    counts = counts_of(take(plan, steps), 4)
    expected = 10 * steps * weights
    assert ((counts.sum(0) - expected) ** 2 / expected).sum() < 16.3  # chi-square, 3 degrees of freedom, p = .001
    variance = counts.var(0) / (10 * weights * (1 - weights))
    assert np.abs(variance - 1).max() < 0.15  # binomial; rounding with carry would give less than .1


def test_independent_draws_of_neighbouring_slots_do_not_depend_on_each_other():
    plan = Plan(dict.fromkeys("abc", 1000), [1 / 3] * 3, batch_size=12, draw="iid")
    pairs = np.zeros((3, 3))
    for step in take(plan, 1500):
        np.add.at(pairs, (step.source[::2], step.source[1::2]), 1)
    expected = pairs.sum() / 9
    assert ((pairs - expected) ** 2 / expected).sum() < 26.1  # 8 degrees of freedom, p = .001


def test_slots_of_a_source_are_anywhere_in_the_batch():
    plan = Plan({"a": 99, "b": 99}, [0.25, 0.75], batch_size=8)
    places = sum((step.source == 0).astype(int) for step in take(plan, 2000))
    assert ((places - 500) ** 2 / 500).sum() < 24.3  # 7 degrees of freedom, p = .001


def test_a_sources_order_depends_on_seed_name_and_epoch_alone():
    def rows(plan, name, n):
        return rows_by_source(take(plan, 100), len(plan.sources))[plan.sources.index(name)][:n]

    a = Plan({"x": 50, "y": 7}, [0.5, 0.5], batch_size=6, seed=3)
    b = Plan({"y": 7, "z": 9, "x": 50}, [0.3, 0.6, 0.1], batch_size=20, seed=3, draw="iid")
    assert rows(a, "x", 120) == rows(b, "x", 120)
    first = rows(Plan({"x": 50}, [1.0], batch_size=5, seed=3), "x", 150)
    assert first[:50] != first[50:100]
    assert sorted(first[:50]) == sorted(first[50:100]) == list(range(50))
    assert first[:50] != rows(Plan({"x": 50}, [1.0], batch_size=5, seed=4), "x", 50)


def test_the_order_is_fixed_for_good():
    step = take(Plan({"a": 10, "b": 5}, [0.6, 0.4], batch_size=5, seed=1), 3)[2]
    assert (step.source.tolist(), step.row.tolist()) == ([1, 1, 0, 0, 0], [4, 2, 3, 5, 6])


def test_weights_change_at_the_step_that_was_said():
    plan = Plan({"a": 9, "b": 9}, [1.0, 0.0], batch_size=4)
    plan.set_weights({"b": 1.0}, at_step=3)
    assert [step.source.tolist()[0] for step in take(plan, 5)] == [0, 0, 0, 1, 1]
    plan.set_weights([1.0, 0.0])
    assert plan.step == 5
    assert next(plan).source.tolist() == [0] * 4
    plan.set_weights([0.5, 0.5], 8)
    plan.set_weights([0.0, 1.0], 8)
    assert counts_of(take(plan, 3), 2).tolist() == [[4, 0], [4, 0], [0, 4]]


def test_steps_read_ahead_inside_do_not_hide_a_change():
    plans = [Plan({"a": 30, "b": 20}, [0.7, 0.3], batch_size=3) for _ in range(2)]
    plans[0].set_weights([0.1, 0.9], 37)
    take(plans[1], 37)  # has planned beyond step 37 inside
    plans[1].set_weights([0.1, 0.9])
    same(take(plans[0], 60)[37:], take(plans[1], 23))


def test_a_thousand_sources_of_a_billion_rows_start_without_memory_for_rows():
    tracemalloc.start()
    plan = Plan({f"s{i}": 10**6 for i in range(1000)}, np.full(1000, 1e-3), batch_size=64, compiled=False)
    step = next(plan)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert step.row.max() > 10**5


@pytest.mark.parametrize(
    ("arguments", "more", "message"),
    [
        (({}, []), {}, "at least one name"),
        (({"a": 1.5}, [1.0]), {}, "the source 'a' should have a whole number of rows, at least 0, found 1.5"),
        (({"a": 1, "b": 0}, [0.5, 0.5]), {}, "the source 'b' has no rows and the weight 0.5; give it rows"),
        (({"a": 1}, [0.5, 0.5]), {}, r"one weight per source \(1\), found shape \(2,\)"),
        (({"a": 1, "b": 1}, [0.5, 0.6]), {}, r"sum to 1 within 1e-6, found the sum 1.1"),
        (({"a": 1, "b": 1}, [1.5, -0.5]), {}, "the weight of 'b' should be a number of at least 0, found -0.5"),
        (({"a": 1, "b": 1}, [float("nan"), 1]), {}, "the weight of 'a' .* found nan"),
        (({"a": 1}, {"c": 1.0}), {}, "name sources of the plan, found 'c'"),
        (({"a": 1}, [1.0]), {"batch_size": 0}, "the batch size should be a whole number of at least 1, found 0"),
        (({"a": 1}, [1.0]), {"seed": -1}, "seed should be a whole number of at least 0"),
        (({"a": 1}, [1.0]), {"draw": "random"}, "draw should be one of carry, iid, found 'random'"),
        (({"a": 1}, [1.0]), {"co_locate": 2, "batch_size": 3}, r"multiple of co_locate \(2\), found 3"),
        (({"a": 1}, [1.0]), {"max_epochs": {"b": 1}}, "max_epochs should name sources of the plan .'a'., found 'b'"),
        (({"a": 1}, [1.0]), {"max_epochs": 0}, "max_epochs of 'a' should be a number above 0, found 0"),
        (({"a": 1}, [1.0]), {"exhausted": "again"}, "exhausted of 'a' should be one of"),
        (({"a": 1}, [1.0]), {"exhausted": "repeat", "max_epochs": 2}, "'a' has max_epochs 2 and exhausted='repeat'"),
        (({"a": 1}, [1.0]), {"unit": "tokens"}, "needs lengths"),
    ],
)
def test_bad_arguments(arguments, more, message):
    with pytest.raises(InputError, match=message):
        Plan(*arguments, **{"batch_size": 2, **more})


def test_bad_changes():
    plan = Plan({"a": 9, "b": 0}, [1.0, 0.0], batch_size=2)
    take(plan, 4)
    with pytest.raises(InputError, match=r"found 3; the steps before 4 are .*: use at_step=4 or later"):
        plan.set_weights([1.0, 0.0], 3)
    with pytest.raises(InputError, match="'b' has no rows"):
        plan.set_weights([0.5, 0.5])
    with pytest.raises(InputError, match="no weights"):
        next(Plan({"a": 9}, batch_size=2))


def test_a_missing_numba_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "mixwright.stream.plan.compiled", raising=False)
    with pytest.raises(ImportError, match=r"^this needs the package 'numba'; .*pip install 'mixwright\[stream\]'$"):
        Plan({"a": 9}, [1.0], batch_size=2, compiled=True)


def test_numba_is_not_loaded_for_the_first_rows():
    code = """
import sys
from mixwright import Plan
plan = Plan({"a": 9}, [1.0], batch_size=512)
steps = [next(plan) for _ in range(20)]
assert "numba" not in sys.modules
steps += [next(plan) for _ in range(400)]
assert "numba" in sys.modules
plain = Plan({"a": 9}, [1.0], batch_size=512, compiled=False)
assert all((next(plain).row == step.row).all() for step in steps)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_is_at_the_top():
    assert mixwright.Plan is Plan
    assert len(list(itertools.islice(mixwright.Plan({"a": 3}, [1.0], batch_size=1), 5))) == 5
