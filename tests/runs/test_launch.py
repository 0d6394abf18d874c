"""A plan as configurations of other trainers, one file per run."""

import csv
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mixwright import InputError, RunDesign, RunTable
from mixwright.cli.app import app
from mixwright.formats import FORMATS, read
from mixwright.runs.design.collect import collect
from mixwright.runs.design.launch import export_plan, planned

SOURCES = ["web", "code", "law"]
PATHS = {name: f"data/{name}.jsonl" for name in SOURCES}


@pytest.fixture
def plan(tmp_path):
    RunDesign(runs=12, repeats=2).plan(SOURCES, tokens=1e6).write(tmp_path / "plan.csv", ["qa"])
    return tmp_path / "plan.csv"


def index_of(folder):
    with open(folder / "index.csv", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_holds_the_weights_of_every_run(plan, tmp_path, monkeypatch, to):
    folder = tmp_path / "configs"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for path in PATHS.values():  # Croissant names the content of each
        Path(path).write_text('{"text": "x"}\n')
    files, _ = export_plan(plan, to, folder, None if to == "json" else PATHS, allow_loss=True)
    rows = index_of(folder)
    columns = {row["run"]: row for row in csv.DictReader(plan.open())}
    assert [row["run"] for row in rows] == list(columns)
    assert tuple(row["file"] for row in rows) == files
    assert {path.name for path in folder.iterdir()} == {*files, "index.csv"}
    for row in rows:
        found = read(folder / row["file"], to, paths=None if to == "json" else PATHS)
        weights = dict(zip(found.sources, found.weights, strict=True))
        for name in SOURCES:
            assert weights.get(name, 0.0) == pytest.approx(float(columns[row["run"]][f"w:{name}"]), abs=1e-6)


def test_repeats_have_another_seed(plan, tmp_path):
    export_plan(plan, "datasets", tmp_path / "configs", PATHS, seed=5, allow_loss=True)
    repeated = [row for row in index_of(tmp_path / "configs") if row["repeat_of"]]
    assert [row["seed"] for row in repeated] == ["6", "7"]
    assert "6" in (tmp_path / "configs" / repeated[0]["file"]).read_text()


def test_a_repeat_of_an_earlier_batch_has_another_seed_than_its_original(tmp_path):
    RunDesign(runs=10, repeats=0).plan(SOURCES, tokens=1e6).write(tmp_path / "plan.csv", ["qa"])
    earlier = planned(tmp_path / "plan.csv")
    RunDesign(2, repeats=2, anchors=()).plan(given=earlier, tokens=1e6).write(tmp_path / "later.csv", ["qa"])
    export_plan(tmp_path / "later.csv", "json", tmp_path / "configs", seed=5)
    rows = index_of(tmp_path / "configs")
    assert {row["repeat_of"] for row in rows} == {earlier.runs[0]}
    assert [row["seed"] for row in rows] == ["6", "7"]


def test_runs_that_would_share_a_file_are_refused(tmp_path):
    path, text = tmp_path / "plan.csv", "run,repeat_of,w:web,w:law\na/b,,1,0\n{},,0,1\n"
    for name in ("a_b", "A_B"):
        path.write_text(text.format(name))
        with pytest.raises(InputError, match=f"found 'a/b' and '{name}', which would both be '{name}.json'"):
            export_plan(path, "json", tmp_path / "configs")
        assert not (tmp_path / "configs").exists()
    path.write_text(text.format("a_c"))
    assert export_plan(path, "json", tmp_path / "configs")[0] == ("a_b.json", "a_c.json")


def test_what_does_not_fit_writes_nothing(plan, tmp_path):
    with pytest.raises(InputError, match="needs a path for every source"):
        export_plan(plan, "megatron", tmp_path / "configs", {"web": "web"})
    with pytest.raises(InputError, match="--allow-loss"):
        export_plan(plan, "trl", tmp_path / "configs", PATHS)  # shares of tokens
    assert not (tmp_path / "configs").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="should be a new folder"):
        export_plan(plan, "json", tmp_path / "old")


def test_the_command_and_the_way_back(plan, tmp_path):
    words = ["export", str(plan), "--to", "json", "--out", str(tmp_path / "configs")]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "12 files and index.csv" in done.output
    names = [row["run"] for row in index_of(tmp_path / "configs")]
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("run,loss:qa\n" + "".join(f"{name},{2 + i / 10}\n" for i, name in enumerate(names)))
    collect(plan, metrics, tmp_path / "runs.csv")
    assert RunTable.from_file(tmp_path / "runs.csv").runs == tuple(names)
    done = CliRunner().invoke(app, words[:4])
    assert done.exit_code == 2
    assert "give a new folder" in done.output
