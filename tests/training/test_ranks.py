"""Two gloo ranks: the same decisions and model as one process with the same micro-batches, and exact resume."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mixwright.errors import InputError
from mixwright.steering.known import read_record
from mixwright.text import byte_tokenizer, write_tokens
from mixwright.training.batches import Batches
from mixwright.training.ranks import Ranks, started_ranks
from mixwright.training.settings import TrainingSettings

HERE = Path(__file__).parent
on_ranks = pytest.mark.skipif(
    not torch.distributed.is_available() or not hasattr(os, "fork"), reason="needs torch.distributed and fork"
)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return the folder of all trainings, the ranks' exit codes, and what they said."""
    folder = tmp_path_factory.mktemp("ranks")
    texts = {
        "abc": ["abcabcabc" * 30] * 20,
        "digits": [f"{i * i} " * 9 for i in range(100)],
        "more": ["xyz " * 50] * 20,
    }
    for name, documents in texts.items():
        write_tokens(folder / "tokens" / name, documents, byte_tokenizer())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(HERE / "trainings_on_ranks.py"), str(folder / "tokens"), str(folder)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return folder, json.loads((folder / "codes.json").read_text()), ran.stderr


def trained(done, name):
    """Return decisions, weights of the model, and the losses of the steps."""
    folder, codes, said = done
    last = [each for each in codes if each["name"] == name][-1]
    assert set(last["codes"]) == {0}, said[-4000:]
    decisions = [json.loads(line) for line in (folder / name / "decisions.jsonl").read_text().splitlines()]
    metrics = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    return decisions, load_file(folder / name / "model" / "model.safetensors"), metrics


def numbers(decisions, name):
    return np.array([line["observation"][name] for line in decisions], float)


@pytest.mark.slow
@on_ranks
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_ranks_decide_and_learn_as_one_process(done, kind):
    one, two = trained(done, "one"), trained(done, kind)  # one: two micro-batches, those that the ranks have
    assert len(two[0]) == len(one[0]) == 3
    for name in ("counts", "loss", "grad_sq_norm", "grad_variance", "planned"):
        found, expected = numbers(two[0], name), numbers(one[0], name)
        np.testing.assert_allclose(found, expected, 1e-2, 1e-3 * np.abs(expected).max(), err_msg=name)
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a["weights"], b["weights"], atol=2e-3)
    losses = [[line["loss"] for line in lines] for lines in (one[2], two[2])]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for name, values in one[1].items():
        if not name.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
            np.testing.assert_allclose(two[1][name], values, atol=2e-3, err_msg=name)


@pytest.mark.slow
@on_ranks
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_ranks_that_died_go_on_bit_by_bit(done, kind):
    first = next(each for each in done[1] if each["name"] == f"{kind} stopped")
    assert first["codes"][0] == 3
    assert first["checkpoint"]
    stopped, whole = trained(done, f"{kind} stopped"), trained(done, kind)
    assert stopped[0] == whole[0]
    assert stopped[2] == whole[2]
    for name, values in whole[1].items():
        np.testing.assert_array_equal(stopped[1][name], values)


@pytest.mark.slow
@on_ranks
def test_ranks_with_parts_go_on_from_a_checkpoint_of_whole_models(done):
    begun, whole = trained(done, "ddp begun"), trained(done, "fsdp2")
    losses = [[line["loss"] for line in lines] for lines in (begun[2], whole[2])]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    for name, values in whole[1].items():
        if not name.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
            np.testing.assert_allclose(begun[1][name], values, atol=2e-3, err_msg=name)


@pytest.mark.slow
@on_ranks
def test_ranks_that_were_steered_and_died_are_as_undisturbed_ones_with_that_schedule(done):
    assert next(each for each in done[1] if each["name"] == "ddp steered")["codes"][0] == 3
    assert [line["at"] for line in read_record(done[0] / "ddp steered")] == [5, 10]
    steered, scheduled = trained(done, "ddp steered"), trained(done, "ddp scheduled")
    assert steered[0] == scheduled[0]
    assert steered[2] == scheduled[2]
    for name, values in scheduled[1].items():
        np.testing.assert_array_equal(steered[1][name], values)
    assert [line.get("by_hand", {}).get("pins") for line in steered[0]] == [None, {"abc": 0.25}, {"abc": 0.25}]
    assert [line["weights"][0] for line in steered[0]][1:] == pytest.approx([0.25] * 2)
    assert trained(done, "ddp")[2] != steered[2]


