import json
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from mixwright import AlarmWarning, InputError, Mixture, Observation, PiKE

PRIOR = np.array([0.5, 0.3, 0.2])
NORMS, VARIANCES, BATCH = np.array([1.0, 2.0, 0.5]), np.array([8.0, 4.0, 0.0]), 4
RULES = ("exponentiated", "restoring", "optimal")


def seen(norms=NORMS, variances=VARIANCES, step=0, counts=(4, 4, 4), batch=BATCH):
    return Observation(step, batch, list(counts)[: len(norms)], grad_sq_norm=norms, grad_variance=variances)


def after(strategy, *observations, prior=PRIOR):
    state = strategy.init(prior)
    for obs in observations:
        state = strategy.update(state, obs)
    return strategy.weights(state)


def example_closed_form(theta, s, eta, b):
    """Example 2.1 of the paper: L_i = theta_i^2 / 2 in the plane, noise N(0, s_i^2 I)."""
    first = (s[1] ** 2 - s[0] ** 2) / b + (theta[0] ** 2 - theta[1] ** 2) / eta + theta[1] ** 2
    return float(np.clip(first / (theta[0] ** 2 + theta[1] ** 2), 0, 1))


def test_the_optimal_rule_is_the_papers_closed_form():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(500):
        theta, s = rng.normal(0, 2, 2), rng.gamma(2, 1, 2)
        eta, b = float(np.exp(rng.uniform(-3, 1))), int(rng.integers(1, 64))
        rule = PiKE(zeta1=eta, zeta2=eta**2, rule="optimal", floor=0.0)
        found = after(rule, seen(theta**2, 2 * s**2, counts=(5, 5), batch=b), prior=np.array([0.5, 0.5]))
        expected = example_closed_form(theta, s, eta, b)
        np.testing.assert_allclose(found, [expected, 1 - expected], atol=1e-10)
        inside += 0 < expected < 1
    assert inside > 50


def toy_loss(rule, eta=0.4, b=16, steps=12, runs=200):
    """Mean loss of the toy at the end of trainings whose mixture follows the rule."""
    s, total = np.array([1.0, 0.3]), 0.0
    for run in range(runs):
        rng, theta = np.random.default_rng(run), np.array([3.0, 1.5])
        state = rule.init(np.array([0.5, 0.5]))
        for step in range(steps):
            state = rule.update(state, seen(theta**2, 2 * s**2, step, (8, 8), b))
            w = rule.weights(state)
            noise = rng.normal(size=2) * np.sqrt(w @ s**2 / b)
            theta = theta - eta * (w * theta + noise)
        total += float(theta @ theta) / 2
    return total / runs


def static_loss(first, eta=0.4, b=16, steps=12):
    """Expected loss of the toy with constant weights, exactly: the recursion of the second moments."""
    w, square, s = np.array([first, 1 - first]), np.array([9.0, 2.25]), np.array([1.0, 0.3])
    for _ in range(steps):
        square = (1 - eta * w) ** 2 * square + eta**2 * (w @ s**2) / b
    return float(square.sum()) / 2


def test_training_the_toy_falls_below_the_best_static_mixture():
    eta = 0.4
    best = min(static_loss(first) for first in np.linspace(0, 1, 1001))
    found = toy_loss(PiKE(zeta1=eta, zeta2=eta**2, rule="optimal", floor=0.0))
    assert found < 0.95 * best


def test_the_exponentiated_rule_by_hand():
    rule = PiKE(zeta1=0.5, zeta2=0.2, rule="exponentiated", floor=0.0)
    raised = PRIOR * np.exp([0.3, 0.9, 0.25])  # .5 |g|^2 - .2 sigma^2 / 8
    np.testing.assert_allclose(after(rule, seen()), raised / raised.sum(), rtol=1e-14)
    twice = PRIOR * np.exp([0.6, 1.8, 0.5])
    np.testing.assert_allclose(after(rule, seen(), seen(step=1)), twice / twice.sum(), rtol=1e-14)


def test_the_restoring_rule_by_hand():
    rule = PiKE(zeta1=0.5, zeta2=0.2, rule="restoring", gamma=3.0, floor=0.0)
    exponent = [(0.5 - 0.6 * 0.5) * 1 - 0.2, (0.5 - 0.6 * 0.3) * 2 - 0.1, (0.5 - 0.6 * 0.2) * 0.5]
    raised = PRIOR * np.exp(exponent)
    np.testing.assert_allclose(after(rule, seen()), raised / raised.sum(), rtol=1e-14)


