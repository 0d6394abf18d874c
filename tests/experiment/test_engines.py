"""Engines: what their configuration may say, the loop of a cluster, Ray, and the script of SLURM."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from test_compare_assays_run import make_assays
from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import DryRun, InputError
from mixwright.experiment import drive, load
from mixwright.experiment.engines import cluster
from mixwright.experiment.engines.config import EngineConfig, size_of
from mixwright.experiment.engines.on_slurm import SlurmCluster, array_script
from mixwright.experiment.engines.pieces import pinned_threads, planned
from mixwright.experiment.engines.work import do_piece
from mixwright.files.claims import Claim


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("kubernetes", "engine"),
        ({"kind": "ray", "partition": "gpu"}, "there is no key partition with kind: ray; remove it"),
        ({"kind": "local", "cpus": 2}, "there is no key cpus with kind: local"),
        ({"kind": "slurm", "time": 7200}, "should be a time in quotation marks, such as '2:00:00'"),
        ({"kind": "slurm", "time": "soon"}, "should be a time in quotation marks"),
        ({"kind": "slurm", "memory": "much"}, "should be a size such as 8G"),
        ({"kind": "slurm", "memory": 8}, "should be a size such as 8G"),
        ({"kind": "slurm", "gpus": -1}, "at least 0"),
        ({"kind": "ray", "retrys": 1}, "did you mean 'retries'"),
        ({"kind": "slurm", "array": 0}, "at least 1"),
        ({"kind": "slurm", "partition": "gpu\n#SBATCH --nice"}, "should be the name of a partition"),
        ({"kind": "slurm", "partition": "a b"}, "should be the name of a partition"),
        ({"kind": "slurm", "setup": ["export WANDB_API_KEY=0123abc"]}, "should hold no key or password"),
        ({"kind": "slurm", "setup": ["a=1; hf_token='x' run"]}, "should hold no key or password"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_error(tmp_path, engine, says):
    with pytest.raises(InputError, match="engine") as caught:
        make_assays(tmp_path, engine=engine)
    assert says in str(caught.value)


def test_a_name_is_short_for_a_kind_and_the_engine_does_not_name_results(tmp_path):
    config = make_assays(tmp_path, engine="slurm")
    assert config.engine == EngineConfig(kind="slurm")
    assert config.engine.tries == 4
    assert config.dumped()["engine"] == {"kind": "slurm"}
    assert "engine" not in make_assays(tmp_path).dumped()


def test_keys_that_are_read_from_elsewhere_are_no_secrets():
    setup = [
        "source ~/.keys",
        "export HF_TOKEN=$(cat ~/.token)",
        'KEY="$MINE"',
        "SSL_KEY=/etc/key.pem",
        "MONKEY_BUSINESS=1",
    ]
    assert EngineConfig(kind="slurm", setup=setup).setup == setup


def test_a_piece_computes_with_the_cores_that_it_has(tmp_path):
    engine = EngineConfig(kind="slurm", cpus=8)
    assert (engine.threads(1), engine.threads(4), EngineConfig(kind="slurm").threads(4)) == (8, 4, 4)
    with pytest.raises(InputError, match=r"cpus should be at least the threads of a training \(16\), found 8"):
        engine.threads(16)
    config = make_assays(tmp_path, compute={"cores": 2, "threads": 2}, engine={"kind": "slurm", "cpus": 1})
    with pytest.raises(InputError, match=r"cpus should be at least the threads of a training \(2\), found 1"):
        drive(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_threads_of_pieces_are_those_of_the_command_that_began_the_run(tmp_path):
    assert pinned_threads(tmp_path, 32) == 32
    assert pinned_threads(tmp_path, 16) == 32


@pytest.mark.parametrize(("text", "size"), [("8G", 8 * 2**30), ("500 MB", 500 * 2**20), ("1.5GiB", 3 * 2**29)])
def test_sizes(text, size):
    assert size_of(text) == size
    assert size_of(f"-{text}") is None


class Pretended:
    """A cluster that does each piece when it is asked what ended, and fails as it is told: {key: tries}."""

    poll = 0.0
    most = 100

    def __init__(self, folder, fails=None, error=None):
        self.folder, self.fails, self.error = folder, dict(fails or {}), error
        self.open, self.submitted, self.stopped = [], [], False

    def submit(self, pieces):
        self.submitted += [piece.key for piece in pieces]
        self.open += pieces

    def ended(self):
        if self.error is not None:
            raise self.error
        now, self.open, why = self.open, [], {}
        for piece in now:
            if self.fails.get(piece.key, 0) > 0:
                self.fails[piece.key] -= 1
                why[piece.key] = "slurmstepd: error: CANCELLED DUE TO TIME LIMIT"
            else:
                do_piece(self.folder, piece.key, lambda share: None)
                why[piece.key] = ""
        return why

    def running(self):
        return [piece.key for piece in self.open]

    def waiting(self):
        return "5 wait (Priority)" if self.open else ""

    def stop(self):
        self.stopped = True

    def check(self):
        return

    def close(self):
        return


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A comparison that this machine did, and its configuration."""
    folder = tmp_path_factory.mktemp("engines")
    drive(make_assays(folder, arms=["uniform", "mixmin"]), folder / "local")
    return folder


