"""Question sets as targets: what is measured, computed plainly; and what is refused before work."""

import json
import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from comparing import QUIZ, make
from tiny import SETTINGS, write_tiny

from mixwright.cli.app import app
from mixwright.errors import InputError
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import read_target
from mixwright.experiment.text.questions.answers import bytes_of
from mixwright.experiment.text.questions.checks import few_questions
from mixwright.experiment.text.questions.reports import AVERAGE_OF_SETS, compared, means_of, report_of
from mixwright.text import byte_tokenizer
from mixwright.training.model import build_model

TOKENS = byte_tokenizer()
ROWS = [
    {"question": f"{word} {number}", "choices": choices, "answer": answer}
    for number in range(3)
    for word, choices, answer in (
        ("greek", ["beta", "alphabet", "x"], 1),
        ("town", ["Zürich", "two"], 0),
        ("alone", ["gamma"], 0),
        ("letters", [" y z", "x"], 1),
    )
]


@pytest.fixture(scope="module")
def model():
    return build_model({**SETTINGS["model"], "vocab_size": TOKENS.vocab_size}, TOKENS, 64, 0).eval()


def write(folder, rows):
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def target_of(folder, rows=ROWS, **keys):
    write(folder, rows)
    values = {**SETTINGS, "targets": {"quiz": {**QUIZ, **keys}}, "weights": "uniform"}
    values = {key: value for key, value in values.items() if key not in ("proxy", "final")}
    config = configured("train", values, folder=folder)
    return read_target("quiz", config.targets["quiz"], "targets: quiz")


def log_likelihood(model, prompt, choice):
    """Return the log-probability of a choice given a prompt, token by token."""
    import torch

    read, own = TOKENS.encode([prompt])[0].tolist(), TOKENS.encode([choice])[0].tolist()
    with torch.no_grad():
        logs = model(torch.tensor([[TOKENS.bos, *read, *own]])).logits[0].float().log_softmax(-1)
    return sum(float(logs[len(read) + i, token]) for i, token in enumerate(own))


@pytest.mark.parametrize("score", ["joint", "answer"])
def test_accuracy_and_answer_loss_by_hand(model, tmp_path, score):
    target = target_of(tmp_path, score=score)
    found = HeldOut([target], [], TOKENS, 64, 3).answers(model)
    losses, right = [], []
    for held in target.held_out:
        text = held if isinstance(held, str) else held.prompt + held.answer
        row = next(r for r in ROWS if text.startswith(f"Question: {r['question']}\n"))
        prompt, per_byte = f"Question: {row['question']}\nAnswer:", []
        for choice in row["choices"]:
            likelihood = log_likelihood(model, prompt, f" {choice.strip()}")
            per_byte.append(likelihood / len(choice.strip().encode()))
        losses.append(-per_byte[row["answer"]])
        right.append(None if len(per_byte) == 1 else float(max(per_byte) == per_byte[row["answer"]]))
    assert len(losses) > 3
    assert None in right
    assert found["answer loss"]["quiz"] == pytest.approx(losses, rel=1e-4)
    assert found["accuracy"]["quiz"] == right
    assert means_of(found)["answer loss"]["quiz"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-4)


def test_the_length_of_a_choice_is_in_bytes_without_the_space_before_it():
    assert [bytes_of(choice) for choice in (" two", "two", "\tZürich")] == [3, 3, 7]


def test_only_what_was_asked_for_is_measured(model, tmp_path):
    loss = HeldOut([target_of(tmp_path, metrics="answer_loss")], [], TOKENS, 64, 3)
    assert loss.asked == {"quiz": ["answer loss"]}
    assert list(loss.answers(model)) == ["answer loss"]
    none = HeldOut([target_of(tmp_path, metrics=[])], [], TOKENS, 64, 3)
    assert (none.asked, none.answers(model)) == ({}, {})
    alone = HeldOut([target_of(tmp_path, [row for row in ROWS if len(row["choices"]) == 1])], [], TOKENS, 64, 3)
    assert alone.asked == {"quiz": ["answer loss"]}  # nothing to choose from, and nobody asked for accuracy


def refused(folder, rows, **keys):
    config = make(folder, targets={"quiz": {**QUIZ, **keys}}, arms=["uniform", "natural"])
    write(folder, rows)
    with pytest.raises(InputError) as error:
        drive(config, folder / "run")
    assert not (folder / "run" / "trainings").exists()
    return str(error.value)


def test_a_set_without_choices_has_no_accuracy(tmp_path):
    alone = [{**row, "choices": row["choices"][:1], "answer": 0} for row in ROWS]
    said = refused(tmp_path, alone, metrics=["accuracy", "answer_loss"])
    assert "targets.quiz: should have at least 2 held-out questions with several choices for accuracy" in said
    assert "found 0 of " in said


def test_one_held_out_question_is_no_set(tmp_path):
    said = refused(tmp_path, ROWS, held_out=0.12)
    assert "should have at least 2 held-out questions for an interval over questions, found 1 (held_out: 0.12)" in said


def test_a_choice_longer_than_the_context_is_refused_before_training(tmp_path):
    said = refused(tmp_path, [{**row, "choices": ["y" * 99, *row["choices"][1:]]} for row in ROWS])
    assert "a choice of a question should have at most 32 tokens (the context), found 100 in 'yyy" in said


@pytest.mark.parametrize("metrics", ["accuracy", ["answer_loss"]])
def test_metrics_of_documents_are_refused(tmp_path, metrics):
    with pytest.raises(InputError, match="metrics are of questions: a target of documents has its held-out loss alone"):
        make(tmp_path, targets={"mix": {"path": "target.jsonl", "metrics": metrics}})
    with pytest.raises(InputError, match="accuracy"):
        make(tmp_path, targets={"quiz": {**QUIZ, "metrics": "acc_norm"}})


