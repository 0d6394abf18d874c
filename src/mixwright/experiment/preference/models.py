"""Causal language models on disk and at work, with and without adapters."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.experiment.preference.config import AdapterConfig


def load_model(folder: Path, as_saved: bool = False) -> Any:
    """Return a causal language model, in float32 unless `as_saved`."""
    import torch
    from transformers import AutoModelForCausalLM

    from mixwright.training.model import no_bars

    try:
        with no_bars():
            return AutoModelForCausalLM.from_pretrained(folder, dtype="auto" if as_saved else torch.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} should hold a causal language model, loading it failed: {error}") from error


def with_adapter(base: Any, adapter: AdapterConfig, seed: int) -> Any:
    """Return a model with a new adapter, whose random part is the seed's."""
    import torch

    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise missing_extra("peft", "preference") from error
    alpha: Any = adapter.alpha or 2 * adapter.rank  # a number that need not be whole
    settings = LoraConfig(
        r=adapter.rank,
        lora_alpha=alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # what peft asks of a model
            return get_peft_model(base, settings)
    except ValueError as error:
        raise InputError(
            f"adapter: targets should name layers of the model, found {adapter.targets}: {error}"
        ) from error


def on_device(model: Any) -> Any:
    """Return a model where trainings would put it."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model (or its adapter) and its tokeniser; complete or absent."""
    from mixwright.training.model import no_bars

    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    with no_bars():
        model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
