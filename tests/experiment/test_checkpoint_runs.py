"""Searches, comparisons and trainings that start from a model on disk, with LoRA or all parameters."""

import json
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from checkpoints import STARTED, write_llama
from comparing import rows_of
from safetensors import safe_open
from tiny import SETTINGS, write_tiny

from forked import exit_code
from killing import Die
from mixwright.errors import InputError
from mixwright.experiment import drive, make
from mixwright.experiment.core.stages import silent
from mixwright.experiment.text.proxies import neural
from mixwright.files import file_fingerprint
from mixwright.search.table.table import LikelihoodTable
from mixwright.text import byte_tokenizer, load_tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import build_model, forward_flops, training_flops
from mixwright.training.scoring import score
from mixwright.watching.reference import Reference

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SEARCH: dict[str, Any] = {
    **SETTINGS,
    "targets": STARTED["targets"],
    "model": STARTED["model"],
    "final": {**SETTINGS["final"], "tokens": 1200, "mixtures": ["uniform", "search"]},
}
TRAIN = {**{key: SETTINGS[key] for key in ("sources", "targets")}, "model": STARTED["model"], "weights": "uniform",
         "training": {"steps": 4, "batch_size": 4, "context": 32}}  # fmt: skip


def data(folder: Path) -> Path:
    write_tiny(folder)
    write_llama(folder / "llama")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = data(tmp_path_factory.mktemp("checkpoint"))
    before = file_fingerprint(folder / "llama")
    summary = drive(make("compare", STARTED, folder=folder), folder / "run")
    assert file_fingerprint(folder / "llama") == before
    return folder, summary


def tensors(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping


def test_proxies_and_final_models_are_adapters_of_one_base(compared) -> None:
    folder, summary = compared
    models = [*folder.glob("run/seed_*/proxies/*/model"), *folder.glob("run/trainings/*/model")]
    assert len(models) == 2 * 3 + len(list(folder.glob("run/trainings/*")))
    for model in models:
        assert not (model / "config.json").exists()
        assert json.loads((model / "adapter_config.json").read_text())["base_model_name_or_path"] == str(
            folder / "llama"
        )
        found = tensors(model / "adapter_model.safetensors")
        assert all("lora_" in name for name in found)
        assert any(bool(value.any()) for name, value in found.items() if "lora_B" in name)  # 0 at the start
    measured = {(row["measured_on"], row["quantity"]) for row in rows_of(folder / "run")}
    assert {("target quiz", "accuracy"), ("target quiz", "answer loss"), ("target mix", "held-out loss")} <= measured
    assert summary["verdict"]


def test_an_adapter_whose_base_is_gone_is_kept(compared, tmp_path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(compared[0], folder)
    model = next((folder / "run").glob("**/model/adapter_config.json")).parent
    settings = json.loads((model / "adapter_config.json").read_text())
    moved = folder / "moved"
    (model / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(moved)}))
    tokenizer = load_tokenizer(folder / "llama")
    before = file_fingerprint(model)
    with pytest.raises(InputError, match=r"adapter of .*moved.* put it back") as caught:
        neural.trained_model(model, "the proxy of a", tokenizer, 32)
    assert "removed" not in str(caught.value)
    assert file_fingerprint(model) == before
    (folder / "llama").rename(moved)
    assert neural.trained_model(model, "the proxy of a", tokenizer, 32) is not None
    (model / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="removed"):
        neural.trained_model(model, "the proxy of a", tokenizer, 32)
    assert not model.exists()


def test_the_tokenizer_is_the_models_own(compared) -> None:
    folder = compared[0]
    assert load_tokenizer(folder / "run" / "tokenizer").fingerprint == load_tokenizer(folder / "llama").fingerprint
    config = make("compare", STARTED, folder=folder)
    assert config.dumped()["tokenizer"]["path"] == str(folder / "llama")
    assert make("compare", config.dumped(), folder=folder).dumped() == config.dumped()


