"""A training from its YAML to the page: what is written, resume, other configurations."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from golden_files import check_run
from tiny import KINDS, SETTINGS, write_jsonl, write_tiny

from event_files import read_events
from forked import exit_code
from killing import Die
from mixwright.cli.app import app
from mixwright.decisions import read_decisions, replay
from mixwright.errors import InputError
from mixwright.experiment import drive, load, read_summary
from mixwright.experiment import make as configured
from mixwright.experiment.text import train as train_run
from mixwright.mixture_file import MixtureFile
from mixwright.strategies import PiKE, from_config

FIRST, SECOND, THIRD = KINDS
TRAINING = {"steps": 12, "batch_size": 6, "context": 32, "learning_rate": 3e-3, "observe_every": 3, "lag": 2}
SMALL = {
    **{key: SETTINGS[key] for key in SETTINGS if key not in ("final", "proxy", "search", "targets")},
    "targets": {"mix": "target.jsonl"},
    "held_out": 0.2,
    "strategy": {"name": "PiKE", "rule": "exponentiated", "wrap": ["Guard"]},
    "training": {**TRAINING, "evaluate_every": 4},
}


def make(folder: Path, **changes):
    write_tiny(folder)
    config = {key: value for key, value in (SMALL | changes).items() if value is not None}
    return configured("train", config, folder=folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return folder, drive(make(folder), folder / "run")


def files(folder: Path) -> dict[str, bytes]:
    names = ("metrics.jsonl", "decisions.jsonl", "model/model.safetensors")
    return {name: (folder / name).read_bytes() for name in names}


def test_keys_and_fingerprints_are_the_golden_ones(done):
    check_run("train", done[0] / "run", done[0])


def test_what_a_training_leaves(done):
    folder, summary = done
    run = folder / "run"
    assert read_summary(run) == json.loads(json.dumps(summary))
    assert summary["kind"] == "training"
    assert [s["name"] for s in summary["sources"]] == list(KINDS)
    assert sum(s["rows"] for s in summary["sources"]) == 12 * 6
    assert [p["step"] for p in summary["curve"]] == [4, 8, 12]
    last = summary["curve"][-1]
    assert set(last["source_loss"]) == set(last["source_train_loss"]) == set(KINDS)
    worst = max(last["source_loss"], key=last["source_loss"].get)
    assert summary["held_out"]["worst_source"] == worst
    assert summary["held_out"]["average"] == pytest.approx(sum(last["source_loss"].values()) / 3)
    assert summary["targets"][0]["loss"] > 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 12
    log = read_decisions(run)
    assert {"grad_sq_norm", "grad_variance"} <= log.given
    assert replay(log, PiKE(rule="optimal")).shape == (4, 3)
    page = (run / "report.html").read_text()
    for part in ("weights-section", "losses", "gradients", "decisions"):
        assert f'id="{part}"' in page
    assert not (run / "checkpoints").exists()


def test_the_commands_show_it_and_write_its_page_again(done, capsys):
    folder, summary = done
    run = folder / "run"
    page = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    for command in (["show", str(run)], ["report", str(run)], ["train", "--schema"]):
        app(command, standalone_mode=False)
    assert (run / "report.html").read_bytes() == page
    said = capsys.readouterr().out
    assert "last weight" in said
    assert summary["held_out"]["worst_source"] in said
    assert '"observe_every"' in said


def test_again_gives_the_same_and_trains_nothing(done, monkeypatch):
    folder, summary = done
    before = files(folder / "run")
    monkeypatch.setattr("mixwright.training.loop.LanguageModelLoop.run", None)
    again = drive(make(folder), folder / "run")
    assert {**again, "created": ""} == {**summary, "created": ""}
    assert files(folder / "run") == before


@pytest.mark.parametrize(
    "given",
    ["uniform", "natural", {FIRST: 0.5, SECOND: 0.5}, "mine.json"],
)
def test_fixed_weights_are_drawn_and_statistics_can_be_recorded(tmp_path, given):
    MixtureFile([THIRD, FIRST, SECOND], [0.2, 0.5, 0.3]).write(tmp_path / "mine.json")
    training = TRAINING | {"steps": 6, "statistics": "always"}
    config = make(tmp_path, strategy=None, targets=None, weights=given, training=training)
    summary = drive(config, tmp_path / "run")
    asked = {s["name"]: s["asked"] for s in summary["sources"]}
    assert sum(asked.values()) == pytest.approx(1)
    if given == "uniform":
        assert asked == pytest.approx(dict.fromkeys(KINDS, 1 / 3))
    elif given == "mine.json":
        assert asked == pytest.approx({FIRST: 0.5, SECOND: 0.3, THIRD: 0.2})
    assert summary["fixed"]
    left = [note for note in summary["notes"] if note.startswith("weights names no weight for")]
    assert left == (
        [f"weights names no weight for {THIRD}: nothing is drawn of what has none"] * isinstance(given, dict)
    )
    assert "gram" in read_decisions(tmp_path / "run").given
    assert 'id="conflict-table"' in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "sampling"),
    [
        ({"strategy": None, "weights": {FIRST: 0.6, SECOND: 0.4}, "sampling": {FIRST: 0.5, SECOND: 0.25, THIRD: 0.25}},
         [0.5, 0.25, 0.25]),
        ({"strategy": {"name": "AMAR", "learning_rate": 0.5}, "reference": {"train": "prior"}}, [1 / 3] * 3),
        ({"strategy": "DoReMi", "reference": {"train": "prior"}, "sampling": "uniform"}, [1 / 3] * 3),
    ],
)  # fmt: skip
def test_rows_are_drawn_by_shares_of_their_own_and_both_are_shown(tmp_path, capsys, change, sampling):
    summary = drive(make(tmp_path, **change), tmp_path / "run")
    assert list(summary["sampling"].values()) == pytest.approx(sampling)
    assert [s["sampling"] for s in summary["sources"]] == pytest.approx(sampling)
    assert [s["drawn"] for s in summary["sources"]] == pytest.approx(sampling, abs=1 / 72)
    assert [s["last_weight"] for s in summary["sources"]] != pytest.approx(sampling, abs=1e-4)
    observed = read_decisions(tmp_path / "run").observations
    assert all(seen.planned.tolist() == pytest.approx(sampling) for seen in observed)
    page = (tmp_path / "run" / "report.html").read_text()
    assert ">Sampling</th>" in page
    assert ("share of the objective" in page) == (not summary["fixed"])
    app(["show", str(tmp_path / "run")], standalone_mode=False)
    said = capsys.readouterr().out
    assert "sampling" in said
    assert "they weighed the loss" in said


def test_prior_and_constraints_of_a_strategy(tmp_path):
    limits = {"floors": {THIRD: 0.3}, "caps": {FIRST: 0.4}}
    config = make(tmp_path, prior={FIRST: 0.6, SECOND: 0.2, THIRD: 0.2}, constraints=limits, strategy="pike")
    drive(config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "decisions.jsonl").read_text().splitlines()]
    assert lines[0]["run"]["prior"] == pytest.approx([0.6, 0.2, 0.2])
    for line in lines:
        assert line["weights"][0] <= 0.4 + 1e-9
        assert line["weights"][2] >= 0.3 - 1e-9
    assert lines[0]["observation"]["planned"][0] == pytest.approx(0.4)


def test_averaged_weights_are_measured_and_kept(done, tmp_path):
    folder, plain = done
    summary = drive(make(tmp_path, training={**SMALL["training"], "ema": "25 %"}), tmp_path / "run")
    kept, before = files(tmp_path / "run"), files(folder / "run")
    assert kept["metrics.jsonl"] == before["metrics.jsonl"]
    assert kept["decisions.jsonl"] == before["decisions.jsonl"]
    assert kept["model/model.safetensors"] != before["model/model.safetensors"]
    assert summary["training"]["ema"] == load("train", tmp_path / "run" / "config.yaml").training.ema == 0.25
    assert "ema" not in plain["training"]
    found = summary["held_out"]
    assert found["average_of_last_weights"] == pytest.approx(plain["held_out"]["average"])
    assert found["average"] != plain["held_out"]["average"]
    assert summary["targets"][0]["loss"] != plain["targets"][0]["loss"]
    (note,) = (note for note in summary["notes"] if "averaged weights" in note)
    assert note.endswith(f"is {found['average']:.4f}, and {plain['held_out']['average']:.4f} with those")
    assert "averaged weights" in (tmp_path / "run" / "report.html").read_text()
    assert "average_of_last_weights" not in plain["held_out"]


def test_a_reference_is_not_of_averaged_weights(proxy, tmp_path):
    training = {**SMALL["training"], "ema": 0.25}
    drive(make(tmp_path, strategy="DoReMi", reference={"train": "prior"}, training=training), tmp_path / "run")
    for name in ("reference/training/model/model.safetensors", "decisions.jsonl"):
        assert (tmp_path / "run" / name).read_bytes() == (proxy[0] / "run" / name).read_bytes()


def test_a_folder_of_another_training_is_refused_and_left_as_it_was(done, tmp_path):
    folder, _ = done
    run = folder / "run"
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.parent.name != ".head"}
    for change, said in (
        (
            {"training": {**SMALL["training"], "learning_rate": 0.5}},
            r"training\.learning_rate: 0\.003 there, 0\.5 here",
        ),
        ({"strategy": "balanced-pike"}, r"strategy: None there, balanced-pike here"),
        ({"strategy": {"name": "PiKE", "rule": "optimal"}}, r"strategy\.rule: exponentiated there, optimal here"),
    ):
        with pytest.raises(InputError, match=said):
            drive(make(folder, **change), run)
    assert before == {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.parent.name != ".head"}


@pytest.mark.parametrize("gone", ["model/model.safetensors", "model"])
def test_a_model_that_was_deleted_is_trained_again(done, tmp_path, gone):
    folder, summary = done
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = drive(make(folder), tmp_path / "run")
    assert files(tmp_path / "run") == files(folder / "run")
    assert again["sources"] == summary["sources"]


def test_other_text_under_the_same_name_is_refused(tmp_path):
    config = make(tmp_path, targets=None)

    def stop(stage, done, total, note=""):
        if stage == "train" and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run", stop)
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    kept = (tmp_path / "source0.jsonl").read_bytes()
    write_jsonl(tmp_path / "source0.jsonl", ["alpha beta gamma " * 12, *(f"delta {i} " * 20 for i in range(40))])
    with pytest.raises(InputError, match="holds a checkpoint that was made with other sources"):
        drive(config, tmp_path / "run")
    (tmp_path / "source0.jsonl").write_bytes(kept)
    steps = []
    drive(config, tmp_path / "run", lambda stage, done, *_: steps.append(done) if stage == "train" else None)
    assert steps[0] == 6


BAD = [
    ({"strategy": None}, "should be weights or a strategy, found neither"),
    ({"weights": "uniform"}, "should be weights or a strategy, found both"),
    (
        {"strategy": None, "weights": "uniform", "prior": "natural"},
        "prior, constraints and reference belong to a strategy",
    ),
    (
        {"strategy": None, "weights": {FIRST: 0.5}},
        "^key weights: the weights should sum to 1, found 0.5; correct them$",
    ),
    ({"strategy": None, "weights": {"nobody": 1.0}}, "should name the sources .*, found 'nobody'"),
    (
        {"strategy": None, "weights": "pike"},
        "key weights: should be a mixture file, found the strategy pike; give it as",
    ),
    ({"strategy": "pikee"}, "^key strategy: there is no strategy 'pikee'"),
    ({"prior": {FIRST: 1.0}}, "should give each source a weight"),
    ({"training": {"steps": 3, "tokens": 5}}, "give tokens or steps, not both"),
    ({"training": {**TRAINING, "ema": 0.999}}, r"^key training: ema should be the share of the steps .* found 0\.999;"),
    (
        {"training": {**TRAINING, "ema": "0.1 %"}},
        r"^key training: ema should be over at least 2 steps, found 0\.001",
    ),
    ({"training": {**TRAINING, "ema": 1.5}}, r"training\.ema.* below 1, found 1\.5"),
    ({"training": {**TRAINING, "accumulate": 4}}, "batch_size should be a multiple of accumulate"),
    ({"training": {**TRAINING, "non_finite": "hope"}}, "non_finite"),
    (
        {"strategy": None, "weights": "uniform", "sampling": {FIRST: 0.99, SECOND: 0.01, THIRD: 0.0}},
        "key sampling: a row should count at most 20 times .* found 33.33 times for '<b>&/numbers'",
    ),
    ({"strategy": "GroupDRO", "sampling": {FIRST: 0.5, SECOND: 0.5, "x": 0.0}}, "key sampling: .*'x'"),
    ({"strategy": None, "weights": "uniform", "sampling": "prior"}, "sampling: prior belongs to a strategy"),
    ({"sampling": "uniform"}, "key strategy: PiKE works with apply='sampling', found 'loss'"),
    ({"kind": "assays"}, "kind should be text, found 'assays'; correct it, or use mixwright search"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_configurations_are_said_before_anything_is_trained(tmp_path, change, message, monkeypatch):
    monkeypatch.setattr(train_run, "train", None)
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, **change), tmp_path / "run")
    assert not (tmp_path / "run" / "summary.json").exists()


KILLED = {
    "sources": SETTINGS["sources"],
    "held_out": 0.2,
    "model": SETTINGS["model"],
    "strategy": {"name": "PiKE", "rule": "restoring"},
    "training": {**TRAINING, "steps": 24, "observe_every": 5, "checkpoint_every": 1e-6, "evaluate_every": 12},
}


def train_and_die(path, run):
    drive(load("train", path), run, Die("train", 8))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{}, {"strategy": "DoReMi", "reference": {"train": "prior"}}], ids=["", "reference"])
def test_killed_and_resumed_is_bitwise_the_same(tmp_path, change):
    write_tiny(tmp_path)
    path = tmp_path / "train.yaml"
    path.write_text(json.dumps(KILLED | change))  # JSON is YAML
    assert exit_code(train_and_die, path, tmp_path / "killed") == -signal.SIGKILL
    assert not (tmp_path / "killed" / "summary.json").exists()
    steps = []
    config = load("train", path)
    drive(config, tmp_path / "killed", lambda stage, at, *_: steps.append(at) if stage == "train" else None)
    drive(config, tmp_path / "whole")
    assert steps[0] >= 8
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    "strategy",
    [
        "ODM",
        {"name": "ADO", "warmup": 1, "refit": 1},
        "DoGE",
        "SkillIt",
        {"name": "Aioli", "explore": 1.0},
        {"name": "LossRatio", "reference": dict.fromkeys(KINDS, 2.0)},
        "LossRatio",
        {"name": "DoReMi", "wrap": ["Guard"]},
        "GRAPE",
    ],
    ids=str,
)
def test_strategies_of_other_papers_are_fed(strategy, tmp_path):
    """The training reports what they read, their weights move, and a replay of the log decides the same."""
    needs = from_config(strategy, sources=list(KINDS)).needs
    reference = {"train": "prior"} if needs & {"excess_loss", "reference_loss"} else None
    summary = drive(make(tmp_path, strategy=strategy, reference=reference), tmp_path / "run")
    log = read_decisions(tmp_path / "run")
    assert len(log.observations) == 4
    assert summary["kind"] == "training"
    made = from_config(strategy, sources=list(KINDS))
    assert made.needs <= log.given
    weights = replay(log, made)
    if strategy != "ODM":  # the first k ln k updates of ODM leave the prior
        assert np.abs(weights - 1 / 3).max() > 1e-6


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    """Return the folder of a DoReMi proxy run over a reference that it trains first, and its summary."""
    folder = tmp_path_factory.mktemp("proxy")
    return folder, drive(make(folder, strategy="DoReMi", reference={"train": "prior"}), folder / "run")


def test_a_reference_is_trained_on_the_prior_and_its_cost_is_said(proxy, tmp_path):
    folder, summary = proxy
    found = summary["reference"]
    assert (found["model"], found["clip"]) == ("trained on the prior", "token")
    assert found["trained_tokens"] == found["forward_tokens"] == 12 * 6 * 32
    assert found["flops"] == pytest.approx(summary["flops"] * 4 / 3)  # a training as long as the run, and a third
    assert "Reference model" in (folder / "run" / "report.html").read_text()
    uniform = drive(make(tmp_path, strategy=None, targets=None, weights="uniform"), tmp_path / "run")
    trained, plain = (f / "model" / "model.safetensors" for f in (folder / "run/reference/training", tmp_path / "run"))
    assert trained.read_bytes() == plain.read_bytes()
    assert uniform["flops"] == summary["flops"]


def test_the_mean_of_the_weights_is_what_another_training_is_given(proxy, tmp_path):
    folder, summary = proxy
    mean = {s["name"]: s["average_weight"] for s in summary["sources"]}
    state = replay(read_decisions(folder / "run"), from_config("DoReMi"))
    np.testing.assert_allclose(list(mean.values()), state.mean(0), rtol=1e-12)
    path = folder / "run" / "mixture.json"
    assert dict(zip(KINDS, MixtureFile.read(path).weights, strict=True)) == pytest.approx(mean)
    again = drive(make(tmp_path, strategy=None, targets=None, weights=str(path)), tmp_path / "final")
    assert {s["name"]: s["asked"] for s in again["sources"]} == pytest.approx(mean)


def test_a_reference_from_a_folder_gives_the_same_and_is_stopped_and_resumed(proxy, tmp_path):
    folder, summary = proxy
    shutil.copytree(folder / "run" / "reference" / "training" / "model", tmp_path / "reference")
    config = make(tmp_path, strategy="DoReMi", reference="reference")
    assert config.reference.path == tmp_path / "reference"

    def stop(stage, done, total, note=""):
        if stage == "train" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run", stop)
    found = drive(config, tmp_path / "run")
    assert files(tmp_path / "run") == files(folder / "run")
    assert found["reference"]["trained_tokens"] == 0
    assert found["reference"]["forward_tokens"] == summary["reference"]["forward_tokens"]


def test_losses_are_weighted_and_rows_drawn_by_the_prior_as_in_the_paper(proxy, tmp_path):
    config = make(tmp_path, strategy="DoReMi", reference={"train": "prior"}, sampling="prior")
    summary = drive(config, tmp_path / "run")
    found, drawn = (read_decisions(f / "run").observations for f in (tmp_path, proxy[0]))
    np.testing.assert_array_equal(found[0].excess_loss, drawn[0].excess_loss)  # no weight acts yet
    assert not np.array_equal(found[-1].excess_loss, drawn[-1].excess_loss)
    assert [s["rows"] for s in summary["sources"]] == [24] * 3
    assert all(s["average_weight"] != 1 / 3 for s in summary["sources"])


def test_a_reference_may_be_trained_for_less_and_clipped_elsewhere(tmp_path):
    summary = drive(
        make(tmp_path, strategy="DoReMi", reference={"train": "prior", "tokens": 400, "clip": "none"}), tmp_path / "run"
    )
    assert summary["reference"]["trained_tokens"] == 3 * 6 * 32  # whole steps
    assert summary["reference"]["clip"] == "none"
    assert len((tmp_path / "run/reference/training/metrics.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "nowhere"}, "^key reference: .*there should be a model .*, found no such folder"),
        ({"reference": {}}, "give path .* or train: prior, one of the two"),
        ({"reference": {"path": "model", "train": "prior"}}, "one of the two"),
        ({"reference": {"path": "model", "tokens": 9}}, "tokens belongs to train: prior; remove it"),
        ({"strategy": "PiKE", "reference": {"train": "prior"}}, "^key reference: should go with a strategy that reads"),
        ({"strategy": None, "weights": "uniform", "reference": {"train": "prior"}}, "reference belong to a strategy"),
    ],
)
def test_references_that_do_not_fit_are_refused_before_any_work(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, **({"strategy": "DoReMi"} | change)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_reference_is_refused_before_any_work(proxy, tmp_path):
    shutil.copytree(proxy[0] / "run" / "model", tmp_path / "reference")
    weights = tmp_path / "reference" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"^key reference: .*that model.safetensors is damaged or cut off; copy or"):
        drive(make(tmp_path, strategy="DoReMi", reference="reference"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_reference_with_another_tokenizer_is_refused_before_the_first_step(proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(train_run, "train", None)
    other = {"kind": "bpe", "vocab_size": 300}
    config = make(tmp_path, strategy="DoReMi", reference=str(proxy[0] / "run" / "model"), tokenizer=other)
    with pytest.raises(
        InputError, match=r"^key reference: .* should have the tokenizer of this training, found another"
    ):
        drive(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("DoReMi", "DoReMi needs excess_loss .*mixwright train and compare report it with `reference: MODEL`"),
        ("LossRatio", "LossRatio needs reference_loss .*give the strategy the numbers as `reference`"),
    ],
)
def test_a_strategy_that_a_training_cannot_feed_is_refused_before_any_work(strategy, message, tmp_path):
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, strategy=strategy), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("strategy", ["Aioli", {"name": "LossRatio", "reference": dict.fromkeys(KINDS, 2.0)}], ids=str)
def test_a_strategy_without_documents_to_measure_losses_on_is_refused_before_training(strategy, tmp_path, monkeypatch):
    monkeypatch.setattr(train_run, "train", None)
    with pytest.raises(InputError, match=r"^key strategy: .* held-out documents of each source .*raise held_out"):
        drive(make(tmp_path, strategy=strategy, held_out=0.01), tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"targets": {}}, "target_gram, target_loss"),
        ({"training": {**SMALL["training"], "parallel": "fsdp2"}}, "target_gram"),
    ],
)
def test_products_with_targets_need_targets_and_whole_gradients(change, missing, tmp_path):
    message = f"GRAPE needs {missing} in .*if the configuration has targets, and not with parallel: fsdp2"
    with pytest.raises(InputError, match=message):
        drive(make(tmp_path, strategy="GRAPE", **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tracker_has_the_numbers_of_the_metrics(tmp_path):
    pytest.importorskip("tensorboard")
    summary = drive(make(tmp_path, track=["tensorboard"]), tmp_path / "run")
    numbers, words = read_events(tmp_path / "run" / "tensorboard")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    for tag, key in ((f"weight/{FIRST}", "weights"), (f"share/{FIRST}", "shares"), (f"loss/{FIRST}", "source_loss")):
        assert numbers[tag] == [(line["step"], np.float32(line[key][FIRST])) for line in lines if FIRST in line[key]]
    assert numbers["loss"] == [(line["step"], np.float32(line["loss"])) for line in lines]
    held = [(point["step"], np.float32(point["source_loss"][SECOND])) for point in summary["curve"]]
    assert numbers[f"held_out_loss/{SECOND}"] == held
    assert len(numbers[f"grad_sq_norm/{FIRST}"]) == len(words["decision"]) == 4
    assert summary["notes"] == drive(make(tmp_path), tmp_path / "run")["notes"]  # another `track` in the same folder
