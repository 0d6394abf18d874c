import subprocess
import sys
from pathlib import Path

import pytest

from mixwright.errors import InputError
from mixwright.experiment.stages import Stage, check_folder, folder_name, open_run


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
        "import sys; from pathlib import Path; from mixwright.experiment.stages import open_run\n"
        "with open_run(Path(sys.argv[1]), 'x'): print('held')"
    )
    with open_run(tmp_path / "run", "x"):
        second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert "another command is at work" in second.stderr
    third = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
    assert third.stdout == "held\n"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError), open_run(tmp_path / "file" / "run", "x"):
        pass
