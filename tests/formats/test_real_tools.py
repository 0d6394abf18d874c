"""Each export loaded by its own tool, which then draws the asked shares. Tools that are not installed are skipped."""

import json
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mixwright.formats import export
from mixwright.mixture_file import MixtureFile

NAMES = ("web", "law: [no]", "1e5", "never")
WEIGHTS = (0.6180339887498949, 0.2819660112501051, 0.1, 0.0)
MIXTURE = MixtureFile(sources=NAMES, weights=WEIGHTS)
TOKENS = MixtureFile(sources=NAMES, weights=WEIGHTS, unit="tokens")
SHARES = dict(zip(NAMES, WEIGHTS, strict=True))


def check_shares(drawn, total, errors=4.0):
    """Each source's share is the asked one, within `errors` standard errors of independent draws, and one."""
    assert total > 0
    for name, share in SHARES.items():
        allowed = errors * np.sqrt(total * share * (1 - share)) + 1
        assert abs(drawn.get(name, 0) - total * share) <= allowed, (name, drawn, total)
    assert drawn.get("never", 0) == 0


def run_script(path: Path) -> dict:
    made = {"__name__": "mixture"}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), made)
    return made


def write_rows(folder: Path, rows: int = 1500) -> dict[str, str]:
    """A file of JSON lines per source, whose rows say which it is."""
    folder = folder / "with space"
    folder.mkdir()
    places = {}
    for i, name in enumerate(NAMES):
        places[name] = str(folder / f"{i}.jsonl")
        lines = [json.dumps({"text": f"{name} {row}", "source": name}) for row in range(rows)]
        Path(places[name]).write_text("\n".join(lines), encoding="utf-8")
    return places


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Keep data sets from the network and from the user's cache: set before the first import."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "home" / "datasets"))
    if "datasets" in sys.modules:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "home" / "datasets")


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_script(offline, tmp_path, streaming):
    pytest.importorskip("datasets")
    export(MIXTURE, "datasets", write_rows(tmp_path)).write(tmp_path / "mixture_datasets.py")
    rows = run_script(tmp_path / "mixture_datasets.py")["build"](streaming=streaming)
    drawn = Counter(row["source"] for row in rows)
    check_shares(drawn, drawn.total())
    assert max(drawn.values()) == 1500  # it ends with the first source that is used up


def test_a_saved_mixture_has_its_rows_for_tools_that_mix_nothing(offline, tmp_path):
    datasets = pytest.importorskip("datasets")
    export(MIXTURE, "datasets", write_rows(tmp_path)).write(tmp_path / "m.py")
    rows = run_script(tmp_path / "m.py")["build"]()
    rows.save_to_disk(str(tmp_path / "mixed"))  # axolotl's only data set
    kept = datasets.load_from_disk(str(tmp_path / "mixed"))["source"]
    assert list(kept) == list(rows["source"])
    check_shares(Counter(kept), len(kept))


def test_datasets_script_repeats_a_source_up_to_max_epochs(offline, tmp_path):
    pytest.importorskip("datasets")
    places = write_rows(tmp_path, 1000)
    made = export(MIXTURE, "datasets", places | {"web": {"path": places["web"], "max_epochs": 3}})
    made.write(tmp_path / "m.py")
    rows = run_script(tmp_path / "m.py")["build"]()
    web = Counter(row["text"] for row in rows if row["source"] == "web")
    drawn = Counter(row["source"] for row in rows)
    check_shares(drawn, drawn.total())
    assert drawn["law: [no]"] == 1000 or drawn["web"] == 3000  # here law is used up first, and web is repeated
    assert 1 < max(web.values()) <= 3


def test_datasets_script_loads_what_was_saved_to_disk(offline, tmp_path):
    datasets = pytest.importorskip("datasets")
    for i, name in enumerate(NAMES):
        datasets.Dataset.from_dict({"source": [name] * 2000}).save_to_disk(tmp_path / f"{i}")
    places = {name: {"load_from_disk": str(tmp_path / f"{i}")} for i, name in enumerate(NAMES)}
    export(MIXTURE, "datasets", places).write(tmp_path / "m.py")
    build = run_script(tmp_path / "m.py")["build"]
    for streaming in (False, True):
        drawn = Counter(row["source"] for row in build(streaming=streaming))
        check_shares(drawn, drawn.total())


def test_datasets_yaml(offline, tmp_path):
    datasets = pytest.importorskip("datasets")
    yaml = pytest.importorskip("yaml")
    uneven = MixtureFile(sources=NAMES, weights=[w * (1 + 9e-7) for w in WEIGHTS])  # numpy alone would refuse the sum
    read = yaml.safe_load(export(uneven, "datasets", write_rows(tmp_path), form="yaml").text)
    rows = datasets.interleave_datasets(
        [datasets.load_dataset(**one) for one in read["datasets"]],
        probabilities=read["probabilities"],
        seed=read["seed"],
        stopping_strategy=read["stopping_strategy"],
    )
    drawn = Counter(rows["source"])
    check_shares(drawn, len(rows))


