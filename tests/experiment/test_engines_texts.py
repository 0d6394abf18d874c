"""Searches over texts, and specialists, whose pieces a cluster does ahead: the numbers are those of one process."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import make
from test_engines import Pretended, on
from tiny import without_times, write_tiny

from mixwright.experiment import drive, load
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.text.final_runs import FinalRuns
from mixwright.experiment.text.proxies import shards


def test_a_search_gives_what_one_process_gives(tmp_path, monkeypatch):
    path = write_tiny(tmp_path)
    here = drive(load("search", path), tmp_path / "here")
    assert planned(tmp_path / "here") == []
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    there = drive(load("search", path, engine="slurm"), tmp_path / "run")
    assert without_times(there) == without_times(here)
    stages = [p.stage for p in planned(tmp_path / "run")]
    assert stages[:6] == ["proxies"] * 3 + ["scores"] * 3
    assert set(stages[6:]) == {"final runs"}
    assert len(made.submitted) == len(stages)
    assert columns(tmp_path / "run") == columns(tmp_path / "here")


def test_a_comparison_gives_what_this_machine_gives(tmp_path, monkeypatch):
    changes = {"arms": ["uniform", "mixmin", {"name": "counts", "search": "mixmin", "proxy": {"kind": "ngram"}}]}
    drive(make(tmp_path, **changes), tmp_path / "here")
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    drive(load("compare", tmp_path / "here" / "config.yaml", engine="slurm"), tmp_path / "run")
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (tmp_path / "here" / "cells.csv").read_bytes()
    assert {p.stage for p in planned(tmp_path / "run")} == {"proxies", "counts", "scores", "searches", "trainings"}
    names = [p.name for p in planned(tmp_path / "run") if p.stage != "scores"]
    assert names == [p.name for p in planned(tmp_path / "here")]


def columns(folder):
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("table/**/*.f64")}
    assert found
    return found


@pytest.mark.parametrize("command", ["search", "compare"])
def test_a_target_is_scored_in_shards_to_the_last_digit(command, tmp_path, monkeypatch):
    more = {"proxy": {"tokens": 500, "batch_size": 1}}
    more |= {"search": {"likelihood": ["sequence", "token"]}} if command == "search" else {}
    path = write_tiny(tmp_path, **more)
    if command == "compare":
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"arms": [{"search": "mixmin", "charge": False}], "seeds": 2})
        )
    monkeypatch.setattr(FinalRuns, "run", lambda self, mixtures: [])
    drive(load(command, path), tmp_path / "here")
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    score, gone = shards.Shards.score, []

    def lost(self, source, proxy, chunks, *rest):
        score(self, source, proxy, chunks, *rest)
        if source == "greek" and chunks[0] and not gone:  # the disk loses one
            gone.append(next(self._place.glob(f"greek/{chunks[0]}/values.f64")))
            gone[0].unlink()

    monkeypatch.setattr(shards.Shards, "score", lost)
    drive(load(command, path, engine={"kind": "slurm", "shard": 200}), tmp_path / "run")
    scores = [p for p in planned(tmp_path / "run") if p.stage == "scores"]
    assert len(scores) == 18
    assert gone
    assert columns(tmp_path / "run") == columns(tmp_path / "here")
    assert not list((tmp_path / "run").rglob("values.f64"))
