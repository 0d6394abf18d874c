"""SLURM as commands on the PATH that pretend: arrays that are lost, refused, found again and cancelled."""

import subprocess
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from test_compare_assays_run import make_assays
from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import DryRun, InputError, UnreachableError
from mixwright.experiment import drive, load
from mixwright.experiment.engines import cluster, on_slurm
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.on_slurm import SlurmCluster, array_script
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.engines.work import do_piece

# A line of `sbatch.says` is what the next call says instead of succeeding; one with "taken" is taken all the same.
SBATCH = """#!/bin/sh
cd "{place}"
[ "$1" = --version ] && exit 0
echo "sbatch" >> calls
job=$(($(cat jobs 2>/dev/null || echo 0) + 1))
echo $job > jobs
if [ -s sbatch.says ]; then
  said=$(head -n 1 sbatch.says)
  sed -i 1d sbatch.says
  case "$said" in *taken*) echo "$job ${{2%.sh}}" >> queue;; esac
  echo "$said" >&2
  exit 1
fi
echo "$job ${{2%.sh}}" >> queue
echo $job
"""
SQUEUE = """#!/bin/sh
cd "{place}"
echo "squeue" >> calls
if [ -s squeue.says ]; then
  head -n 1 squeue.says >&2
  sed -i 1d squeue.says
  exit 1
fi
[ -e queue ] || exit 0
while read job path; do
  name=${{path##*/}}
  case ",${{5#--name=}}," in *",$name,"*) ;; *) continue;; esac
  i=0
  while read key; do
    [ -e "${{path%/*}}/../$key/result.json" ] || echo "${{job}}_$i|$(cat state)|$name"
    i=$((i + 1))
  done < "$path.txt"
done < queue
"""
SCANCEL = """#!/bin/sh
cd "{place}"
echo "scancel $*" >> calls
[ -e scancel.fails ] && exit 1
for job in "$@"; do sed -i "/^$job /d" queue; done
"""


class Fake:
    """What the pretended SLURM was asked, and what it has."""

    def __init__(self, place):
        self.place = place
        for name, text in (("sbatch", SBATCH), ("squeue", SQUEUE), ("scancel", SCANCEL)):
            (place / name).write_text(text.format(place=place))
            (place / name).chmod(0o755)
        self.state("RUNNING|None")

    def state(self, text):
        (self.place / "state").write_text(text + "\n")

    def says(self, command, *lines):
        (self.place / f"{command}.says").write_text("".join(f"{line}\n" for line in lines))

    def read(self, name):
        path = self.place / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def calls(self):
        return [line for line in self.read("calls") if line != "squeue"]


@pytest.fixture
def fake(tmp_path, monkeypatch):
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return Fake(place)


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fake")
    drive(make_assays(folder, arms=["uniform"], targets=["target"]), folder / "local")
    return folder / "local"


def sleeps(monkeypatch, function):
    """Let the loop of the head, and nothing else, do this where it sleeps."""
    monkeypatch.setattr(cluster, "time", SimpleNamespace(sleep=function, monotonic=time.monotonic))


def works(monkeypatch, run):
    """While the head sleeps, a node does a piece of the ones that were submitted."""

    def sleep(seconds):
        submitted = {key for path in run.glob("pieces/arrays/*.txt") for key in path.read_text().split()}
        todo = next((p for p in planned(run) if p.key in submitted and p.result() is None), None)
        if todo is not None:
            do_piece(run, todo.key, lambda share: None)

    sleeps(monkeypatch, sleep)
    return sleep


def configured(local, **engine):
    return load("compare", local / "config.yaml", engine={"kind": "slurm", **engine})


def same(run, local):
    return (run / "cells.csv").read_bytes() == (local / "cells.csv").read_bytes()


class DiedError(BaseException):
    """The head is gone, and cancels nothing."""


def dies(monkeypatch):
    def die(seconds):
        raise DiedError

    sleeps(monkeypatch, die)
    monkeypatch.setattr(SlurmCluster, "stop", lambda self: None)


def test_pieces_are_submitted_once_and_leave_no_scripts(fake, local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    works(monkeypatch, run)
    drive(configured(local), run)
    assert same(run, local)
    assert fake.calls == ["sbatch"]
    assert list((run / "pieces" / "arrays").iterdir()) == []


@pytest.mark.parametrize(
    ("said", "submitted"),
    [
        ("sbatch: error: taken, but: Socket timed out on send/recv operation", 1),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller", 2),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", 2),
    ],
)
def test_a_submission_that_fails_once_is_tried_again_and_never_made_twice(
    fake, local, tmp_path, monkeypatch, said, submitted
):
    run = tmp_path / "run"
    works(monkeypatch, run)
    fake.says("sbatch", said)
    drive(configured(local), run)
    assert same(run, local)
    assert fake.calls == ["sbatch"] * submitted
    assert len(fake.read("queue")) == 1


