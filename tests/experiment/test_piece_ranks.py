"""Pieces of several ranks: what is refused before any work, what a cluster is asked for, and that numbers stay."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
pytest.importorskip("xgboost")
sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

import torch
from comparing import make, rows_of
from test_compare_assays_run import make_assays
from tiny import write_tiny
from tiny_pairs import write_all

from mixwright.errors import DryRun, InputError
from mixwright.experiment import drive, load
from mixwright.experiment import make as configured
from mixwright.experiment.engines import on_ray
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.on_ray import RayCluster
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.engines.work import do_piece

HERE = Path(__file__).parent
TWO = {"kind": "local", "ranks": 2}


def refused(config, folder):
    """Return the one error of a run, which has written nothing."""
    with pytest.raises(InputError) as caught:
        drive(config, folder / "run")
    assert not (folder / "run").exists()
    return str(caught.value)


def test_ranks_of_what_cannot_be_spread_are_refused(tmp_path):
    said = refused(make_assays(tmp_path, engine=TWO), tmp_path)
    assert "engine.ranks: ranks should go with trainings of final models, arms or specialists" in said
    assert "found a comparison without; its pieces are one process each: remove ranks" in said
    path = write_tiny(tmp_path, proxy="ngram", final={"mixtures": []}, engine=TWO)
    assert "found a run without" in refused(load("search", path), tmp_path)


def test_a_step_that_cannot_be_shared_out_is_refused(tmp_path):
    said = refused(make(tmp_path, engine={"kind": "slurm", "ranks": 3, "dry_run": True}), tmp_path)
    assert "final.batch_size: batch_size should be a multiple of ranks x accumulate (3 x 1), found 4" in said
    values = write_all(tmp_path)
    values["training"] |= {"batch_size": 6, "accumulate": 2}
    said = refused(
        configured("prefer specialists", values | {"engine": {**TWO, "ranks": 4}}, folder=tmp_path), tmp_path
    )
    assert "training.batch_size: batch_size should be a multiple of ranks x accumulate (4 x 2), found 6" in said


def test_machines_that_cannot_have_the_ranks_are_refused(tmp_path, monkeypatch):
    config = make(tmp_path, engine=TWO)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    said = refused(config, tmp_path)
    assert "engine.ranks: each rank of this machine should have a GPU of its own, found 2 ranks and 1 GPUs" in said
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert "engine.ranks: this torch was built without distributed" in refused(config, tmp_path)


def test_the_command_that_hands_pieces_over_is_no_rank_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    for engine in (TWO, {"kind": "slurm", "dry_run": True}):
        said = refused(make(tmp_path, engine=engine), tmp_path)
        assert "engine: the command that hands pieces over should be one process, found 4 ranks" in said


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ({"kind": "slurm", "nodes": 2}, "a piece has one node: remove nodes"),
        ({"kind": "local", "ranks": 0}, "at least 1"),
        ({"kind": "local", "rank": 2}, "did you mean 'ranks'"),
    ],
)
def test_an_engine_that_cannot_be_is_one_error(tmp_path, engine, says):
    with pytest.raises(InputError, match="engine") as caught:
        make_assays(tmp_path, engine=engine)
    assert says in str(caught.value)


def test_a_piece_takes_as_much_as_all_its_ranks():
    engine = EngineConfig(kind="slurm", ranks=8)
    assert engine.needs(2, 8) == (16, 8, None)
    assert engine.needs(2, 1) == (2, 0, None)  # a piece that is one process
    full = EngineConfig(kind="ray", ranks=4, cpus=3, gpus=0, memory="2G")
    assert full.needs(1, 4) == (12, 0, 8 * 2**30)
    assert EngineConfig(kind="ray", ranks=4, gpus=2).needs(1, 4).gpus == 8


@pytest.mark.parametrize(("arms", "ranks"), [(["uniform"], 2), (["mixmin"], 1)])
def test_slurm_is_asked_for_what_all_ranks_take(arms, ranks, tmp_path):
    engine = {"kind": "slurm", "ranks": 2, "memory": "1G", "dry_run": True}
    with pytest.raises(DryRun):
        drive(make(tmp_path, arms=arms, engine=engine, seeds=2), tmp_path / "run")
    (script,) = (tmp_path / "run").glob("pieces/arrays/*.sh")
    lines = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH")]
    assert {piece.ranks for piece in planned(tmp_path / "run")} == {ranks}
    assert f"#SBATCH --cpus-per-task={ranks}" in lines
    assert f"#SBATCH --mem={1024 * ranks}M" in lines
    assert ("#SBATCH --gpus=2" in lines) == (ranks == 2)
    assert ("#SBATCH --nodes=1" in lines) == (ranks == 2)


def test_ray_needs_a_node_with_a_gpu_for_each_rank(monkeypatch):
    node = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    ray = SimpleNamespace(
        is_initialized=lambda: True, nodes=lambda: [node], remote=lambda **_: lambda function: function
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(on_ray, "_FITS", 0.0)
    engine = EngineConfig(kind="ray", ranks=2)
    with pytest.raises(
        InputError, match=r"should have 2 CPUs, 2 GPUs, found at most 4 CPUs, 1 GPUs on 1 nodes, .*; lower ranks"
    ):
        RayCluster(engine, 1, 2)
    RayCluster(engine, 1)


def test_a_piece_of_one_process_is_refused_under_torchrun(tmp_path, monkeypatch):
    with pytest.raises(DryRun):
        drive(make(tmp_path, engine={"kind": "slurm", "dry_run": True}), tmp_path / "run")
    piece = planned(tmp_path / "run")[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="is done by one process, found 2 ranks; start it without torchrun"):
        do_piece(tmp_path / "run", piece.key, lambda share: None)


on_ranks = pytest.mark.skipif(
    not torch.distributed.is_available() or not hasattr(os, "fork"), reason="needs torch.distributed and fork"
)


def close(found, expected):
    """Assert that two tables of cells are the same but for the last digits, which ranks change."""
    assert len(found) == len(expected) > 0
    for own, other in zip(found, expected, strict=True):
        assert {**own, "value": None} == {**other, "value": None}
        np.testing.assert_allclose(float(own["value"]), float(other["value"]), rtol=2e-4, atol=1e-6, err_msg=str(own))


@pytest.mark.slow
@on_ranks
def test_a_comparison_on_ranks_of_torchrun_is_that_of_one_process(tmp_path, monkeypatch):
    changes = {"arms": ["uniform"], "targets": {"mix": "target.jsonl"}, "seeds": 1}
    drive(make(tmp_path, **changes), tmp_path / "one")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    drive(make(tmp_path, engine=TWO, **changes), tmp_path / "two")
    close(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"))
    (piece,) = planned(tmp_path / "two")
    assert piece.ranks == 2
    assert piece.state()["state"] == "done"
    made = [json.loads((tmp_path / run / "trainings" / name / "result.json").read_text())
            for run in ("one", "two") for name in os.listdir(tmp_path / run / "trainings")]  # fmt: skip
    assert made[0]["ledger"] == made[1]["ledger"]  # the same rows


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Return the folder of runs whose ranks are forks of one process, which has imported torch once."""
    folder = tmp_path_factory.mktemp("forked")
    paths = [str(HERE.parent), str(HERE.parent / "preference"), *filter(None, sys.path)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "pieces_on_ranks.py"), str(folder)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return folder


