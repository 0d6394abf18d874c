"""Pieces on a Ray cluster of three nodes on one machine: the same result, also when a node dies."""

import os
import random
import subprocess
import sys
import time

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")
pytest.importorskip("ray", reason="needs ray (pip install 'mixwright[ray]')")

import ray
from ray.cluster_utils import Cluster
from test_compare_assays_run import make_assays
from tiny import SETTINGS, results_of, write_tiny

from mixwright.errors import InputError
from mixwright.experiment import drive, load
from mixwright.experiment.engines import cluster as loop
from mixwright.experiment.engines import on_ray
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.on_ray import RayCluster
from mixwright.experiment.engines.pieces import planned

pytestmark = pytest.mark.slow
FINAL = {**SETTINGS["final"], "mixtures": ["uniform", "search"]}


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: other work on the machine would starve them
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
        ray.shutdown()
        made.shutdown()


def engine(cluster, **more):
    return {"kind": "ray", "address": cluster.address, **more}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    drive(make_assays(folder, arms=["uniform", "mixmin"], seeds=3), folder / "local")
    return folder / "local"


def test_a_node_that_is_killed_at_any_of_ten_moments_changes_no_digit(cluster, local, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_DRAWN", 0.2)
    chosen, cut = random.Random(5), 0
    for number in range(10):
        dying, told, killed = cluster.add_node(num_cpus=1), [], []
        moment, started = chosen.uniform(0.5, 6), time.monotonic()

        def kill(stage, done, total, note="", node=dying, told=told, killed=killed, end=started + moment):
            told.append(note)
            if stage == "cells" and not killed and time.monotonic() > end:
                killed.append(cluster.remove_node(node, allow_graceful=False))

        run = tmp_path / f"run{number}"
        drive(load("compare", local / "config.yaml", engine=engine(cluster)), run, kill)
        if not killed:
            cluster.remove_node(dying, allow_graceful=False)
        failed = [note.partition(": ")[0] for note in dict.fromkeys(told) if "failed" in note]
        cut += bool(failed)
        said = f"killed after {moment:.1f} s" if killed else "ended before"
        print(f"{said}, {time.monotonic() - started:.0f} s in all; {', '.join(failed)}")  # noqa: T201 - kept with the log
        assert (run / "cells.csv").read_bytes() == (local / "cells.csv").read_bytes()
        assert {p.state()["state"] for p in planned(run)} == {"done"}
    assert cut > 0


def test_a_head_that_is_killed_and_begun_again_changes_no_digit(cluster, local, tmp_path):
    run = tmp_path / "run"
    line = [sys.executable, "-m", "mixwright.cli.main", "compare", str(local / "config.yaml"), "--run", str(run)]
    head = subprocess.Popen([*line, "--quiet", "--engine", f"{{kind: ray, address: '{cluster.address}'}}"])
    end = time.monotonic() + 120
    while not list(run.glob("pieces/*/result.json")):
        assert time.monotonic() < end
        time.sleep(0.1)
    head.kill()
    head.wait()
    drive(load("compare", local / "config.yaml", engine=engine(cluster)), run)
    assert (run / "cells.csv").read_bytes() == (local / "cells.csv").read_bytes()


def test_what_cannot_be_is_one_error(cluster, local, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"a Ray cluster should be at 127\.0\.0\.1:1, found none"):
        RayCluster(EngineConfig(kind="ray", address="127.0.0.1:1"), 1)
    monkeypatch.setattr(on_ray, "_FITS", 1.0)
    with pytest.raises(
        InputError, match=r"should have 64 CPUs, 2 GPUs, 8\.0 GiB of memory, found at most 1 CPUs, 0 GPUs"
    ):
        RayCluster(EngineConfig(**engine(cluster, cpus=64, gpus=2, memory="8G")), 1)
    monkeypatch.setattr(on_ray, "_grows", lambda ray: True)  # an autoscaler starts one
    made = RayCluster(EngineConfig(**engine(cluster, gpus=2)), 1)
    made.submit([planned(local)[0]])
    monkeypatch.setattr(on_ray, "_FITS", 0.0)
    assert made.ended() == {}
    assert made.waiting() == "waiting for a new node"
    made.close()


def test_a_folder_that_nodes_do_not_see_is_one_error(cluster, local, tmp_path):
    piece = planned(local)[0]
    made = RayCluster(EngineConfig(**engine(cluster)), 1)
    made.submit([type(piece)(tmp_path / "elsewhere", *list(vars(piece).values())[1:])])
    with pytest.raises(InputError, match="elsewhere should be on storage that every node sees, found none on"):
        _wait(made)
    made.close()


def _wait(made):
    for _ in range(600):
        made.ended()
        time.sleep(0.1)


def test_ctrl_c_stops_what_the_nodes_do(cluster, local, tmp_path):
    def stop(stage, done, total, note=""):
        if "at work" in note:
            raise KeyboardInterrupt

    config = load("compare", local / "config.yaml", engine=engine(cluster))
    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run", stop)
    end = time.monotonic() + 60
    while "running" in {p.state()["state"] for p in planned(tmp_path / "run")}:
        assert time.monotonic() < end
        time.sleep(0.2)
    drive(config, tmp_path / "run")
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (local / "cells.csv").read_bytes()


def test_a_search_leaves_the_files_that_this_machine_leaves(cluster, tmp_path):
    pytest.importorskip("transformers")
    third, path = cluster.add_node(num_cpus=1), write_tiny(tmp_path, final=FINAL)
    started = time.monotonic()
    drive(load("search", path), tmp_path / "here")
    here = time.monotonic() - started
    drive(load("search", path, engine=engine(cluster, cpus=1)), tmp_path / "run")
    cluster.remove_node(third, allow_graceful=False)
    print(f"local {here:.0f} s, on Ray {time.monotonic() - started - here:.0f} s")  # noqa: T201 - kept with the log
    pieces = planned(tmp_path / "run")
    assert {p.stage for p in pieces} == {"proxies", "scores", "final runs"}
    assert len(pieces) == 3 + 3 + 2
    there, local = results_of(tmp_path / "run"), results_of(tmp_path / "here")
    assert there.keys() == local.keys()
    assert [name for name in local if there[name] != local[name]] == []