def test_the_scores_are_those_of_each_adapter_on_a_base_of_its_own(compared) -> None:
    """The run reads the base once and changes adapters; here each has a base of its own, or is merged by hand."""
    folder = compared[0]
    table = LikelihoodTable.open(folder / "run" / "seed_0" / "table" / "mix" / "chunk")
    tokenizer = load_tokenizer(folder / "llama")
    config = make("compare", STARTED, folder=folder)
    from mixwright.experiment.text.inputs import read_target

    target = read_target("mix", config.targets["mix"], "")
    rows = TargetRows.from_documents(tokenizer.encode(target.search), 32, "chunk", tokenizer.bos)
    columns = table.block(0, table.n)
    for number, source in enumerate(table.sources):
        place = next(p for p in folder.glob("run/seed_0/proxies/*") if made_of(p) == source)
        own = build_model({"path": str(place / "model")}, tokenizer, 32, 0)
        np.testing.assert_allclose(np.concatenate(list(score(own, rows))), columns[:, number], rtol=1e-5)
        merged = by_hand(folder / "llama", place / "model")
        np.testing.assert_allclose(np.concatenate(list(score(merged, rows))), columns[:, number], rtol=1e-4)
    assert len({tuple(column) for column in columns.T}) == 3


def made_of(place: Path) -> str:
    return next(iter(json.loads((place / "begin.json").read_text())["inputs"]["tokens"]))


def by_hand(base: Path, adapter: Path) -> Any:
    """Return the base with W + (alpha / rank) B A in place of each W that has factors."""
    import torch
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(base), tensors(adapter / "adapter_model.safetensors")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    with torch.no_grad():
        for name, module in model.named_modules():
            key = f"base_model.model.{name}.lora_"
            if f"{key}A.weight" in found:
                product = found[f"{key}B.weight"] @ found[f"{key}A.weight"]
                module.weight += settings["lora_alpha"] / settings["r"] * product
    return model


def test_an_adapter_that_was_not_trained_changes_nothing(compared) -> None:
    folder = compared[0]
    tokenizer, spec = load_tokenizer(folder / "llama"), {"path": str(folder / "llama")}
    rows = TargetRows.from_documents(tokenizer.encode(["alpha beta", "x y z w"]), 16, "token", tokenizer.bos)
    base = build_model(spec, tokenizer, 16, 0)
    new = build_model({**spec, "adapter": {"targets": "all-linear", "rank": 2}}, tokenizer, 16, 5)
    for one, other in zip(score(base, rows), score(new, rows), strict=True):
        np.testing.assert_array_equal(one, other)
    frozen = {name: p for name, p in new.named_parameters() if not p.requires_grad}
    assert {name.rpartition("lora_")[1] for name in frozen} == {""}
    trained = sum(p.numel() for p in new.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in base.parameters())  # tied: the table is the output layer too
    assert training_flops(base, 1) == 6 * whole
    assert training_flops(new, 1) == 4 * whole + 6 * trained
    assert forward_flops(new, 10) == 20 * (whole + trained)


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_table(compared, tmp_path) -> None:
    folder, _ = compared
    data(tmp_path)
    for stage, at in (("proxies", 1), ("trainings", 1)):
        assert exit_code(_compare, tmp_path, Die(stage, at)) == -signal.SIGKILL
    assert exit_code(_compare, tmp_path, silent) == 0
    assert (tmp_path / "run" / "cells.csv").read_text() == (folder / "run" / "cells.csv").read_text()


def _compare(folder: Path, progress: Any) -> None:
    drive(make("compare", STARTED, folder=folder), folder / "run", progress)


