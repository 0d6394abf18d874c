"""Merges of specialists: their weights joined without more training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mixwright.errors import InputError, missing_extra
from mixwright.files import explain_write_error

KINDS = ("linear", "ties", "dare")
DENSITIES = {"linear": 1.0, "ties": 0.2, "dare": 0.5}
_PEFT = {"linear": "cat", "ties": "ties", "dare": "dare_linear"}  # peft's own "linear" mixes the factors of adapters
_ADAPTER = "adapter_config.json"
_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}  # of safetensors


def merge(
    base: Path | str,
    models: Mapping[str, Path | str],
    kind: str,
    folder: Path | str,
    *,
    weights: Mapping[str, float] | None = None,
    density: float | None = None,
    seed: int = 0,
) -> Path:
    """
    Write the merge of models that were trained from the same one, and return its folder.

    With d_i what model i changed of a tensor of the base, and w_i its weight:

    - linear: base + sum_i w_i d_i
    - ties: of each d_i the largest `density` of its entries stay; each entry takes the sign of the sum, and the mean of
      w_i d_i over the models that have that sign (Yadav et al. 2023)
    - dare: base + sum_i w_i m_i d_i / density, m_i being 1 with the chance `density`, else 0 (Yu et al. 2023)

    Parameters
    ----------
    base
        The model that all were trained from, in transformers' format.
    models
        Folders by name: whole models, or adapters of peft (LoRA), not both. Adapters are joined by peft
        (`add_weighted_adapter`), where ties and dare act on the factors of each adapter, linear on their products.
    kind
        "linear", "ties" or "dare".
    folder
        Where the model, or the adapter, goes; complete or absent. Numbers are as wide as the models' own: of a
        base in bfloat16 and models in float32 it is one in float32, in which small changes are not rounded away.
    weights
        By name. Default: 1/k each; for ties, which takes a mean, 1 each.
    density
        Share of the entries that stay, above 0 up to 1. Default: .2 for ties, .5 for dare.
    seed
        Of what dare drops.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    InputError
        An argument is not as above, a model is absent or is no fine-tune of the base (the tensor is named).
    """
    folder, folders = Path(folder), {name: Path(path) for name, path in models.items()}
    factors, density = _settings(kind, list(folders), weights, density)
    adapters = [name for name, path in folders.items() if (path / _ADAPTER).exists()]
    if adapters and len(adapters) < len(folders):
        other = next(name for name in folders if name not in adapters)
        raise InputError(
            f"models should be all adapters or all full models, found the adapter {adapters[0]} and the full model "
            f"{other}; merge the adapters into their base, or give adapters alone"
        )
    for name, path in folders.items():
        if name not in adapters and not (path / "config.json").exists():
            raise InputError(f"the model {name} should be a folder with config.json, found none in {path}")
    partial = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        join = _merge_adapters if adapters else _merge_whole
        join(Path(base), folders, kind, factors, density, seed, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _settings(
    kind: str, names: Sequence[str], weights: Mapping[str, float] | None, density: float | None
) -> tuple[list[float], float]:
    """Return the weights in the order of names, and the density; checked."""
    if kind not in KINDS:
        raise InputError(f"a merge should be one of {', '.join(KINDS)}, found {kind!r}")
    if not names:
        raise InputError("a merge should have at least one model, found none")
    if weights is not None and set(weights) != set(names):
        raise InputError(f"weights of a merge should name the models {', '.join(names)}, found {', '.join(weights)}")
    density = DENSITIES[kind] if density is None else density
    if not 0 < density <= 1:
        raise InputError(f"density of a merge should be above 0 and at most 1, found {density:g}")
    even = 1.0 if kind == "ties" else 1 / len(names)
    return [even if weights is None else float(weights[name]) for name in names], density


def merged_tensor(
    base: Tensor, tuned: Sequence[Tensor], kind: str, weights: Sequence[float], density: float, draw: torch.Generator
) -> Tensor:
    """Return one tensor of a merge, of the shape and type of `base`; arguments as of `merge`, `draw` for dare."""
    whole = base.to(torch.float32)
    changes = [tensor.to(torch.float32) - whole for tensor in tuned]
    if density < 1 and kind == "ties":
        changes = [_largest(change, density) for change in changes]
    if density < 1 and kind == "dare":
        changes = [torch.bernoulli(torch.full_like(d, density), generator=draw) * d / density for d in changes]
    stacked = torch.stack(changes)
    factors = torch.tensor(weights, dtype=torch.float32).view(-1, *[1] * whole.dim())
    if kind != "ties":
        return (whole + (factors * stacked).sum(0)).to(base.dtype)
    agrees = stacked.sign() == torch.where(stacked.sum(0) >= 0, 1, -1)
    mean = (factors * stacked * agrees).sum(0) / agrees.sum(0).clamp(min=1)
    return (whole + mean).to(base.dtype)


def _largest(change: Tensor, density: float) -> Tensor:
    """Return a change in which the largest share of its entries stays, the others being 0."""
    flat = change.reshape(-1)
    kept = torch.zeros_like(flat)
    best = torch.topk(flat.abs(), k=int(density * flat.numel())).indices
    kept[best] = flat[best]
    return kept.reshape(change.shape)


def _merge_whole(
    base: Path, folders: Mapping[str, Path], kind: str, weights: list[float], density: float, seed: int, into: Path
) -> None:
    """Save the base, of the models' type, then put merged tensors into its files: one file at a time is in memory."""
    from safetensors.torch import load_file, save_file

    draw = torch.Generator().manual_seed(seed)
    with ExitStack() as stack:
        tuned = {name: _Tensors(name, path, stack) for name, path in folders.items()}
        whole = _model(base)
        whole.to(reduce(torch.promote_types, (each.dtype for each in tuned.values()), whole.dtype))
        whole.save_pretrained(into)
        _check_tied(whole, into, tuned)
        for path in sorted(into.glob("*.safetensors")):
            tensors = load_file(path)
            for key in sorted(tensors):
                found = [model.get(key, tensors[key]) for model in tuned.values()]
                if tensors[key].is_floating_point():
                    tensors[key] = merged_tensor(tensors[key], found, kind, weights, density, draw).contiguous()
            save_file(tensors, path, metadata={"format": "pt"})


