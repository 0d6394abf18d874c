"""Dataset cards and Croissant: loaded by datasets, huggingface_hub, mlcroissant; refused where they cannot say it."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from mixwright.errors import InputError
from mixwright.formats import export, read
from mixwright.mixture_file import MixtureFile

NAMES = ("web", "law: [no]", "a/b", "a:b", 'x" \\ </script> ```')
MIXTURE = MixtureFile(sources=NAMES, weights=(0.5, 0.2, 0.1, 0.1, 0.1))


def written(folder: Path) -> dict[str, str]:
    places = {}
    for i, name in enumerate(NAMES):
        places[name] = f"data/{i} rows.jsonl"
        path = folder / places[name]
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps({"text": f"{i} {row}"}) + "\n" for row in range(3 + i)))
    return places


def test_a_dataset_card_gives_the_configs_that_datasets_loads(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    made = export(MIXTURE, "datasets", written(tmp_path), form="card")
    made.write(tmp_path / "README.md")
    card = hub.DatasetCard.load(tmp_path / "README.md")
    entries = card.data.to_dict()["mixture"]["sources"]
    assert [one["source"] for one in entries] == list(NAMES)
    assert [one["config"] for one in entries] == ["web", "law- [no]", "a-b", "a-b-2", "x- - --script- ```"]
    assert hub.metadata_load(tmp_path / "README.md")["mixture"]["unit"] == "rows"
    for i, one in ((2, entries[2]), (4, entries[4])):
        rows = datasets.load_dataset(str(tmp_path), one["config"], split="train", cache_dir=str(tmp_path / "cache"))
        assert [row["text"] for row in rows] == [f"{i} {row}" for row in range(3 + i)]
    shown = {}
    code = card.text.partition("```python\n")[2].partition("\n```\n")[0]
    exec(compile(code.replace("OWNER/NAME", str(tmp_path)), "card", "exec"), shown)
    assert {row["text"][0] for row in shown["mixture"]} <= set("01234")
    assert read(tmp_path / "README.md").weights == MIXTURE.weights


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/home/alice/web.jsonl", "names files of its own folder, found '/home/alice/web.jsonl'"),
        ("../web.jsonl", "names files of its own folder"),
        (r"C:\web.jsonl", "names files of its own folder"),
        ("org/web", "names files of its own folder, found 'org/web'"),
        ({"path": "web.jsonl", "max_epochs": 2}, "found max_epochs or other keys"),
        ({"path": "web.jsonl", "name": "en"}, "found max_epochs or other keys"),
    ],
)
def test_what_a_dataset_card_cannot_say_is_refused(place, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(")):
        export(MixtureFile(sources=["web"], weights=[1.0]), "datasets", {"web": place}, form="card")


def test_croissant_names_each_file_with_its_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {**written(tmp_path), "web": "org/web", "a/b": {"path": "s3://bucket/x.parquet", "sha256": "a" * 64}}
    value = json.loads(export(MIXTURE, "croissant", places).text)
    files = {one["@id"]: one for one in value["distribution"]}
    owner = {one["files/source"]: files[one["files/file"]] for one in value["recordSet"][1]["data"]}
    content = (tmp_path / "data/1 rows.jsonl").read_bytes()
    assert owner["law: [no]"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert owner["law: [no]"]["contentUrl"] == "data/1 rows.jsonl"
    assert owner["web"]["contentUrl"] == "https://huggingface.co/datasets/org/web"
    assert (owner["a/b"]["contentUrl"], owner["a/b"]["sha256"]) == ("s3://bucket/x.parquet", "a" * 64)
    again = read(export(MIXTURE, "croissant", places).text)
    assert (again.sources, again.weights) == (MIXTURE.sources, MIXTURE.weights)


def test_croissant_is_read_by_mlcroissant(tmp_path, monkeypatch):
    mlc = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    monkeypatch.chdir(tmp_path)
    export(MIXTURE, "croissant", {**written(tmp_path), "web": "org/web"}).write("croissant.json")
    dataset = mlc.Dataset("croissant.json")
    assert not dataset.metadata.issues.errors
    rows = [dict(row.items()) for row in dataset.records("mixture")]
    found = {_text(row["mixture/source"]): row["mixture/weight"] for row in rows}
    assert found == dict(zip(NAMES, MIXTURE.weights, strict=True))
    assert len(list(dataset.records("files"))) == len(NAMES)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("/home/alice/web.jsonl", "relative to it, found '/home/alice/web.jsonl'"),
        ("gone.jsonl", "'gone.jsonl' of 'web' cannot be read here"),
        ("data/web.jsonl", "'data/web.jsonl' of 'web' cannot be read here"),
        ("data/web.zst", "'data/web.zst' of 'web' cannot be read here"),
        ({"path": "s3://bucket/x", "sha256": "abc"}, "64 hexadecimal digits for each of 1 files"),
        ("https://alice:secret@example.org/x.jsonl", "should hold no credentials"),
    ],
)
def test_what_croissant_cannot_say_is_refused(place, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as error:
        export(MixtureFile(sources=["web"], weights=[1.0]), "croissant", {"web": place})
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nmixture: {unit: rows}\n---\n", "mixture: with a list of sources"),
        ('{"@context": {}, "recordSet": [{"@id": "mixture"}]}', "a record set 'mixture'"),
        ('{"@context": {}, "recordSet": 3}', "a record set 'mixture'"),
    ],
)
def test_a_card_without_a_mixture_is_one_error(text, said):
    with pytest.raises(InputError, match=said):
        read(text)


def test_the_code_of_a_card_has_the_names_of_the_configs():
    name = "law \N{SCALES} \N{GRINNING FACE}"
    text = export(MixtureFile(sources=[name], weights=[1.0]), "datasets", {name: "a.csv"}, form="card").text
    code = text.partition("shares = ")[2].partition("}")[0] + "}"
    assert eval(code) == {name: 1.0}
    assert yaml.safe_load(text.split("---\n")[1])["configs"][0]["config_name"] == name


def test_the_metadata_of_a_card_is_yaml():
    text = export(
        MixtureFile(sources=["1e5", "no"], weights=[0.5, 0.5]), "datasets", {"1e5": "a.csv", "no": "b.csv"}, form="card"
    ).text
    value = yaml.safe_load(text.split("---\n")[1])
    assert value["configs"][0] == {"config_name": "1e5", "data_files": [{"split": "train", "path": "a.csv"}]}
    assert [one["source"] for one in value["mixture"]["sources"]] == ["1e5", "no"]
