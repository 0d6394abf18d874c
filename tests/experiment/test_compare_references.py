"""Arms over a reference model; DoReMi, DoGE and Aioli as searches: trained by seed, charged, not trained again."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from comparing import SMALL, make
from tiny import KINDS

from mixwright.decisions import read_decisions, replay
from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment.text.comparing import training as arm_training
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import open_sources, read_target
from mixwright.experiment.text.proxies import online
from mixwright.strategies import Aioli, DoGE, DoReMi
from mixwright.text import load_tokenizer
from mixwright.training.model import build_model

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


@pytest.fixture(scope="module")
def aioli(tmp_path_factory):
    """Return a folder with proxy runs of methods that have parameters, and the summary."""
    folder = tmp_path_factory.mktemp("aioli")
    faster = {"name": "faster", "search": "doge", "parameters": {"learning_rate": 0.01}}
    arms = ["uniform", {"search": "aioli", "parameters": {"explore": 1.0}, "prior": "natural"}, faster]
    more = {"targets": {}, "arms": arms, "seeds": 1, "held_out": 0.5, "final": {**FINAL, "tokens": 12000}}
    run = folder / "run"
    summary = drive(make(folder, **more), run)
    return folder, summary, HeldOut([], open_sources(list(KINDS), run), load_tokenizer(run / "tokenizer"), 32, 4)


def test_a_proxy_run_measures_what_its_method_reads(aioli):
    folder, summary, _ = aioli
    (place,) = (folder / "run" / "seed_0" / "proxy_runs").glob("aioli_natural_*")
    log = read_decisions(place)
    assert {"eval_loss", "planned"} <= log.given
    assert all(np.isfinite(seen.eval_loss).all() for seen in log.observations)
    arm = next(arm for arm in summary["arms"] if arm["name"] == "aioli")
    weights = [arm["mixtures"][0]["weights"][name][0] for name in KINDS]
    moved = replay(log, Aioli(explore=1.0))[3:]  # three perturbations, then the weights that follow from them
    assert weights != pytest.approx(log.prior.tolist(), abs=1e-6)
    assert sum(weights) == pytest.approx(1)
    assert len(moved) == RUN // 128 - 3


def test_what_losses_cost_in_a_proxy_run_is_charged(aioli):
    costs = {arm["name"]: arm["search_cost"] for arm in aioli[1]["arms"]}
    assert costs["faster"] == RUN
    # a pass over a token is a third of training on it, and there are five observations
    held = aioli[2]
    assert costs["aioli"] == math.ceil(RUN + 5 * sum(held.strategy_source_tokens.values()) / 3)
    assert set(held.strategy_source_tokens) == set(KINDS)


def test_parameters_are_the_methods(aioli):
    folder, summary, _ = aioli
    (place,) = (folder / "run" / "seed_0" / "proxy_runs").glob("doge_uniform_*")
    arm = next(arm for arm in summary["arms"] if arm["name"] == "faster")
    expected = replay(read_decisions(place), DoGE(learning_rate=0.01)).mean(0)
    found = [arm["mixtures"][0]["weights"][name][0] for name in KINDS]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert "doge with {'learning_rate': 0.01}" in arm["words"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return a folder with arms that read gradients of targets, the summary, and what they were measured on."""
    folder = tmp_path_factory.mktemp("shown")
    of_targets = {"objective": "targets", "learning_rate": 0.01}
    arms = ["uniform", "GRAPE", {"name": "towards", "search": "doge", "parameters": of_targets, "charge": False}]
    final = {**FINAL, "tokens": 1536, "observe_every": 4}  # 12 steps
    config = make(folder, **ONLINE | {"arms": arms, "reference": None, "seeds": 1, "held_out": 0.5, "final": final})
    config = config.model_copy(update={"targets": make(folder).targets})
    summary, run = drive(config, folder / "run"), folder / "run"
    targets = [read_target(name, target, "here") for name, target in config.targets.items()]
    return run, summary, HeldOut(targets, open_sources(list(KINDS), run), load_tokenizer(run / "tokenizer"), 32, 4)


