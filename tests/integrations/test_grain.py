"""grain draws the plan's rows: their shares and order, over worker processes, ranks, and its own checkpoints."""

import json
import pickle
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stream"))
from streams import SIZES, WEIGHTS, plan, sources, take

from mixwright.errors import InputError
from mixwright.mixture import Mixture
from mixwright.strategies.schedule import Schedule
from mixwright.stream.numbered import PlanSource

STEPS, BATCH = 8, 12
CHANGING = {0: [0.5, 0.3, 0.2], 3: [0.1, 0.1, 0.8], 6: [0.0, 0.9, 0.1]}
LATER = [0.0, 0.25, 0.75]


def changing():
    return plan(weights=Mixture(SIZES, Schedule(CHANGING)))


def planned(made, steps=STEPS):
    """The rows of each step: pairs of source and row."""
    return [list(zip(s.source.tolist(), s.row.tolist(), strict=True)) for s in take(made, steps)]


def joined(parts):
    return list(chain.from_iterable(parts))


def pairs(batch):
    """The pairs that the tokens of a batch say, after a check that its label says the same source."""
    assert batch["source"].tolist() == batch["input_ids"][:, 0].tolist()
    return [tuple(row) for row in batch["input_ids"][:, :2].tolist()]


def test_rows_by_number_are_the_plans_in_any_order():
    rows = PlanSource(sources(), changing(), STEPS)
    expected = joined(planned(changing()))
    assert len(rows) == STEPS * BATCH
    found = {i: rows[i] for i in np.random.default_rng(0).permutation(len(rows)).tolist()}
    assert [tuple(found[i]["input_ids"][:2].tolist()) for i in range(len(rows))] == expected
    assert [int(found[i]["source"]) for i in range(len(rows))] == [source for source, _ in expected]
    again = pickle.loads(pickle.dumps(rows))
    assert again.slot(50) == expected[50]
    assert repr(again) == repr(rows)
    with pytest.raises(IndexError):
        rows[len(rows)]


def test_rows_of_a_rank_are_side_by_side():
    ranks = [PlanSource(sources(), changing(), STEPS, rank, 3) for rank in range(3)]
    parts = [[rows.slot(i) for i in range(len(rows))] for rows in ranks]
    expected = planned(changing())
    for step in range(STEPS):
        assert joined(part[4 * step : 4 * step + 4] for part in parts) == expected[step]


def test_a_column_with_the_name_of_the_label_is_refused_and_none_leaves_rows_alone():
    made = [{"source": "x"}] * 4
    with pytest.raises(InputError, match="choose another with name="):
        PlanSource({"a": made}, plan(4, [1.0], {"a": 4}), 1)[0]
    assert PlanSource({"a": made}, plan(4, [1.0], {"a": 4}), 1, name="of")[0] == {"source": "x", "of": 0}
    assert PlanSource({"a": made}, plan(4, [1.0], {"a": 4}), 1, name=None)[0] == {"source": "x"}


def test_a_plan_that_ends_says_so():
    rows = PlanSource(sources(), plan(exhausted="stop"), 100)
    with pytest.raises(InputError, match="found its end at step"):
        rows[99 * BATCH]


def batched(grain, made, workers=0):
    """Batches before they are dealt out to the workers: each is a step of the plan."""
    rows = grain.MapDataset.source(PlanSource(sources(), made, STEPS)).batch(BATCH).to_iter_dataset()
    return rows.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers)) if workers else rows


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_grain_reads_the_plan_and_its_checkpoint_goes_on(tmp_path, workers):
    grain = pytest.importorskip("grain", reason="grain is not installed")
    expected = planned(changing())
    first = iter(batched(grain, changing(), workers))
    assert [pairs(batch) for batch in take(first, 5)] == expected[:5]
    grain.checkpoint.CheckpointHandler().save(tmp_path, first)
    again = iter(batched(grain, changing(), workers))
    grain.checkpoint.CheckpointHandler().restore(tmp_path, again)
    assert [pairs(batch) for batch in again] == expected[5:]


def test_a_change_of_weights_at_a_restart_begins_at_its_step():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    first = iter(batched(grain, plan()))
    before = [pairs(batch) for batch in take(first, 5)]
    other = plan()
    other.set_weights(LATER, at_step=6)
    again = iter(batched(grain, other))
    again.set_state(first.get_state())
    expected = plan()
    expected.set_weights(LATER, at_step=6)
    assert before + [pairs(batch) for batch in again] == planned(expected)


@pytest.mark.parametrize("ranks", [1, 2])
def test_grains_own_shards_are_the_steps_of_the_plan(ranks):
    grain = pytest.importorskip("grain", reason="grain is not installed")
    rows = grain.MapDataset.source(PlanSource(sources(), changing(), STEPS))
    shards = [iter(grain.experimental.ElasticIterator(
        rows, BATCH, grain.sharding.ShardOptions(rank, ranks))) for rank in range(ranks)]  # fmt: skip
    found = [joined(pairs(next(shard)) for shard in shards) for _ in range(5)]
    assert [sorted(step) for step in found] == [sorted(step) for step in planned(changing(), 5)]
    other = iter(grain.experimental.ElasticIterator(rows, BATCH, grain.sharding.ShardOptions(0, 1)))
    other.set_state(shards[0].get_state())  # on one process, whatever the number was
    assert pairs(next(other)) == planned(changing())[5]


