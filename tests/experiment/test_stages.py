import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixwright.errors import InputError
from mixwright.experiment.core import stages
from mixwright.experiment.core.stages import Stage, check_folder, folder_name, open_run


def test_a_stage_is_done_for_its_inputs_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s", {"a": 1})
    assert stage.result() is None
    stage.begin()
    (stage.folder / "part").write_text("x")
    assert stage.result() is None
    stage.finish({"x": 2})
    result = Stage(tmp_path / "s", {"a": 1}).result()
    assert result is not None
    assert result["x"] == 2
    other = Stage(tmp_path / "s", {"a": 2})
    assert other.result() is None
    other.begin()
    assert not (stage.folder / "part").exists()
    assert stage.result() is None


def test_unfinished_work_is_kept_for_the_same_inputs(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s", {"a": 1})
    stage.begin()
    (stage.folder / "part").write_text("x")
    Stage(tmp_path / "s", {"a": 1}).begin()
    assert (stage.folder / "part").exists()


def test_a_version_among_the_inputs_does_not_hide_that_of_the_results(tmp_path: Path, monkeypatch) -> None:
    given = ({"a": 1}, {"a": 1, "version": "0.1"}, {"a": 1, "version": "0.2"})
    before = [Stage(tmp_path, inputs).fingerprint for inputs in given]
    monkeypatch.setattr(stages, "_VERSION", 2)
    after = [Stage(tmp_path, inputs).fingerprint for inputs in given]
    assert len({*before, *after}) == 6


def test_a_stage_whose_files_are_damaged_is_emptied(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s", {"a": 1})
    stage.begin()
    for name in ("part", "other"):
        (stage.folder / name).write_text("x")
    stage.finish({})
    assert stage.result(lambda place, _: (place / "part").read_text()) is not None
    (stage.folder / "part").unlink()
    assert stage.result(lambda place, _: (place / "part").read_text()) is None
    stage.begin()
    assert not (stage.folder / "other").exists()


def test_damaged_records_count_as_not_done(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s", {"a": 1})
    stage.begin()
    stage.finish({})
    (tmp_path / "s" / "done.json").write_text("{")
    assert stage.result() is None
    (tmp_path / "s" / "done.json").write_text("[]")
    assert stage.result() is None


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "..", ".", "a/b", "é" * 300, "x" * 300, "a\0b", "CON:", " "]
)
def test_any_name_is_a_folder_inside(tmp_path: Path, name: str) -> None:
    folder = tmp_path / folder_name(name)
    folder.mkdir()
    assert folder.parent == tmp_path
    assert folder.resolve().parent == tmp_path.resolve()


def test_names_stay_different() -> None:
    names = ["a", "A", "a b", "a/b", "a%2Fb", "x" * 300, "x" * 301, ".", "..", "%2E"]
    assert len({folder_name(name) for name in names}) == len(names)


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"thesis\.tex"):
        check_folder(tmp_path)
    with pytest.raises(InputError, match="found a file"):
        check_folder(tmp_path / "thesis.tex")
    check_folder(tmp_path / "new")


def test_two_commands_never_work_in_one_run(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mixwright.experiment.core.stages import open_run\n"
        "with open_run(Path(sys.argv[1]), 'x'): print('held')"
    )
    with open_run(tmp_path / "run", "x"):
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert "another command is at work" in second.stderr
        with pytest.raises(InputError, match="another command is at work"):
            check_folder(tmp_path / "run")
    third = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert third.stdout == "held\n"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a part of the path is a file"):
        check_folder(tmp_path / "file" / "run")
    with pytest.raises(InputError), open_run(tmp_path / "file" / "run", "x"):
        pass


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="permission denied; choose a folder that you may write to"):
            check_folder(tmp_path / "new" / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_of_the_user_is_refused_and_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="empty folder"):
        check_folder(tmp_path)
    assert (tmp_path / "data" / "mine.txt").read_text() == "keep"


def test_a_config_of_the_user_does_not_make_a_run(tmp_path):
    (tmp_path / "config.yaml").write_text("mine: 1\n")
    with pytest.raises(InputError, match=r"config\.yaml"), open_run(tmp_path, "ours: 1\n"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "mine: 1\n"


def test_what_an_early_kill_leaves_is_a_run(tmp_path):
    (tmp_path / ".config.yaml.123.tmp").write_text("half")
    Stage(tmp_path / "data", {"stage": "demo data"}).begin()
    check_folder(tmp_path)
    with open_run(tmp_path, "ours: 1\n"):
        assert (tmp_path / "config.yaml").read_text() == "ours: 1\n"


def test_begin_keeps_what_belongs_and_removes_what_does_not(tmp_path):
    stage = Stage(tmp_path / "s", {"a": 1})
    stage.begin()
    (stage.folder / "part").mkdir()
    (stage.folder / "part" / "x").write_text("1")
    Stage(tmp_path / "s", {"a": 1}).begin()
    assert (stage.folder / "part" / "x").exists()
    Stage(tmp_path / "s", {"a": 2}).begin()
    assert sorted(path.name for path in stage.folder.iterdir()) == ["begin.json"]


@pytest.mark.parametrize(("flags", "says"), [(os.ST_RDONLY, "the file system is read-only"), (0, "permission denied")])
def test_a_read_only_mount_is_not_a_closed_folder(tmp_path, monkeypatch, flags, says):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=flags))
    with pytest.raises(InputError, match=says):
        check_folder(tmp_path / "run")
