from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright import AMAR, AMAS, Constraints, Every, GroupDRO, InputError, Mixture, Observation, Plan, Static
from mixwright.strategies import by_name, from_config
from mixwright.strategies.amas import ESTIMATORS
from mixwright.testing import observations

PRIOR = np.array([0.5, 0.3, 0.2])
UNIFORM = np.full(3, 1 / 3)
EXCESS = np.array([0.2, 0.4, 0.1])


def seen(excess=EXCESS, counts=(4, 4, 4), step=0, **fields):
    return Observation(step, int(np.sum(counts)) or 1, counts, excess_loss=excess, **fields)


def after(strategy, *path, prior=PRIOR):
    state = strategy.init(prior.copy())
    for obs in path:
        state = strategy.update(state, obs)
    return state


def weights(strategy, *path, prior=PRIOR):
    return strategy.weights(after(strategy, *path, prior=prior))


def test_ama_r_by_hand():
    q = PRIOR * np.exp(0.5 * EXCESS)
    expected = 0.9 * q / q.sum() + 0.1 * PRIOR
    np.testing.assert_allclose(weights(AMAR(0.5, 0.1), seen()), expected, rtol=1e-13)
    q = q * np.exp(0.5 * np.array([0.1, 0.0, 0.9]))
    expected = 0.9 * q / q.sum() + 0.1 * PRIOR
    np.testing.assert_allclose(weights(AMAR(0.5, 0.1), seen(), seen([0.1, 0.0, 0.9])), expected, rtol=1e-13)


@pytest.mark.parametrize("make", [lambda: AMAR(0.5), lambda: AMAS(0.5, 0.0, "present"), lambda: GroupDRO(0.5)])
def test_the_last_known_loss_stands_for_a_source_without_rows(make):
    unseen = np.array([0.3, np.nan, 0.1])
    path = [seen(loss=EXCESS), seen(unseen, (4, 0, 4), 1, loss=unseen), seen(unseen, (4, 4, 4), 2, loss=unseen)]
    raised = PRIOR * np.exp(0.5 * (EXCESS + 2 * np.array([0.3, 0.4, 0.1])))
    np.testing.assert_allclose(weights(make(), *path), raised / raised.sum(), rtol=1e-13)


def test_a_source_that_was_never_seen_keeps_its_weight_and_the_others_share_the_rest():
    found = weights(AMAR(0.5), seen([0.2, np.nan, 0.1], (4, 0, 4)))
    rest = PRIOR[[0, 2]] * np.exp([0.1, 0.05])
    np.testing.assert_allclose(found, [0.7 * rest[0] / rest.sum(), 0.3, 0.7 * rest[1] / rest.sum()], rtol=1e-13)
    np.testing.assert_array_equal(weights(AMAR(0.5), seen([np.nan] * 3, (0, 0, 0))), PRIOR)


def test_importance_by_hand():
    strategy, planned = AMAS(0.5, 0.1), [0.25, 0.25, 0.5]
    obs = seen([0.2, 0.4, np.nan], (6, 2, 0), planned=planned)
    rewards = [6 * 0.2 / (8 * 0.25), 2 * 0.4 / (8 * 0.25), 0.0]  # (1/B) sum of e / alpha; 0 if absent
    state = after(strategy, seen(planned=PRIOR))
    np.testing.assert_allclose(strategy.rewards(state, obs), rewards, rtol=1e-13)
    np.testing.assert_array_equal(strategy.rewards(strategy.init(PRIOR), obs), strategy.rewards(state, obs))
    raised = PRIOR * np.exp(0.5 * np.array(rewards))
    np.testing.assert_allclose(weights(strategy, obs), 0.9 * raised / raised.sum() + 0.1 * PRIOR, rtol=1e-13)
    unknown = seen([0.2, np.nan, np.nan], (6, 2, 0), planned=planned)  # seen, but its loss is not known
    rest = PRIOR[[0, 2]] * np.exp([0.5 * rewards[0], 0.0])
    found = weights(AMAS(0.5, 0.0), unknown)
    np.testing.assert_allclose(found, [0.7 * rest[0] / rest.sum(), 0.3, 0.7 * rest[1] / rest.sum()], rtol=1e-13)


def test_stratified_by_hand():
    strategy = AMAS(0.5, 0.0, "stratified")
    absent = np.array([0.2, 0.4, np.nan])
    path = [seen(absent, (4, 4, 0), 0), seen(absent, (4, 4, 0), 1), seen([0.1, 0.1, 0.3], (4, 4, 1), 2)]
    raised = PRIOR * np.exp(0.5 * np.array([0.5, 0.9, 3 * 0.3]))  # three updates' worth at its first rows
    np.testing.assert_allclose(weights(strategy, *path), raised / raised.sum(), rtol=1e-13)
    again = raised * np.exp(0.5 * np.array([0.1, 0.1, 0.3]))
    np.testing.assert_allclose(weights(strategy, *path, path[2]), again / again.sum(), rtol=1e-13)