def test_trl(offline, tmp_path):
    trl = pytest.importorskip("trl")
    path = tmp_path / "mixture.yaml"
    export(MIXTURE, "trl", write_rows(tmp_path)).write(path)
    from trl.scripts.sft import make_parser

    more = ["--output_dir", str(tmp_path / "out"), "--use_cpu", "true"]
    (*_, config) = make_parser().parse_args_and_config(["--config", str(path), *more])
    assert [one.fraction for one in config.datasets] == list(WEIGHTS)
    rows = trl.get_dataset(config)["train"]
    check_shares(Counter(rows["source"]), len(rows), errors=0)


@pytest.mark.parametrize("weights", [(1e-05, 1 - 1e-05), (1.0, 0.0)])
def test_trl_reads_tiny_and_whole_fractions_as_numbers(offline, tmp_path, weights):
    trl = pytest.importorskip("trl")
    places = write_rows(tmp_path, 10)
    mixture = MixtureFile(sources=NAMES[:2], weights=weights)
    path = tmp_path / "mixture.yaml"
    export(mixture, "trl", {name: places[name] for name in NAMES[:2]}).write(path)
    (config,) = trl.TrlParser((trl.DatasetMixtureConfig,)).parse_args_and_config(["--config", str(path)])
    assert [one.fraction for one in config.datasets] == list(weights)
    assert len(trl.get_dataset(config)["train"]) == 10


@pytest.mark.parametrize("form", ["yaml", "py"])
def test_streaming(tmp_path, form):
    streaming = pytest.importorskip("streaming")
    yaml = pytest.importorskip("yaml")
    places = {}
    for i, name in enumerate(NAMES):
        places[name] = str(tmp_path / f"mds {i}")
        with streaming.MDSWriter(out=places[name], columns={"source": "str"}) as writer:
            for _ in range(300):
                writer.write({"source": name})
    path = tmp_path / f"mixture.{form}"
    export(MIXTURE, "streaming", places, form=form).write(path)
    if form == "py":
        dataset = run_script(path)["build"](batch_size=1, epoch_size=2000)
    else:
        streams = [streaming.Stream(**one) for one in yaml.safe_load(path.read_text())["streams"].values()]
        dataset = streaming.StreamingDataset(streams=streams, batch_size=1, epoch_size=2000)
    drawn = Counter(sample["source"] for sample in dataset)
    assert drawn.total() == 2000
    check_shares(drawn, 2000, errors=0)


def test_litdata(tmp_path):
    pytest.importorskip("litdata")
    from litdata.streaming.writer import BinaryWriter

    places = {}
    for i, name in enumerate(NAMES):
        places[name] = str(tmp_path / f"lit {i}")
        Path(places[name]).mkdir()
        writer = BinaryWriter(places[name], chunk_size=500)
        for row in range(4000):
            writer[row] = name
        writer.done()
        writer.merge(num_workers=1)
    export(MIXTURE, "litdata", places).write(tmp_path / "m.py")
    drawn = Counter(run_script(tmp_path / "m.py")["build"]())
    check_shares(drawn, drawn.total())
    assert max(drawn.values()) == 4000


