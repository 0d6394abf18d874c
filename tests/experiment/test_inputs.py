import json
import os
from pathlib import Path
from typing import Any

import pytest

from mixwright.errors import InputError
from mixwright.experiment import load, make
from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.core.stages import silent
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import TokenSource, about_documents, check_inputs, read_target, tokenize_sources
from mixwright.experiment.text.overlaps.input_notes import about_inputs, passes_over
from mixwright.experiment.text.source_files import check_sources, source_documents
from mixwright.text import byte_tokenizer


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    jsonl(tmp_path / "a.jsonl", [{"text": f"a {i}"} for i in range(50)])
    jsonl(tmp_path / "b.jsonl", [{"text": f"b {i}"} for i in range(50)])
    jsonl(tmp_path / "t.jsonl", [{"text": f"t {i % 60}"} for i in range(100)])
    rows = [{"question": f"Which {i}?", "choices": ["one", "two"], "answer": i % 2} for i in range(40)]
    jsonl(tmp_path / "q.jsonl", rows)
    return tmp_path


def config(folder: Path, **more: Any) -> SearchConfig:
    value = {"sources": {"a": "a.jsonl", "b": "b.jsonl"}, "targets": {"t": "t.jsonl"}} | more
    return make("search", value, folder=folder)


def test_good_inputs_pass(data: Path) -> None:
    before = sorted(data.rglob("*"))
    check_inputs(config(data, targets={"t": "t.jsonl", "q": {"path": "q.jsonl", "kind": "questions"}}))
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sources": {"a": "none.jsonl"}}, ["sources.a", "none.jsonl"]),
        ({"sources": {"a": {"path": "a.jsonl", "field": "body"}}}, ["sources.a", "'body'", "text"]),
        ({"sources": {"a": "empty.jsonl"}}, ["sources.a", "at least one document"]),
        ({"sources": {"a": "latin.txt"}}, ["sources.a", "UTF-8"]),
        ({"targets": {"t": {"path": "t.jsonl", "kind": "questions"}}}, ["targets.t", "question"]),
        ({"search": {"floors": {"a": 0.7, "b": 0.7}}}, ["search", "floors should sum to at most 1"]),
        ({"search": {"caps": {"a": 0.1, "b": 0.1}}}, ["search", "caps should sum to at least 1"]),
        ({"search": {"caps": {"bb": 0.1}}}, ["search", "did you mean 'b'?"]),
        ({"search": {"prior": {"a": 0.5, "c": 0.5}}}, ["search.prior", "b, c"]),
        ({"search": {"prior": {"a": 0.5, "b": 0.1}}}, ["search.prior", "sum to 1"]),
        ({"proxy": {"checkpoints": {"c": "x"}}}, ["proxy.checkpoints.c", "name of a source"]),
        ({"proxy": {"checkpoints": {"a": "x"}}}, ["proxy.checkpoints.a", "config.json"]),
        ({"model": {"path": "x"}}, ["model.path", "config.json"]),
        ({"proxy": {"model": "x"}}, ["proxy.model.path", "config.json"]),
        ({"tokenizer": {"kind": "path", "path": "x"}}, ["tokenizer.path", "folder with a tokenizer"]),
        ({"model": {"model_type": "gpt_neoxx"}}, ["model", "did you mean 'gpt_neox'"]),
        ({"model": {"model_type": "gpt_neox", "hiden_size": 8}}, ["model", "did you mean 'hidden_size'"]),
    ],
)
def test_faults_are_found_before_any_work(data: Path, more: dict[str, Any], says: list[str]) -> None:
    (data / "empty.jsonl").write_text("")
    (data / "latin.txt").write_bytes("é".encode("latin-1"))
    before = sorted(data.rglob("*"))
    with pytest.raises(InputError) as caught:
        check_inputs(config(data, **more))
    for part in says:
        assert part in str(caught.value)
    assert sorted(data.rglob("*")) == before


