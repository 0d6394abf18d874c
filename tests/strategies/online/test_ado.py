import json

import numpy as np
import pytest

from mixwright import ADO, Observation
from mixwright.strategies.online._power_law import POINTS, LossCourse, PowerLaws
from mixwright.strategy import state_from_json, state_to_json

PRIOR = np.array([0.5, 0.3, 0.2])
LAWS = PowerLaws(np.exp([0.6, 0.3, 0.9]), np.exp([1.5, 1.0, 2.0]), np.array([0.4, 0.06, 0.3]), 1.0)
COUNTS = [[27, 22, 15], [35, 18, 11], [31, 20, 13]]


def seen(loss, counts, step=0):
    return Observation(step, 64, counts, loss=loss)


def test_by_hand_with_known_laws(monkeypatch):
    """Three updates: the first is warm-up, the second and third follow the equations of the docstring."""
    monkeypatch.setattr(PowerLaws, "fit", lambda rows, loss: LAWS)
    strategy, state = ADO(warmup=2, refit=100, floor=0.0), ADO().init(PRIOR)
    credit, mean = PRIOR.copy(), PRIOR.copy()
    for t, counts in enumerate(np.array(COUNTS), 1):
        state = strategy.update(state, seen([3.0, 2.5, 3.5], counts, t))
        credit = 0.9 * credit + 0.1 * counts / 64
        if t == 1:
            np.testing.assert_array_equal(strategy.weights(state), PRIOR)
            continue
        rho = PRIOR * np.sqrt(credit) * LAWS.exponent * LAWS.height * (64.0 * t) ** -LAWS.exponent / (64 * t)
        rho /= rho.sum()
        np.testing.assert_allclose(strategy.weights(state), 0.1 * rho + 0.9 * mean, rtol=1e-12)
        mean = (1 - 1 / t) * mean + rho / t


# What the published code (`AdoSelector.update`, `curr_dist`) made of these rows and laws, from the start step on.
DRAWN = [[30, 21, 13], [29, 17, 18], [28, 24, 12], [31, 20, 13], [38, 10, 16], [25, 22, 17]]
EXPECTED = [
    [0.5054493083, 0.2843514296, 0.2101992621],
    [0.5205189687, 0.2385343924, 0.240946639],
    [0.525119632, 0.2180222059, 0.2568581621],
    [0.5256543915, 0.2071239693, 0.2672216392],
]


def test_the_published_code_makes_the_same_updates(monkeypatch):
    monkeypatch.setattr(PowerLaws, "fit", lambda rows, loss: LAWS)
    strategy, state, found = ADO(warmup=3, refit=100), ADO().init(PRIOR), []
    for step, counts in enumerate(DRAWN):
        state = strategy.update(state, seen([3.0, 3.0, 3.0], counts, step))
        found.append(strategy.weights(state))
    np.testing.assert_allclose(found[2:], EXPECTED, atol=1e-6)


def test_a_power_law_is_found():
    n = np.linspace(500, 30000, 60)
    laws = PowerLaws.fit(n, np.stack([2.2 + 9 * n**-0.3, 1.8 + 20 * n**-0.5, np.full(60, 3.0), 0.0 * n], 1))
    np.testing.assert_allclose(laws.floor[:2], [2.2, 1.8], atol=2e-3)
    np.testing.assert_allclose(laws.exponent[:2], [0.3, 0.5], atol=2e-3)
    np.testing.assert_allclose(laws.reducible(1e5)[:2], [9 * 1e5**-0.3, 20 * 1e5**-0.5], rtol=5e-3)
    assert laws.reducible(1e5)[2] < 1e-9  # nothing falls: nothing to learn
    assert np.isnan(laws.floor[3])  # losses of 0 have no logarithm


def test_outliers_do_not_matter_much():
    """A tenth of the losses is 30 % off; the L-BFGS fit of the same error finds the same within its tolerance."""
    n, rng = np.linspace(500, 30000, 60), np.random.default_rng(0)
    loss = 2.2 + 9 * n**-0.3
    loss[rng.choice(60, 6, replace=False)] *= 1.3
    laws = PowerLaws.fit(n, loss[:, None])
    np.testing.assert_allclose([laws.floor[0], laws.exponent[0]], [2.2, 0.3], atol=0.02)


def test_the_record_stays_small_and_keeps_every_row():
    course, rng = LossCourse.empty(2), np.random.default_rng(0)
    losses, counts = rng.gamma(5, 0.5, (1000, 2)), rng.integers(0, 9, (1000, 2)).astype(float)
    for i in range(1000):
        course = course.add(10.0 * (i + 1), losses[i], counts[i])
    assert course.rows.shape == (POINTS,)
    assert course.span == 16
    np.testing.assert_array_equal(course.seen.sum(0), counts.sum(0))
    np.testing.assert_allclose(course.loss.sum(0), (counts * losses).sum(0))
    rows, mean = course.points()
    np.testing.assert_allclose(rows[0], 10 * np.arange(1, 17).mean())
    np.testing.assert_allclose(mean[0], (counts * losses)[:16].sum(0) / counts[:16].sum(0))
    assert len(rows) == 63  # 62 of 16 observations and one of 8


def test_a_source_that_is_learnt_out_sinks_to_the_floor_and_the_prior_is_kept_otherwise():
    strategy, state, n = ADO(warmup=20, refit=10, credit=0.0), ADO().init(np.array([0.4, 0.4, 0.2, 0.0])), 0
    for step in range(400):
        n += 64
        falling = 1 + 8 * n**-0.5
        state = strategy.update(state, seen([falling, 3.0, falling, 9.0], [26, 26, 12, 0], step))
    found = strategy.weights(state)
    np.testing.assert_allclose(found[[0, 2]] / found[[0, 2]].sum(), [2 / 3, 1 / 3], atol=1e-3)
    assert found[1] == pytest.approx(0.01 * 0.1 + 0.9 * state.preference[1], rel=0.05)
    assert found[3] == 0
    assert strategy.remarks(state)["exponent"][0] == pytest.approx(0.5, abs=0.02)


def test_limits():
    equal, n = ADO(warmup=10, refit=5, credit=0.0).init(PRIOR), 0
    for step in range(60):
        n += 64
        equal = ADO(warmup=10, refit=5, credit=0.0).update(equal, seen([1 + 5 * n**-0.4] * 3, [32, 19, 13], step))
    np.testing.assert_allclose(ADO().weights(equal), PRIOR, rtol=1e-9)
    constant = ADO(warmup=4).init(PRIOR)
    for step in range(30):
        constant = ADO(warmup=4).update(constant, seen([0.0, 0.0, 0.0], [1, 1, 1], step))
    np.testing.assert_allclose(ADO().weights(constant), PRIOR)


def test_a_fit_between_two_checkpoints_is_in_the_state():
    """No cache beside the state: a resumed run has the laws until the next fit."""
    strategy, state = ADO(warmup=4, refit=50), ADO().init(PRIOR)
    for step in range(20):
        state = strategy.update(state, seen([3 - 0.05 * step, 2.0, 2 - 0.01 * step], [30, 20, 14], step))
    resumed = state_from_json(strategy.init(PRIOR), json.loads(json.dumps(state_to_json(state))))
    again = seen([2.0, 2.0, 1.8], [30, 20, 14], 20)
    np.testing.assert_array_equal(
        strategy.weights(strategy.update(resumed, again)), strategy.weights(strategy.update(state, again))
    )