def on(monkeypatch, made):
    monkeypatch.setattr("mixwright.experiment.engines.cluster.SlurmCluster", lambda *_: made)


def test_a_cluster_gives_what_this_machine_gives_with_tries_that_fail(local, tmp_path, monkeypatch):
    run, told = tmp_path / "run", []
    made = Pretended(run)
    on(monkeypatch, made)
    keys = [p.key for p in planned(local / "local")]
    made.fails = {keys[1]: 2}
    config = load("compare", local / "local" / "config.yaml", engine="slurm")
    drive(config, run, lambda *call: told.append(call))
    assert (run / "cells.csv").read_bytes() == (local / "local" / "cells.csv").read_bytes()
    assert sorted(made.submitted) == sorted([*keys, keys[1], keys[1]])
    said = [note for stage, _, _, *rest in told for note in rest if stage == "plan"]
    assert "target, seed 1 failed, try 1 of 4: slurmstepd: error: CANCELLED DUE TO TIME LIMIT" in said
    made.submitted.clear()
    drive(config, run)  # nothing is open
    assert made.submitted == []
    drive(load("compare", local / "local" / "config.yaml"), run)  # and it goes on with another engine
    assert (run / "cells.csv").read_bytes() == (local / "local" / "cells.csv").read_bytes()


