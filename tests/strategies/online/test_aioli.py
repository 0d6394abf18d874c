import numpy as np
import pytest

from mixwright import Aioli, InputError, Mixture, Observation

UNIFORM = np.full(3, 1 / 3)
HELP = np.array([[0.3, 0.05, 0.0], [0.1, 0.2, 0.05], [0.0, 0.1, 0.25]])  # how much source i (column) lowers loss j
START = np.array([3.0, 3.2, 2.8])
# What the published `learn_params_subroutine` was fed with: the perturbed source (weight .75, the others .125 each) and
# the losses afterwards, for two periods of two sweeps; and the weights that its equations made of it (eta 1).
COURSE = [
    (2, [2.957507, 3.123679, 2.606404]),
    (1, [2.883556, 2.949572, 2.503770]),
    (0, [2.665346, 2.852793, 2.452983]),
    (2, [2.608942, 2.771560, 2.253396]),
    (0, [2.354442, 2.663122, 2.197187]),
    (1, [2.272119, 2.488930, 2.087774]),
    (0, [2.044985, 2.393105, 2.042739]),
    (2, [2.014900, 2.311453, 1.846254]),
    (1, [1.948935, 2.143643, 1.732569]),
    (2, [1.895967, 2.064066, 1.534771]),
    (0, [1.654621, 1.955724, 1.489428]),
    (1, [1.585030, 1.789121, 1.386732]),
]
BY_CODE = {
    None: [[0.3502949915, 0.3329434514, 0.3167615571], [0.3675448303, 0.3297760570, 0.3026791127]],
    0.1: [[0.3502949915, 0.3329434514, 0.3167615571], [0.3502998914, 0.3309090809, 0.3187910277]],
}


def seen(losses, planned, counts=(4, 4, 4), step=0):
    return Observation(step, 12, counts, eval_loss=losses, planned=planned)


def perturbed(i, strength=0.75):
    weights = np.full(3, (1 - strength) / 2)
    weights[i] = strength
    return weights


def simulated(strategy, updates, prior=UNIFORM, help_of=HELP, losses=START):
    """Return the states after updates in which the losses follow the linear law exactly."""
    state, states = strategy.init(prior.copy()), []
    state = strategy.update(state, seen(losses, prior))
    for step in range(1, updates):
        weights = strategy.weights(state)
        losses = losses - help_of @ weights
        state = strategy.update(state, seen(losses, weights, step=step))
        states.append(state)
    return states


@pytest.mark.parametrize("ema", BY_CODE)
def test_the_published_code_makes_the_same_updates(ema):
    strategy, found = Aioli(sweeps=2, explore=1.0, ema=ema), []
    state = strategy.update(strategy.init(UNIFORM), seen(START, UNIFORM))
    for step, (i, losses) in enumerate(COURSE, 1):
        state = strategy.update(state, seen(losses, perturbed(i), step=step))
        if step % 6 == 0:
            found.append(state.moving.weights)
    np.testing.assert_allclose(found, BY_CODE[ema], atol=1e-6)


def test_a_linear_law_is_found_exactly_and_moves_the_weights():
    strategy, prior = Aioli(learning_rate=2.0, order=[2, 0, 1]), np.array([0.5, 0.3, 0.2])
    states = simulated(strategy, 6, prior)
    for position, i in enumerate([2, 0, 1]):  # the first three are perturbations, in the order that was asked for
        at = strategy.update(strategy.init(prior), seen(START, prior)) if position == 0 else states[position - 1]
        np.testing.assert_allclose(strategy.weights(at), perturbed(i))
    np.testing.assert_allclose(states[2].graph, HELP / HELP.sum(), rtol=1e-9, atol=1e-12)
    raised = prior * np.exp(2 * HELP.sum(0) / HELP.sum())
    for state in states[2:5]:  # until the period of 12 updates is over
        np.testing.assert_allclose(strategy.weights(state), raised / raised.sum(), rtol=1e-9)


def test_the_mean_leaves_perturbations_out():
    strategy = Aioli(explore=0.5)
    states = simulated(strategy, 8)
    raised = np.exp(HELP.sum(0) / HELP.sum())
    raised /= raised.sum()
    found = strategy.average(states[5])  # of 7 updates: the prior 3 times, then the new weights
    np.testing.assert_allclose(found, (3 * UNIFORM + 4 * raised) / 7, rtol=1e-9)


def test_weights_that_came_late_do_no_harm():
    """The law is solved with the weights that rows were drawn with: here those asked for an update before."""
    strategy, losses, drawn = Aioli(explore=1.0, sweeps=2), START, [UNIFORM] * 2
    state = strategy.update(strategy.init(UNIFORM), seen(losses, UNIFORM))
    for step in range(1, 7):
        drawn.append(strategy.weights(state))
        losses = losses - HELP @ drawn[-2]
        state = strategy.update(state, seen(losses, drawn[-2], step=step))
    np.testing.assert_allclose(state.graph, HELP / HELP.sum(), rtol=1e-9, atol=1e-12)


def test_unknown_losses_leave_a_row_out():
    strategy = Aioli(explore=1.0)
    state, losses = strategy.update(strategy.init(UNIFORM), seen([3.0, np.nan, 2.8], UNIFORM)), START
    for step in range(1, 4):
        weights = strategy.weights(state)
        losses = losses - HELP @ weights
        state = strategy.update(state, seen([losses[0], np.nan, losses[2]], weights, step=step))
    known = HELP * np.array([[1], [0], [1]])
    np.testing.assert_allclose(state.graph, known / known.sum(), rtol=1e-9, atol=1e-12)


def test_limits():
    alone = Aioli().init(np.array([0.0, 1.0]))
    for step in range(6):
        alone = Aioli().update(alone, Observation(step, 4, [0, 4], eval_loss=[np.nan, 2.0], planned=[0, 1]))
        assert Aioli().weights(alone).tolist() == [0.0, 1.0]
    equal = simulated(Aioli(learning_rate=5.0), 5, help_of=np.full((3, 3), 0.1))[-1]
    np.testing.assert_allclose(Aioli().weights(equal), UNIFORM, rtol=1e-9)
    assert Mixture(["a", "b"], Aioli()).check({"eval_loss", "planned"}) is None


def test_errors():
    for arguments, message in (
        ({"order": [0, 0, 1]}, "each position from 0 once"),
        ({"strength": 1.5}, "strength of Aioli should be a number above 0 and at most 1"),
        ({"explore": 0}, "explore of Aioli"),
    ):
        with pytest.raises(InputError, match=message):
            Aioli(**arguments)
    with pytest.raises(InputError, match="order of Aioli should have 2 positions for 2 sources, found 3"):
        Aioli(order=[0, 1, 2]).init(np.full(2, 0.5))
    with pytest.raises(InputError, match="strength of Aioli should be above 1/3"):
        Aioli(strength=0.2, sweeps=2).init(UNIFORM)
    with pytest.raises(InputError, match=r"Aioli needs eval_loss .* mixwright train and compare measure it"):
        Mixture(["a", "b"], Aioli()).check({"loss", "planned"})
