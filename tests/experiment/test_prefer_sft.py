"""Fine-tuning on chosen answers from its YAML to its summary: numbers, what is left, resume, other configurations."""

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

sys.path.insert(0, str(Path(__file__).parents[1] / "preference"))
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import torch
from golden_files import check_run
from pair_tokenizers import TEMPLATE
from tiny_pairs import LETTERS, write_model, write_pairs

from forked import exit_code
from killing import Die
from mixwright.errors import InputError
from mixwright.experiment import drive, load, read_summary
from mixwright.experiment import make as configured
from mixwright.experiment.core.stages import silent
from mixwright.experiment.preference.config import SftConfig
from mixwright.experiment.preference.data import encode_sources, notes_of, open_tokenizer, read_sources
from mixwright.preference.sft import answer_losses
from mixwright.text import byte_tokenizer

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
VALUES = {
    "model": "trained",
    "sources": {name: f"{name}.jsonl" for name in LETTERS},
    "pairs": {"max_length": 40},
    "weights": "uniform",
    "training": {"steps": 8, "batch_size": 6, "learning_rate": 5e-3},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Return a folder with pairs and a run as `mixwright train` leaves it: model/ and tokenizer/ apart."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder)
    write_model(folder / "trained" / "model")
    (folder / "trained" / "model" / "mixwright_tokenizer.json").unlink()
    byte_tokenizer().save(folder / "trained" / "tokenizer")
    return folder


def make(data: Path, **changes) -> SftConfig:
    return configured("prefer sft", VALUES | changes, folder=data)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, drive(make(data), run)


def test_keys_and_fingerprints_are_the_golden_ones(data, done):
    check_run("prefer-sft", done[0], data)


def test_the_summary_has_the_held_out_losses_before_and_after(data, done):
    from transformers import AutoModelForCausalLM

    run, summary = done
    assert read_summary(run) == summary
    assert (summary["kind"], summary["steps"], summary["rows"]) == ("fine-tuning", 8, 48)
    config = make(data)
    sources = read_sources(config, silent)
    encoded = encode_sources(config, sources, open_tokenizer(config), run, silent)
    for place, key in ((data / "trained" / "model", "held_out_loss_before"), (run / "model", "held_out_loss")):
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32)
        for line in summary["sources"]:
            assert line[key] == pytest.approx(answer_losses(model, encoded[line["name"]].test).mean, abs=1e-5)
    for line in summary["sources"]:
        assert line["held_out_loss"] < line["held_out_loss_before"] - 0.1
        assert (line["pairs"], line["rows"]) == (len(sources[line["name"]].train), 16)
    assert summary["held_out"]["after"] < summary["held_out"]["before"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert {"loss", "learning_rate", "mixture/loss/abc"} <= set(lines[0])


def test_what_is_left_is_a_model_that_other_tools_load(data, done):
    import transformers

    run, _ = done
    assert {path.name for path in run.iterdir()} - {".head", ".mixwright-run"} == {
        "config.yaml", "metrics.jsonl", "model", "summary.json", "tokens", "trained"
    }  # fmt: skip
    assert not (run / "trained" / "checkpoints").exists()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(run / "model"))
    model = transformers.AutoModelForCausalLM.from_pretrained(run / "model")
    ids = tokenizer("abc 1: ", return_tensors="pt")
    assert ids["input_ids"][0].tolist() == [256, *b"abc 1: "]
    assert model.generate(**ids, max_new_tokens=3, do_sample=False).shape == (1, 11)
    further = make(data, model=str(run), training={"steps": 1, "batch_size": 2})
    assert drive(further, run.parent / "further")["held_out"]["before"] == pytest.approx(
        read_summary(run)["held_out"]["after"], abs=1e-5
    )