@settings(max_examples=8)
@given(
    st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3),
    st.lists(st.tuples(st.floats(-0.2, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=3, max_size=3),
)
def test_the_reward_is_unbiased_exactly(shares, values):
    """Sum over all batches of 3 independent rows: a source by alpha, and one of two losses."""
    alpha, strategy = np.array(shares) / np.sum(shares), AMAS()
    state, expected = strategy.init(UNIFORM), np.zeros(3)
    rows = [
        (i, loss, alpha[i] * p) for i, (a, b, share) in enumerate(values) for loss, p in ((a, share), (b, 1 - share))
    ]
    for batch in product(rows, repeat=3):
        source = np.array([i for i, _, _ in batch])
        counts = np.bincount(source, minlength=3)
        sums = np.bincount(source, [loss for _, loss, _ in batch], 3)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        chance = np.prod([p for _, _, p in batch])
        expected += chance * strategy.rewards(state, seen(means, counts, planned=alpha))
    np.testing.assert_allclose(expected, [a * share + b * (1 - share) for a, b, share in values], atol=1e-12)


def test_the_reward_is_unbiased_over_a_stream_whose_weights_change():
    """Mean of r - f over steps within 1e-3; divided by the weights of today instead it is off by several times that."""
    sizes, batch, lag, steps = {"a": 500, "b": 300, "c": 200}, 4096, 10, 800
    strategy = AMAS(1.0, 0.3)
    mixture = Mixture(sizes, strategy, lag=lag)
    plan = Plan(sizes, mixture, batch_size=batch, draw="iid", compiled=False)
    rng = np.random.default_rng(0)
    values = [np.maximum(rng.normal(mean, 0.1, n), 0) for mean, n in zip((0.3, 0.2, 0.25), sizes.values(), strict=True)]
    first, flat = np.cumsum([0, 500, 300]), np.concatenate(values)
    means = np.array([v.mean() for v in values])
    errors, today = np.zeros(3), np.zeros(3)
    for t, source, row, planned in (next(plan) for _ in range(steps)):
        scale = np.array([1.6, 0.4, 1.0]) if t // 20 % 2 else np.array([0.4, 1.6, 1.0])
        counts = np.bincount(source, minlength=3)
        excess = np.bincount(source, flat[first[source] + row], 3) / counts * scale
        obs = Observation(t, batch, counts, planned=planned, excess_loss=excess)
        errors += strategy.rewards(mixture.state, obs) - means * scale
        today += counts * excess / (batch * strategy.weights(mixture.state)) - means * scale
        mixture.observe(obs)
    assert np.abs(errors / steps).max() < 1e-3
    assert np.abs(today / steps).max() > 4e-3


def test_pooling_several_steps_keeps_it_unbiased():
    """Weights [.5, .5] for 6 rows, then [.25, .75] for 2: expected counts are 3.5 and 4.5 of 8."""
    strategy = Every(AMAS(1.0, 0.0), 2)
    path = [
        seen([0.2, 0.4], (3, 3), 0, planned=[0.5, 0.5]),
        seen([0.6, 0.4], (1, 1), 1, planned=[0.25, 0.75]),
    ]
    rewards = np.array([(3 * 0.2 + 0.6) / 3.5, 4 * 0.4 / 4.5])
    raised = np.exp(rewards)
    np.testing.assert_allclose(weights(strategy, *path, prior=np.full(2, 0.5)), raised / raised.sum(), rtol=1e-13)


@settings(max_examples=25)
@given(st.sampled_from(["r", *ESTIMATORS]), st.floats(0, 1), st.floats(0, 5), st.integers(0, 500), st.integers(1, 6))
def test_no_weight_is_below_the_smoothed_prior(kind, c, rate, seed, k):
    strategy = AMAR(rate, c) if kind == "r" else AMAS(rate, c, kind)
    for prior in (np.full(k, 1 / k), np.random.default_rng(seed).dirichlet(np.ones(k))):
        state = strategy.init(prior)
        for obs in observations(k, 6, seed):
            state = strategy.update(state, obs)
            found = strategy.weights(state)
            assert np.all(found >= c * prior)
            assert found.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=25)
