import json

import numpy as np
import pytest

from mixwright import BalancedPiKE, Every, Guard, InputError, Mixture, Observation, PiKE, Schedule, Static, replay
from mixwright.decisions import read_decisions
from mixwright.testing import observations

PRIOR = [0.5, 0.3, 0.2]


def recorded(tmp_path, strategy, count=10, drop=(), prior=PRIOR):
    """A log as a training leaves it, and the weights that it got."""
    path = tmp_path / "decisions.jsonl"
    mixture = Mixture(["en", "hi", "sw"], strategy, prior=prior, log=path)
    out = []
    for obs in observations(3, count):
        values = {name: value for name, value in obs.to_json().items() if name not in drop}
        out.append(mixture.observe(Observation.from_json(values)))
    return path, np.array(out)


@pytest.mark.parametrize(
    "strategy", [PiKE(), BalancedPiKE(3.0, rule="restoring"), Guard(Every(PiKE(rule="optimal"), 20)), Static()]
)
def test_replaying_the_runs_own_strategy_gives_its_weights_bit_by_bit(tmp_path, strategy):
    path, weights = recorded(tmp_path, strategy)
    log = read_decisions(path)
    assert (log.sources, log.strategy) == (("en", "hi", "sw"), repr(strategy))
    np.testing.assert_array_equal(log.weights, weights)
    for records in (path, str(path), tmp_path, log, [json.loads(line) for line in path.read_text().splitlines()]):
        np.testing.assert_array_equal(replay(records, strategy), weights)


def test_another_strategy_gives_what_it_would_have_given(tmp_path):
    path, weights = recorded(tmp_path, Static())
    other = BalancedPiKE(2.0)
    state, expected = other.init(np.array(PRIOR)), []
    for obs in observations(3):
        state = other.update(state, obs)
        expected.append(other.weights(state))
    found = replay(path, other)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - weights).max() > 0.01
    assert np.abs(replay(path, other, prior=[1, 1, 1]) - found).max() > 0.01


def test_a_schedule_is_asked_for_the_steps_on_which_weights_act(tmp_path):
    path, _ = recorded(tmp_path, Static(), count=3)
    schedule = Schedule({0: PRIOR, 14: [1, 0, 0], 22: [0, 1, 0]})
    assert replay(path, schedule).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]  # steps 6, 13, 20 with a lag of 8


def test_constrained_weights_are_compared_before_the_projection():
    seen = observations(2, 1)[0].to_json()
    line = {"begins": 14, "weights": [0.5, 0.5], "strategy_weights": [0.9, 0.1], "observation": seen}
    assert read_decisions([line]).weights.tolist() == [[0.9, 0.1]]


def test_a_log_without_words_about_the_run():
    seen = [obs.to_json() for obs in observations(2, 2)]
    lines = [{"begins": obs["step"] + 8, "weights": [0.5, 0.5], "observation": obs} for obs in seen]
    log = read_decisions(lines)
    assert (log.sources, log.prior, log.strategy) == (("source_0", "source_1"), None, "")
    assert replay(lines, Static()).tolist() == [[0.5, 0.5]] * 2


def test_a_line_that_was_cut_off_is_not_read(tmp_path):
    path, weights = recorded(tmp_path, PiKE(), count=5)
    text = path.read_text()
    path.write_text(text[:-40])
    np.testing.assert_array_equal(replay(path, PiKE()), weights[:4])


def test_what_the_strategy_needs_must_be_there(tmp_path):
    path, _ = recorded(tmp_path, Static(), drop=("grad_variance", "eval_loss"))
    with pytest.raises(
        InputError, match=r"PiKE needs grad_variance in each observation; the log has counts, excess_loss, grad_sq"
    ):
        replay(path, PiKE())
    replay(path, PiKE(variance=False))
    with pytest.raises(InputError, match=r"prior should have one weight per source \(3\), found 2"):
        replay(path, Static(), prior=[1, 1])


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def broken(lines, i, **changes):
    lines[i] = {name: value for name, value in {**lines[i], **changes}.items() if value is not None}
    return lines


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [], "should have at least one decision, found none"),
        (
            lambda lines: [*lines, lines[0]],
            "line 4: should be of a step after 20, found 6; the file holds more than one run",
        ),
        (lambda lines: [3], "line 1: a decision should be a mapping, found int"),
        (
            lambda lines: broken(lines, 1, weights=None),
            "line 2: a decision should have 'weights', found decision, begins",
        ),
        (lambda lines: broken(lines, 1, observation=None), "line 2: a decision should have 'observation'"),
        (lambda lines: broken(lines, 2, weights=[1, -1, 0]), "line 3: weights should be finite and not negative"),
        (lambda lines: broken(lines, 2, weights=[1, 0]), "line 3: found 2 weights and counts of 3 sources"),
        (lambda lines: broken(lines, 2, weights="high"), "line 3: weights should be"),
        (lambda lines: broken(lines, 2, begins="soon"), "line 3: 'begins' should be a step"),
        (
            lambda lines: broken(lines, 1, observation={"step": 9}),
            "line 2: an observation should have the field 'batch_size'",
        ),
        (lambda lines: broken(lines, 1, observation={"loss": "x"}), "line 2: an observation should have"),
        (lambda lines: broken(lines, 1, observation=[1]), "line 2: an observation should be a mapping"),
        (
            lambda lines: broken(lines, 0, run={"sources": ["a"]}),
            r"line 1: the run should have 3 sources.*found \['a'\]",
        ),
        (
            lambda lines: broken(lines, 0, run={"sources": ["a", "b", "c"], "prior": [0.5, 0.5]}),
            r"line 1: the run should have 3 shares in its prior.*found \[0.5, 0.5\]",
        ),
    ],
)
def test_bad_logs(tmp_path, change, message):
    path, _ = recorded(tmp_path, Static(), count=3)
    lines = change(lines_of(path))
    with pytest.raises(InputError, match=message):
        read_decisions(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match=message) as caught:
        read_decisions(path)
    assert "decisions.jsonl" in str(caught.value)


def test_bad_files(tmp_path):
    (tmp_path / "mixture.json").write_text('{"schema": 1,\n "weights": [1.0]}\n')
    with pytest.raises(
        InputError, match=r"should be a decision log, found another JSON file; give the folder of a run"
    ):
        replay(tmp_path / "mixture.json", Static())
    with pytest.raises(InputError, match=r"none.jsonl should be the decision log of a run .* found no such file"):
        replay(tmp_path / "none.jsonl", Static())
    with pytest.raises(InputError, match=r"decisions.jsonl should be the decision log of a run"):
        replay(tmp_path, Static())
    (tmp_path / "text.jsonl").write_text("not json\n")
    with pytest.raises(InputError, match=r"text.jsonl, line 1: should be a JSON object, found 'not json'"):
        replay(tmp_path / "text.jsonl", Static())
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match=r"bytes\.jsonl: this should be the decision log .*, found text in UTF-16"):
        replay(tmp_path / "bytes.jsonl", Static())
