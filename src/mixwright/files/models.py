"""Folders of models as transformers and peft write them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

from mixwright.errors import InputError
from mixwright.files.fingerprints import fingerprint, folder_fingerprint
from mixwright.files.pointers import refuse_pointers_in

_ADAPTER = "adapter_config.json"
_CONFIGS = ("config.json", _ADAPTER)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_LENGTH = struct.Struct("<Q")  # of the header of a safetensors file, which says where each tensor ends


def holds_model(folder: Path | str) -> bool:
    """Return whether a folder holds a model or an adapter with all its files of weights, none of them cut off."""
    return _fault(Path(folder), _CONFIGS) is None


def check_model_folder(folder: Path | str, adapters: bool = False) -> None:
    """
    Raise InputError if a folder holds no model, or a file of weights is missing or damaged; none is loaded.

    `adapters`: whether an adapter will do, as peft writes it, whose base is on this disk.
    """
    folder = Path(folder)
    refuse_pointers_in(folder)
    base = adapter_base(folder) if adapters else None
    for place, configs in ((folder, _CONFIGS[:1]),) if base is None else ((folder, _CONFIGS[1:]), (base, _CONFIGS[:1])):
        if (fault := _fault(place, configs)) is not None:
            raise InputError(f"{place}: there should be a model ({configs[0]}, weights), found {fault}")


def adapter_base(folder: Path | str) -> Path | None:
    """Return the folder of the model that an adapter in a folder was trained on; None where there is no adapter."""
    if not _is_adapter(folder):
        return None
    path = Path(folder) / _ADAPTER
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
        return Path(base)
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: there should be the settings of an adapter with its base (base_model_name_or_path), found a "
            "damaged file or no base; save the adapter again"
        ) from None


def model_fingerprint(folder: Path | str) -> str:
    """Return what names the files of a model: of an adapter also those of its base, which makes half of its outputs."""
    base, own = adapter_base(folder), folder_fingerprint(folder)
    return own if base is None else fingerprint([own, folder_fingerprint(base)])


def _is_adapter(folder: Path | str) -> bool:
    return (Path(folder) / _ADAPTER).is_file() and not (Path(folder) / "config.json").is_file()


def _fault(folder: Path, configs: Sequence[str]) -> str | None:
    """Return why a folder holds no whole model, and what to do; None if it does."""
    if not folder.is_dir():
        return "no such folder; check the path (names on the hub are not read)"
    if configs == _CONFIGS[:1] and _is_adapter(folder):
        return "an adapter alone; merge it into its base first (mixwright.preference.merge_adapter)"
    if not any((folder / name).is_file() for name in configs):
        return f"no {configs[0]} there; check the path"
    weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not weights:
        return f"config.json and no weights ({_WEIGHTS[0]}, {_WEIGHTS[1]}); copy all files of the model"
    for index in sorted(folder.glob("*.index.json")):
        try:
            named = sorted(_files_of(index))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return f"that {index.name} is damaged; copy or save the model again"
        if missing := [name for name in named if not (folder / name).is_file()]:
            return f"that {missing[0]} is missing, which {index.name} names; copy all files of the model"
    damaged = [path.name for path in weights if not _is_whole(path)]
    return f"that {damaged[0]} is damaged or cut off; copy or save the model again" if damaged else None


def _files_of(index: Path) -> set[str]:
    """Return the files that an index of sharded weights names."""
    return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())


def _is_whole(path: Path) -> bool:
    """Return whether a file of weights is as long as its header says; of other formats, whether it is not empty."""
    try:
        size = path.stat().st_size
        if path.suffix != ".safetensors":
            return size > 0
        with open(path, "rb") as handle:
            (length,) = _LENGTH.unpack(handle.read(_LENGTH.size))
            header = json.loads(handle.read(min(length, size)))
        ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
        return bool(size == _LENGTH.size + length + max(ends, default=0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False
