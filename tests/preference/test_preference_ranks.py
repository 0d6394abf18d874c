"""Two ranks (gloo, CPU) under DDP are one process with the same batches; a training that was killed goes on."""

import json
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from preference_on_a_rank import CASES, run  # noqa: E402

from forked import exit_code  # noqa: E402
from mixwright.preference.trainer import last_complete_checkpoint  # noqa: E402
from two_ranks import run_two_ranks  # noqa: E402

SCRIPT = Path(__file__).with_name("preference_on_a_rank.py")


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_ranks_are_one_process_with_the_same_batches(tmp_path):
    run_two_ranks(SCRIPT, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert first["resumed"]["parameters"] == first["AMAR-source"]["parameters"]  # bit by bit
    assert first["resumed"]["observation"] == first["AMAR-source"]["observation"]
    assert first["resumed"]["lines"] == first["AMAR-source"]["lines"][1:]
    assert "the loss of the source 'c', row 7 (2.jsonl, line 8) is not finite" in first["bad"]
    for name, clip in CASES:
        here = first[f"{name}-{clip}"]
        alone = run(tmp_path / f"alone-{name}-{clip}", name, clip, accumulate=4)  # its pieces are the ranks' slices
        np.testing.assert_allclose(here["parameters"], alone["parameters"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(here["weights"], alone["weights"], rtol=1e-5)
        for field, values in alone["observation"].items():
            seen = np.array(here["observation"][field], float)  # None: a source that was not seen
            np.testing.assert_allclose(seen, np.array(values, float), rtol=1e-4, atol=1e-6)
        for one, other in zip(here["lines"], alone["lines"], strict=True):
            assert one == pytest.approx(other, rel=1e-3, abs=1e-6)
        assert here["evaluated"] == pytest.approx(alone["evaluated"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_training_that_was_killed_while_it_saved_goes_on(tmp_path):
    killed = partial(run, killed_at=4)
    assert exit_code(killed, tmp_path / "killed", "AMAR", "example") == -signal.SIGKILL
    assert (tmp_path / "killed" / "checkpoint-4" / "optimizer.pt").exists()
    assert last_complete_checkpoint(tmp_path / "killed") == str(tmp_path / "killed" / "checkpoint-2")
    whole = run(tmp_path / "whole", "AMAR", "example")
    again = run(tmp_path / "killed", "AMAR", "example", resume=True)
    assert again["parameters"] == whole["parameters"]
    assert again["observation"] == whole["observation"]
    assert again["lines"] == whole["lines"][1:]