def test_the_line_is_named(data: Path) -> None:
    (data / "s.yaml").write_text("sources:\n  a: a.jsonl\n  b: none.jsonl\ntargets:\n  t: t.jsonl\n")
    with pytest.raises(InputError, match=r"s\.yaml, line 3, key sources\.b: .*none\.jsonl"):
        check_inputs(load("search", data / "s.yaml"))


def test_a_target_is_split_by_content_without_duplicates(data: Path) -> None:
    target = read_target("t", config(data).targets["t"], "here")
    assert len(target.search) + len(target.held_out) == 60
    assert not set(target.search) & set(target.held_out)
    assert 15 < len(target.held_out) < 45


def test_questions_are_texts_or_pairs(data: Path) -> None:
    settings = {"path": "q.jsonl", "kind": "questions"}
    joint = read_target("q", config(data, targets={"q": settings}).targets["q"], "here")
    assert all(isinstance(item, str) and item.endswith((" one", " two")) for item in joint.search)
    answer = read_target("q", config(data, targets={"q": settings | {"score": "answer"}}).targets["q"], "here")
    assert {getattr(item, "answer", None) for item in answer.search} == {" one", " two"}


def test_a_target_of_one_document_is_an_error(data: Path) -> None:
    jsonl(data / "one.jsonl", [{"text": "alone"}])
    with pytest.raises(InputError, match="here: there should be documents in both parts"):
        read_target("t", config(data, targets={"t": "one.jsonl"}).targets["t"], "here")


def tokens_of(settings: SearchConfig, folder: Path) -> tuple[dict[str, TokenSource], list[str]]:
    """Return the sources as tokens, and the notes on them."""
    prints = check_sources(settings, folder, silent)
    found = tokenize_sources(settings, folder, byte_tokenizer(), prints, silent)
    return {source.name: source for source in found}, about_inputs(settings, [], found)


def documents(source: TokenSource) -> int:
    return source.train.documents + (source.held_out.documents if source.held_out else 0)


SMALL = {"final": {"context": 8}, "held_out": 0.1}


def test_lists_patterns_links_and_samples_of_sources(data: Path) -> None:
    (data / "blobs").mkdir()
    jsonl(data / "blobs" / "0f343b", [{"text": f"c {i} and more"} for i in range(30)])
    os.symlink(data / "blobs" / "0f343b", data / "c.jsonl")
    sources = {
        "list": ["a.jsonl", "b.jsonl"],
        "pattern": {"path": "[ab].jsonl"},
        "hub": "c.jsonl",
        "sample": {"path": "a.jsonl", "max_documents": 20},
    }
    settings = config(data, sources=sources, **SMALL)
    check_inputs(settings)
    found, notes = tokens_of(settings, data / "run")
    assert {name: documents(source) for name, source in found.items()} == {
        "list": 100,
        "pattern": 100,
        "hub": 30,
        "sample": 20,
    }
    assert found["list"].train.fingerprint == found["pattern"].train.fingerprint
    assert [note for note in notes if "are the same text" not in note] == []
    assert make("search", settings.dumped(), folder=data) == settings
    sampled = list(source_documents(settings.sources["sample"]))
    assert sampled != [f"a {i}" for i in range(20)]
    assert sampled == list(source_documents(settings.sources["sample"]))


