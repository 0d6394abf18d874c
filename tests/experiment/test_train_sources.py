"""`mixwright steer` adds, removes and splits sources of a run of `mixwright train` that is under way."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import AlarmWarning, InputError
from mixwright.experiment import drive, load
from mixwright.experiment.text.under_way.other_sources import make_parts, make_tokens
from mixwright.steering.control import orders_of
from mixwright.steering.orders import CONTROL

TEXTS = {"code": "def f(x): return x + {i}\n", "books": "It was chapter {i} of the story. ", "law": "Article {i}. "}
CONFIG = """
sources: {code: [py.jsonl, rs.jsonl], books: books.jsonl}
targets: {goal: law.jsonl}
tokenizer: bytes
model: {model_type: gpt_neox, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
strategy: STRATEGY
training:
  {steps: 16, batch_size: 8, context: 16, observe_every: 2, lag: 2, evaluate_every: 4, checkpoint_every: 0.000001}
"""


def mixwright(*arguments, code=0):
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == code, done.output
    return done.output


def made(tmp_path, strategy="{name: GroupDRO, learning_rate: 0.5}", more=""):
    for name, text in TEXTS.items():
        lines = [json.dumps({"text": text.format(i=i) * 20}) + "\n" for i in range(120 if name == "law" else 40)]
        if name == "code":
            (tmp_path / "py.jsonl").write_text("".join(lines[:30]))
            (tmp_path / "rs.jsonl").write_text("".join(lines[30:]))
        else:
            (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    config = CONFIG.replace("STRATEGY", strategy) + more
    (tmp_path / "train.yaml").write_text(config)
    return load("train", tmp_path / "train.yaml")


def at_steps(actions):
    def progress(stage, done, total, note=""):
        if stage == "train" and done in actions:
            actions.pop(done)()

    return progress


def stop():
    raise KeyboardInterrupt


PARTS = "code=python:{0}/py.jsonl,rust:{0}/rs.jsonl"


def test_sources_come_and_go_and_a_run_that_stopped_is_as_one_that_did_not(tmp_path):
    config, run = made(tmp_path), tmp_path / "run"
    actions = {
        1: lambda: mixwright("steer", run, "--split", PARTS.format(tmp_path)),
        3: stop,
        5: lambda: mixwright("steer", run, "--add", f"law={tmp_path}/law.jsonl", "--weight", 0.25),
        6: lambda: mixwright("steer", run, "--pin", "law=.5", "--at", 12),
        7: stop,
        10: lambda: mixwright("steer", run, "--remove", "books", "--at", 14),
        11: stop,
    }
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            drive(config, run, at_steps(actions))
    summary = drive(config, run)
    record = orders_of(run)
    assert [(line["at"], *line["order"]) for line in record] == [
        (4, "split"),
        (8, "add"),
        (12, "pin", "at"),
        (14, "remove", "at"),
    ]
    assert [source["name"] for source in summary["sources"]] == ["python", "rust", "law"]
    assert {point["step"]: sorted(point["source_loss"]) for point in summary["curve"]} == {
        4: ["books", "code"], 8: ["books", "python", "rust"], 12: ["books", "law", "python", "rust"],
        16: ["law", "python", "rust"],
    }  # fmt: skip
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert list(metrics[3]["source_loss"]) == ["code", "books"]
    assert "rust" in metrics[4]["source_loss"]
    assert [line["source_loss"].get("law") is None for line in metrics[:8]] == [True] * 8
    lines = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    said = {line["observation"]["step"]: line["run"]["sources"] for line in lines if "run" in line}
    assert said == {
        1: ["code", "books"], 5: ["python", "rust", "books"], 9: ["python", "rust", "books", "law"],
        15: ["python", "rust", "law"],
    }  # fmt: skip
    assert "split code into python, rust (from step 4); add law 0.25 (from step 8)" in mixwright("show", run)
    assert "split code" in (run / "report.html").read_text()
    mixwright("replay", run, "--strategy", "{name: GroupDRO, learning_rate: 1}")

    whole = tmp_path / "whole"
    whole.mkdir()
    schedule = [{**line["order"], "at": line["at"]} for line in record]
    ready = made(tmp_path)

    def prepare():
        make_parts(ready, whole, "code", {"python": tmp_path / "py.jsonl", "rust": tmp_path / "rs.jsonl"})
        make_tokens(ready, whole, "law", tmp_path / "law.jsonl")
        (whole / CONTROL).write_text(json.dumps(schedule) + "\n")

    drive(ready, whole, at_steps({1: prepare}))
    assert (whole / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert (whole / "decisions.jsonl").read_bytes() == (run / "decisions.jsonl").read_bytes()
    model = "model/model.safetensors"
    assert (whole / model).read_bytes() == (run / model).read_bytes()


def test_parts_have_the_rows_of_their_source_and_each_row_comes_once(tmp_path):
    config, run = made(tmp_path, "{name: Static, weights: {code: 0.5, books: 0.5}}"), tmp_path / "run"
    summary = drive(config, run, at_steps({1: lambda: mixwright("steer", run, "--split", PARTS.format(tmp_path))}))
    weights = {source["name"]: source["last_weight"] for source in summary["sources"]}
    assert weights["books"] == 0.5
    assert weights["python"] == pytest.approx(0.375, abs=0.01)
    rows = {source["name"]: source["rows"] for source in summary["sources"]}
    assert sum(rows.values()) == 16 * 8
    assert rows["python"] + rows["rust"] == 64


def test_a_strategy_with_gradient_statistics_goes_on(tmp_path):
    config, run = made(tmp_path, "pike"), tmp_path / "run"
    summary = drive(config, run, at_steps({1: lambda: mixwright("steer", run, "--split", PARTS.format(tmp_path))}))
    assert len(summary["sources"]) == 3
    lines = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    assert len(lines[-1]["observation"]["grad_sq_norm"]) == 3


def test_bad_orders_are_refused_by_the_command_and_ignored_by_the_run(tmp_path):
    config, run = made(tmp_path), tmp_path / "run"

    def order():
        for options, said in (
            (("--add", "law"), "there should be tokens of 'law'"),
            (("--add", f"books={tmp_path}/law.jsonl"), "not in use, found 'books'"),
            (("--add", f"law={tmp_path}/none.jsonl"), "none.jsonl"),
            (("--remove", "bokks"), "did you mean 'books'"),
            (("--split", f"code=python:{tmp_path}/py.jsonl"), "at least two parts"),
            (
                ("--split", f"code=python:{tmp_path}/py.jsonl,rust:{tmp_path}/books.jsonl"),
                "found none for 'def f(x): return x + 3",
            ),
            (("--split", "code=python"), "--split should be such as"),
            (("--weight", "0.2"), "--weight is of an added source"),
        ):
            if "tokens of" not in said:
                assert said in mixwright("steer", run, *options, code=2)
        assert not (run / CONTROL).exists()
        assert not (run / "tokens" / "python").exists()
        (run / CONTROL).write_text(
            "- add: {law: 0.1}\n- remove: nobody\n- {remove: books, at: 7}\n- {pin: {code: 0.5}}\n"
        )

    with pytest.warns(AlarmWarning) as said:
        summary = drive(config, run, at_steps({1: order}))
    alarms = [str(each.message) for each in said if each.category is AlarmWarning]
    assert "there should be tokens of 'law'" in alarms[0]
    assert "a source 'nobody', found none" in alarms[1]
    assert "right after an observation, at step 8 or later, found 7" in alarms[2]
    assert [source["name"] for source in summary["sources"]] == ["code", "books"]
    assert summary["sources"][0]["last_weight"] == pytest.approx(0.5)


def test_a_source_that_was_removed_comes_back_where_it_was(tmp_path):
    config, run = made(tmp_path, "{name: Static, weights: {code: 0.5, books: 0.5}}"), tmp_path / "run"
    actions = {
        1: lambda: mixwright("steer", run, "--remove", "books"),
        5: lambda: mixwright("steer", run, "--add", "books"),
    }
    summary = drive(config, run, at_steps(actions))
    books = summary["sources"][1]
    assert books["last_weight"] == 0.5
    assert books["rows"] == (4 + 8) * 4
    assert np.isfinite(books["held_out_loss"])


def test_other_files_under_a_used_name_are_refused_and_the_run_goes_on(tmp_path):
    config, run = made(tmp_path, "{name: Static, weights: {code: 0.5, books: 0.5}}"), tmp_path / "run"
    law, weight = ("--add", f"law={tmp_path}/law.jsonl"), ("--weight", 0.25)
    (tmp_path / "other.jsonl").write_text((tmp_path / "law.jsonl").read_text().replace("Article", "Rule"))

    def refused():
        before = {path: path.read_bytes() for path in sorted(run.glob("tokens/**/*")) if path.is_file()}
        said = "'law' is a source of the run, or was one"
        assert said in mixwright("steer", run, "--add", f"law={tmp_path}/other.jsonl", *weight, code=2)
        said = "name of its own, found 'law', which is a source of the run, or was one"
        parts = f"code=new:{tmp_path}/py.jsonl,law:{tmp_path}/rs.jsonl"
        assert said in mixwright("steer", run, "--split", parts, code=2)
        assert before == {path: path.read_bytes() for path in sorted(run.glob("tokens/**/*")) if path.is_file()}
        mixwright("steer", run, *law, *weight)  # the same files again

    def split_again():
        said = "name of its own, found 'python', which is a source of the run, or was one"
        with pytest.raises(InputError, match=said):
            make_parts(config, run, "code", {"python": tmp_path / "rs.jsonl", "rust": tmp_path / "py.jsonl"})

    actions = {
        1: lambda: mixwright("steer", run, *law, *weight),
        3: lambda: mixwright("steer", run, "--remove", "law"),
        7: refused,
        9: lambda: mixwright("steer", run, "--split", PARTS.format(tmp_path)),
        13: split_again,
        14: stop,
    }
    with pytest.raises(KeyboardInterrupt):
        drive(config, run, at_steps(actions))
    summary = drive(config, run)
    assert [line["at"] for line in orders_of(run)] == [4, 6, 10, 12]
    assert [source["name"] for source in summary["sources"]] == ["python", "rust", "books", "law"]


def test_a_source_that_was_split_does_not_come_back_whole_and_its_parts_do(tmp_path):
    config, run = made(tmp_path, "{name: Static, weights: {code: 0.5, books: 0.5}}"), tmp_path / "run"

    def refused():
        mixwright("steer", run, "--remove", "rust")
        assert "found 'code', which was split" in mixwright("steer", run, "--add", "code", "--weight", 0.2, code=2)
        control = (run / CONTROL).read_text()
        (run / CONTROL).write_text(control + "- add: {code: 0.2}\n- split: {books: [code, new]}\n")

    actions = {
        1: lambda: mixwright("steer", run, "--split", PARTS.format(tmp_path)),
        5: refused,
        9: lambda: mixwright("steer", run, "--add", "rust", "--weight", 0.25),
        13: stop,
    }
    with pytest.warns(AlarmWarning, match="found 'code', which was split"), pytest.raises(KeyboardInterrupt):
        drive(config, run, at_steps(actions))
    summary = drive(config, run)
    assert ["ignored" in line for line in orders_of(run)] == [False, False, True, True, False]
    assert [source["name"] for source in summary["sources"]] == ["python", "books", "rust"]


def test_sources_without_held_out_documents_for_the_strategy_are_refused_and_the_run_goes_on(tmp_path):
    config, run = made(tmp_path, "SkillIt", "held_out: 0.3\n"), tmp_path / "run"
    (tmp_path / "short.jsonl").write_text(json.dumps({"text": "one document " * 50}) + "\n")
    actions = {1: lambda: mixwright("steer", run, "--add", f"law={tmp_path}/short.jsonl", "--weight", 0.2)}
    with pytest.warns(AlarmWarning, match=r"SkillIt\(.* should have held-out documents .* found none of law \(held"):
        summary = drive(config, run, at_steps(actions))
    assert [source["name"] for source in summary["sources"]] == ["code", "books"]


def test_a_strategy_by_hand_that_has_no_held_out_documents_of_a_source_that_came_is_ignored(tmp_path):
    config, run = made(tmp_path), tmp_path / "run"
    (tmp_path / "short.jsonl").write_text(json.dumps({"text": "one document " * 50}) + "\n")
    actions = {
        1: lambda: mixwright("steer", run, "--add", f"law={tmp_path}/short.jsonl", "--weight", 0.2),
        5: lambda: mixwright("steer", run, "--strategy", "SkillIt"),
    }
    with pytest.warns(AlarmWarning, match=r"SkillIt\(.* should have held-out documents .* found none of .*law \(held"):
        summary = drive(config, run, at_steps(actions))
    assert [source["name"] for source in summary["sources"]] == ["code", "books", "law"]
    assert ["ignored" in line for line in orders_of(run)] == [False, True]
