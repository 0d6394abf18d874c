import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import rows_by_source, same, simplex, take, through_json

from mixwright.errors import InputError
from mixwright.stream import Plan


def make(lengths, weights, **more):
    return Plan({n: len(v) for n, v in lengths.items()}, weights, batch_size=4, unit="tokens", lengths=lengths, **more)


@settings(max_examples=30)
@given(st.data())
def test_tokens_stay_within_about_one_longest_row(data):
    k = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    lengths = {f"s{i}": rng.integers(1, int(rng.integers(2, 2000)), int(rng.integers(1, 50))) for i in range(k)}
    weights = data.draw(simplex(k))
    plan, longest = (
        make(lengths, weights),
        max(v.max() for v, w in zip(lengths.values(), weights, strict=True) if w > 0),
    )
    drawn = np.zeros(k)
    for step in take(plan, 60):
        for i, row in zip(step.source, step.row, strict=True):
            drawn[i] += lengths[f"s{i}"][row]
        assert np.abs(drawn - weights * drawn.sum()).max() <= 1.5 * longest
    assert plan.state_dict()["tokens"] == drawn.tolist()
    assert [line.tokens for line in plan.ledger().lines] == drawn.tolist()


def test_resume_limits_and_the_ledger():
    lengths = {"a": np.arange(1, 101), "b": np.full(10, 50), "c": np.arange(5, 12)}
    arguments = ([0.4, 0.4, 0.2],)
    plan = make(lengths, *arguments, max_epochs={"b": 2})
    whole = take(plan, 50)
    assert sorted(rows_by_source(whole, 3)[1]) == sorted(2 * list(range(10)))
    for stop in (0, 7, 31):
        first = make(lengths, *arguments, max_epochs={"b": 2})
        take(first, stop)
        resumed = make(lengths, *arguments, max_epochs={"b": 2})
        resumed.load_state_dict(through_json(first.state_dict()))
        same(take(resumed, 50 - stop), whole[stop:])
        assert resumed.state_dict() == plan.state_dict()
    ledger = plan.ledger()
    assert ledger.unit == "tokens"
    assert ledger["b"].note.startswith("asked .40, can give .")
    assert sum(line.asked_amount for line in ledger.lines) == pytest.approx(sum(line.tokens for line in ledger.lines))
    json.dumps(ledger.to_json(), allow_nan=False)


def test_lengths_as_functions_and_numbers_count_tokens_of_row_plans():
    plan = Plan(
        {"a": 20, "b": 10}, [0.5, 0.5], batch_size=4, lengths={"a": lambda rows: rows + 1, "b": 7}, max_epochs={"b": 1}
    )
    steps = take(plan, 12)
    a, b = rows_by_source(steps, 2)
    assert plan.ledger()["a"].tokens == sum(a) + len(a)
    assert plan.ledger()["b"].tokens == 7 * len(b)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ({"a": [1, 2]}, "found none for 'b'"),
        ({"a": [1, 2], "b": [1, 2]}, r"lengths of 'b' should be one per row \(3\), found shape \(2,\)"),
        ({"a": [1, 0], "b": 5}, "lengths of 'a' should be whole numbers of at least 1, found 0"),
        ({"a": [1.5, 2], "b": 5}, "lengths of 'a' should be whole numbers of at least 1, found float64"),
        ({"a": [1, 2], "b": 5, "c": 1}, "lengths should name sources of the plan"),
        ({"a": [1, 2], "b": lambda rows: [0] * len(rows)}, "lengths of 'b' .* found 0"),
        ({"a": [1, 2], "b": lambda rows: 1}, r"function of 'b' should return one number per row"),
    ],
)
def test_bad_lengths(lengths, message):
    with pytest.raises(InputError, match=message):
        take(Plan({"a": 2, "b": 3}, [0.5, 0.5], batch_size=4, unit="tokens", lengths=lengths), 2)


@settings(max_examples=40)
@given(st.data())
def test_compiled_and_numpy_give_the_same_rows_in_tokens(data):
    pytest.importorskip("numba", reason="the compiled plan needs numba")
    k = data.draw(st.integers(1, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    lengths = {f"s{i}": rng.integers(1, int(rng.integers(2, 2000)), int(rng.integers(2, 60))) for i in range(k)}
    ways = data.draw(st.lists(st.sampled_from(["array", "function", "number"]), min_size=k, max_size=k))
    sizes = {name: len(values) for name, values in lengths.items()}
    for way, (name, values) in zip(ways, list(lengths.items()), strict=True):
        lengths[name] = {"array": values, "function": values.__getitem__, "number": int(values[0])}[way]
    caps = {n: data.draw(st.sampled_from([0.5, 1, 30])) for n in data.draw(st.lists(st.sampled_from(list(sizes))))}
    weights, changes = data.draw(simplex(k)), {t: data.draw(simplex(k)) for t in (7, 8, 40)}
    unit, stop, found = data.draw(st.sampled_from([1, 2])), data.draw(st.integers(0, 60)), []
    for compiled in (False, True):
        more = {"batch_size": 6, "co_locate": unit, "max_epochs": caps, "unit": "tokens", "lengths": lengths}
        steps, plan = [], None
        try:
            plan = Plan(sizes, weights, **more, compiled=compiled)
            for t, changed in changes.items():
                plan.set_weights(changed, t)
            steps += take(plan, stop)
            again = Plan(sizes, weights, **more, compiled=not compiled)
            again.load_state_dict(through_json(plan.state_dict()))
            steps += take(again, 60 - stop)
            found.append((steps, json.dumps(again.state_dict())))
        except InputError as error:
            found.append((steps, str(error)))
    same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("k", [1, 3, 2000])
def test_many_steps_in_tokens_are_the_same_compiled_and_not(k):
    pytest.importorskip("numba", reason="the compiled plan needs numba")
    rng = np.random.default_rng(k)
    lengths = {f"s{i}": rng.integers(1, 3000, 500) for i in range(k)}
    weights = rng.dirichlet(np.full(k, 0.5))
    plans = [
        Plan(dict.fromkeys(lengths, 500), weights, batch_size=32, unit="tokens", lengths=lengths, compiled=compiled)
        for compiled in (True, False)
    ]
    same(take(plans[0], 150), take(plans[1], 150))
    assert plans[0].state_dict() == plans[1].state_dict()
    assert plans[0].state_dict(100) == plans[1].state_dict(100)