def test_the_restoring_rule_settles_at_the_optimum():
    numbers = {"zeta1": 0.3, "zeta2": 0.3, "variance": False, "floor": 0.0}
    norms = np.array([1.0, 0.9, 0.8])
    path = [seen(norms, None, step) for step in range(500)]
    settled = after(PiKE(rule="restoring", **numbers), *path)
    optimum = after(PiKE(rule="optimal", **numbers), path[0])
    np.testing.assert_allclose(optimum, [0.405, 0.339, 0.256], atol=1e-3)
    np.testing.assert_allclose(settled, optimum, atol=1e-6)
    exponentiated = after(PiKE(rule="exponentiated", **numbers), *path)
    assert exponentiated[0] > 0.999


def test_known_optima_of_the_bound():
    norms = np.array([1.0, 0.9, 0.8])
    for ratio, expected in ((1.0, [0.41, 0.34, 0.26]), (0.2, [0.74, 0.26, 0.0]), (0.1, [1.0, 0.0, 0.0])):
        rule = PiKE(zeta1=1.0, zeta2=ratio, rule="optimal", variance=False, floor=0.0)
        np.testing.assert_allclose(after(rule, seen(norms, None)), expected, atol=0.006)


def test_the_optimal_rule_with_floors_against_a_general_solver():
    rng = np.random.default_rng(1)
    for _ in range(60):
        norms, variances = rng.gamma(1, 1, 5), rng.gamma(1, 4, 5)
        rule = PiKE(zeta1=0.7, zeta2=1.1, rule="optimal", gamma=1.5, floor=0.05)
        linear, curvature = 1.1 * variances / 16 - 0.7 * norms, 1.1 * 1.5 * norms
        general = minimize(
            lambda w, a=linear, c=curvature: a @ w + c @ w**2 / 2,
            np.full(5, 0.2),
            method="SLSQP",
            bounds=[(0.05, 1)] * 5,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-13},
        )
        found = after(rule, seen(norms, variances, counts=[4] * 5, batch=8), prior=np.full(5, 0.2))
        np.testing.assert_allclose(found, general.x, atol=2e-5)


@pytest.mark.parametrize("rule", RULES)
def test_without_numbers_the_scale_of_gradients_does_not_matter(rule):
    rng = np.random.default_rng(2)
    stats = [(rng.normal(1, 1, 3), rng.gamma(1, 9, 3)) for _ in range(20)]
    plain = after(PiKE(rule=rule), *(seen(g, v, t) for t, (g, v) in enumerate(stats)))
    assert np.abs(plain - PRIOR).max() > 0.01
    for scale in (2.0**-40, 2.0**60):
        scaled = after(PiKE(rule=rule), *(seen(g * scale, v * scale, t) for t, (g, v) in enumerate(stats)))
        np.testing.assert_allclose(scaled, plain, rtol=1e-12)


@pytest.mark.parametrize("k", [3, 10, 100])
def test_without_numbers_the_restoring_rule_settles_for_any_number_of_sources(k):
    """Also where two of them have next to all the gradient."""
    norms, zeros = np.r_[5.0 * k, 4.5 * k, np.ones(k - 2)], np.zeros(k)
    strategy, optimal = PiKE(rule="restoring"), PiKE(rule="optimal")
    state, best = strategy.init(np.full(k, 1 / k)), optimal.init(np.full(k, 1 / k))
    for step in range(600):
        obs = Observation(step, 512, np.full(k, 5), grad_sq_norm=norms, grad_variance=zeros)
        state = strategy.update(state, obs)
    best = optimal.update(best, obs)
    np.testing.assert_allclose(strategy.weights(state), optimal.weights(best), atol=1e-6)


@pytest.mark.parametrize("rule", RULES[:2])
def test_without_numbers_one_update_moves_little(rule):
    rng = np.random.default_rng(3)
    strategy = PiKE(rule=rule, move=0.25, floor=0.0)
    state = strategy.init(PRIOR)
    largest = 0.0
    for step in range(50):
        norms = rng.gamma(0.1, 1.0, 3) * 10.0 ** rng.integers(-6, 6)  # decades up and down, as in a warm-up
        then = strategy.update(state, seen(norms, rng.gamma(1, 1, 3), step))
        moved = np.log(strategy.weights(then)) - np.log(strategy.weights(state))
        largest, state = max(largest, float(np.ptp(moved))), then
    assert 0.2 < largest <= 0.25 + 1e-9


def test_permuted_sources_get_permuted_weights():
    order = [2, 0, 1]
    for rule in RULES:
        straight = after(PiKE(rule=rule), seen())
        turned = after(PiKE(rule=rule), seen(NORMS[order], VARIANCES[order]), prior=PRIOR[order])
        np.testing.assert_allclose(turned, straight[order], rtol=1e-12)


