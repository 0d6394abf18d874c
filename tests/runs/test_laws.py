"""What holds for every law, and hand-computed values for each."""

import importlib.util

import numpy as np
import pytest

from mixwright.errors import InputError
from mixwright.runs.laws import LAWS, Runs, law_named
from mixwright.runs.laws.law import FittedLaw
from mixwright.runs.laws.ridge import ridge

NEEDS = {"trees": "lightgbm", "gaussian_process": "sklearn", "ensemble": "sklearn", "exposure": "scipy"}
SIZES = np.array([0.5, 1.0, 2.0, 4.0])  # tokens that exist, in tokens of the training: exposures up to 2 epochs


def runs_of(response, n=60, noise=0.0, seed=0, rate=1 / SIZES):
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.full(4, 0.7), n)
    return Runs(W, response(W) + noise * rng.normal(size=n), np.ones(n), W * rate, np.diag(rate))


def smooth(W):
    return 2 + np.exp(-W @ [1.5, 0.5, 0.0, 0.2])


@pytest.fixture(params=list(LAWS))
def law(request):
    if request.param in NEEDS and importlib.util.find_spec(NEEDS[request.param]) is None:
        pytest.skip(f"{NEEDS[request.param]} is not installed")
    return law_named(request.param)


def test_a_law_predicts_mixtures_that_it_has_not_seen(law):
    fitted, other = law.fit(runs_of(smooth, noise=0.005)), runs_of(smooth, seed=1)
    explained = 1 - np.mean((fitted.predict(other.W) - other.y) ** 2) / np.var(other.y)
    assert explained > (0.5 if law.name == "trees" else 0.85)


def test_gradients_and_hessians_are_those_of_the_prediction(law):
    fitted = law.fit(runs_of(smooth, noise=0.01))
    if not fitted.smooth:
        assert not fitted.gradient(np.full((1, 4), 0.25)).any()
        return
    W = np.random.default_rng(2).dirichlet(np.ones(4), 5)
    np.testing.assert_allclose(fitted.gradient(W), FittedLaw.gradient(fitted, W), rtol=1e-4, atol=1e-5)
    if law.name in ("gaussian_process", "ensemble"):  # its Hessian is left to the line search
        return
    step = 1e-5 * np.eye(4)
    numeric = np.array([fitted.gradient((W[0] + e)[None])[0] - fitted.gradient((W[0] - e)[None])[0] for e in step])
    np.testing.assert_allclose(fitted.hessian(W[0]), numeric / 2e-5, rtol=1e-3, atol=1e-4)


def test_a_law_that_says_it_is_convex_is(law):
    fitted = law.fit(runs_of(smooth, noise=0.02))
    if not fitted.convex:
        assert law.name in ("gaussian_process", "ensemble", "trees", "log_exposure", "exposure")
        return
    rng = np.random.default_rng(3)
    A, B = rng.dirichlet(np.full(4, 0.3), 200), rng.dirichlet(np.full(4, 0.3), 200)
    middle = fitted.predict((A + B) / 2)
    assert (middle <= (fitted.predict(A) + fitted.predict(B)) / 2 + 1e-9).all()


def test_the_order_of_sources_does_not_matter(law):
    runs, order = runs_of(smooth, noise=0.01), np.array([2, 0, 3, 1])
    turned = Runs(runs.W[:, order], runs.y, runs.c, runs.E[:, order], np.diag(np.diag(runs.R)[order]))
    W = np.random.default_rng(4).dirichlet(np.ones(4), 10)
    loose = 2e-2 if law.name == "trees" else 2e-3
    np.testing.assert_allclose(law.fit(turned).predict(W[:, order]), law.fit(runs).predict(W), atol=loose)


def test_a_unit_of_the_loss_is_a_unit_of_the_prediction(law):
    runs = runs_of(smooth, noise=0.01)
    W = np.random.default_rng(5).dirichlet(np.ones(4), 10)
    once, more = law.fit(runs), law.fit(runs.with_losses(10 * runs.y))
    loose = 2e-2 if law.name == "trees" else 2e-3
    np.testing.assert_allclose(more.predict(W) / 10, once.predict(W), atol=loose)
    np.testing.assert_allclose(more.spread(W) / 10, once.spread(W), rtol=0.1)


