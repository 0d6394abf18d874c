"""The loader: one order for any number of workers and ranks, exact resume, failures that say where."""

import json
import os
from itertools import islice
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the loader needs torch")

from streams import SIZES, plan, rows_of, sources, take  # noqa: E402

from mixwright.errors import InputError  # noqa: E402
from mixwright.mixture import Mixture  # noqa: E402
from mixwright.observation import Observation  # noqa: E402
from mixwright.strategies.schedule import Schedule  # noqa: E402
from mixwright.strategy import Strategy  # noqa: E402
from mixwright.stream.gather import Sources  # noqa: E402
from mixwright.stream.loader import MixtureLoader  # noqa: E402
from mixwright.stream.sources.tokens import PaddedDocuments, TokenRows  # noqa: E402


class State(NamedTuple):
    n: int


class Counting(Strategy[State]):
    """A strategy that counts its observations, and moves to the first source with them."""

    needs = frozenset({"counts"})
    apply = frozenset({"sampling"})
    draw = frozenset({"carry", "iid"})

    @staticmethod
    def share(n):
        return 1 / 3 + n / 100

    def init(self, prior):
        return State(0)

    def update(self, state, obs):
        return State(state.n + 1)

    def weights(self, state):
        w = np.full(3, (1 - self.share(state.n)) / 2)
        w[0] = self.share(state.n)
        return w

    def __repr__(self):
        return "Counting()"


def told(loader, count):
    return [(batch.step, batch.piece, rows_of(batch), batch.weights.tolist()) for batch in take(loader, count)]


def test_batches_are_the_plan():
    loader, steps = MixtureLoader(sources(), plan()), take(plan(), 20)
    for batch, step in zip(take(loader, 20), steps, strict=True):
        assert batch.step == step.step
        assert rows_of(batch) == list(zip(step.source.tolist(), step.row.tolist(), strict=True))
        assert np.array_equal(batch.weights, step.weights)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_order_does_not_depend_on_workers_while_weights_change(workers):
    def changing(n):
        p = plan()
        loader, found = MixtureLoader(sources(), p, num_workers=n), []
        for batch in islice(loader, 24):
            found.append((batch.step, rows_of(batch), batch.weights.tolist()))
            if batch.step % 5 == 0:
                w = np.random.default_rng(batch.step).dirichlet([1, 1, 1])
                p.set_weights(w, at_step=batch.step + 9)
        return found

    assert changing(workers) == changing(0)


@pytest.mark.parametrize(("world", "workers"), [(1, 0), (2, 0), (3, 0), (4, 0), (8, 0), (2, 2), (3, 3)])
def test_ranks_are_the_plan_for_any_number_of_workers_while_weights_change(world, workers):
    def changes(p, step):
        if step % 4 == 0:
            p.set_weights(np.random.default_rng(step).dirichlet([1, 1, 1]), at_step=step + 11)

    whole, found, p = [], [], plan(48)
    for step in take_changing(p, 16, changes):
        whole.append(list(zip(step.source.tolist(), step.row.tolist(), strict=True)))
    for rank in range(world):
        p, mine = plan(48), []
        for batch in islice(MixtureLoader(sources(), p, rank, world, num_workers=workers), 16):
            mine.append(rows_of(batch))
            changes(p, batch.step)
        found.append(mine)
    assert [[pair for part in parts for pair in part] for parts in zip(*found, strict=True)] == whole


def take_changing(p, steps, changes):
    for step in islice(p, steps):
        yield step
        changes(p, step.step)


