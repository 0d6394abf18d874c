"""Parameters that transformers saves under another name than its Trainer looks for when it resumes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any


def mend_loading(trainer: Any) -> None:
    """
    Let a Trainer load all parameters of its checkpoints.

    transformers 5 saves some models under the names of their first release (GPT-NeoX's head as embed_out) and renames
    them in `from_pretrained`; its Trainer loads checkpoints without that, warns of missing keys and goes on with what
    the model had. A resumed training would have another head.
    """
    for name in ("_load_from_checkpoint", "_load_best_model"):
        if hasattr(trainer, name):
            setattr(trainer, name, _mended(trainer, getattr(trainer, name)))


def _mended(trainer: Any, load: Any) -> Any:
    @functools.wraps(load)
    def loading(*arguments: Any, **named: Any) -> Any:
        found = load(*arguments, **named)
        folder = arguments[0] if arguments else named.get("resume_from_checkpoint", trainer.state.best_model_checkpoint)
        if folder is not None and not trainer.is_fsdp_enabled and not trainer.is_deepspeed_enabled:
            load_renamed(trainer.model, folder)
        return found

    return loading


def load_renamed(model: Any, folder: str | Path) -> None:
    """Load a checkpoint with `from_pretrained` if parameters of the model are in it under other names."""
    saved, own = _saved_names(Path(folder)), set(model.state_dict())
    if not own - saved or not saved - own or not hasattr(model, "from_pretrained") or hasattr(model, "peft_config"):
        return  # all there; or shared parameters, which are saved once
    whole = type(model).from_pretrained(folder, dtype=next(model.parameters()).dtype)
    model.load_state_dict(whole.state_dict())


def _saved_names(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    if not (folder / "model.safetensors").exists():
        return set()
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as handle:
        return set(handle.keys())
