import numpy as np
import pytest

from mixwright import AMAR, DoReMi, InputError, Mixture, Observation
from mixwright.batch_losses import excess_losses
from mixwright.strategies import from_config

UNIFORM = np.full(3, 1 / 3)


def seen(excess, counts=(4, 4, 4), step=0):
    return Observation(step, 12, counts, excess_loss=excess)


def after(strategy, *path, prior=UNIFORM):
    state = strategy.init(prior.copy())
    for obs in path:
        state = strategy.update(state, obs)
    return state


def test_by_hand():
    """Algorithm 1, steps 7 and 8: the smoothed weights are where the next step starts."""
    strategy, prior = DoReMi(learning_rate=2.0, smoothing=0.1), np.array([0.5, 0.3, 0.2])
    first = prior * np.exp(2 * np.array([0.1, 0.4, 0.0]))
    first = 0.9 * first / first.sum() + 0.1 * prior
    second = first * np.exp(2 * np.array([0.3, 0.0, 0.2]))
    second = 0.9 * second / second.sum() + 0.1 * prior
    state = after(strategy, seen([0.1, 0.4, 0.0]), seen([0.3, 0.0, 0.2]), prior=prior)
    np.testing.assert_allclose(strategy.weights(state), second, rtol=1e-13)
    np.testing.assert_allclose(strategy.average(state), (first + second) / 2, rtol=1e-13)
    other = AMAR(2.0, 0.1)  # mixes the prior in where weights are read, not within the step
    assert not np.allclose(
        other.weights(after(other, seen([0.1, 0.4, 0.0]), seen([0.3, 0.0, 0.2]), prior=prior)), second
    )


TOKENS = [  # excess of one token per row, and the row's source: what the published code was fed with
    ([0.3, -0.1, 0.2, 0.6, 0.5, -0.4], [0, 0, 1, 1, 2, 2]),
    ([0.4, 0.1, 0.9, 0.2], [0, 0, 2, 2]),  # source 1 is absent: its last score counts
    ([-0.2, 0.7, 0.1], [0, 1, 2]),
]
WEIGHTS = [  # what it made of them (eta 1, c .001, float64), and the mean at the end
    [0.2950934780, 0.3788128509, 0.3260936711],
    [0.2511419779, 0.3744023764, 0.3744556456],
    [0.1771498499, 0.5311545203, 0.2916956299],
]
AVERAGE = [0.2411284353, 0.4281232492, 0.3307483155]


def test_the_published_code_makes_the_same_updates():
    strategy = DoReMi()
    state = strategy.init(UNIFORM.copy())
    for step, ((excess, source), expected) in enumerate(zip(TOKENS, WEIGHTS, strict=True)):
        found = excess_losses(excess, np.zeros(len(excess)), source, 3)
        state = strategy.update(state, seen(found.mean, np.bincount(source, minlength=3), step))
        np.testing.assert_allclose(strategy.weights(state), expected, atol=1e-6)
    np.testing.assert_allclose(strategy.average(state), AVERAGE, atol=1e-6)


def test_limits():
    equal = after(DoReMi(), *[seen([0.4, 0.4, 0.4])] * 5)
    np.testing.assert_allclose(DoReMi().weights(equal), UNIFORM, rtol=1e-12)
    still = DoReMi(learning_rate=0)
    np.testing.assert_allclose(still.weights(after(still, seen([9.0, 0.0, 0.0]))), UNIFORM, rtol=1e-12)
    least = DoReMi().weights(after(DoReMi(), *[seen([9.0, 0.0, 0.0])] * 50))
    np.testing.assert_allclose(least[1:], 1e-3 / 3, rtol=1e-2)  # the floor c u_i: it can come back
    alone = DoReMi().weights(after(DoReMi(), *[seen([9.0, 0.0, 0.0])] * 5, prior=np.array([0.0, 0.0, 1.0])))
    assert alone.tolist() == [0, 0, 1]


def test_a_source_that_was_never_seen_keeps_its_weight():
    found = DoReMi(smoothing=0.0).weights(after(DoReMi(smoothing=0.0), seen([0.2, np.nan, 0.1], (4, 0, 4))))
    assert found[1] == pytest.approx(1 / 3)
    assert found[0] / found[2] == pytest.approx(np.exp(0.1))


def test_a_training_without_a_reference_is_refused_before_the_first_step():
    with pytest.raises(InputError, match=r"DoReMi needs excess_loss .* found loss, planned; .*specialist"):
        Mixture(["a", "b"], DoReMi()).check(["loss", "planned"])
    with pytest.raises(InputError, match="strategy: learning_rate of DoReMi should be a number of at least 0, found"):
        from_config({"name": "doremi", "learning_rate": -1})
