import numpy as np
import pytest

from mixwright import ODM, InputError, Observation
from mixwright.strategies.online.odm import exploration

UNIFORM = np.full(3, 1 / 3)


def seen(loss, planned, counts=(4, 4, 4), step=0):
    return Observation(step, 12, counts, loss=loss, planned=planned)


def test_by_hand():
    """Algorithm 1 with k = 2: eps_0 = eps_1 = 1/2, eps_2 = .416, eps_3 = .340; a = .5."""
    strategy = ODM(decay=0.5)
    state = strategy.init(np.array([0.5, 0.5]))
    state = strategy.update(state, seen([3.0, 2.0], [0.5, 0.5], (4, 4)))
    np.testing.assert_allclose(strategy.weights(state), [0.5, 0.5])
    np.testing.assert_allclose(state.rewards, [3.0, 2.0])  # half of 3 / .5 and 2 / .5
    eps = [0.5, 0.5, np.sqrt(np.log(2) / 4), np.sqrt(np.log(2) / 6)]
    state = strategy.update(state, seen([2.0, np.nan], [0.5, 0.5], (8, 0)))  # the second is not drawn: it keeps 2
    expected = np.exp(eps[1] * np.array([3.5, 2.0]))
    expected = (1 - 2 * eps[2]) * expected / expected.sum() + eps[2]
    np.testing.assert_allclose(strategy.weights(state), expected, rtol=1e-13)
    state = strategy.update(state, seen([2.0, 2.0], expected, (4, 4)))
    expected = np.exp(eps[2] * (0.5 * np.array([3.5, 2.0]) + 0.5 * 2.0 / expected))
    expected = (1 - 2 * eps[3]) * expected / expected.sum() + eps[3]
    np.testing.assert_allclose(strategy.weights(state), expected, rtol=1e-13)


def test_exploration_is_uniform_for_k_ln_k_updates_and_the_floor_afterwards():
    assert exploration(3, 0) == exploration(3, 3) == 1 / 3  # 3 ln 3 = 3.3
    assert exploration(3, 4) == pytest.approx(np.sqrt(np.log(3) / 12))
    assert exploration(1, 50) == 0
    strategy = ODM()
    state = strategy.init(UNIFORM.copy())
    for step in range(200):
        state = strategy.update(state, seen([9.0, 0.1, 0.1], strategy.weights(state), step=step))
        assert strategy.weights(state).min() >= exploration(3, step + 1) - 1e-12


EXP3 = [  # summed rewards and probabilities of the published code (`Exp3WeightUpdater.group_update`) at 5 updates
    ([0.96, 0.63, 0.0], [0.3333333333, 0.3333333333, 0.3333333333]),
    ([1.89, 0.63, 0.78], [0.3333333333, 0.3333333333, 0.3333333333]),
    ([1.89, 1.23, 1.53], [0.3333333333, 0.3333333333, 0.3333333333]),
    ([2.79, 1.83, 2.25], [0.3386001215, 0.3287343328, 0.3326655457]),
    ([3.6464675013, 1.83, 2.25], [0.3548875824, 0.3192612487, 0.3258511688]),
]


def test_the_published_exp3_makes_the_same_weights_of_the_same_rewards():
    """It sums L / (10 pi) where the paper averages L / pi; from the rewards on the two agree."""

    class Code(ODM):
        def rewards(self, state, obs):
            return np.array(EXP3[state.updates][0])

    state = Code().init(UNIFORM.copy())
    for _, expected in EXP3:
        state = Code().update(state, seen([1.0, 1.0, 1.0], UNIFORM))
        np.testing.assert_allclose(Code().weights(state), expected, atol=1e-6)


def test_limits():
    prior, strategy = np.array([0.6, 0.4, 0.0]), ODM()
    state = strategy.init(prior.copy())
    for step in range(50):  # equal rewards, L_i = pi_i: the prior; and what it leaves out stays out
        state = strategy.update(state, seen(strategy.weights(state), strategy.weights(state), (4, 4, 0), step))
    np.testing.assert_allclose(strategy.weights(state), prior, rtol=1e-12)
    with pytest.raises(InputError, match="decay of ODM should be below 1"):
        ODM(1.0)
    with pytest.raises(InputError, match="ODM needs planned"):
        ODM().update(state, Observation(0, 8, [1, 1, 1], loss=[1.0, 1.0, 1.0]))
