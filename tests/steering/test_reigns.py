"""Another strategy by hand: it starts from the weights in force, and the former one goes on where it was."""

import json

import numpy as np
import pytest

from mixwright import GroupDRO, Mixture, Observation, Schedule, Static
from mixwright.errors import InputError
from mixwright.steering.hand import Hand

NAMES = ("code", "books", "web")
DRO = {"name": "GroupDRO", "learning_rate": 0.5}
LOSSES = np.random.default_rng(0).uniform(1, 3, (40, 3))


def mixture(strategy=None):
    m = Mixture(NAMES, strategy or GroupDRO(learning_rate=0.1), lag=3)
    m.check({"loss"})
    return m


def weights_of(m, steps, orders=(), first=0):
    """Go through steps with an observation after each; orders are (the step before which one is made, hand, at)."""
    found = []
    for step in range(first, steps):
        for made, hand, at in orders:
            if made == step:
                m.steer(hand, at)
        found.append(m.weights_for(step))
        m.observe(Observation(step, 3, [1, 1, 1], loss=LOSSES[step]))
    return np.array(found)


LATE = [(4, Hand(strategy=DRO), 8), (11, Hand(pins={"web": 0.1}, strategy=DRO), 14), (15, Hand(), 20)]
EARLY = [(0, hand, at) for _, hand, at in LATE]


def test_it_takes_over_at_its_step_however_early_that_was_ordered():
    late, early = weights_of(mixture(), 30, LATE), weights_of(mixture(), 30, EARLY)
    np.testing.assert_array_equal(late, early)
    undisturbed = weights_of(mixture(), 30)
    np.testing.assert_array_equal(late[:8], undisturbed[:8])
    np.testing.assert_array_equal(late[8], undisturbed[7])  # where it starts
    assert np.abs(late[9:14] - undisturbed[9:14]).max() > 0.01
    np.testing.assert_allclose(late[14:20, 2], 0.1)


def test_the_observations_up_to_its_step_go_to_the_former_one():
    m = mixture()
    found = weights_of(m, 10, [(0, Hand(strategy=DRO), 5)])
    dro, state = GroupDRO(learning_rate=0.5), None
    state = dro.init(found[4])
    for step in range(3, 7):  # steps whose weights begin after 5
        state = dro.update(state, Observation(step, 3, [1, 1, 1], loss=LOSSES[step]))
    np.testing.assert_allclose(found[9], dro.weights(state))


def test_the_run_s_own_strategy_goes_on_where_it_was():
    m, own = mixture(), GroupDRO(learning_rate=0.1)
    found = weights_of(m, 30, LATE)
    state = own.init(np.full(3, 1 / 3))
    for step in (*range(6), *range(18, 24)):
        state = own.update(state, Observation(step, 3, [1, 1, 1], loss=LOSSES[step]))
    np.testing.assert_allclose(found[26], own.weights(state))


@pytest.mark.parametrize("stop", range(1, 25))
def test_a_run_that_goes_on_has_the_weights_of_an_undisturbed_one(stop):
    whole, m = weights_of(mixture(), 30, EARLY), mixture()
    weights_of(m, stop, EARLY)
    again = mixture()
    again.load_state_dict(json.loads(json.dumps(m.state_dict())))
    assert again.state_dict() == m.state_dict()
    np.testing.assert_array_equal(weights_of(again, 30, first=stop), whole[stop:])


def test_a_schedule_keeps_its_steps_before_the_other_one():
    m = mixture(Schedule({0: [1, 0, 0], 6: [0, 1, 0], 7: [0, 0, 1]}))
    found = weights_of(m, 12, [(0, Hand(strategy={"name": "Static"}), 7)])
    np.testing.assert_array_equal(found, [[1, 0, 0]] * 6 + [[0, 1, 0]] * 6)


def test_what_the_run_cannot_feed_or_has_decided_is_refused():
    m = mixture(Static())
    with pytest.raises(InputError, match="PiKE needs grad_sq_norm, grad_variance in each observation, found loss"):
        m.steer(Hand(strategy={"name": "PiKE"}))
    weights_of(m, 6)
    with pytest.raises(InputError, match="another strategy should begin at step 8 or later"):
        m.steer(Hand(strategy=DRO), 7)
    assert not list(m.hands)
    assert m.steer(Hand(strategy=DRO), 8) == 8


@pytest.mark.parametrize("damage", [{}, {"turns": [[3, "nobody"]], "resting": {}}, {"turns": 3, "resting": {}}])
def test_a_damaged_state_changes_nothing(damage):
    m = mixture()
    before = m.state_dict()
    with pytest.raises(InputError):
        m.load_state_dict({**before, "reigns": damage})
    assert m.state_dict() == before
