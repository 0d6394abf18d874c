"""Two ranks (gloo, CPU): sums over pairs of rows within each rank, the same under DDP and FSDP2."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="gradient statistics need torch")

from gradients_by_hand import assert_same, by_pairs, row_gradients, row_losses, small  # noqa: E402
from gradients_on_a_rank import SOURCE, K, rows  # noqa: E402

from mixwright import Observation  # noqa: E402
from two_ranks import run_two_ranks  # noqa: E402


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_ranks(tmp_path):
    out = tmp_path / "found.json"
    run_two_ranks(Path(__file__).with_name("gradients_on_a_rank.py"), out)
    model = small()
    parts = [(row_gradients(model, row_losses(model, rows(rank))), SOURCE[rank]) for rank in (0, 1)]
    whole = np.concatenate([gradients for gradients, _ in parts]).mean(0)
    found = json.loads(out.read_text())
    assert len(found) == 12
    for name, result in found.items():
        level = name.split(", ")[1]
        seen = Observation.from_json(result["observation"])
        assert_same(seen, *by_pairs(parts, K, level), 1e-12, level)
        assert seen.counts.tolist() == [4, 3, 3, 0], name
        np.testing.assert_allclose(result["gradient"], whole, rtol=1e-9, atol=1e-13, err_msg=name)
