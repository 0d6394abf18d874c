"""Models that are written, and read again to see that they are the ones that were trained."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM

from mixwright.errors import InputError
from mixwright.preference.losses import log_probabilities
from mixwright.training.adapters import merge_adapter
from mixwright.training.model import no_bars

_NEAR = 1e-3  # nats per token, and as a share: merges and other kernels round, a wrong model is far off
_AGAIN = "reloaded"


def save_model(model: Any, tokenizer: Any, folder: Path | str, sample: Sequence[Any], merge: bool = False) -> Any:
    """
    Write a model (or its adapter) and its tokenizer, read it again, and return the model that was written.

    Parameters
    ----------
    model
        As trained, in memory.
    tokenizer
        Of transformers.
    folder
        Complete or absent: what was there gives way once the new model is written and found to be right.
    sample
        Encoded pairs, of some sources: the model that is read again must give their answers the same loss.
    merge
        Whether the adapter is merged into its base first.

    Raises
    ------
    InputError
        If the model that was read again has another loss: nothing is written then.
    """
    folder, wanted = Path(folder), _loss(model, sample)
    whole = merge_adapter(model) if merge else model
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with no_bars(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*save_embedding_layers")  # peft's word that it does what it should
            whole.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            found = _loss_of_saved(whole, partial, sample)
        if not abs(found - wanted) <= _NEAR * (1 + abs(wanted)):
            raise InputError(
                f"{folder}: the saved model should have the loss of the trained one ({wanted:.4f} nats per token on "
                f"{sum(map(len, sample))} pairs), found {found:.4f}; it was not kept: adapt other layers, or train all "
                "parameters"
            )
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return whole


def _loss_of_saved(model: Any, folder: Path, sample: Sequence[Any]) -> float:
    if not hasattr(model, "peft_config"):
        again = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, dtype=model.dtype)
        return _loss(again.to(model.device), sample)
    own = model.active_adapter
    model.load_adapter(str(folder), adapter_name=_AGAIN)  # on the same base, which may be large
    model.set_adapter(_AGAIN)
    try:
        return _loss(model, sample)
    finally:
        model.set_adapter(own)
        model.delete_adapter(_AGAIN)


def _loss(model: Any, sample: Sequence[Any]) -> float:
    """Return the mean nats per token of the answers of pairs, chosen and rejected."""
    nats, tokens = 0.0, 0
    for encoded in sample:
        nats -= float(log_probabilities(model, encoded).sum(dtype="float64"))
        tokens += sum(len(encoded.chosen(i)) + len(encoded.rejected(i)) for i in range(len(encoded)))
    return nats / max(tokens, 1)
