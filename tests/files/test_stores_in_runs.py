"""Runs whose inputs lie in a store: the same results as from this disk, and one version from beginning to end."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "experiment"))
sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from tiny import results_of

from mixwright.errors import InputError
from mixwright.experiment import drive, load, make
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.engines.work import do_piece
from mixwright.files.stores import fetching

pytestmark = pytest.mark.usefixtures("quick")


def assays(folder):
    pytest.importorskip("xgboost")
    from test_compare_assays_run import SMALL, write_assays

    write_assays(folder)
    return "compare", SMALL | {"targets": ["target"], "arms": ["uniform"], "seeds": 1}


def table_of_runs(folder):
    from test_runs_fit import write_table

    write_table(folder)
    table = {"path": "runs.csv", "sources": "sources.csv"}
    return "runs fit", {"table": table, "target": "qa", "law": "log_linear"}


def pairs(folder):
    pytest.importorskip("peft")
    from tiny_pairs import write_all

    values = write_all(folder)
    return "prefer specialists", values | {"training": {"steps": 1, "batch_size": 4, "learning_rate": 1e-3}}


def in_the_store(value, folder, url):
    """Return values in which each file of a folder is named by its address."""
    if isinstance(value, dict):
        return {key: in_the_store(inner, folder, url) for key, inner in value.items()}
    return f"{url}/{value}" if isinstance(value, str) and (folder / value).is_file() else value


def uploaded(s3, folder):
    for path in folder.iterdir():
        if path.is_file():
            s3.put_object(Bucket=s3.bucket, Key=path.name, Body=path.read_bytes())


@pytest.mark.parametrize("kind", [assays, table_of_runs, pairs])
def test_a_run_of_each_kind_is_the_same_from_a_store(kind, s3, tmp_path):
    command, values = kind(tmp_path)
    uploaded(s3, tmp_path)
    drive(make(command, values, folder=tmp_path), tmp_path / "here")
    there = make(command, in_the_store(values, tmp_path, s3.url), folder=tmp_path)
    assert s3.url in json.dumps(there.dumped())
    drive(there, tmp_path / "there")
    here, found = results_of(tmp_path / "here"), results_of(tmp_path / "there")
    assert set(json.loads((tmp_path / "there" / "inputs.json").read_text())["versions"])
    paths = ("begin.json", "encoded.json", "summary.json")  # they name the files
    names = [name for name in here if name.rpartition("/")[2] not in paths]
    assert names
    assert [name for name in names if found.get(name) != here[name]] == []


def test_a_source_of_a_store_comes_to_a_training_under_way(s3, tmp_path):
    pytest.importorskip("transformers")
    from test_train_sources import at_steps, made, mixwright

    config = made(tmp_path)
    uploaded(s3, tmp_path)
    lines = []
    for where, address in (("here", tmp_path / "law.jsonl"), ("there", f"{s3.url}/law.jsonl")):
        run = tmp_path / where
        add = ("--add", f"law={address}", "--weight", 0.25, "--at", 8)
        summary = drive(config, run, at_steps({1: lambda run=run, add=add: mixwright("steer", run, *add)}))
        assert [source["name"] for source in summary["sources"]] == ["code", "books", "law"]
        lines.append((run / "metrics.jsonl").read_bytes())
        config = load("train", tmp_path / "train.yaml", sources={
            "code": [f"{s3.url}/py.jsonl", f"{s3.url}/rs.jsonl"], "books": f"{s3.url}/books.jsonl"})  # fmt: skip
    assert lines[0] == lines[1]


def test_a_source_is_split_in_the_version_that_the_run_reads(s3, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    from test_train_sources import PARTS, at_steps, made, mixwright

    made(tmp_path)
    uploaded(s3, tmp_path)
    addresses = {"code": [f"{s3.url}/py.jsonl", f"{s3.url}/rs.jsonl"], "books": f"{s3.url}/books.jsonl"}
    config, run = load("train", tmp_path / "train.yaml", sources=addresses), tmp_path / "run"

    def split():
        s3.put_object(Bucket=s3.bucket, Key="py.jsonl", Body=(tmp_path / "books.jsonl").read_bytes())
        with monkeypatch.context() as patch:
            patch.setenv("MIXWRIGHT_CACHE", str(tmp_path / "other"))  # another machine, without the copies
            said = mixwright("steer", run, "--split", PARTS.format(tmp_path), code=2)
        assert f"{s3.url}/py.jsonl: a copy of the version that the run began with should be here" in said
        assert not (run / "control.yaml").exists()
        mixwright("steer", run, "--split", PARTS.format(tmp_path))

    summary = drive(config, run, at_steps({1: split}))
    assert [source["name"] for source in summary["sources"]] == ["python", "rust", "books"]


def test_a_run_keeps_to_the_version_that_it_began_with(s3, tmp_path, monkeypatch):
    command, values = assays(tmp_path)
    uploaded(s3, tmp_path)
    run = tmp_path / "run"
    config = make(command, in_the_store(values, tmp_path, s3.url), folder=tmp_path)
    usual = drive(config, run)["notes"]
    cells = (run / "cells.csv").read_bytes()
    text = (tmp_path / "t.csv").read_text()
    s3.put_object(Bucket=s3.bucket, Key="t.csv", Body=(text + text.partition("\n")[2]).encode())

    (piece,) = planned(run)
    for own in (str(tmp_path / "cache"), ""):  # the copies of the head, which this process names, or finds
        (piece.place / "result.json").unlink()
        with monkeypatch.context() as patch:
            patch.setenv("MIXWRIGHT_CACHE", own)
            patch.setattr(fetching, "connect", lambda address: pytest.fail("the store was asked"))
            do_piece(run, piece.key, lambda share: None)
    (piece.place / "result.json").unlink()
    with monkeypatch.context() as patch:
        patch.setenv("MIXWRIGHT_CACHE", str(tmp_path / "other"))
        with pytest.raises(InputError, match=r"t\.csv: a copy of the version that the run began with should be here"):
            do_piece(run, piece.key, lambda share: None)

    (note,) = [note for note in drive(config, run)["notes"] if note not in usual]
    assert note.startswith(f"{s3.url}/t.csv: the store has another version now")
    assert (run / "cells.csv").read_bytes() == cells
    assert not any("another version" in note for note in drive(config, tmp_path / "new")["notes"])
    assert (tmp_path / "new" / "cells.csv").read_bytes() != cells
