"""The control file: read between steps, recorded before it is followed, ignored with an alarm if it is wrong."""

import warnings

import numpy as np
import pytest

from mixwright import Mixture, Static
from mixwright.errors import AlarmWarning, InputError
from mixwright.steering.control import Control, follow
from mixwright.steering.known import Known, check_step, read_record
from mixwright.steering.orders import CONTROL, Order, add_order, parts_of_file, read_orders
from mixwright.steering.words import order_words, steering_notes

NAMES = ("code", "books", "web")


@pytest.fixture
def mixture():
    made = Mixture(NAMES, Static([0.5, 0.3, 0.2]), lag=4)
    made.check({"loss", "planned"})
    return made


class Regroups:
    """A training whose sources can be changed."""

    def __init__(self, mixture):
        self.mixture = mixture

    def planned_change(self, order, first):
        return first, order.source_change(self.mixture.sources)

    def check_fed(self, strategy):
        if "eval_loss" in strategy.needs:
            raise InputError("there are no held-out documents")


def steered(folder, mixture, control, step, text=None):
    """Let the training look into the control file before a step."""
    if text is not None:
        (folder / CONTROL).write_text(text)
    follow(mixture, control.take(step))


def order(folder, **values):
    add_order(folder, Order.of(values), NAMES)


def test_orders_hold_from_a_step_that_is_not_planned_ahead(tmp_path, mixture):
    control = Control(tmp_path, mixture)
    assert not control.changed()
    order(tmp_path, weights={"code": 0.3, "books": 0.7})
    assert control.changed()
    steered(tmp_path, mixture, control, 10)
    assert not control.changed()
    np.testing.assert_array_equal(mixture.weights_for(13), [0.5, 0.3, 0.2])
    np.testing.assert_array_equal(mixture.weights_for(14), [0.3, 0.7, 0.0])
    order(tmp_path, pin={"web": 0.2}, at=20)
    order(tmp_path, undo=True, at=30)
    order(tmp_path, undo=True)
    steered(tmp_path, mixture, control, 14)
    np.testing.assert_allclose(mixture.weights_for(20), [0.24, 0.56, 0.2])
    np.testing.assert_array_equal(mixture.weights_for(30), [0.5, 0.3, 0.2])  # both undone: the last of a step counts
    assert [line["at"] for line in read_record(tmp_path)] == [14, 20, 30, 30]


def test_a_run_that_goes_on_follows_each_order_at_the_same_step(tmp_path, mixture):
    control = Control(tmp_path, mixture)
    steered(tmp_path, mixture, control, 10, "- {pin: {code: 0.2}}\n- {unpin: code, at: 40}\n")
    for old in (None, mixture.state_dict()):  # a checkpoint from before the order, and one from after it
        again = Mixture(NAMES, Static([0.5, 0.3, 0.2]), lag=4)
        if old is not None:
            again.load_state_dict(old)
        follow(again, Control(tmp_path, again).take(3))
        assert list(again.hands) == list(mixture.hands)
    assert [line["at"] for line in read_record(tmp_path)] == [14, 40]


def test_orders_that_were_there_before_the_first_step_may_hold_from_it(tmp_path, mixture):
    (tmp_path / CONTROL).write_text("weights: {web: 1.0}\n")
    follow(mixture, Control(tmp_path, mixture).take(0))
    np.testing.assert_array_equal(mixture.weights_for(0), [0, 0, 1])


