"""Exports: what is written is read as the same, and what a tool cannot express is said."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mixwright
from mixwright.errors import InputError
from mixwright.formats import FORMATS, Place, export, read, read_places
from mixwright.mixture_file import MixtureFile

PATHS = {"web": "data/web_text", "law": "data/law_text", "never": "data/never_text"}
ROWS = MixtureFile(sources=["web", "law", "never"], weights=[0.7, 0.3, 0.0])
TOKENS = MixtureFile(sources=["web", "law", "never"], weights=[0.7, 0.3, 0.0], unit="tokens")
FORMS = [(name, form) for name, made in FORMATS.items() for form in made.forms]
KEEPS_ZEROS = {name for name, made in FORMATS.items() if made.zeros is None}
NO_NAMES = {"megatron", "megatron-bridge", "automodel", "trl"}

names = st.lists(
    st.text(min_size=1, max_size=20).filter(lambda s: s.strip()),
    min_size=1,
    max_size=6,
    unique=True,
)
places = st.text(max_size=10).filter(str.isprintable)
numbers = st.sampled_from([0.0, 5e-324, 1e-300, 1e-16, 1e-5, 1 / 3, 1.0]) | st.floats(0, 1)


def weights_of(raw):
    raw = np.array(raw)
    return raw / raw.sum() if raw.sum() > 0 else np.eye(len(raw))[0]


@given(sources=names, data=st.data())
@settings(max_examples=25)
@pytest.mark.parametrize(("to", "form"), FORMS)
def test_what_is_written_is_read_as_the_same(to, form, sources, data):
    if to == "llama-factory":
        assume(not any("," in name or name != name.strip() for name in sources))
    weights = weights_of(data.draw(st.lists(numbers, min_size=len(sources), max_size=len(sources))))
    unit = "tokens" if FORMATS[to].shares == "tokens" else "rows"
    mixture = MixtureFile(sources=sources, weights=weights, unit=unit)
    drawn = data.draw(st.lists(places, min_size=len(sources), max_size=len(sources), unique=True))
    if (to, form) == ("megatron", "args"):
        drawn = ["".join(path.split()) for path in drawn]
    paths = dict(zip(sources, (f"s3://{i}{path}{i}" for i, path in enumerate(drawn)), strict=True))
    if form == "card":
        paths = {name: f"{i}{drawn[i].replace('..', '')}/x.jsonl".replace("\\", "") for i, name in enumerate(sources)}
    elif to == "croissant":
        paths = {name: {"path": path, "sha256": "0" * 64} for name, path in paths.items()}
    made = export(mixture, to, paths, form=form)
    again = read(made.text, paths=paths if to in NO_NAMES else None)  # detected by content
    kept = [i for i, w in enumerate(mixture.weights) if w > 0 or to in KEEPS_ZEROS]
    assert again.method["format"] == to
    assert again.sources == tuple(mixture.sources[i] for i in kept)
    assert again.weights == tuple(mixture.weights[i] for i in kept)
    assert again.unit == unit
    assert any("left out" in note for note in made.notes) == (len(kept) < len(sources))


@pytest.mark.parametrize(
    ("to", "form", "expected"),
    [
        ("megatron", "args", "0.7 data/web_text\n0.3 data/law_text\n"),
        ("json", "json", '{\n  "web": 0.7,\n  "law": 0.3,\n  "never": 0.0\n}\n'),
        (
            "megatron-bridge",
            "yaml",
            'dataset:\n  data_path:\n  - "0.7"\n  - data/web_text\n  - "0.3"\n  - data/law_text\n',
        ),
        (
            "automodel",
            "yaml",
            'dataset:\n  paths:\n  - "0.7"\n  - data/web_text\n  - "0.3"\n  - data/law_text\n',
        ),
        ("llama-factory", "yaml", "dataset: web,law\nmix_strategy: interleave_under\ninterleave_probs: 0.7,0.3\n"),
        (
            "streaming",
            "yaml",
            "streams:\n  web:\n    local: data/web_text\n    proportion: 0.7\n"
            "  law:\n    local: data/law_text\n    proportion: 0.3\n",
        ),
        (
            "olmo-core",
            "yaml",
            "sources:\n- source_name: web\n  target_ratio: 0.7\n  paths:\n  - data/web_text\n"
            "- source_name: law\n  target_ratio: 0.3\n  paths:\n  - data/law_text\n",
        ),
    ],
)
def test_the_text_of_each_tool(to, form, expected):
    assert str(export(TOKENS, to, PATHS, form=form, allow_loss=True)) == expected


def test_trl_and_datasets_load_files_by_their_suffix():
    paths = {
        "a": "x/a.jsonl.gz",
        "b": ["b0.parquet", "b1.parquet"],
        "c": {"path": "org/name", "name": "en", "split": "test"},
        "d": {"path": "d.csv", "split": "train[:5%]"},
    }
    mixture = MixtureFile(sources=list("abcd"), weights=[0.25] * 4)
    import yaml

    loads = yaml.safe_load(export(mixture, "trl", paths).text)["datasets"]
    assert [{k: v for k, v in load.items() if k != "fraction"} for load in loads] == [
        {"path": "json", "data_files": "x/a.jsonl.gz", "split": "train"},
        {"path": "parquet", "data_files": ["b0.parquet", "b1.parquet"], "split": "train"},
        {"path": "org/name", "name": "en", "split": "test"},
        {"path": "csv", "data_files": "d.csv", "split": "train[:5%]"},
    ]
    assert yaml.safe_load(export(mixture, "datasets", paths, form="yaml").text)["datasets"] == [
        {k: v for k, v in load.items() if k != "fraction"} for load in loads
    ]


@pytest.mark.parametrize(("to", "form"), [f for f in FORMS if f[1] == "yaml"])
@pytest.mark.parametrize(
    "name", ["1e5", "0x1f", "1_000", "no", "null", "", "~", ": ", "#x", "-", "é\u2028\x85", "'\"", "=", "1:30"]
)
def test_names_and_tiny_weights_are_what_they_are_in_plain_yaml(to, form, name):
    import yaml

    name = name or "x: y"
    name = name.strip() if to == "llama-factory" else name
    mixture = MixtureFile(sources=[name, "b"], weights=[1e-05, 1 - 1e-05], unit="rows")
    text = export(mixture, to, {name: "s3://x", "b": "s3://y"}, form=form).text
    for loaded in (yaml.safe_load(text), yaml.load(text, Loader=yaml.BaseLoader)):
        value = next(loaded[key] for key in ("streams", "sources", "datasets", "dataset") if key in loaded)
        if to == "llama-factory":
            assert value == f"{name},b"
            weight = loaded["interleave_probs"].split(",")[0]
        elif to in ("megatron-bridge", "automodel"):
            ((weight, *rest),) = value.values()
            assert isinstance(weight, str)
            assert rest[::2] == ["s3://x", "s3://y"]
        elif to == "streaming":
            assert list(value) == [name, "b"]
            weight = value[name]["proportion"]
        elif to == "olmo-core":
            assert value[0]["source_name"] == name
            weight = value[0]["target_ratio"]
        elif to == "datasets":
            assert value == [name, "b"]
            weight = loaded["probabilities"][0]
        else:
            weight = value[0]["fraction"]
        assert float(weight) == 1e-05
    if to not in ("megatron-bridge", "automodel", "llama-factory"):  # these take texts
        assert yaml.safe_load(text) != yaml.load(
            text, Loader=yaml.BaseLoader
        )  # weights are numbers without further ado


def test_probabilities_of_the_yaml_of_datasets_sum_to_one_as_numpy_asks():
    import yaml

    mixture = MixtureFile(sources=["a", "b"], weights=[0.5, 0.5 + 9e-7])
    value = yaml.safe_load(export(mixture, "datasets", {"a": "a.txt", "b": "b.txt"}, form="yaml").text)
    np.random.default_rng(0).choice(2, p=value["probabilities"])


@pytest.mark.parametrize(
    ("mixture", "to", "paths", "options", "message"),
    [
        (ROWS, "axolotl", PATHS, {}, "axolotl has no setting for a mixture .* export with to 'datasets' and form 'py'"),
        (ROWS, "megtron", PATHS, {}, "one of megatron, .* found 'megtron'; did you mean 'megatron'"),
        (ROWS, "trl", PATHS, {"form": "py"}, "trl is written as yaml, found the form 'py'"),
        (ROWS, "trl", None, {}, "a path for every source with a weight, found none for 'web', 'law'; give --path"),
        (ROWS, "trl", {"web": "a"}, {}, "found none for 'law'; give"),
        (
            ROWS,
            "trl",
            {**PATHS, "lwa": "a"},
            {},
            "a path for 'lwa', which is not a source of the mixture; did you mean 'law'",
        ),
        (ROWS, "trl", {**PATHS, "law": ""}, {}, "path of 'law' should be a text"),
        (ROWS, "trl", {**PATHS, "law": "a\nb"}, {}, "path of 'law' should be a text"),
        (ROWS, "trl", {**PATHS, "law": "\ud800"}, {}, "path of 'law' should be a text"),
        (ROWS, "trl", {**PATHS, "law": []}, {}, "path of 'law' should be a text or a list of texts, found"),
        (
            ROWS,
            "trl",
            {**PATHS, "law": {"file": "x"}},
            {},
            "'law' has a key 'file', .* it knows path, max_epochs, name",
        ),
        (ROWS, "trl", {**PATHS, "law": {"max_epochs": 3}}, {}, "place of 'law' should have a path"),
        (ROWS, "trl", {**PATHS, "law": {"name": "en"}}, {}, "place of 'law' should have a path, found name alone"),
        (
            ROWS,
            "trl",
            {**PATHS, "law": {"path": "x", "max_epochs": "four"}},
            {},
            "max_epochs of 'law' should be a finite",
        ),
        (ROWS, "trl", {**PATHS, "law": {"path": "x", "max_epochs": 0}}, {}, "max_epochs of 'law' should be above 0"),
        (ROWS, "trl", {**PATHS, "law": ["a.csv", "b.json"]}, {}, "should all have one of the suffixes"),
        (ROWS, "trl", {**PATHS, "law": {"path": "x", "columns": "text"}}, {}, "columns of 'law' should be a list"),
        (ROWS, "trl", {**PATHS, "law": "data/web_text"}, {}, "the same for 'web' and 'law'; correct one path"),
        (ROWS, "trl", ["a"], {}, "paths should be a mapping"),
        (TOKENS, "trl", PATHS, {}, "shares of tokens, TRL takes shares of rows.*--allow-loss"),
        (TOKENS, "streaming", PATHS, {}, "shares of tokens, mosaicml-streaming takes shares of rows"),
        (TOKENS, "litdata", PATHS, {}, "shares of tokens"),
        (TOKENS, "datasets", PATHS, {}, "shares of tokens"),
        (
            ROWS,
            "megatron",
            {**PATHS, "law": {"path": "x", "max_epochs": 4}},
            {},
            "'law' should be used for 4 epochs at most",
        ),
        (ROWS, "streaming", {**PATHS, "law": {"path": "x", "max_epochs": 4}}, {}, "'law' should be used for 4 epochs"),
        (ROWS, "trl", {**PATHS, "law": {"path": "x", "max_epochs": 0.5}}, {}, "'law' should be used for 0.5 epochs"),
        (
            ROWS,
            "datasets",
            {**PATHS, "law": {"path": "x", "max_epochs": 1.5}},
            {},
            "'law' should be used for 1.5 epochs",
        ),
        (
            ROWS,
            "megatron",
            {**PATHS, "law": "the law"},
            {},
            "white space, but the path of 'law' holds some.*--form json",
        ),
        (ROWS, "megatron", {**PATHS, "law": " law"}, {"form": "json"}, "strips white space around the path of 'law'"),
        (
            ROWS,
            "megatron",
            {**PATHS, "law": "data/web_text.idx"},
            {},
            "different prefixes, found 'data/web_text' for 'web'",
        ),
        (ROWS, "megatron", {**PATHS, "law": ["a", "b"]}, {}, "one path for a source, found 2 for 'law'"),
        (ROWS, "litdata", {**PATHS, "law": ["a", "b"]}, {}, "one path for a source, found 2 for 'law'"),
        (ROWS, "streaming", {**PATHS, "law": {"split": "train"}}, {}, "'law' should have a local or a remote folder"),
        (ROWS, "streaming", {**PATHS, "law": {"path": "x", "local": "y"}}, {}, "a path or local, found both"),
        (
            ROWS,
            "datasets",
            {**PATHS, "law": {"path": "x", "load_from_disk": "y"}},
            {},
            "load_from_disk of 'law' should stand",
        ),
        (ROWS, "datasets", {**PATHS, "law": {"load_from_disk": "y"}}, {"form": "yaml"}, "write the Python file"),
        (ROWS, "json", None, {"seed": -1}, "seed should be a whole number"),
    ],
)
def test_what_cannot_be_written_is_one_error(mixture, to, paths, options, message):
    with pytest.raises(InputError, match=message):
        export(mixture, to, paths, **options)


@pytest.mark.parametrize(("to", "why"), [("megatron", "above 0"), ("streaming", "rounding"), ("olmo-core", "rounding")])
def test_zero_weights_are_left_out_with_a_note_where_a_tool_refuses_them(to, why):
    notes = export(ROWS, to, PATHS).notes
    assert "left out, with weight 0: 'never' (" in notes[0]
    assert why in notes[0]


def test_a_source_of_weight_zero_needs_no_path():
    made = export(ROWS, "litdata", {"web": "a", "law": "b"})
    assert "(no path was given)" in made.notes[0]
    assert "never" not in made.text


def test_what_may_be_lost_is_lost_with_a_note():
    made = export(TOKENS, "trl", PATHS | {"law": {"path": "x", "max_epochs": 0.5}}, allow_loss=True)
    assert "shares of tokens" in made.notes[0]
    assert "0.5 epochs" in made.notes[1]
    made = export(ROWS, "datasets", PATHS | {"law": {"path": "x", "max_epochs": 1.5}}, allow_loss=True)
    assert "epochs'" not in made.text
    made = export(ROWS, "megatron", PATHS | {"law": {"path": "x", "max_epochs": 4}}, allow_loss=True)
    assert made.text.endswith("0.3 x\n")


def test_units_that_agree_for_packed_rows_are_a_note():
    assert any("shares of rows, Megatron-LM takes shares of tokens" in n for n in export(ROWS, "megatron", PATHS).notes)
    assert not any("shares of rows" in note for note in export(TOKENS, "megatron", PATHS).notes)
    assert any("shares of tokens; keep that" in note for note in export(TOKENS, "json").notes)
    assert export(ROWS, "json").notes == ()
    searched = replace(ROWS, evidence={"unit": "chunk"})
    assert any("takes shares of the rows in your files" in note for note in export(searched, "trl", PATHS).notes)
    for mixture, to in ((searched, "megatron"), (ROWS, "trl"), (replace(ROWS, evidence={"unit": "answer"}), "trl")):
        assert not any("rows in your files" in note for note in export(mixture, to, PATHS).notes)


def test_epochs_that_the_weights_rest_on_are_noted(tmp_path):
    table = mixwright.LikelihoodTable.from_array(-np.random.default_rng(0).random((200, 2)) * [1, 3], ["a", "b'c"])
    limits = mixwright.Constraints(max_epochs=4, budget=100)
    result = mixwright.MixMin(shrinkage=0.0).fit(table, sizes=[10, 100], constraints=limits)
    result.save(tmp_path / "mixture.json")
    made = export(tmp_path / "mixture.json", "json")
    assert "the weights rest on the 4 epochs of source 'a'" in made.notes[0]


def test_epochs_become_a_limit_of_repetition_in_olmo_core():
    text = export(TOKENS, "olmo-core", PATHS | {"law": {"path": "x", "max_epochs": 4}}).text
    assert "paths:\n  - x\n  max_repetition_ratio: 4.0\n" in text
    text = export(TOKENS, "olmo-core", PATHS | {"law": {"path": "x", "max_epochs": 0.5}}).text
    assert "max_source_fraction: 0.5\n" in text


def test_suffixes_of_megatron_files_are_taken_off():
    assert export(TOKENS, "megatron", PATHS | {"law": "x/law.bin", "web": "x.idx"}).text == "0.7 x\n0.3 x/law\n"


def test_a_mixture_may_be_a_file_and_a_place_an_object(tmp_path):
    ROWS.write(tmp_path / "mixture.json")
    places = {"web": Place(("a",)), "law": tmp_path / "b"}
    assert export(tmp_path / "mixture.json", "megatron", places).text == f"0.7 a\n0.3 {tmp_path / 'b'}\n"


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    made = export(ROWS, "json")
    made.write(tmp_path / "new" / "m.json")
    with pytest.raises(InputError, match="is there already; choose another name, or replace it"):
        made.write(tmp_path / "new" / "m.json")
    (tmp_path / "new" / "m.json").write_text("old")
    made.write(tmp_path / "new" / "m.json", force=True)
    assert (tmp_path / "new" / "m.json").read_text() == made.text
    with pytest.raises(InputError, match="found a folder"):
        made.write(tmp_path, force=True)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="disk is full"):
        export(TOKENS, "json").write(tmp_path / "new" / "m.json", force=True)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["m.json"]
    assert json.loads((tmp_path / "new" / "m.json").read_text())["web"] == 0.7


def test_paths_from_a_file(tmp_path):
    (tmp_path / "paths.yaml").write_text("web: a\nno: [b, c]\nlaw: {path: x, max_epochs: 2}\n")
    assert read_places(tmp_path / "paths.yaml") == {
        "web": "a",
        "no": ["b", "c"],
        "law": {"path": "x", "max_epochs": "2"},
    }
    (tmp_path / "paths.json").write_text('{"web": "a"}')
    assert read_places(tmp_path / "paths.json") == {"web": "a"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "should map each source to its path, found nothing"),
        ("- a", "should map each source to its path, found a list"),
        ("a: b\na: c", "line 2: the name 'a' appears twice"),
        ("a: [", "this is not YAML, line 1"),
        ("? [a]\n: b", "a key should be plain text, found a list or a mapping"),
    ],
)
def test_a_wrong_file_of_paths(tmp_path, text, message):
    (tmp_path / "paths.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_places(tmp_path / "paths.yaml")
    assert str(tmp_path / "paths.yaml") in str(caught.value)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.sampled_from(["a.json", "b.csv", "s3://x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["path", "max_epochs", "split", "data_files", "local", "columns", "x"]), inner
        )
    ),
    max_leaves=6,
)


@given(place=anything, format=st.sampled_from(FORMS), allow_loss=st.booleans())
@settings(max_examples=200)
def test_any_place_is_written_or_is_one_error(place, format, allow_loss):
    try:
        made = export(ROWS, format[0], {"web": place, "law": "x"}, form=format[1], allow_loss=allow_loss)
    except InputError:
        return
    assert read(made.text, format[0]).weights[:2] == (0.7, 0.3)


def test_formats_need_numpy_alone():
    import subprocess
    import sys

    code = (
        "import sys, mixwright; f = mixwright.formats\n"
        "from mixwright import MixtureFile\n"
        "m = MixtureFile(sources=['a'], weights=[1])\n"
        "f.read(f.export(m, 'megatron', {'a': 'x'}).text), f.export(m, 'litdata', {'a': 'x'}), f.export(m, 'json')\n"
        "assert not {'yaml', 'torch', 'datasets', 'typer'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_llama_factory_refuses_names_that_it_would_part():
    mixture = MixtureFile(sources=["a,b", "c"], weights=[0.5, 0.5])
    with pytest.raises(InputError, match="parts names at commas"):
        export(mixture, "llama-factory")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dataset: web,law\nmix_strategy: interleave_under\ninterleave_probs: 0.7\n", "found 2 and 1"),
        ("dataset:\n  data_path: data/web\n", "a list of weights and prefixes under `data_path`"),
        ("dataset:\n  paths: [data/web, data/law]\n", "weights and prefixes in turn"),
    ],
)
def test_configurations_without_weights_are_refused(text, says):
    with pytest.raises(InputError, match=says):
        read(text)


def test_the_blend_of_train_is_read_from_a_configuration():
    assert read("dataset:\n  paths:\n    train: ['30', a, '70', b]\n    test: [c]\n").weights == (0.3, 0.7)


LONG = MixtureFile(
    sources=["web", "law", "never"],
    weights=[0.75, 0.25, 0.0],
    evidence={
        "unit": "chunk",
        "tokens_per_document": {"web": 100, "law": 1900.0, "never": 5},
        "sample_by": {"law": "document"},
    },
)
TEXT = {"web": "data/web.jsonl", "law": "data/law.txt"}


def test_lengths_of_documents_are_said_where_a_tool_draws_documents():
    (note,) = [n for n in export(LONG, "streaming", PATHS).notes if "draws rows" in n]
    # tokens .75 x 100 = 75 and .25 x 1900 = 475, of 550
    assert "law (1,900 tokens in the mean) 86.4 % in place of 25.0 %" in note
    assert "web (100 tokens in the mean) 13.6 % in place of 75.0 %" in note
    assert "--per-document" in note
    assert not any("documents" in n for n in export(LONG, "olmo-core", PATHS).notes)
    small = replace(LONG, weights=(0.005, 0.995, 0.0))  # web nearly vanishes, by less than 1 % of all tokens
    assert any("in place of 0.5 %" in n for n in export(small, "streaming", PATHS).notes)
    same = replace(LONG, evidence={"unit": "chunk", "tokens_per_document": dict.fromkeys(LONG.sources, 300)})
    assert not any("documents" in n for n in export(same, "streaming", PATHS).notes)


@pytest.mark.parametrize("lengths", [None, {"web": 100}, [1, 2, 3]])
def test_without_lengths_the_note_is_general_and_nothing_can_be_divided(lengths):
    bare = replace(
        LONG, evidence={"unit": "chunk"} if lengths is None else {"tokens_per_document": lengths, "unit": "chunk"}
    )
    assert any("on chunks of text of one length" in n for n in export(bare, "streaming", PATHS).notes)
    with pytest.raises(InputError, match=r"tokens_per_document\), found none; search again"):
        export(bare, "streaming", PATHS, per_document=True)


@pytest.mark.parametrize("length", ["long", 10**400, -1, 0, True])
@pytest.mark.parametrize("per_document", [False, True])
def test_a_length_that_is_no_number_above_0_is_named(length, per_document):
    damaged = replace(LONG, evidence={"tokens_per_document": {"web": 100, "law": length, "never": 5}})
    with pytest.raises(InputError, match=r"tokens_per_document of 'law' .* should be a finite number above 0, found"):
        export(damaged, "streaming", PATHS, per_document=per_document)


def test_weights_are_divided_by_the_length_of_documents():
    rows = PATHS | {"law": "data/law.jsonl"}
    made = export(LONG, "trl", rows, per_document=True)
    again = read(made.text, paths=rows)
    # .75 / 100 to .25 / 1900 is 57 to 1
    assert again.weights == pytest.approx([57 / 58, 1 / 58, 0])
    assert "each was divided by the mean tokens" in made.notes[0]
    assert not any("draws rows" in n for n in made.notes)
    tokens = replace(LONG, unit="tokens")
    with pytest.raises(InputError, match="--per-document"):
        export(tokens, "trl", rows)
    assert export(tokens, "trl", rows, per_document=True).text == made.text
    with pytest.raises(InputError, match="Megatron-LM takes shares of tokens, not of documents"):
        export(LONG, "megatron", PATHS, per_document=True)


def test_text_is_cut_into_the_documents_that_were_weighed():
    for form in ("py", "yaml"):
        made = export(LONG, "datasets", TEXT, form=form)
        assert made.text.replace("'", "").count("sample_by: document") == 1
        assert not any("each line" in n for n in made.notes)
        assert read(made.text).weights == (0.75, 0.25)
    for to, form in (("trl", "yaml"), ("datasets", "card")):
        says = "the rows of 'law' are not the documents that were weighed: the whole file was a document"
        with pytest.raises(InputError, match=says):
            export(LONG, to, TEXT, form=form)
        made = export(LONG, to, TEXT, form=form, allow_loss=True)
        assert "sample_by" not in made.text
        assert made.notes[0].startswith(says)
    assert "'sample_by': " not in export(replace(LONG, evidence={}), "datasets", TEXT).text


@pytest.mark.parametrize(
    ("law", "cut"),
    [
        ({"path": "text", "data_files": "law.txt"}, True),
        ({"path": "law", "data_files": "**/*.txt"}, True),
        ({"path": "text", "data_dir": "law"}, True),
        ({"path": "law", "sample_by": "document"}, True),
        ({"path": "law", "data_files": "*.jsonl"}, False),
        ({"path": "json", "data_files": "law.txt"}, False),
        ({"load_from_disk": "law"}, False),
    ],
)
def test_text_is_seen_by_its_files_or_its_builder(law, cut):
    made = export(LONG, "datasets", TEXT | {"law": law}, per_document=True)
    assert ("'sample_by': 'document'" in made.text) == cut
    assert made.notes[0].endswith("so that the tokens come out as the mixture asks")


@pytest.mark.parametrize(
    ("to", "law", "says"),
    [
        (
            "datasets",
            "law",
            "may not be .*: the whole file .* and if its path holds text, .*; name its files with data_",
        ),
        ("trl", "data/law_text", "may not be .*; name its files with data_files"),
        ("trl", {"path": "text", "data_files": "law.txt"}, "are not .* and here each line of text is a row; give JSON"),
        ("datasets", {"path": "law.txt", "sample_by": "line"}, "are not .* here sample_by is 'line'; remove it from"),
        ("datasets", {"path": "law", "sample_by": "line"}, "are not .* here sample_by is 'line'; remove it from"),
    ],
)
def test_rows_that_are_not_the_documents_are_a_loss_and_nothing_is_promised(to, law, says):
    paths = TEXT | {"law": law}
    with pytest.raises(InputError, match=f"the rows of 'law' {says}"):
        export(LONG, to, paths, per_document=True)
    made = export(LONG, to, paths, per_document=True, allow_loss=True)
    assert made.notes[1].endswith(
        "; where the rows are other documents, the tokens do not come out as the mixture asks"
    )
    none = replace(LONG, weights=(1.0, 0.0, 0.0))
    assert not any("the rows of" in note for note in export(none, to, paths).notes)  # law is not drawn


def test_datasets_loads_the_documents_that_were_weighed(tmp_path):
    pytest.importorskip("datasets")
    (tmp_path / "law.txt").write_text("one\ntwo\n\nthree\n")
    (tmp_path / "web.jsonl").write_text('{"text": "web"}\n')
    paths = {"web": str(tmp_path / "web.jsonl"), "law": str(tmp_path / "law.txt")}
    ways = {
        "document": ["one\ntwo\n\nthree\n"],
        "paragraph": ["one\ntwo", "three\n"],
        "line": ["one", "two", "three"],  # without the blank one
    }
    for way, rows in ways.items():
        mixture = replace(LONG, evidence=LONG.evidence | {"sample_by": {"law": way}})
        scope = {"__name__": "made"}
        made = export(mixture, "datasets", paths)
        assert any("a line of white space ends" in note for note in made.notes) == (way == "paragraph")
        assert not any("blank lines" in note for note in made.notes)
        yaml = export(mixture, "datasets", paths, form="yaml")
        assert any("blank lines of 'law' are rows for datasets" in note for note in yaml.notes) == (way == "line")
        exec(made.text, scope)
        assert sorted(scope["load"](scope["SOURCES"]["law"])["text"]) == sorted(rows)