def test_few_questions_are_noted_for_each_quantity(tmp_path):
    def few(choices, **keys):
        """Return the notes of 64 questions of which some have a second choice."""
        rows = [
            {"question": str(i), "choices": ["right", "wrong"][: 1 + (i < choices)], "answer": 0} for i in range(64)
        ]
        return few_questions([target_of(tmp_path, rows, held_out=0.7, **keys)])

    assert few(64) == few(0) == []  # a set without choices has no accuracy
    (note,) = few(20)
    count = int(note.split()[1])
    assert 2 <= count <= 20
    assert note == f"quiz: {count} held-out questions are few for accuracy: intervals over fewer than 30 are rough"
    assert few(20, metrics="answer_loss") == []
    alone = few_questions([target_of(tmp_path, metrics="answer_loss")])
    assert ["few for answer loss:" in said for said in alone] == [True]


ANSWERS = {
    "accuracy": {"quiz": [1.0, 0.0, 1.0, None], "exam": [0.0, 0.0]},
    "answer loss": {"quiz": [1.0, 2.0, 3.0, 4.0], "exam": [0.5, 1.5]},
}


def test_the_report_of_a_final_model_has_each_set_and_their_average():
    entries = {(e["quantity"], e["name"]): e for e in report_of(ANSWERS, 0.9)}
    assert {key: (e["value"], e["questions"]) for key, e in entries.items()} == {
        ("accuracy", "quiz"): (2 / 3, 3),
        ("accuracy", "exam"): (0.0, 2),
        ("accuracy", AVERAGE_OF_SETS): (1 / 3, 5),
        ("answer loss", "quiz"): (2.5, 4),
        ("answer loss", "exam"): (1.0, 2),
        ("answer loss", AVERAGE_OF_SETS): (1.75, 6),
    }
    assert all(e["low"] <= e["value"] <= e["high"] for e in entries.values())
    only = report_of({"answer loss": {"exam": [0.5, 1.5]}}, 0.9)
    assert [e["name"] for e in only] == ["exam"]


def test_mixtures_are_compared_question_by_question():
    better = {"answer loss": {"quiz": [0.5, 1.5, 2.5, 3.5], "exam": [0.0, 0.5]}}
    base = {"answer loss": ANSWERS["answer loss"]}
    entries = {e["name"]: e["mixtures"] for e in compared({"uniform": base, "search": better}, "uniform", 0.9)}
    assert [m["mixture"] for m in entries["quiz"]] == ["uniform", "search"]
    assert (entries["quiz"][1]["value"], entries["quiz"][1]["difference"], entries["quiz"][1]["within"]) == (2, -0.5, 0)
    average = entries[AVERAGE_OF_SETS][1]
    assert average["difference"] == pytest.approx((-0.5 - 0.75) / 2)
    assert average["within"] == pytest.approx(entries["exam"][1]["within"] / 2)
    assert entries["quiz"][0]["difference"] is None
    assert compared({}, "uniform", 0.9) == []
    alone = compared({"search": better}, "uniform", 0.9)
    assert {m["difference"] for e in alone for m in e["mixtures"]} == {None}


TWO = {"targets": {"mix": "target.jsonl", "quiz": {**QUIZ, "held_out": 0.7}, "exam": {**QUIZ, "held_out": 0.3}}}


@pytest.mark.parametrize("command", ["search", "train"])
def test_a_run_reports_question_sets_with_intervals_in_summary_terminal_and_page(tmp_path, capsys, command):
    write_tiny(tmp_path)
    own: dict = {"proxy": "ngram", "final": SETTINGS["final"] | {"mixtures": ["uniform", "search"]}}
    if command == "train":
        own = {"weights": "uniform", "training": {"steps": 6, "batch_size": 4, "context": 32}}
    values = {key: value for key, value in SETTINGS.items() if key not in ("proxy", "final")}
    summary = drive(configured(command, values | TWO | own, folder=tmp_path), tmp_path / "run")
    asked = {(entry["quantity"], entry["name"]): entry for entry in summary["questions"]}
    sets = ["quiz", "exam", AVERAGE_OF_SETS]
    assert list(asked) == [(quantity, name) for quantity in ("accuracy", "answer loss") for name in sets]
    for quantity in ("accuracy", "answer loss"):
        quiz, exam, average = (asked[quantity, name] for name in sets)
        for one, other, both in (
            zip(*(found["mixtures"] for found in (quiz, exam, average)), strict=True)
            if command == "search"
            else [(quiz, exam, average)]
        ):
            assert both["value"] == pytest.approx((one["value"] + other["value"]) / 2)
            assert one["low"] < one["value"] <= one["high"]
            assert both["questions"] == one["questions"] + other["questions"]
    held = asked["accuracy", "exam"]
    held = held["mixtures"][0]["questions"] if command == "search" else held["questions"]
    said = (
        f"exam: {held} held-out questions are few for accuracy and answer loss: intervals over fewer than 30 are rough"
    )
    assert said in summary["notes"]
    app(["show", str(tmp_path / "run")], standalone_mode=False)
    said, page = capsys.readouterr().out, (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for text in (said, page):
        assert AVERAGE_OF_SETS in text
        assert "nats per byte" in text
    again = drive(configured(command, values | TWO | own, folder=tmp_path), tmp_path / "run")
    assert again["questions"] == summary["questions"]
