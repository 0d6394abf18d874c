"""Other sources for a run under way: weights, states of strategies, mixtures and what is set by hand."""

import json

import numpy as np
import pytest

from mixwright import (
    ADO,
    AMAR,
    ODM,
    Constraints,
    DoReMi,
    Every,
    Floor,
    GroupDRO,
    Guard,
    InputError,
    LossRatio,
    Mixture,
    Observation,
    PiKE,
    Schedule,
    SkillIt,
    Smooth,
    Static,
    Temperature,
    UniMax,
    Warmup,
)
from mixwright.decisions import read_decisions
from mixwright.errors import AlarmWarning
from mixwright.source_change import SourceChange
from mixwright.steering.hand import Hand
from mixwright.strategies.registry import known
from mixwright.strategy import carried, state_from_json, state_to_json
from mixwright.testing.conformance import observations

NAMES = ("code", "books", "web")
ADD = SourceChange.add(NAMES, {"law": 0.2})
REMOVE = SourceChange.remove(NAMES, ["books"])
SPLIT = SourceChange.split(NAMES, "code", {"python": 30, "rust": 10})
CHANGES = {"add": ADD, "remove": REMOVE, "split": SPLIT}


def test_weights_by_hand():
    former = np.array([0.4, 0.4, 0.2])
    np.testing.assert_allclose(ADD.weights(former), [0.32, 0.32, 0.16, 0.2])
    np.testing.assert_allclose(REMOVE.weights(former), [2 / 3, 1 / 3])
    np.testing.assert_allclose(SPLIT.weights(former), [0.3, 0.1, 0.4, 0.2])
    np.testing.assert_allclose(ADD.weights(10 * former).sum(), 10)
    assert SPLIT.names == ("python", "rust", "books", "web")
    assert SPLIT.parts == {"code": ("python", "rust")}
    assert ADD.stays.tolist() == [True, True, True, False]
    fresh = np.array([9.0, 9.0, 9.0, 7.0])
    assert ADD.values(np.array([1.0, 2.0, 3.0]), fresh).tolist() == [1, 2, 3, 7]
    assert SPLIT.values(np.array([[1.0, 2.0, 3.0]]), np.zeros((1, 4))).tolist() == [[1, 1, 2, 3]]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_logs_are_the_logs_of_the_weights_and_go_back_through_json(change):
    former = np.array([0.4, 0.4, 0.2])
    np.testing.assert_allclose(np.exp(change.logs(np.log(former))), change.weights(former))
    tiny = change.logs(np.array([-2000.0, -1001.0, -1000.0]))
    assert np.isfinite(tiny).all()
    assert np.exp(tiny).sum() == pytest.approx(1)
    assert SourceChange.from_json(json.loads(json.dumps(change.to_json()))) == change


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SourceChange.add(NAMES, {"web": 0.1}), "not in use, found 'web'"),
        (lambda: SourceChange.add(NAMES, {"law": 1.0}), "from 0 to below 1, found 1.0"),
        (lambda: SourceChange.add(NAMES, {"law": 0.5, "news": 0.5}), "less than 1, found 1"),
        (lambda: SourceChange.add(NAMES, {}), "weights by name"),
        (lambda: SourceChange.remove(NAMES, ["bokks"]), "did you mean 'books'"),
        (lambda: SourceChange.remove(NAMES, NAMES), "others that stay"),
        (lambda: SourceChange.split(NAMES, "news", {"a": 1, "b": 1}), "a source 'news', found none"),
        (lambda: SourceChange.split(NAMES, "code", {"a": 1}), "at least two parts"),
        (lambda: SourceChange.split(NAMES, "code", {"a": 1, "b": 0}), "should have rows, found 0"),
        (lambda: REMOVE.weights(np.array([0.0, 1.0, 0.0])), "sources that stay should have some weight"),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


