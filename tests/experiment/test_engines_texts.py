"""Searches over texts, and specialists, whose pieces a cluster does ahead: the numbers are those of one process."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import make
from test_engines import Pretended, on
from tiny import write_tiny

from mixwright.experiment import drive, load
from mixwright.experiment.engines.pieces import planned

TIMES = {"created", "seconds", "command"}


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def test_a_search_gives_what_one_process_gives(tmp_path, monkeypatch):
    path = write_tiny(tmp_path)
    here = drive(load("search", path), tmp_path / "here")
    assert planned(tmp_path / "here") == []
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    there = drive(load("search", path, engine="slurm"), tmp_path / "run")
    assert without_times(there) == without_times(here)
    stages = [p.stage for p in planned(tmp_path / "run")]
    assert stages[:4] == ["proxies"] * 3 + ["scores"]
    assert set(stages[4:]) == {"final runs"}
    assert len(made.submitted) == len(stages)


def test_a_comparison_gives_what_this_machine_gives(tmp_path, monkeypatch):
    changes = {"arms": ["uniform", "mixmin", {"name": "counts", "search": "mixmin", "proxy": {"kind": "ngram"}}]}
    drive(make(tmp_path, **changes), tmp_path / "here")
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    drive(load("compare", tmp_path / "here" / "config.yaml", engine="slurm"), tmp_path / "run")
    assert (tmp_path / "run" / "cells.csv").read_bytes() == (tmp_path / "here" / "cells.csv").read_bytes()
    assert {p.stage for p in planned(tmp_path / "run")} == {"proxies", "counts", "searches", "trainings"}
    assert [p.name for p in planned(tmp_path / "run")] == [p.name for p in planned(tmp_path / "here")]
