"""A Trainer whose weights are changed by hand under way: orders in its folder, followed, kept, undone."""

import json

import numpy as np
import pytest
from trainers import NAMES, STEPS, decisions, run

from mixwright import GroupDRO, InputError, Mixture, Static
from mixwright.errors import AlarmWarning
from mixwright.steering.known import read_record
from mixwright.steering.orders import CONTROL
from orders_by_hand import Orders


def rows_of(steps):
    return [[(b.step, b.source.tolist(), b.row.tolist()) for b in batches] for batches in steps.batches]


def weights_of(steps):
    return [batches[0].weights.round(9).tolist() for batches in steps.batches]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_steered_training_that_stops_and_goes_on_is_an_undisturbed_one_with_that_schedule(tmp_path, workers):
    def train(name, orders=(), **more):
        folder = tmp_path / name
        options = {"num_workers": workers, "ahead": 1, "lag": 3, "log": folder / "log.jsonl"}
        options |= {"callbacks": [Orders(folder, orders)], "arguments": {"max_steps": 12}}
        return run(folder, GroupDRO(learning_rate=0.5), **options, **more)[2]

    pin = {"pin": {"a": 0.25}}
    first = train("steered", {1: pin, 2: {"weights": {"a": 0.25, "c": 0.75}, "at": 6}}, stop=4)
    again = train("steered", {5: {"undo": True, "at": 10}}, resume=tmp_path / "steered" / "checkpoint-3")
    record = read_record(tmp_path / "steered")
    assert record[0] == {"sources": list(NAMES)}
    assert [line["at"] for line in record[1:]] == [5, 6, 10]
    schedule = [{**line["order"], "at": line["at"]} for line in record[1:]]
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / CONTROL).write_text(json.dumps(schedule) + "\n")
    whole = train("whole")
    assert rows_of(first)[:3] + rows_of(again) == rows_of(whole)
    assert decisions(tmp_path / "steered" / "log.jsonl") == decisions(tmp_path / "whole" / "log.jsonl")
    weights = weights_of(whole)
    assert [weights[step][0] for step in (5, 10, 11)] == [0.25] * 3
    assert weights[4][0] != 0.25
    assert weights[6:10] == [[0.25, 0.0, 0.75]] * 4
    by_hand = {line["begins"]: line.get("by_hand") for line in decisions(tmp_path / "whole" / "log.jsonl")}
    assert by_hand[4] is None
    assert by_hand[6] == {"pins": {"a": 0.25}, "weights": {"a": 0.25, "c": 0.75}}
    assert by_hand[10] == {"pins": {"a": 0.25}}  # undone


def test_a_cut_off_file_and_unknown_sources_are_ignored_with_an_alarm(tmp_path):
    orders = {1: "- pin: {a: 0.2", 2: "- pin: {nobody: 0.2}\n", 3: "- weights: {b: 1.0}\n"}
    with pytest.warns(AlarmWarning) as said:
        _, callback, steps = run(tmp_path, Static([0.5, 0.25, 0.25]), lag=2, callbacks=[Orders(tmp_path, orders)])
    alarms = [str(each.message) for each in said if each.category is AlarmWarning]
    assert "should end with a line break" in alarms[0]
    assert "'nobody'" in alarms[1]
    assert len(alarms) == 2
    assert [line.get("at") for line in read_record(tmp_path)[1:]] == [None, 6]
    assert weights_of(steps)[5:] == [[0.5, 0.25, 0.25], *[[0.0, 1.0, 0.0]] * (STEPS - 6)]
    assert list(dict(callback.mixture.hands)) == [6]


def test_weights_that_act_on_the_loss_are_steered(tmp_path):
    orders = {1: {"weights": {"b": 1.0}}}
    mixture = Mixture({"a": 40, "b": 30, "c": 20}, Static([0.5, 0.25, 0.25]), lag=5)
    _, callback, steps = run(tmp_path, mixture, sampling="uniform", callbacks=[Orders(tmp_path, orders)])
    assert callback.row_weights.at(7).tolist() == [0.0, 3.0, 0.0]
    weights = [line["mixture/weight/b"] for line in steps.logs if "mixture/weight/b" in line]
    assert weights == [0.25] * 3 + [1.0]  # from step 7 on, a line for two steps
    np.testing.assert_allclose(weights_of(steps), 1 / 3)  # rows are drawn as before


def test_the_folder_is_another_one_or_none(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / CONTROL).write_text("- weights: {c: 1.0}\n")
    steps = run(tmp_path / "out", Static([0.5, 0.25, 0.25]), control=other)[2]
    assert weights_of(steps) == [[0.0, 0.0, 1.0]] * STEPS
    assert not (tmp_path / "out" / "steering.jsonl").exists()
    steps = run(other, Static([0.5, 0.25, 0.25]), control=False)[2]
    assert weights_of(steps) == [[0.5, 0.25, 0.25]] * STEPS
    with pytest.raises(InputError, match="control should be True, False or a folder, found 3"):
        run(tmp_path / "bad", Static([0.5, 0.25, 0.25]), control=3)


def test_orders_for_other_sources_are_refused_at_the_start(tmp_path):
    (tmp_path / "steering.jsonl").write_text('{"sources": ["x", "y"]}\n')
    run(tmp_path, Static([0.5, 0.25, 0.25]))  # without orders it is another training in the folder
    assert read_record(tmp_path) == [{"sources": list(NAMES)}]
    (tmp_path / "steering.jsonl").write_text('{"sources": ["x", "y"]}\n{"order": {"pin": {"x": 0.5}}, "at": 3}\n')
    with pytest.raises(InputError, match="orders for the sources a, b, c, found those of a run of x, y; remove"):
        run(tmp_path, Static([0.5, 0.25, 0.25]))
