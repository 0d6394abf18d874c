"""torchtitan's data loader draws the plan's rows, and its checkpoints resume on another number of ranks."""

import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torchtitan needs torch")
pytest.importorskip("torchtitan", reason="torchtitan is not installed")
sys.path.insert(0, str(Path(__file__).parents[1] / "stream"))
from streams import SIZES, plan, sources, take  # noqa: E402

from mixwright.errors import InputError  # noqa: E402
from mixwright.integrations.torchtitan import dataloader, flat_inputs, next_token_inputs  # noqa: E402
from mixwright.mixture import Mixture  # noqa: E402
from mixwright.strategies.schedule import Schedule  # noqa: E402
from mixwright.stream.batches import Batch  # noqa: E402
from mixwright.stream.loader import MixtureLoader  # noqa: E402

STEPS, WIDTH = 8, 4
CHANGING = {0: [0.5, 0.3, 0.2], 3: [0.1, 0.1, 0.8], 6: [0.0, 0.9, 0.1]}


def changing():
    return plan(weights=Mixture(SIZES, Schedule(CHANGING)))


def planned():
    return [list(zip(s.source.tolist(), s.row.tolist(), strict=True)) for s in take(changing(), STEPS)]


def built(rank, size, accumulate=1, workers=0, tokens=None, make=None, training=None):
    """The loader of a rank, built as the installed torchtitan builds it."""

    def own(rank, size):
        return MixtureLoader(sources(), changing(), rank, size, accumulate=accumulate, num_workers=workers, steps=STEPS)

    made = dataloader(make or own)
    runtime = {"dp_world_size": size, "dp_rank": rank, "tokenizer": None}
    tokens = 12 // size // accumulate * (WIDTH - 1) if tokens is None else tokens
    if hasattr(made, "build"):
        return made.build(**runtime, max_context_length=WIDTH - 1, num_tokens_per_batch=tokens)
    return made(**runtime, job_config=SimpleNamespace(training=training))


def step_of(loaders, batches, accumulate):
    """The pairs of one optimiser step, in the order of the plan: piece by piece, rank by rank."""
    found = []
    for _ in range(accumulate):
        for loader, iterator in zip(loaders, batches, strict=True):
            inputs, labels = next(iterator)
            tokens = inputs["input"].reshape(-1, WIDTH - 1)
            assert torch.equal(tokens[:, 1:], labels.reshape(-1, WIDTH - 1)[:, :-1])
            assert loader.batch.source.tolist() == tokens[:, 0].tolist()
            found += [tuple(pair) for pair in tokens[:, :2].tolist()]
    return found


@pytest.mark.parametrize(
    ("size", "accumulate", "workers"), [(1, 1, 0), (2, 3, 0), pytest.param(1, 2, 2, marks=pytest.mark.slow)]
)
def test_the_trainer_gets_the_plan_and_resumes_on_other_ranks(tmp_path, size, accumulate, workers):
    from torch.distributed import checkpoint

    loaders = [built(rank, size, accumulate, workers) for rank in range(size)]
    batches = [iter(loader) for loader in loaders]
    assert [step_of(loaders, batches, accumulate) for _ in range(5)] == planned()[:5]
    assert len({str(loader.state_dict()) for loader in loaders}) == 1  # whatever rank writes it
    checkpoint.save({"dataloader": loaders[-1]}, checkpoint_id=tmp_path, no_dist=True)
    loaders = [built(rank, 3, 2) for rank in range(3)]
    for loader in loaders:
        checkpoint.load({"dataloader": loader}, checkpoint_id=tmp_path, no_dist=True)
    batches = [iter(loader) for loader in loaders]
    assert [step_of(loaders, batches, 2) for _ in range(3)] == planned()[5:]


def resumed_at_five(*changes, given=()):
    """A loader of a plan with changes, with the state of one after step 5."""
    first, again = (
        built(0, 1, make=lambda rank, size, those=those: MixtureLoader(sources(), with_changes(*those), steps=STEPS))
        for those in (given, changes)
    )
    batches = iter(first)
    before = [step_of([first], [batches], 1) for _ in range(5)]
    again.load_state_dict(first.state_dict())
    return before, again