CARRY = {
    "static": Static([0.5, 0.3, 0.2]),
    "group dro": GroupDRO(learning_rate=0.5),
    "amar": AMAR(0.5),
    "doremi": DoReMi(smoothing=0.0),
    "odm": ODM(),
    "ado": ADO(warmup=1),
    "pike": PiKE(rule="restoring"),
    "guard of pike": Guard(PiKE(rule="restoring")),
    "every": Every(GroupDRO(learning_rate=0.5), steps=8),
    "smooth": Smooth(DoReMi(), 0.5),
    "warmup": Warmup(GroupDRO(learning_rate=0.5), 3),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("strategy", CARRY.values(), ids=CARRY)
def test_a_strategys_state_goes_over_with_its_weights(strategy, change):
    prior, state = np.array([0.5, 0.3, 0.2]), strategy.init(np.array([0.5, 0.3, 0.2]))
    for seen in observations(3)[:6]:
        state = strategy.update(state, seen)
    other = strategy.for_sources(change)
    found = carried(other, state, change, other.init(change.weights(prior)))
    np.testing.assert_allclose(other.weights(found), change.weights(strategy.weights(state)), rtol=1e-9)
    again = state_from_json(other.init(change.weights(prior)), json.loads(json.dumps(state_to_json(found))))
    for seen in observations(len(change.names))[6:]:
        found, again = other.update(found, seen), other.update(again, seen)
        assert other.weights(found).tobytes() == other.weights(again).tobytes()
        assert other.weights(found).sum() == pytest.approx(1)


def test_what_a_strategy_knows_of_a_source_its_parts_know():
    strategy = DoReMi(smoothing=0.0)
    state = strategy.init(np.full(3, 1 / 3))
    state = strategy.update(state, Observation(0, 8, [3, 3, 2], excess_loss=[0.5, 0.2, 0.1]))
    split = carried(strategy, state, SPLIT, strategy.init(np.array([0.25, 0.25, 0.25, 0.25])))
    assert split.latest.tolist() == [0.5, 0.5, 0.2, 0.1]
    assert strategy.average(split).sum() == pytest.approx(1)
    added = carried(strategy, state, ADD, strategy.init(np.full(4, 0.25)))
    assert added.latest[:3].tolist() == [0.5, 0.2, 0.1]
    assert np.isnan(added.latest[3])


def test_numbers_per_source_move_or_are_refused_in_words():
    np.testing.assert_allclose(Static([0.5, 0.3, 0.2]).for_sources(REMOVE).shares, [5 / 7, 2 / 7])
    schedule = Schedule({0: [1.0, 0.0, 0.0], 10: [0.4, 0.4, 0.2]}).for_sources(SPLIT)
    np.testing.assert_allclose(schedule.weights_at(10), [0.3, 0.1, 0.4, 0.2])
    assert Temperature(2.0, [900, 50, 50]).for_sources(SPLIT).sizes == (675.0, 225.0, 50.0, 50.0)
    assert UniMax([40, 50, 60], budget=10).for_sources(REMOVE).sizes == (40.0, 60.0)
    assert LossRatio([1.0, 2.0, 3.0]).for_sources(SPLIT).reference == (1.0, 1.0, 2.0, 3.0)
    for strategy in (Temperature(2.0, [900, 50, 50]), LossRatio([1.0, 2.0, 3.0]), Floor(GroupDRO(), 0.3)):
        with pytest.raises(InputError, match=r"should fit the new sources, found: .*(per source|floor)"):
            Mixture(NAMES, strategy).with_sources(ADD)


def observed(mixture, steps, first=0):
    for step in range(first, first + steps):
        k = mixture.k
        mixture.observe(Observation(step, 4 * k, [4] * k, loss=np.arange(k) + 1.0 + 0.1 * step))


def test_a_mixture_goes_on_with_decided_weights_prior_and_what_is_set_by_hand(tmp_path):
    mixture = Mixture(NAMES, GroupDRO(learning_rate=0.3), lag=3, prior=[0.5, 0.3, 0.2], log=tmp_path / "log.jsonl")
    mixture.pin({"code": 0.4}, at_step=8)
    observed(mixture, 4)
    decided = {step: mixture.weights_for(step) for step in (4, 5, 6)}
    other = mixture.with_sources(SPLIT)
    assert mixture.sources == NAMES
    for step, weights in decided.items():
        np.testing.assert_allclose(other.weights_for(step), SPLIT.weights(weights))
    np.testing.assert_allclose(other.prior, [0.375, 0.125, 0.3, 0.2])
    observed(other, 1, first=4)
    np.testing.assert_allclose(other.weights_for(8)[:2], [0.3, 0.1])
    again = Mixture(NAMES, GroupDRO(learning_rate=0.3), lag=3, prior=[0.5, 0.3, 0.2]).with_sources(SPLIT)
    again.load_state_dict(json.loads(json.dumps(other.state_dict())))
    for which in (other, again):
        observed(which, 3, first=6)
    np.testing.assert_array_equal(again.weights_for(10), other.weights_for(10))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line.get("run", {}).get("sources") for line in lines[:6]] == [
        list(NAMES),
        *[None] * 3,
        list(SPLIT.names),
        None,
    ]
    log = read_decisions(tmp_path / "log.jsonl")
    assert log.sources == SPLIT.names
    assert len(log.observations) == 4
    np.testing.assert_allclose(log.prior, other.prior)


def test_a_strategy_that_cannot_take_its_state_over_begins_again_with_an_alarm():
    mixture = Mixture(NAMES, SkillIt(), lag=1)
    for step in range(3):
        mixture.observe(Observation(step, 12, [4, 4, 4], eval_loss=[3.0, 2.0, 1.0]))
    weights = mixture.weights_for(3)
    assert weights[0] > 0.4
    with pytest.warns(AlarmWarning, match="SkillIt cannot take its state over to other sources: it begins again"):
        other = mixture.with_sources(SPLIT)
    np.testing.assert_allclose(other.weights_for(3), SPLIT.weights(weights))
    np.testing.assert_allclose(other.strategy.weights(other.state), SPLIT.weights(weights))


