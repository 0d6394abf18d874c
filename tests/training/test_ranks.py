"""Two gloo ranks: the same decisions and model as one process with the same micro-batches, and exact resume."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from mixwright.errors import InputError
from mixwright.training.batches import Batches
from mixwright.training.ranks import Ranks, started_ranks
from mixwright.training.settings import TrainingSettings

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")


def start(size, *arguments):
    """Run the script on so many ranks; return their exit codes and what they said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, str(HERE / "training_on_a_rank.py"), *map(str, arguments)]
    ranks = [
        subprocess.Popen(
            command,
            env={**env, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    said, codes = [], []
    for rank in ranks:
        try:
            said.append(rank.communicate(timeout=600 if not codes or codes[0] == 0 else 30)[0])
        except subprocess.TimeoutExpired:
            rank.kill()
            said.append(rank.communicate()[0])
        codes.append(rank.returncode)
    return codes, "\n".join(said)


def trained(size, tokens, folder, *more):
    codes, said = start(size, tokens, folder, *more)
    assert codes == [0] * size, said[-4000:]
    decisions = [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
    return decisions, load_file(folder / "model" / "model.safetensors"), (folder / "metrics.jsonl").read_text()


def numbers(decisions, name):
    return np.array([line["observation"][name] for line in decisions], float)


def test_two_ranks_decide_and_learn_as_one_process(stores, tmp_path):
    tokens = tmp_path / "tokens"
    one = trained(1, tokens, tmp_path / "one", "ddp", 0, 2)  # two micro-batches: those that the ranks have
    for kind in ("ddp", "fsdp2"):
        two = trained(2, tokens, tmp_path / kind, kind)
        assert len(two[0]) == len(one[0]) == 3
        for name in ("counts", "loss", "grad_sq_norm", "grad_variance", "planned"):
            found, expected = numbers(two[0], name), numbers(one[0], name)
            np.testing.assert_allclose(found, expected, 1e-2, 1e-3 * np.abs(expected).max(), err_msg=f"{kind} {name}")
        for a, b in zip(one[0], two[0], strict=True):
            np.testing.assert_allclose(a["weights"], b["weights"], atol=2e-3, err_msg=kind)
        assert set(one[1]) == set(two[1])
        for name, values in one[1].items():
            if not name.endswith("query_key_value.bias"):  # a key's bias has no gradient but rounding
                np.testing.assert_allclose(two[1][name], values, atol=2e-3, err_msg=f"{kind} {name}")
        losses = [[json.loads(line)["loss"] for line in text.splitlines()] for text in (one[2], two[2])]
        np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4, err_msg=kind)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_ranks_that_were_stopped_go_on_bit_by_bit(stores, tmp_path, kind):
    tokens = tmp_path / "tokens"
    codes, said = start(2, tokens, tmp_path / "stopped", kind, 7)
    assert codes[0] == 3, said[-4000:]
    assert (tmp_path / "stopped" / "checkpoints" / "last.safetensors").exists()
    stopped, whole = trained(2, tokens, tmp_path / "stopped", kind), trained(2, tokens, tmp_path / "whole", kind)
    assert stopped[0] == whole[0]
    assert stopped[2] == whole[2]
    for name, values in whole[1].items():
        np.testing.assert_array_equal(stopped[1][name], values)


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
