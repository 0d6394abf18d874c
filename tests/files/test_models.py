"""Whether a folder holds a whole model."""

import json

import numpy as np
import pytest

from mixwright import InputError
from mixwright.files import file_fingerprint, fingerprints, folder_fingerprint
from mixwright.files.models import adapter_base, check_model_folder, holds_model, model_fingerprint

safetensors = pytest.importorskip("safetensors.numpy")


def write(folder, name="model.safetensors", config="config.json"):
    folder.mkdir(exist_ok=True)
    safetensors.save_file({"a": np.ones(3), "b": np.zeros((2, 2), np.float32)}, folder / name, {"format": "pt"})
    (folder / config).write_text("{}")
    return folder


@pytest.mark.parametrize("config", ["config.json", "adapter_config.json"])
def test_a_model_or_an_adapter(tmp_path, config):
    assert holds_model(write(tmp_path / "model", config=config))
    (tmp_path / "model" / config).unlink()
    assert not holds_model(tmp_path / "model")
    assert not holds_model(tmp_path / "nothing")


@pytest.mark.parametrize("left", [0, 5, 40, -8, -1])
def test_weights_that_are_cut_off(tmp_path, left):
    path = write(tmp_path / "model") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    assert not holds_model(tmp_path / "model")


def test_shards_are_all_there(tmp_path):
    for number in (1, 2):
        write(tmp_path / "model", f"model-0000{number}-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert holds_model(tmp_path / "model")
    (tmp_path / "model" / names["b"]).unlink()
    assert not holds_model(tmp_path / "model")


def test_other_files_are_no_weights(tmp_path):
    write(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "training_args.bin")
    assert not holds_model(tmp_path / "model")
    (tmp_path / "model" / "training_args.bin").rename(tmp_path / "model" / "pytorch_model.bin")
    assert holds_model(tmp_path / "model")


def test_what_is_wrong_with_a_folder_is_said_and_what_to_do(tmp_path):
    def said(folder):
        with pytest.raises(InputError) as found:
            check_model_folder(folder)
        return str(found.value).partition(": there should be a model (config.json, weights), found ")[2]

    assert said("hf/nope").startswith("no such folder; check the path")
    folder = write(tmp_path / "model")
    check_model_folder(folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-8])
    assert said(folder) == "that model.safetensors is damaged or cut off; copy or save the model again"
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0")
    with pytest.raises(InputError, match="only a pointer of Git LFS"):
        check_model_folder(folder)
    (folder / "model.safetensors").write_bytes(whole)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "other.safetensors"}}))
    assert said(folder).startswith("that other.safetensors is missing, which model.safetensors.index.json names; copy")
    index.write_text("{")
    assert said(folder).startswith("that model.safetensors.index.json is damaged; copy")
    index.unlink()
    (folder / "model.safetensors").unlink()
    assert said(folder).startswith("config.json and no weights (*.safetensors, pytorch_model*.bin); copy all files")
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")  # of an adapter, which is no model
    assert said(folder).startswith("an adapter alone; merge it into its base first")


def test_an_adapter_will_do_where_its_base_is_on_this_disk(tmp_path):
    folder = write(tmp_path / "adapter", "adapter_model.safetensors", "adapter_config.json")
    with pytest.raises(InputError, match=r"adapter_config.json: there should be the settings .* with its base"):
        check_model_folder(folder, adapters=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "base")}))
    assert adapter_base(folder) == tmp_path / "base"
    with pytest.raises(InputError, match=r"base: there should be a model .* no such folder"):
        check_model_folder(folder, adapters=True)
    check_model_folder(write(tmp_path / "base"), adapters=True)
    check_model_folder(folder, adapters=True)
    assert adapter_base(tmp_path / "base") is None
    with pytest.raises(InputError, match="an adapter alone; merge it"):
        check_model_folder(folder)


def test_an_adapter_is_another_one_after_its_base_was_trained_further(tmp_path):
    adapter, base = write(tmp_path / "adapter", "adapter_model.safetensors", "adapter_config.json"), tmp_path / "base"
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    write(base)
    assert model_fingerprint(base) == folder_fingerprint(base)  # of whole models as it was
    own, before = folder_fingerprint(adapter), model_fingerprint(adapter)
    assert model_fingerprint(adapter) == before != own
    safetensors.save_file({"a": np.full(3, 2.0)}, base / "model.safetensors", {"format": "pt"})
    assert folder_fingerprint(adapter) == own
    assert model_fingerprint(adapter) != before


def test_a_folder_is_read_again_only_if_a_file_changed(tmp_path, monkeypatch):
    folder, read = write(tmp_path / "model"), []
    monkeypatch.setattr(fingerprints, "file_fingerprint", lambda path: read.append(path) or file_fingerprint(path))
    first = folder_fingerprint(folder)
    assert [first, folder_fingerprint(folder)] == 2 * [file_fingerprint(folder)]
    assert read == [folder]
    (folder / "config.json").write_text('{"a": 1}')
    assert folder_fingerprint(folder) == file_fingerprint(folder) != first
    assert read == [folder, folder]