def test_constraints_and_pins_that_name_a_source_that_goes():
    mixture = Mixture(NAMES, Static([0.5, 0.3, 0.2]), constraints=Constraints(floors={"books": 0.2}))
    with pytest.raises(InputError, match=r"should fit the new sources, found: .*'books'"):
        mixture.with_sources(REMOVE)
    pinned = Mixture(NAMES, Static([0.5, 0.3, 0.2]))
    pinned.pin({"books": 0.5})
    np.testing.assert_allclose(pinned.with_sources(REMOVE).weights_for(0), [5 / 7, 2 / 7])
    assert pinned.with_sources(ADD).weights_for(0)[1] == pytest.approx(0.4)  # as all others, less by the new 0.2
    with pytest.raises(InputError, match="the change should be one of"):
        pinned.with_sources(SourceChange.add(["a", "b"], {"c": 0.1}))


def test_every_strategy_says_what_becomes_of_it():
    room = known().values()
    kinds = {way for cls in room if isinstance(cls.__dict__.get("carries"), dict) for way in cls.carries.values()}
    assert kinds == {"weights", "logs", "values", "kept"}


@pytest.mark.parametrize(
    ("pins", "expected"),
    [({"code": 0.3, "web": 0.7}, [0.63, 0.27, 0.1]), ({"code": 0.3}, [0.63, 0.27, 0.1]), ({}, [0.72, 0.18, 0.1])],
)
def test_a_new_source_gets_its_weight_beside_pins(pins, expected):
    mixture = Mixture(["web", "code"], Static([0.8, 0.2]))
    if pins:
        mixture.pin(pins)
    other = mixture.with_sources(SourceChange.add(["web", "code"], {"law": 0.1}))
    np.testing.assert_allclose(other.weights_for(0), expected)
    again = Mixture(["web", "code"], Static([0.8, 0.2])).with_sources(SourceChange.add(["web", "code"], {"law": 0.1}))
    again.load_state_dict(json.loads(json.dumps(other.state_dict())))
    np.testing.assert_allclose(again.weights_for(1), expected)
    both = other.with_sources(SourceChange.add(other.sources, {"news": 0.2}))
    np.testing.assert_allclose(both.weights_for(0), [*0.8 * np.array(expected), 0.2])
    if "web" not in pins:
        both.pin({"code": 0.3}, at_step=1)  # other pins: the rest is in proportion to the strategy's weights again
        rest = np.array([0.576, 0.08, 0.2])
        np.testing.assert_allclose(both.weights_for(1)[[0, 2, 3]], 0.7 * rest / rest.sum())


def test_pins_that_leave_something_over_when_a_source_goes():
    mixture = Mixture(["web", "code"], Static([0.5, 0.5]))
    mixture.pin({"code": 0.3, "web": 0.7}, at_step=0)
    gone = SourceChange.remove(["web", "code"], ["code"])
    with pytest.raises(InputError, match=r"pinned \(web: 0\.7\); unpin web first, or give it a new pin"):
        mixture.with_sources(gone)
    mixture.unpin("web", at_step=3)
    np.testing.assert_allclose(mixture.with_sources(gone).weights_for(3), [1.0])


def by_hand(config):
    return Hand(strategy=config)


def test_a_strategy_that_was_set_by_hand_in_the_past_does_not_stop_a_change():
    static, dro = {"name": "Static", "weights": {"code": 0.6, "books": 0.2, "web": 0.2}}, {"name": "GroupDRO"}
    dro["learning_rate"] = 0.5
    mixture = Mixture(NAMES, GroupDRO(learning_rate=0.3), lag=2)
    mixture.steer(by_hand(static), 3)
    mixture.steer(by_hand(dro), 6)
    observed(mixture, 3)
    assert mixture.strategy == Static([0.6, 0.2, 0.2])
    with pytest.warns(AlarmWarning, match="GroupDRO .* begins again"):  # what comes next holds at once
        early = mixture.with_sources(REMOVE)
    assert early.strategy == GroupDRO(learning_rate=0.5)
    np.testing.assert_allclose(early.weights_for(4), [0.75, 0.25])
    observed(mixture, 5, first=3)
    other = mixture.with_sources(REMOVE)
    np.testing.assert_allclose(other.weights_for(8), REMOVE.weights(mixture.weights_for(8)))
    again = Mixture(NAMES, GroupDRO(learning_rate=0.3), lag=2).with_sources(REMOVE)
    again.load_state_dict(json.loads(json.dumps(other.state_dict())))
    for which in (other, again):
        observed(which, 3, first=8)
    np.testing.assert_array_equal(again.weights_for(12), other.weights_for(12))


@pytest.mark.parametrize("weights", [{"code": 0.6, "books": 0.2, "web": 0.2}, [0.6, 0.2, 0.2]])
def test_a_strategy_set_by_hand_that_does_not_fit_the_new_sources_is_named(weights):
    mixture = Mixture(NAMES, GroupDRO(learning_rate=0.3), lag=2)
    mixture.steer(by_hand({"name": "Static", "weights": weights}), 3)
    with pytest.raises(InputError, match=r"^the strategy set by hand should fit the sources .*, found: .*undo it$"):
        mixture.with_sources(REMOVE)