@given(st.floats(0, 1), st.floats(0, 5), st.floats(0, 1), st.integers(0, 500), st.integers(2, 6))
def test_no_weight_is_above_the_cap_and_ratios_below_it_stay(c, rate, part, seed, k):
    cap = min(1.0, 1 / k + part * (1 - 1 / k))
    prior = np.random.default_rng(seed).dirichlet(np.ones(k))
    strategy, free = AMAR(rate, c, cap), AMAR(rate, c)
    state = strategy.init(prior)
    for obs in observations(k, 6, seed):
        capped = free.update(state, obs)  # one step without the cap, from the same state
        state = strategy.update(state, obs)
        found = strategy.weights(state)
        assert np.all(found <= cap * (1 + 1e-9))
        assert np.all(found >= c * state.prior)
        assert found.sum() == pytest.approx(1, abs=1e-9)
        below = np.flatnonzero((found < cap * (1 - 1e-9)) & (state.log_q > -600))
        moved = state.log_q[below] - capped.log_q[below]
        np.testing.assert_allclose(moved, np.full(len(below), moved[0] if len(below) else 0), atol=1e-8)


def test_the_cap_by_hand():
    strategy = AMAR(1.0, 0.0, cap=0.5)
    state = after(strategy, seen(np.log([4.0, 1.0, 2.0])), prior=UNIFORM)
    np.testing.assert_allclose(strategy.weights(state), [0.5, 1 / 6, 1 / 3], rtol=1e-12)
    assert strategy.remarks(state) == {"at_cap": [0]}
    state = strategy.update(state, seen(np.log([1.0, 4.0, 1.0])))  # it comes down at once
    np.testing.assert_allclose(strategy.weights(state), [1 / 3, 4 / 9, 2 / 9], rtol=1e-12)
    assert strategy.remarks(state) == {}
    two = weights(AMAR(1.0, 0.0, 0.3), seen(np.log([8, 8, 1, 1]), [4] * 4), prior=np.full(4, 0.25))
    np.testing.assert_allclose(two, [0.3, 0.3, 0.2, 0.2], rtol=1e-12)
    smooth = weights(AMAR(1.0, 0.2, 0.5), seen(np.log([40, 1, 2])), prior=UNIFORM)  # (1 - c) q + c / 3 <= .5
    q = (0.5 - 0.2 / 3) / 0.8
    np.testing.assert_allclose(smooth, [0.5, *(0.8 * (1 - q) * np.array([1, 2]) / 3 + 0.2 / 3)], rtol=1e-12)
    np.testing.assert_allclose(weights(AMAR(cap=0.4)), [0.4, 0.36, 0.24], rtol=1e-12)
    assert weights(AMAR(1.0, 0.0, 0.1), seen([3.0], [4]), prior=np.ones(1)).tolist() == [1.0]


@pytest.mark.parametrize("strategy", [AMAR(0.7, 0.1), *(AMAS(0.7, 0.1, name) for name in ESTIMATORS), GroupDRO(0.7)])
def test_limits(strategy):
    for obs in observations(1):
        assert weights(strategy, obs, prior=np.ones(1)).tolist() == [1.0]  # one source
    still = type(strategy)(**{**vars(strategy), "learning_rate": 0.0})
    np.testing.assert_allclose(weights(still, *observations(3), prior=UNIFORM), UNIFORM, rtol=1e-14)
    prior_alone = type(strategy)(**{**vars(strategy), "smoothing": 1.0})
    np.testing.assert_array_equal(weights(prior_alone, *observations(3)), PRIOR)


def test_without_specialists_ama_r_is_group_dro():
    path = observations(4, 10)
    given_as_excess = [Observation(o.step, 32, o.counts, excess_loss=o.loss) for o in path]
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    group, alone = GroupDRO(0.3, 0.05, 0.6), AMAR(0.3, 0.05, 0.6)
    assert weights(group, *path, prior=prior).tobytes() == weights(alone, *given_as_excess, prior=prior).tobytes()


def test_group_dro_by_hand_and_which_loss_it_reads():
    path = [seen(None, loss=[2.0, 3.0, 1.0], eval_loss=[1.0, 5.0, 2.0])]
    for loss, values in (("loss", [2.0, 3.0, 1.0]), ("eval_loss", [1.0, 5.0, 2.0])):
        raised = PRIOR * np.exp(0.1 * np.array(values))
        strategy = GroupDRO(0.1, loss=loss)
        assert strategy.needs == {loss}
        np.testing.assert_allclose(weights(strategy, *path), raised / raised.sum(), rtol=1e-13)


