"""Count models as proxies: the quick search, both kinds in one folder, arms of a comparison, bad input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydantic")
pytest.importorskip("jinja2")

from comparing import SMALL
from tiny import KINDS, SETTINGS, write_jsonl, write_tiny

from mixwright.errors import InputError
from mixwright.experiment import drive, load
from mixwright.experiment import make as configured
from mixwright.experiment.text.proxies import counts
from mixwright.search.table.table import LikelihoodTable
from mixwright.text import TokenStore
from mixwright.text.ngram import count_ngrams
from mixwright.text.target_rows import TargetRows

WORDS = "count models of order 4"
UNITS = ("chunk", "token", "sequence")
QUICK = """
import sys
for name in ("torch", "transformers", "tokenizers"):
    sys.modules[name] = None
from mixwright.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a quick search that was made where torch is not installed."""
    folder = tmp_path_factory.mktemp("quick")
    answers = {"path": "questions.jsonl", "kind": "questions", "score": "answer"}
    targets = {"mix": "target.jsonl", "quiz": answers}
    path = write_tiny(folder, targets=targets, search={"likelihood": list(UNITS)})
    command = [sys.executable, "-c", QUICK, "search", path, "--quick", "--run", folder / "run", "--quiet"]
    subprocess.run([str(part) for part in command], check=True)
    return folder


def summary_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


def weights_of(summary: dict[str, Any], name: str) -> list[float]:
    return next(mixture["weights"] for mixture in summary["mixtures"] if mixture["name"] == name)


def test_it_needs_no_torch_and_says_what_it_rests_on(done: Path) -> None:
    summary = summary_of(done / "run")
    assert summary["runs"] == []
    assert f"; from {WORDS}, not checked by training" in summary["verdict"].splitlines()[0]
    assert weights_of(summary, "search_mix_chunk")[0] > 0.5
    tokens = [TokenStore.open(folder / "train").tokens for folder in (done / "run" / "tokens").iterdir()]
    assert summary["cost"]["counted_tokens"] == sum(tokens)
    mixture = json.loads((done / "run" / "mixture.json").read_text())
    assert mixture["method"]["proxies"] == WORDS
    greek = TokenStore.open(done / "run" / "tokens" / "greek" / "train")
    assert mixture["evidence"]["tokens_per_document"]["greek"] == greek.tokens / greek.documents
    assert "sample_by" not in mixture["evidence"]  # of files of text alone
    page = (done / "run" / "report.html").read_text(encoding="utf-8")
    assert f"estimated from {WORDS}" in page


@pytest.mark.parametrize("unit", [*UNITS, "answer"])
def test_rows_are_scored_per_unit(done: Path, unit: str) -> None:
    run, target = done / "run", "quiz" if unit == "answer" else "mix"
    table = LikelihoodTable.open(run / "ngram" / "table" / target / unit)
    assert table.complete
    assert list(table.sources) == list(KINDS)
    if unit != "answer":  # all units share out the same log-likelihood
        whole = LikelihoodTable.open(run / "ngram" / "table" / target / "sequence")
        assert np.allclose(table.block(0, table.n).sum(axis=0), whole.block(0, whole.n).sum(axis=0))
    else:
        rows = json.loads(Path(done / "questions.jsonl").read_text().splitlines()[0])
        answer = len(f" {rows['choices'][0]}".encode())
        assert -table.block(0, table.n).max() < answer * np.log(258)
        assert (table.block(0, table.n)[:, 0] > table.block(0, table.n)[:, 1]).all()


def test_a_column_is_that_of_the_count_model(done: Path) -> None:
    run = done / "run"
    store = TokenStore.open(run / "tokens" / "greek" / "train")
    table = LikelihoodTable.open(run / "ngram" / "table" / "mix" / "sequence")
    model = count_ngrams(store, 4)
    texts = [json.loads(line)["text"] for line in (done / "target.jsonl").read_text().splitlines()]
    rows = TargetRows.from_documents([np.frombuffer(t.encode(), np.uint8) for t in texts], 32, "sequence", store.bos)
    every = model.score(rows)
    assert all(np.isclose(every, value).any() for value in table.block(0, table.n)[:, 0])


def test_what_is_counted_is_not_counted_again(done: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, counted = load("search", done / "search.yaml", quick=True), []

    def counting(store: TokenStore, *rest: Any) -> Any:
        if len(counted) == 1 and stop:
            raise KeyboardInterrupt
        counted.append(store.name)
        return count_ngrams(store, *rest)

    monkeypatch.setattr(counts, "count_ngrams", counting)
    stop = True
    with pytest.raises(KeyboardInterrupt):
        drive(config, tmp_path / "run")
    stop = False
    again = drive(config, tmp_path / "run")
    assert counted == list(KINDS)
    assert again["mixtures"] == summary_of(done / "run")["mixtures"]
    drive(load("search", tmp_path / "run" / "config.yaml"), tmp_path / "run")
    assert counted == list(KINDS)


def test_neural_proxies_follow_in_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    path, run = write_tiny(tmp_path, final={**SETTINGS["final"], "mixtures": []}), tmp_path / "run"
    quick = drive(load("search", path, quick=True), run)
    neural = drive(load("search", path), run)
    assert "kind:" not in (run / "config.yaml").read_text().partition("\nproxy:")[2].partition("\nsearch:")[0]
    assert weights_of(neural, "search") != weights_of(quick, "search")
    assert "from the proxy models" in neural["verdict"] or "not checked by training" in neural["verdict"]
    assert WORDS not in json.dumps(neural)
    monkeypatch.setattr(counts, "count_ngrams", None)  # calling it would fail
    assert drive(load("search", path, quick=True), run)["mixtures"] == quick["mixtures"]


def test_large_sources_and_far_targets_are_noted(tmp_path: Path) -> None:
    path = write_tiny(tmp_path, targets={"mix": "target.jsonl", "far": "far.jsonl"}, quick=True)
    write_jsonl(tmp_path / "far.jsonl", [" ".join(f"{chr(200 + i + j)}ÿ" for j in range(20)) for i in range(30)])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"proxy": {"order": 3, "max_tokens": 5000}}))
    notes = drive(load("search", path), tmp_path / "run")["notes"]
    stores = [TokenStore.open(folder / "train") for folder in (tmp_path / "run" / "tokens").iterdir()]
    large = [
        f"the count model of {s.name} rests on 5,000 of its {s.tokens:,} tokens" for s in stores if s.tokens > 5000
    ]
    assert large
    assert [note.partition(", whole")[0] for note in notes if "rests on" in note] == large
    assert [note.partition(":")[0] for note in notes if "far from" in note] == [
        "the target far is far from all sources"
    ]


def test_arms_share_the_counts_and_are_charged_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    counted = []

    def counting(store: TokenStore, *rest: Any) -> Any:
        counted.append((store.name, *rest[:1]))
        return count_ngrams(store, *rest)

    monkeypatch.setattr(counts, "count_ngrams", counting)
    write_tiny(tmp_path)
    arms = [
        "uniform",
        {"baseline": "best_single", "proxy": "ngram"},
        {"search": "mixmin", "proxy": "ngram"},
        {"search": "mixmin", "proxy": {"kind": "ngram", "order": 2}},
        {"search": "worst_regret", "proxy": "ngram"},
    ]
    small = SMALL | {"arms": arms, "final": {**SMALL["final"], "tokens": 600}}
    summary = drive(configured("compare", small, folder=tmp_path), tmp_path / "run")
    assert sorted(counted) == sorted((name, order) for name in KINDS for order in (4, 2))  # not for each seed
    found = {arm["name"]: arm for arm in summary["arms"]}
    assert list(found) == ["uniform", "best_single_ngram", "mixmin_ngram", "mixmin_ngram2", "worst_regret_ngram"]
    assert {arm["search_cost"] for arm in found.values()} == {0}
    assert {arm["total_cost"] for arm in found.values()} == {512}
    assert found["mixmin_ngram2"]["words"].endswith("; count models of order 2")
    assert not (tmp_path / "run" / "seed_0" / "proxies").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"proxy": "trigram"}, "should be 'neural' or 'ngram'"),
        ({"proxy": {"order": 3}}, "there is no key order with kind: neural"),
        ({"proxy": {"kind": "ngram", "tokens": 5000}}, "there is no key tokens with kind: ngram"),
        ({"proxy": {"kind": "ngram", "order": 0}}, "order"),
        ({"proxy": "ngram", "final": {"equal_cost": True}}, "equal_cost needs neural proxies"),
        ({"quick": "soon"}, "quick"),
        ({"quick": True, "proxy": {"token": 5000}}, r"proxy\.token: there is no such key; did you mean 'tokens'"),
    ],
)
def test_bad_configurations(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_tiny(tmp_path)
    with pytest.raises(InputError, match=says):
        configured("search", SETTINGS | changes, folder=tmp_path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quick": True}, "there is no key quick in a comparison"),
        ({"proxy": "ngram", "arms": [{"search": "mixmin", "proxy": "neural"}]}, "needs the settings of neural proxies"),
        ({"arms": [{"baseline": "uniform", "proxy": "ngram"}]}, "proxy belongs to a search or to best_single"),
        ({"arms": [{"search": "mixmin", "proxy": {"kind": "neural", "order": 3}}]}, "belong to count models"),
        ({"arms": ["mixmin", {"search": "mixmin", "proxy": {"kind": "bigram"}}]}, "should be 'neural' or 'ngram'"),
    ],
)
def test_bad_comparisons(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_tiny(tmp_path)
    with pytest.raises(InputError, match=says):
        configured("compare", SMALL | changes, folder=tmp_path)


def test_an_order_above_the_data_is_refused_before_anything_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "count_ngrams", None)
    path = write_tiny(tmp_path, quick=True, proxy={"order": 500})
    with pytest.raises(
        InputError, match=r"order: should be at most \d+, found 500: the longest document of the source"
    ):
        drive(load("search", path), tmp_path / "run")


@pytest.mark.parametrize(
    ("proxy", "arm", "key"),
    [
        ({}, {"kind": "ngram", "order": 500}, r"arms\.1\.proxy\.order"),
        ({"proxy": {"kind": "ngram", "order": 500}}, {"kind": "ngram"}, r"key proxy\.order"),
        ({"proxy": {"kind": "ngram", "order": 2}}, {"kind": "ngram", "order": 500}, r"arms\.1\.proxy\.order"),
    ],
)
def test_an_order_of_an_arm_is_named_where_it_stands(tmp_path, proxy, arm, key) -> None:
    pytest.importorskip("transformers")
    write_tiny(tmp_path)
    arms = ["uniform", {"search": "mixmin", "proxy": arm}]
    small = SMALL | {"arms": arms, "final": {**SMALL["final"], "tokens": 600}} | proxy
    with pytest.raises(InputError, match=key + r": should be at most \d+, found 500"):
        drive(configured("compare", small, folder=tmp_path), tmp_path / "run")


def test_a_target_without_a_token_of_the_sources_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "count_ngrams", None)
    path = write_tiny(tmp_path, quick=True)
    write_jsonl(tmp_path / "target.jsonl", ["ÿ" * (20 + i) for i in range(30)])
    with pytest.raises(InputError, match="mix: a target should share tokens with the sources, found none"):
        drive(load("search", path), tmp_path / "run")


def test_a_large_source_is_not_better_for_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "_LEAST", 2_000)
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(300)]
    path = write_tiny(tmp_path, quick=True)
    for name, documents in {"small": 40, "large": 800, "target": 60}.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [" ".join(rng.choice(words, 30)) for _ in range(documents)])
    settings = json.loads(path.read_text()) | {"sources": {"small": "small.jsonl", "large": "large.jsonl"}}
    path.write_text(json.dumps(settings))
    even = drive(load("search", path), tmp_path / "even")
    assert even["mixtures"][0]["weights"] == pytest.approx([0.5, 0.5], abs=0.15)
    assert sum(note.startswith("count models rest on") for note in even["notes"]) == 1

    path.write_text(json.dumps(settings | {"proxy": {"max_tokens": 10**8}}))  # all of both
    uneven = drive(load("search", path), tmp_path / "uneven")
    assert uneven["mixtures"][0]["weights"][1] > 0.9
    assert [note for note in uneven["notes"] if "far fewer tokens" in note and ": small " in note]
