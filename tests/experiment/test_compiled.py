"""`training: {compile: true}`: blocks go through torch.compile, and the numbers stay."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")
sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

import torch
from tiny import SETTINGS, write_tiny
from tiny_pairs import LETTERS, write_all

from mixwright.experiment import drive, make

SHORT = {"steps": 2, "batch_size": 4, "learning_rate": 3e-3}


@pytest.fixture
def compiled(monkeypatch):
    """Let torch.compile run what it captures as it is, which takes a second and not a minute; return the captures."""
    captured, real = [], torch.compile

    def kept(graph, inputs):
        captured.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function: real(function, backend=kept))
    yield captured
    torch._dynamo.reset()


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def same_and_captured(command, values, folder, compiled):
    """Assert that a run captures nothing without `compile`, its blocks with it, and learns the same."""
    for name, more in (("plain", {}), ("compiled", {"compile": True})):
        assert not compiled
        drive(make(command, {**values, "training": values["training"] | more}, folder=folder), folder / name)
    assert compiled
    found, expected = losses(folder / "compiled"), losses(folder / "plain")
    assert len(expected) == SHORT["steps"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_preference_training_is_compiled(tmp_path, compiled):
    values = write_all(tmp_path)
    del values["strategy"]
    values |= {"weights": "uniform", "training": {**SHORT, "batch_size": 3}}
    same_and_captured("prefer train", values, tmp_path, compiled)


@pytest.mark.slow
def test_a_training_on_texts_is_compiled(tmp_path, compiled):
    write_tiny(tmp_path)
    values = {"sources": SETTINGS["sources"], "held_out": 0.2, "model": SETTINGS["model"], "weights": "uniform"}
    same_and_captured("train", values | {"training": {**SHORT, "context": 32}}, tmp_path, compiled)


@pytest.mark.slow
def test_a_comparison_of_pairs_is_compiled(tmp_path, compiled):
    values = write_all(tmp_path)
    del values["strategy"]
    training = {**SHORT, "batch_size": len(LETTERS), "compile": True}
    more = {"kind": "preference", "arms": ["uniform"], "seeds": 1, "training": training, "compute": {"cores": 1}}
    drive(make("compare", values | more, folder=tmp_path), tmp_path / "run")
    assert compiled