@pytest.mark.parametrize("more", [{}, {"ema": 0.5}], ids=["", "averaged"])
def test_a_training_that_was_stopped_goes_on_to_the_same_adapter(tmp_path, more) -> None:
    folder = data(tmp_path)
    values = {**TRAIN, "training": {**TRAIN["training"], "checkpoint_every": 1e-6, **more}}
    drive(make("train", values, folder=folder), folder / "whole")

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "train" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(make("train", values, folder=folder), folder / "run", stop)
    names = tensors(folder / "run" / "checkpoints" / "last.safetensors")
    assert {name.partition("/")[0] for name in names} == {"model", "optimizer", *(["average"] if more else [])}
    assert all("lora_" in name for name in names if name != "average/n_averaged")  # the base is on disk already
    drive(make("train", values, folder=folder), folder / "run")
    for name in ("model/adapter_model.safetensors", "metrics.jsonl"):
        kept = [(folder / run / name).read_bytes() for run in ("run", "whole")]
        assert kept[0] == kept[1], name


def test_without_an_adapter_the_training_goes_on_in_all_parameters(tmp_path) -> None:
    folder = data(tmp_path)
    drive(make("train", {**TRAIN, "model": "llama"}, folder=folder), folder / "run")
    base, trained = (tensors(folder / place / "model.safetensors") for place in ("llama", "run/model"))
    assert base.keys() == trained.keys()
    assert all(not bool((trained[name] == value).all()) for name, value in base.items())
    assert all(float((trained[name] - value).abs().max()) < 0.05 for name, value in base.items())  # not from scratch