BAD = {
    "cut off": "- weights: {code: 0.3, boo",
    "cut off within a number": "- pin: {code: 0.2}\n  at: 5",
    "not YAML": "- weights: {code: 0.3\n",
    "another action": "- {wieghts: {code: 1.0}}\n",
    "two actions": "- {pin: {code: 0.1}, unpin: [code]}\n",
    "bytes": b"\xff\xfe- pin",
    "not finite": "- weights: {code: .nan, web: 1}\n",
    "unknown source": "- weights: {coed: 1.0}\n",
    "off the simplex": "- weights: {code: 0.5, books: 0.6}\n",
    "a step that is past": "- {pin: {code: 0.1}, at: 3}\n",
    "nothing to undo": "- undo: true\n",
    "no shares": "- pin: code\n",
    "no strategy": "- strategy: pikee\n",
    "a strategy that reads what is not observed": "- strategy: pike\n",
    "no name to add": "- add: 5\n",
    "no names to add": "- add: [[law]]\n",
    "nothing to add": "- add:\n",
    "no name to remove": "- remove: 5\n",
    "names to remove in a list": "- remove: [[web]]\n",
    "a mapping to remove": "- remove: {web: 1}\n",
    "parts that are no names": "- split: {code: [[python], rust]}\n",
    "no parts": "- split: {code: python}\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_wrong_is_ignored_with_one_alarm_and_may_be_corrected(tmp_path, mixture, text):
    control = Control(tmp_path, mixture, regroup=Regroups(mixture))
    (tmp_path / CONTROL).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.warns(AlarmWarning) as said:
        steered(tmp_path, mixture, control, 10)
    assert len(said) == 1
    assert len(list(mixture.hands)) == 0
    assert "ignored" in read_record(tmp_path)[-1]
    steering_notes(read_record(tmp_path))
    for line in read_record(tmp_path):
        assert "order" not in line or order_words(line["order"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steered(tmp_path, mixture, control, 11)  # said once
        steered(tmp_path, mixture, control, 12, "- pin: {code: 0.2}\n")
    np.testing.assert_allclose(mixture.weights_for(16), [0.2, 0.48, 0.32])


def test_a_wrong_order_does_not_stop_those_after_it(tmp_path, mixture):
    control = Control(tmp_path, mixture)
    with pytest.warns(AlarmWarning, match="an order in .* is ignored: .*'nobody'"):
        steered(tmp_path, mixture, control, 10, "- pin: {nobody: 0.1}\n- pin: {nobody: 0.1}\n- pin: {code: 0.2}\n")
    assert [at for at, _ in mixture.hands] == [14]
    order(tmp_path, unpin=["code"])
    steered(tmp_path, mixture, control, 20)
    assert [at for at, _ in mixture.hands] == [14, 24]


@pytest.mark.parametrize("end", ["- weights: {code", "-", "- unpin:\n  - co", "- weights: {web: 1.0}\n  at: 1"])
def test_whole_orders_before_one_that_is_cut_off_are_followed(tmp_path, mixture, end):
    control, whole = Control(tmp_path, mixture), "# mine\n- pin: {code: 0.2}\n- pin:\n    web: 0.1\n  at: 20\n"
    with pytest.warns(
        AlarmWarning, match=r"should end with a line break, .* in part\? The orders before it \(2\) are read"
    ) as said:
        steered(tmp_path, mixture, control, 10, whole + end)
    assert len(said) == 1
    assert [at for at, _ in mixture.hands] == [14, 20]
    with pytest.warns(AlarmWarning, match=r"in part\? The orders before it \(1\) are read"):
        steered(tmp_path, mixture, control, 11, whole[:36])  # it is written once more, from the beginning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steered(tmp_path, mixture, control, 12, whole + "- weights: {code: 0.2, books: 0.7, web: 0.1}\n")
    assert [at for at, _ in mixture.hands] == [14, 20]
    assert mixture.hands.last.weights == {"code": 0.2, "books": 0.7, "web": 0.1}
    assert [line["at"] for line in read_record(tmp_path) if "at" in line] == [14, 20, 20]


@pytest.mark.parametrize(
    "text", ["unpin:\n- code\n- bo", "- {pin: {code: 0.1}, at: 5", "[{pin: {code: 0.1}},\n{pin: {w"]
)
def test_nothing_of_a_cut_off_file_is_whole_but_orders_of_a_list_that_others_follow(tmp_path, text):
    (tmp_path / CONTROL).write_text(text)
    assert parts_of_file(tmp_path)[0] == []
    with pytest.raises(InputError, match=r"found .* is it written only in part\?$"):
        order(tmp_path, pin={"web": 0.2})
    assert (tmp_path / CONTROL).read_text() == text


def test_what_the_run_would_ignore_is_refused_by_the_command(tmp_path, mixture):
    order(tmp_path, strategy="pike", at=3)  # nothing is known yet
    (tmp_path / CONTROL).unlink()
    Control(tmp_path, mixture)
    order(tmp_path, pin={"code": 0.2}, at=0)
    before = (tmp_path / CONTROL).read_bytes()
    with pytest.raises(
        InputError, match="PiKE needs grad_sq_norm, grad_variance in each observation, found loss, plan"
    ):
        order(tmp_path, strategy="pike")
    (tmp_path / "metrics.jsonl").write_text('{"step": 9}\n{"step": 10}\n{"ste')
    with pytest.raises(InputError, match=r"should begin at step 14 or later, found 13 \(the run is at 10\)"):
        order(tmp_path, pin={"code": 0.2}, at=13)
    (tmp_path / "decisions.jsonl").write_text('{"observation": {"step": 11}}\n')
    with pytest.raises(InputError, match=r"at step 16 or later, found 15 \(the run is at 12\)"):
        order(tmp_path, undo=True, at=15)
    assert (tmp_path / CONTROL).read_bytes() == before
    order(tmp_path, undo=True, at=16)
    order(tmp_path, strategy={"name": "GroupDRO", "learning_rate": 0.5})


def test_an_order_that_is_followed_cannot_be_rewritten(tmp_path, mixture):
    control = Control(tmp_path, mixture)
    steered(tmp_path, mixture, control, 10, "- pin: {code: 0.2}\n")
    with pytest.warns(AlarmWarning, match="order 1 of .* should stay"):
        steered(tmp_path, mixture, control, 20, "- pin: {code: 0.3}\n")
    assert [at for at, _ in mixture.hands] == [14]
    (tmp_path / CONTROL).unlink()
    steered(tmp_path, mixture, control, 30)
    assert [at for at, _ in mixture.hands] == [14]


def test_a_wrong_order_is_refused_by_the_command_and_the_file_stays(tmp_path):
    order(tmp_path, pin={"code": 0.2}, at=50)
    before = (tmp_path / CONTROL).read_bytes()
    for values, said in (
        ({"pin": {"coed": 0.2}}, "did you mean 'code'"),
        ({"unpin": ["web"]}, "'web' is not pinned; pinned: code"),
        ({"weights": {"web": 0.5}}, "sum to 1, found web: 0.5"),
        ({"weights": {"web": 1.0}}, "pinned at 0.2"),
        ({"undo": True, "at": 40}, r"step of the one before it \(50\) or later, found 40"),
        ({"add": 5}, "add should be the name of a source, or a list of names, or weights by name, .* found 5"),
        ({"remove": {"web": 1}}, "remove should be the name of a source, or a list of names, found {'web': 1}"),
        ({"split": {"code": [["python"], "rust"]}}, "split should be a source and its parts"),
    ):
        with pytest.raises(InputError, match=said):
            order(tmp_path, **values)
    assert (tmp_path / CONTROL).read_bytes() == before
    assert [o.to_json() for o in read_orders(tmp_path)] == [{"pin": {"code": 0.2}, "at": 50}]


def test_the_name_of_a_source_that_was_split_stays_its_own(tmp_path):
    order(tmp_path, split={"code": ["python", "rust"]}, at=10)
    for values in ({"add": {"code": 0.1}}, {"split": {"web": ["code", "rest"]}}):
        with pytest.raises(InputError, match="name of its own, found 'code', which was split: its rows are those of"):
            order(tmp_path, **values)
    with pytest.raises(InputError, match=r"add what was removed; a split stays\)"):
        order(tmp_path, undo=True)
    order(tmp_path, remove="rust", at=20)
    order(tmp_path, add={"rust": 0.1}, at=30)
    assert len(read_orders(tmp_path)) == 3


@pytest.mark.parametrize("text", ["{", "3"])
def test_a_damaged_record_is_one_error_that_says_what_to_do(tmp_path, text):
    (tmp_path / "steering.jsonl").write_text(f'{{"at": 3}}\n{text}\n')
    with pytest.raises(InputError, match=r"steering.jsonl should .*found .*; put back the file that the run wrote"):
        read_record(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"lag": 1}', '{"lag": "1", "given": [], "apply": "a", "draw": "b"}',
                                  '{"lag": 1, "given": 3, "apply": "a", "draw": "b"}'])  # fmt: skip
def test_what_a_run_says_of_itself_is_left_aside_where_it_is_damaged(tmp_path, text):
    Known(1, ["loss"], "loss", "carry").write(tmp_path)
    assert Known.read(tmp_path) == Known(1, ["loss"], "loss", "carry")
    (tmp_path / "steerable.json").write_text(text)
    assert Known.read(tmp_path) is None
    check_step(tmp_path, 0)
