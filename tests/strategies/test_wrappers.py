import json
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from mixwright import (
    AlarmWarning,
    BalancedPiKE,
    Every,
    Floor,
    Guard,
    InputError,
    Mixture,
    Observation,
    PiKE,
    Schedule,
    Smooth,
    Static,
    Strategy,
    Warmup,
)
from mixwright.steering.hand import Hand
from mixwright.strategy import differences, recorded, revisions

PRIOR = np.array([0.5, 0.3, 0.2])


class Taken(NamedTuple):
    weights: np.ndarray
    updates: int


@dataclass(frozen=True)
class TakesLoss(Strategy[Taken]):
    """Weights are the losses as they come, also where that makes no sense."""

    needs = frozenset({"loss"})
    draw = frozenset({"carry"})

    def init(self, prior):
        return Taken(prior.copy(), 0)

    def update(self, state, obs):
        return Taken(np.array(obs.loss), state.updates + 1)

    def weights(self, state):
        return state.weights.copy()


def seen(loss, step=0, counts=(4, 4, 4), **more):
    return Observation(step, 8, counts, loss=loss, **more)


def run(strategy, *observations):
    state = strategy.init(PRIOR)
    for obs in observations:
        state = strategy.update(state, obs)
    return state


def test_floor():
    strategy = Floor(TakesLoss(), 0.1)
    np.testing.assert_allclose(strategy.weights(run(strategy, seen([0.0, 0.25, 0.75]))), [0.1, 0.225, 0.675])
    assert Floor(Schedule({0: [1, 0, 0]}), 0.1).weights_at(5).tolist() == pytest.approx([0.8, 0.1, 0.1])
    assert Floor(PiKE(), 0.1).weights_at(5) is None
    for bad, message in ((0.5, "floor should be at most 1/3 for 3 sources, found 0.5"), (1.5, "at most 1, found 1.5")):
        with pytest.raises(InputError, match=message):
            Floor(Static(), bad).init(PRIOR)


def test_warmup_keeps_the_prior_and_what_was_seen_before_is_not_used():
    strategy = Warmup(TakesLoss(), 10)
    early = run(strategy, seen([1.0, 0.0, 0.0], 4), seen([1.0, 0.0, 0.0], 9))
    np.testing.assert_array_equal(strategy.weights(early), PRIOR)
    assert early.inner.updates == 0
    late = strategy.update(early, seen([0.0, 1.0, 0.0], 10))
    np.testing.assert_array_equal(strategy.weights(late), [0, 1, 0])
    assert Warmup(Static([1.0, 0.0, 0.0]), 5).starts_at(PRIOR).tolist() == PRIOR.tolist()
    assert Warmup(Static([1.0, 0.0, 0.0]), 0).starts_at(PRIOR).tolist() == [1, 0, 0]


def test_smooth_is_the_running_mean():
    strategy = Smooth(TakesLoss(), 0.25)
    expected = 0.75 * (0.75 * PRIOR + 0.25 * np.array([1, 0, 0])) + 0.25 * np.array([0, 0, 1])
    state = run(strategy, seen([1.0, 0.0, 0.0]), seen([0.0, 0.0, 1.0], 1))
    np.testing.assert_allclose(strategy.weights(state), expected)


def test_every_updates_with_all_that_was_seen():
    strategy = Every(TakesLoss(), 10)
    path = [
        seen([0.2, 0.2, np.nan], 3, (2, 2, 0)),
        seen([0.5, 0.4, 0.4], 8, (1, 2, 3)),
        seen([0.2, 0.6, 0.1], 9, (3, 0, 1)),
    ]
    waiting = run(strategy, *path[:2])
    assert waiting.inner.updates == 0
    np.testing.assert_array_equal(strategy.weights(waiting), PRIOR)
    state = strategy.update(waiting, path[2])
    assert (state.inner.updates, state.updated) == (1, 9)
    expected = [(2 * 0.2 + 0.5 + 3 * 0.2) / 6, (2 * 0.2 + 2 * 0.4) / 4, (3 * 0.4 + 0.1) / 4]
    np.testing.assert_allclose(strategy.weights(state), expected)
    assert state.pool.counts.tolist() == [0, 0, 0]
    steps = [
        step
        for step in range(14, 60, 5)
        if (new := strategy.update(state, seen([1, 0, 0], step))) and new.updated == step
    ]
    assert steps[0] == 19