def test_a_text_file_is_one_document_which_is_said_before_work_or_is_split(data: Path) -> None:
    text = "".join(f"law {i}\nand more\n\n" for i in range(40))
    (data / "law.txt").write_text(text)
    said = []
    settings = config(data, sources={"law": "law.txt", "b": "b.jsonl"}, **SMALL | {"held_out": 0.02})
    prints = check_sources(settings, data / "run", silent)
    found = tokenize_sources(settings, data / "run", byte_tokenizer(), prints, lambda *a: said.append(a))
    assert documents(found[0]) == 1
    first = next(note for stage, _, _, note in said if stage == "plan")
    assert first.startswith("law is one document, the file law.txt: nothing of it can be held out")
    assert "sample_by: line or paragraph" in first
    assert about_inputs(settings, [], found) == [first]
    assert about_documents(settings, found)["sample_by"] == {"law": "document"}
    os.rename(data / "law.txt", other := os.fsencode(data) + b"/law-\xff.txt")
    assert about_inputs(settings, [], found) == []  # it was read; nothing is made of it now
    assert about_documents(settings, found).keys() == {"tokens_per_document"}
    strange = config(data, sources={"law": os.fsdecode(other), "b": "b.jsonl"}, **SMALL | {"held_out": 0.02})
    (note,) = about_inputs(strange, [], found)
    assert "law-\ufffd.txt" in note
    os.rename(other, data / "law.txt")
    for way, pieces in (
        ("line", {*(f"law {i}" for i in range(40)), "and more"}),
        ("paragraph", set(text.split("\n\n")[:-1])),
    ):
        given = {"law": {"path": "law.txt", "sample_by": way}, "b": "b.jsonl"}
        split = config(data, sources=given, **SMALL | {"held_out": 0.02})
        assert set(source_documents(split.sources["law"])) == pieces
        now, notes = tokens_of(split, data / "run")  # the folder has tokens of the whole file
        assert documents(now["law"]) == {"line": 80, "paragraph": 40}[way]
        assert not [note for note in notes if "one document" in note]


def test_errors_say_that_a_text_file_is_one_document(data: Path) -> None:
    (data / "law.txt").write_text("".join(f"law {i}\n" for i in range(300)))
    says = r"the file law\.txt counts as one document: sample_by: line or paragraph splits it"
    with pytest.raises(InputError, match=f"found none .*{says}"):
        read_target("t", config(data, targets={"t": "law.txt"}).targets["t"], "here")
    target = read_target(
        "t", config(data, targets={"t": {"path": "law.txt", "sample_by": "line"}}).targets["t"], "here"
    )
    assert len(target.search) + len(target.held_out) == 300
    jsonl(data / "inside.jsonl", [{"text": "".join(f"law {i}\n" for i in range(j, j + 30))} for j in range(100)])
    dropping = {"law": {"path": "law.txt", "overlap": "drop"}, "b": "b.jsonl"}
    with pytest.raises(InputError, match=f"all its documents .*{says}"):
        tokens_of(config(data, sources=dropping, targets={"t": "inside.jsonl"}, **SMALL), data / "run")
    short = config(data, sources={"law": "law.txt", "b": "b.jsonl"}, final={"context": 8000})
    with pytest.raises(InputError, match=f"should have at least 8001 tokens .*{says}"):
        check_sources(short, data / "other", silent)
    with pytest.raises(InputError, match="sample_by is for files of text"):
        check_inputs(config(data, sources={"a": {"path": "a.jsonl", "sample_by": "line"}, "b": "b.jsonl"}))
    with pytest.raises(InputError, match="sample_by is for documents"):
        config(data, targets={"q": {"path": "q.jsonl", "kind": "questions", "sample_by": "line"}})


def test_copies_within_a_source_are_said_and_count_as_passes(data: Path) -> None:
    texts = [f"{'x' * (i % 7)} words {i}" for i in range(60)]
    jsonl(data / "a.jsonl", [{"text": text} for text in texts] * 3)
    jsonl(data / "b.jsonl", [{"text": text} for text in [*(f"fresh {i}" for i in range(100)), "fresh 1"]])
    found, notes = tokens_of(config(data, **SMALL), data / "run")
    passes = passes_over(list(found.values()))
    assert passes["a"] == pytest.approx(3)
    assert 1 <= passes["b"] < 1.02
    assert [note.partition(";")[0] for note in notes] == [
        "a: 66.7 % of its text is in documents that are copies, word for word, of others of the source, so one pass "
        "shows each text 3.0 times in the mean (notes on repetition count that)"
    ]
    assert repeats("it", {"a": 2.0, "b": 2.0}, copies=passes)[0].startswith(
        "it goes 6.0 times through a (with its copies): "
    )


