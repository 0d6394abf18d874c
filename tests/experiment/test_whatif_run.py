"""What a run writes for the what-if part of its page, and what is made of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.report.page import read_beside
from mixwright.report.what_if.numbers import check_what_if, unpack
from mixwright.search.table.table import LikelihoodTable

NAMES = ["a", "b", "c"]
SIZES = np.array([10.0, 20.0, 70.0])
SUMMARY = {"sources": [{"name": name} for name in [*NAMES, "the target itself"]]}


def table(seed: int, best: int) -> LikelihoodTable:
    logs = np.random.default_rng(seed).normal(-20, 1, (50, 3))
    logs[:, best] += 2
    return LikelihoodTable.from_array(logs, NAMES, unit="chunk")


def search(mixture: str, target: str, weights: list[float]) -> dict:
    interval = [[0.1, 0.6]] * 3
    return {"mixture": mixture, "target": target, "weights": weights, "interval": interval, "level": 0.8}


def made(constraints: Constraints | None = None, prior: object = "uniform", best: int = 1) -> dict:
    searches = [search("search_x", "x", [0.5, 0.3, 0.2]), search("search_y", "y", [0.2, 0.2, 0.6])]
    tables = [table(0, 0), table(1, best)]
    return make_what_if_of_run(searches, tables, SIZES, constraints or Constraints(), prior, 3)  # type: ignore[arg-type]


def test_marks_are_the_searches_and_what_they_have_to_beat() -> None:
    found = made()
    assert {mark["name"]: mark["weights"] for mark in found["marks"]} == {
        "search_x": [0.5, 0.3, 0.2],
        "search_y": [0.2, 0.2, 0.6],
        "uniform": [1 / 3] * 3,
        "natural": [0.1, 0.2, 0.7],
        "best_single_x": [1, 0, 0],
        "best_single_y": [0, 1, 0],
    }
    assert [target["optimum"] for target in found["targets"]] == [0, 1]
    assert [curve["pair"] for curve in found["curves"]] == [[0, 1]]
    assert found["marks"][0]["level"] == 0.8
    assert [mark["name"] for mark in made(best=0)["marks"]][-1] == "best_single"


def test_limits_are_those_of_the_search() -> None:
    given = Constraints(caps={"a": 0.4}, groups={"g": ["a", "b"]}, group_floors={"g": 0.2}, max_distance=0.5)
    found = made(given, "natural")
    assert found["upper"] == [0.4, 1, 1]
    assert found["limits"] == [
        {"label": "the floor 0.2 of group 'g'", "index": [0, 1], "value": [-1, -1], "limit": -0.2}
    ]
    assert found["distance"] == {"centre": pytest.approx([0.1, 0.2, 0.7]), "radius": 0.5}
    assert found["groups"] == [{"name": "g", "sources": [0, 1]}]
    assert made(given, {"b": 1.0})["distance"]["centre"] == [0, 1, 0]
    epochs = made(Constraints(max_epochs=2, budget=50))
    assert epochs["upper"] == pytest.approx([0.4, 0.8, 1.0])


def test_the_file_comes_back(tmp_path: Path) -> None:
    found = made()
    write_what_if_of_run(tmp_path, found)
    again = read_beside("search", tmp_path)["what_if"]
    assert again == json.loads(json.dumps(found))
    check_what_if(again)
    np.testing.assert_allclose(unpack(again)[0][0], table(0, 0).block(0, 50), atol=1e-6)


def test_a_run_of_an_older_form_has_none_and_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    assert read_beside("search", tmp_path) == {"what_if": None}
    (tmp_path / "whatif.json").write_text("{")
    with pytest.raises(InputError, match="run the command again"):
        read_beside("search", tmp_path)