def test_an_unclipped_excess_may_be_below_0_and_only_differences_count():
    low = weights(AMAR(0.5), seen([-0.3, -0.1, 0.2]))
    np.testing.assert_allclose(low, weights(AMAR(0.5), seen([0.0, 0.2, 0.5])), rtol=1e-13)


def test_a_source_whose_q_is_0_in_floating_point_comes_back():
    strategy = AMAR(1.0)
    state = after(strategy, seen([2000.0, 0.0, 0.0]))
    assert strategy.weights(state)[1] == 0
    state = strategy.update(state, seen([0.0, 2000.0, 2000.0]))
    np.testing.assert_allclose(strategy.weights(state), PRIOR, rtol=1e-10)


def test_what_is_declared():
    importance, present, stratified = (AMAS(estimator=name) for name in ESTIMATORS)
    assert importance.needs == {"excess_loss", "planned"}
    assert present.needs == stratified.needs == AMAR().needs == {"excess_loss"}
    assert [s.draw for s in (importance, present, stratified)] == [{"iid"}, {"carry", "iid"}, {"carry"}]
    assert AMAS().apply == {"sampling"}
    assert AMAR().apply == {"loss"}
    assert GroupDRO().apply == {"loss", "sampling"}
    assert Every(AMAS(), 4).draw == {"iid"}


def test_a_plan_that_does_not_fit_is_refused_before_the_first_step():
    sizes = {"a": 10, "b": 10}
    for strategy, draw, message in (
        (AMAS(), "carry", "AMAS works with draw='iid', found 'carry'"),
        (AMAS(estimator="stratified"), "iid", "AMAS works with draw='carry', found 'iid'"),
        (AMAR(), "carry", r"AMAR weights losses \(apply='loss'\), and a Mixture in a plan draws rows; give the plan"),
    ):
        with pytest.raises(InputError, match=message):
            Plan(sizes, Mixture(sizes, strategy), batch_size=4, draw=draw)
    Plan(sizes, Mixture(sizes, AMAR()).prior, batch_size=4)
    Plan(sizes, Mixture(sizes, GroupDRO()), batch_size=4)
    with pytest.raises(InputError, match="AMAS needs planned in each observation, found excess_loss"):
        Mixture(sizes, AMAS()).check({"excess_loss"}, draw="iid")
    with pytest.raises(InputError, match="AMAS needs planned in each observation"):
        Mixture(sizes, AMAS()).observe(seen([0.1, 0.2], (2, 2)))


def test_constraints_outside_are_what_the_rows_were_drawn_with():
    mixture = Mixture(["a", "b"], AMAS(5.0, 0.1), constraints=Constraints(caps={"b": 0.6}), lag=1)
    for step in range(5):
        planned = mixture.weights_for(step)
        mixture.observe(seen([0.1, 0.5], (4, 4), step, planned=planned))
    np.testing.assert_allclose(mixture.weights_for(5), [0.4, 0.6], rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AMAR(-0.1), "learning_rate of AMAR should be a number of at least 0, found -0.1"),
        (lambda: AMAS(smoothing=1.5), "smoothing of AMAS should be a number of at least 0 and at most 1, found 1.5"),
        (lambda: AMAS(estimator="best"), "estimator of AMAS should be 'importance' or 'present' or 'stratified'"),
        (lambda: AMAR(cap=0), "cap of AMAR should be a number above 0 and at most 1, found 0"),
        (lambda: GroupDRO(loss="train"), "loss of GroupDRO should be 'loss' or 'eval_loss', found 'train'"),
        (lambda: AMAR(cap=0.2).init(UNIFORM), "cap of AMAR should be at least 1/3 for 3 sources, found 0.2; raise it"),
        (lambda: after(AMAR(), seen(None, loss=EXCESS)), "AMAR needs excess_loss in each observation"),
        (lambda: after(AMAS(), seen()), "needs planned, the weights that the rows were drawn with"),
        (
            lambda: after(AMAS(), seen(planned=[0.5, 0.5, 0])),
            "planned should be above 0 for a source that was drawn, found 0 for source 2 with 4 rows",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_by_name():
    assert by_name("ama-r", learning_rate=0.1) == AMAR(0.1)
    assert by_name("group-dro", loss="eval_loss") == GroupDRO(loss="eval_loss")
    config = {"name": "AMA-S", "estimator": "present", "cap": 0.6, "wrap": [{"name": "Every", "steps": 4}]}
    assert from_config(config) == Every(AMAS(estimator="present", cap=0.6), 4)
    with pytest.raises(InputError, match="AMAS has no parameter 'estimater'; did you mean 'estimator'"):
        by_name("AMAS", estimater="present")
    assert isinstance(by_name("static"), Static)
