"""YAML that would grow without end, or is none, is one kind of error in little time."""

import time

import pytest

yaml = pytest.importorskip("yaml")

from mixwright.files import yaml_text  # noqa: E402
from mixwright.files.yaml_text import load_yaml  # noqa: E402


def laughs(levels: int, key: str = "") -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for i in range(1, levels):
        lists = ", ".join([f"*a{i - 1}"] * 9)
        lines.append(f"a{i}: &a{i} {{'<<': [{lists}]}}" if key else f"a{i}: &a{i} [{lists}]")
    return "\n".join(lines).replace("'<<'", "<<") + "\n"


@pytest.mark.parametrize("text", [laughs(12), laughs(12, "<<")], ids=["lists", "merges"])
def test_aliases_for_more_than_a_million_values_are_refused_at_once(text: str) -> None:
    begun = time.monotonic()
    with pytest.raises(yaml.YAMLError, match="at most 1,000,000 values"):
        load_yaml(text)
    assert time.monotonic() - begun < 5


def test_values_without_aliases_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_text, "LARGEST", 20)
    many = f"many: {list(range(100))}\n"
    assert len(load_yaml(many)["many"]) == 100
    assert load_yaml(many + "a: &a [1, 2, 3]\nb: [*a, *a, *a, *a, *a]\n")["b"] == [[1, 2, 3]] * 5
    with pytest.raises(yaml.YAMLError, match="at most 20 values"):
        load_yaml(many + "a: &a [1, 2, 3]\nb: [*a, *a, *a, *a, *a, *a]\n")


def test_aliases_and_merges_of_usual_size_are_read() -> None:
    text = "base: &b {lr: 1e-3, n: 2}\narm: {<<: *b, n: 3}\nlist: [*b, *b]\n"
    assert load_yaml(text)["arm"] == {"lr": "1e-3", "n": 3}
    assert len(load_yaml(laughs(4))["a3"]) == 9


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x [*x]", "an alias holds itself"),
        ("[" * 5000, "in one another without end"),
        ("{a: " * 5000, "in one another without end"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("a: " + "9" * 5000, "limit"),
        ('a: "\\ud800"', r"an escape of a surrogate \(\\ud800 to \\udfff\) is no character; write"),
        ("a: x\0", "the character '\\\\x00' is not allowed"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("{[a]: 1}", "a key should be plain text"),
    ],
)
def test_what_is_no_yaml_has_one_kind_of_error(text: str, problem: str) -> None:
    with pytest.raises(yaml.YAMLError, match=problem) as caught:
        load_yaml(text)
    assert caught.value.problem
