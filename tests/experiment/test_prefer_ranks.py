"""`mixwright prefer train` on two ranks is one process with the same batches; another number of ranks goes on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from safetensors.numpy import load_file  # noqa: E402

HERE = Path(__file__).parent
FILES = ("metrics.jsonl", "decisions.jsonl", "evaluation.jsonl")


def left(run):
    """Return all numbers that a run left, by where they are."""
    found = {}
    for name in FILES:
        lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
        found |= dict(_numbers(lines, name))
    (path,) = (run / "model").glob("*.safetensors")
    found |= {f"model {name}": values for name, values in load_file(path).items()}
    summary = json.loads((run / "summary.json").read_text())
    return found | dict(_numbers([summary["sources"], summary["held_out"], summary["curve"]], "summary"))


def _numbers(value, key):
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(inner, f"{key}.{name}")
    elif isinstance(value, int | float):
        yield key, np.float64(value)


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.distributed.is_available() or not hasattr(os, "fork"), reason="needs torch.distributed and fork"
)
def test_two_ranks_are_one_process_and_any_number_goes_on(tmp_path):
    paths = [str(HERE.parent / "preference"), *filter(None, sys.path)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "preferring_on_ranks.py"), str(tmp_path)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    codes = json.loads((tmp_path / "codes.json").read_text())
    refused = [line for line in codes if set(line["codes"]) == {1}]
    assert [(line["name"], line["left"]) for line in refused] == [("ddp stopped", 1), ("three", 0)]
    for line in (line for line in codes if line not in refused):
        stopped = line["codes"][0] == 3
        assert line["left"] == (1 if stopped else 0), line  # checkpoints
        assert stopped or set(line["codes"]) == {0}, ran.stderr[-4000:]
    assert [line["codes"][0] for line in codes].count(3) == 3
    pairs = [("one", "ddp"), ("one", "fsdp2"), ("ddp", "ddp stopped"), ("ddp", "fsdp2 stopped")]
    pairs += [("ddp", "fsdp2 measured")]
    pairs += [("lora one", "lora ddp"), ("lora one", "lora fsdp2")]
    for name, other in pairs:
        expected, found = left(tmp_path / name), left(tmp_path / other)
        assert expected.keys() == found.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(found[key], values, rtol=2e-4, atol=5e-6, err_msg=f"{other}: {key}")
    assert "training.batch_size: batch_size should be a multiple of ranks x accumulate (3 x 1), found 8" in ran.stderr
    assert not (tmp_path / "three").exists()
    assert re.search(r"/checkpoint-\d should be of several ranks with parallel: fsdp2, found one without", ran.stderr)