def test_every_does_not_depend_on_how_often_is_observed_but_for_what_was_seen():
    rng = np.random.default_rng(0)
    norms, variances, counts = rng.normal(1, 2, (40, 3)), rng.gamma(1, 4, (40, 3)), rng.integers(0, 6, (40, 3))
    strategy, whole = Every(PiKE(), 20), []
    state = strategy.init(PRIOR)
    for step in range(40):
        stats = {"grad_sq_norm": norms[step], "grad_variance": variances[step]}
        state = strategy.update(state, Observation(step, 8, counts[step], **stats))
    for half in (slice(0, 20), slice(20, 40)):
        n = counts[half]
        stats = {
            "grad_sq_norm": (norms[half] * n).sum(0) / n.sum(0),
            "grad_variance": (variances[half] * n).sum(0) / n.sum(0),
        }
        whole.append(Observation(half.stop - 1, 8, n.sum(0), **stats))
    plain = PiKE()
    expected = plain.init(PRIOR)
    for obs in whole:
        expected = plain.update(expected, obs)
    np.testing.assert_allclose(strategy.weights(state), plain.weights(expected), rtol=1e-12)


def test_guard_falls_back_to_the_last_good_weights():
    strategy = Guard(TakesLoss(), upper=0.8)
    good = run(strategy, seen([0.3, 0.3, 0.4]))
    assert (good.alarm, strategy.remarks(good)) == ("", {})
    bad = strategy.update(good, seen([0.9, 0.05, 0.05], 1))
    np.testing.assert_array_equal(strategy.weights(bad), [0.3, 0.3, 0.4])
    assert strategy.remarks(bad) == {
        "alarm": "weights collapse: source 0 has 0.9, above 0.8; the last good weights stay",
        "alarms": 1,
    }
    on = strategy.update(bad, seen([0.5, 0.25, 0.25], 2))
    np.testing.assert_array_equal(strategy.weights(on), [0.5, 0.25, 0.25])
    assert strategy.remarks(on) == {"alarms": 1}


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ([0.999, 0.0005, 0.0005], r"entropy is 0.0086 nats, below 0.11 \(0.1 of ln 3\); source 0 has 0.999"),
        ([0.5, 0.49, 0.01], "source 2 has 0.01, below 0.02"),
        ([0.5, 0.5, 0.5], "weights should be on the simplex"),
        ([1.5, -0.5, 0.0], "weights should be on the simplex"),
        ([0.5, np.nan, 0.5], "loss of source 1 is nan; the observation is not used"),
    ],
)
def test_guard_says_what_is_wrong(loss, says):
    for fallback in ("last", "prior"):
        strategy = Guard(TakesLoss(), lower=0.02, fallback=fallback)
        state = run(strategy, seen([0.3, 0.3, 0.4]), seen(loss, 1))
        with pytest.raises(AssertionError, match=says):
            raise AssertionError(state.alarm)
        anew = fallback == "prior" and not np.isnan(loss).any()
        np.testing.assert_array_equal(strategy.weights(state), PRIOR if anew else [0.3, 0.3, 0.4])


def test_guard_sees_losses_that_the_strategy_does_not_read():
    strategy = Guard(Static())
    assert strategy.uses == {"loss", "excess_loss"}
    assert run(strategy, seen([1.0, np.nan, 1.0])).alarms == 1
    assert run(strategy, seen([1.0, np.nan, 1.0], counts=(4, 0, 4))).alarms == 0
    assert run(strategy, seen([1.0, 1.0, 1.0], excess_loss=[np.nan, 0, 0])).alarms == 1
    assert run(strategy, Observation(0, 8, [4, 4, 4], eval_loss=[np.nan] * 3)).alarms == 0


def test_a_prior_that_leaves_sources_out_is_no_collapse():
    strategy = Guard(TakesLoss(), entropy=0.5)
    state = strategy.update(strategy.init(np.array([0.5, 0.5, 0.0])), seen([0.6, 0.4, 0.0]))
    assert state.alarm == ""
    assert strategy.update(state, seen([0.97, 0.03, 0.0], 1)).alarms == 1


def test_alarms_reach_the_user_and_the_log_through_all_wrappers(tmp_path):
    inner = Guard(PiKE(zeta1=3.0, zeta2=0.0, floor=0.01), upper=0.7)
    mixture = Mixture(["a", "b"], Smooth(Floor(Every(Warmup(inner, 2), 2), 0.1), 0.5), log=tmp_path / "log.jsonl")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(8):
            obs = Observation(step, 8, [4, 4], grad_sq_norm=[1.0, 0.0])
            weights = mixture.observe(obs)
    assert weights.tolist() == [0.5, 0.5]
    assert [str(w.message)[:12] for w in caught] == ["after step 3", "after step 5", "after step 7"]
    assert all(w.category is AlarmWarning and "source 0 has" in str(w.message) for w in caught)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["decision"] for line in lines if "alarm" in line.get("remarks", {})] == [3, 5, 7]
    again = Mixture(["a", "b"], mixture.strategy)
    again.load_state_dict(json.loads(json.dumps(mixture.state_dict(), allow_nan=False)))
    assert again.state_dict() == mixture.state_dict()