def test_the_interval_holds_new_measurements(law):
    fitted, other = law.fit(runs_of(smooth, n=120, noise=0.05)), runs_of(smooth, n=300, noise=0.05, seed=6)
    low, high = fitted.interval(other.W, 0.9)
    assert (low < high).all()
    assert np.mean((low <= other.y) & (other.y <= high)) > 0.8


def test_a_fit_that_starts_from_another_gives_the_same(law):
    runs = runs_of(smooth, noise=0.01)
    once = law.fit(runs)
    W = np.random.default_rng(7).dirichlet(np.ones(4), 10)
    np.testing.assert_allclose(law.fit(runs, once).predict(W), once.predict(W), atol=1e-3)


def test_ridge_by_hand():
    X, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 3.0])
    # centred: rows +-(1/2, -1/2), losses -+1; X'X = [[.5, -.5], [-.5, .5]], its unit (trace / 2) is .5
    found = ridge(X, y, np.ones(2), penalty=1.0)
    # the direction (1, -1) / sqrt(2) has variance 1, so coefficients (-1, 1) are divided by 1 + .5
    assert found.coefficients == pytest.approx([-2 / 3, 2 / 3])
    assert found.intercept == 2.0


def test_weights_of_rows_count_as_repetitions():
    rng = np.random.default_rng(0)
    X, y = rng.random((12, 3)), rng.random(12)
    twice = ridge(np.vstack([X, X[:4]]), np.r_[y, y[:4]], np.ones(16), penalty=0.0)
    weighted = ridge(X, y, np.r_[np.full(4, 2.0), np.ones(8)], penalty=0.0)
    assert weighted.coefficients == pytest.approx(twice.coefficients)
    assert weighted.intercept == pytest.approx(twice.intercept)


def test_the_linear_law_finds_prices():
    prices = law_named("linear").fit(runs_of(lambda W: 1 + W @ [0.0, 1.0, 2.0, 3.0])).gradient(np.full((1, 4), 0.25))[0]
    assert np.diff(prices) == pytest.approx([1, 1, 1], abs=1e-3)  # a constant for all is in the intercept


def test_the_log_linear_law_finds_its_coefficients():
    fitted = law_named("log_linear").fit(runs_of(lambda W: 1 + np.exp(0.5 - W @ [2.0, 1.0, 0.0, 0.0]), n=200))
    assert fitted.t[2:] - fitted.t[0] == pytest.approx([2, 2], abs=0.15)
    assert fitted.predict(np.eye(4)[:1])[0] == pytest.approx(1 + np.exp(-1.5), abs=0.02)


def test_exposures_help_until_they_harm():
    def repeated(W):
        E = W * 100
        return 3 - 0.5 * (1 - np.exp(-0.3 * E)).sum(1) + 0.2 * np.logaddexp(0, np.log1p(E[:, 0]) - 3) ** 2

    fitted = law_named("exposure").fit(runs_of(repeated, n=150, rate=np.full(4, 100.0)))
    assert (fitted.benefits >= 0).all()
    assert (fitted.harms >= 0).all()
    assert fitted.harms[0] > 5 * fitted.harms[1:].max()
    at = np.array([[1.0, 5, 5, 5], [90.0, 5, 5, 5]])
    first = fitted.response(at)[0][:, 0]
    assert first[0] < 0 < first[1]
    assert not fitted.convex


def test_without_repetition_there_is_no_harm_and_a_certificate():
    fitted = law_named("exposure").fit(runs_of(smooth, rate=np.full(4, 0.01)))
    assert fitted.convex
    assert not fitted.harms.any()


def test_bimix_finds_what_is_like_the_target():
    fitted = law_named("bimix").fit(runs_of(lambda W: 2 * (W[:, 1] + 0.003) ** -0.1, n=100))
    assert fitted.affinities[1] > 0.9
    with pytest.raises(InputError, match="'bimix' needs losses above 0; found -"):
        law_named("bimix").fit(runs_of(lambda W: W[:, 0] - 1))
