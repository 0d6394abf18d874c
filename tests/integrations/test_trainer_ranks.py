"""Two ranks (gloo, CPU) under the Trainer's DDP: one Mixture, the observations of a single process."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the Trainer needs torch")

from trainer_on_a_rank import SETTINGS, told  # noqa: E402
from trainers import decisions, held_out, reference_model, run  # noqa: E402

from mixwright import GRAPE, DoReMi, PiKE  # noqa: E402
from two_ranks import run_two_ranks  # noqa: E402


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_ranks(tmp_path):
    path = reference_model(tmp_path / "reference")
    run_two_ranks(Path(__file__).with_name("trainer_on_a_rank.py"), tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["whole"]["weights"] == second["whole"]["weights"]
    assert first["whole"]["observation"] == second["whole"]["observation"]
    assert len(decisions(tmp_path / "log.jsonl")) == 2
    for rank in (first, second):  # bit by bit
        assert rank["after"]["weights"] == rank["whole"]["weights"][3:]
        assert rank["after"]["observation"] == rank["whole"]["observation"]
    for rank in (first, second):
        weights = rank["steered"]["weights"]
        assert weights == first["steered"]["weights"] == rank["scheduled"]["weights"]
        assert weights[3:] == rank["steered, after"]["weights"]
        assert rank["steered"]["observation"] == rank["scheduled"]["observation"]
        assert rank["steered"]["observation"] == rank["steered, after"]["observation"]
        assert [round(w[0], 9) == 0.5 for w in weights] == [False] * 8 + [True] * 2
        assert weights[9] == [0.5, 0.0, 0.5]
    _, *alone = run(tmp_path / "alone", PiKE(), accumulate=2, **SETTINGS)  # its pieces are the ranks' slices
    one = json.loads(json.dumps(told(*alone)))
    np.testing.assert_allclose(first["whole"]["weights"], one["weights"], rtol=1e-4)
    for name, values in one["observation"].items():
        np.testing.assert_allclose(
            np.array(first["whole"]["observation"][name], float),
            np.array(values, float),
            rtol=1e-3,
            atol=1e-3,
            err_msg=name,
        )
    assert first["over"]["observation"] == second["over"]["observation"]
    _, *alone = run(tmp_path / "alone", DoReMi(), accumulate=2, reference=path, **SETTINGS)
    excess = alone[0].observation.excess_loss
    np.testing.assert_allclose(np.array(first["over"]["observation"]["excess_loss"], float), excess, rtol=1e-3)
    assert len(list((tmp_path / "over" / "reference_losses").iterdir())) == 2  # each rank keeps those of its own rows
    assert first["shown"]["observation"] == second["shown"]["observation"]
    own = {"arguments": {"eval_dataset": held_out()}, "targets": "law"}
    _, *alone = run(tmp_path / "alone", GRAPE(), accumulate=2, **own, **SETTINGS)
    gram = alone[0].observation.target_gram
    np.testing.assert_allclose(
        np.array(first["shown"]["observation"]["target_gram"], float), gram, rtol=1e-2, atol=1e-3
    )