@pytest.mark.slow
@on_ranks
def test_ranks_whose_sources_changed_and_that_died_are_as_undisturbed_ones(done):
    assert [each["codes"][0] for each in done[1] if each["name"] == "ddp regrouped"] == [3, 3, 0]
    assert [line["at"] for line in read_record(done[0] / "ddp regrouped")] == [4, 8]
    changed, whole = trained(done, "ddp regrouped"), trained(done, "ddp regrouped whole")
    assert changed[0] == whole[0]
    assert changed[2] == whole[2]
    for name, values in whole[1].items():
        np.testing.assert_array_equal(changed[1][name], values)
    sources = [list(line["source_loss"]) for line in whole[2]]
    assert sources[3] == ["abc", "digits"]
    assert {name for names in sources[8:] for name in names} == {"abc", "low", "high", "more"}


@pytest.mark.slow
@on_ranks
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_ranks_measure_the_excess_over_a_reference_as_one_process(done, kind):
    one, two = trained(done, "one over a reference"), trained(done, f"{kind} over a reference")
    assert len(two[0]) == len(one[0]) == 3
    expected = numbers(one[0], "excess_loss")
    assert np.all(np.abs(expected) > 1e-3)
    np.testing.assert_allclose(numbers(two[0], "excess_loss"), expected, rtol=1e-3)
    for a, b in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(a["weights"], b["weights"], atol=1e-4)
    results = [
        json.loads((done[0] / name / "result.json").read_text())
        for name in ("one over a reference", f"{kind} over a reference")
    ]
    assert [result["reference_tokens"] for result in results] == [12 * 8 * 16] * 2
    assert len(list((done[0] / f"{kind} over a reference" / "reference" / "losses").iterdir())) == 4  # two per rank


@pytest.mark.slow
@on_ranks
def test_ranks_over_a_reference_go_on_bit_by_bit(done):
    stopped, whole = trained(done, "ddp over a reference stopped"), trained(done, "ddp over a reference")
    assert stopped[0] == whole[0]
    assert stopped[2] == whole[2]
    for name, values in whole[1].items():
        np.testing.assert_array_equal(stopped[1][name], values)


@pytest.mark.slow
@on_ranks
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_ranks_average_their_weights_as_one_process(done, kind):
    one, two = trained(done, "one averaged"), trained(done, f"{kind} averaged")
    plain = trained(done, kind)
    assert (two[0], two[2]) == (plain[0], plain[2])  # the training itself is the same
    names = ("one averaged", f"{kind} averaged", kind)
    expected, found, last = (json.loads((done[0] / name / "result.json").read_text())["curve"] for name in names)
    for a, b in zip(found, expected, strict=True):
        assert a["loss"]["x"] == pytest.approx(b["loss"]["x"], rel=1e-5)
    assert found[-1]["last_weights_loss"] == last[-1]["loss"]
    assert [point["loss"] for point in found] != [point["loss"] for point in last]
    for name, values in one[1].items():
        if not name.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
            np.testing.assert_allclose(two[1][name], values, atol=1e-3, err_msg=name)
    assert max(np.abs(two[1][name] - plain[1][name]).max() for name in plain[1]) > 3e-3


@pytest.mark.slow
@on_ranks
def test_averaged_ranks_that_died_go_on_bit_by_bit(done):
    stopped, whole = trained(done, "fsdp2 averaged stopped"), trained(done, "fsdp2 averaged")
    for name, values in whole[1].items():
        np.testing.assert_array_equal(stopped[1][name], values)


@pytest.mark.slow
@on_ranks
def test_a_checkpoint_goes_on_with_as_many_ranks(done):
    last = next(each for each in reversed(done[1]) if each["name"] == "ddp stopped again")
    assert last["codes"] == [1]
    assert last["checkpoint"]
    assert "holds a checkpoint of 2 ranks, found 1 here" in done[2]


def test_one_rank_without_torchrun():
    with started_ranks("fsdp2") as ranks:
        assert ranks == Ranks()
        assert ranks.shared("x") == "x"
        assert ranks.gather(3) == [3]
    with pytest.raises(InputError, match="parallel should be ddp or fsdp2, found 'tp'"), started_ranks("tp"):
        pass


def test_the_ranks_slices_are_the_batch(stores):
    settings = TrainingSettings(steps=4, batch_size=8, context=16)
    whole = Batches(stores, [0.5, 0.5], settings, pairs=True)
    slices = [Batches(stores, [0.5, 0.5], settings, rank, 2, True) for rank in range(2)]
    for _ in range(4):
        batch, parts = whole.next(), [each.next() for each in slices]
        np.testing.assert_array_equal(np.concatenate([p.tokens for p in parts]), batch.tokens)
        np.testing.assert_array_equal(batch.source[::2], batch.source[1::2])  # pairs
        for micro in batch.parts(2):
            assert np.all(np.diff(micro.source) >= 0)
    with pytest.raises(InputError, match=r"multiple of ranks x accumulate \(3 x 1\), found 8"):
        Batches(stores, [0.5, 0.5], settings, 0, 3)
