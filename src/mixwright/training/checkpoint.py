"""A checkpoint of a training: model, optimiser and position in one file, complete or absent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files import explain_write_error
from mixwright.training.model import torch
from mixwright.training.ranks import laid_out_like, whole

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError:
    raise missing_extra("safetensors", "lm") from None

BEGIN_AGAIN = "remove it to begin again, or put back one that is whole"
_POSITION = (
    *("fingerprint", "ranks", "step", "seconds", "curve", "skipped", "skipped_in_a_row"),
    *("losses", "metrics", "plan"),
)


class _Damaged(Exception):
    """A value of a checkpoint has another shape than what it is for."""


def save_checkpoint(
    path: Path, model: Any, optimizer: Any, position: Mapping[str, Any], main: bool = True, averaged: Any = None
) -> None:
    """
    Write model, optimiser, averaged weights if any and a JSON-able position to one safetensors file, atomically.

    Where ranks hold parts of the model every rank must call it; the one that is `main` writes.
    """
    tensors = {f"model/{name}": tensor for name, tensor in _model_tensors(model).items()}
    if averaged is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in _model_tensors(averaged).items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = value
    tensors = {name: whole(tensor).detach().cpu().contiguous() for name, tensor in tensors.items()}
    if not main:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        save_file(tensors, temporary, _pack(position))
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else OSError(str(error))
        raise explain_write_error(path, cause) from error


def read_position(path: Path) -> dict[str, Any] | None:
    """
    Return the position that a checkpoint was written with; None if there is none, or it was cut off.

    Raises
    ------
    InputError
        If the file can be opened and has no position, or one that lacks something: it is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            head = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    try:
        position = json.loads(head["position"])
        missing = [name for name in _POSITION if name not in position]
    except (KeyError, TypeError, ValueError, RecursionError):
        missing = ["position"]
    if missing or not isinstance(position, dict):
        raise InputError(f"the checkpoint {path} is damaged (it has no {missing[0]!r}); {BEGIN_AGAIN}")
    return position


def load_checkpoint(path: Path, model: Any, optimizer: Any, averaged: Any = None) -> None:
    """
    Copy a checkpoint's values into the model, its optimiser and the averaged weights, if any.

    Raises
    ------
    InputError
        If a value is missing or has another shape: the file is damaged.
    """
    try:
        _load(path, model, optimizer, averaged)
    except (SafetensorError, _Damaged) as error:
        raise InputError(f"the checkpoint {path} is damaged ({error}); {BEGIN_AGAIN}") from error


def _load(path: Path, model: Any, optimizer: Any, averaged: Any) -> None:
    with safe_open(path, "pt") as file, torch.no_grad():
        for part, own in {"model": model, **({} if averaged is None else {"average": averaged})}.items():
            for name, tensor in _model_tensors(own).items():
                value = file.get_tensor(f"{part}/{name}")
                _check_shape(f"{part}/{name}", value, tensor)
                tensor.copy_(laid_out_like(value, tensor))
        names = set(file.keys())
        for name, parameter in model.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"optimizer/{name}/{key}" in names:
                    value = file.get_tensor(f"optimizer/{name}/{key}")
                    if key != "step":
                        _check_shape(f"{key} of {name}", value, parameter)
                        value = laid_out_like(value, parameter)
                    # cloned: memory aligned as in an uninterrupted run, so that sums are the same bit by bit
                    optimizer.state[parameter][key] = value.to(parameter.device, copy=True).clone()


def _check_shape(name: str, value: Any, like: Any) -> None:
    if value.shape != like.shape:
        raise _Damaged(f"{name} has the shape {tuple(value.shape)} in place of {tuple(like.shape)}")


def _model_tensors(model: Any) -> dict[str, Any]:
    """Return the parameters that are trained, shared ones once, and the buffers that belong to the state."""
    saved = model.state_dict().keys()
    buffers = {name: buffer for name, buffer in model.named_buffers() if name in saved}
    return {**{name: p for name, p in model.named_parameters() if p.requires_grad}, **buffers}


def _pack(position: Mapping[str, Any]) -> dict[str, str]:
    return {"format": "pt", "position": json.dumps(position, allow_nan=False)}
