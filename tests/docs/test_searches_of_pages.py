"""The searches that pages show end with a verdict: their files and configurations, with smaller budgets."""

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("sybil", reason="reads the blocks of the pages (extra dev)")
from blocks import ROOT, commands, language, read
from tiny_runs import MODEL, tiny_tox21
from typer.testing import CliRunner

from mixwright.cli.app import app


def test_the_quick_start_ends_with_a_verdict(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="trains language models")
    monkeypatch.chdir(tmp_path)
    page = read(ROOT / "docs" / "quick-start.md")
    examples = list(page.examples())
    files = next(example for example in examples if language(example) == "python")
    files.evaluate()
    for path in Path("data").glob("*.jsonl"):  # the first documents, cut short: the whole takes minutes
        lines = [json.loads(line)["text"][:2000] for line in path.read_text().splitlines()[:40]]
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in lines))
    config = yaml.safe_load(next(example.parsed for example in examples if language(example) == "yaml"))
    config["model"] = MODEL
    config["proxy"]["tokens"] = config["final"]["tokens"] = 4096
    Path("search.yaml").write_text(json.dumps(config))
    search, show, report = (
        words for words in commands(page) if words[1] in ("search", "show", "report") and "--schema" not in words
    )
    for words in (search, show, [word for word in report if word != "--open"]):
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, done.output
        assert "uniform" in done.output or "page:" in done.output
    assert json.loads(Path("runs/search/summary.json").read_text())["verdict"]


def test_the_tutorial_on_assays_ends_with_a_verdict(tmp_path, monkeypatch):
    pytest.importorskip("xgboost", reason="trains boosters")
    pytest.importorskip("rdkit", reason="reads SMILES")
    monkeypatch.chdir(tmp_path)
    tiny_tox21()
    page = read(ROOT / "docs" / "tutorial-assays.md")
    config = yaml.safe_load(next(example.parsed for example in page.examples() if language(example) == "yaml"))
    Path("assays.yaml").write_text(json.dumps(config | {"split": {"seeds": 1}, "classifier": {"trees": 3}}))
    done = CliRunner().invoke(app, commands(page)[0][1:])
    assert done.exit_code == 0, done.output
    assert "target_alone" in done.output
    assert json.loads(Path("runs/p53/summary.json").read_text())["verdict"]
    assert Path("runs/p53/row_weights.parquet").exists()
