"""Arms over a reference model, and DoReMi and DoGE as searches: trained by seed, charged, not trained again."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import SMALL, make
from tiny import KINDS

from mixwright.decisions import read_decisions, replay
from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment.text import compare_work
from mixwright.experiment.text.proxies import online
from mixwright.strategies import DoReMi

FINAL = {**SMALL["final"], "tokens": 5000, "observe_every": 4, "lag": 2}
ARMS = ["uniform", "DoReMi", "LossRatio", {"search": "doremi"}, {"search": "doge"}]
ONLINE = {"targets": {}, "arms": ARMS, "reference": {"train": "prior"}, "seeds": 2, "final": FINAL}
RUN = 640  # tokens of a proxy: 600 in whole steps of 4 x 32


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    return folder, drive(make(folder, **ONLINE), folder / "run")


def test_what_references_and_proxy_runs_cost_is_charged(done):
    arms = {arm["name"]: arm for arm in done[1]["arms"]}
    # proxies are as large as the models that are compared: a pass over a token is a third of training on it
    passes = (5000 - RUN) / (1 + 1 / 3) / 3
    expected = {"uniform": 0, "DoReMi": RUN + passes, "LossRatio": RUN, "doremi": RUN + RUN * 4 / 3, "doge": RUN}
    assert {name: arm["search_cost"] for name, arm in arms.items()} == {
        name: math.ceil(cost) for name, cost in expected.items()
    }
    for arm in arms.values():
        assert 5000 - 128 < arm["total_cost"] <= 5000


def test_a_search_gives_the_mean_weights_of_its_proxy_run(done):
    folder, summary = done
    mixtures = {arm["name"]: arm["mixtures"][0]["weights"] for arm in summary["arms"]}
    for seed in (0, 1):
        log = read_decisions(folder / "run" / f"seed_{seed}" / "proxy_runs" / "doremi_uniform")
        assert len(log.observations) == RUN // 128  # every step
        expected = replay(log, DoReMi()).mean(0)
        np.testing.assert_allclose([mixtures["doremi"][name][seed] for name in KINDS], expected, rtol=1e-12)
    assert mixtures["doremi"] != mixtures["doge"]
    assert any(values[0] != values[1] for values in mixtures["doremi"].values())


def test_strategies_get_what_the_reference_of_their_seed_makes_possible(done):
    folder, _ = done
    given = [read_decisions(path).given for path in (folder / "run" / "trainings").glob("*/decisions.jsonl")]
    assert sum("excess_loss" in fields for fields in given) == 2  # DoReMi; held-out losses cost LossRatio no passes
    assert sum("reference_loss" in fields for fields in given) == 2
    models = [(folder / "run" / f"seed_{s}/reference/uniform/model/model.safetensors").read_bytes() for s in (0, 1)]
    assert models[0] != models[1]


def test_again_gives_the_same_and_trains_nothing(done, monkeypatch):
    folder, summary = done
    monkeypatch.setattr("mixwright.training.loop.LanguageModelLoop.run", None)
    again = drive(make(folder, **ONLINE), folder / "run")
    assert {**again, "created": ""} == {**summary, "created": ""}


def test_a_model_from_elsewhere_costs_its_passes_alone(done, tmp_path):
    path = done[0] / "run" / "seed_0" / "reference" / "uniform" / "model"
    arms = ["uniform", {"strategy": "DoReMi", "charge": False}]
    summary = drive(make(tmp_path, **ONLINE | {"arms": arms, "reference": str(path), "seeds": 1}), tmp_path / "run")
    found = {arm["name"]: arm for arm in summary["arms"]}
    assert found["DoReMi"]["steps"] == found["uniform"]["steps"]
    assert found["DoReMi"]["search_cost"] == math.ceil(5000 / 3)
    assert not (tmp_path / "run" / "seed_0").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ["uniform", "DoReMi"], "reference": None}, r"arms\.1.*DoReMi needs excess_loss .*`reference: MODEL`"),
        ({"arms": ["uniform"]}, "^key reference: no arm reads it; remove it, or add an arm such as DoReMi"),
        ({"reference": "nowhere"}, "^key reference: should be a folder with a model"),
        ({"proxy": {"tokens": 600, "context": 16}}, "^key reference: .* with the context 16, but DoReMi .* of 32"),
        ({"proxy": {"tokens": 4000}}, r"arms\.3.*has 5,000 tokens, but finding its mixture costs as much"),
        ({"arms": ["uniform", {"search": "doge"}], "reference": None, "proxy": "ngram"}, "found proxy: ngram"),
        ({"arms": [{"search": "doge", "likelihood": "token"}]}, "do not belong to search: doge; remove them"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(change, message, tmp_path, monkeypatch):
    for module in (compare_work, online):
        monkeypatch.setattr(module, "train", None)
    values = {key: value for key, value in (ONLINE | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, **values), tmp_path / "run")
    assert not (tmp_path / "run" / "trainings").exists()


def test_configurations_of_former_runs_have_no_reference(tmp_path):
    assert "reference" not in json.dumps(make(tmp_path).dumped())