def write_tokens(folder: Path, tokens: int) -> dict[str, list[str]]:
    """Two raw files of uint16 per source, in documents of 16 tokens, whose first token says which source it is."""
    places = {}
    for i, name in enumerate(NAMES):
        places[name] = [str(folder / f"{i} {part}.npy") for part in "ab"]
        for path in places[name]:
            documents = np.full((tokens // 32, 16), 10 + i, np.uint16)
            documents[:, -1] = 1  # the end of a document
            documents.tofile(path)
    return places


def test_olmo_core(tmp_path):
    pytest.importorskip("olmo_core")
    from olmo_core.data import NumpyFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList

    path = tmp_path / "mixture.yaml"
    export(TOKENS, "olmo-core", write_tokens(tmp_path, 200_000)).write(path)
    listed = SourceMixtureList.from_yaml(str(path))
    listed.validate()
    assert [(one.source_name, one.target_ratio) for one in listed.sources] == list(SHARES.items())[:3]
    mix = SourceMixtureDatasetConfig(listed, requested_tokens=160_000, global_batch_size=1600, quiet=True)
    tokenizer = TokenizerConfig(vocab_size=100, eos_token_id=1, pad_token_id=2)
    dataset = NumpyFSLDatasetConfig.from_src_mix(
        mix, tokenizer=tokenizer, sequence_length=16, work_dir=str(tmp_path / "work")
    ).build()
    dataset.prepare()
    drawn = Counter(NAMES[int(dataset[i]["input_ids"][0]) - 10] for i in range(len(dataset)))
    assert len(dataset) == 10_000
    check_shares(drawn, len(dataset), errors=0.1)  # whole sequences from each of two files


def test_olmo_core_repeats_only_as_often_as_it_may(tmp_path):
    pytest.importorskip("olmo_core")
    from olmo_core.data.source_mixture import SourceMixtureDatasetConfig, SourceMixtureList
    from olmo_core.exceptions import OLMoConfigurationError

    places = write_tokens(tmp_path, 20_000)
    for epochs in (4.0, 5.0):
        path = tmp_path / f"{epochs}.yaml"
        export(TOKENS, "olmo-core", {n: {"path": p, "max_epochs": epochs} for n, p in places.items()}).write(path)
        listed = SourceMixtureList.from_yaml(str(path))
        mix = SourceMixtureDatasetConfig(listed, requested_tokens=160_000, global_batch_size=1600, quiet=True)
        if epochs < 160_000 * WEIGHTS[0] / 20_000:  # 4.94 epochs of web are asked for
            with pytest.raises(OLMoConfigurationError, match="Insufficient tokens for source: web"):
                mix.build(npdtype=np.uint16, sequence_length=16)
        else:
            assert mix.build(npdtype=np.uint16, sequence_length=16).sources


def megatron_files(folder: Path) -> dict[str, str]:
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    places = {}
    for i, name in enumerate(NAMES):
        places[name] = str(folder / f"{i}_document")
        builder = IndexedDatasetBuilder(places[name] + ".bin", dtype=np.int32)
        for _ in range(100):
            builder.add_document(torch.full((170,), 10 + i, dtype=torch.int32), [170])
        builder.finalize(places[name] + ".idx")
    return places


class Tokenizer:
    """What GPTDatasetConfig asks of a tokenizer."""

    eod, pad, vocab_size, library, path = 0, 1, 100, "null", None
    unique_identifiers = property(lambda self: {"class": "test"})


@pytest.mark.parametrize("form", ["args", "json"])
def test_megatron(tmp_path, form):
    pytest.importorskip("megatron.core")
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.utils import get_blend_from_list

    places = megatron_files(tmp_path)
    if form == "json":  # a prefix with a space
        for suffix in (".bin", ".idx"):
            Path(places["web"] + suffix).rename(tmp_path / f"the web{suffix}")
        places["web"] = str(tmp_path / "the web")
    text = export(TOKENS, "megatron", places, form=form).text
    # as megatron.training does with --data-args-path and --per-split-data-args-path
    blend = get_blend_from_list(text.split() if form == "args" else json.loads(text)["train"])
    assert blend == ([places[name] for name in NAMES[:3]], list(WEIGHTS[:3]))
    asked = {"blend": blend, "split": "1,0,0"} if form == "args" else {"blend_per_split": [blend, None, None]}
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=16,
        tokenizer=Tokenizer(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        **asked,
    )
    train = BlendedMegatronDatasetBuilder(GPTDataset, [5000, 0, 0], lambda: True, config).build()[0]
    drawn = Counter(NAMES[int(train[i]["tokens"][0]) - 10] for i in random.Random(0).sample(range(len(train)), 2000))
    check_shares(drawn, 2000)
    check_shares(Counter(NAMES[i] for i in train.dataset_index), len(train), errors=0)


def test_llama_factory(offline, tmp_path):
    datasets = pytest.importorskip("datasets")
    yaml = pytest.importorskip("yaml")
    arguments = pytest.importorskip("llamafactory.hparams.data_args", reason="LLaMA-Factory is not installed")
    merged = pytest.importorskip("llamafactory.data.data_utils", reason="LLaMA-Factory is not installed")
    read = arguments.DataArguments(**yaml.safe_load(export(MIXTURE, "llama-factory").text))
    assert read.dataset == list(NAMES[:3])
    assert read.interleave_probs == list(WEIGHTS[:3])
    sets = [datasets.Dataset.from_dict({"source": [name] * 1500}) for name in read.dataset]
    drawn = Counter(merged.merge_dataset(sets, read, seed=0)["source"])
    check_shares(drawn, drawn.total())
    assert max(drawn.values()) == 1500


def test_automodel(tmp_path):
    yaml = pytest.importorskip("yaml")
    utils = pytest.importorskip(
        "nemo_automodel.components.datasets.llm.megatron.megatron_utils", reason="NeMo Automodel is not installed"
    )
    places = {name: str(tmp_path / f"{i} text") for i, name in enumerate(NAMES)}
    section = yaml.safe_load(export(TOKENS, "automodel", places).text)["dataset"]
    assert utils.get_blend_from_list(section["paths"]) == ([places[name] for name in NAMES[:3]], list(WEIGHTS[:3]))


def test_megatron_bridge(tmp_path):
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("megatron.core")
    from megatron.core.datasets.utils import get_blend_from_list  # what its loaders.py calls

    places = {name: str(tmp_path / f"{i} text") for i, name in enumerate(NAMES)}
    section = yaml.safe_load(export(TOKENS, "megatron-bridge", places).text)["dataset"]
    assert get_blend_from_list(section["data_path"]) == ([places[name] for name in NAMES[:3]], list(WEIGHTS[:3]))