def test_one_that_is_refused_while_own_pieces_are_at_work_waits_for_them(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(on_slurm, "_SILENT", 0.0)
    made = SlurmCluster(EngineConfig(kind="slurm"), 1, tmp_path)
    made._tasks, made._names = {"7_0": "first"}, {"mixwright-1"}
    fake.place.joinpath("queue").write_text(f"7 {made._place}/mixwright-1\n")
    made._place.mkdir(parents=True)
    made._place.joinpath("mixwright-1.txt").write_text("first\n")
    fake.says("sbatch", *["sbatch: error: AssocGrpSubmitJobsLimit"] * 5)
    piece = SimpleNamespace(key="second", result=lambda: None)
    made.submit([piece])
    assert made.ended() == {}
    assert made.ended() == {}
    assert "AssocGrpSubmitJobsLimit" in made.waiting()


def test_squeue_that_fails_for_a_while_ends_nothing(fake, local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    dies(monkeypatch)
    with pytest.raises(DiedError):
        drive(configured(local), run)
    monkeypatch.undo()
    monkeypatch.setenv("PATH", f"{fake.place}:/usr/bin:/bin")
    works(monkeypatch, run)
    fake.says("squeue", "slurm_load_jobs error: Unable to contact slurm controller", "again", "and again")
    drive(configured(local), run)
    assert same(run, local)
    assert fake.calls == ["sbatch"]  # of the first head, whose array was found by its name


def test_a_slurm_that_is_silent_for_long_ends_the_command_and_cancels_nothing(fake, local, tmp_path, monkeypatch):
    monkeypatch.setattr(on_slurm, "_SILENT", -1.0)
    sleeps(monkeypatch, lambda seconds: fake.says("squeue", *["Unable to contact"] * 9))
    with pytest.raises(UnreachableError, match=r"squeue failed: Unable to contact; .* what was submitted goes on"):
        drive(configured(local), tmp_path / "run")
    assert fake.calls == ["sbatch"]


def test_an_array_of_a_head_that_died_is_taken_over(fake, local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        dies(patch)
        with pytest.raises(DiedError):
            drive(configured(local), run)
    works(monkeypatch, run)
    seen = []
    drive(configured(local), run, lambda *call: seen.append(call))
    assert same(run, local)
    assert fake.calls == ["sbatch"]


def test_tasks_of_a_former_configuration_are_cancelled_and_nothing_of_them_stays(fake, local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        dies(patch)
        with pytest.raises(DiedError):
            drive(configured(local), run)
    former = {piece.key for piece in planned(run)}
    works(monkeypatch, run)
    drive(load("compare", local / "config.yaml", engine="slurm", arms=["uniform", "natural"]), run)
    assert fake.calls == ["sbatch", "scancel 1", "sbatch"]
    left = list(run.glob("pieces/*/*"))
    assert {path.name for path in left} == {"piece.json", "result.json"}
    assert {path.parent.name for path in left} == {piece.key for piece in planned(run)}
    assert former.isdisjoint(path.parent.name for path in left)


def test_a_script_that_was_submitted_by_hand_is_taken_over(fake, local, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with pytest.raises(DryRun, match="2 pieces are open, nothing was submitted") as caught:
        drive(configured(local, dry_run=True), run)
    subprocess.run(["sbatch", "--parsable", str(caught.value.scripts[0])], check=True)
    with pytest.raises(DryRun, match=r"0 pieces are open besides the 2 that SLURM has, .* Wait for those, then run"):
        drive(configured(local, dry_run=True), run)
    works(monkeypatch, run)
    drive(configured(local), run)
    assert same(run, local)
    assert fake.calls == ["sbatch"]


def test_a_dry_run_says_as_json_what_it_wrote(fake, local, tmp_path):
    line = ["compare", str(local / "config.yaml"), "--run", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(app, [*line, "--engine", "{kind: slurm, dry_run: true}"])
    assert done.exit_code == 0, done.output
    (script,) = (tmp_path / "run" / "pieces" / "arrays").glob("*.sh")
    assert f'"scripts": [\n    "{script}"\n  ]' in done.stdout


def test_what_stops_a_command_is_what_its_user_reads_though_nothing_can_be_cancelled(
    fake, local, tmp_path, monkeypatch
):
    def stop(seconds):
        raise KeyboardInterrupt

    sleeps(monkeypatch, stop)
    (fake.place / "scancel.fails").touch()
    fake.says("sbatch", "taken: Socket timed out")
    with pytest.raises(KeyboardInterrupt):
        drive(configured(local), tmp_path / "run")
    assert fake.calls == ["sbatch", "scancel 1"]  # though it was never told the number of the job


def test_a_piece_that_no_node_can_have_is_an_error_and_is_cancelled(fake, local, tmp_path, monkeypatch):
    fake.state("PENDING|PartitionTimeLimit")
    with pytest.raises(InputError, match=r"never starts one \(PartitionTimeLimit\); lower time"):
        drive(configured(local), tmp_path / "run")
    assert fake.calls == ["sbatch", "scancel 1"]


def test_nodes_that_are_away_for_a_while_end_nothing_once_a_piece_ran(fake, local, tmp_path, monkeypatch):
    run, told, states = tmp_path / "run", [], iter(["PENDING|PartitionNodeLimit"] * 2)
    monkeypatch.setattr(cluster, "_DRAWN", 0.0)
    work = works(monkeypatch, run)

    def sleep(seconds):
        state = next(states, None)
        fake.state(state or "RUNNING|None")
        if state is None:
            work(seconds)

    sleeps(monkeypatch, sleep)
    drive(configured(local), run, lambda *call: told.append(call[3] if len(call) > 3 else ""))
    assert same(run, local)
    assert "0 of 2, 2 wait (PartitionNodeLimit)" in told


def test_a_path_that_a_script_cannot_have_is_one_error_before_any_work(fake, local, tmp_path):
    for name in ('a"b', "a\nb", "a\\b", "it's"):
        with pytest.raises(InputError, match="should be a path without quotation marks"):
            drive(configured(local), tmp_path / name)
        assert not (tmp_path / name).exists()
    engine, place = EngineConfig(kind="slurm"), tmp_path / "50%j #1"
    lines = array_script(engine, 1, place, "mixwright-1", 1).splitlines()
    assert f'#SBATCH --output="{tmp_path}/50%%j #1/%A_%a.log"' in lines
