"""`mixwright steer`: orders for a run under way, what it does with them, and what the result says of it."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from typer.testing import CliRunner

from mixwright.cli.app import app
from mixwright.errors import AlarmWarning
from mixwright.experiment import drive, load
from mixwright.steering.orders import CONTROL

TEXTS = {"code": "def f(x): return x + {i}\n", "books": "It was chapter {i} of the story. ", "web": "click here {i} "}
CONFIG = """
sources: {code: code.jsonl, books: books.jsonl, web: web.jsonl}
tokenizer: bytes
model: {model_type: gpt_neox, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}
weights: {code: 0.5, books: 0.3, web: 0.2}
training: {steps: 16, batch_size: 10, context: 16, observe_every: 2, lag: 2}
"""


def mixwright(*arguments, code=0, columns=200):
    done = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": str(columns), "TERM": "dumb"})
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def config(tmp_path):
    for name, text in TEXTS.items():
        lines = [json.dumps({"text": text.format(i=i) * 20}) for i in range(30)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "train.yaml").write_text(CONFIG)
    return load("train", tmp_path / "train.yaml")


def at_steps(actions):
    def progress(stage, done, total, note=""):
        if stage == "train" and done in actions:
            actions[done]()

    return progress


def test_a_run_is_steered_stopped_resumed_and_says_so(config, tmp_path):
    run = tmp_path / "run"

    def cut_off():
        (run / CONTROL).write_text((run / CONTROL).read_text() + "- weights: {code")

    def stop():
        raise KeyboardInterrupt

    mended = ((lambda text: (run / CONTROL).write_text(text)),)

    def refused():
        before = (run / CONTROL).read_bytes()
        said = "PiKE needs grad_sq_norm, grad_variance in each observation, found eval_loss, loss, planned"
        assert said in " ".join(mixwright("steer", run, "--strategy", "pike", code=2).split())
        for options in (("--pin", "code=.3"), ("--weights", "books=1"), ("--undo",)):
            said = mixwright("steer", run, *options, "--at", 4, code=2)
            assert "a change should begin at step 5 or later, found 4 (the run is at 3)" in said
        assert (run / CONTROL).read_bytes() == before

    actions = {2: lambda: mixwright("steer", run, "--pin", "code=.2"), 3: refused, 4: cut_off, 6: stop}
    with pytest.warns(AlarmWarning, match="should end with a line break"), pytest.raises(KeyboardInterrupt):
        drive(config, run, at_steps(actions))
    mended[0]((run / CONTROL).read_text().rpartition("- weights")[0])
    assert "holds from step 5" in mixwright("steer", run)
    assert "code=" not in (run / CONTROL).read_text()
    mixwright("steer", run, "--weights", "code=.2,books=0.8", "--at", 9)
    mixwright("steer", run, "--undo", "--at", 12)
    mixwright("steer", run, "--strategy", "{name: GroupDRO, learning_rate: 1}", "--at", 13)
    assert "the run has not read it yet" in mixwright("steer", run)
    summary = drive(config, run)
    assert [line.get("at") for line in summary["steering"]] == [5, None, 9, 12, 13]
    said = "changed by hand in the run: pin code 0.2 (from step 5); weights code 0.2, books 0.8 (from step 9); undo"
    assert said in mixwright("show", run)
    page = (run / "report.html").read_text()
    assert said in page
    assert 'id="weights-section"' in page
    lines = [json.loads(line) for line in (run / "decisions.jsonl").read_text().splitlines()]
    weights = {line["begins"]: line["weights"] for line in lines}
    assert weights[9] == [0.2, 0.8, 0.0]
    assert weights[13] == pytest.approx([0.2, 0.48, 0.32])
    assert weights[15][0] == pytest.approx(0.2)
    assert weights[15][1] != pytest.approx(0.48)

    scheduled = tmp_path / "scheduled"
    scheduled.mkdir()
    schedule = [{**line["order"], "at": line["at"]} for line in summary["steering"] if "at" in line]
    (scheduled / CONTROL).write_text(json.dumps(schedule) + "\n")
    drive(config, scheduled)
    assert (scheduled / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert "holds a finished training" in mixwright("steer", run, "--undo", code=2)
    with open(run / CONTROL, "a") as handle:
        handle.write("- pin: {code: 0.3}\n")
    for columns in (200, 80):
        shown = mixwright("steer", run, columns=columns)
        expected = {"order", "pin code 0.2", "from step 5", "written", "undo"}
        assert {words for words in expected if words in shown} == expected
        assert max(map(len, shown.splitlines()[2:])) <= columns
    assert "the run ended before it read it" in mixwright("steer", run)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--pin", "coed=.2"), "did you mean 'code'"),
        (("--pin", "code"), "--pin should be shares such as code=0.3,books=0.7, found 'code'"),
        (("--pin", "code=1,code=2"), "--pin should be shares"),
        (("--weights", "code=.5"), "sum to 1, found code: 0.5"),
        (("--weights", "code=1", "--undo"), "give one change at a time, found --weights and --undo"),
        (("--undo",), "found nothing to undo"),
        (("--unpin", "web"), "'web' is not pinned"),
        (("--at", "4"), "--at needs a change"),
        (("--strategy", "odn"), "there is no strategy 'odn'"),
    ],
)
def test_what_a_run_cannot_do_is_refused_before_it_reads_it(tmp_path, options, said):
    text = "# Go on with: mixwright train THIS_FILE --run THIS_FOLDER\nsources: {code: a, books: b, web: c}\n"
    (tmp_path / "config.yaml").write_text(text)
    assert said in mixwright("steer", tmp_path, *options, code=2)
    assert not (tmp_path / CONTROL).exists()


def test_other_folders_are_refused(tmp_path):
    assert "found no such folder" in mixwright("steer", tmp_path / "no", "--undo", code=2)
    assert "found no config.yaml of a run" in mixwright("steer", tmp_path, "--undo", code=2)
    (tmp_path / "config.yaml").write_text("# Go on with: mixwright search THIS_FILE\nsources: {a: a}\n")
    assert "found one of mixwright search" in mixwright("steer", tmp_path, "--undo", code=2)