def test_weights_for_a_step_that_was_read_ahead_are_refused_with_the_number():
    p = plan()
    loader = MixtureLoader(sources(), p, num_workers=2, ahead=2)
    assert loader.steps_ahead == 4
    next(iter(loader))
    with pytest.raises(InputError, match="at_step=5"):
        p.set_weights([1, 0, 0], at_step=4)
    p.set_weights([1, 0, 0], at_step=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mixture_needs_a_lag_beyond_what_is_read_ahead(workers):
    strategy = Counting()
    with pytest.raises(InputError, match="lag=9"):
        MixtureLoader(sources(), plan(weights=Mixture(SIZES, strategy, lag=8)), num_workers=2, ahead=4)
    mixture = Mixture(SIZES, strategy, lag=5)
    loader, found = MixtureLoader(sources(), plan(weights=mixture), num_workers=workers), []
    for batch in islice(loader, 12):
        found.append(float(batch.weights[0]))
        mixture.observe(Observation(batch.step, 12, np.ones(3)))
    assert found == [1 / 3] * 5 + [Counting.share(n) for n in range(1, 8)]


@settings(max_examples=30)
@given(st.sampled_from([1, 2, 3, 4, 8]), st.sampled_from([1, 2]), st.booleans(), st.integers(0, 30))
def test_ranks_and_pieces_are_the_batch(world, accumulate, by_source, start):
    def state():
        p = plan(48)
        take(p, start)
        return p

    whole = next(state())
    found = []
    for rank in range(world):
        loader = MixtureLoader(sources(), state(), rank, world, accumulate=accumulate, sort_by_source=by_source)
        for batch in take(loader, accumulate):
            assert batch.step == start
            assert batch.counts.tolist() == np.bincount(whole.source, minlength=len(whole.weights)).tolist()
            if by_source:
                assert batch.source.tolist() == sorted(batch.source.tolist())
            found.append((batch.piece, rank, rows_of(batch)))
    pairs = [pair for _, _, rows in sorted(found) for pair in rows]
    expected = list(zip(whole.source.tolist(), whole.row.tolist(), strict=True))
    assert sorted(pairs) == sorted(expected)
    assert by_source or pairs == expected


@settings(max_examples=20)
@given(st.integers(0, 25), st.integers(1, 15), st.sampled_from([1, 2, 3]), st.sampled_from([1, 2]))
def test_resume_is_exact_also_at_another_world_size(stop, change, world, accumulate):
    def run(loader, count):
        return [pair for b in take(loader, count) for pair in rows_of(b)]

    p = plan()
    p.set_weights([0.1, 0.1, 0.8], at_step=change)
    first = MixtureLoader(sources(), p)
    run(first, stop)
    state = json.loads(json.dumps(first.state_dict()))
    rest = run(first, 10)
    found = []
    for rank in range(world):
        again = MixtureLoader(sources(), plan(weights=[1, 0, 0]), rank, world, accumulate=accumulate)
        again.load_state_dict(state)
        for batch in take(again, 10 * accumulate):
            found.append((batch.step, batch.piece, rank, rows_of(batch)))
    assert [pair for *_, rows in sorted(found) for pair in rows] == rest


@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 2), (2, 3)])
def test_the_state_is_that_of_the_last_consumed_step(before, after):
    undisturbed = told(MixtureLoader(sources(), plan()), 20)
    loader = MixtureLoader(sources(), plan(), num_workers=before)
    assert told(loader, 7) == undisturbed[:7]
    state = loader.state_dict()
    assert state["plan"]["step"] == 7
    again = MixtureLoader(sources(), plan(), num_workers=after)
    again.load_state_dict(state)
    assert told(again, 13) == undisturbed[7:]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_loop_goes_on_with_the_next_batch(workers):
    undisturbed = told(MixtureLoader(sources(), plan(), accumulate=2), 20)
    loader = MixtureLoader(sources(), plan(), accumulate=2, num_workers=workers)
    found = [batch for n in (1, 4, 2, 13) for batch in told(loader, n)]
    assert found == undisturbed


def test_an_old_iteration_is_refused_after_a_state_was_loaded():
    loader = MixtureLoader(sources(), plan())
    old, state = iter(loader), loader.state_dict()
    next(old)
    loader.load_state_dict(state)
    with pytest.raises(InputError, match="iter"):
        next(old)


def test_a_half_done_step_is_done_again_after_a_resume():
    loader = MixtureLoader(sources(), plan(), accumulate=3)
    take(loader, 4)
    assert loader.state_dict()["plan"]["step"] == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_mixture_and_stream_are_one_state(workers):
    def made():
        mixture = Mixture(SIZES, Counting(), lag=6)
        return mixture, MixtureLoader(sources(), plan(weights=mixture), num_workers=workers)

    def run(mixture, loader, count):
        found = []
        for batch in islice(loader, count):
            found.append((rows_of(batch), batch.weights.tolist()))
            mixture.observe(Observation(batch.step, 12, np.ones(3)))
        return found

    one = made()
    first, state, rest = run(*one, 9), json.loads(json.dumps(one[1].state_dict())), run(*one, 12)
    again = made()
    again[1].load_state_dict(state)
    assert run(*again, 12) == rest
    assert first != rest


def test_the_stream_ends_where_it_should():
    assert len(list(MixtureLoader(sources(), plan(), steps=5, accumulate=2))) == 10
    assert len(MixtureLoader(sources(), plan(), steps=5, accumulate=2)) == 10
    with pytest.raises(TypeError):
        len(MixtureLoader(sources(), plan()))
    ending = [len(list(MixtureLoader(sources(), plan(exhausted="stop"), num_workers=n))) for n in (0, 2)]
    assert ending[0] == ending[1] > 0