@pytest.mark.slow
@on_ranks
@pytest.mark.parametrize("kind", ["texts", "pairs"])
def test_pieces_on_ranks_give_the_cells_of_one_process(forked, kind):
    folder = forked
    close(rows_of(folder / f"{kind} two"), rows_of(folder / f"{kind} one"))
    spread = {piece.stage for piece in planned(folder / f"{kind} two") if piece.ranks == 2}
    assert spread == ({"trainings"} if kind == "texts" else {"specialists", "arms"})


@pytest.mark.slow
@on_ranks
def test_a_search_and_specialists_on_ranks_are_those_of_one_process(forked):
    folder = forked
    for name, keys in (("search", ("runs",)), ("specialists", ("measured", "sources", "cost"))):
        one, two = (json.loads((folder / f"{name} {n}" / "summary.json").read_text()) for n in ("one", "two"))
        for key in keys:
            expected, found = (dict(numbers(summary[key], key)) for summary in (one, two))
            assert expected.keys() == found.keys()
            for where, value in expected.items():
                np.testing.assert_allclose(found[where], value, rtol=2e-4, atol=1e-5, err_msg=f"{name} {where}")
        assert {piece.ranks for piece in planned(folder / f"{name} two")} == {2}


def numbers(value, key):
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if name != "seconds":
                yield from numbers(inner, f"{key}.{name}")
    elif isinstance(value, int | float):
        yield key, float(value)


@pytest.mark.slow
@on_ranks
def test_what_a_rank_raises_is_the_error_of_the_piece(forked):
    folder = forked
    (piece,) = planned(folder / "broken")
    assert "learning_rate" in piece.failure()["error"]
    assert "should stay finite" in piece.failure()["error"]
    assert piece.state()["state"] == "failed"
    assert not (folder / "broken" / "summary.json").exists()