def test_a_finished_one_is_not_done_again_and_another_configuration_is_an_error(data, done):
    run, summary = done
    before, stages = (run / "model" / "model.safetensors").stat().st_mtime_ns, []
    again = drive(make(data, title="Other"), run, lambda stage, *_: stages.append(stage))
    assert {**again, "title": summary["title"], "created": ""} == {**summary, "created": ""}
    assert again["title"] == "Other"
    assert set(stages) == {"read", "tokens"}
    assert (run / "model" / "model.safetensors").stat().st_mtime_ns == before
    other = VALUES["training"] | {"learning_rate": 1e-3}
    with pytest.raises(InputError, match=r"training\.learning_rate: 0\.005 there, 0\.001 here"):
        drive(make(data, training=other), run)
    (run.parent / "train").mkdir()
    (run.parent / "train" / "config.yaml").write_text("sources: {}\n")
    (run.parent / "train" / ".mixwright-run").touch()
    with pytest.raises(InputError, match=r"should be a folder of `mixwright prefer sft`.*, found another run"):
        drive(make(data), run.parent / "train")


def stages_of_run(config, run) -> set[str]:
    """Return the stages that a run reports while it is done."""
    found = set()
    drive(config, run, lambda stage, *more: found.add(stage))
    return found


@pytest.mark.parametrize("gone", ["model/model.safetensors", "tokens/abc/train/tokens.npy"])
def test_what_was_deleted_is_made_again(data, done, tmp_path, gone):
    shutil.copytree(done[0], tmp_path / "run")
    whole = (tmp_path / "run" / gone).read_bytes()
    for damage in (Path.unlink, lambda path: path.write_bytes(whole[:-7])):
        damage(tmp_path / "run" / gone)
        assert ("train" in stages_of_run(make(data), tmp_path / "run")) == gone.startswith("model")
        assert (tmp_path / "run" / gone).read_bytes() == whole
    assert read_summary(tmp_path / "run")["held_out"] == pytest.approx(done[1]["held_out"])