def test_rows_of_dicts_texts_and_collate():
    documents = {n: PaddedDocuments(np.arange(30), 5, documents=np.arange(0, 31, 3)) for n in ("a", "b")}
    p = plan(4, [0.5, 0.5], {"a": 10, "b": 10})
    batch = next(iter(MixtureLoader(documents, p)))
    assert batch.inputs["input_ids"].shape == batch.inputs["attention_mask"].shape == (4, 5)
    assert batch.to("cpu").inputs["input_ids"].shape == (4, 5)
    texts = {"a": [f"a{i}" for i in range(10)], "b": [f"b{i}" for i in range(10)]}
    batch = next(iter(MixtureLoader(texts, plan(4, [0.5, 0.5], {"a": 10, "b": 10}))))
    assert batch.inputs == ["ab"[s] + str(r) for s, r in zip(batch.source.tolist(), batch.row.tolist(), strict=True)]
    ragged = {"a": [{"x": torch.arange(i)} for i in range(10)]}
    with pytest.raises(InputError, match=r"\{'x': int64 \[\d\]\} in the source 'a', row \d, and .*collate="):
        next(iter(MixtureLoader(ragged, plan(4, [1.0], {"a": 10}))))
    with pytest.raises(InputError, match=r"found NoneType in the source 'a', row \d .*collate="):
        next(iter(MixtureLoader({"a": [None] * 10}, plan(4, [1.0], {"a": 10}))))
    batch = next(
        iter(MixtureLoader(ragged, plan(4, [1.0], {"a": 10}), collate=lambda rows: [len(r["x"]) for r in rows]))
    )
    assert batch.inputs == batch.row.tolist()


def test_what_does_not_fit_is_refused_before_the_first_step():
    with pytest.raises(InputError, match="steps should be a whole number"):
        MixtureLoader(sources(), plan(), steps=-1)
    with pytest.raises(InputError, match="multiple of 5"):
        MixtureLoader(sources(), plan(), 0, 5)
    with pytest.raises(InputError, match="multiple of 8"):
        MixtureLoader(sources(), plan(), 0, 4, accumulate=2)
    with pytest.raises(InputError, match="below the world size"):
        MixtureLoader(sources(), plan(), 2, 2)
    with pytest.raises(InputError, match="'b' should have the 12 rows"):
        MixtureLoader(sources(), plan(sizes={**SIZES, "b": 12}))
    with pytest.raises(InputError, match="same names"):
        MixtureLoader({"x": [1]}, plan())
    with pytest.raises(InputError, match="co_locate"):
        MixtureLoader(sources(), plan(), co_locate=2)
    with pytest.raises(InputError, match="co_locate"):
        MixtureLoader(sources(), plan(co_locate=2), 0, 4)
    with pytest.raises(InputError, match="there should be a Plan"):
        MixtureLoader(sources(), Mixture(SIZES, Schedule({0: [1, 0, 0]})))


def test_co_located_rows_stay_side_by_side_on_every_rank():
    for rank in range(3):
        loader = MixtureLoader(sources(), plan(co_locate=2, weights=[1 / 3] * 3), rank, 3, co_locate=2)
        for batch in take(loader, 20):
            assert len(rows_of(batch)) == 4


def test_another_content_is_refused_with_the_source():
    state = MixtureLoader(sources(), plan()).state_dict()
    other = sources()
    other["b"] = TokenRows(np.ones(44, np.int64), 4)
    loader = MixtureLoader(other, plan())
    with pytest.raises(InputError, match=r"'b' .* should have the rows and content"):
        loader.load_state_dict(state)
    for bad in ({}, {"version": 1}, None, {**state, "version": 9}):
        with pytest.raises(InputError, match="state of MixtureLoader"):
            MixtureLoader(sources(), plan()).load_state_dict(bad)


def test_a_removed_source_that_comes_back_is_compared_too():
    state = MixtureLoader(sources(), plan()).state_dict()
    less = {name: size for name, size in SIZES.items() if name != "c"}
    between = MixtureLoader(sources(less), plan(weights=[0.5, 0.5], sizes=less))
    between.load_state_dict(state, changed=True)
    state = json.loads(json.dumps(between.state_dict()))
    MixtureLoader(sources(), plan()).load_state_dict(state, changed=True)
    other = sources()
    other["c"] = TokenRows(np.ones(20, np.int64), 4)
    with pytest.raises(InputError, match=r"'c' \(5 rows\) should have the rows and content"):
        MixtureLoader(other, plan()).load_state_dict(state, changed=True)


def test_a_mixture_of_other_sources_begins_anew_where_that_is_said():
    def made(sizes):
        mixture = Mixture(sizes, Schedule({0: [1 / len(sizes)] * len(sizes)}))
        opened = {name: TokenRows(np.arange(4 * size), 4) for name, size in sizes.items()}
        return MixtureLoader(opened, plan(weights=mixture, sizes=sizes))

    loader = made(SIZES)
    take(loader, 3)
    state = loader.state_dict()
    other = made({"a": 37, "d": 8})
    with pytest.raises(InputError, match="changed=True"):
        other.load_state_dict(state)
    other.load_state_dict(state, changed=True)
    assert [(b.step, b.weights.tolist()) for b in take(other, 2)] == [(3, [0.5, 0.5]), (4, [0.5, 0.5])]


