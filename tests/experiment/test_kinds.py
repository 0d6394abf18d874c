"""The table of kinds, and what `load`, `make` and `drive` do for every kind of run; a new kind is one row."""

import json
from pathlib import Path

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("typer")

from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import InputError
from mixwright.experiment import drive, kinds, load, make, read_summary
from mixwright.experiment.core.config_parts import Count, RunConfig
from mixwright.experiment.core.run_folder import config_text
from mixwright.experiment.core.stages import Stage
from mixwright.experiment.core.summary import of_run
from mixwright.experiment.run import Run


class CountConfig(RunConfig):
    """A run that counts."""

    title: str = ""
    seed: int = 0
    count: Count


class CountRun(Run[CountConfig]):
    """Counts to a number, a stage each."""

    title = "Counting"

    def check(self, progress):
        if self.config.count > 9:
            raise InputError(f"{self.config.where('count')}: should be at most 9, found {self.config.count}")

    def work(self, progress):
        made = []
        for number in range(self.config.count):
            stage = Stage(self.folder / f"count_{number}", {"stage": "count", "number": number})
            if stage.result() is None:
                stage.begin()
                stage.finish({"number": number})
                made.append(number)
            progress("count", number + 1, self.config.count)
        return {"made": made, "notes": []}


def print_count(console, summary, folder):
    console.print(f"counted {summary['made']}")


HERE = __name__
COUNT = kinds.Kind(
    *("count", "numbers", "count", "counting"), f"{HERE}:CountConfig", f"{HERE}:CountRun", f"{HERE}:print_count", None
)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, COUNT))


def test_every_row_can_be_imported_and_found():
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for kind in kinds.KINDS:
        assert issubclass(kind.get("config"), RunConfig)
        assert issubclass(kind.get("run"), Run)
        assert callable(kind.get("table"))
        assert kind in kinds.of_command(kind.command)
        assert kinds.of_summary({"task": kind.task, "data": kind.data}) is kind
        assert kinds.of_config(kind.get("config").model_construct()) is kind


def test_a_row_is_all_that_a_new_kind_takes(counting, tmp_path):
    (tmp_path / "count.yaml").write_text("count: 2\n")
    config, run = load("count", tmp_path / "count.yaml"), tmp_path / "run"
    summary = drive(config, run)
    assert summary["made"] == [0, 1]
    assert (summary["task"], summary["data"], summary["kind"]) == ("count", "numbers", "counting")
    assert summary["title"] == "Counting"
    assert read_summary(run) == json.loads(json.dumps(summary))
    assert (run / "config.yaml").read_text() == config_text(COUNT, config.dumped())
    assert drive(config, run)["made"] == []
    assert drive(make("count", {"count": 3}), run, annotate=lambda found: [found["task"]])["notes"] == ["count"]
    shown = CliRunner().invoke(app, ["show", str(run)])
    assert "counted [2]" in shown.output
    refused = CliRunner().invoke(app, ["report", str(run)])
    assert f"{run} holds counting, which has no page" in refused.output.replace("\n", "")


def test_what_does_not_fit_is_said_before_anything_is_written(counting, tmp_path):
    (tmp_path / "count.yaml").write_text("title: x\ncount: 12\n")
    with pytest.raises(InputError, match=r"count.yaml, line 2, key count: should be at most 9, found 12"):
        drive(load("count", tmp_path / "count.yaml"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=r"kind should be numbers, found 'text'; correct it, or use mixwright search"):
        make("count", {"kind": "text", "count": 1})


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: f"{kind.task} {kind.data}")
def test_a_run_folder_as_configuration_names_the_command_that_made_it(kind, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".mixwright-run").touch()
    (run / "config.yaml").write_text(config_text(kind, {"kind": kind.data}))
    resume = f"to resume it: mixwright {kind.command} {run}/config.yaml --run {run}"
    for command in ("search", "prefer train"):
        with pytest.raises(InputError, match="should be a YAML file, found the folder of a run") as caught:
            load(command, run)
        assert str(caught.value).endswith(resume)
    with pytest.raises(InputError, match="is not finished") as caught:
        read_summary(run)
    assert str(caught.value).endswith(resume)


@pytest.mark.parametrize("other", kinds.KINDS, ids=lambda kind: f"{kind.task} {kind.data}")
def test_a_folder_of_another_kind_is_refused_and_left_as_it_was(counting, other, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / ".mixwright-run").touch()
    (run / "config.yaml").write_text(config_text(other, {"kind": other.data}))
    before = {path: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(InputError, match=f"of `mixwright count` .*, found one of `mixwright {other.command}`"):
        drive(make("count", {"count": 1}), run)
    assert {path: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_an_error_that_names_the_run_passes_as_it_is(tmp_path):
    for said, whole, cause in ((f"{tmp_path}: x", f"{tmp_path}: x", False), ("x", f"{tmp_path}/summary.json: x", True)):
        with pytest.raises(InputError) as caught, of_run(tmp_path):
            raise InputError(said)
        assert str(caught.value) == whole
        assert (caught.value.__cause__ is not None) == cause


def test_a_summary_of_a_newer_version_and_a_damaged_one(tmp_path):
    for text, says in (
        ('{"schema": 99}', "newer mixwright"),
        ("{", "found text that is not JSON"),
        ("[]", "should be the summary of a run, found a JSON list"),
    ):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(InputError, match=says):
            read_summary(Path(tmp_path))