def test_a_summary_that_is_lost_is_written_again_without_training(data, done, tmp_path):
    shutil.copytree(done[0], tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    assert not {"train", "measure"} & stages_of_run(make(data), tmp_path / "run")
    assert read_summary(tmp_path / "run")["sources"] == done[1]["sources"]


def test_a_source_that_is_gone_through_many_times_is_noted(data, tmp_path):
    sources = {"abc": "abc.jsonl", "digits": {"path": "digits.jsonl", "max_pairs": 2}}
    weights = {"abc": 0.5, "digits": 0.5}
    summary = drive(make(data, sources=sources, weights=weights), tmp_path / "run")
    (epochs,) = (line["epochs"] for line in summary["sources"] if line["name"] == "digits")
    assert epochs > 4
    (note,) = (note for note in summary["notes"] if note.startswith("the training goes"))
    assert note.startswith(f"the training goes {epochs:.1f} times through digits: pairs that come again so often")
    assert "abc" not in note


def test_other_pairs_in_the_same_files_are_trained_on_anew(data, tmp_path):
    for name in LETTERS:
        (tmp_path / f"{name}.jsonl").write_bytes((data / f"{name}.jsonl").read_bytes())
    values = VALUES | {"model": str(data / "trained"), "training": {"steps": 2, "batch_size": 2}}
    config = configured("prefer sft", values, folder=tmp_path)
    first = drive(config, tmp_path / "run")
    with open(tmp_path / "abc.jsonl", "a") as handle:
        handle.write('{"prompt": "new", "chosen": "x", "rejected": "y", "split": "test"}\n')
    second = drive(config, tmp_path / "run")
    assert second["sources"][0]["held_out_pairs"] == first["sources"][0]["held_out_pairs"] + 1
    assert second["sources"][0]["held_out_loss"] != first["sources"][0]["held_out_loss"]
    assert second["sources"][1]["held_out_loss"] == first["sources"][1]["held_out_loss"]


def tune_and_die(path, run):
    drive(load("prefer sft", path), run, Die("train", 15))


@pytest.mark.slow
def test_killed_and_resumed_is_bitwise_the_same(data, tmp_path):
    training = {"steps": 40, "batch_size": 6, "learning_rate": 5e-3, "checkpoint_every": 1e-6}
    path = data / "killed.yaml"
    path.write_text(json.dumps(VALUES | {"training": training}))  # JSON is YAML
    assert exit_code(tune_and_die, path, tmp_path / "killed") == -signal.SIGKILL
    assert not (tmp_path / "killed" / "summary.json").exists()
    steps = []
    path.write_text(
        json.dumps(VALUES | {"training": training | {"checkpoint_every": 60}})
    )  # when is no part of the result
    config = load("prefer sft", path)
    killed = drive(config, tmp_path / "killed", lambda stage, at, *_: steps.append(at) if stage == "train" else None)
    whole = drive(config, tmp_path / "whole")
    assert steps[0] >= 15
    assert killed["sources"] == whole["sources"]
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_adapter_is_merged_into_the_model(data, tmp_path):
    pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    summary = drive(make(data, adapter={"rank": 2}), tmp_path / "run")
    assert all(line["held_out_loss"] < line["held_out_loss_before"] for line in summary["sources"])
    assert not (tmp_path / "run" / "model" / "adapter_config.json").exists()
    found, start = (
        AutoModelForCausalLM.from_pretrained(place).state_dict()
        for place in (tmp_path / "run" / "model", data / "trained" / "model")
    )
    changed = {name for name in start if not torch.equal(start[name], found[name])}
    assert changed
    assert all(start[name].ndim == 2 for name in changed)


def test_messages_need_a_template_which_may_be_a_file(data, tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"{i}?"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for i in range(40)
    ]
    (tmp_path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    values = {
        "model": str(data / "trained"), "sources": {"chat": "chat.jsonl"}, "training": {"steps": 1, "batch_size": 2}
    }  # fmt: skip
    with pytest.raises(InputError, match=r"key sources\.chat: its rows.*chat template"):
        drive(configured("prefer sft", values, folder=tmp_path), tmp_path / "without")
    config = configured("prefer sft", values | {"pairs": {"chat_template": "chat.jinja"}}, folder=tmp_path)
    drive(config, tmp_path / "with")
    assert (
        open_tokenizer(configured("prefer sft", values | {"model": "with"}, folder=tmp_path)).chat_template == TEMPLATE
    )


def test_what_is_cut_left_out_or_leaked_is_said(data, tmp_path):
    rows = [{"prompt": f"p{i}", "chosen": "abc" * 9, "rejected": "xyz", "split": "train"} for i in range(6)]
    rows += [{"prompt": "p0", "chosen": "a", "rejected": "b", "split": "test"}]
    rows += [{"prompt": "q" * 30, "chosen": "a", "rejected": "b", "split": "train"}, {"prompt": "bad", "split": "test"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"path": "a.jsonl", "invalid": "drop"}
    values = {"model": str(data / "trained"), "sources": {"a": source}, "pairs": {"max_length": 20}}
    config = configured("prefer sft", values, folder=tmp_path)
    sources = read_sources(config, silent)
    assert notes_of(sources, encode_sources(config, sources, open_tokenizer(config), tmp_path / "run", silent)) == [
        "a: 1 of 9 rows are not pairs and were left out (missing column: 1)",
        "a: 6 of 7 pairs were cut to 20 tokens (keep_start) (to train on)",
        "a: 1 of 7 pairs have a prompt of 20 tokens or more: they were left out (to train on)",
        "1 held-out prompt of a (1 pair), also trained on in a: results there are too optimistic",
    ]


def test_what_is_left_out_of_a_file_of_held_out_pairs_is_said(data, tmp_path):
    row = {"prompt": "p", "chosen": "a", "rejected": "b"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "b.jsonl").write_text(
        json.dumps(row | {"prompt": "q"}) + "\n" + json.dumps(row | {"chosen": ""}) + "\n"
    )
    source = {"path": "a.jsonl", "test": "b.jsonl", "invalid": "drop"}
    values = {"model": str(data / "trained"), "sources": {"a": source}}
    sources = read_sources(configured("prefer sft", values, folder=tmp_path), silent)
    left_out = "a: 1 of 2 rows are not pairs and were left out (empty answer: 1) (held out)"
    assert notes_of(sources, {}) == [left_out]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wieghts": "uniform"}, "no such key; did you mean 'weights'?"),
        ({"sources": {"a": {"path": "abc.jsonl", "pormpt": "x"}}}, "did you mean 'prompt'?"),
        ({"weights": {"abc": 1.0}}, "should give each source a weight"),
        ({"training": {"steps": 1, "epochs": 1}}, "give steps or epochs, not both"),
        ({"training": {"batch_size": 6, "accumulate": 4}}, "should be a multiple of accumulate"),
        ({"pairs": {"max_length": 1}}, "should be at least 2, found 1"),
        ({"sources": {}}, "should not be empty"),
        ({"sources": {"a": {"path": "abc.jsonl", "test": "x.jsonl", "split": "hash"}}}, "or split, not both"),
    ],
)
def test_a_wrong_configuration_is_an_error(data, changes, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        make(data, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "nowhere"}, "key model: .*nowhere: there should be a model's folder or a run here"),
        ({"tokenizer": "trained/model"}, None),
        ({"tokenizer": "nowhere"}, "key tokenizer: .*found none"),
        ({"sources": {"abc": "none.jsonl"}}, r"key sources\.abc: [^ ]*none\.jsonl"),
        ({"sources": {"abc": {"path": "abc.jsonl", "split": "part"}}}, "a column 'part' to split by"),
        ({"pairs": {"chat_template": "none.jinja"}}, r"key pairs\.chat_template: .*none\.jinja"),
        (
            {"training": {"steps": 1, "batch_size": 1}, "adapter": {"targets": ["nothing"]}},
            "targets should name layers",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_key(data, changes, message, tmp_path):
    if message is None:
        assert len(open_tokenizer(make(data, **changes))) == 257
        return
    with pytest.raises(InputError, match=message):
        drive(make(data, **changes), tmp_path / "run")


@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["q_proj", "lm_head"]], ids="-".join)
def test_an_adapter_on_tied_layers_leaves_the_model_that_was_trained(tmp_path, targets):
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    write_pairs(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    tied = {"vocab_size": 257, "tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 256}
    LlamaForCausalLM(LlamaConfig(max_position_embeddings=64, **sizes, **tied)).save_pretrained(tmp_path / "base")
    byte_tokenizer().save(tmp_path / "base")
    training = {"steps": 20, "batch_size": 6, "learning_rate": 2e-2}
    config = make(tmp_path, model="base", adapter={"rank": 4, "targets": targets}, training=training)
    summary = drive(config, tmp_path / "run")
    assert sum(summary["adapter"]["layers"].values()) == len(targets)
    assert abs(summary["held_out"]["after"] - summary["held_out"]["before"]) > 0.05
    encoded = encode_sources(config, read_sources(config, silent), open_tokenizer(config), tmp_path / "run", silent)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32)
    for line in summary["sources"]:
        assert line["held_out_loss"] == pytest.approx(answer_losses(model, encoded[line["name"]].test).mean, abs=1e-4)


def test_a_limit_takes_a_sample_and_the_same_one_again(data):
    def kept(**source) -> list[int]:
        found = read_sources(make(data, sources={"abc": {"path": "abc.jsonl", **source}}), silent)["abc"].train
        return found.number.tolist()

    every, some = kept(), kept(max_pairs=6)
    assert some == kept(max_pairs=6)
    assert some == [number for number in every if number in some]  # in their order
    assert some != every[:6]


def test_the_ways_to_split(data):
    def sizes(**source) -> tuple[int, int]:
        found = read_sources(make(data, sources={"abc": {"path": "abc.jsonl", **source}}), silent)["abc"]
        return len(found.train), len(found.test)

    assert sizes() == (30, 10)
    assert sizes(split={"by": "split", "train": "test", "test": "train"}) == (10, 30)
    assert sizes(test="digits.jsonl") == (40, 24)
    assert sizes(max_pairs=3, max_held_out=2) == (3, 2)
    assert sizes(max_pairs=5) == (5, 5)  # scoring is not most of the work, either
    by_hash = sizes(split="hash")
    assert sum(by_hash) == 40
    assert by_hash != (30, 10)
    assert sizes(where={"split": "train"}) == sizes(where={"split": ["train"]}, split="hash")


@pytest.mark.shared_data
def test_the_base_model_of_benchmarks_is_made_once(tmp_path):
    if not (SHARED / "pref" / "persona_evals.jsonl.gz").exists():
        pytest.skip(f"no {SHARED}")
    from preference_base import base_model

    folder = base_model(tmp_path, SHARED, tiny=True)
    summary = read_summary(folder)
    assert summary["held_out"]["after"] < summary["held_out"]["before"]
    stages = set()
    assert base_model(tmp_path, SHARED, tiny=True, progress=lambda stage, *_: stages.add(stage)) == folder
    assert "measure" not in stages