def test_averages_are_of_numerators_and_of_denominators():
    strategy = PiKE(decay=0.5, variance=False)
    state = strategy.init(PRIOR)
    for step, (norm, count) in enumerate([(4.0, 2), (-1.0, 6), (np.nan, 3), (2.0, 4)]):
        state = strategy.update(state, seen([norm, 1, 1], None, step, (count, 1, 1)))
    expected = (4 * 2 / 8 - 1 * 6 / 4 + 2 * 4) / (2 / 8 + 6 / 4 + 4)
    assert strategy.bound(state, BATCH).gain[0] == pytest.approx(expected, rel=1e-12)
    for step in range(4, 140):  # nothing is left of an average that nothing is added to
        state = strategy.update(state, seen([np.nan, 1, 1], None, step))
    assert np.isnan(strategy.bound(state, BATCH).gain[0])


@pytest.mark.parametrize("rule", RULES)
def test_an_unknown_source_keeps_its_weight(rule):
    for numbers in ({}, {"zeta1": 0.5, "zeta2": 0.2}):
        strategy = PiKE(rule=rule, **numbers)
        for obs in (seen([1.0, np.nan, 0.5]), seen([1.0, 7.0, 0.5], counts=(4, 0, 4)), seen(NORMS, [8, np.nan, 0])):
            weights = after(strategy, obs)
            assert weights[1] == pytest.approx(0.3, rel=1e-12)
            assert abs(weights[0] - 0.5) > 1e-3
        unknown = after(strategy, seen([np.nan] * 3))
        np.testing.assert_allclose(unknown, PRIOR, rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("floor", "usual"), [(None, 0.3), (0.02, 0.2), (0.05, 1 / 3)])
def test_a_source_that_is_too_small_to_be_measured_comes_back(rule, floor, usual):
    strategy = PiKE(rule=rule, floor=floor)
    state = strategy.init(PRIOR)
    for step in range(40):  # little to gain: down to its floor
        state = strategy.update(state, seen([1.0, 0.01, 0.9], [0.0] * 3, step))
    least = strategy.weights(state)
    assert least[1] == pytest.approx(state.floor[1], rel=0.3)
    for step in range(40, 90):  # too few rows
        state = strategy.update(state, seen([1.0, np.nan, 0.9], [0.0, np.nan, 0.0], step))
        weights = strategy.weights(state)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= state.floor - 1e-12).all()
        assert weights[1] <= least[1] * np.exp(strategy.move) + 1e-12
        least = weights
    assert least[1] == pytest.approx(usual, rel=1e-6)
    for step in range(90, 130):  # measured again: the rule has it
        state = strategy.update(state, seen([1.0, 0.01, 0.9], [0.0] * 3, step))
    assert strategy.weights(state)[1] == pytest.approx(state.floor[1], rel=0.3)


def test_two_sources_that_cannot_be_measured_come_back_and_one_without_a_floor_does_not():
    strategy = PiKE(rule="restoring", floor=0.0)
    state = strategy.init(PRIOR)._replace(weights=np.array([0.98, 0.01, 0.01]))
    nothing = strategy.update(state, seen([1.0, np.nan, np.nan], [0.0, np.nan, np.nan]))
    np.testing.assert_allclose(strategy.weights(nothing), [0.98, 0.01, 0.01])
    strategy = PiKE(rule="restoring")
    state = strategy.init(PRIOR)._replace(weights=np.array([0.95, 0.03, 0.02]))
    for step in range(20):
        state = strategy.update(state, seen([1.0, np.nan, np.nan], [0.0, np.nan, np.nan], step))
    np.testing.assert_allclose(strategy.weights(state), PRIOR)


def test_an_average_of_long_ago_is_not_used():
    strategy = PiKE(decay=0.7)
    state = strategy.update(strategy.init(PRIOR), seen([1.0, 5.0, 1.0], [1.0] * 3, 0, (4, 2, 4)))
    assert strategy.bound(state, BATCH).gain[1] == pytest.approx(5)
    known = []
    for step in range(1, 12):  # .6 of a row is left, then .7 times as much: below .03 from the 9th update on
        state = strategy.update(state, seen([1.0, np.nan, 1.0], [1.0, np.nan, 1.0], step, (4, 0, 4)))
        known.append(not np.isnan(strategy.bound(state, BATCH).gain[1]))
    assert known == [True] * 8 + [False] * 3


