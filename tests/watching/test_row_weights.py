"""Sampling apart from the weights: what rows count, which shares are taken, and what is refused or held."""

import json
import warnings

import numpy as np
import pytest

from mixwright import AMAR, Constraints, GroupDRO, InputError, Mixture, Observation, PiKE, Schedule, Static
from mixwright.errors import AlarmWarning
from mixwright.report.courses import alarms_of
from mixwright.watching.row_weights import MOST, RowWeights, held_within, sampling_shares
from mixwright.watching.watcher import Watcher

ROWS = {"a": 300, "b": 100}


def shares(sampling, strategy=None, prior="uniform"):
    found = sampling_shares(sampling, ROWS, strategy or Static([0.75, 0.25]), prior)
    return None if found is None else found.tolist()


def test_the_shares_that_rows_are_drawn_by():
    assert shares("uniform") == [0.5, 0.5]
    assert shares("natural") == [0.75, 0.25]
    assert shares("prior", prior=[0.25, 0.75]) == [0.25, 0.75]
    assert shares({"b": 0.4, "a": 0.6}) == [0.6, 0.4]
    assert shares([0.6, 0.4]) == [0.6, 0.4]


def test_without_them_rows_are_drawn_by_the_weights_unless_these_act_on_the_loss_alone():
    assert shares(None) is None
    assert shares(None, GroupDRO(0.1)) is None
    assert shares(None, AMAR(0.05), prior="natural") == [0.75, 0.25]


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ("size", "'uniform', 'natural', 'prior' or one share per source"),
        ({"a": 0.5, "c": 0.5}, "'c'"),
        ({"a": 1.0}, "'b'"),
        ([0.5, 0.4], "sum to 1"),
        ([1.0], "one share per source"),
    ],
)
def test_other_shares_are_refused(sampling, message):
    with pytest.raises(InputError, match=message):
        shares(sampling)


def test_a_row_counts_weight_over_share():
    found = RowWeights(Mixture(ROWS, Static([0.75, 0.25])), np.array([0.5, 0.5]), 4)
    assert found.at(0).tolist() == [1.5, 0.5]
    same = np.array([1 / 3, 2 / 3])
    assert RowWeights(Mixture(ROWS, Static(same)), same, 4).at(0).tolist() == [1.0, 1.0]  # bit by bit


def test_a_weight_that_is_too_large_for_its_share_is_refused_at_the_start():
    for drawn, found in (([0.99, 0.01], "25 times"), ([1.0, 0.0], "without bound, since none is drawn,")):
        with pytest.raises(InputError, match=f"at most 20 times .* found {found} for 'b' at step 0"):
            RowWeights(Mixture(ROWS, Static([0.75, 0.25])), np.array(drawn), 4)


def test_a_schedule_is_checked_for_all_steps_of_the_training():
    rising = Schedule({0: [0.9, 0.1], 50: [0.5, 0.5]})
    drawn = np.array([0.99, 0.01])
    RowWeights(Mixture(ROWS, rising), drawn, 50)
    with pytest.raises(InputError, match="50 times for 'b' at step 50"):
        RowWeights(Mixture(ROWS, rising), drawn, 51)


def test_a_strategy_is_held_where_a_row_would_count_too_much():
    drawn = np.array([0.98, 0.02])
    limits = held_within(None, ROWS, drawn)
    mixture = Mixture(ROWS, GroupDRO(learning_rate=50.0), lag=1, prior=[0.9, 0.1], constraints=limits)
    found = RowWeights(mixture, drawn, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.at(0)
    mixture.observe(Observation(step=0, batch_size=4, counts=[2, 2], loss=[1.0, 9.0]))
    assert mixture.strategy.weights(mixture.state)[1] > 0.9
    with pytest.warns(AlarmWarning, match="a row of 'b' counts 20 times, the most that is allowed"):
        factors = found.at(1)
    np.testing.assert_allclose(factors, [0.6 / 0.98, MOST])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.at(2)  # said once


def test_a_weight_that_is_held_is_an_alarm_of_the_decision(tmp_path):
    drawn = np.array([0.98, 0.02])
    strategy, limits = GroupDRO(learning_rate=50.0), held_within(None, ROWS, drawn)
    mixture = Mixture(ROWS, strategy, 1, [0.9, 0.1], tmp_path / "log.jsonl", limits)
    RowWeights(mixture, drawn, 9)
    watcher = Watcher(mixture, every=1, batch_size=4)
    for step, losses in enumerate(([[2, 2], [2.0, 2.0]], [[2, 2], [2.0, 18.0]], [[2, 2], [180.0, 2.0]])):
        watcher.add(np.array(losses), np.array([0.5, 0.5]))
        watcher.observe(step)
        assert bool(mixture.alarm) == (step == 1)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    said = "a row of 'b' counts 20 times, the most that is allowed, and its weight is held there; raise its share"
    assert [said in line.get("remarks", {}).get("alarm", "") for line in lines] == [False, True, False]
    assert alarms_of(lines) == [lines[1]["remarks"]["alarm"]]
    assert watcher.line({}, mixture.weights_for(3))["mixture/alarms"] == 1.0


def test_caps_that_are_given_stay():
    drawn = np.array([0.98, 0.02])
    given = Constraints(caps={"b": 0.1}, floors={"a": 0.2})
    assert held_within(given, ROWS, drawn).caps == {"a": 1.0, "b": 0.1}
    assert held_within(Constraints(caps={"b": 0.7}), ROWS, drawn).caps == {"a": 1.0, "b": 0.4}
    assert held_within(given, ROWS, np.array([0.5, 0.5])) is given
    with pytest.raises(InputError, match=r"'b' has floor 0.6 and cap 0.4"):
        Mixture(ROWS, Static([0.4, 0.6]), constraints=held_within(Constraints(floors={"b": 0.6}), ROWS, drawn))


def test_a_mixture_with_its_own_limits_is_refused_when_it_goes_too_far():
    mixture = Mixture(ROWS, GroupDRO(learning_rate=50.0), lag=1, prior=[0.9, 0.1])
    found = RowWeights(mixture, np.array([0.98, 0.02]), 9)
    mixture.observe(Observation(step=0, batch_size=4, counts=[2, 2], loss=[1.0, 9.0]))
    with pytest.raises(InputError, match="for 'b' at step 1"):
        found.at(1)


def test_a_strategy_that_acts_on_draws_alone_is_named():
    mixture = Mixture(ROWS, PiKE())
    with pytest.raises(InputError, match="PiKE works with apply='sampling', found 'loss'"):
        mixture.check(mixture.strategy.needs, apply="loss")


def test_weights_that_are_set_by_hand_act_on_the_loss_within_the_same_limit():
    drawn = np.array([0.98, 0.02])
    mixture = Mixture(ROWS, GroupDRO(0.1), lag=1, prior=[0.9, 0.1], constraints=held_within(None, ROWS, drawn))
    mixture.check({"loss", "planned"}, apply="loss")
    found = RowWeights(mixture, drawn, 9)
    mixture.set_weights({"a": 0.7, "b": 0.3}, at_step=3)
    np.testing.assert_allclose(found.at(2), [0.9 / 0.98, 0.1 / 0.02])
    np.testing.assert_allclose(found.at(3), [0.7 / 0.98, 0.3 / 0.02])
    with pytest.raises(InputError, match="b"):
        mixture.pin({"b": 0.5}, at_step=5)
    np.testing.assert_allclose(found.at(5), [0.7 / 0.98, 0.3 / 0.02])
