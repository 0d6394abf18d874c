import numpy as np
import pytest

from mixwright import GRAPE, DoGE, Observation

UNIFORM = np.full(3, 1 / 3)
PRODUCTS = np.array([[1.0, 0.0], [0.2, 0.6], [0.0, -0.4]])


def seen(losses=(2.0, 2.0), products=PRODUCTS, norms=(1.0, 1.0, 1.0), counts=(4, 4, 4), step=0):
    return Observation(step, 12, counts, target_loss=losses, target_gram=products, grad_sq_norm=norms)


def after(strategy, *path, prior=UNIFORM):
    state = strategy.init(prior.copy())
    for obs in path:
        state = strategy.update(state, obs)
    return state


def test_by_hand():
    """Rates of improvement under today's weights, then the targets' weights, then the sources' weights."""
    strategy, prior = GRAPE(0.5, 0.8), np.array([0.5, 0.3, 0.2])
    losses, norms = np.array([1.0, 3.0]), np.array([1.0, 2.0, 3.0])
    gains = PRODUCTS / (losses / 2.0) / 2.0  # by the mean loss and the mean squared norm
    z = np.exp(-0.8 * prior @ gains)
    z /= z.sum()
    raised = prior * np.exp(0.5 * gains @ z)
    state = after(strategy, seen(losses, norms=norms), prior=prior)
    np.testing.assert_allclose(strategy.target_weights(state), z, rtol=1e-13)
    np.testing.assert_allclose(strategy.weights(state), raised / raised.sum(), rtol=1e-13)
    assert strategy.remarks(state) == {"target_weights": pytest.approx(z.tolist())}


def test_with_equal_targets_it_is_doge():
    grape, doge = GRAPE(0.2, 0.0), DoGE(0.1, objective="targets")
    path = [seen(), seen(products=PRODUCTS[::-1], step=1)]
    np.testing.assert_allclose(grape.weights(after(grape, *path)), doge.weights(after(doge, *path)), rtol=1e-12)


def test_a_source_that_helps_the_lagging_target_gains():
    """Source 0 alone helps target 0, source 1 target 1 a little: the average wants 0, the worst target wants 1 too."""
    losses, products = [2.0, 2.0], np.array([[1.0, 0.0], [0.0, 0.3]])
    found = []
    for strategy in (GRAPE(0.1, 0.0), GRAPE(0.1, 1.0)):
        state = strategy.init(np.array([0.5, 0.5]))
        for step in range(300):
            state = strategy.update(state, seen(losses, products, [1.0, 1.0], [4, 4], step))
            found.append(strategy.weights(state))
    assert found[299][0] > 0.999
    # in the game both targets improve alike: alpha_0 = .3 alpha_1; the mean over the course is near the value of it
    assert np.mean(found[300:], 0)[1] == pytest.approx(1 / 1.3, abs=0.05)


def test_unknown_values_and_another_number_of_targets():
    strategy, hidden = GRAPE(), PRODUCTS.copy()
    hidden[1] = np.nan
    found = strategy.weights(after(strategy, seen(products=hidden, counts=(4, 0, 4))))
    assert found[1] == pytest.approx(1 / 3)  # it keeps its weight
    none = strategy.weights(after(strategy, seen(losses=(np.nan, np.nan))))
    np.testing.assert_allclose(none, UNIFORM)
    state = after(strategy, seen(), seen([1.0], [[1.0], [0.0], [0.0]], step=1))
    assert strategy.target_weights(state).tolist() == [1.0]


def test_limits():
    still = GRAPE(0.0, 0.0)
    np.testing.assert_allclose(still.weights(after(still, seen(), seen())), UNIFORM, rtol=1e-12)
    small, large = (GRAPE().weights(after(GRAPE(), seen(products=c * PRODUCTS, norms=[c] * 3))) for c in (1e-6, 1e6))
    np.testing.assert_allclose(small, large, rtol=1e-12)
