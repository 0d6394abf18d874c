"""The stream in plain DataLoaders, under accelerate's dealing and read-ahead, and over streamed data sets."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the adapters need torch")

from streams import SIZES, plan, sources, take  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from mixwright.errors import InputError  # noqa: E402
from mixwright.stream.adapters import Interleaved, StreamDataset, as_datasets_iterable  # noqa: E402
from mixwright.stream.batches import SourceRows  # noqa: E402
from mixwright.stream.slices import PlanSampler  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def pairs(batch):
    return [tuple(row) for row in batch[:, :2].tolist()]


def planned(count, skip=0, **options):
    return [
        list(zip(s.source.tolist(), s.row.tolist(), strict=True)) for s in take(plan(**options), skip + count)[skip:]
    ]


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_a_plain_dataloader_with_the_sampler_or_the_iterable(workers):
    expected = planned(8)
    sampled = DataLoader(SourceRows(sources()), batch_sampler=PlanSampler(plan(), steps=8), num_workers=workers)
    assert [pairs(batch) for batch in sampled] == expected
    assert len(sampled) == 8
    dataset = StreamDataset(sources(), plan(), steps=8)
    assert [pairs(b) for b in DataLoader(dataset, dataset.batch_size, num_workers=workers)] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_goes_on_from_a_state(workers):
    dataset = StreamDataset(sources(), plan(), steps=12)
    state = json.loads(json.dumps(dataset.state_dict(5)))
    again = StreamDataset(sources(), plan(), steps=12)
    again.load_state_dict(state)
    assert [pairs(b) for b in DataLoader(again, again.batch_size, num_workers=workers)] == planned(7, 5)


def test_slices_of_the_iterable_and_the_sampler_agree():
    for rank in range(2):
        dataset = StreamDataset(sources(), plan(), rank, 2, accumulate=3, steps=4)
        sampler = PlanSampler(plan(), rank, 2, accumulate=3, steps=4)
        one = [pairs(b) for b in DataLoader(dataset, dataset.batch_size, num_workers=2)]
        assert one == [pairs(b) for b in DataLoader(SourceRows(sources()), batch_sampler=sampler)]
        assert len(one) == 12


@pytest.mark.parametrize("split", [False, True])
def test_accelerate_deals_the_batches_out_to_ranks(split):
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    expected = planned(6)
    ranks = []
    for rank in range(2):
        sampler = PlanSampler(plan(), steps=6) if split else PlanSampler(plan(), None, 2, steps=6)
        loader = DataLoader(SourceRows(sources()), batch_sampler=sampler)
        shard = accelerate.data_loader.prepare_data_loader(
            loader, num_processes=2, process_index=rank, split_batches=split, put_on_device=False
        )
        ranks.append([pairs(batch) for batch in shard])
    assert [a + b for a, b in zip(*ranks, strict=True)] == expected


def test_accelerate_deals_the_rows_of_the_iterable_out_to_ranks():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    ranks = []
    for rank in range(2):
        dataset = StreamDataset(sources(), plan(), None, 2, steps=6)
        shard = accelerate.data_loader.prepare_data_loader(
            DataLoader(dataset, dataset.batch_size, num_workers=2),
            num_processes=2,
            process_index=rank,
            put_on_device=False,
        )
        ranks.append([pairs(batch) for batch in shard])
    assert [a + b for a, b in zip(*ranks, strict=True)] == planned(6)


def test_the_read_ahead_of_accelerate_is_not_in_a_state_of_the_step():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    p = plan()
    loader = DataLoader(SourceRows(sources()), batch_sampler=PlanSampler(p))
    prepared = accelerate.data_loader.prepare_data_loader(loader, num_processes=1, process_index=0, put_on_device=False)
    take(prepared, 5)
    assert p.step == 6
    again = plan()
    again.load_state_dict(p.state_dict(5))
    assert [pairs(b) for b in DataLoader(SourceRows(sources()), batch_sampler=PlanSampler(again, steps=9))] == planned(
        4, 5
    )


class Counter:
    """A stream that cannot be read by number."""

    def __init__(self, size):
        self.size, self.epoch = size, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        return iter([{"n": i, "epoch": self.epoch} for i in range(self.size)])


def test_streams_are_drawn_in_the_order_of_the_plan():
    found = take(Interleaved({n: Counter(s) for n, s in SIZES.items()}, plan()), 12 * 30)
    expected = [list(SIZES)[i] for step in take(plan(), 30) for i in step.source.tolist()]
    assert [row["source"] for row in found] == expected
    for name, size in SIZES.items():
        seen = [(row["epoch"], row["n"]) for row in found if row["source"] == name]
        assert seen == [divmod(i, size) for i in range(len(seen))]
    with pytest.raises(InputError, match="at least one example"):
        take(Interleaved({n: Counter(0) for n in SIZES}, plan()), 1)
    with pytest.raises(InputError, match="same names"):
        Interleaved({"x": Counter(1)}, plan())


@pytest.mark.parametrize("stop", [0, 5, 12, 77])
def test_streams_of_datasets_go_on_exactly(stop):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    def made():
        streams = {
            n: datasets.Dataset.from_dict({"n": list(range(s))}).to_iterable_dataset().shuffle(seed=1, buffer_size=1)
            for n, s in SIZES.items()
        }
        return Interleaved(streams, plan())

    undisturbed = take(made(), 200)
    first = made()
    assert take(first, stop) == undisturbed[:stop]
    state = json.loads(json.dumps(first.state_dict()))
    assert take(first, 20) == undisturbed[stop : stop + 20]
    again = made()
    again.load_state_dict(state)
    assert take(again, 200 - stop) == undisturbed[stop:]


def test_rows_of_a_plan_as_a_datasets_iterable():
    pytest.importorskip("datasets", reason="datasets is not installed")
    rows = {n: [{"n": i} for i in range(s)] for n, s in SIZES.items()}
    found = take(as_datasets_iterable(rows, plan()), 40)
    expected = [(list(SIZES)[s], r) for step in take(plan(), 4) for s, r in zip(step.source, step.row, strict=True)]
    assert [(row["source"], row["n"]) for row in found] == expected[:40]
    arrays = take(as_datasets_iterable(sources(), plan()), 12)
    assert [tuple(np.asarray(row["input_ids"])[:2].tolist()) for row in arrays] == planned(1)[0]


def test_a_column_of_the_users_own_is_not_written_over():
    rows = {"a": [{"n": 1, "source": "wiki"}], "b": [{"n": 2, "source": "b"}]}
    equal = {"sizes": {"a": 1, "b": 1}, "weights": {"a": 0.5, "b": 0.5}, "batch_size": 2}
    with pytest.raises(InputError, match=r"'source' should be free .*'wiki'.*; choose another with name="):
        take(Interleaved(rows, plan(**equal)), 2)
    found = take(Interleaved(rows, plan(**equal), "of"), 2)
    assert {(row["source"], row["of"]) for row in found} == {("wiki", "a"), ("b", "b")}
