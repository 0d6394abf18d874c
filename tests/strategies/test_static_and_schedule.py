import numpy as np
import pytest

from mixwright import InputError, Observation, Schedule, Static
from mixwright.strategy import state_from_json, state_to_json

PRIOR = np.array([0.5, 0.3, 0.2])
OBS = Observation(step=4, batch_size=8, counts=[4, 0, 4])


def test_static_stays():
    for strategy, expected in ((Static(), PRIOR), (Static([0.1, 0.2, 0.7]), [0.1, 0.2, 0.7])):
        state = strategy.init(PRIOR)
        after = strategy.update(state, OBS)
        np.testing.assert_array_equal(strategy.weights(after), expected)
        strategy.weights(after)[0] = 9
        np.testing.assert_array_equal(strategy.weights(after), expected)
        assert strategy.init(PRIOR).weights is not PRIOR
        assert eval(repr(strategy)) == strategy
        back = state_from_json(strategy.init(PRIOR), state_to_json(state))
        np.testing.assert_array_equal(back.weights, state.weights)


def test_schedule_follows_the_step():
    table = {0: [1, 0, 0], 10: [0.5, 0.5, 0], 20: [0, 0, 1]}
    plain, lines = Schedule(table), Schedule(table, interpolate=True)
    assert [plain.weights_at(t).tolist() for t in (0, 9, 10, 99)] == [[1, 0, 0], [1, 0, 0], [0.5, 0.5, 0], [0, 0, 1]]
    assert lines.weights_at(5).tolist() == [0.75, 0.25, 0]
    assert lines.weights_at(15).tolist() == [0.25, 0.25, 0.5]
    assert lines.weights_at(99).tolist() == [0, 0, 1]
    state = lines.init(PRIOR)
    assert lines.weights(state).tolist() == [1, 0, 0]
    assert lines.weights(lines.update(state, OBS)).tolist() == [0.75, 0.25, 0]
    assert state.step == 0
    assert eval(repr(lines)) == lines
    assert state_from_json(lines.init(PRIOR), state_to_json(lines.update(state, OBS))).step == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Static([0.5, 0.6]), "sum to 1 within 1e-6, found the sum 1.1"),
        (lambda: Static([-0.5, 1.5]), "not negative"),
        (lambda: Static([0.5, 0.5]).init(PRIOR), r"one number per source \(3\), found 2"),
        (lambda: Schedule({}), "mapping from steps to weights"),
        (lambda: Schedule({5: [1, 0, 0]}), "begin at step 0, found 5"),
        (lambda: Schedule({0: [1, 0], 3: [1]}), r"weights of step 3 should have one number per source \(2\), found 1"),
        (lambda: Schedule({0: [1, 0], 3: [1, 1]}), "weights of step 3 should sum to 1"),
        (lambda: Schedule({0.5: [1, 0]}), "whole numbers of at least 0, found 0.5"),
        (lambda: Schedule({0: [1, 0]}).init(PRIOR), r"one number per source \(3\), found 2"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InputError, match=message):
        make()
