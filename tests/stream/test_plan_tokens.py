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


@settings(deadline=None, max_examples=60)
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