def test_what_fails_each_time_is_named_and_the_others_are_done(local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    made = Pretended(run, {planned(local / "local")[0].key: 99})
    on(monkeypatch, made)
    config = load("compare", local / "local" / "config.yaml", engine={"kind": "slurm", "retries": 1})
    with pytest.raises(InputError, match=r"1 of 4 cells failed: target, seed 0 \(try 2 of 2\): .*TIME LIMIT.*saved"):
        drive(config, run)
    assert [p.state()["state"] for p in planned(run)] == ["open", "done", "done", "done"]
    made.fails = {}
    drive(config, run)
    assert (run / "cells.csv").read_bytes() == (local / "local" / "cells.csv").read_bytes()


def test_a_try_that_came_further_is_not_counted(local, tmp_path, monkeypatch):
    first = planned(local / "local")[0].key
    made, told, shares = Pretended(tmp_path / "run", {first: 7}), [], iter([0.2, 0.4, 0.4, 0.3, 0.9, 0.9, 0.9, 0.9])
    on(monkeypatch, made)
    config = load("compare", local / "local" / "config.yaml", engine={"kind": "slurm", "retries": 3})
    real = made.ended

    def ended():
        if first in [piece.key for piece in made.open]:
            claim = Claim(tmp_path / "run" / "pieces" / first)
            claim.about["share"] = next(shares)
            assert claim.take()
            claim.release()
        return real()

    made.ended = ended
    with pytest.raises(InputError, match=r"1 of 4 cells failed: target, seed 0 \(try 4 of 4\)"):
        drive(config, tmp_path / "run", lambda *call: told.append(call[3] if len(call) > 3 else ""))
    said = [note.partition(" failed, ")[2].partition(":")[0] for note in told if "failed" in note]
    assert said == ["it goes on from 20 %", "it goes on from 40 %", "try 1 of 4", "try 2 of 4", "it goes on from 90 %",
                    "try 3 of 4"]  # fmt: skip


def test_a_cluster_has_a_limited_number_of_pieces_at_a_time(local, tmp_path, monkeypatch):
    made, told = Pretended(tmp_path / "run"), []
    made.most, had, real = 2, [], made.submit
    made.submit = lambda pieces: (had.append(len(pieces)), real(pieces))
    on(monkeypatch, made)
    monkeypatch.setattr(cluster, "_DRAWN", 0.0)
    config = load("compare", local / "local" / "config.yaml", engine="slurm")
    drive(config, tmp_path / "run", lambda *call: told.append(call[3] if len(call) > 3 else ""))
    assert had == [2, 2]
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (local / "local" / "cells.csv").read_bytes()
    assert "2 of 4" in told


def test_what_another_scheduler_does_is_seen_and_what_waits_is_cancelled(local, tmp_path, monkeypatch):
    made = Pretended(tmp_path / "run")
    made.ended = dict  # its tasks never begin
    on(monkeypatch, made)
    monkeypatch.setattr(cluster, "_GLANCED", 0.0)
    told = []

    def by_hand(stage, done, total, note=""):
        told.append(note)
        for piece in made.open:
            do_piece(piece.folder, piece.key, lambda share: None)

    monkeypatch.setattr(cluster, "_DRAWN", 0.0)
    config = load("compare", local / "local" / "config.yaml", engine="slurm")
    drive(config, tmp_path / "run", by_hand)
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (local / "local" / "cells.csv").read_bytes()
    assert made.stopped
    assert "0 of 4, 5 wait (Priority)" in told


def test_an_error_that_the_user_can_correct_is_not_tried_again(local, tmp_path, monkeypatch):
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)

    def failing(folder, key, report):
        next(p for p in planned(folder) if p.key == key).fail("the table is wrong", "node7", correct=True)

    monkeypatch.setattr(sys.modules[__name__], "do_piece", failing)
    config = load("compare", local / "local" / "config.yaml", engine="slurm")
    with pytest.raises(InputError, match=r"4 of 4 cells failed: .* on node7 \(try 1 of 4\): the table is wrong"):
        drive(config, tmp_path / "run")
    assert len(made.submitted) == 4


def test_ctrl_c_cancels_what_was_handed_over(local, tmp_path, monkeypatch):
    made = Pretended(tmp_path / "run", error=KeyboardInterrupt())
    on(monkeypatch, made)
    with pytest.raises(KeyboardInterrupt):
        drive(load("compare", local / "local" / "config.yaml", engine="slurm"), tmp_path / "run")
    assert made.stopped


def test_a_command_that_lost_the_run_to_another_leaves_its_pieces(local, tmp_path, monkeypatch):
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)

    def lost():
        (head,) = (tmp_path / "run").glob("**/.head/claim.1")
        owner = json.loads(head.read_text())
        (head.parent / "claim.2").write_text(json.dumps({**owner, "machine": "another", "id": "x"}))
        raise KeyboardInterrupt

    made.ended = lost
    with pytest.raises((KeyboardInterrupt, InputError)):
        drive(load("compare", local / "local" / "config.yaml", engine="slurm"), tmp_path / "run")
    assert not made.stopped


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("ray", "needs the package 'ray'"),
        ("slurm", "needs the command sbatch, found none"),
    ],
)
def test_an_engine_that_is_not_there_is_seen_before_any_work(local, tmp_path, monkeypatch, engine, says):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises((InputError, ImportError), match=says):
        drive(load("compare", local / "local" / "config.yaml", engine=engine), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    finished = drive(load("compare", local / "local" / "config.yaml", engine=engine), local / "local")  # nothing to do
    assert finished["verdict"]


def test_a_fault_of_an_engine_on_the_command_line_does_not_name_the_file(local):
    path = local / "local" / "config.yaml"
    for engine, says in (
        ("kubernetes", "error: key engine.kind: should be 'local', 'ray' or 'slurm', found 'kubernetes'"),
        ("{kind: slurm, gpu: 1}", "error: key engine.gpu: there is no such key; did you mean 'gpus'?"),
    ):
        done = CliRunner().invoke(app, ["compare", str(path), "--run", str(local / "new"), "--engine", engine])
        assert done.exit_code == 2
        assert says in " ".join(done.output.split())


# ------------------------------------------------------------------ SLURM without SLURM


def test_the_script_of_an_array():
    engine = EngineConfig(
        kind="slurm", partition="gpu", time="2:00:00", gpus=1, memory="8G", array=4, setup=["module load cuda"]
    )
    place = Path("/data/my runs/first/pieces/arrays")
    lines = array_script(engine, 2, place, "mixwright-1", 12).splitlines()
    assert lines[:9] == [
        "#!/bin/bash",
        "#SBATCH --job-name=mixwright-1",
        "#SBATCH --array=0-11%4",
        '#SBATCH --output="/data/my runs/first/pieces/arrays/%A_%a.log"',
        "#SBATCH --open-mode=append",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=2:00:00",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --gpus=1",
    ]
    assert "#SBATCH --mem=8192M" in lines
    assert lines[-3] == "module load cuda"
    assert lines[-2:] == [
        "KEY=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" '/data/my runs/first/pieces/arrays/mixwright-1.txt')",
        "eval \"exec $MIXWRIGHT\" piece ''\"'\"'/data/my runs/first'\"'\"'' \"$KEY\" --quiet",
    ]


