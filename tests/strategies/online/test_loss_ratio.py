import numpy as np
import pytest

from mixwright import InputError, LossRatio, Mixture, Observation
from mixwright.strategies import from_config

UNIFORM = np.full(3, 1 / 3)
REFERENCE = (1.9643, 0.7459, 2.1393)  # of the published code's script
HELD_OUT = ([2.3, 0.9, 2.2], [2.0, 0.7, 2.3], [1.95, 0.8, 2.1])
WEIGHTS = [  # what the code made of them (update "doremi": no clip, a share of .0001 mixed in)
    [0.3855730721, 0.3215483566, 0.2928785713],
    [0.3803199035, 0.2923221220, 0.3273579745],
    [0.3755788174, 0.3091204584, 0.3153007242],
]


def seen(losses, counts=(1, 1, 1), step=0, **fields):
    return Observation(step, 3, counts, eval_loss=losses, **fields)


def path(strategy, *observations, prior=UNIFORM):
    state, out = strategy.init(prior.copy()), []
    for obs in observations:
        state = strategy.update(state, obs)
        out.append(strategy.weights(state))
    return out


def test_the_published_code_makes_the_same_updates():
    strategy = LossRatio(REFERENCE, clip=False, smoothing=1e-4)
    np.testing.assert_allclose(path(strategy, *map(seen, HELD_OUT)), WEIGHTS, atol=1e-6)


def test_by_hand_as_the_paper_has_it():
    """Algorithm 1: differences below 0 count as 0, and nothing is mixed in."""
    prior, strategy = np.array([0.5, 0.3, 0.2]), LossRatio([2.0, 1.0, 1.0])
    raised = prior * np.exp([0.3, 0.0, 0.5])
    np.testing.assert_allclose(path(strategy, seen([2.3, 0.4, 1.5]), prior=prior)[0], raised / raised.sum(), rtol=1e-13)
    again = raised * np.exp([0.0, 0.2, 0.5])  # source 2 has no loss this time: its last one counts
    found = path(strategy, seen([2.3, 0.4, 1.5]), seen([1.0, 1.2, np.nan], (1, 1, 0)), prior=prior)[1]
    np.testing.assert_allclose(found, again / again.sum(), rtol=1e-13)


def test_a_reference_that_the_training_reports_is_as_good_as_one_that_is_given():
    given = path(LossRatio(REFERENCE), *map(seen, HELD_OUT))
    reported = [seen(losses, reference_loss=REFERENCE) for losses in HELD_OUT]
    np.testing.assert_array_equal(path(LossRatio(), *reported), given)


def test_limits():
    """Losses at or below the reference leave the prior; a source that cannot reach it takes all in the end."""
    np.testing.assert_allclose(path(LossRatio([3.0, 3.0, 3.0]), *map(seen, HELD_OUT))[-1], UNIFORM)
    np.testing.assert_allclose(path(LossRatio(REFERENCE, learning_rate=0), *map(seen, HELD_OUT))[-1], UNIFORM)
    far = path(LossRatio([0.0, 0.0, 0.0]), *[seen([1.0, 0.2, 0.1])] * 40)[-1]
    assert far[0] > 0.999


def test_what_cannot_feed_it_is_refused_with_what_would():
    with pytest.raises(InputError, match=r"LossRatio needs reference_loss .*the numbers as `reference`"):
        Mixture(["a", "b"], LossRatio()).check(["eval_loss", "loss"])
    Mixture(["a", "b"], LossRatio([1.0, 2.0])).check(["eval_loss", "loss"])
    with pytest.raises(InputError, match=r"reference should have one number per source \(3\), found 2"):
        Mixture(["a", "b", "c"], LossRatio([1.0, 2.0]))
    with pytest.raises(InputError, match="reference of LossRatio should be a number"):
        LossRatio(["low"])
    named = from_config({"name": "loss-ratio", "reference": {"b": 2, "a": 1}}, ["a", "b"])
    assert named == LossRatio((1.0, 2.0))
