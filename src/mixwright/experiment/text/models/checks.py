"""Whether the model of a run can be trained, and goes with its tokenizer: checked before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixwright.checks import check_context
from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.text.config import SearchConfig, TextConfig
from mixwright.experiment.text.models.model_config import ModelConfig
from mixwright.text import byte_tokenizer, load_tokenizer
from mixwright.text.tokenizer import tokenizer_folder


def check_models(config: SearchConfig) -> None:
    """Raise InputError if the final models or the proxies cannot be trained; nothing is built."""
    _check_one_tokenizer(config)
    if config.trains:
        check_model(config, config.model, "final", "model")
    part = "final" if config.proxy.context is None else "proxy"
    if config.proxy.model is not None:
        check_model(config, config.proxy.model, part, "proxy", "model")
    elif part == "proxy" and config.proxy.kind == "neural" and set(config.sources) - set(config.proxy.checkpoints):
        check_model(config, config.model, part, "model")


def _check_one_tokenizer(config: SearchConfig) -> None:
    """Raise InputError if the final models and the proxies start from models on disk with two tokenizers."""
    if config.model.path is None or config.proxy.model is None or config.proxy.model.path is None:
        return
    found = {}
    for key, path in ((("model",), config.model.path), (("proxy", "model"), config.proxy.model.path)):
        with named(config.where(*key, "path")):
            own = tokenizer_folder(path)
            found[path] = None if own is None else load_tokenizer(own).fingerprint
    if None not in found.values() and len(set(found.values())) > 1:
        first, second = found
        raise InputError(
            f"{config.where('proxy', 'model', 'path')}: proxies and final models should have one tokenizer, found "
            f"those of {first} (model) and {second} (proxy: model), which differ; choose models of one family, or "
            "give the proxies settings of their own (proxy: model: {model_type: ...})"
        )


def check_model(config: TextConfig, model: ModelConfig, part: str, *key: str) -> None:
    """
    Raise InputError if a model cannot be trained on the rows of a part of the configuration; nothing is built.

    Parameters
    ----------
    config
        Of the run.
    model, *key
        The model, and where it stands.
    part
        What is trained: a key of `config.contexts`.
    """
    context = config.contexts[part]
    if model.path is not None:
        _check_checkpoint(config, model, model.path, part, *key)
        return
    from mixwright.training.model import model_config

    with named(config.where(*key)):
        model_config(model.spec(), byte_tokenizer(), context)


def _check_checkpoint(config: TextConfig, model: ModelConfig, folder: Path, part: str, *key: str) -> None:
    from mixwright.training.model import check_adapter, checkpoint_config

    with named(config.where(*key, "path")):
        found = checkpoint_config(model.spec())
    with named(config.where(part, "context")):
        check_context(found, config.contexts[part], f"the model {folder}")
    _check_tokenizer(config, folder, found, *key)
    if model.adapter is not None:
        with named(config.where(*key, "adapter", "targets")):
            check_adapter(model.spec())


def _check_tokenizer(config: TextConfig, folder: Path, found: Any, *key: str) -> None:
    """Raise InputError if a model on disk, with its transformers configuration, has other tokens than the run."""
    from mixwright.training.model import check_vocabulary

    chosen, where = config.tokenizer, config.where("tokenizer")
    if "tokenizer" not in config.model_fields_set:
        raise InputError(
            f"{config.where(*key, 'path')}: there should be a tokenizer with the model {folder}, found none in its "
            "folder and none in tokenizer/ beside it; give the one that it was trained with (tokenizer: {path: ...})"
        )
    other = f"should be that of the model {folder}"
    if chosen.kind == "bpe":
        raise InputError(f"{where}: {other}, found bpe, which is trained on the sources of this run; remove it")
    with named(config.where("tokenizer", "path")):
        tokenizer = byte_tokenizer() if chosen.path is None else load_tokenizer(chosen.path)
    with named(config.where(*key, "path")):
        own = None if (place := tokenizer_folder(folder)) is None else load_tokenizer(place)
    if own is not None and own.fingerprint != tokenizer.fingerprint:
        raise InputError(f"{where}: {other}, found {chosen.path or chosen.kind}; remove it: the model has its own")
    with named(where):
        check_vocabulary(getattr(found, "vocab_size", tokenizer.vocab_size), tokenizer, f"the model {folder}")
