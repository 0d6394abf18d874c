import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import arguments, make, rows_by_source, same, simplex, take, through_json

from mixwright.errors import InputError
from mixwright.stream import Plan


def driven(plan, steps, changes):
    """Return steps up to `steps`; changes {step: (at_step, weights)} are asked before that step is planned."""
    found = []
    while plan.step < steps:
        if plan.step in changes:
            at, weights = changes[plan.step]
            plan.set_weights(weights, at)
        try:
            found.append(next(plan))
        except StopIteration:
            break
    return found


@settings(max_examples=120)
@given(arguments(limits=True), st.data())
def test_stopped_anywhere_the_rest_is_the_same(args, data):
    k, asks = len(args[0]), data.draw(st.lists(st.integers(0, 30), max_size=4, unique=True))
    positive = simplex(k).map(lambda w: (w + 0.1) / (w + 0.1).sum())
    changes = {t: (t + data.draw(st.integers(0, 9)), data.draw(positive)) for t in asks}
    whole = driven(make(args), 40, changes)
    stop = data.draw(st.integers(0, len(whole)))
    first = make(args)
    same(driven(first, stop, changes), whole[:stop])
    resumed = make(args, compiled=data.draw(st.booleans()))
    resumed.load_state_dict(through_json(first.state_dict()))
    same(driven(resumed, 40, changes), whole[stop:])
    if len(whole) == 40:
        end = make(args)
        driven(end, 40, changes)
        assert resumed.state_dict() == end.state_dict()
        assert resumed.ledger().table() == end.ledger().table()


@settings(max_examples=60)
@given(arguments(limits=True), st.integers(0, 50), st.integers(0, 50))
def test_the_state_of_an_earlier_step_is_that_of_a_plan_that_stopped_there(args, ahead, back):
    plan, short = make(args), make(args)
    ahead = len(take(plan, ahead))
    step = max(0, ahead - back)
    take(short, step)
    assert plan.state_dict(step) == short.state_dict()
    assert plan.step == ahead


def test_a_state_that_is_no_longer_kept():
    plan = Plan({"a": 9}, [1.0], batch_size=2, history=5, compiled=False)
    take(plan, 400)
    assert plan.state_dict(395)["step"] == 395
    with pytest.raises(InputError, match=r"the states of steps \d+ to 400, found step 3"):
        plan.state_dict(3)
    with pytest.raises(InputError, match="found step 401"):
        plan.state_dict(401)


def test_pending_weights_are_in_the_state_of_an_earlier_step():
    plan = Plan({"a": 9, "b": 9}, [1.0, 0.0], batch_size=2)
    take(plan, 6)
    plan.set_weights([0.0, 1.0], 8)
    whole = take(plan, 6)
    resumed = Plan({"a": 9, "b": 9}, batch_size=2)
    resumed.load_state_dict(through_json(plan.state_dict(7)))
    same(take(resumed, 5), whole[1:])


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 9))
def test_sources_that_stay_lose_and_repeat_no_row(before, after, seed):
    old = Plan({"a": 40, "b": 17, "c": 5}, [0.5, 0.3, 0.2], batch_size=4, seed=seed)
    first = rows_by_source(take(old, before), 3)
    new = Plan({"d": 6, "b": 17, "a": 40}, [0.2, 0.4, 0.4], batch_size=4, seed=seed)
    new.load_state_dict(through_json(old.state_dict()), changed=True)
    assert new.step == before
    then = rows_by_source(take(new, after), 3)
    alone = {name: Plan({name: size}, [1.0], batch_size=1, seed=seed) for name, size in (("a", 40), ("b", 17))}
    for name, i, j in (("a", 0, 2), ("b", 1, 1)):
        rows = first[i] + then[j]
        assert rows == [int(step.row[0]) for step in take(alone[name], len(rows))]
    assert sum(new.state_dict()["credit"]) == pytest.approx(0, abs=1e-9)


def test_a_source_that_comes_back_goes_on_where_it_was():
    plan = Plan({"a": 40, "b": 17}, [0.5, 0.5], batch_size=4)
    rows = rows_by_source(take(plan, 5), 2)[1]
    for names in (["a"], ["a", "c"], ["a", "b"]):
        sizes = {"a": 40, "b": 17, "c": 3}
        other = Plan({n: sizes[n] for n in names}, np.full(len(names), 1 / len(names)), batch_size=4)
        other.load_state_dict(through_json(plan.state_dict()), changed=True)
        more = take(other, 3)
        plan = other
    rows += rows_by_source(more, 2)[1]
    assert rows == [int(s.row[0]) for s in take(Plan({"b": 17}, [1.0], batch_size=1), len(rows))]