def plain_gradient(model, rows):
    """Return the gradient of the mean loss per token, chunk by chunk without padding."""
    total = 0.0
    for begin, end, skip in zip(rows.ends[:-1], rows.ends[1:], rows.skip, strict=True):
        ids = torch.tensor([rows.bos, *rows.tokens[begin:end].tolist()])
        logs = torch.log_softmax(model(input_ids=ids[None, :-1]).logits[0].float(), -1)
        total = total - logs[torch.arange(len(ids) - 1), ids[1:]][int(skip) :].sum()
    model.zero_grad()
    (total / int(rows.document_tokens.sum())).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).double().numpy()


def test_inner_products_with_targets_are_those_of_plain_gradients(shown):
    run, _, held = shown
    logs = {path.parent: read_decisions(path) for path in (run / "trainings").glob("*/decisions.jsonl")}
    ((folder, log),) = logs.items()  # GRAPE's: the others have fixed weights
    assert {"target_gram", "target_loss", "grad_sq_norm"} <= log.given
    model = build_model({"path": str(folder / "model")}, held.tokenizer, 32, 0).eval()
    sources = [plain_gradient(model, held._strategy_sources[name]) for name in KINDS]
    targets = [plain_gradient(model, rows) for rows in held._strategy_targets.values()]
    expected = np.array([[source @ target for target in targets] for source in sources])
    last = log.observations[-1]
    assert last.step == 11
    assert expected.shape == (3, 2)
    np.testing.assert_allclose(last.target_gram, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose(last.target_loss, held.strategy_target_losses(model), rtol=1e-5)


def test_a_proxy_run_reads_targets_and_is_charged_for_it(shown):
    run, summary, held = shown
    (place,) = (run / "seed_0" / "proxy_runs").glob("doge_uniform_*")
    log = read_decisions(place)
    assert all(np.isfinite(seen.target_gram).all() for seen in log.observations)
    arm = next(arm for arm in summary["arms"] if arm["name"] == "towards")
    expected = replay(log, DoGE(objective="targets", learning_rate=0.01)).mean(0)
    np.testing.assert_allclose([arm["mixtures"][0]["weights"][n][0] for n in KINDS], expected, rtol=1e-9)
    texts = [*held._strategy_sources.values(), *held._strategy_targets.values()]
    passes = 5 * sum(int(rows.document_tokens.sum()) for rows in texts)  # forward and backward: as much as training
    assert arm["search_cost"] == math.ceil(RUN + passes)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """Return a folder with arms whose rows are drawn by shares of their own, and the summary."""
    folder = tmp_path_factory.mktemp("apart")
    given = dict(zip(KINDS, (0.2, 0.3, 0.5), strict=True))
    arms = [
        "uniform",
        {"name": "same rows", "baseline": "uniform", "sampling": given},
        {"name": "GroupDRO", "strategy": "GroupDRO", "sampling": "prior", "prior": "natural"},
        "mixmin",
        {"name": "mixmin, uniform rows", "search": "mixmin", "sampling": "uniform"},
    ]
    final = {**FINAL, "tokens": 2500}
    more = {"targets": {"mix": "target.jsonl"}, "arms": arms, "seeds": 1, "final": final, "charge_search": False}
    return folder, drive(make(folder, **more), folder / "run")


def test_rows_of_an_arm_may_be_drawn_by_shares_of_their_own(apart):
    folder, summary = apart
    arms = {arm["name"]: arm for arm in summary["arms"]}
    mixtures = {name: arm["mixtures"][0] for name, arm in arms.items()}
    assert [mixtures["same rows"]["sampling"][name] for name in KINDS] == [[0.2], [0.3], [0.5]]
    assert mixtures["same rows"]["weights"] == mixtures["uniform"]["weights"]
    assert "sampling" not in mixtures["uniform"]
    assert mixtures["mixmin, uniform rows"]["weights"] == mixtures["mixmin"]["weights"]
    assert mixtures["mixmin, uniform rows"]["epochs"] == mixtures["uniform"]["epochs"]  # the same rows
    natural = mixtures["GroupDRO"]
    for name in KINDS:
        assert natural["sampling"][name] == pytest.approx(natural["start"][name])
    assert natural["weights"] != natural["sampling"]
    assert len(list((folder / "run" / "trainings").iterdir())) == len(arms)  # weights alone do not name a training
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "rows are drawn by" in page
    assert "drawn 33" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": ["uniform", "DoReMi"], "reference": None}, r"arms\.1.*DoReMi needs excess_loss .*`reference: MODEL`"),
        ({"arms": ["uniform"]}, "^key reference: no arm reads it; remove it, or add an arm such as DoReMi"),
        ({"reference": "nowhere"}, "^key reference: .*there should be a model .*, found no such folder"),
        ({"proxy": {"tokens": 600, "context": 16}}, "^key reference: .* with the context 16, but DoReMi .* of 32"),
        ({"proxy": {"tokens": 4000}}, r"arms\.3.*has 5,000 tokens, but finding its mixture costs as much"),
        ({"arms": ["uniform", {"search": "doge"}], "reference": None, "proxy": "ngram"}, "found proxy: ngram"),
        ({"arms": [{"search": "doge", "likelihood": "token"}]}, "do not belong to search: doge; remove them"),
        ({"arms": [{"search": "mixmin", "parameters": {}}]}, "parameters belong to search: doremi or doge or aioli"),
        ({"arms": [{"search": "doge", "parameters": {"name": "PiKE"}}]}, "are numbers of doge, found name; remove it"),
        ({"arms": [{"search": "doge", "parameters": {"eta": 1}}], "reference": None}, r"arms\.0.*DoGE.*eta"),
        (
            {"arms": [{"baseline": "uniform", "sampling": "prior"}], "reference": None},
            "sampling: prior belongs to a strategy; give uniform, natural",
        ),
        (
            {
                "arms": [{"baseline": "uniform", "sampling": dict(zip(KINDS, (0.98, 0.01, 0.01), strict=True))}],
                "reference": None,
            },
            r"arms\.0: a row should count at most 20 times .* found 33.33 times",
        ),
        (
            {"arms": [{"strategy": "ODM", "sampling": "uniform"}]},
            r"arms\.0.*ODM works with apply='sampling'.*leave `sampling` out",
        ),
        (
            {"arms": [{"search": "aioli"}], "reference": None, "proxy": {"tokens": 300}},
            r"arms\.0: a proxy run of aioli should have at least 4 steps.* found 3; raise proxy: tokens",
        ),
        (
            {"arms": [{"strategy": "LossRatio"}], "held_out": 0.01},
            r"arms\.0: LossRatio\(.*\) should have held-out documents of each source .*raise held_out",
        ),
        (
            {"arms": [{"search": "doge", "parameters": {"objective": "targets"}}], "reference": None},
            r"arms\.0: DoGE needs target_gram .* if the configuration has targets",
        ),
        (
            {"arms": ["GRAPE"], "reference": None},
            r"arms\.0: GRAPE needs target_gram, target_loss .*configuration has t",
        ),
        (
            {"arms": [{"search": "aioli"}], "reference": None, "held_out": 0.01},
            r"arms\.0: Aioli\(.*\) should have held-out documents of each source .*raise held_out",
        ),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(change, message, tmp_path, monkeypatch):
    for module in (arm_training, online):
        monkeypatch.setattr(module, "train", None)
    values = {key: value for key, value in (ONLINE | change).items() if value is not None}
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, **values), tmp_path / "run")
    assert not (tmp_path / "run" / "trainings").exists()


def test_configurations_of_former_runs_have_no_reference(tmp_path):
    assert "reference" not in json.dumps(make(tmp_path).dumped())
