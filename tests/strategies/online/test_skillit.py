import numpy as np
import pytest

from mixwright import InputError, Observation, SkillIt
from mixwright.strategies import from_config

UNIFORM = np.full(3, 1 / 3)
GRAPH = [[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]]
LOSSES = [[2.0, 3.0, 2.5], [1.8, 2.9, 2.4], [1.7, 2.5, 2.4], [1.6, 2.4, 2.2]]
WEIGHTS = [  # of the published training loop, fed with these losses: at the start, and after each (eta .2, window 3)
    [0.3442533457, 0.3442533457, 0.3114933085],
    [0.3355068591, 0.3898033575, 0.2746897834],
    [0.3259598873, 0.4488884238, 0.2251516889],
    [0.3106769430, 0.4970813190, 0.1922417380],
    [0.3072768592, 0.4867492975, 0.2059738433],
]


def seen(losses, counts=(1, 1, 1), step=0):
    return Observation(step, 3, counts, eval_loss=losses)


def after(strategy, *path, prior=UNIFORM):
    state = strategy.init(prior.copy())
    for obs in path:
        state = strategy.update(state, obs)
    return strategy.weights(state)


def test_the_published_code_makes_the_same_updates():
    for updates, expected in enumerate(WEIGHTS):
        found = after(SkillIt(GRAPH), *map(seen, LOSSES[:updates]))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_by_hand():
    """The window forgets: the weights are made from the prior and the last two updates alone."""
    prior, strategy = np.array([0.5, 0.3, 0.2]), SkillIt(GRAPH, 0.4, window=2)
    summed = np.array(LOSSES[2]) + LOSSES[3]
    raised = prior * np.exp(0.4 * np.array(GRAPH) @ summed)
    np.testing.assert_allclose(after(strategy, *map(seen, LOSSES), prior=prior), raised / raised.sum(), rtol=1e-13)


def test_unknown_losses():
    last = after(SkillIt(), seen([2.0, 3.0, 2.5]), seen([1.0, np.nan, 9.0], (1, 1, 0)))
    np.testing.assert_allclose(last, after(SkillIt(), seen([2.0, 3.0, 2.5]), seen([1.0, 3.0, 2.5])), rtol=1e-13)
    never = after(SkillIt(), seen([2.0, np.nan, 3.0]))
    np.testing.assert_allclose(never, after(SkillIt(), seen([2.0, 2.5, 3.0])), rtol=1e-13)


def test_targets():
    """Out of domain: A says how sources help targets, and the targets' losses are read."""
    strategy = SkillIt([[1.0, 0.0], [0.2, 0.7], [0.0, 0.0]], 0.5, loss="target_loss")
    found = after(strategy, Observation(0, 3, [1, 1, 1], target_loss=[2.0, 1.0]))
    raised = np.exp(0.5 * np.array([2.0, 0.4 + 0.7, 0.0]))
    np.testing.assert_allclose(found, raised / raised.sum(), rtol=1e-13)
    assert strategy.needs == {"target_loss"}


def test_limits():
    prior = np.array([0.6, 0.4, 0.0])
    np.testing.assert_allclose(after(SkillIt(), seen([2.0, 2.0, 9.0]), prior=prior), prior, rtol=1e-12)
    np.testing.assert_allclose(after(SkillIt(GRAPH, 0), seen([2.0, 3.0, 9.0]), prior=prior), prior, rtol=1e-12)


def test_errors():
    with pytest.raises(InputError, match="graph of SkillIt should have 2 rows and columns for 2 sources, found shape"):
        SkillIt(GRAPH).init(np.full(2, 0.5))
    with pytest.raises(InputError, match="graph of SkillIt should be rows of finite numbers"):
        SkillIt([[1.0], [1.0, 2.0]])
    with pytest.raises(InputError, match="needs a graph"):
        SkillIt(loss="target_loss")
    with pytest.raises(InputError, match="one number per column of the graph, found 3"):
        after(SkillIt([[1.0]] * 3, loss="target_loss"), Observation(0, 3, [1, 1, 1], target_loss=[1.0, 2.0, 3.0]))
    assert from_config({"name": "skill-it", "graph": GRAPH}) == SkillIt(GRAPH)
