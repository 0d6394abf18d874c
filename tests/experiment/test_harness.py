"""lm-evaluation-harness as an evaluator: the package itself where it is installed, else modules of its signature."""

import json
import math
import random
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import FIRST, QUIZ, SECOND, make, rows_of
from tiny import KINDS as TINY
from tiny import SETTINGS, write_tiny

from mixwright.cli.app import app
from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.experiment.text.comparing import training as arm_training
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import held_out_questions, read_target
from mixwright.experiment.text.questions import harness
from mixwright.experiment.text.questions.evaluate_config import EvaluateConfig
from mixwright.experiment.text.questions.harness import as_report, evaluated, greedy
from mixwright.text import byte_tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import build_model

TOKENS = byte_tokenizer()
TASK = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{validation: {path}}}}}
output_type: {kind}
validation_split: validation
test_split: validation
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_bytes, aggregation: mean, higher_is_better: true}}
"""
KINDS = {"quiz": "multiple_choice", "story": "generate_until"}
installed = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm_eval is not installed")


class Manager:
    """What is used of `lm_eval.tasks.TaskManager`: two tasks, and one that generates."""

    def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
        self.all_tasks = [*KINDS, "lost"]

    def load(self, names):
        if names == ["lost"]:
            raise ConnectionError("the hub cannot be reached\nat all")
        return {"tasks": {n: SimpleNamespace(get_config=lambda key, n=n: KINDS[n]) for n in names}, "groups": {}}


def simple_evaluate(model, model_args=None, tasks=None, *, limit=None, task_manager=None, log_samples=True, **more):
    """Score two choices of two questions as `lm_eval.simple_evaluate` does, and report as it does."""
    said = []
    for own in ("beta", "x")[: limit or 2]:
        requests = [SimpleNamespace(args=(f"Question: {own}\nAnswer:", f" {choice}")) for choice in ("beta", "x")]
        pairs = [(r.args, model.tok_encode(r.args[0]), model.tok_encode(r.args[1])) for r in requests]
        said.append([ll for ll, _ in model._loglikelihood_tokens(pairs)])
    right = [float(one > other) for one, other in said]
    error = float(np.std(right, ddof=1) / math.sqrt(len(right))) if len(right) > 1 else "N/A"
    numbers = {"alias": "quiz", "sample_len": len(right), "acc,none": float(np.mean(right)), "acc_stderr,none": error}
    perplexity = {"word_perplexity,flexible": 7.5}
    return {
        "results": {"quiz": {**numbers, **perplexity}},
        "higher_is_better": {"quiz": {"acc": True, "word_perplexity": False}},
        "n-samples": {"quiz": {"original": 2, "effective": len(right)}},
    }


@pytest.fixture
def fake(monkeypatch):
    modules = {name: ModuleType(name) for name in ("lm_eval", "lm_eval.tasks", "lm_eval.api", "lm_eval.api.model")}
    modules["lm_eval"].simple_evaluate = simple_evaluate
    modules["lm_eval.tasks"].TaskManager = Manager
    modules["lm_eval.api.model"].TemplateLM = object
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(harness, "version", lambda package: "0.4.13")


@pytest.fixture(scope="module")
def model():
    return build_model({**SETTINGS["model"], "vocab_size": TOKENS.vocab_size}, TOKENS, 64, 0).eval()


def training(folder, **evaluate):
    write_tiny(folder)
    values = {key: value for key, value in SETTINGS.items() if key not in ("proxy", "final")}
    own = {"weights": "uniform", "training": {"steps": 3, "batch_size": 4, "context": 64}, "evaluate": evaluate}
    return configured("train", values | own, folder=folder)


def test_a_missing_package_is_one_error_before_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    for config in (training(tmp_path, lm_eval="arc_easy"), make(tmp_path, evaluate={"lm_eval": ["arc_easy"]})):
        with pytest.raises(MissingExtraError, match=r"needs the package 'lm_eval'.*mixwright\[lm_eval\]"):
            drive(config, tmp_path / "run")
        assert not list((tmp_path / "run").glob("t*"))  # no tokens, no trainings


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"lm_eval": "arc_esay"}, "lm_eval should name tasks of lm-evaluation-harness, found arc_esay"),
        ({"lm_eval": "lost"}, "the task lost should load its data, found ConnectionError: the hub cannot be reached;"),
        ({"lm_eval": "story"}, "tasks should score log-likelihoods, found story, which generates text; remove story"),
        ({"lm_eval": "quiz", "task_files": "nowhere"}, "task_files should be a folder with YAML files, found none"),
    ],
)
def test_tasks_are_checked_before_work(tmp_path, fake, evaluate, said):
    with pytest.raises(InputError) as error:
        drive(training(tmp_path, **evaluate), tmp_path / "run")
    assert f"evaluate: {said}" in str(error.value)
    assert not list((tmp_path / "run").glob("t*"))


def test_entries_and_their_intervals(model, fake):
    found, notes = evaluated(EvaluateConfig(lm_eval=["quiz"]), "evaluate", model, TOKENS, 64, 3)
    assert notes == []
    assert [(e["task"], e["metric"], e["higher"], e["documents"]) for e in found] == [
        ("quiz", "acc", True, 2),
        ("quiz", "word_perplexity (flexible)", False, 2),
    ]
    (one,) = as_report([{**found[0], "value": 0.5, "stderr": 0.1}], 0.9)
    assert (one["name"], one["quantity"], one["questions"]) == ("quiz", "acc", 2)
    assert one["high"] - 0.5 == 0.5 - one["low"] == pytest.approx(0.1 * 1.6449, rel=1e-4)
    assert as_report(found[1:], 0.9)[0]["low"] is None


def test_what_the_harness_raises_is_one_error_that_names_the_task(model, fake, monkeypatch):
    def failing(*_, **__):
        raise KeyError("question\nin row 3")

    monkeypatch.setattr(sys.modules["lm_eval"], "simple_evaluate", failing)
    said = (
        r"evaluate: lm-evaluation-harness should evaluate the task quiz, found KeyError: 'question.*; correct the task"
    )
    with pytest.raises(InputError, match=said):
        evaluated(EvaluateConfig(lm_eval=["quiz"]), "evaluate", model, TOKENS, 64, 3)


def spoilt(*arguments, **keys):
    found = simple_evaluate(*arguments, **keys)
    found["results"]["quiz"] |= {"word_perplexity,flexible": math.inf, "acc_stderr,none": math.nan}
    return found


def test_metrics_that_are_not_finite_are_left_out_with_a_note(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(sys.modules["lm_eval"], "simple_evaluate", spoilt)
    monkeypatch.setattr(
        "mixwright.experiment.text.compare.do_pieces", lambda works, *_: [_done(work) for work in works]
    )
    arms = ["uniform", {"name": "ours", "weights": {FIRST: 0.8, SECOND: 0.2}}]
    config = make(tmp_path, targets={"quiz": QUIZ}, arms=arms, evaluate={"lm_eval": "quiz"})
    for _ in range(2):  # measured, and then known
        summary = drive(config, tmp_path / "run")
        assert [m["quantity"] for m in summary["measures"] if m["kind"] == "task"] == ["acc"]
        assert "the arm ours, seed 0: word_perplexity (flexible) on quiz is inf: it is left out" in summary["notes"]
    trained = drive(training(tmp_path, lm_eval="quiz"), tmp_path / "trained")
    assert [(e["quantity"], e["low"]) for e in trained["questions"] if e["name"] == "quiz"] == [("acc", None)]
    assert "word_perplexity (flexible) on quiz is inf: it is left out" in trained["notes"]


def test_results_are_named_by_the_files_of_tasks_and_the_version(tmp_path, fake, monkeypatch):
    def named():
        return harness.named_by(EvaluateConfig(lm_eval=["quiz"], task_files=tmp_path))

    (tmp_path / "quiz.yaml").write_text("task: quiz\n")
    first = named()
    assert named() == first
    (tmp_path / "quiz.yaml").write_text("task: quiz\nnum_fewshot: 2\n")
    second = named()
    assert second != first
    monkeypatch.setattr(harness, "version", lambda package: "0.4.14")
    assert named() != second


def test_a_comparison_has_them_in_its_table_and_a_task_added_later_trains_nothing(tmp_path, fake, monkeypatch, capsys):
    def config(**more):
        arms = ["uniform", {"name": "ours", "weights": {FIRST: 0.8, SECOND: 0.2}}]
        return make(tmp_path, targets={"quiz": QUIZ}, arms=arms, **more)

    monkeypatch.setattr(
        "mixwright.experiment.text.compare.do_pieces", lambda works, *_: [_done(work) for work in works]
    )
    drive(config(), tmp_path / "run")
    monkeypatch.setattr(arm_training, "train", None)
    summary = drive(config(evaluate={"lm_eval": "quiz"}), tmp_path / "run")
    (measure,) = (m for m in summary["measures"] if (m["kind"], m["quantity"]) == ("task", "acc"))
    assert (measure["name"], measure["higher"]) == ("quiz", True)
    rows = [r for r in rows_of(tmp_path / "run") if r["measured_on"] == "task quiz" and r["quantity"] == "acc"]
    assert [float(r["value"]) for r in rows] == [v for values in measure["values"].values() for v in values]
    assert len(rows) == 4
    assert [d["arm"] for d in measure["differences"]] == ["ours"]
    app(["show", str(tmp_path / "run")], standalone_mode=False)
    assert "Acc on quiz (higher is better)" in capsys.readouterr().out
    assert "Acc on" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(arm_training, "evaluated", None)  # measured once
    again = drive(config(evaluate={"lm_eval": "quiz"}), tmp_path / "run")
    assert again["measures"] == summary["measures"]


def _done(work):
    return work.function(*work.arguments, lambda share: None)


def test_greedy_by_hand(model):
    import torch

    pairs = [(TOKENS.encode([f"prompt {i}"])[0], TOKENS.encode(["ab"[: 1 + i % 2]])[0]) for i in range(5)]
    first = torch.tensor([[TOKENS.bos, *pairs[0][0].tolist()]])
    with torch.no_grad():
        likeliest = int(model(first).logits[0, -1].argmax())
    pairs.append((pairs[0][0], np.array([likeliest])))
    rows = TargetRows.from_questions(pairs, 64, "answer", TOKENS.bos)
    expected = []
    for read, own in pairs:
        ids = [TOKENS.bos, *read.tolist(), *own.tolist()]
        with torch.no_grad():
            said = model(torch.tensor([ids[:-1]])).logits[0].argmax(-1).tolist()
        expected.append(said[-len(own) :] == own.tolist())
    assert greedy(model, rows, 2) == expected
    assert expected[-1] is True


@installed
def test_the_harness_itself_gives_our_accuracy(model, tmp_path):
    rng, words = random.Random(1), " ".join(TINY.values()).split()
    rows = [{"question": f"number {i}", "choices": rng.sample(words, 3), "answer": rng.randrange(3)} for i in range(40)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = configured("search", SETTINGS | {"targets": {"quiz": QUIZ}}, folder=tmp_path)
    target = read_target("quiz", config.targets["quiz"], "here")
    texts = {f"Question: {row['question']}\nAnswer: {row['choices'][row['answer']]}": row for row in rows}
    kept = [texts[text] for text in held_out_questions(target)]
    (tmp_path / "held.json").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (tmp_path / "tasks").mkdir()
    text = TASK.format(name="own_quiz", path=tmp_path / "held.json", kind="multiple_choice")
    (tmp_path / "tasks" / "own_quiz.yaml").write_text(text)
    asked = EvaluateConfig(lm_eval=["own_quiz"], task_files=tmp_path / "tasks")
    entries = {e["metric"]: e for e in evaluated(asked, "evaluate", model, TOKENS, 64, 3)[0]}
    right = HeldOut([target], [], TOKENS, 64, 3).answers(model)["accuracy"]["quiz"]
    assert entries["acc_norm"]["documents"] == len(right) == len(kept)
    for metric in ("acc_norm", "acc_bytes"):
        assert entries[metric]["value"] == pytest.approx(np.mean(right))
    assert 0 < np.mean(right) < 1
    assert entries["acc_norm"]["stderr"] == pytest.approx(np.std(right, ddof=1) / math.sqrt(len(right)))
    assert harness.check_tasks(asked, "evaluate") is None
