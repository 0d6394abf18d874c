"""Folders of models as transformers and peft write them."""

from __future__ import annotations

import json
import struct
from pathlib import Path

_CONFIGS = ("config.json", "adapter_config.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_LENGTH = struct.Struct("<Q")  # of the header of a safetensors file, which says where each tensor ends


def holds_model(folder: Path | str) -> bool:
    """Return whether a folder holds a model or an adapter with all its files of weights, none of them cut off."""
    folder = Path(folder)
    weights = [path for pattern in _WEIGHTS for path in folder.glob(pattern)]
    if not weights or not any((folder / name).is_file() for name in _CONFIGS):
        return False
    try:
        named = [name for index in folder.glob("*.index.json") for name in _files_of(index)]
        return all((folder / name).is_file() for name in named) and all(map(_is_whole, weights))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return False


def _files_of(index: Path) -> set[str]:
    """Return the files that an index of sharded weights names."""
    return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())


def _is_whole(path: Path) -> bool:
    """Return whether a file of weights is as long as its header says; of other formats, whether it is not empty."""
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        return size > 0
    with open(path, "rb") as handle:
        (length,) = _LENGTH.unpack(handle.read(_LENGTH.size))
        header = json.loads(handle.read(min(length, size)))
    ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
    return bool(size == _LENGTH.size + length + max(ends, default=0))
