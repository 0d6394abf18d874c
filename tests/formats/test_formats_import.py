"""Imports: other tools' files become mixtures, or one clear error."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mixwright.errors import InputError
from mixwright.formats import READABLE, read
from mixwright.mixture_file import MixtureFile


@pytest.mark.parametrize(
    ("text", "format", "sources", "weights", "unit"),
    [
        ("0.25 a 0.75 b", "megatron", ("a", "b"), (0.25, 0.75), "tokens"),
        ("30 a\n70 b/c d\n"[:-3] + "\n", "megatron", ("a", "b/c"), (0.3, 0.7), "tokens"),
        ("--data-path 1 'a b' 3 c --split 99,1,0", "megatron", ("a b", "c"), (0.25, 0.75), "tokens"),
        ("--train-data-path=1 a 3 c", "megatron", ("a", "c"), (0.25, 0.75), "tokens"),
        (
            '{"train": ["1", "a b", 3, "c"], "valid": null, "test": null}',
            "megatron",
            ("a b", "c"),
            (0.25, 0.75),
            "tokens",
        ),
        ('{"train": "1 a 3 c", "valid": "1 d", "test": null}', "megatron", ("a", "c"), (0.25, 0.75), "tokens"),
        ('{"train": 0.25, "b": 0.75}', "json", ("train", "b"), (0.25, 0.75), "rows"),
        ('{"a": 1, "b": 3}', "json", ("a", "b"), (0.25, 0.75), "rows"),
        ('{"sources": ["a", "b"], "weights": [1, 3], "unit": "tokens"}', "json", ("a", "b"), (0.25, 0.75), "tokens"),
        ("source,weight\na,1\nb,3\n", "csv", ("a", "b"), (0.25, 0.75), "rows"),
        ("weight\tnote\tname\n1\tx\ta\n3\t\tb\n", "csv", ("a", "b"), (0.25, 0.75), "rows"),
        ('"a, b",0.25\r\nb,0.75\r\n\r\n', "csv", ("a, b", "b"), (0.25, 0.75), "rows"),
        ("a;1\nb;3\n", "csv", ("a", "b"), (0.25, 0.75), "rows"),
        (
            "datasets:\n- path: a\n  fraction: 1\n- {path: b, name: en, fraction: 3}\n",
            "trl",
            ("a", "b/en"),
            (0.25, 0.75),
            "rows",
        ),
        (
            "model: x\ndatasets:\n- {path: json, data_files: a.jsonl, fraction: 1}\n"
            "- {path: json, data_files: [b.jsonl, c.jsonl], fraction: 3}\nlearning_rate: 1e-5\n",
            "trl",
            ("a.jsonl", "b.jsonl c.jsonl"),
            (0.25, 0.75),
            "rows",
        ),
        ("datasets:\n- path: a\n- path: b\nprobabilities: [.25, 0.75]\n", "datasets", ("a", "b"), (0.25, 0.75), "rows"),
        (
            "train_loader:\n  dataset:\n    streams:\n      a: {local: x, proportion: 1}\n      b: {proportion: 3}\n",
            "streaming",
            ("a", "b"),
            (0.25, 0.75),
            "rows",
        ),
        (
            "sources:\n- {source_name: a, target_ratio: 0.25, paths: [x]}\n- {source_name: b, target_ratio: 7.5e-1}\n",
            "olmo-core",
            ("a", "b"),
            (0.25, 0.75),
            "tokens",
        ),
    ],
)
def test_what_other_tools_write(tmp_path, text, format, sources, weights, unit):
    (tmp_path / "file").write_text(text, encoding="utf-8", newline="")
    made = read(tmp_path / "file")
    assert (made.sources, made.weights, made.unit) == (sources, weights, unit)
    assert made.method == {"name": "imported", "format": format}
    assert made.evidence["file"] == "file"
    assert read(tmp_path / "file", format).weights == weights
    assert read(text + "\n", format).sources == sources


def test_weights_that_do_not_sum_to_one_are_divided_with_a_note():
    assert read("30 a 70 b").evidence == {"notes": ["the weights had the sum 100 and were divided by it"]}
    assert read("0.3 a 0.7 b").evidence == {}
    assert read("1e308 a 1e308 b").weights == (0.5, 0.5)
    assert read("5e-324 a 0 b").weights == (1.0, 0.0)
    exact = 0.5 + 4e-7  # within the tolerance of mixture.json: as it is
    assert read(f"0.5 a {exact!r} b").weights == (0.5, exact)


def test_other_splits_are_noted():
    made = read('{"train": "1 a 3 c", "valid": "1 d", "test": null}')
    assert "only the blend of train was read; valid may differ" in made.evidence["notes"][0]


def test_names_from_paths_and_a_unit():
    paths = {"web": "x/web.bin", "law": "x/law", "other": "y"}
    made = read("0.25 x/web 0.5 x/law 0.25 z", paths=paths, unit="rows")
    assert made.sources == ("web", "law", "z")
    assert made.unit == "rows"


@pytest.mark.parametrize(
    ("text", "format", "message"),
    [
        ("-0.5 a 1.5 b", None, "the weight of 'a' should be a finite number of at least 0, found '-0.5'"),
        ("nan a 1.5 b", None, "the weight of 'a' should be a finite number of at least 0, found 'nan'"),
        ("inf a 1.5 b", None, "finite"),
        ("0 a 0 b", None, "at least one weight should be above 0"),
        ("0.5 a 0.5 a", None, "different names, found 'a' at positions 0 and 1"),
        ("0.5 a 0.5", None, "weights and prefixes in turn, .* found 3 words"),
        ("a b", "megatron", "found no such file|there should be a file 'a b', found none; a blend itself begins"),
        ("a b\n", "megatron", "found no weights"),
        ("0.5 a b 0.5\n", None, "the weight of '0.5' should be a finite number of at least 0, found 'b'"),
        ("--split 99,1", None, "after --data-path or --train-data-path, found --split"),
        ("--data-path 1 'a", None, "no command line"),
        ('{"train": ["1", null]}', None, "a list under 'train'"),
        ('{"a": NaN}', None, "found NaN"),
        ('{"a": -Infinity}', None, "found -Infinity"),
        ('{"a": "x"}', None, "the weight of 'a' .* found 'x'"),
        ('{"a": true}', None, "the weight of 'a' .* found True"),
        ('{"a": null}', None, "the weight of 'a' .* found None"),
        ('{"a": 1, "a": 2}', None, "'a' appears twice"),
        ('{"a": 1', None, "not JSON"),
        ("{}", None, "an object {source: weight}"),
        ("[1, 2]\n", None, "an object {source: weight}, found list"),
        ('{"\\ud800": 1}', None, "should have a name"),
        ('{" ": 1}', None, "every source should have a name, found ' '"),
        ('{"sources": ["a"], "weights": []}', None, "one weight per source, found 1 and 0"),
        ("", None, "nothing but white space"),
        ("\n", None, "nothing but white space"),
        ("hello\nworld", None, "looks like none of megatron"),
        ("a,b,c\n1,2,3", None, "the header source,weight or a name and a weight"),
        ("a,0.5\nb", None, "row 2 should have a name and a weight, found \\['b'\\]"),
        ("a,0.5\nb,x\n", None, "the weight of 'b' .* found 'x'"),
        ("source,weight\n", None, "at least one source"),
        (
            "datasets:\n- path: a\n- path: b\n",
            None,
            "should have a fraction, found none for 'a'; without fractions TRL takes",
        ),
        ("datasets:\n- path: a\n  fraction:\n", None, "should have a fraction"),
        ("datasets: []\n", None, "a list of data sets"),
        ("datasets:\n- fraction: 1\n", None, r"datasets\[0\] should be a mapping with a path"),
        ("datasets:\n- path: a\n  fraction: 1\n- path: a\n  fraction: 1\n", None, "different names"),
        ("datasets:\n- path: a\n  path: b\n", None, "line 3: the name 'path' appears twice"),
        ("datasets:\n- path: a\nprobabilities: [0.5, 0.5]\n", None, "1 probabilities, one per data set, found 2"),
        ("datasets:\n- path: a\nprobabilities: [1]\nsources: [a, b]\n", None, "1 names, one per data set"),
        ("streams:\n  a: {local: x}\n", None, "'a' should have a proportion"),
        ("streams: {}\n", None, "mapping of streams"),
        ("sources:\n- {source_name: a}\n", None, "'a' should have a target_ratio"),
        ("sources:\n- {target_ratio: 1}\n", None, "should have a name, found None"),
        ("SOURCES = {'a': {'weight': 0.5, 'stream': {}}, 'a': {'weight': 0.5}}\n", None, "appears twice in SOURCES"),
        ("SOURCES = {'a': {'weight': open('x')}}\n", "litdata", "should have SOURCES"),
        ("SOURCES = {'a': 1}\n", "datasets", "should have SOURCES"),
        ("SOURCES = {'a': {'input_dir': 1}}\n", None, "'a' should have a weight"),
        ("0.5 a 0.5 b", "yaml", "a format should be one of megatron, .* found 'yaml'"),
        ("a: &a [*a]\n", "trl", "not YAML"),
        ("[" * 900 + "\n", "trl", "not YAML"),
        ("[" * 100_000 + "\n", None, "not JSON"),
    ],
)
def test_what_cannot_be_read_is_one_error(text, format, message):
    with pytest.raises(InputError, match=message):
        read(text, format)


def test_a_file_whose_name_begins_with_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("0.5 a 0.5 b").write_text("x,1\n")
    assert read("0.5 a 0.5 b").sources == ("x",)


def test_a_wrong_unit():
    with pytest.raises(InputError, match="unit should be 'rows' or 'tokens', found 'bytes'"):
        read("1 a", unit="bytes")


@pytest.mark.parametrize("path", ["nothing.csv", Path("nothing.csv"), "no\0thing", "x" * 5000, "no such file.yaml"])
def test_files_that_cannot_be_read(path):
    with pytest.raises(InputError):
        read(path)


def test_a_file_is_named_in_its_error(tmp_path):
    (tmp_path / "a.csv").write_text("a,-1\nb,2\n")
    with pytest.raises(InputError, match=r"a\.csv: the weight of 'a'"):
        read(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-16"):
        read(tmp_path / "bytes")


PIECES = (
    "a b 0.5 -1 nan 1e999 null ~ path fraction datasets sources streams proportion weight source train ' \" "
    "{ } [ ] : , &a *a "
    "!!int !!python/object:os.x <<: \ud800 \0 # | --data-path = ? %"
)
words = st.sampled_from([*PIECES.split(" "), ": ", "- ", "\n", "\n  ", "\t", " ", "SOURCES = {"])
texts = st.text() | st.lists(words, max_size=25).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | words, inner, max_size=3),
    max_leaves=10,
)


def is_read_or_refused(text, format):
    try:
        made = read(text, format)
    except InputError:
        return
    assert isinstance(made, MixtureFile)
    assert abs(sum(made.weights) - 1) <= 2e-6


@given(text=texts, format=st.sampled_from([None, *READABLE]))
@example(text="\n" + "1" * 5000, format="json")
@example(text="SOURCES = {" + "(" * 1000 + "}", format=None)
@example(text="SOURCES = {[]: 1}", format="datasets")
@example(text="SOURCES = {**{}}", format="datasets")
@settings(max_examples=200)
def test_any_text_is_a_mixture_or_one_error(text, format):
    is_read_or_refused(text, format)
    is_read_or_refused("\n" + text, format)


@given(value=values, key=words, format=st.sampled_from([None, *READABLE]))
@settings(max_examples=100)
def test_any_json_is_a_mixture_or_one_error(value, key, format):
    for text in (json.dumps({key: value}), json.dumps(value), "SOURCES = {'a': " + repr(value) + "}"):
        is_read_or_refused("\n" + text, format)


@given(content=st.binary(max_size=60), suffix=st.sampled_from(["", ".csv", ".yaml", ".json", ".py"]))
@settings(max_examples=100)
def test_any_file_is_a_mixture_or_one_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("any") / f"file{suffix}"
    path.write_bytes(content)
    is_read_or_refused(path, None)