def test_declarations_come_from_the_strategy_inside():
    strategy = Smooth(Floor(Every(Warmup(TakesLoss(), 5), 5), 0.1), 0.5)
    assert (strategy.needs, strategy.draw) == ({"loss"}, {"carry"})
    assert Floor(PiKE(), 0.1).apply == {"sampling"}
    assert Every(BalancedPiKE(), 5).uses == {"eval_loss"}
    assert Guard(BalancedPiKE()).uses == {"eval_loss", "excess_loss"}
    with pytest.raises(InputError, match="TakesLoss needs loss in each observation"):
        Mixture(["a", "b"], strategy).check([])


def test_a_rule_that_changed_is_named_also_inside_wrappers():
    assert recorded(revisions(Guard(Floor(PiKE(), 0.1)))) == {"revisions": {"PiKE": 2}}
    assert recorded(revisions(BalancedPiKE())) == {"revisions": {"BalancedPiKE": 2}}
    assert recorded(revisions(PiKE(zeta1=0.1, zeta2=0.1))) == {}  # with numbers it is the paper's, as before
    assert recorded(revisions(Floor(Static(), 0.1))) == {}


def test_strategies_that_differ_are_told_apart_by_their_parts():
    before, now = Guard(Every(PiKE(floor=0.05), 20)), Guard(Every(PiKE(rule="restoring"), 5))
    said = "PiKE.rule 'exponentiated' there, 'restoring' here; PiKE.floor 0.05 there, None here; "
    assert differences(repr(before), repr(now)) == said + "Every.steps 20 there, 5 here"
    assert differences(repr(Guard(PiKE())), repr(PiKE())) == "Guard(PiKE) there, PiKE here"
    assert differences("Static([0.5, 0.5])", "Static([0.75, 0.25])") == "Static [0.5, 0.5] there, [0.75, 0.25] here"
    many = [[0.05] * 18 + end for end in ([0.04, 0.06], [0.06, 0.04])]
    assert differences(f"Static({many[0]})", f"Static({many[1]})") == f"Static {many[0]} there, {many[1]} here"
    assert differences("<Own object at 0x7f>", repr(PiKE())) == ""
    mixture = Mixture(["a", "b"], now)
    with pytest.raises(InputError, match=r"strategy is another one: PiKE.rule 'exponentiated' there, .*; use the same"):
        mixture.load_state_dict(Mixture(["a", "b"], before).state_dict())


def test_a_state_of_a_former_rule_is_refused_and_one_of_a_rule_that_stayed_is_not():
    former = Mixture(["a", "b"], Floor(PiKE(), 0.1)).state_dict()
    assert former.pop("revisions") == {"PiKE": 2}
    mixture = Mixture(["a", "b"], Floor(PiKE(), 0.1))
    with pytest.raises(InputError, match="the checkpoint was begun with an earlier rule of PiKE than this version's;"):
        mixture.load_state_dict(former)
    with pytest.raises(InputError, match="was begun with another rule of PiKE"):
        mixture.load_state_dict({**former, "revisions": {"PiKE": 3}})
    mixture.load_state_dict({**former, "revisions": {"PiKE": 2}})
    kept = Mixture(["a", "b"], Static()).state_dict()
    assert "revisions" not in kept
    Mixture(["a", "b"], Static()).load_state_dict(kept)


def test_a_state_in_which_a_former_rule_took_over_by_hand_is_refused():
    mixture = Mixture(["a", "b"], Static())
    mixture.steer(Hand(strategy="PiKE"))
    mixture.prepare(0)
    former = mixture.state_dict()
    assert former.pop("revisions") == {"PiKE": 2}
    with pytest.raises(InputError, match="was begun with an earlier rule of PiKE"):
        Mixture(["a", "b"], Static()).load_state_dict(former)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Floor([0.5, 0.5], 0.1), r"Floor should hold a Strategy, found \[0.5, 0.5\]; use Static\(weights\)"),
        (lambda: Floor("piek", 0.1), r"found the text 'piek'; give an object such as mixwright.PiKE\(\)"),
        (lambda: Static({"a": 1.0}), "weights should be a list of numbers, found a mapping; give them in the order of"),
        (lambda: Warmup(Static(), -1), "steps of a warm-up should be a whole number of at least 0, found -1"),
        (lambda: Every(Static(), 0), "steps between updates should be a whole number of at least 1, found 0"),
        (lambda: Every(Static(), 2.5), "found 2.5"),
        (lambda: Smooth(Static(), 0), "rate should be a number above 0 and at most 1, found 0"),
        (
            lambda: Guard(Static(), entropy=2),
            "entropy of a guard should be a number of at least 0 and at most 1, found 2",
        ),
        (
            lambda: Guard(Static(), fallback="uniform"),
            "fallback of a guard should be 'last' or 'prior', found 'uniform'",
        ),
    ],
)
def test_bad_parameters(make, message):
    with pytest.raises(InputError, match=message):
        make()