def _check_tied(base: Any, saved: Path, tuned: Mapping[str, _Tensors]) -> None:
    """Raise InputError if a model has two weights where the base has one (`merge_adapter` unties them)."""
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return
    written = {key for path in saved.glob("*.safetensors") for key in _keys(path)}
    first = next(key for key, value in base.state_dict().items() if value.data_ptr() == embedding.weight.data_ptr())
    for name, model in tuned.items():
        for key in model.keys() - written:  # by shape: files call a head by other names than the model does
            found = model.tensor(key)
            if found.shape == head.weight.shape and not torch.equal(found, model.get(first, head.weight)):
                raise InputError(
                    f"the model {name} should have one weight for {first} and {key}, like the base, found two; merge "
                    "adapters, or give a base in which they are two"
                )


def _keys(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def _model(base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, trust_remote_code=False, dtype="auto")


class _Tensors:
    """The tensors of a saved model by name, read when they are asked for."""

    def __init__(self, name: str, folder: Path, stack: ExitStack) -> None:
        from safetensors import safe_open

        self._name = name
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            handle = stack.enter_context(safe_open(path, framework="pt"))
            self._files |= dict.fromkeys(handle.keys(), handle)

    @property
    def dtype(self) -> torch.dtype:
        """Return the widest type of its numbers."""
        names = {file.get_slice(key).get_dtype() for key, file in self._files.items()}
        kinds = [kind for name, kind in _TYPES.items() if name in names]
        return reduce(torch.promote_types, kinds) if kinds else torch.float32

    def keys(self) -> set[str]:
        """Return the names of the tensors."""
        return set(self._files)

    def tensor(self, key: str) -> Any:
        """Return the tensor of a name, or None."""
        return self._files[key].get_tensor(key) if key in self._files else None

    def get(self, key: str, like: Tensor) -> Tensor:
        """Return a tensor; InputError if there is none of that name and shape."""
        found = self.tensor(key)
        if found is None or found.shape != like.shape:
            has = "none" if found is None else f"one of shape {tuple(found.shape)}"
            raise InputError(
                f"the model {self._name} should have a tensor {key} of shape {tuple(like.shape)} like the base, found "
                f"{has}; merge models that were trained from this base"
            )
        return cast(Tensor, found)


def _merge_adapters(
    base: Path, folders: Mapping[str, Path], kind: str, weights: list[float], density: float, seed: int, into: Path
) -> None:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise missing_extra("peft", "preference") from error
    names = [f"specialist{i}" for i in range(len(folders))]  # peft takes no dots in names
    paths = list(folders.values())
    model = PeftModel.from_pretrained(_model(base), paths[0], adapter_name=names[0])
    for name, path in zip(names[1:], paths[1:], strict=True):
        model.load_adapter(path, adapter_name=name)
    more = {} if kind == "linear" else {"density": density}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_weighted_adapter(names, weights, "merged", combination_type=_PEFT[kind], **more)
    model.save_pretrained(str(into), selected_adapters=["merged"])
    for path in list((into / "merged").iterdir()):
        path.rename(into / path.name)
    (into / "merged").rmdir()
    _name_base(into / _ADAPTER, base)


def _name_base(path: Path, base: Path) -> None:
    """Write down in an adapter which model it belongs to."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = str(base)
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