def test_a_state_that_does_not_fit_leaves_loader_and_log_as_they_were(tmp_path):
    def made(**options):
        mixture = Mixture(SIZES, Counting(), lag=6, log=tmp_path / "decisions.jsonl")
        return mixture, MixtureLoader(sources(), plan(weights=mixture, **options))

    mixture, loader = made()
    first = loader.state_dict()
    for batch in islice(loader, 4):
        mixture.observe(Observation(batch.step, 12, np.ones(3)))
    log, state = (tmp_path / "decisions.jsonl").read_bytes(), loader.state_dict()
    damaged = [
        {**first, "plan": {**first["plan"], "seed": 4}},
        {**first, "mixture": {**first["mixture"], "lag": 7}},
        {**first, "mixture": {**first["mixture"], "pending": [5]}},
        {**first, "mixture": 3},
        {**first, "fingerprints": 3},
    ]
    for bad in damaged:
        with pytest.raises(InputError):
            loader.load_state_dict(bad)
        assert (tmp_path / "decisions.jsonl").read_bytes() == log
        assert loader.state_dict() == state
    assert next(iter(loader)).step == 4


def test_the_ledger_is_of_what_was_consumed():
    loader = MixtureLoader(sources(), plan(), num_workers=1)
    take(loader, 3)
    assert loader.plan.step > 3
    assert loader.ledger() == MixtureLoader(sources(), plan_at(3)).ledger()
    assert loader.ledger().step == 3
    assert loader.ledger(steps=100)["a"].rows == loader.ledger()["a"].rows


def plan_at(step):
    p = plan()
    take(p, step)
    return p


@pytest.mark.parametrize("workers", [0, 1])
def test_one_plan_in_two_loaders_is_refused(workers):
    p = plan()
    one, two = (iter(MixtureLoader(sources(), p, rank, 2, num_workers=workers)) for rank in (0, 1))
    with pytest.raises(InputError, match="make a plan for each loader"):
        next(one), next(two)
    p = plan()
    loader = MixtureLoader(sources(), p)
    p.load_state_dict(plan_at(7).state_dict())
    with pytest.raises(InputError, match=r"at step 0 or a little ahead, found step 7; .* through the loader"):
        next(iter(loader))


class Breaks:
    def __len__(self):
        return 11

    def __getitem__(self, i):
        if i == 7:
            raise OSError("disk gone")
        return torch.tensor([1, i, 0, 0])


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_in_a_worker_names_source_and_row(workers):
    mixed = {"a": [torch.tensor([0, i, 0, 0]) for i in range(37)], "b": Breaks()}
    loader = MixtureLoader(mixed, plan(weights=[0.5, 0.5], sizes={"a": 37, "b": 11}), num_workers=workers)
    with pytest.raises(InputError, match=r"^the source 'b', row 7 .*disk gone"):
        take(loader, 10)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_of_one_source_with_different_dtypes_are_refused(workers):
    mixed = {"a": [np.zeros(2, "f4" if i < 5 else "i8") for i in range(10)]}
    loader = MixtureLoader(mixed, plan(5, [1.0], {"a": 10}), num_workers=workers)
    with pytest.raises(InputError, match=r"(float32|int64) \[2\] in the source 'a', row \d, and (float32|int64)"):
        take(loader, 2)


class Dies(Breaks):
    def __getitem__(self, i):
        return os._exit(9) if i == 7 else torch.tensor([1, i, 0, 0])


def test_a_worker_that_dies_in_an_object_names_the_source():
    loader = MixtureLoader({"b": Dies()}, plan(11, [1.0], {"b": 11}), num_workers=1)
    with pytest.raises(
        InputError, match=r"the source 'b', row \d+ .* died while it read it or another row of the source"
    ):
        take(loader, 1)


def test_a_worker_that_dies_names_what_it_read(tmp_path):
    path = tmp_path / "tokens.bin"
    np.zeros(1 << 20, np.int32).tofile(path)
    opened = Sources({"good": np.zeros((64, 1024), np.int32), "cut": TokenRows(path, 1024, dtype="int32")})
    p = plan(8, [0.5, 0.5], {"good": 64, "cut": 1024})
    os.truncate(path, 4096)
    with pytest.raises(InputError, match=r"the source 'cut', row \d+ \(.*tokens\.bin\): a worker process died"):
        take(MixtureLoader(opened, p, num_workers=1), 10)
