import json
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixwright import Constraints, InputError, Mixture, Observation, Plan, Schedule, Static, Strategy


class Sums(NamedTuple):
    total: np.ndarray
    updates: int


@dataclass(frozen=True)
class ByLoss(Strategy[Sums]):
    """More weight where the loss was higher."""

    rate: float = 0.1
    needs = frozenset({"loss"})
    draw = frozenset({"carry"})

    def init(self, prior):
        return Sums(np.log(prior), 0)

    def update(self, state, obs):
        return Sums(state.total + self.rate * np.where(obs.counts > 0, np.nan_to_num(obs.loss), 0), state.updates + 1)

    def weights(self, state):
        weights = np.exp(state.total - state.total.max())
        return weights / weights.sum()


SIZES = {"en": 50, "hi": 20, "sw": 7}


def observed(step):
    """What training reports: it depends on the rows of the step alone."""
    counts = np.bincount(step.source, minlength=3)
    loss = np.where(counts > 0, np.bincount(step.source, step.row % 5, 3) / np.maximum(counts, 1), np.nan)
    return Observation(step=step.step, batch_size=8, counts=counts, planned=step.weights, loss=loss)


def train(mixture, plan, until, ahead=0, every=1):
    """Train to step `until` and return the steps; the loader plans `ahead` steps beyond the one at work."""
    queue, done = [], []
    step = plan.step
    while step < until:
        while len(queue) <= ahead:
            queue.append(next(plan))
        done.append(queue.pop(0))
        if step % every == 0:
            mixture.observe(observed(done[-1]))
        step += 1
    return done


def pair(lag=4, log=None):
    mixture = Mixture(SIZES, ByLoss(), lag=lag, log=log)
    return mixture, Plan(SIZES, mixture, batch_size=8)


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        for u, v in zip(x, y, strict=True):
            np.testing.assert_array_equal(u, v)


@settings(max_examples=30)
@given(st.integers(0, 29), st.integers(0, 3), st.integers(0, 3), st.integers(1, 5))
def test_rows_do_not_depend_on_what_is_read_ahead_or_on_a_stop(stop, ahead, ahead_then, every):
    whole = train(*pair(), 30, every=every)
    assert len({tuple(step.weights) for step in whole}) > 3
    mixture, plan = pair()
    same(train(mixture, plan, stop, ahead, every), whole[:stop])
    states = json.loads(json.dumps([mixture.state_dict(), plan.state_dict(stop)], allow_nan=False))
    mixture, plan = pair()
    mixture.load_state_dict(states[0])
    plan.load_state_dict(states[1])
    same(train(mixture, plan, 30, ahead_then, every), whole[stop:])


def test_weights_act_after_the_lag_and_stay_once_asked():
    mixture = Mixture(["a", "b"], ByLoss(1.0), lag=3)
    first = mixture.weights_for(0)
    after = mixture.observe(Observation(step=0, batch_size=2, counts=[1, 1], loss=[1.0, 0.0]))
    assert [mixture.weights_for(t)[0] for t in (0, 2, 3, 9)] == [first[0], first[0], after[0], after[0]]
    assert after[0] > 0.7
    with pytest.raises(InputError, match="act from step 4 on, but step 9 is planned already; use lag=9 or more"):
        mixture.observe(Observation(step=1, batch_size=2, counts=[1, 1], loss=[1.0, 0.0]))
    assert mixture.state.updates == 1
    with pytest.raises(ValueError, match="read-only"):
        mixture.weights_for(3)[0] = 1


def test_what_is_read_ahead_is_checked_at_the_start():
    mixture = Mixture(["a", "b"], ByLoss(), lag=4)
    mixture.check_ahead(3)
    with pytest.raises(InputError, match="lag should be at least 5, found 4; use lag=5"):
        mixture.check_ahead(4)
    Mixture(["a", "b"], Static(), lag=1)
    Mixture(["a", "b"], Schedule({0: [1, 0]}), lag=1).check_ahead(99)


def test_a_schedule_drives_a_plan():
    mixture = Mixture(["a", "b"], Schedule({0: [1, 0], 3: [0, 1]}))
    plan = Plan({"a": 5, "b": 5}, mixture, batch_size=2)
    assert [next(plan).source[0] for _ in range(5)] == [0, 0, 0, 1, 1]
    with pytest.raises(InputError, match="a Mixture gives this plan its weights"):
        plan.set_weights([0.5, 0.5])
    mixture.observe(Observation(step=4, batch_size=2, counts=[5, 5]))
    assert mixture.weights_for(6).tolist() == [0, 1]


