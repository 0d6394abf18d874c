import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import counts_of, rows_by_source, simplex, take

from mixwright.errors import InputError
from mixwright.stream import Plan


def test_a_dropped_source_gives_all_its_rows_and_the_others_fill_its_slots():
    plan = Plan({"a": 1000, "b": 10, "c": 1000}, [0.5, 0.25, 0.25], batch_size=8, max_epochs={"b": 2})
    steps = take(plan, 60)
    counts = counts_of(steps, 3)
    assert (counts.sum(1) == 8).all()
    rows = rows_by_source(steps, 3)[1]
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    after = counts[20:].sum(0)
    assert after.tolist() == pytest.approx([320 * 2 / 3, 0, 320 / 3], abs=1)
    np.testing.assert_allclose(steps[-1].weights, [2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(steps[0].weights, [0.5, 0.25, 0.25])


@settings(max_examples=80)
@given(st.data(), st.sampled_from(["carry", "iid"]), st.integers(1, 9))
def test_limits_hold_and_dropping_ends_when_all_is_given(data, draw, batch):
    k = data.draw(st.integers(1, 6))
    sizes = {f"s{i}": data.draw(st.integers(1, 20)) for i in range(k)}
    caps = {name: data.draw(st.sampled_from([0.5, 1, 2.5])) for name in sizes}
    weights = data.draw(simplex(k))
    limits = np.array([int(sizes[n] * caps[n]) for n in sizes])
    if not limits[weights > 0].any():
        with pytest.raises(InputError, match="exhausted sources"):
            Plan(sizes, weights, batch_size=batch, draw=draw, max_epochs=caps)
        return
    plan = Plan(sizes, weights, batch_size=batch, draw=draw, max_epochs=caps)
    steps = take(plan, 400)
    counts = counts_of(steps, k).sum(0) if steps else np.zeros(k)
    assert (counts <= limits).all()
    assert len(steps) == limits[weights > 0].sum() // batch
    with pytest.raises(StopIteration):
        next(plan)
    for rows, size in zip(rows_by_source(steps, k), sizes.values(), strict=True):
        assert len(set(rows[:size])) == len(rows[:size])


def test_stop_ends_before_the_step_that_cannot_be_filled():
    plan = Plan({"a": 100, "b": 10}, [0.5, 0.5], batch_size=4, exhausted={"b": "stop"})
    steps = take(plan, 100)
    assert counts_of(steps, 2).sum(0).tolist() == [10, 10]
    assert plan.step == 5
    with pytest.raises(StopIteration):
        next(plan)
    assert plan.state_dict()["cursor"] == [10, 10]


def test_error_names_the_source():
    plan = Plan({"a": 100, "b": 10}, [0.5, 0.5], batch_size=4, exhausted={"b": "error"}, max_epochs={"b": 1.5})
    for _ in range(7):
        next(plan)
    with pytest.raises(InputError, match=r"the source 'b' is exhausted in step 7 \(1.5 epochs, 15 rows\)"):
        next(plan)
    plan.set_weights([1.0, 0.0])
    assert next(plan).source.tolist() == [0, 0, 0, 0]


def test_repeat_has_no_limit():
    plan = Plan({"a": 3, "b": 2}, [0.5, 0.5], batch_size=4, exhausted="repeat")
    assert len(take(plan, 50)) == 50


def test_weights_for_exhausted_sources_alone():
    plan = Plan({"a": 100, "b": 4, "c": 9}, [0.5, 0.5, 0], batch_size=4, max_epochs={"b": 1})
    take(plan, 6)
    with pytest.raises(InputError, match=r"positive weights only for exhausted sources .*: 'b'"):
        plan.set_weights([0, 1, 0], 9)
    later = Plan({"a": 100, "b": 4, "c": 9}, [0.5, 0.5, 0], batch_size=4, max_epochs={"b": 1})
    later.set_weights([0, 1, 0], 6)
    take(later, 6)
    with pytest.raises(InputError, match=r"step 6 has positive weights only for .* 'b'; give weight"):
        next(later)


def test_credit_of_a_dropped_source_is_shared_out():
    plan = Plan({"a": 999, "b": 9, "c": 999}, [0.4, 0.4, 0.2], batch_size=5, max_epochs={"b": 1})
    for _ in range(40):
        next(plan)
        credit = plan.state_dict()["credit"]
        assert sum(credit) == pytest.approx(0, abs=1e-9)
        assert np.abs(credit).max() < 4
    assert credit[1] == 0


def test_what_a_cap_lets_a_source_give():
    plan = Plan({"en": 10_000, "hi": 100}, [0.7, 0.3], batch_size=10, max_epochs={"hi": 2.2})
    ledger = plan.ledger(steps=100)
    assert ledger.notes == ("hi: asked .30, can give .22",)
    take(plan, 100)
    assert plan.ledger().notes == ("hi: asked .30, can give .22",)
    line = plan.ledger()["hi"]
    assert (line.rows, line.epochs, line.repeated, line.dropped) == (220, 2.2, 120, True)
    assert (line.asked, line.drawn) == (pytest.approx(0.3), pytest.approx(0.22))
    assert "asked .30, can give .22" in plan.ledger().table()
    assert Plan({"en": 9, "hi": 9}, [0.7, 0.3], batch_size=1, max_epochs=9).ledger(steps=10).notes == ()


def test_new_weights_for_a_source_that_has_just_given_its_last_row():
    plan = Plan({"a": 100, "b": 4}, [0.5, 0.5], batch_size=4, max_epochs={"b": 1})
    take(plan, 2)
    assert not plan.ledger()["b"].dropped
    with pytest.raises(InputError, match=r"only for exhausted sources .*: 'b'"):
        plan.set_weights([0, 1])


def test_a_cap_that_leaves_no_row():
    with pytest.raises(InputError, match=r"only for exhausted sources .*: 'b'"):
        Plan({"a": 100, "b": 4}, [0, 1], batch_size=4, max_epochs={"b": 0.2})


@pytest.mark.parametrize("draw", ["carry", "iid"])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_limit_that_is_lowered_below_what_was_given(draw, compiled):
    more = {"batch_size": 4, "draw": draw, "compiled": compiled}
    plan = Plan({"a": 100, "b": 5}, [0.5, 0.5], max_epochs={"b": 4}, **more)
    take(plan, 7)
    given = plan.ledger()["b"].rows
    assert given > 5
    less = Plan({"a": 100, "b": 5}, [0.5, 0.5], max_epochs={"b": 1}, **more)
    less.load_state_dict(plan.state_dict(), changed=True)
    assert not counts_of(take(less, 5), 2)[:, 1].any()
    assert less.ledger()["b"].rows == given
    less.set_weights([1, 0])
    assert len(take(less, 5)) == 5


def test_whole_epochs_are_exact_in_sources_of_any_size():
    size = 2**53 + 1
    assert Plan({"a": size}, [1.0], batch_size=1, max_epochs=3).settings.limits.tolist() == [3 * size]
