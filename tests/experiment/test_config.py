from pathlib import Path

import pytest

from mixwright.errors import InputError
from mixwright.experiment import load, make
from mixwright.experiment.core.run_folder import config_text
from mixwright.experiment.kinds import of_config
from mixwright.experiment.run import json_schema
from mixwright.mixture_file import MixtureFile

SMALL = """\
sources:
  web: web.jsonl
  code: {path: code, field: body}
targets:
  exam: {path: exam.jsonl, kind: questions}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "search.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        load("search", write(folder, text))
    return str(caught.value)


def test_small_file_has_defaults_and_paths_from_its_folder(tmp_path: Path) -> None:
    config = load("search", write(tmp_path, SMALL))
    assert list(config.sources) == ["web", "code"]
    assert config.sources["web"].path == tmp_path / "web.jsonl"
    assert config.sources["code"].field == "body"
    assert config.targets["exam"].held_out == 0.5
    assert config.search.likelihood == ["chunk"]
    assert config.proxy_setting("context") == config.final.context
    assert config.proxy_model() is config.model


def test_a_written_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = load("search", write(tmp_path, SMALL + "proxy: {tokens: 5e5, learning_rate: 1e-3}\n"))
    assert config.proxy.tokens == 500_000
    (tmp_path / "elsewhere").mkdir()
    again = load("search", write(tmp_path / "elsewhere", config_text(of_config(config), config.dumped())))
    assert again.model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SMALL + "modle: {}\n", ["line 6", "key modle", "did you mean 'model'?"]),
        (SMALL + "final:\n  token: 3\n", ["line 7", "key final.token", "did you mean 'tokens'?"]),
        (SMALL.replace("field:", "feild:"), ["line 3", "sources.code.feild", "did you mean 'field'?"]),
        (SMALL + "proxy: {batch_size: true}\n", ["line 6", "proxy.batch_size", "should be a number", "True"]),
        (SMALL + "search: {shrinkage: much}\n", ["search.shrinkage", "cv", "'much'"]),
        (SMALL + "search: {shrinkage: -1}\n", ["search.shrinkage", "-1"]),
        (SMALL + "search: {prior: unifrom}\n", ["search.prior", "uniform, natural or"]),
        (SMALL + "search: {likelihood: word}\n", ["search.likelihood", "'chunk', 'token' or 'sequence'", "'word'"]),
        (SMALL + "search: {likelihood: [token, token]}\n", ["search.likelihood", "each unit once"]),
        (SMALL + "search: {caps: {web: 1.5}}\n", ["search.caps.web", "1.5"]),
        (SMALL + "final: {mixtures: [search]}\n", ["final.mixtures", "should hold uniform"]),
        (SMALL + "final: {learning_rate: .inf}\n", ["final.learning_rate", "finite"]),
        (SMALL + "tokenizer: {kind: path}\n", ["tokenizer", "go together"]),
        (SMALL + "tokenizer: wordpiece\n", ["tokenizer", "'bytes', 'bpe' or 'path'"]),
        (SMALL + "model: {hidden_size: 3}\n", ["model", "model_type"]),
        (SMALL + "seed: -1\n", ["line 6", "seed", "-1"]),
        (SMALL + "final:\n  tokens: 8191\n", ["line 7, key final.tokens: should be at least 8,192", "found 8,191"]),
        (SMALL + "proxy: {batch_size: -5}\n", ["key proxy.batch_size: should be at least 1, found -5"]),
        (SMALL + "proxy: {batch_size: many}\n", ["key proxy.batch_size: should be a whole number, found 'many'"]),
        (SMALL + "final: {learning_rate: fast}\n", ["key final.learning_rate: should be a number, found 'fast'"]),
        (SMALL + "final: {mixtures: []}\nproxy: {tokens: 9, context: 2, batch_size: 5}\n", ["line 7", "proxy.tokens"]),
        ("sources: {a: x}\n", ["targets", "missing"]),
        ("sources: {}\ntargets: {t: x}\n", ["key sources: should not be empty"]),
        ("sources: {a: {}}\ntargets: {t: x}\n", ["sources.a.path", "missing"]),
        ("sources: {'  ': x}\ntargets: {t: x}\n", ["sources", "empty"]),
        ("sources:\n  web: a\n  web: b\ntargets: {t: x}\n", ["line 3", "sources.web", "twice", "line 2"]),
        ("sources: [a\n", ["is not YAML"]),
        ("- 1\n", ["sources:", "list"]),
        ("", ["sources:", "found nothing (the file is empty)"]),
        ("a: &x [*x]\n", ["alias"]),
        ("? [a]\n: 1\n", ["plain text"]),
        (SMALL + "search: {floors: [1]}\n", ["search.floors"]),
    ],
)
def test_errors_name_the_place_and_what_to_do(tmp_path: Path, text: str, says: list[str]) -> None:
    message = error_of(tmp_path, text)
    for part in says:
        assert part in message
    assert str(tmp_path / "search.yaml") in message


def test_only_the_alternative_of_the_values_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("sources: {a: x}\nweights: {a: 1.3}\n")
    with pytest.raises(InputError) as caught:
        load("train", path)
    assert str(caught.value) == f"{path}, line 2, key weights.a: should be at most 1, found 1.3"


def test_a_budget_of_one_step_is_enough_and_an_unused_one_does_not_matter(tmp_path: Path) -> None:
    one = "final: {tokens: 8192}\nproxy: {tokens: 8192}\n"
    assert load("search", write(tmp_path, SMALL + one)).final.tokens == 8192
    unused = "final: {tokens: 1, mixtures: []}\nproxy: {tokens: 1, checkpoints: {web: x, code: y}}\n"
    assert load("search", write(tmp_path, SMALL + unused)).proxy.tokens == 1


def test_names_that_yaml_takes_for_other_things(tmp_path: Path) -> None:
    text = "sources: {no: a, 1: b, 2024-01-01: c, null: d}\ntargets: {on: x}\n"
    config = load("search", write(tmp_path, text))
    assert list(config.sources) == ["no", "1", "2024-01-01", "null"]
    assert list(config.targets) == ["on"]


def test_missing_file_and_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*nothing\.yaml"):
        load("search", tmp_path / "nothing.yaml")
    (tmp_path / "latin.yaml").write_bytes("sources: {é: x}".encode("latin-1"))
    with pytest.raises(InputError, match="UTF-8"):
        load("search", tmp_path / "latin.yaml")
    (tmp_path / "data.parquet").write_bytes(b"PAR1\x15\x80\x15")
    with pytest.raises(InputError, match=r"data\.parquet: this should be a YAML file, found a parquet file"):
        load("search", tmp_path / "data.parquet")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + SMALL.encode())
    assert load("search", tmp_path / "bom.yaml").sources["web"].path == tmp_path / "web.jsonl"


def test_a_dictionary_works_as_well(tmp_path: Path) -> None:
    config = make("search", {"sources": {"a": "x.txt"}, "targets": {"t": "y.txt"}}, folder=tmp_path)
    assert config.sources["a"].path == tmp_path / "x.txt"
    with pytest.raises(InputError, match=r"key sources\.a\.pth"):
        make("search", {"sources": {"a": {"pth": "x"}}, "targets": {"t": "y"}})


def test_every_key_is_documented() -> None:
    schema = json_schema("search")
    parts = {"SearchConfig": schema} | schema["$defs"]
    for name, part in parts.items():
        for key, entry in part.get("properties", {}).items():
            assert entry.get("description"), f"{name}.{key}"


def test_the_example_is_valid() -> None:
    path = Path(__file__).parents[2] / "examples" / "search_text.yaml"
    config = load("search", path)
    assert config.proxy.tokens == 50_000
    assert config.final.learning_rate == 2e-3
    known = set(type(config).model_fields)
    assert known - {"held_out", "reference"} <= config.model_fields_set


ARMS = "arms:\n  - uniform\n  - doremi\n  - search: doremi\n    parameters: {eta: 1}\n"


def test_an_arm_has_the_line_and_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "compare.yaml"
    path.write_text("sources: {a: a.txt, b: b.txt}\n" + ARMS)
    config = load("compare", path)
    assert config.where("arms", "2") == f"{path}, line 5, key arms.2"
    assert config.where("arms", "2", "parameters") == f"{path}, line 6, key arms.2.parameters"
    assert config.where("sources", "1") == f"{path}, line 1, key sources.1"
    assert [arm.title for arm in config.arms] == ["uniform", "doremi", "doremi_search"]
    path.write_text("sources: {a: a.txt, b: b.txt}\n" + ARMS.replace("- doremi", "- DoReMi"))
    assert [arm.title for arm in load("compare", path).arms] == ["uniform", "DoReMi", "doremi"]
    path.write_text("sources: {a: a.txt, b: b.txt}\n" + ARMS + "  - doremi\n")
    with pytest.raises(InputError, match="different names, found doremi twice"):
        load("compare", path)


@pytest.mark.parametrize("path", ["'" + "x" * 5000 + "'", "~nobody-of-that-name/x", r'"a\0b"'])
def test_a_path_that_no_file_can_have_is_one_error(tmp_path: Path, path: str) -> None:
    message = error_of(tmp_path, f"sources: {{a: {path}}}\ntargets: {{t: x}}\n")
    assert "should be a path that a file can have (" in message
    assert "sources.a" in message


def test_messages_name_the_key_the_share_and_the_mapping(tmp_path: Path) -> None:
    assert "did you mean 'field'?" in error_of(tmp_path, SMALL.replace("field: body", "column: body"))
    two = {"sources": {"a": "a.jsonl", "b": "b.jsonl"}}
    for given, says in (
        ({"weights": {"a": 70, "b": 30}}, "should be at most 1 (a share of 1, not per cent: 70 % is 0.7), found 70"),
        ({"strategy": "EXP3", "held_out": 5}, "should be below 1 (a share of 1, not per cent: 5 % is 0.05), found 5"),
        ({"strategy": "EXP3", "prior": "mix.txt"}, "'uniform' or 'natural' or a mapping (Where a strategy starts: "),
    ):
        with pytest.raises(InputError) as caught:
            make("train", two | given, folder=tmp_path)
        assert says in str(caught.value)


def test_a_prior_may_be_a_mixture_file(tmp_path: Path) -> None:
    two = {"sources": {"a": "a.jsonl", "b": "b.jsonl"}, "strategy": "EXP3"}
    MixtureFile(("b", "a"), (0.75, 0.25)).write(tmp_path / "found" / "mixture.json")
    assert make("train", two | {"prior": "found/mixture.json"}, folder=tmp_path).prior == {"b": 0.75, "a": 0.25}
    MixtureFile(("b", "a"), (0.75, 0.25), "tokens").write(tmp_path / "tokens.json")
    for name, says in (("none.json", "key prior: .*none.json"), ("tokens.json", "key prior: .*has shares of tokens")):
        with pytest.raises(InputError, match=says):
            make("train", two | {"prior": name}, folder=tmp_path)
