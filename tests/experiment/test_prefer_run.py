"""Specialists and a generalist from their YAML to the page: numbers, resume, other configurations."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))

from golden_files import check_run
from test_engines import Pretended, on
from tiny_pairs import LETTERS, SIZES, TRAINING, write_all, write_model

from mixwright.errors import InputError
from mixwright.experiment import drive, read_summary
from mixwright.experiment import make as configured
from mixwright.experiment.core.run_folder import config_text
from mixwright.experiment.core.stages import silent
from mixwright.experiment.engines.pieces import planned
from mixwright.experiment.kinds import of_config
from mixwright.experiment.preference.inputs import open_inputs
from mixwright.experiment.preference.specialists import SpecialistJob, Specialists
from mixwright.experiment.preference.train_config import PreferConfig
from mixwright.experiment.preference.work import PairWork
from mixwright.preference.fitting import read_lines
from mixwright.preference.losses import PairLoss, score_pairs

FILES = ("metrics.jsonl", "decisions.jsonl", "evaluation.jsonl")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return folder, write_all(folder)


def make(data, command="prefer train", **changes) -> PreferConfig:
    folder, values = data
    whole = {key: value for key, value in (values | changes).items() if value is not None}
    return configured(command, whole, folder=folder)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, drive(make(data), run)


@pytest.fixture(scope="module")
def specialists(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "specialists"
    return run, drive(make(data, "prefer specialists", specialists={"keep": True}), run)


def parts(run: Path) -> dict[str, bytes]:
    """Return all that two runs of one configuration have alike."""
    found = {name: (run / name).read_bytes() for name in (*FILES, "model/model.safetensors")}
    for path in sorted((run / "cache").glob("*.npz")):
        with np.load(path) as file:
            found |= {f"{path.name} {name}": file[name].tobytes() for name in file.files}
    return found


def test_keys_and_fingerprints_are_the_golden_ones(data, done, specialists) -> None:
    check_run("prefer-train", done[0], data[0])
    check_run("prefer-specialists", specialists[0], data[0])


def test_what_a_training_leaves(done) -> None:
    run, summary = done
    assert read_summary(run) == json.loads(json.dumps(summary))
    assert summary["kind"] == "preference"
    assert [s["name"] for s in summary["sources"]] == list(LETTERS)
    assert sum(s["rows"] for s in summary["sources"]) == TRAINING["steps"] * TRAINING["batch_size"]
    assert [s["pairs"] + s["held_out_pairs"] for s in summary["sources"]] == list(SIZES.values())
    assert [p["step"] for p in summary["curve"]] == [0, 3, 6]
    first, last = summary["curve"][0]["sources"], summary["curve"][-1]["sources"]
    for name in LETTERS:
        assert first[name]["loss"] == pytest.approx(np.log(2), abs=1e-6)
        assert last[name]["loss"] < first[name]["loss"]
    worst = max(summary["sources"], key=lambda s: s["held_out"]["excess"])
    assert summary["held_out"]["excess"]["worst_source"] == worst["name"]
    assert len(read_lines(run / "metrics.jsonl")) == 6
    assert len(read_lines(run / "decisions.jsonl")) == 6
    assert not list(run.rglob("checkpoint-*"))
    assert "AMAR" in (run / "report.html").read_text(encoding="utf-8")
    assert summary["cost"]["specialist_pairs"] > sum(s["pairs"] for s in summary["sources"])


def test_cached_losses_are_those_of_the_saved_specialists(data, specialists) -> None:
    run, summary = specialists
    config = make(data, specialists={"keep": True})
    work = PairWork(open_inputs(config, run, silent), run, config.training, PairLoss())
    made = Specialists(work, config.specialists)
    for source in summary["sources"]:
        name = source["name"]
        found = made.get(SpecialistJob(name, config.seed, run / "specialists", keep=True))
        model = work.inputs.trained(run / source["model"])
        for part, cached in (("train", found.train), ("test", found.test)):
            pairs, reference = getattr(work.inputs.sources[name], part), work.reference(name)[part == "test"]
            for batch_size in (1, 7):
                again = score_pairs(model, pairs, PairLoss(), reference, batch_size, pad=work.inputs.pad).loss
                np.testing.assert_allclose(cached, again, atol=1e-4)
        assert summary["measured"][name][name]["loss"] == pytest.approx(found.test.mean(), abs=1e-5)
        assert found.test.mean() < np.log(2)


def test_specialists_that_a_cluster_trains_are_the_same(data, specialists, tmp_path, monkeypatch) -> None:
    run, summary = specialists
    made = Pretended(tmp_path / "run")
    on(monkeypatch, made)
    there = drive(make(data, "prefer specialists", specialists={"keep": True}, engine="slurm"), tmp_path / "run")
    assert [p.stage for p in planned(tmp_path / "run")] == ["specialists"] * len(summary["sources"])
    assert len(made.submitted) == len(summary["sources"])
    for source, other in zip(summary["sources"], there["sources"], strict=True):
        models = [(run / source["model"]), (tmp_path / "run" / other["model"])]
        assert len({(model / "model.safetensors").read_bytes() for model in models}) == 1


def test_specialists_of_equal_steps_cost_their_steps(data, tmp_path) -> None:
    config = make(data, "prefer specialists", specialists={"steps": 3})
    again = make(data, "prefer specialists", specialists=config.dumped()["specialists"])
    assert again.specialists == config.specialists
    summary = drive(config, tmp_path / "run")
    for source in summary["sources"]:
        scored = source["pairs"] + source["held_out_pairs"]
        assert source["cost"] == pytest.approx(3 * config.training.batch_size + scored / 3), source


def test_specialists_that_were_dropped_are_trained_again_when_they_are_to_be_kept(data, specialists, tmp_path) -> None:
    drive(make(data, "prefer specialists"), tmp_path / "run")
    assert not list((tmp_path / "run" / "specialists").rglob("model.safetensors"))
    summary = drive(make(data, "prefer specialists", specialists={"keep": True}), tmp_path / "run")
    for source in summary["sources"]:
        kept = [run / source["model"] / "model.safetensors" for run in (tmp_path / "run", specialists[0])]
        assert kept[0].read_bytes() == kept[1].read_bytes()


@pytest.mark.parametrize("command", ["prefer train", "prefer specialists"])
def test_a_model_that_was_deleted_is_trained_again(data, done, specialists, tmp_path, command) -> None:
    run = done[0] if command == "prefer train" else specialists[0]
    shutil.copytree(run, tmp_path / "run")
    place = "model" if command == "prefer train" else "specialists/abc/whole/model"
    (path,) = (tmp_path / "run" / place).glob("*.safetensors")
    whole = path.read_bytes()
    path.unlink()
    more = {} if command == "prefer train" else {"specialists": {"keep": True}}
    drive(make(data, command, **more), tmp_path / "run")
    assert path.read_bytes() == whole


def test_specialists_of_another_run_are_the_same(data, specialists, done, tmp_path) -> None:
    run, _ = specialists
    summary = drive(make(data, specialists=str(run)), tmp_path / "run")
    for name in ("sources", "curve", "held_out"):
        assert summary[name] == done[1][name]
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (done[0] / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": "ipo"}, "the loss"),
        ({"pairs": {"max_length": 12}}, "the encoded pairs"),
        ({"model": "other"}, "the reference model"),
    ],
)
def test_specialists_of_something_else_are_refused(data, specialists, tmp_path, change, words) -> None:
    if "model" in change and not (data[0] / "other").exists():
        write_model(data[0] / "other", seed=5)
    with pytest.raises(
        InputError, match=f"the source 'abc' .* should be of {words} .*, found .*; run mixwright prefer"
    ):
        drive(make(data, specialists=str(specialists[0]), **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folds_score_each_pair_with_a_specialist_that_did_not_see_it(data, tmp_path) -> None:
    changes = {
        "command": "prefer specialists",
        "sources": {"upper": data[1]["sources"]["upper"]},
        "training": {**TRAINING, "learning_rate": 0.01},
    }
    summary = drive(make(data, **changes, specialists={"folds": 3, "epochs": 9}), tmp_path / "run")
    seen = drive(make(data, **changes, specialists={"epochs": 9}), tmp_path / "seen")
    (folded,), (own,) = summary["sources"], seen["sources"]
    assert folded["train_loss"] > own["train_loss"]
    assert folded["cost"] > 1.9 * own["cost"]
    assert sorted(p.name for p in (tmp_path / "run/specialists/upper").iterdir()) == ["fold_0", "fold_1", "fold_2"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("adapter", [None, {"rank": 2}])
def test_stopped_anywhere_and_resumed_gives_the_same_numbers(data, tmp_path, adapter) -> None:
    training = {**TRAINING, "checkpoint_every": 1e-6}
    changes = {"adapter": adapter, "strategy": "AMAS", "training": training}
    model = "model.safetensors" if adapter is None else "adapter_model.safetensors"
    whole, run = tmp_path / "whole", tmp_path / "run"
    drive(make(data, **changes), whole)
    for stage, calls in (("specialists", 3), ("specialists", 6), ("train", 4), ("train", 1)):
        left = calls

        def progress(now: str, done: int, total: int, note: str = "", stage: str = stage) -> None:
            nonlocal left
            left -= now == stage and done < total
            if left == 0:
                raise Stopped

        with pytest.raises(Stopped):
            drive(make(data, **changes), run, progress)
    drive(make(data, **changes), run)
    for name in (*FILES, f"model/{model}"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    summaries = [read_summary(folder) for folder in (run, whole)]
    for summary in summaries:
        for key in ("seconds", "created", "command"):
            del summary[key]
    assert summaries[0] == summaries[1]


def test_another_configuration_in_the_folder_is_named(data, done) -> None:
    with pytest.raises(InputError, match=r"run of another configuration .*loss\.beta: 0\.1 there, 0\.2 here"):
        drive(make(data, loss={"beta": 0.2}), done[0])
    with pytest.raises(InputError, match="found one of `mixwright prefer train`"):
        drive(make(data, "prefer specialists"), done[0])
    again = drive(make(data, title="New", training={**TRAINING, "checkpoint_every": 5}), done[0])
    assert again["title"] == "New"
    assert again["sources"] == done[1]["sources"]


def test_another_file_behind_the_same_path_is_trained_anew(data, tmp_path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data[0], folder)
    values = data[1] | {"weights": "uniform", "strategy": None}
    values = {key: value for key, value in values.items() if value is not None}
    config = configured("prefer train", values, folder=folder)
    before = drive(config, tmp_path / "run")
    lines = (folder / "upper.jsonl").read_text().splitlines(keepends=True)
    (folder / "upper.jsonl").write_text("".join(lines[:-4]))
    after = drive(config, tmp_path / "run")
    assert before["sources"][2]["pairs"] == 12
    assert after["sources"][2]["pairs"] == 9
    assert after["sources"][0]["held_out"] != before["sources"][0]["held_out"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "uniform"}, "not both"),
        ({"strategy": None}, "should have weights .* or a strategy, found none"),
        ({"strategy": "PiKE"}, "needs grad_sq_norm, grad_variance in each observation"),
        ({"strategy": "amr"}, "there is no strategy 'amr'"),
        ({"strategy": None, "weights": {"abc": 1.0}}, "give each source a weight, with the sum 1"),
        ({"specialists": {"run": "nowhere", "epochs": 2}}, "epochs come from the run nowhere"),
        ({"training": {"steps": 2, "epochs": 1}}, "give steps or epochs, not both"),
        ({"specialists": {"steps": 2, "epochs": 3}}, "give steps or epochs of the specialists, not both"),
        ({"adapter": {"rank": 2, "targets": ["nothing"]}}, "targets should name layers of the model"),
        ({"model": "nowhere"}, "there should be a model"),
        ({"constraints": {"floors": {"abc": 0.9, "upper": 0.9}}}, "constraints"),
        (
            {"pairs": {"max_length": 6, "long_prompts": "error"}},
            r"sources\.abc: .*abc.jsonl, line 1: the prompt should",
        ),
        (
            {"model": "short"},
            r"max_length: source 'abc': the model short reads at most 8 tokens at once, found .* of \d+",
        ),
        (
            {"specialists": {"folds": 20}},
            r"specialists: source 'digits': .* different prompts as folds \(20\), found 18",
        ),
        ({"training": {**TRAINING, "batch_size": 2}}, "training: a step should have a pair of each source .* found 2"),
        ({"training": {**TRAINING, "max_epochs": 0.5}}, r"max_epochs should leave .* \(36\), found 30 with 0.5 epochs"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(data, tmp_path, changes, words) -> None:
    if changes.get("model") == "short":
        write_model(data[0] / "short", positions=8)
    with pytest.raises(InputError, match=words):
        drive(make(data, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"strategy": None, "weights": "pooled"},
        {"strategy": None},
        {"specialists": {"run": "elsewhere", "target": "source_mean"}},
        {"prior": "natural", "constraints": {"caps": {"abc": 0.5}}},
    ],
)
def test_what_is_written_down_can_be_read_again(data, changes) -> None:
    config = make(data, **changes)
    again = configured("prefer train", yaml.safe_load(config_text(of_config(config), config.dumped())))
    assert again.dumped() == config.dumped()
    assert again.strategy == config.strategy
    assert again.specialists == config.specialists


def test_a_loss_that_is_not_finite_names_source_and_row(data, tmp_path) -> None:
    training = {**TRAINING, "learning_rate": 1e30}
    with pytest.raises(InputError, match=r"step \d+: the loss of the source '\w+', row \d+ .*is not finite"):
        drive(make(data, strategy=None, weights="pooled", training=training), tmp_path / "run")