def test_a_dry_run_writes_a_script_that_does_a_piece(local, tmp_path):
    run = tmp_path / "run"
    engine = "{kind: slurm, dry_run: true}"
    line = ["compare", str(local / "local" / "config.yaml"), "--run", str(run), "--engine", engine]
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    (script,) = run.glob("pieces/arrays/*.sh")
    assert "4 pieces are open, nothing was submitted" in done.output
    assert f"sbatch {script}" in done.output
    found = planned(run)
    assert {p.state()["state"] for p in found} == {"open"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "SLURM_ARRAY_TASK_ID": "2"}
    subprocess.run(["bash", str(script)], check=True, env=environment)
    assert [p.state()["state"] for p in found] == ["open", "open", "done", "open"]
    with pytest.raises(DryRun, match="3 pieces are open"):
        drive(load("compare", run / "config.yaml"), run)


def test_commands_that_are_not_there_or_fail_are_one_error(local, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = load("compare", local / "local" / "config.yaml", engine="slurm")
    with pytest.raises(InputError, match=r"needs the command sbatch, found none on this machine; .*dry_run: true"):
        drive(config, tmp_path / "run")
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: x' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    with pytest.raises(InputError, match=r"sbatch failed: invalid partition specified: x"):
        drive(config, tmp_path / "run")


def test_an_array_script_calls_programs_and_folders_whose_names_have_blanks(tmp_path, monkeypatch):
    program = tmp_path / "my programs" / "it's python"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor a in "$@"; do echo "$a"; done\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    place = tmp_path / "my runs" / "pieces" / "arrays"
    place.mkdir(parents=True)
    (place / "mixwright-1.txt").write_text("first\nsecond\n")
    script = array_script(EngineConfig(kind="slurm"), 1, place, "mixwright-1", 2)
    for begin, said in (("", ["-m", "mixwright.cli.main"]), ("MIXWRIGHT='echo own'", ["own"])):
        lines = script.replace("KEY=$(", f"{begin}\nKEY=$(")
        done = subprocess.run(["bash", "-c", lines], env={"SLURM_ARRAY_TASK_ID": "1", "PATH": os.environ["PATH"]},
                              capture_output=True, text=True, check=True)  # fmt: skip
        expected = [*said, "piece", str(tmp_path / "my runs"), "second", "--quiet"]
        assert done.stdout.split("\n")[:-1] == (expected if not begin else [" ".join(expected)])


def test_the_end_of_a_log_says_why_a_task_left_nothing(tmp_path):
    made = SlurmCluster(EngineConfig(kind="slurm", dry_run=True), 1, tmp_path)
    place = tmp_path.resolve() / "pieces" / "arrays"
    place.mkdir(parents=True)
    (place / "7_0.log").write_text("Traceback\n\nImportError: libcudart.so\n")
    assert made._why("7_0") == "Traceback\nImportError: libcudart.so"
    (place / "7_1.log").write_text("step 3\nslurmstepd: error: *** CANCELLED AT 1 DUE TO TIME LIMIT ***\nlast\n")
    assert "TIME LIMIT" in made._why("7_1")
    assert "left no log" in made._why("7_2")
