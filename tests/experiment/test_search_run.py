import copy
import gzip
import itertools
import json
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import tiny
from golden_files import check_run

from forked import exit_code
from killing import die_soon
from mixwright.errors import InputError
from mixwright.experiment import drive, load, read_summary
from mixwright.experiment.core import stages
from mixwright.experiment.core.forecasts import read_forecast
from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.text import source_files
from mixwright.mixture_file import MixtureFile
from mixwright.text import byte_tokenizer, read_documents


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny data, its configuration and a finished run."""
    folder = tmp_path_factory.mktemp("tiny")
    drive(load("search", tiny.write_tiny(folder)), folder / "run")
    return folder


def lasting(summary: dict[str, Any]) -> dict[str, Any]:
    """Return a summary without its times."""
    kept = copy.deepcopy(summary)
    del kept["created"], kept["command"], kept["cost"]["seconds"]
    for run in kept["runs"]:
        del run["seconds"]
    return kept


def stamps(run: Path) -> dict[str, int]:
    """Return when each stage was done."""
    return {str(path.parent.relative_to(run)): path.stat().st_mtime_ns for path in run.rglob("done.json")}


def test_keys_and_fingerprints_are_the_golden_ones(done: Path) -> None:
    check_run("search-text", done / "run", done)


def test_a_run_has_all_its_parts(done: Path) -> None:
    run = done / "run"
    summary = read_summary(run)
    assert [source["name"] for source in summary["sources"]] == list(tiny.KINDS)
    assert [mixture["name"] for mixture in summary["mixtures"]] == ["uniform", "natural", "best_single", "search"]
    weights = {mixture["name"]: mixture["weights"] for mixture in summary["mixtures"]}
    assert weights["best_single"] == [1.0, 0.0, 0.0]
    assert weights["natural"][0] < weights["natural"][2]
    assert weights["search"][0] > weights["search"][1] > weights["search"][2]
    assert {run["mixture"]: run["tokens"] for run in summary["runs"]} == dict.fromkeys(weights, 2560)
    assert {(c["mixture"], c["over"]) for c in summary["comparisons"]} == {
        ("natural", "uniform"),
        ("best_single", "uniform"),
        ("search", "uniform"),
        ("search", "natural"),
        ("search", "best_single"),
    }
    search = summary["searches"][0]
    assert 0 <= search["gap"] <= search["tolerance"]
    assert all(low <= weight <= high for weight, (low, high) in zip(weights["search"], search["interval"], strict=True))
    assert summary["verdict"].startswith("search on mix: ")
    assert len(summary["runs"][0]["curve"]) == 2
    assert set(summary["runs"][0]["source_loss"]) <= set(tiny.KINDS)
    assert 0 < summary["cost"]["share"] < 10
    mixture = MixtureFile.read(run / "mixture.json")
    assert list(mixture.weights) == weights["search"]
    assert mixture.verdict == summary["verdict"].splitlines()[0]  # of the trainings, not of the likelihoods alone
    assert "checked by training" not in "".join(search["verdict"] for search in summary["searches"])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<b>&/numbers" not in page
    what_if = json.loads((run / "whatif.json").read_text(encoding="utf-8"))
    assert what_if["sources"] == list(tiny.KINDS)
    assert what_if["targets"][0]["losses"][0] == pytest.approx(search["loss"], abs=1e-9)
    assert {mark["name"]: mark["weights"] for mark in what_if["marks"]} == weights
    assert 'id="what-if"' in page


def test_the_forecast_is_the_improvement_per_token(done: Path) -> None:
    summary, made = read_summary(done / "run"), read_forecast(done / "run" / "forecast.json")
    (search,), (entry,) = summary["searches"], made["forecasts"]
    tokens = summary["cost"]["scored_tokens"] / len(tiny.KINDS)
    assert (entry["arm"], entry["target"], entry["over"]) == ("search", "mix", "uniform")
    assert entry["predicted"] == pytest.approx(-search["improvement"]["estimate"] * search["rows"] / tokens)
    assert entry["high"] == pytest.approx(-search["improvement"]["low"] * search["rows"] / tokens)
    assert "low" not in entry  # a training may gain more
    assert made["level"] == pytest.approx((1 + search["level"]) / 2)
    assert entry["weights"] == dict(zip(tiny.KINDS, summary["mixtures"][-1]["weights"], strict=True))


def test_nothing_is_done_twice(done: Path) -> None:
    before, summary = stamps(done / "run"), read_summary(done / "run")
    again = drive(load("search", done / "search.yaml"), done / "run")
    assert stamps(done / "run") == before
    assert lasting(again) == lasting(summary)
    assert again["cost"] == summary["cost"]


def test_the_copy_of_the_configuration_does_the_same(done: Path) -> None:
    before = stamps(done / "run")
    drive(load("search", done / "run" / "config.yaml"), done / "run")
    assert stamps(done / "run") == before


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"search": {"level": 0.8}}, {"search"}),
        ({"final": tiny.SETTINGS["final"] | {"tokens": 2000}}, {"final", "evaluation"}),
        ({"final": tiny.SETTINGS["final"] | {"mixtures": ["uniform", "search"]}}, set()),
        (
            {"targets": {"mix": {"path": "target.jsonl", "held_out": 0.4}}},
            {"overlaps", "scores", "search", "evaluation", "final/search"},
        ),
        ({"proxy": {"tokens": 1800}}, {"proxies", "scores", "search", "final/search", "evaluation/search"}),
    ],
)
def test_a_change_redoes_what_depends_on_it(
    done: Path, tmp_path: Path, change: dict[str, Any], redone: set[str]
) -> None:
    subprocess.run(["cp", "-a", f"{done}/.", str(tmp_path)], check=True)
    before = stamps(tmp_path / "run")
    (tmp_path / "search.yaml").write_text(json.dumps(tiny.SETTINGS | change))
    drive(load("search", tmp_path / "search.yaml"), tmp_path / "run")
    after = stamps(tmp_path / "run")
    changed = {name for name in before if after[name] != before[name]}
    for name in before:
        wanted = any(name == part or name.startswith(part + "/") for part in redone)
        assert (name in changed) == wanted, name


def test_final_models_of_averaged_weights_leave_proxies_and_search_as_they_are(done: Path, tmp_path: Path) -> None:
    final = {**tiny.SETTINGS["final"], "ema": 0.25, "mixtures": ["uniform", "search"]}
    config = load("search", tiny.write_tiny(tmp_path, final=final))
    summary, plain = drive(config, tmp_path / "run"), read_summary(done / "run")
    proxies = [sorted(p.read_bytes() for p in f.glob("run/proxies/*/model/*.safetensors")) for f in (tmp_path, done)]
    assert proxies[0] == proxies[1] != []
    assert summary["searches"][0]["interval"] == plain["searches"][0]["interval"]
    logs = [(f / "run" / "final" / "uniform" / "metrics.jsonl").read_bytes() for f in (tmp_path, done)]
    assert logs[0] == logs[1]
    losses = [found["runs"][0]["loss"]["mix"] for found in (summary, plain)]
    assert losses[0] != losses[1]
    assert sum("averaged weights" in note for note in summary["notes"]) == 1
    assert not any("averaged weights" in note for note in plain["notes"])


def test_a_new_source_keeps_the_other_proxies(done: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", f"{done}/.", str(tmp_path)], check=True)
    before = stamps(tmp_path / "run")
    tiny.write_jsonl(tmp_path / "new.jsonl", ["some other words " * 20 + str(i) for i in range(20)])
    sources = tiny.SETTINGS["sources"] | {"new": "new.jsonl"}
    (tmp_path / "search.yaml").write_text(json.dumps(tiny.SETTINGS | {"sources": sources}))
    summary = drive(load("search", tmp_path / "search.yaml"), tmp_path / "run")
    after = stamps(tmp_path / "run")
    assert len(summary["mixtures"][0]["weights"]) == 4
    assert all(after[name] == before[name] for name in before if name.startswith(("proxies", "tokens")))
    assert "proxies/new" in after


def search_and_die(path: Path, run: Path, left: int | None) -> None:
    """Search; after `left` reports of progress the process is killed."""
    reports = itertools.count(1)
    drive(load("search", path), run, lambda *_: die_soon() if next(reports) == left else None)


@pytest.mark.slow
def test_killed_at_random_moments_it_gives_the_same_numbers(done: Path, tmp_path: Path) -> None:
    rng, kills = random.Random(3), 0
    while True:
        left = rng.randint(1, 50) if kills < 7 else None
        code = exit_code(search_and_die, done / "search.yaml", tmp_path / "run", left)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills >= 3
    assert lasting(read_summary(tmp_path / "run")) == lasting(read_summary(done / "run"))
    for name in ("mixture.json", "final/search/model/model.safetensors", "proxies/greek/model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (done / "run" / name).read_bytes(), name


def test_several_targets_units_and_equal_cost(tmp_path: Path) -> None:
    path = tiny.write_tiny(
        tmp_path,
        targets={
            "mix": "target.jsonl",
            "exam": {"path": "questions.jsonl", "kind": "questions", "score": "answer"},
        },
        search={"likelihood": ["token", "sequence"], "prior": "natural", "caps": {"greek": 0.4}, "level": 0.8},
        final=tiny.SETTINGS["final"] | {"tokens": 300, "equal_cost": True},
        tokenizer={"kind": "bpe", "vocab_size": 300},
    )
    plans: list[str] = []
    summary = drive(
        load("search", path), tmp_path / "run", lambda stage, *_: plans.append(_[-1]) if stage == "plan" else None
    )
    rows = 3 * sum(search["rows"] for search in summary["searches"])
    assert plans[0] == (
        f"3 proxies ({summary['cost']['proxy_tokens']:,} tokens to train), {summary['cost']['scored_tokens']:,} tokens "
        f"to score, {rows:,} likelihoods to search, 8 final runs of 300 tokens"
    )
    assert re.fullmatch("about .* for 8 final runs, judged by the proxies", plans[1])
    names = [mixture["name"] for mixture in summary["mixtures"]]
    assert names == [
        "uniform", "natural", "best_single_mix", "best_single_exam", "search_mix_token", "search_mix_sequence",
        "search_exam", "uniform_equal_cost",
    ]  # fmt: skip
    for mixture in summary["mixtures"]:
        assert mixture["kind"] != "search" or mixture["weights"][0] <= 0.4 + 1e-9
    tokens = {run["mixture"]: run["tokens"] for run in summary["runs"]}
    extra = round(summary["cost"]["share"] * 300)
    assert tokens["uniform_equal_cost"] - tokens["uniform"] == pytest.approx(extra, abs=128)
    root = MixtureFile.read(tmp_path / "run" / "mixture.json")
    assert (root.evidence["unit"], root.evidence["target"]) == ("token", "mix")
    assert root.evidence["notes"] == [
        "this mixture is for the target mix alone; those of the others: search/exam/answer/mixture.json"
    ]
    assert summary["notes"][0] == root.evidence["notes"][0].replace("this mixture", "mixture.json")
    first, second = summary["verdict"].splitlines()
    assert first.startswith("search_mix_token on mix: ")
    assert second.startswith("search_exam on exam: ")


def test_existing_checkpoints_are_used_as_they_are(done: Path, tmp_path: Path) -> None:
    checkpoints = {
        name: str(done / "run" / "proxies" / folder / "model") for name, folder in _proxy_folders(done).items()
    }
    path = tiny.write_tiny(
        tmp_path,
        proxy={"checkpoints": checkpoints},
        final={"mixtures": [], "context": 32, "tokens": 2500, "batch_size": 4},
    )
    summary = drive(load("search", path), tmp_path / "run")
    assert not (tmp_path / "run" / "proxies").exists()
    assert summary["cost"]["proxy_tokens"] == 0
    assert summary["cost"]["proxy_flops"] > 0
    assert summary["runs"] == []
    assert "not checked by training" in summary["verdict"]
    trained = read_summary(done / "run")
    assert summary["searches"][0]["loss"] == pytest.approx(trained["searches"][0]["loss"], rel=1e-9)


def _proxy_folders(done: Path) -> dict[str, str]:
    from mixwright.experiment.core.stages import folder_name

    return {name: folder_name(name) for name in tiny.KINDS}


@pytest.mark.parametrize("tokenizer", ["bytes", {"kind": "bpe", "vocab_size": 300}, {"kind": "path", "path": "tok"}])
def test_a_source_shorter_than_a_context(tmp_path: Path, tokenizer: Any) -> None:
    byte_tokenizer().save(tmp_path / "tok")
    path = tiny.write_tiny(tmp_path, tokenizer=tokenizer)
    tiny.write_jsonl(tmp_path / "source1.jsonl", ["short", "words"])
    with pytest.raises(
        InputError, match=r"sources\.<b>&/numbers.*at least 33 tokens .*found 12, .*lower final\.context"
    ):
        drive(load("search", path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_source_that_a_trained_tokenizer_makes_too_short(tmp_path: Path) -> None:
    path = tiny.write_tiny(tmp_path, tokenizer={"kind": "bpe", "vocab_size": 400})
    tiny.write_jsonl(tmp_path / "source1.jsonl", ["alpha alpha alpha alpha alpha alpha beta"])
    with pytest.raises(InputError, match="should have at least 33 tokens"):
        drive(load("search", path), tmp_path / "run")
    assert not (tmp_path / "run" / "tokens").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "a"\n', r"source2\.jsonl, line 61: each line should be one JSON object, found bad JSON"),
        (b'{"text": "\xe9"}\n', r"source2\.jsonl, line 61: the text should be UTF-8, found byte 0xe9"),
        (b'{"txt": "a"}\n', r"source2\.jsonl, line 61: the field 'text' is missing"),
    ],
)
def test_a_fault_in_the_last_line_is_found_before_anything_is_written(tmp_path: Path, line: bytes, says: str) -> None:
    path = tiny.write_tiny(tmp_path)
    with open(tmp_path / "source2.jsonl", "ab") as handle:
        handle.write(line)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=f"line 1, key sources.letters: .*{says}"):
        drive(load("search", path), tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_read_to_its_end_is_not_read_again(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Counting:
        def __init__(self, path: Path, *options: Any, **more: Any) -> None:
            self.name, self.reading = path.name, read_documents(path, *options, **more)
            self.notes = self.reading.notes

        def __iter__(self) -> Any:
            return self

        def __next__(self) -> str:
            text = next(self.reading)
            read.append(self.name)
            return text

    monkeypatch.setattr(source_files, "read_documents", Counting)
    config = load("search", done / "search.yaml")
    prints = source_files.check_sources(config, tmp_path, stages.silent)
    assert [read.count(f"source{i}.jsonl") >= 20 + 20 * i for i in range(3)] == [True] * 3
    read.clear()
    assert source_files.check_sources(config, done / "run", stages.silent) == prints
    assert len(read) < 10  # the start of each, for its length
    subprocess.run(["cp", "-a", f"{done}/.", str(tmp_path)], check=True)
    with open(tmp_path / "source1.jsonl", "ab") as handle:
        handle.write(b"{")
    with pytest.raises(InputError, match=r"source1\.jsonl, line 41: .*bad JSON"):
        drive(load("search", tmp_path / "search.yaml"), tmp_path / "run")
    (tmp_path / "run" / "checked.json").write_text("[]")
    assert "sources" not in json.loads((tmp_path / "run" / "checked.json").read_text())
    with pytest.raises(InputError, match=r"source1\.jsonl, line 41: .*bad JSON"):
        drive(load("search", tmp_path / "search.yaml"), tmp_path / "run")


def test_two_sources_that_are_the_same_are_noted(tmp_path: Path) -> None:
    path = tiny.write_tiny(tmp_path, final={"mixtures": [], "context": 32, "tokens": 2500, "batch_size": 4})
    with gzip.open(tmp_path / "source2.jsonl.gz", "wb") as handle:
        handle.write((tmp_path / "source0.jsonl").read_bytes())
    sources = {"a": "source0.jsonl", "b": "source1.jsonl", "c": "source0.jsonl", "d": "source2.jsonl.gz"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sources": sources}))
    (note,) = drive(load("search", path), tmp_path / "run")["notes"]
    assert note.startswith("the sources a, c and d are the same text: nothing tells them apart")
    assert note in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"final": {"learning_rate": 1e30}},
            "line 1, key proxy.learning_rate: the proxy of greek: .*now 1e.30, that of f",
        ),
        ({"proxy": {"tokens": 128, "learning_rate": 1e30}}, r"proxy\.learning_rate: .*at step 1; .*\(now 1e\+30\)"),
        (
            {"proxy": {"tokens": 999, "learning_rate": 1e-3}, "final": {"learning_rate": 1e30}},
            "final.learning_rate: the f",
        ),
    ],
)
def test_a_training_that_diverges_names_the_key(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    merged = {part: {**tiny.SETTINGS[part], **values} for part, values in change.items()}
    with pytest.raises(InputError, match=says):
        drive(load("search", tiny.write_tiny(tmp_path, **merged)), tmp_path / "run")


def test_faults_write_nothing(tmp_path: Path) -> None:
    path = tiny.write_tiny(tmp_path, search={"floors": {"greek": 0.8, "letters": 0.8}})
    with pytest.raises(InputError, match="floors"):
        drive(load("search", path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_missing_or_damaged_is_made_again(done: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-a", f"{done}/.", str(tmp_path)], check=True)
    run = tmp_path / "run"
    column = next((run / "table").rglob("0001.f64"))
    column.write_bytes(column.read_bytes()[:-4])
    tokens = sorted((run / "tokens").iterdir())
    (tokens[0] / "train" / "tokens.bin").unlink()
    (tokens[1] / "hashes.npy").write_bytes(b"")
    shutil.rmtree(tokens[2] / "held_out", ignore_errors=True)
    next((run / "search").rglob("mixture.json")).unlink()
    for path in (run / "tokenizer").glob("*.json"):
        path.write_text(path.read_text()[:5]) if "done" not in path.name and "begin" not in path.name else None
    before = {name: stamp for name, stamp in stamps(run).items() if name.startswith(("proxies", "final", "evaluation"))}
    found = drive(load("search", tmp_path / "search.yaml"), run)
    assert lasting(found) == lasting(read_summary(done / "run"))
    assert (tokens[0] / "train" / "tokens.bin").exists()
    assert {name: stamp for name, stamp in stamps(run).items() if name in before} == before


@pytest.mark.parametrize(("lost", "needed"), [("proxies", "table"), ("final", "evaluation")])
def test_a_model_that_was_deleted_is_trained_again_if_it_is_needed(
    done: Path, tmp_path: Path, lost: str, needed: str
) -> None:
    subprocess.run(["cp", "-a", f"{done}/.", str(tmp_path)], check=True)
    run, config = tmp_path / "run", load("search", tmp_path / "search.yaml")
    for model in (run / lost).glob("*/model"):
        shutil.rmtree(model)
    before = stamps(run)
    drive(config, run)
    assert stamps(run) == before  # nothing needs it
    shutil.rmtree(run / needed)
    for _ in list((run / lost).iterdir()):  # each one is named when it is needed
        with pytest.raises(InputError, match="run the same command again, which trains it again"):
            drive(config, run)
    found = drive(config, run)
    assert lasting(found) == lasting(read_summary(done / "run"))


def test_one_source_leaves_nothing_to_decide(tmp_path: Path) -> None:
    path = tiny.write_tiny(tmp_path, sources={"greek": "source0.jsonl"})
    with pytest.raises(InputError, match=r"key sources: a search should have at least two .*nothing to decide"):
        drive(load("search", path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (400, None),
        (6_000, "5.0 times through greek: text that is repeated more than about 4 times brings less"),
        (24_000, "20.0 times through greek: passes beyond about 16 bring hardly anything"),
        (240_000, "200 times through greek: passes beyond about 40 bring nothing"),
    ],
)
def test_repeated_sources_are_noted(tokens: int, says: str | None) -> None:
    notes = repeats("the mixture search", {"greek": tokens / 1200, "web": 0.5})
    assert [says in note for note in notes] == ([True] if says else [])


def test_shared_documents_are_noted(done: Path, tmp_path: Path) -> None:
    assert read_summary(done / "run")["notes"] == []
    path = tiny.write_tiny(tmp_path, final={"mixtures": [], "context": 32, "tokens": 2500, "batch_size": 4})
    with open(tmp_path / "source2.jsonl", "a") as handle:
        handle.write((tmp_path / "target.jsonl").read_text())
    summary = drive(load("search", path), tmp_path / "run", annotate=lambda found: [found["title"]])
    assert len(summary["notes"]) == 3
    assert "held-out documents of the target mix are also in source letters" in summary["notes"][0]
    assert read_summary(tmp_path / "run")["notes"] == summary["notes"]
