import json
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixwright.errors import InputError
from mixwright.experiment.demo import data as demo_data

CODE = '''"""Module words."""
import os  # a comment

# another
def f(x, *, y="# no comment"):
    """Function
    words."""
    return {
        "k": x,  # why
    }


class C:
    """Only words."""
'''


def test_code_and_docstrings_are_told_apart() -> None:
    code, prose = demo_data.split_code(CODE)
    assert code == 'import os\ndef f(x, *, y="# no comment"):\n    return {\n        "k": x,\n    }\nclass C:\n'
    assert "Module words." in prose
    assert "Function\nwords." in prose
    assert "Only words." in prose


def test_cut_leaves_no_duplicates_and_keeps_the_size() -> None:
    texts = [f"line {i}\n" * 200 for i in range(50)] * 2
    documents = demo_data.cut(texts, largest=20_000)
    assert len(set(documents)) == len(documents)
    assert 10_000 < sum(map(len, documents)) <= 20_000
    assert documents == demo_data.cut(texts, largest=20_000)
    assert max(map(len, demo_data.cut(["a b c\n" * 20_000]))) <= 20_000


@pytest.mark.slow
def test_this_python_has_enough(tmp_path: Path) -> None:
    sources, absent, code_share = demo_data.write_demo_data(tmp_path, lambda *_: None)
    assert len(sources) + len(absent) == len(demo_data.SOURCES)
    assert len(sources) >= 5
    assert 0.5 < code_share < 0.95
    for name in [*sources, "target"]:
        rows = [json.loads(line)["text"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        assert sum(map(len, rows)) >= 100_000
        assert len(set(rows)) == len(rows)


def test_a_python_without_pydoc_topics_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["some words of text\n" * 20 + str(i) for i in range(500)]  # quick to read
    sources = {name: (about, lambda: texts) for name, (about, _) in demo_data.SOURCES.items()}
    sources["language_manual"] = (sources["language_manual"][0], lambda: iter(()))
    monkeypatch.setattr(demo_data, "SOURCES", sources)
    written, absent, _ = demo_data.write_demo_data(tmp_path, lambda *_: None)
    assert "language_manual" not in written
    assert any("language_manual" in sentence and "too little" in sentence for sentence in absent)


def test_too_little_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data, "SOURCES", {"python_code": ("code", lambda: iter(()))})
    with pytest.raises(InputError, match="too little text for the demo"):
        demo_data.write_demo_data(tmp_path, lambda *_: None)
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_pages_are_of_other_packages(monkeypatch):
    """The README shows the demo's result: read as a source, it would change it."""
    found = []
    for name in ("numpy", "mixwright"):
        metadata = Message()
        metadata["Name"], metadata["Description"] = name, f"the page of {name}"
        found.append(SimpleNamespace(metadata=metadata))
    monkeypatch.setattr(demo_data.importlib.metadata, "distributions", lambda: found)
    assert list(demo_data.SOURCES["package_pages"][1]()) == ["the page of numpy"]