def test_a_source_without_a_gradient():
    rule = PiKE(zeta1=1.0, zeta2=1.0, rule="optimal", floor=0.04)
    weights = after(rule, seen([1.0, -0.5, 1.0], [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(weights, [0.48, 0.04, 0.48])
    np.testing.assert_allclose(after(rule, seen([-1.0, -0.5, 0.0])), PRIOR)
    flat = PiKE(zeta1=1.0, zeta2=1.0, rule="exponentiated", floor=0.0, variance=False)
    raised = PRIOR * np.exp([0.0, 0.0, 1.0])
    np.testing.assert_allclose(after(flat, seen([-9.0, 0.0, 1.0], None)), raised / raised.sum())


def test_a_source_at_the_floor_comes_back_at_once():
    strategy = PiKE(zeta1=1.0, zeta2=0.0, floor=0.05)
    state = strategy.init(np.array([0.5, 0.5]))
    for step in range(100):
        state = strategy.update(state, seen([1.0, 0.0], None, step, (4, 4)))
    assert strategy.weights(state).tolist() == pytest.approx([0.95, 0.05])
    state = strategy.update(state, seen([0.0, 1.0], None, 100, (4, 4)))
    assert strategy.weights(state)[1] > 0.1


def test_floors():
    assert after(PiKE(), prior=np.array([0.9, 0.1, 0.0])).tolist() == [0.9, 0.1, 0.0]
    path = [seen([9.0, 0.0, 0.0], [0.0] * 3, step) for step in range(60)]
    np.testing.assert_allclose(after(PiKE(), *path), [0.95, 0.03, 0.02], rtol=1e-9)  # a tenth of the prior
    np.testing.assert_allclose(after(PiKE(floor=0.1), *path), [0.8, 0.1, 0.1], rtol=1e-9)
    np.testing.assert_allclose(after(PiKE(floor=0.25)), [0.475, 0.275, 0.25], atol=0.02)
    with pytest.raises(InputError, match=r"floor of PiKE should be at most 1/3 for 3 sources, found 0.4"):
        PiKE(floor=0.4).init(PRIOR)


def test_needs_follow_the_terms():
    assert PiKE().needs == {"grad_sq_norm", "grad_variance"}
    assert PiKE(variance=False).needs == {"grad_sq_norm"}
    assert PiKE(zeta1=1.0, zeta2=0.0).needs == {"grad_sq_norm"}
    assert PiKE().apply == {"sampling"}
    with pytest.raises(InputError, match="PiKE needs grad_variance in each observation"):
        Mixture(["a", "b"], PiKE()).check(["counts", "grad_sq_norm"])
    with pytest.raises(InputError, match="PiKE works with apply='sampling', found 'loss'"):
        Mixture(["a", "b"], PiKE(variance=False)).check(["grad_sq_norm"], apply="loss")


def test_the_alarm_is_announced_once_and_logged(tmp_path):
    mixture = Mixture(["a", "b", "c"], PiKE(zeta1=1.0, zeta2=0.0, floor=0.05), log=tmp_path / "log.jsonl")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(12):
            mixture.observe(seen([1.0, 0.0, 0.0], None, step))
    assert [w.category for w in caught] == [AlarmWarning]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    alarms = [line["decision"] for line in lines if "remarks" in line]
    assert len(alarms) == 1
    assert f"after step {alarms[0]}: winner takes all: source 0 has 0.9, the others are at their floors" in str(
        caught[0].message
    )
    assert lines[-1]["entropy"] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.05))
    assert lines[0]["run"] == {
        "sources": ["a", "b", "c"],
        "prior": [1 / 3] * 3,
        "lag": 8,
        "strategy": repr(mixture.strategy),
    }
    assert "run" not in lines[1]


def test_the_alarm_needs_no_floor():
    strategy = PiKE(zeta1=1.0, zeta2=0.0, floor=0.0)
    state, alarms = strategy.init(PRIOR), []
    for step in range(30):
        state = strategy.update(state, seen([1.0, 0.0, 0.0], None, step))
        alarms += [step] if strategy.remarks(state) else []
    assert len(alarms) == 1
    assert strategy.weights(state)[0] > 1 - 2e-3
    with pytest.raises(InputError, match="PiKE needs its gradient statistics"):
        strategy.update(state, Observation(30, 4, [4, 4, 4]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"zeta1": 1.0}, "zeta1 and zeta2 should both be given or both be left out, found 1.0 and None"),
        ({"rule": "best"}, "rule should be 'exponentiated' or 'restoring' or 'optimal', found 'best'"),
        ({"floor": -0.1}, "floor should be a number of at least 0 and at most 1, found -0.1"),
        ({"zeta1": -1, "zeta2": 1}, "zeta1 should be a number of at least 0, found -1"),
        ({"zeta1": float("nan"), "zeta2": 1}, "zeta1 should be a number"),
        ({"decay": 1.0}, "decay should be below 1"),
        ({"move": 0}, "move should be a number above 0, found 0"),
        ({"variance": "no"}, "variance should be True or False"),
        ({"gamma": "x"}, "gamma should be a number"),
    ],
)
def test_bad_parameters(arguments, message):
    with pytest.raises(InputError, match=message):
        PiKE(**arguments)
