"""What a strategy is told is measured on other documents than what is reported."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import KINDS, SETTINGS, write_jsonl, write_tiny

from mixwright.decisions import read_decisions
from mixwright.experiment import drive
from mixwright.experiment import make as configured
from mixwright.experiment.text import evaluation
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.held_out import (
    REPORTED_PIECES,
    digest,
    is_for_strategies,
    middles,
    names_of,
    reported_documents,
    reported_pieces,
    strategy_pieces,
)
from mixwright.experiment.text.inputs import TokenSource, open_sources, read_target
from mixwright.experiment.text.proxies import online
from mixwright.strategies import BalancedPiKE, PiKE, SkillIt
from mixwright.text import byte_tokenizer, load_tokenizer, write_tokens
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import build_model

FIRST, SECOND, THIRD = KINDS
TOKENS = byte_tokenizer()


def texts(rows):
    """Return the documents of rows, each cut into chunks of the context."""
    found, document = {}, rows.chunk_documents
    for chunk, start, end in zip(document.tolist(), rows.ends[:-1], rows.ends[1:], strict=True):
        found[chunk] = found.get(chunk, "") + TOKENS.decode(rows.tokens[start:end])
    return set(found.values())


@settings(max_examples=40)
@given(numbers=st.lists(st.integers(0, 12), min_size=1, max_size=30), tokens=st.integers(1, 60))
def test_the_parts_share_no_document_and_results_come_first(tmp_path_factory, numbers, tokens):
    documents = [f"document {number}" for number in numbers]  # some of them several times
    store = write_tokens(tmp_path_factory.mktemp("told"), documents, TOKENS)
    reported = reported_documents(store, tokens)
    judged = names_of([reported])
    told = strategy_pieces(store, 10**6, judged)  # whole documents
    assert reported
    assert not names_of([told]) & judged
    assert names_of([told, reported]) <= names_of([TOKENS.encode(documents)])
    assert sum(map(len, reported_pieces(reported, tokens)[:-1])) < tokens  # no more than asked
    assert names_of([reported]) <= names_of([reported_documents(store, 5 * tokens)])
    assert sum(map(len, strategy_pieces(store, tokens, judged)[:-1])) < tokens
    every = [store.document(i) for i in range(store.documents)]
    if {is_for_strategies(digest(ids)) for ids in every} == {False, True}:
        assert all(not is_for_strategies(digest(ids)) for ids in reported)
        assert names_of([told]) == {digest(d) for d in every if is_for_strategies(digest(d))}


def test_few_tokens_come_from_the_middle_of_many_documents():
    long, short = np.arange(1000), np.arange(10)
    assert [piece.tolist() for piece in middles([long] * 40, 64)] == [[498, 499, 500, 501]] * 16
    assert [len(piece) for piece in middles([short, long, long], 400)] == [10, 200, 200]
    assert [len(piece) for piece in middles([short] * 2, 400)] == [10, 10]
    assert middles([], 400) == []


def test_results_rest_on_documents_from_all_over_a_source(tmp_path):
    store = write_tokens(tmp_path, [f"{i:04d} " * (2000 if i == 0 else 20) for i in range(1000)], TOKENS)
    documents = reported_documents(store, 1000, 10)
    pieces = reported_pieces(documents, 1000, 10)
    assert [len(piece) for piece in pieces] == [20] * REPORTED_PIECES  # of a book no more than of another document
    places = [int(TOKENS.decode(document)[:4]) for document in documents]
    assert np.histogram(places, 5, (0, 1000))[0].min() >= 3
    assert [len(piece) for piece in reported_pieces(documents, 1000, 64)] == [64] * 15 + [64]
    short = write_tokens(tmp_path / "short", ["a book " * 1000], TOKENS)
    assert [len(piece) for piece in reported_pieces(reported_documents(short, 1000), 1000)] == [1280]


def test_texts_that_are_in_a_source_and_a_target_are_not_told(tmp_path, monkeypatch):
    held = [f"held out {i} " * 3 for i in range(40)]
    stores = [write_tokens(tmp_path / name, held[a:b], TOKENS) for name, a, b in (("a", 0, 30), ("b", 10, 40))]
    sources = [TokenSource(name, store, store) for name, store in zip("ab", stores, strict=True)]
    write_jsonl(tmp_path / "target.jsonl", held[5:35])
    target = read_target("t", make(tmp_path).targets["mix"], "targets.mix")
    found = HeldOut([target], sources, TOKENS, 16, 8)
    monkeypatch.setattr(evaluation, "_STRATEGY_TOKENS", 10**6)  # whole documents
    told = set().union(*map(texts, [*found._strategy_sources.values(), *found._strategy_targets.values()]))
    sources_only = set().union(*(texts(rows) for rows in found._rows_of_sources(10**6).values()))
    assert len(told) > 5
    assert len(target.search) > 5
    assert not told & (set(target.held_out) | sources_only)
    assert texts(found._strategy_targets["t"]) == set(target.search) - sources_only


@pytest.mark.parametrize(("method", "named"), [("aioli", True), ("doge", False)])  # DoGE reads no held-out losses
def test_a_proxy_run_is_not_told_of_texts_that_targets_are_judged_on(tmp_path, monkeypatch, method, named):
    held = [f"held out {i} " * 3 for i in range(40)]
    store = write_tokens(tmp_path / "a", held, TOKENS)
    write_jsonl(tmp_path / "target.jsonl", held)
    target = read_target("t", make(tmp_path).targets["mix"], "targets.mix")
    values = {**SETTINGS, "search": {"method": method}, "targets": {"mix": "target.jsonl"}}
    config, seen = configured("search", values, folder=tmp_path), {}
    monkeypatch.setattr(online, "train", lambda *a, measures, **_: seen.update(folder=a[4].name, measures=measures))
    monkeypatch.setattr(evaluation, "_STRATEGY_TOKENS", 10**6)  # whole documents
    sources = [TokenSource(name, store, store) for name in KINDS]
    online.proxy_run(config, tmp_path, TOKENS, sources, [target], config.search.arm, None)
    told = set().union(*map(texts, seen["measures"]["eval_loss"].__self__._strategy_sources.values()))
    assert told
    assert not told & set(target.held_out)
    everything = set().union(*map(texts, HeldOut([], sources, TOKENS, 32, 4)._strategy_sources.values()))
    assert everything & set(target.held_out)  # of sources alone they would be told
    assert (seen["folder"] != f"{method}_uniform") == named


def make(folder, **changes):
    if not (folder / "target.jsonl").exists():
        write_tiny(folder)
    config = {
        "sources": SETTINGS["sources"], "targets": {"mix": "target.jsonl"}, "held_out": 0.3, "model": SETTINGS["model"],
        "strategy": {"name": "BalancedPiKE", "tau": 2},
        "training": {"steps": 4, "batch_size": 6, "context": 32, "observe_every": 2, "evaluate_every": 2, "lag": 1},
    }  # fmt: skip
    return configured("train", config | changes, folder=folder)


def test_a_training_tells_its_strategy_of_documents_that_its_results_do_not_rest_on(tmp_path):
    summary = drive(make(tmp_path), tmp_path / "run")
    last = read_decisions(tmp_path / "run").observations[-1]
    tokenizer = load_tokenizer(tmp_path / "run" / "tokenizer")
    model = build_model({"path": str(tmp_path / "run" / "model")}, tokenizer, 32, 0)
    target = read_target("mix", make(tmp_path).targets["mix"], "targets.mix")
    held = HeldOut([target], open_sources(list(KINDS), tmp_path / "run"), tokenizer, 32, 6)
    np.testing.assert_allclose(last.eval_loss, held.strategy_source_losses(model), rtol=1e-5)
    reported = [source["held_out_loss"] for source in summary["sources"]]
    np.testing.assert_allclose(reported, list(held.source_losses(model).values()), rtol=1e-5)
    assert not set(np.round(last.eval_loss, 4)) & set(np.round(reported, 4))
    assert summary["targets"][0]["loss"] != pytest.approx(held.strategy_target_losses(model)[0], rel=1e-4)


def test_a_source_with_too_few_documents_is_said(tmp_path):
    lines = write_tiny(tmp_path) and (tmp_path / "source0.jsonl").read_text().splitlines()
    many = [json.loads(line)["text"] for line in lines]
    one = write_tokens(tmp_path / "one", many[:1], TOKENS)
    rest = write_tokens(tmp_path / "rest", many[1:], TOKENS)
    held = HeldOut(
        [],
        [TokenSource("few", rest, one), TokenSource("many", one, rest), TokenSource("none", one, None)],
        TOKENS,
        16,
        8,
    )
    assert texts(held._rows_of_sources(10**6)["few"]) == set(many[:1])
    for strategy in (BalancedPiKE(1.0), SkillIt()):  # one reads held-out losses where it can, the other needs them
        (said,) = held.unreported(strategy)
        assert "no held-out loss of few:" in said
    assert held.unreported(PiKE()) == []
    model = build_model({**SETTINGS["model"], "vocab_size": TOKENS.vocab_size}, TOKENS, 16, 0)
    assert np.isnan(held.strategy_source_losses(model)).tolist() == [True, False, True]


def test_curves_of_a_large_target_are_measured_on_rows_from_all_over_it(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "target.jsonl", [f"document {i:03d} of a sorted file" for i in range(200)])
    target = read_target("mix", make(tmp_path).targets["mix"], "here")
    held = HeldOut([target], [], TOKENS, 16, 8)
    (everything,) = held._parts.values()
    assert texts(everything) == set(target.held_out)
    monkeypatch.setattr(evaluation, "_CURVE_TOKENS", 600)
    again = HeldOut([target], [], TOKENS, 16, 8)
    (sample,) = again._parts.values()
    assert 500 < sample.document_tokens.sum() < 700
    places = np.unique(sample.chunk_documents) / len(target.held_out)
    assert np.histogram(places, 4, (0, 1))[0] == pytest.approx(len(places) / 4, abs=4)
    assert sample.fingerprint == HeldOut([target], [], TOKENS, 16, 8)._parts[next(iter(again._parts))].fingerprint


def test_a_curve_that_a_former_version_began_is_of_one_part(tmp_path, monkeypatch):
    write_jsonl(tmp_path / "target.jsonl", [f"document {i:03d} of a sorted file" for i in range(200)])
    target = read_target("mix", make(tmp_path).targets["mix"], "here")
    monkeypatch.setattr(evaluation, "_CURVE_TOKENS", 600)
    held, name = HeldOut([target], [], TOKENS, 16, 8), f"mix@{target.fingerprint}"
    (now,) = held._parts
    assert now == f"{name}@rows"
    before = [{"step": i, "tokens": 9 * i, "loss": {f"{name}@sample": 1.0 * i}} for i in (1, 2)]
    after = {"step": 3, "tokens": 27, "loss": {now: 3.0}}
    assert [point["loss"] for point in held.curve(before)] == [{"mix": 1.0}, {"mix": 2.0}]
    assert [point["loss"] for point in held.curve([*before, after])] == [{"mix": 3.0}]


def test_few_long_documents_are_all_in_a_spread():
    documents = [np.full(3000 + 100 * i, i) for i in range(20)]  # each of one kind: a few of them would mislead
    rows = TargetRows.from_documents(documents, 64, "chunk", 99)
    part = rows.spread(10_000)
    assert part.document_tokens.sum() == pytest.approx(10_000, rel=0.02)
    assert set(part.chunk_documents.tolist()) == set(range(20))
    assert part.tokens.mean() == pytest.approx(rows.tokens.mean(), rel=0.02)
    assert rows.spread(10**6) is rows
    answers = TargetRows.from_questions([([1] * 5, [i % 7] * 3) for i in range(400)], 16, "answer", 99)
    some = answers.spread(300)
    assert (some.unit, set(some.skip.tolist()), some.document_tokens.sum()) == ("answer", {5}, 300)