def test_the_log_holds_each_decision_once(tmp_path):
    whole, cut = tmp_path / "whole" / "decisions.jsonl", tmp_path / "cut.jsonl"
    train(*pair(log=whole), 12)
    mixture, plan = pair(log=cut)
    train(mixture, plan, 5)
    states = mixture.state_dict(), plan.state_dict()
    train(mixture, plan, 9)  # then killed: what followed the checkpoint is decided again
    mixture, plan = pair(log=cut)
    mixture.load_state_dict(states[0])
    plan.load_state_dict(states[1])
    train(mixture, plan, 12)
    assert cut.read_text() == whole.read_text()
    lines = [json.loads(line) for line in cut.read_text().splitlines()]
    assert [line["decision"] for line in lines] == list(range(12))
    assert lines[3]["begins"] == 7
    assert Observation.from_json(lines[3]["observation"]).step == 3
    with pytest.raises(InputError, match=r"decisions of an earlier run; .* remove the file to begin again"):
        train(*pair(log=cut), 2)


def test_the_ledger_is_in_the_log(tmp_path):
    mixture, plan = pair(log=tmp_path / "log.jsonl")
    mixture.observe(observed(next(plan)), ledger=plan.ledger())
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["ledger"]["sources"][0]["source"] == "en"


def test_priors():
    assert Mixture({"a": 30, "b": 10}, Static(), prior="natural").weights_for(0).tolist() == [0.75, 0.25]
    assert Mixture({"a": 30, "b": 10}, Static()).weights_for(0).tolist() == [0.5, 0.5]
    assert Mixture(["a", "b"], Static(), prior=[0.2, 0.8]).weights_for(0).tolist() == [0.2, 0.8]
    assert Mixture(["a", "b", "c"], Static(), prior={"b": 3, "a": 1}).weights_for(0).tolist() == [0.25, 0.75, 0.0]
    with pytest.raises(InputError, match="prior should name a source; found 'bb'; did you mean 'b'"):
        Mixture(["a", "b"], Static(), prior={"bb": 1.0})
    for arguments, message in (
        ((["a"], Static(), 8, "natural"), "needs the rows"),
        ((["a"], Static(), 8, "best"), "prior should be"),
        ((["a"], Static(), 8, [0.5, 0.5]), r"one weight per source \(1\), found 2"),
        ((["a"], Static(), 0), "lag should be a whole number of at least 1, found 0"),
        ((["a"], [1.0]), "should be a Strategy"),
        ((["a", "b"], Static([1.0])), r"one number per source \(2\), found 1"),
    ):
        with pytest.raises(InputError, match=message):
            Mixture(*arguments)


def test_needs_are_checked_before_the_first_step():
    mixture = Mixture(SIZES, ByLoss())
    with pytest.raises(InputError, match="ByLoss needs loss in each observation, found counts"):
        mixture.check(["counts"])
    mixture.check(["counts", "loss"])
    with pytest.raises(InputError, match="ByLoss works with draw='carry', found 'iid'"):
        Plan(SIZES, mixture, batch_size=2, draw="iid")
    with pytest.raises(InputError, match="same sources in the same order"):
        Plan({"en": 4, "hi": 4}, mixture, batch_size=2)
    with pytest.raises(InputError, match="ByLoss needs loss"):
        mixture.observe(Observation(step=0, batch_size=2, counts=[1, 1, 0]))
    with pytest.raises(InputError, match="should have 3 sources, found 1"):
        mixture.observe(Observation(step=0, batch_size=2, counts=[1], loss=[1]))


def test_a_state_that_does_not_fit():
    state = Mixture(["a", "b"], ByLoss(), lag=4).state_dict()
    for mixture, message in (
        (Mixture(["a", "c"], ByLoss(), lag=4), "checkpoint's sources"),
        (Mixture(["a", "b"], ByLoss(0.2), lag=4), "checkpoint's strategy"),
        (Mixture(["a", "b"], ByLoss(), lag=5), "checkpoint's lag is 4, this mixture's is 5"),
    ):
        with pytest.raises(InputError, match=message):
            mixture.load_state_dict(state)
    with pytest.raises(InputError, match="damaged: it has no 'last'"):
        Mixture(["a", "b"], ByLoss(), lag=4).load_state_dict({k: v for k, v in state.items() if k != "last"})
    with pytest.raises(InputError, match=r"what Mixture.state_dict returned"):
        Mixture(["a", "b"], ByLoss(), lag=4).load_state_dict({})


def test_a_strategy_that_leaves_the_simplex_is_named():
    @dataclass(frozen=True)
    class Wrong(ByLoss):
        def weights(self, state):
            return np.full(2, 0.6)

    with pytest.raises(InputError, match="Wrong should give 2 weights of at least 0 with the sum 1"):
        Mixture(["a", "b"], Wrong())


LIMITS = Constraints(
    floors={"sw": 0.2}, max_epochs={"hi": 2}, budget=200, groups={"big": ["en", "hi"]}, group_caps={"big": 0.7}
)


