"""What is set by hand: weights and pins on the simplex, beside constraints, from a step on, in log and state."""

import json

import numpy as np
import pytest

from mixwright import Constraints, Mixture, Observation, Schedule, Static
from mixwright.errors import InputError
from mixwright.steering.hand import Hand

NAMES = ("code", "books", "web")


def mixture(**changes):
    return Mixture(NAMES, Static([0.5, 0.3, 0.2]), **changes)


def test_weights_hold_from_their_step_until_the_strategy_gives_them_again():
    m = mixture()
    assert m.set_weights({"code": 0.3, "books": 0.7}, at_step=5) == 5
    assert m.set_weights(None, at_step=8) == 8
    np.testing.assert_array_equal(m.weights_for(4), [0.5, 0.3, 0.2])
    np.testing.assert_array_equal(m.weights_for(5), [0.3, 0.7, 0.0])
    np.testing.assert_array_equal(m.weights_for(7), [0.3, 0.7, 0.0])
    np.testing.assert_array_equal(m.weights_for(8), [0.5, 0.3, 0.2])


def test_a_pin_holds_while_the_strategy_goes_on_over_the_rest():
    m = Mixture(NAMES, Schedule({0: [0.5, 0.3, 0.2], 4: [0.2, 0.0, 0.8], 6: [1.0, 0.0, 0.0]}))
    m.pin({"code": 0.2}, at_step=2)
    np.testing.assert_allclose(m.weights_for(3), [0.2, 0.48, 0.32])
    np.testing.assert_allclose(m.weights_for(4), [0.2, 0.0, 0.8])
    np.testing.assert_allclose(m.weights_for(6), [0.2, 0.4, 0.4])  # nothing left to be in proportion to: the prior
    m.unpin("code")
    np.testing.assert_allclose(m.weights_for(7), [1.0, 0.0, 0.0])


def test_pins_and_constraints_hold_together():
    m = mixture(constraints=Constraints(caps={"books": 0.4}))
    m.pin({"code": 0.2})
    w = m.weights_for(0)
    assert w.sum() == pytest.approx(1)
    assert w[0] == pytest.approx(0.2)
    assert w[1] <= 0.4 + 1e-9
    with pytest.raises(InputError, match=r"frozen weight of source 'books' .* cap 0\.4"):
        m.pin({"books": 0.5})
    with pytest.raises(InputError, match="keep to the constraints of the run"):
        m.set_weights([0.2, 0.5, 0.3])


def test_the_first_free_step_is_the_one_after_what_was_asked():
    m = mixture()
    m.weights_for(6)
    with pytest.raises(InputError, match=r"at step 7 or later \(the steps before 7 are planned\), found 6"):
        m.pin({"web": 0.1}, at_step=6)
    assert m.pin({"web": 0.1}) == 7
    assert m.unpin(at_step=12) == 12
    with pytest.raises(InputError, match="step 12 has a later change"):
        m.pin({"web": 0.1}, at_step=9)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pin({"coed": 0.2}), "a pin should name a source; found 'coed'; did you mean 'code'"),
        (lambda m: m.pin({"code": 1.2}), "pin of source 'code' should be a share from 0 to 1"),
        (lambda m: m.pin({"code": 0.7, "web": 0.7}), "pins should sum to at most 1, found 1.4"),
        (lambda m: m.pin({"code": 0.2, "web": 0.2, "books": 0.2}), "pins should sum to 1, found 0.6"),
        (lambda m: m.pin({}), "pins should be shares by source"),
        (lambda m: m.unpin("code"), "'code' is not pinned; pinned: none"),
        (lambda m: m.set_weights({"code": 0.2}), "sum to 1, found code: 0.2 with the sum 0.2"),
        (lambda m: m.set_weights({"code": 1.5, "web": -0.5}), "weights should be at least 0"),
        (lambda m: m.set_weights({"code": float("nan"), "web": 1}), "weights should be at least 0"),
        (lambda m: m.set_weights([0.5, 0.5]), "one number per source .3."),
        (lambda m: (m.pin({"code": 0.2}), m.set_weights([0.5, 0.5, 0])), "pinned at 0.2, and the weights give it 0.5"),
    ],
)
def test_what_cannot_be_set_changes_nothing(change, said):
    m = mixture()
    with pytest.raises(InputError, match=said):
        change(m)
    assert len(list(m.hands)) == ("pinned at" in said)


def test_it_is_in_the_state_and_in_the_log(tmp_path):
    m = mixture(log=tmp_path / "decisions.jsonl", lag=2)
    m.set_weights([0.3, 0.7, 0.0], at_step=3)
    m.pin({"code": 0.1}, at_step=5)  # the pin counts where the weights say something else
    for step in range(6):
        m.observe(Observation(step, 4, [2, 1, 1]))
    lines = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [line.get("by_hand") for line in lines][:2] == [None, {"weights": {"code": 0.3, "books": 0.7, "web": 0.0}}]
    assert lines[3]["by_hand"]["pins"] == {"code": 0.1}
    assert lines[3]["strategy_weights"] == [0.5, 0.3, 0.2]
    assert lines[3]["weights"] == pytest.approx([0.1, 0.9, 0.0])
    again = mixture(lag=2)
    again.load_state_dict(json.loads(json.dumps(m.state_dict())))
    for step in range(5, 12):
        np.testing.assert_array_equal(again.weights_for(step), m.weights_for(step))
    assert again.state_dict() == m.state_dict()


@pytest.mark.parametrize("damage", [[[3]], [[3, {"pins": {"nobody": 0.1}}]], [["x", {}]], 7, [[3, {"what": 1}]]])
def test_a_damaged_state_changes_nothing(damage):
    m = mixture()
    m.pin({"code": 0.2})
    before = m.state_dict()
    with pytest.raises(InputError):
        m.load_state_dict({**before, "by_hand": damage})
    assert m.state_dict() == before


def test_nothing_is_the_default():
    assert Hand().to_json() == {}
    assert Hand.from_json({}, NAMES) == Hand()
