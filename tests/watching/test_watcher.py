"""Sums over steps, observations that are due, the lines of a log, and states of this and earlier versions."""

import json

import numpy as np
import pytest

from mixwright import GroupDRO, InputError, Mixture, Static, Strategy
from mixwright.watching import SampledStatistics, Watcher, Window

HALF = np.array([0.5, 0.5])


def sums(rows, loss):
    return np.array([rows, loss], float)


def watcher(strategy=None, **options):
    return Watcher(Mixture(["a", "b"], strategy or GroupDRO(learning_rate=1.0)), 2, 4, **options)


def test_a_window_adds_up_and_is_the_same_after_a_round_trip():
    window = Window(("rows", "loss"), 2)
    window.add(sums([3, 0], [6, 0]), np.array([1.0, 0.0]))
    window.add(sums([1, 0], [4, 0]), np.array([0.5, 0.5]))
    window.skipped += 1
    np.testing.assert_allclose(window.mean("loss"), [2.5, np.nan])
    assert (window.steps, window.skipped, window.planned.tolist()) == (2, 1, [1.5, 0.5])
    again = Window(("rows", "loss"), 2)
    again.load_state_dict(json.loads(json.dumps(window.state_dict())))
    assert again.state_dict() == window.state_dict()
    window["loss"][:] = 9  # a copy
    assert again.state_dict() == window.state_dict()
    window.clear()
    assert window.state_dict() == Window(("rows", "loss"), 2).state_dict()


def test_a_window_of_an_earlier_version_has_a_name_for_each_sum():
    window = Window(("nats", "tokens"), 2)
    window.load_state_dict({"nats": [1.0, 2.0], "tokens": [2, 2], "planned": [0.5, 0.5], "steps": 1})
    np.testing.assert_allclose(window.mean("nats", "tokens"), [0.5, 1.0])


def test_an_observation_is_of_the_steps_since_the_last_one():
    found = watcher()
    observed = []
    for step, loss in enumerate((2.0, 4.0, 6.0, 7.0)):
        found.add(sums([2, 2], [2 * loss, 2]), np.array([step / 4, 1 - step / 4]))
        observed.append(found.observe(step))
    assert observed == [False, True, False, True]
    seen = found.observation
    assert (seen.step, seen.batch_size, seen.counts.tolist()) == (3, 4, [4, 4])
    np.testing.assert_allclose(seen.loss, [6.5, 1.0])
    np.testing.assert_allclose(seen.planned, [0.625, 0.375])
    assert found.mixture.weights_for(20)[0] > 0.5


def test_steps_that_were_left_out_alone_make_no_observation():
    found = watcher()
    found.skip()
    assert not found.observe(1)
    assert (found.observation, found.since.skipped) == (None, 1)


class Reads(Static):
    uses = frozenset({"target_loss", "eval_loss"})


def test_only_what_the_strategy_reads_is_measured():
    def refuse(model):
        raise AssertionError("measured")

    found = watcher(Reads(), measures={"target_loss": lambda model: [model], "excess_loss": refuse}, held_out=True)
    assert found.given == {"planned", "loss", "target_loss", "excess_loss", "eval_loss"}
    found.evaluated({"eval_a_loss": 3.0, "eval_c_loss": 1.0})
    found.add(sums([1, 1], [1, 1]), HALF)
    assert found.observe(1, model=5.0)
    assert found.observation.target_loss.tolist() == [5.0]
    np.testing.assert_allclose(found.observation.eval_loss, [3.0, np.nan])


class Alarming(Strategy):
    def init(self, prior):
        return prior

    def update(self, state, observation):
        return state

    def weights(self, state):
        return state

    def remarks(self, state):
        return {"alarm": "too warm"}


def test_a_line_of_the_log_has_what_is_known_since_the_last_one():
    found = watcher(Alarming())
    found.add(sums([1, 0], [3, 0]), HALF)
    with pytest.warns(UserWarning, match="too warm"):
        found.observe(1)
    line = found.line({"loss": found.logged.mean("loss")}, HALF)
    assert line == {
        "mixture/loss/a": 3.0, "mixture/weight/a": 0.5, "mixture/weight/b": 0.5,
        "mixture/entropy": pytest.approx(np.log(2)), "mixture/alarms": 1.0,
    }  # fmt: skip
    assert found.logged.steps == 0
    assert found.line({}, HALF)["mixture/alarms"] == 0


def test_a_watcher_goes_on_where_its_state_was_taken():
    found = watcher()
    for step in range(3):
        found.add(sums([1, 1], [step, 2]), HALF)
        found.observe(step)
    found.evaluated({"eval_b_loss": 2.0})
    again = watcher()
    again.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert again.state_dict() == found.state_dict()
    assert again.since.steps == 1
    with pytest.raises(InputError, match=r"observe_every should be the checkpoint's \(2\), found 3"):
        Watcher(found.mixture, 3, 4).load_state_dict(found.state_dict())
    with pytest.raises(InputError, match="statistics should be the checkpoint's"):
        watcher(statistics=SampledStatistics(2, 2, 1)).load_state_dict(found.state_dict())


def test_the_reference_loop_of_an_earlier_version_kept_the_sums_since_the_last_observation():
    found = watcher()
    found.load_state_dict({"losses": [[2, 1], [4, 3], [0, 1]], "planned": [0.5, 0.5], "steps": 1, "statistics": None})
    found.add(sums([2, 1], [4, 5]), HALF)
    assert found.observe(1)
    np.testing.assert_allclose(found.observation.loss, [2.0, 4.0])
    np.testing.assert_allclose(found.observation.planned, HALF)