def test_a_search_with_lora_reads_the_base_once_for_each_table(tmp_path, monkeypatch) -> None:
    folder, read = data(tmp_path), []
    build = neural.build_model

    def counted(spec, tokenizer, context, seed, on=None):
        read.append(on is not None)
        return build(spec, tokenizer, context, seed, on)

    monkeypatch.setattr(neural, "build_model", counted)
    summary = drive(make("search", SEARCH, folder=folder), folder / "run")
    assert read[:6] == [False, True, True] * 2  # two targets, three proxies each
    assert summary["runs"][0]["mixture"] == "uniform"
    assert len(summary["runs"]) == 3
    spec = make("search", SEARCH, folder=folder).proxy_model().spec()
    model, cost = build_model(spec, load_tokenizer(folder / "llama"), 32, 0), summary["cost"]
    own = sum(p.numel() for p in model.parameters() if p.requires_grad)
    base = sum(p.numel() for p in model.parameters()) - own
    wanted = (4 * base + 6 * own) * cost["proxy_tokens"] + 2 * (base + own) * cost["scored_tokens"]
    assert cost["proxy_flops"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"model": {"path": "none"}}, ["model.path", "no such folder"]),
        ({"model": {"path": "bert"}}, ["model.path", "causal language model", "BertForMaskedLM"]),
        ({"model": {"path": "bare"}}, ["model.path", "there should be a tokenizer", "give the one"]),
        ({"model": {"path": "adapter"}}, ["model.path", "an adapter alone", "merge it"]),
        ({"model": {"path": "llama", "hidden_size": 8}}, ["model", "hidden_size", "remove"]),
        ({"model": {"path": "llama", "adapter": {"targets": ["q_prj"]}}},
         ["model.adapter.targets", "'q_prj'", "did you mean 'q_proj'"]),
        ({"model": {"path": "llama", "adapter": {"ranks": 2}}}, ["model.adapter", "ranks", "did you mean 'rank'"]),
        ({"model": {"model_type": "llama", "adapter": {"rank": 2}}}, ["model", "adapter is for a model on disk"]),
        ({"tokenizer": "bytes"}, ["tokenizer", "should be that of the model", "bytes", "remove it"]),
        ({"tokenizer": "bpe"}, ["tokenizer", "should be that of the model", "bpe", "remove it"]),
        ({"final": {**SETTINGS["final"], "context": 128}}, ["final.context", "at most 64 tokens", "128"]),
        ({"proxy": {"tokens": 600, "context": 100}}, ["proxy.context", "at most 64 tokens", "100"]),
        ({"model": SETTINGS["model"], "proxy": {"model": {"path": "none"}}}, ["proxy.model.path", "no such folder"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["search", "compare"])
def test_what_does_not_fit_is_one_error_before_any_work(shared, command, more, says) -> None:
    values = {**(SEARCH if command == "search" else STARTED), **more}
    before = sorted(shared.rglob("*"))
    with pytest.raises(InputError) as caught:
        drive(make(command, values, folder=shared), shared / "run")
    for part in says:
        assert part in str(caught.value)
    assert sorted(shared.rglob("*")) == before


@pytest.mark.parametrize("own", [None, {"path": "other", "adapter": {"rank": 2}}], ids=["model", "proxies"])
def test_two_models_on_disk_with_two_tokenizers_are_refused(shared, own) -> None:
    models = {"model": {"path": "other"}, "proxy": {**SEARCH["proxy"], "model": {"path": "llama"}}}
    if own is not None:
        models = {"model": {"path": "llama"}, "proxy": {**SEARCH["proxy"], "model": own}}
    with pytest.raises(InputError) as caught:
        drive(make("search", {**SEARCH, **models}, folder=shared), shared / "two")
    said, first = str(caught.value), models["model"]["path"]
    assert said.startswith("key proxy.model.path: proxies and final models should have one tokenizer, found those of ")
    assert f"{shared / first} (model) and {shared / models['proxy']['model']['path']} (proxy: model), which" in said
    assert not (shared / "two").exists()


def test_scores_and_references_of_adapters_are_named_by_their_base_too(shared, tmp_path) -> None:
    shutil.copytree(shared / "adapter", tmp_path / "adapter")
    shutil.copytree(shared / "llama", tmp_path / "llama")
    path = tmp_path / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "base_model_name_or_path": str(tmp_path / "llama")}))
    names, proxy = list(SEARCH["sources"]), {**SEARCH["proxy"], "checkpoints": {}}
    proxy["checkpoints"] = dict.fromkeys(names, str(tmp_path / "adapter"))
    config = make("search", {**SEARCH, "proxy": proxy}, folder=shared)
    prints = []
    for _ in range(2):
        own = neural.train_proxy(config, tmp_path, None, SimpleNamespace(name=names[0]), silent)  # type: ignore[arg-type]
        prints.append((own.fingerprint, Reference(tmp_path / "adapter").fingerprint))
        write_llama(tmp_path / "llama", positions=65)
    assert prints[0][0] == prints[0][1] != prints[1][0] == prints[1][1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    import transformers

    folder = data(tmp_path_factory.mktemp("faults"))
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    transformers.BertForMaskedLM(transformers.BertConfig(**small, vocab_size=40)).save_pretrained(folder / "bert")
    write_llama(folder / "bare")
    write_llama(folder / "other")
    for path in (folder / "other").glob("tokenizer*"):
        path.unlink()
    byte_tokenizer().save(folder / "other")
    for path in (folder / "bare").glob("tokenizer*"):
        path.unlink()
    build_model(
        {"path": str(folder / "llama"), "adapter": {"targets": "all-linear"}}, load_tokenizer(folder / "llama"), 8, 0
    ).save_pretrained(folder / "adapter")
    return folder


@pytest.mark.shared_data
@pytest.mark.slow
def test_the_benchmark_of_adaptations_runs_and_its_sizes_are_configurations(tmp_path) -> None:
    if not (SHARED / "qa" / "sciq.validation.jsonl.gz").exists():
        pytest.skip(f"no {SHARED}")
    import adapt_real

    for size in adapt_real.SIZES:
        made = make("compare", adapt_real.config(SHARED, tmp_path / "model", tmp_path, size, None, 1))
        assert {"arc_easy", "kubernetes"} <= set(made.targets)
        assert made.model.adapter.rank == 8
    adapt_real.run(SHARED, None, tmp_path, "tiny", 1, 1)
    text = adapt_real.table(adapt_real.read_summary(tmp_path / "run"))
    for words in ("| MixMin, LoRA | arc_easy |", "Accuracy", "Answer loss", "minus uniform", "In words:"):
        assert words in text