def test_null_and_empty_texts_are_counted_also_when_the_tokens_are_there_already(data: Path) -> None:
    rows = [{"text": f"a {i} and more"} for i in range(50)] + [{"text": None}, {"text": ""}, {"text": None}]
    jsonl(data / "a.jsonl", rows)
    with pytest.raises(InputError, match=r"sources\.a.*line 51: .*found null; .*\(invalid: drop\)"):
        check_sources(config(data, **SMALL), data / "run", silent)
    settings = config(data, sources={"a": {"path": "a.jsonl", "invalid": "drop"}}, **SMALL)
    for _ in range(2):
        found, notes = tokens_of(settings, data / "run")
        assert documents(found["a"]) == 50
        assert notes == ["a: 1 text left out: empty", "a: 2 texts left out: null"]


def test_null_texts_of_a_target_are_left_out_when_asked(data: Path) -> None:
    rows = [{"text": f"t {i} and more"} for i in range(50)] + [{"text": None}, {"text": ""}, {"text": None}]
    jsonl(data / "t.jsonl", rows)
    with pytest.raises(InputError, match=r"line 51: .*found null; .*\(invalid: drop\)"):
        read_target("exam", config(data, targets={"exam": "t.jsonl"}, **SMALL).targets["exam"], "here")
    settings = config(data, targets={"exam": {"path": "t.jsonl", "invalid": "drop"}}, **SMALL)
    target = read_target("exam", settings.targets["exam"], "here")
    assert len(target.search) + len(target.held_out) == 50
    assert target.notes == ("1 text left out: empty", "2 texts left out: null")
    for part in ("sources", "targets"):
        with pytest.raises(InputError, match="invalid is for documents"):
            config(data, **{part: {"a": {"path": "a.jsonl", "kind": "questions", "invalid": "drop"}}}, **SMALL)


def test_files_beside_the_data_of_sources_and_targets_are_counted(data: Path) -> None:
    for name, file in (("web", "a.jsonl"), ("exam", "t.jsonl")):
        (data / name).mkdir()
        (data / file).rename(data / name / file)
        (data / name / "README.md").write_text("about")
    settings = config(data, sources={"web": "web"}, targets={"exam": "exam"}, **SMALL)
    found, notes = tokens_of(settings, data / "run")
    target = read_target("exam", settings.targets["exam"], "here")
    assert documents(found["web"]) == 50
    assert "README.md" in notes[0]
    assert [note.partition(":")[0] for note in about_inputs(settings, [target], [])] == ["the target exam"]
    (data / "web" / "README.md").write_text("changed")
    assert check_sources(settings, data / "run", silent)["web"] == check_sources(settings, data / "new", silent)["web"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (3, "should be a path or a list of paths, found 3"),
        ([], r"should be a path or a list of paths, found \[\]"),
        (["a.jsonl", 3], "should be a path or a list of paths"),
        ("x*.jsonl", "this pattern should match files, found none"),
        (["a.jsonl", "x.jsonl"], r"x\.jsonl: there should be a file or folder here"),
    ],
)
def test_paths_that_are_none(data: Path, path: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"sources.a.*{says}"):
        check_inputs(config(data, sources={"a": {"path": path}, "b": "b.jsonl"}))


def test_questions_are_a_source_too(data):
    short = {"sources": {"q": {"path": "q.jsonl", "kind": "questions"}}, "final": {"context": 16, "batch_size": 1}}
    settings = config(data, **short)
    texts = list(source_documents(settings.sources["q"]))
    assert texts[:2] == ["Question: Which 0?\nAnswer: one", "Question: Which 1?\nAnswer: two"]
    assert len(texts) == 40
    plain = config(data, **short | {"sources": {"q": {"path": "q.jsonl", "field": "question"}}})
    prints = [check_sources(each, data / "run", silent)["q"] for each in (settings, plain)]
    assert prints[0] != prints[1]
