"""Steps on the simplex with floors: against a general solver, and the conditions of an optimum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mixwright.simplex import exponentiated_step, minimise_separable, raise_to_floor


def problem(seed):
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 9))
    curvature = rng.gamma(1.0, 1.0, k) + 1e-3
    if seed % 3 == 0:
        curvature[rng.random(k) < 0.4] = 0.0
    lower = rng.random(k) * rng.random() / k
    mass = float(rng.uniform(0.6, 1.0)) if seed % 5 == 0 else 1.0
    return rng.normal(0, 1, k), curvature, np.minimum(lower, mass / k), mass


@pytest.mark.parametrize("block", range(4))
def test_against_a_general_solver(block):
    for seed in range(100 * block, 100 * block + 100):
        linear, curvature, lower, mass = problem(seed)

        def value(w, linear=linear, curvature=curvature):
            return linear @ w + curvature @ w**2 / 2

        found = minimise_separable(linear, curvature, lower, mass)
        assert abs(found.sum() - mass) < 1e-12
        assert np.all(found >= lower - 1e-12)
        general = minimize(
            value,
            lower + (mass - lower.sum()) / lower.size,
            jac=lambda w, linear=linear, curvature=curvature: linear + curvature * w,
            method="SLSQP",
            bounds=[(low, mass) for low in lower],
            constraints={"type": "eq", "fun": lambda w, mass=mass: w.sum() - mass, "jac": np.ones_like},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        assert general.success, (seed, general.message)
        assert value(found) <= general.fun + 1e-9
        assert value(found) >= general.fun - 1e-7
        if np.all(curvature > 0):
            np.testing.assert_allclose(found, general.x, atol=1e-5)


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.floats(-8, 8))
def test_conditions_of_an_optimum_at_any_scale(seed, power):
    linear, curvature, lower, mass = problem(seed)
    linear, curvature = linear * 10**power, curvature * 10**power
    w = minimise_separable(linear, curvature, lower, mass)
    slope = linear + curvature * w
    above = w > lower + 1e-9
    level = slope[above].min() if above.any() else slope.min()
    tiny = 1e-7 * (np.abs(linear).max() + curvature.max())
    assert np.all(slope >= level - tiny)
    assert np.all(slope[above] <= level + tiny)


def test_equal_sources_share_equally():
    w = minimise_separable(np.array([-1.0, -1.0, 5.0]), np.zeros(3), np.full(3, 0.1))
    np.testing.assert_allclose(w, [0.45, 0.45, 0.1])


def test_a_floor_is_one_after_normalising():
    lower = np.array([0.1, 0.1, 0.1])
    w = raise_to_floor(np.array([0.0, 0.05, 0.95]), lower)
    np.testing.assert_allclose(w, [0.1, 0.1, 0.8])
    np.testing.assert_allclose(raise_to_floor(np.array([1.0, 0.0, 0.0]), np.full(3, 1 / 3)), np.full(3, 1 / 3))
    w = exponentiated_step(np.array([0.5, 0.5]), np.array([1000.0, -1000.0]), np.array([0.02, 0.02]))
    np.testing.assert_allclose(w, [0.98, 0.02])
    w = exponentiated_step(np.array([0.0, 1.0]), np.array([1000.0, -1000.0]), np.zeros(2))
    assert w.tolist() == [0.0, 1.0]


def test_what_is_left_out_stays_out_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(300):
        k = int(rng.integers(2, 8))
        weights = rng.dirichlet(np.full(k, 0.3))
        lower = np.full(k, 0.5 / k)
        weights[0] = lower[0] = 0.0
        raised = raise_to_floor(weights / weights.sum(), lower)
        assert raised[0] == 0
        assert abs(raised.sum() - 1) < 1e-12
        assert np.all(raised >= lower * (1 - 1e-12))
