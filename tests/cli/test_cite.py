import json
import re

import pytest

pytest.importorskip("typer", reason="the command line (extra cli)")

from typer.testing import CliRunner

from mixwright import InputError
from mixwright.cli.app import app
from mixwright.cli.cite import _methods, bibtex
from mixwright.strategies.wrappers.wrapper import Wrapper

OF_NO_PAPER = {"Static", "Schedule", "WorstRegret"}
METHODS = {name: cls for name, cls in _methods().items() if not issubclass(cls, Wrapper)}
FIELD = re.compile(r"^  (\w+) = \{(.+)\},$")


def parsed(entry):
    """Return kind, key and fields of an entry; it must have balanced braces and nothing else."""
    first, *lines, last = entry.splitlines()
    assert last == "}"
    assert entry.count("{") == entry.count("}")
    kind, key = re.fullmatch(r"@(\w+)\{([a-z0-9]+),", first).groups()
    return kind, key, dict(FIELD.fullmatch(line).groups() for line in lines)


@pytest.mark.parametrize("name", sorted(set(METHODS) - OF_NO_PAPER))
def test_every_method_of_a_paper_has_an_entry(name):
    kind, key, fields = parsed(bibtex(name))
    assert kind in ("inproceedings", "misc")
    assert {"title", "author", "year"} <= set(fields)
    assert fields["title"].startswith("{")
    assert fields["year"] in key
    assert 2015 < int(fields["year"]) < 2030
    assert "," not in fields["author"]
    assert "eprint" in fields


def test_doremi():
    runner = CliRunner()
    shown = runner.invoke(app, ["cite", "DoReMi"])
    assert shown.exit_code == 0
    assert shown.output == (
        "@inproceedings{xie2023doremi,\n"
        "  title = {{DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining}},\n"
        "  author = {Xie and Pham and Dong and Du and Liu and Lu and Liang and Le and Ma and Yu},\n"
        "  booktitle = {NeurIPS},\n"
        "  year = {2023},\n"
        "  eprint = {2305.10429},\n"
        "  archivePrefix = {arXiv},\n"
        "  url = {https://arxiv.org/abs/2305.10429},\n"
        "}\n"
    )
    assert parsed(bibtex("skill-it"))[2]["author"].endswith("Sala and Ré")
    assert parsed(bibtex("odm"))[0] == "misc"  # of no conference
    assert parsed(bibtex("unimax"))[2]["author"] == "Chung and others"
    assert parsed(bibtex("balanced pike"))[2]["eprint"] == "2502.06244"
    assert parsed(bibtex("mixmin"))[2]["eprint"] == "2502.10510"
    assert parsed(bibtex("mixmin"))[2]["booktitle"] == "ICML"


def test_mixwright_itself():
    shown = CliRunner().invoke(app, ["cite"])
    assert parsed(shown.output.rstrip("\n"))[:2] == ("software", "mixwright")
    for words in (["cite", "--json"], ["--json", "cite"]):
        assert json.loads(CliRunner().invoke(app, words).output)["bibtex"] == shown.output.rstrip("\n")


def test_names_that_are_none():
    with pytest.raises(InputError, match="there is no method 'doremy'; did you mean 'DoReMi'"):
        bibtex("doremy")
    for name in ("foo", "banana"):
        with pytest.raises(InputError, match=f"there is no method {name!r}; Known: "):
            bibtex(name)
    for name, near in (("odn", "ODM"), ("skilit", "SkillIt"), ("gruop-dro", "GroupDRO")):
        with pytest.raises(InputError, match=f"did you mean '{near}'"):
            bibtex(name)
    for name in OF_NO_PAPER:
        with pytest.raises(InputError, match=f"{name} is from no paper; cite mixwright"):
            bibtex(name)
    failed = CliRunner().invoke(app, ["cite", "doremy"])
    assert failed.exit_code != 0