@pytest.mark.slow
def test_the_data_loader_with_processes_saves_and_refuses_other_sources():
    grain = pytest.importorskip("grain", reason="grain is not installed")
    workers = 2

    def loader(of):
        rows = PlanSource(of, changing(), STEPS)
        order = grain.samplers.IndexSampler(
            len(rows), shard_options=grain.sharding.NoSharding(), shuffle=False, num_epochs=1
        )
        return grain.DataLoader(data_source=rows, sampler=order, worker_count=workers,
                                shard_options=grain.sharding.NoSharding())  # fmt: skip

    expected = joined(planned(changing()))
    first = iter(loader(sources()))
    found = [tuple(row["input_ids"][:2].tolist()) for row in take(first, 31)]
    assert found == expected[:31]
    again = iter(loader(sources()))
    again.set_state(first.get_state())
    assert [tuple(row["input_ids"][:2].tolist()) for row in again] == expected[31:]
    others = sources(width=4) | {"c": sources({"c": 5})["c"]}
    with pytest.raises(ValueError, match="does not match"):
        iter(loader(others)).set_state(first.get_state())


def batches(made, rank=0, world_size=1, **options):
    from mixwright.integrations.grain import PlanBatches

    return PlanBatches(sources(), made, rank, world_size, **{"steps": STEPS, **options})


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_resume_bit_by_bit_across_processes(tmp_path, workers):
    grain = pytest.importorskip("grain", reason="grain is not installed")

    def made():
        options = grain.MultiprocessingOptions(num_workers=workers)
        whole = batches(changing(), accumulate=3)
        return iter(whole.mp_prefetch(options) if workers else whole)

    expected = joined(planned(changing()))
    first = made()
    found = joined(pairs(batch) for batch in take(first, 1))
    early = json.loads(json.dumps(first.get_state()))  # one worker has given nothing yet
    found += joined(pairs(batch) for batch in take(first, 15))
    grain.checkpoint.CheckpointHandler().save(tmp_path, first)
    again = made()
    grain.checkpoint.CheckpointHandler().restore(tmp_path, again)
    assert found + joined(pairs(batch) for batch in again) == expected
    again = made()
    again.set_state(early)
    assert joined(pairs(batch) for batch in again) == expected[4:]


def test_batches_resume_late_and_on_other_ranks_with_weights_that_change():
    pytest.importorskip("grain", reason="grain is not installed")
    expected = plan()
    expected.set_weights(LATER, at_step=150)
    expected = planned(expected, 160)
    ranks = [iter(batches(plan(), rank, 2, steps=None)) for rank in range(2)]
    for step in range(140):
        assert pairs(next(ranks[0])) + pairs(next(ranks[1])) == expected[step]
    state = ranks[1].get_state()
    assert state == ranks[0].get_state()
    other = plan()
    other.set_weights(LATER, at_step=150)
    ranks = [iter(batches(other, rank, 3, steps=160)) for rank in range(3)]
    for one in ranks:
        one.set_state(state)
    found = [joined(pairs(batch) for batch in step) for step in zip(*ranks, strict=True)]
    assert found == expected[140:]
    assert {key: type(value) for key, value in ranks[0].get_state().items()} == {k: type(v) for k, v in state.items()}


def test_a_change_before_the_restored_step_that_was_not_drawn_is_refused():
    pytest.importorskip("grain", reason="grain is not installed")
    first, other = iter(batches(plan())), plan()
    take(first, 5)
    other.set_weights(LATER, at_step=3)
    again = iter(batches(other))
    before = again.get_state()
    with pytest.raises(InputError, match=r"found a change at step 3: the state is of step 5"):
        again.set_state(first.get_state())
    assert again.get_state() == before
    first = iter(batches(other))  # drawn so
    found = [pairs(batch) for batch in take(first, 5)]
    again.set_state(first.get_state())
    assert found + [pairs(batch) for batch in again] == planned(other)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_state_at_the_end_of_the_plan_is_restored_and_ends(workers):
    pytest.importorskip("grain", reason="grain is not installed")
    expected = planned(plan(exhausted="stop"), None)

    def made(worker):
        of = batches(plan(exhausted="stop"), steps=None)
        of.set_slice(slice(worker, None, workers))
        return iter(of)

    for worker in range(workers):
        own = expected[worker::workers]
        for given in range(len(own) + 1):
            first = made(worker)
            assert [pairs(batch) for batch in take(first, given)] == own[:given]
            again = made(worker)
            again.set_state(first.get_state())
            assert [pairs(batch) for batch in again] == own[given:]


def test_states_that_do_not_fit_are_refused():
    pytest.importorskip("grain", reason="grain is not installed")
    state = iter(batches(plan())).get_state()
    with pytest.raises(InputError, match="a state of PlanBatches"):
        iter(batches(plan())).set_state({"next_index": 3})
    with pytest.raises(InputError, match="accumulate"):
        iter(batches(plan(), accumulate=2)).set_state(state)
    other = plan(sizes=SIZES | {"c": 6})
    from mixwright.integrations.grain import PlanBatches

    with pytest.raises(InputError, match="'c'"):
        iter(PlanBatches(sources(SIZES | {"c": 6}), other)).set_state(state)


def test_without_grain_the_message_is_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    monkeypatch.delitem(sys.modules, "mixwright.integrations.grain", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'mixwright\[grain\]'"):
        import mixwright.integrations.grain  # noqa: F401


def test_shares_are_within_a_row():
    rows = PlanSource(sources(), plan(), 40)
    drawn = np.bincount([rows.slot(i)[0] for i in range(len(rows))], minlength=3)
    assert np.all(np.abs(drawn - np.array(WEIGHTS) * len(rows)) < 1)