def test_another_order_of_the_same_sources_keeps_weights_and_changes():
    plan = Plan({"a": 9, "b": 9, "c": 9}, [0.5, 0.3, 0.2], batch_size=3)
    take(plan, 4)
    plan.set_weights([0.0, 0.1, 0.9], 6)
    other = Plan({"c": 9, "a": 9, "b": 9}, batch_size=3)
    other.load_state_dict(plan.state_dict(), changed=True)
    assert other.state_dict()["weights"] == [0.2, 0.5, 0.3]
    assert other.state_dict()["pending"] == [[6, [0.9, 0.0, 0.1]]]
    for x, y in zip(take(plan, 9), take(other, 9), strict=True):
        assert np.bincount(x.source, minlength=3)[[2, 0, 1]].tolist() == np.bincount(y.source, minlength=3).tolist()


def state(**changes):
    plan = Plan({"a": 9, "b": 8}, [0.5, 0.5], batch_size=2, fingerprints={"a": "one"})
    take(plan, 3)
    return {**plan.state_dict(), **changes}


@pytest.mark.parametrize(
    ("sizes", "more", "message"),
    [
        ({"a": 9, "b": 7}, {}, "the source 'b' has 7 rows, at the checkpoint it had 8; restore it"),
        (
            {"a": 9, "b": 8},
            {"fingerprints": {"a": "two"}},
            r"content of the source 'a' is not .* \(fingerprint two, then one",
        ),
        ({"c": 9, "d": 8}, {}, "the checkpoint is of other sources: it has 'a', 'b', this plan has 'c', 'd'"),
        ({"a": 9, "c": 8}, {}, r"no longer there: 'b'; new: 'c'\); if this is intended, pass changed=True"),
        ({"b": 8, "a": 9}, {}, "another order"),
        ({"a": 9, "b": 8}, {"seed": 1}, "the checkpoint's seed is 0, this plan's is 1"),
        ({"a": 9, "b": 8}, {"batch_size": 4}, "the checkpoint's batch_size is 2, this plan's is 4"),
        ({"a": 9, "b": 8}, {"draw": "iid"}, "the checkpoint's draw is 'carry', this plan's is 'iid'"),
        ({"a": 9, "b": 8}, {"max_epochs": {"b": 2}}, "'b' has max_epochs 2.0 .* at the checkpoint None"),
    ],
)
def test_a_checkpoint_that_does_not_fit(sizes, more, message):
    plan = Plan(sizes, [0.5, 0.5], **{"batch_size": 2, **more})
    before = plan.state_dict()
    with pytest.raises(InputError, match=message):
        plan.load_state_dict(state())
    assert plan.state_dict() == before
    if "restore it" in message:
        with pytest.raises(InputError, match=message):
            plan.load_state_dict(state(), changed=True)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ([], "should be what Plan.state_dict returned"),
        (state(version=2), "version is 2, this mixwright reads 1"),
        ({k: v for k, v in state().items() if k != "credit"}, "damaged: it has no 'credit'"),
        (state(credit=[0.0]), "damaged: 'credit' has 1 entries for 2 sources"),
        (state(credit=None), "damaged: 'credit' has no entries"),
        (state(credit=[None, 1.0]), "damaged: 'credit' has None"),
        (state(credit=[float("nan"), 1.0]), "damaged: 'credit' has nan"),
        (state(cursor=["3", 3]), "damaged: 'cursor' has '3'"),
        (state(cursor=[-3, 3]), "damaged: 'cursor' has -3"),
        (state(dropped=[0, 1]), "damaged: 'dropped' has 0"),
        (state(weights=[0.5, 0.6]), "damaged: 'weights' has"),
        (state(step="3"), "damaged: 'step' has '3'"),
        (state(since=4), "damaged: 'since' has 4"),
        (state(pending=[7]), "damaged: 'pending'"),
        (state(pending=[[7, [1.0]]]), "damaged: 'pending'"),
        (state(retired=[1]), "damaged: 'retired'"),
        (state(retired={"x": {"size": 3}}), "damaged: 'retired'"),
        (state(sources=["a", "a"]), "different names"),
        (state(sources=5), "list of names"),
    ],
)
def test_a_damaged_state(damaged, message):
    plan = Plan({"a": 9, "b": 8}, [0.5, 0.5], batch_size=2)
    with pytest.raises(InputError, match=message):
        plan.load_state_dict(damaged)
    assert next(plan).step == 0


def test_limits_may_change_where_that_is_said():
    plan = Plan({"a": 100, "b": 5}, [0.5, 0.5], batch_size=4, max_epochs={"b": 1})
    take(plan, 8)
    assert plan.ledger()["b"].dropped
    more = Plan({"a": 100, "b": 5}, [0.5, 0.5], batch_size=4, max_epochs={"b": 2})
    more.load_state_dict(plan.state_dict(), changed=True)
    take(more, 8)
    assert more.ledger()["b"].rows == 10
