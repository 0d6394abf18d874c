"""Pieces of a run: described in its folder, done from it alone, by one worker at a time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("sklearn")

from test_compare_assays_run import make_assays
from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment import drive, load
from mixwright.experiment.assays.compare import assay_work
from mixwright.experiment.core.stages import open_run
from mixwright.experiment.engines import pieces
from mixwright.experiment.engines.pieces import Piece, planned
from mixwright.experiment.engines.work import do_again, do_piece
from mixwright.files import explain_write_error
from mixwright.files.claims import Claim


def ignored(share: float) -> None:
    return None


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces")
    drive(make_assays(folder, arms=["uniform", "mixmin"]), folder / "run")
    return folder / "run"


@pytest.fixture
def run(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "run"))


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    line = [sys.executable, "-m", "mixwright.cli.main", "piece", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment)


def again(run: Path) -> dict:
    return drive(load("compare", run / "config.yaml"), run)


def test_a_comparison_says_what_its_pieces_were_and_what_came_of_them(done):
    found = planned(done)
    assert [(p.stage, p.name) for p in found] == [
        ("cells", f"{target}, seed {seed}") for target in ("target", "other") for seed in (0, 1)
    ]
    assert {p.state()["state"] for p in found} == {"done"}
    assert len({p.key for p in found}) == 4
    assert [cell["arm"] for cell in found[0].result()["value"]] == ["uniform", "mixmin"]
    assert all(Claim(p.place).owner() is None for p in found)


def test_workers_do_pieces_to_the_last_digit_and_the_head_goes_on(run):
    before, found = (run / "cells.csv").read_bytes(), planned(run)
    values = [p.result()["value"] for p in found]
    shutil.rmtree(run / "targets")
    for p in found[:3]:
        (p.place / "result.json").unlink()
    assert do_piece(run, found[0].key, ignored) == values[0]
    other = command(run, found[1].key, "--json")
    assert other.returncode == 0, other.stderr
    assert json.loads(other.stdout) == values[1]
    listed = CliRunner().invoke(app, ["piece", str(run), "--list"])
    assert f"{found[2].key}\tcells\tother, seed 0\topen\n" in listed.output
    assert "3 done, 1 open" in listed.output
    as_json = json.loads(CliRunner().invoke(app, ["--json", "piece", str(run), "--list"]).stdout)
    assert [state["state"] for state in as_json] == ["done", "done", "open", "done"]
    (run / "cells.csv").unlink()
    again(run)
    assert (run / "cells.csv").read_bytes() == before


def test_a_done_piece_is_not_done_again_by_a_worker_but_by_the_head(run, monkeypatch):
    piece = planned(run)[0]
    value, called = piece.result()["value"], []
    monkeypatch.setattr("mixwright.experiment.engines.work._done", lambda *a: called.append(a) or "again")
    assert do_piece(run, piece.key, ignored) == value
    assert called == []
    assert do_again(piece, load("compare", run / "config.yaml"), ignored) == "again"


def test_a_piece_that_another_worker_is_at_is_waited_for(run, monkeypatch):
    piece = planned(run)[-1]
    claim = Claim(piece.place)
    assert claim.take()
    monkeypatch.setattr(Claim, "take", lambda self, wait, until: claim.release() or Claim.try_take(self))
    monkeypatch.setattr("mixwright.experiment.engines.work._done", None)  # it is done by then
    assert do_again(piece, load("compare", run / "config.yaml"), ignored) == piece.result()["value"]


def test_what_fails_is_written_down_and_forgotten_when_it_succeeds(run, monkeypatch):
    piece = planned(run)[-1]
    (piece.place / "result.json").unlink()

    def failing(*_):
        raise InputError("the learning rate is too high")

    with monkeypatch.context() as patch:
        patch.setattr("mixwright.experiment.engines.work._done", failing)
        with pytest.raises(InputError, match="too high"):
            do_piece(run, piece.key, ignored)
    assert (piece.state()["state"], piece.state()["error"]) == ("failed", "the learning rate is too high")
    assert "failed on" in CliRunner().invoke(app, ["piece", str(run), "--list"]).output
    do_piece(run, piece.key, ignored)
    assert piece.state()["state"] == "done"
    assert piece.failure() is None


def test_show_says_of_a_run_that_is_not_finished_where_its_pieces_are(run):
    piece, other = planned(run)[:2]
    (run / "summary.json").unlink()
    (piece.place / "result.json").unlink()
    (other.place / "result.json").unlink()
    claim = Claim(piece.place)
    claim.about |= {"share": 0.25, "seconds": 60.0}
    assert claim.take()
    shown = CliRunner().invoke(app, ["show", str(run)])
    assert shown.exit_code == 0
    host = piece.state()["host"]
    assert f"{piece.key}\tcells\t{piece.name}\trunning on {host}, 25 %, about 3 min 00 s left\n" in shown.output
    assert f"{other.key}\tcells\t{other.name}\topen\n" in shown.output
    assert "1 running, 1 open, 2 done" in shown.output
    assert "not finished; to resume it: mixwright compare" in shown.output
    claim.release()


def test_keys_change_with_what_results_depend_on_alone(run):
    def keys(**changes):
        config = load("compare", run / "config.yaml", **changes)
        works = [pieces.Work("x", pieces.of_config(config).get("pieces")["cells"], (config, run, "target", 0))]
        return pieces.plan(works, 1, "cells")[0].key

    first = keys()
    assert keys(title="another", seeds=3) == first
    assert keys(seed=1) != first
    source = load("compare", run / "config.yaml").table.path
    before = source.stat()
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert keys() != first
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys() == first


def test_a_piece_of_a_configuration_that_changed_is_not_done(run):
    piece = planned(run)[0]
    (piece.place / "result.json").unlink()
    text = (run / "config.yaml").read_text()
    changed = text.replace("- search: mixmin", "- baseline: natural\n- search: mixmin", 1)  # an arm in between
    assert changed != text
    (run / "config.yaml").write_text(changed)
    with pytest.raises(
        InputError, match=r"configuration and the data .* changed since it was planned; run the command"
    ):
        do_piece(run, piece.key, ignored)
    assert piece.result() is None
    assert piece.failure()["correct"]
    (run / "config.yaml").write_text(text)
    assert do_piece(run, piece.key, ignored)


def test_pieces_stay_that_the_last_command_had_no_need_to_plan_and_those_of_other_versions_go(run, monkeypatch):
    every = {piece.key for piece in planned(run)}
    odd = run / "pieces" / "0"
    odd.mkdir()
    (odd / "piece.json").write_text("{}")  # with other fields
    pieces.forget_plan(config := load("compare", run / "config.yaml"), run)
    pieces.tidy(run, config)
    assert {path.name for path in (run / "pieces").iterdir()} == every
    assert all(Piece.read(run, key).result() for key in every)
    monkeypatch.setattr(pieces, "__version__", "0.0.1")
    pieces.forget_plan(config, run)
    pieces.tidy(run, config)
    assert not list((run / "pieces").iterdir())


@pytest.mark.parametrize("text", ["", "{}", '{"stage": 1}', "[" * 5000])
def test_a_piece_that_is_damaged_is_left_out_and_named_where_it_is_asked_for(run, text):
    first, *others = planned(run)
    (first.place / "piece.json").write_text(text)
    (others[0].place / "result.json").write_text('{"value": 1}')
    assert [piece.key for piece in planned(run)] == [piece.key for piece in others]
    assert [others[0].result(), others[0].state()["state"]] == [None, "open"]
    with pytest.raises(InputError, match=f"should have a piece {first.key}, found {others[0].key}"):
        Piece.read(run, first.key)


def test_a_value_that_json_cannot_have_is_printed_as_null(run, monkeypatch):
    piece = planned(run)[0]
    record = json.loads((piece.place / "result.json").read_text())
    (piece.place / "result.json").write_text(json.dumps({**record, "value": [{"x": float("nan"), "y": [1.5]}]}))
    done = command(run, piece.key, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"x": None, "y": [1.5]}]


def test_show_says_that_a_command_is_at_work_in_a_finished_run(run, monkeypatch):
    claim = Claim(run / ".head")
    assert claim.take()
    assert "a command is at work" not in CliRunner().invoke(app, ["show", str(run)]).output  # this process itself
    monkeypatch.setattr("mixwright.files.claims._machine", lambda: "another")
    assert "a command is at work in this run" in CliRunner().invoke(app, ["show", str(run)]).output
    claim.release()


@pytest.mark.parametrize(
    ("error", "correct"),
    [
        (InputError("a wrong key"), True),
        (MissingExtraError("install it"), True),
        (explain_write_error("x", OSError(28, "full")), False),
        (RuntimeError("cuda"), False),
    ],
)
def test_what_a_bad_node_may_have_caused_is_tried_again(run, monkeypatch, error, correct):
    piece = planned(run)[-1]
    (piece.place / "result.json").unlink()

    def failing(*_):
        if isinstance(error, InputError) and not correct:
            raise error from OSError(28, "full")
        raise error

    monkeypatch.setattr("mixwright.experiment.engines.work._done", failing)
    with pytest.raises(type(error)):
        do_piece(run, piece.key, ignored)
    assert piece.failure()["correct"] == correct


def test_files_are_looked_at_once_for_each_command(run, monkeypatch):
    config, looked, real = load("compare", run / "config.yaml"), [], pieces._files
    monkeypatch.setattr(pieces, "_files", lambda value: looked.append(value) or real(value))
    for seed in range(3):
        pieces.plan([pieces.Work("x", assay_work, (config, run, "target", seed))], 1, "cells")
    first = len(looked)
    assert first > 0
    pieces.plan([pieces.Work("x", assay_work, (config, run, "target", 9))], 1, "cells")
    assert len(looked) == first
    pieces.forget_plan(config, run)
    pieces.plan([pieces.Work("x", assay_work, (config, run, "target", 9))], 1, "cells")
    assert len(looked) == 2 * first


def test_results_are_of_their_versions(run, monkeypatch):
    config = load("compare", run / "config.yaml")
    key = pieces.plan([pieces.Work("x", assay_work, (config, run, "target", 0))], 1, "cells")[0].key
    monkeypatch.setattr(pieces, "_version", lambda package: "9.9")
    pieces.forget_plan(config, run)
    assert pieces.plan([pieces.Work("x", assay_work, (config, run, "target", 0))], 1, "cells")[0].key != key


def test_wrong_folders_keys_and_versions_are_one_error(run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"should be a run folder, found nothing on .*every worker sees"):
        do_piece(tmp_path / "none", "x", ignored)
    with pytest.raises(InputError, match=r"should have a piece nope, found [0-9a-f]{16}.*--list"):
        do_piece(run, "nope", ignored)
    with monkeypatch.context() as patch:
        patch.setattr(pieces, "__version__", "9.9")
        with pytest.raises(InputError, match=r"mixwright .* there, 9\.9 here; install the same"):
            do_piece(run, planned(run)[0].key, ignored)
    assert CliRunner().invoke(app, ["piece", str(tmp_path), "--list"]).exit_code == 2


def test_a_full_disk_is_one_error_and_what_is_there_is_kept(run, monkeypatch):
    piece = planned(run)[-1]
    before = piece.result()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"result\.json: the disk is full; free some room"):
            do_again(piece, load("compare", run / "config.yaml"), ignored)
    assert piece.result() == before
    assert Claim(piece.place).owner() is None
    assert do_again(piece, load("compare", run / "config.yaml"), ignored) == before["value"]


def test_a_folder_of_a_former_version_resumes(run):
    before = (run / "cells.csv").read_bytes()
    shutil.rmtree(run / "pieces")
    shutil.rmtree(run / ".head")
    (run / ".lock").touch()
    again(run)
    assert (run / "cells.csv").read_bytes() == before


def test_the_head_on_another_machine_is_named(run, monkeypatch):
    claim = Claim(run / ".head")
    assert claim.take()
    monkeypatch.setattr("mixwright.files.claims._machine", lambda: "another")
    said = r"at work in .* \(process \d+ on .*, last seen \d+ s ago\); wait"
    with pytest.raises(InputError, match=said), open_run(run, "x"):
        pass
    claim.release()


def test_a_piece_reads_its_description_back(run):
    piece = planned(run)[0]
    assert Piece.read(run, piece.key) == piece
