"""Pieces under a real SLURM of one machine: a task that is cancelled, one whose time is over, and the same result."""

import os
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

import slurm_here
from test_compare_assays_run import make_assays
from tiny import SETTINGS, write_tiny

from mixwright.errors import InputError
from mixwright.experiment import drive, load
from mixwright.experiment.engines.pieces import planned
from mixwright.files.claims import Claim

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(slurm_here.missing()), reason=slurm_here.missing() or "slurm")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_here.slurm(tmp_path_factory.mktemp("slurm")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
        yield


def active() -> dict[str, str]:
    """Return {job_number: state} of all tasks."""
    text = subprocess.run(["squeue", "-h", "-r", "-o", "%i %T"], capture_output=True, text=True).stdout
    return dict(line.split() for line in text.splitlines())


def test_twelve_pieces_one_cancelled_and_one_whose_time_is_over(cluster, tmp_path):
    changes = {"arms": ["uniform", "mixmin"], "seeds": 6}
    here = make_assays(tmp_path, **changes)
    drive(here, tmp_path / "local")
    pieces = planned(tmp_path / "local")
    assert len(pieces) == 12
    run, told = tmp_path / "run", []
    for piece in pieces[
        :2
    ]:  # somebody is at these: their tasks wait, the first is cancelled, the second is out of time
        (run / "pieces" / piece.key).mkdir(parents=True)
    (run / ".mixwright-run").touch()
    held = [Claim(run / "pieces" / piece.key) for piece in pieces[:2]]
    assert all(claim.take() for claim in held)

    def disturb():
        while not (waiting := {t[:-2] for t, s in active().items() if s == "RUNNING" and t.endswith(("_0", "_1"))}):
            time.sleep(0.5)
        (job,) = waiting
        subprocess.run(["scancel", f"{job}_0"], check=True)
        subprocess.run(["scontrol", "update", f"JobId={job}_1", "TimeLimit=1"], check=True)
        while any("seed 1" in note and "failed" in note for note in told) is False:
            time.sleep(0.5)
        for claim in held:
            claim.release()

    engine = {"kind": "slurm", "partition": "all", "time": "30", "array": 12}
    config = load("compare", tmp_path / "local" / "config.yaml", engine=engine)
    other = threading.Thread(target=disturb, daemon=True)
    other.start()
    started = time.monotonic()
    drive(config, run, lambda stage, done, total, note="": told.append(note))
    print(f"12 pieces, {time.monotonic() - started:.0f} s")  # noqa: T201 - kept with the log
    print("\n".join(note for note in dict.fromkeys(told) if "failed" in note))  # noqa: T201
    assert (run / "cells.csv").read_bytes() == (tmp_path / "local" / "cells.csv").read_bytes()
    assert any(note.startswith(f"{pieces[0].name} failed") for note in told)
    assert any(note.startswith(f"{pieces[1].name} failed") for note in told)
    assert active() == {}


def test_the_head_is_stopped_and_begun_again(cluster, tmp_path):
    here = make_assays(tmp_path, arms=["uniform", "mixmin"])
    drive(here, tmp_path / "local")
    config = load("compare", tmp_path / "local" / "config.yaml", engine={"kind": "slurm", "array": 1})
    seen = []

    def stop(stage, done, total, note=""):
        seen.append(note)
        if "1 of 4" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run", stop)
    end = time.monotonic() + 60
    while active():  # it cancelled what was left
        assert time.monotonic() < end
        time.sleep(0.5)
    done = [p.state()["state"] for p in planned(tmp_path / "run")].count("done")
    assert 1 <= done < 4
    drive(config, tmp_path / "run")
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (tmp_path / "local" / "cells.csv").read_bytes()


def test_a_head_that_is_killed_leaves_its_array_to_the_next_one(cluster, tmp_path):
    drive(make_assays(tmp_path, arms=["uniform", "mixmin"]), tmp_path / "local")
    run, file = tmp_path / "run", tmp_path / "local" / "config.yaml"
    line = [sys.executable, "-m", "mixwright.cli.main", "compare", str(file), "--run", str(run), "--quiet"]
    head = subprocess.Popen([*line, "--engine", "{kind: slurm, array: 1}"])
    end = time.monotonic() + 120
    while not active():
        assert time.monotonic() < end
        time.sleep(0.2)
    head.kill()
    head.wait()
    jobs = {task.partition("_")[0] for task in active()}
    again = load("compare", file, engine={"kind": "slurm", "array": 1})
    drive(again, run, lambda *call: jobs.update(task.partition("_")[0] for task in active()))
    assert (run / "cells.csv").read_bytes() == (tmp_path / "local" / "cells.csv").read_bytes()
    assert len(jobs) == 1


def test_what_no_node_has_is_said_within_a_minute(cluster, tmp_path):
    make_assays(tmp_path)
    started = time.monotonic()
    for number, engine in enumerate(({"partition": "none"}, {"cpus": 64}, {"partition": "short", "time": "2:00:00"})):
        config = make_assays(tmp_path, engine={"kind": "slurm", **engine})
        with pytest.raises(InputError, match=r"engine: (sbatch failed|SLURM should have a node)"):
            drive(config, tmp_path / f"run{number}")
    assert time.monotonic() - started < 180
    assert active() == {}


def test_a_target_scored_in_shards_has_the_same_bytes(cluster, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    final = SETTINGS["final"] | {"tokens": 500, "mixtures": ["uniform"]}
    path = write_tiny(tmp_path, proxy={"tokens": 500, "batch_size": 1}, final=final)
    drive(load("search", path), tmp_path / "local")
    engine = {"kind": "slurm", "partition": "all", "time": "10", "array": 4, "shard": 400}
    drive(load("search", path, engine=engine), tmp_path / "run")
    assert sum(piece.stage == "scores" for piece in planned(tmp_path / "run")) > 3
    local, found = ({p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.f64")} for name in ("local", "run"))
    assert found == local
    assert len(found) == 3
