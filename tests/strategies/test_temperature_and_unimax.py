import numpy as np
import pytest

from mixwright import InputError, Mixture, Temperature, UniMax

PRIOR = np.array([0.9, 0.09, 0.01])


def weights(strategy, prior=PRIOR):
    return strategy.weights(strategy.init(prior))


def test_temperature_by_hand():
    np.testing.assert_allclose(weights(Temperature(1.0)), PRIOR)
    np.testing.assert_allclose(weights(Temperature(1.0, [9, 90, 1])), [0.09, 0.9, 0.01])
    raised = np.array([9.0, 90.0, 1.0]) ** 0.2
    np.testing.assert_allclose(weights(Temperature(5, [9, 90, 1])), raised / raised.sum())
    np.testing.assert_allclose(weights(Temperature(1e9)), np.full(3, 1 / 3), rtol=1e-6)
    assert weights(Temperature(0.001)).tolist() == [1, 0, 0]
    assert weights(Temperature(3.0, [1, 0, 1e300])).tolist()[1] == 0
    natural = Mixture({"a": 900, "b": 90, "c": 10}, Temperature(2.0), prior="natural").weights_for(0)
    np.testing.assert_allclose(natural, weights(Temperature(2.0, [900, 90, 10])))


def reference_unimax(sizes, budget, epochs):
    """The paper's loop, over sources from the smallest on."""
    given, left = {}, budget
    order = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for place, i in enumerate(order):
        share = left / (len(order) - place)
        given[i] = sizes[i] * epochs if share > sizes[i] * epochs else share
        left -= given[i]
    return np.array([given[i] for i in range(len(sizes))]) / sum(given.values())


def test_unimax():
    np.testing.assert_allclose(weights(UniMax([10, 500, 500], 100)), [0.1, 0.45, 0.45])
    np.testing.assert_allclose(weights(UniMax([10, 500, 500], 100, max_epochs=4)), [1 / 3] * 3)
    np.testing.assert_allclose(weights(UniMax([10, 20, 70], 100)), [0.1, 0.2, 0.7])  # all there is
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes, epochs = rng.lognormal(3, 2, 6), float(rng.uniform(0.5, 10))
        budget = float(rng.uniform(0.01, 1) * epochs * sizes.sum())
        w = weights(UniMax(sizes, budget, epochs), np.full(6, 1 / 6))
        np.testing.assert_allclose(w, reference_unimax(sizes, budget, epochs), rtol=1e-12)
        assert np.all(w * budget <= epochs * sizes * (1 + 1e-9))
        free = w * budget < epochs * sizes * (1 - 1e-9)
        np.testing.assert_allclose(w[free], w.max(), rtol=1e-9)  # as uniform as the caps allow


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(0), "temperature should be a number above 0, found 0"),
        (lambda: Temperature(2.0, [1, -1]), "sizes should be finite and not negative"),
        (lambda: Temperature(2.0, {"a": 1}), "one number per source in their order, found a mapping"),
        (lambda: weights(Temperature(2.0, [1, 1])), r"sizes should have one number per source \(3\), found 2"),
        (lambda: UniMax([1, 2], 0), "budget should be a number above 0"),
        (lambda: UniMax([1, 2], 2, 0), "max_epochs should be a number above 0"),
        (lambda: UniMax([10, 20], 90, 2), r"at most 2 epochs of all sources \(60\), found 90; .* max_epochs=3 or more"),
        (lambda: weights(UniMax([1, 2], 1)), r"one number per source \(3\), found 2"),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(InputError, match=message):
        make()
