import numpy as np
import pytest

from mixwright import BalancedPiKE, InputError, Observation, PiKE

PRIOR = np.array([0.5, 0.3, 0.2])
LOSS = np.array([1.0, 2.0, 1.5])
NORMS, VARIANCES = np.array([1.0, 2.0, 0.5]), np.array([8.0, 4.0, 0.0])


def seen(loss=LOSS, eval_loss=None, step=0, counts=(4, 4, 4)):
    return Observation(step, 4, counts, loss=loss, eval_loss=eval_loss, grad_sq_norm=NORMS, grad_variance=VARIANCES)


def after(strategy, *observations):
    state = strategy.init(PRIOR)
    for obs in observations:
        state = strategy.update(state, obs)
    return state


@pytest.mark.parametrize("tau", [1.0, 3.0, 5.0])
def test_dual_weights_are_the_papers_up_to_their_mean(tau):
    strategy = BalancedPiKE(tau)
    papers = tau * np.exp(tau * LOSS) / np.exp(tau * LOSS).sum()
    found = strategy.dual_weights(after(strategy, seen()))
    np.testing.assert_allclose(found, papers * 3 / tau, rtol=1e-12)
    assert found.mean() == pytest.approx(1)
    np.testing.assert_allclose(strategy.dual_weights(after(strategy, seen(LOSS + 1e6))), found, rtol=1e-6)


@pytest.mark.parametrize("reading", ["sampling", "steps"])
@pytest.mark.parametrize("rule", ["exponentiated", "restoring", "optimal"])
def test_tau_to_zero_gives_pike(rule, reading):
    path = [seen(step=t) for t in range(5)]
    for numbers in ({}, {"zeta1": 0.5, "zeta2": 0.2}):
        pike = PiKE(rule=rule, **numbers)
        plain = after(pike, *path)
        exact = BalancedPiKE(0.0, rule=rule, reading=reading, **numbers)
        np.testing.assert_array_equal(exact.weights(after(exact, *path)), pike.weights(plain))
        gaps = []
        for tau in (1e-2, 1e-4, 1e-6):
            near = BalancedPiKE(tau, rule=rule, reading=reading, **numbers)
            gaps.append(np.abs(near.weights(after(near, *path)) - pike.weights(plain)).max())
        assert gaps[2] <= gaps[0]
        assert gaps[2] < 1e-5


def test_the_two_readings_by_hand():
    y = 3 * np.exp(LOSS) / np.exp(LOSS).sum()
    for reading, exponent in (
        ("sampling", 0.5 * y * NORMS - 0.2 * VARIANCES / 8),
        ("steps", 0.5 * y**2 * NORMS - 0.2 * y**2 * VARIANCES / 8),
    ):
        strategy = BalancedPiKE(1.0, zeta1=0.5, zeta2=0.2, floor=0.0, reading=reading)
        raised = PRIOR * np.exp(exponent)
        np.testing.assert_allclose(strategy.weights(after(strategy, seen())), raised / raised.sum(), rtol=1e-13)


def test_the_worst_source_gets_more_than_from_pike():
    for rule in ("exponentiated", "restoring", "optimal"):
        path = [seen([1.0, 1.0, 4.0], step=t) for t in range(10)]
        pike, balanced = PiKE(rule=rule), BalancedPiKE(1.0, rule=rule)
        assert balanced.weights(after(balanced, *path))[2] > pike.weights(after(pike, *path))[2] + 0.01


def test_which_loss_is_used():
    held_out = [3.0, 1.0, np.nan]
    auto, trained, evaluated = (BalancedPiKE(1.0, loss=loss) for loss in ("auto", "loss", "eval_loss"))
    assert auto.uses == {"eval_loss"}
    assert "loss" in auto.needs
    assert not trained.uses
    assert {"eval_loss"} == evaluated.needs - {"grad_sq_norm", "grad_variance"}

    def dual(strategy, *path):
        return strategy.dual_weights(after(strategy, *path))

    by_training = dual(trained, seen(eval_loss=held_out))
    np.testing.assert_array_equal(dual(auto, seen(eval_loss=held_out)), by_training)  # one has no held-out loss yet
    assert auto.remarks(after(auto, seen(eval_loss=held_out)))["loss"] == "loss"
    later = seen(eval_loss=[np.nan, np.nan, 2.0], step=1)
    known = 3 * np.exp([3.0, 1.0, 2.0]) / np.exp([3.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(dual(auto, seen(eval_loss=held_out), later), known)
    assert auto.remarks(after(auto, seen(eval_loss=held_out), later))["loss"] == "eval_loss"
    np.testing.assert_allclose(dual(auto, seen(eval_loss=held_out), later, seen(step=2)), known)  # the latest known
    two = 2 * np.exp([3.0, 1.0]) / np.exp([3.0, 1.0]).sum()
    np.testing.assert_allclose(dual(evaluated, seen(eval_loss=held_out)), [*two, 1.0])


def test_large_tau_stays_finite():
    strategy = BalancedPiKE(1e6)
    weights = strategy.weights(after(strategy, seen([0.0, 1e8, 1e-8])))
    assert np.isfinite(weights).all()


def test_bad_parameters():
    for arguments, message in (
        ({"tau": -1}, "tau should be a number of at least 0, found -1"),
        ({"reading": "both"}, "reading should be 'sampling' or 'steps', found 'both'"),
        ({"loss": "train"}, "loss of Balanced-PiKE should be 'auto' or 'loss' or 'eval_loss'"),
    ):
        with pytest.raises(InputError, match=message):
            BalancedPiKE(**arguments)