def with_changes(*changes):
    made = plan()
    for step, weights in changes:
        made.set_weights(weights, at_step=step)
    return made


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        ((), [(6, [0.0, 0.25, 0.75])]),
        ((), [(5, [0.0, 0.25, 0.75]), (7, [1.0, 0.0, 0.0])]),
        ([(6, [0.0, 1.0, 0.0])], [(6, [0.0, 0.25, 0.75])]),
        ([(3, [0.1, 0.1, 0.8])], [(3, [0.1, 0.1, 0.8]), (6, [0.0, 0.25, 0.75])]),
    ],
)
def test_a_change_of_weights_at_a_restart_begins_at_its_step(given, changes):
    before, again = resumed_at_five(*changes, given=given)
    saved = again.state_dict()
    batches = iter(again)
    steps = take(with_changes(*changes), STEPS)
    expected = [list(zip(s.source.tolist(), s.row.tolist(), strict=True)) for s in steps]
    found = before
    for step in steps[5:]:
        found.append(step_of([again], [batches], 1))
        assert again.batch.weights.tolist() == step.weights.tolist()
    assert found == expected
    later = built(0, 1, make=lambda rank, size: MixtureLoader(sources(), plan(), steps=STEPS))
    later.load_state_dict(saved)  # the state has the change, too
    assert step_of([later], [iter(later)], 1) == expected[5]


def test_a_change_before_the_restored_step_that_was_not_drawn_is_refused():
    with pytest.raises(InputError, match=r"found a change at step 3: the state is of step 5.*use at_step=5 or later"):
        resumed_at_five((3, [0.0, 0.25, 0.75]), (6, [1.0, 0.0, 0.0]))


def test_a_checkpoint_within_a_step_is_refused_and_one_of_another_loader():
    loader = built(0, 1, accumulate=2)
    next(iter(loader))
    with pytest.raises(InputError, match="piece 1 of 2"):
        loader.state_dict()
    loader.load_state_dict({})  # torchtitan: a run without one
    with pytest.raises(InputError, match="another data loader"):
        loader.load_state_dict({"world_size": 1, "dp_rank_0": b""})


def test_settings_that_differ_are_refused():
    with pytest.raises(InputError, match="rank of the loader should be torchtitan's, 1, found 0"):
        built(1, 2, make=lambda rank, size: MixtureLoader(sources(), changing(), 0, size))
    if hasattr(dataloader(None), "build"):
        with pytest.raises(InputError, match="should have torchtitan's 35 tokens, found 36"):
            next(iter(built(0, 1, tokens=35)))
    else:
        settings = SimpleNamespace(local_batch_size=4, global_batch_size=12)
        with pytest.raises(InputError, match=r"rows of a batch .* 4, found 12"):
            built(0, 1, training=settings)
        with pytest.raises(InputError, match=r"accumulate .* 3, found 1"):
            built(0, 1, training=settings, make=lambda r, s: MixtureLoader(sources(), plan(4, [0.5, 0.3, 0.2]), r, s))


def test_documents_and_padding_are_not_learned_across():
    zero = torch.zeros(1, dtype=torch.int64)
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    rows = {"input_ids": ids, "position_ids": torch.tensor([[0, 1, 0, 1, 2]])}
    inputs, labels = next_token_inputs(Batch(rows, zero, zero, np.ones(1), 0))
    assert inputs["input"].tolist() == [[5, 6, 7, 8]]
    assert labels.tolist() == [[6, -100, 8, 9]]
    flat, labels = flat_inputs(Batch(rows, zero, zero, np.ones(1), 0))
    assert flat["positions"].tolist() == [0, 1, 0, 1]
    assert labels.tolist() == [6, -100, 8, 9]
    padded = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 0, 0]])}
    assert next_token_inputs(Batch(padded, zero, zero, np.ones(1), 0))[1].tolist() == [[6, 7, -100, -100]]
    plain, _ = flat_inputs(Batch(ids.repeat(2, 1), zero, zero, np.ones(1), 0))
    assert plain["positions"].tolist() == [0, 1, 2, 3] * 2
    assert list(islice(plain["input"], 4)) == [5, 6, 7, 8]