@settings(max_examples=10)
@given(st.integers(0, 14), st.integers(0, 3))
def test_constraints_hold_at_every_step_and_after_a_stop(stop, ahead):
    def limited():
        mixture = Mixture(SIZES, ByLoss(0.5), lag=4, constraints=LIMITS)
        return mixture, Plan(SIZES, mixture, batch_size=8)

    whole = train(*limited(), 15)
    free = train(*pair(), 15)
    assert any(not np.array_equal(a.weights, b.weights) for a, b in zip(whole, free, strict=True))
    for step in whole:
        w = step.weights
        assert w[2] >= 0.2 - 1e-12
        assert w[1] <= 0.2 + 1e-12
        assert w[0] + w[1] <= 0.7 + 1e-12
        assert abs(w.sum() - 1) < 1e-12
    mixture, plan = limited()
    train(mixture, plan, stop, ahead)
    states = json.loads(json.dumps([mixture.state_dict(), plan.state_dict(stop)], allow_nan=False))
    mixture, plan = limited()
    mixture.load_state_dict(states[0])
    plan.load_state_dict(states[1])
    same(train(mixture, plan, 15), whole[stop:])


def test_the_projection_is_the_nearest_allowed_and_is_logged(tmp_path):
    log = tmp_path / "log.jsonl"
    mixture = Mixture(["a", "b", "c"], ByLoss(1.0), lag=1, log=log, constraints=Constraints(caps={"a": 0.4}))
    assert mixture.weights_for(0).tolist() == [1 / 3] * 3
    weights = mixture.observe(Observation(step=0, batch_size=3, counts=[1, 1, 1], loss=[2.0, 1.0, 0.0]))
    line = json.loads(log.read_text())
    given = np.array(line["strategy_weights"])
    np.testing.assert_array_equal(given, mixture.strategy.weights(mixture.state))
    assert given[0] > 0.6
    excess = (given[0] - 0.4) / 2
    np.testing.assert_allclose(weights, [0.4, given[1] + excess, given[2] + excess], atol=1e-12)
    assert line["weights"] == weights.tolist() == mixture.weights_for(1).tolist()


def test_constraints_hold_for_static_weights_and_schedules():
    limits = Constraints(frozen={"a": 0.25})
    assert Mixture(["a", "b", "c"], Static([1, 0, 0]), constraints=limits).weights_for(7).tolist() == [
        0.25,
        0.375,
        0.375,
    ]
    mixture = Mixture(["a", "b"], Schedule({0: [1, 0], 5: [0, 1]}), constraints=limits)
    assert [mixture.weights_for(t).tolist() for t in (0, 9)] == [[0.25, 0.75], [0.25, 0.75]]
    near = Mixture(["a", "b"], Static([1, 0]), prior=[0.2, 0.8], constraints=Constraints(max_distance=0.2))
    np.testing.assert_allclose(near.weights_for(0), [0.3, 0.7], atol=1e-12)


def test_bad_constraints_end_before_the_first_step():
    for sources, limits, message in (
        (["a", "b"], Constraints(caps={"aa": 0.5}), "cap should name a source; found 'aa'; did you mean 'a'"),
        (["a", "b"], Constraints(caps=[0.2, 0.2]), "caps should sum to at least 1"),
        (["a", "b"], Constraints(max_epochs=1, budget=10), "give sources as {name: rows}"),
        ({"a": 3, "b": 3}, Constraints(max_epochs=1, budget=10), "within max_epochs they give 6"),
        ({"a": "x", "b": 3}, Constraints(max_epochs=1, budget=1), "sizes should be 2 numbers"),
        (["a", "b"], {"caps": {"a": 0.5}}, "constraints should be mixwright.Constraints"),
    ):
        with pytest.raises(InputError, match=message):
            Mixture(sources, Static(), constraints=limits)


def test_a_state_of_other_constraints_is_refused():
    limits = Constraints(caps={"a": 0.5}, max_epochs=float("inf"), budget=5)
    sizes = {"a": 3, "b": 4}
    state = json.loads(json.dumps(Mixture(sizes, ByLoss(), constraints=limits).state_dict(), allow_nan=False))
    for other in (None, Constraints(caps={"a": 0.6}, max_epochs=float("inf"), budget=5)):
        with pytest.raises(InputError, match=r"checkpoint's constraints is \{'caps': \{'a': 0.5\}"):
            Mixture(sizes, ByLoss(), constraints=other).load_state_dict(state)
    Mixture(sizes, ByLoss(), constraints=limits).load_state_dict(state)
    bare = Mixture(sizes, ByLoss()).state_dict()
    del bare["constraints"]  # as versions without constraints wrote it
    Mixture(sizes, ByLoss(), constraints=Constraints()).load_state_dict(bare)
