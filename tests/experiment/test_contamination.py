import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import tiny

from mixwright.compare.documents import FEWEST_JUDGED, compare_clean, doubt_of
from mixwright.errors import InputError
from mixwright.experiment import drive, load, make
from mixwright.experiment.core.stages import silent
from mixwright.experiment.text.inputs import TokenSource, read_target, tokenize_sources
from mixwright.experiment.text.overlaps.contamination import Contamination
from mixwright.experiment.text.source_files import check_sources
from mixwright.text import byte_tokenizer


def texts(seed: int, count: int, kind: str = "greek") -> list[str]:
    rng = random.Random(seed)
    return [tiny.words(rng, tiny.KINDS[kind], 60) for _ in range(count)]


def prepared(folder: Path, sources: dict[str, Any], target: list[str]) -> tuple[Contamination, list[TokenSource], Any]:
    """Return the overlaps of sources, given as texts or as settings, with a target."""
    tiny.write_jsonl(folder / "t.jsonl", target)
    for name, found in sources.items():
        tiny.write_jsonl(folder / f"{name}.jsonl", found["texts"])
    named = {n: {"path": f"{n}.jsonl", **{k: v for k, v in s.items() if k != "texts"}} for n, s in sources.items()}
    config = make("search", {"sources": named, "targets": {"t": "t.jsonl"}, "held_out": 0.01}, folder=folder)
    run, tokenizer = folder / "run", byte_tokenizer()
    tokens = tokenize_sources(config, run, tokenizer, check_sources(config, run, silent), silent)
    goal = read_target("t", config.targets["t"], "t")
    return Contamination(run, tokenizer, [goal], tokens), tokens, goal


def test_documents_of_a_source_are_counted_word_for_word_and_nearly(tmp_path: Path) -> None:
    target, own = texts(0, 60), texts(1, 60)
    nearly = [f"{text[:-30]} and then something else" for text in target[:20]]
    sources = {"web": {"texts": own + target[20:50]}, "books": {"texts": own[:30] + nearly}, "none": {"texts": own}}
    found, _, goal = prepared(tmp_path, sources, target)
    for part in ("held_out", "search"):
        items = getattr(goal, part)
        by = {o.source: o for o in found.overlaps if o.part == part}
        assert set(by) == {"web", "books"}
        assert [t for t, is_in in zip(items, by["books"].near, strict=True) if is_in] == [
            t for t in items if t in target[:20]
        ]
        assert not by["books"].exact.any()
        exact = {t for t, is_in in zip(items, by["web"].exact, strict=True) if is_in}
        assert exact <= set(target[20:50])
        assert len(exact) >= len([t for t in items if t in target[20:50]]) - 2  # few are held out of the source
        clean = {t for t, is_clean in zip(items, found.clean("t", part), strict=True) if is_clean}
        assert clean == set(items) - exact - set(target[:20])
    assert any("nearly word for word" in note and "source books" in note for note in found.notes())


def test_overlaps_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = texts(0, 40)
    sources = {"web": {"texts": texts(1, 40) + target}, "other": {"texts": texts(2, 40)}}
    first, tokens, goal = prepared(tmp_path, sources, target)
    monkeypatch.setattr("mixwright.experiment.text.overlaps.contamination.TargetDocuments", None)
    again = Contamination(tmp_path / "run", byte_tokenizer(), [goal], tokens)
    assert again.notes() == first.notes() != []


def test_overlapping_documents_are_left_out_of_a_source(tmp_path: Path) -> None:
    target, own = texts(0, 40), texts(1, 60)
    inside = [f"{own[0]}. {target[0]}. {own[1]}"]  # a longer document that contains one
    sources = {"web": {"texts": own + target + inside, "overlap": "drop"}, "same": {"texts": own + target}}
    found, tokens, _ = prepared(tmp_path, sources, target)
    web, same = tokens
    kept = {byte_tokenizer().decode(web.train.document(i)) for i in range(web.train.documents)}
    assert kept <= set(own)
    assert {o.source for o in found.overlaps} == {"same"}
    assert "left_out" not in same.train.meta
    assert "that are also in a target (overlap: drop)" in web.train.meta["left_out"][0]


def test_dropping_everything_or_without_a_target_is_an_error(tmp_path: Path) -> None:
    target = texts(0, 40)
    with pytest.raises(InputError, match=r"sources\.web: all its documents are also in a target"):
        prepared(tmp_path, {"web": {"texts": target, "overlap": "drop"}}, target)
    training = {"sources": {"a": {"path": "web.jsonl", "overlap": "drop"}}, "weights": "uniform"}
    with pytest.raises(InputError, match="overlap: drop needs targets"):
        make("train", training, folder=tmp_path)


def test_the_word_is_kept_only_if_clean_documents_have_it_too() -> None:
    rng = np.random.default_rng(0)
    tokens, noise = np.full(100, 50.0), rng.normal(0, 1, 100)
    overlapping = np.arange(100) < 60
    everywhere = compare_clean(noise - 5, 0 * noise, tokens, "uniform", 0.9, ~overlapping, "60 of 100")
    assert everywhere.word == "better"
    there_alone = compare_clean(noise - 5 * overlapping, 0 * noise, tokens, "uniform", 0.9, ~overlapping, "60 of 100")
    assert there_alone.verdict.startswith("unverified: 60 of 100; with them the verdict is 'better', without them 'no")
    few = compare_clean(noise - 5, 0 * noise, tokens, "uniform", 0.9, np.arange(100) < 8, "92 of 100")
    assert few.verdict == f"unverified: 92 of 100, and only 8 are in none; a verdict needs at least {FEWEST_JUDGED}"
    most = compare_clean(noise - 5, 0 * noise, tokens, "uniform", 0.9, np.arange(100) < 12, "88 of 100")
    assert most.word == "better"
    assert doubt_of("212 of 225", 13, "better", "better", 225).endswith("13 are in none; a verdict needs at least 22")
    assert doubt_of("202 of 225", 23, "better", "better", 225) == ""
    assert doubt_of("", FEWEST_JUDGED, "better", "better") == ""
    assert doubt_of("", FEWEST_JUDGED - 1, "better", "better").startswith("9 held-out documents are too few")


def test_a_target_that_is_also_a_source_is_unverified(tmp_path: Path) -> None:
    """Nearly all held-out documents are in source 0, word for word, which a search therefore likes."""
    path = tiny.write_tiny(tmp_path, held_out=0.01)
    target = texts(5, 40)
    tiny.write_jsonl(tmp_path / "target.jsonl", target)
    tiny.write_jsonl(tmp_path / "source0.jsonl", target)
    summary = drive(load("search", path), tmp_path / "run")
    held = next(t["held_out_documents"] for t in summary["targets"])
    assert summary["verdict"].startswith("search on mix: unverified: ")
    assert (
        f"of {held} held-out documents of the target mix are also in source greek, word for word" in summary["verdict"]
    )
    assert {c["word"] for c in summary["comparisons"]} == {"unverified"}
    assert summary["searches"][0]["verdict"].startswith("unverified: ")
    assert json.loads((tmp_path / "run" / "mixture.json").read_text())["verdict"] == summary["verdict"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Better than uniform" not in page
    assert '<p class="state open"><bdi>Unverified</bdi></p>' in page
