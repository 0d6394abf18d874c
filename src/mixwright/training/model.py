"""Language models from a configuration or from disk."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.checks import POSITIONS, check_context
from mixwright.errors import InputError, missing_extra
from mixwright.files.models import adapter_base, check_model_folder
from mixwright.text.tokenizer import Tokenizer

try:
    import torch
    from torch import nn
except ImportError:
    raise missing_extra("torch", "lm") from None
try:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
except ImportError:
    raise missing_extra("transformers", "lm") from None

_FROM_TOKENIZER = ("bos_token_id", "eos_token_id", "pad_token_id")


def build_model(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int, seed: int, on: Any = None) -> Any:
    """
    Return a causal language model in float32, on the GPU if there is one.

    Parameters
    ----------
    spec
        {"model_type": a transformers causal language model, and fields of its configuration}: new weights. The
        vocabulary, the special tokens and (unless given) the longest context are set from the other arguments. Unless
        given, dropout is 0, the inner width is 4 x the hidden size and each head has its own keys.
        Or {"path": folder}: a checkpoint on disk, or an adapter as peft writes it, whose base is on disk too. With
        {"adapter": {rank, alpha, dropout, targets}} a new LoRA adapter is put on the checkpoint.
    tokenizer
        Its vocabulary must fit into the model's.
    context
        Tokens that the model must be able to read at once.
    seed
        Names the new weights, those of an adapter too; nothing else does, the global generator is left as it is.
    on
        A model that came from here: if it is an adapter on the base of the one that is wanted, that one takes its
        place, and the base is not read again.

    Raises
    ------
    InputError
        If a field is unknown or does not fit, or the checkpoint cannot be read or is too small.
    """
    model = _from_disk(spec, seed, on) if "path" in spec else _from_config(spec, tokenizer, context, seed)
    check_vocabulary(model.get_input_embeddings().weight.shape[0], tokenizer, _title(spec))
    check_context(model.config, context, _title(spec))
    return model.to(default_device())


def default_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def check_vocabulary(found: int, tokenizer: Tokenizer, title: str) -> None:
    """Raise InputError if a model with `found` tokens has fewer than the tokenizer."""
    if found < tokenizer.vocab_size:
        advice = "use the model's own tokenizer"
        raise InputError(
            f"{title} should have a vocabulary of at least {tokenizer.vocab_size}, found {found}; {advice}"
        )


def training_flops(model: Any, tokens: int) -> float:
    """
    Return the operations of training on `tokens` tokens: 6 x parameters x tokens.

    Parameters that are not trained, as under an adapter, take 4: no gradient of their own is computed. Parameters that
    are only looked up (embedding tables that are not the output layer too) do no multiplications and do not count; nor
    does the attention's product of positions, small at usual contexts.
    """
    return sum((6.0 if p.requires_grad else 4.0) * p.numel() for p in _multiplied(model)) * tokens


def forward_flops(model: Any, tokens: int) -> float:
    """Return the operations of a forward pass over `tokens` tokens: 2 x parameters x tokens, as in `training_flops`."""
    return 2.0 * sum(p.numel() for p in _multiplied(model)) * tokens


def _multiplied(model: Any) -> list[Any]:
    output = model.get_output_embeddings()
    shared = {id(p) for p in output.parameters()} if output is not None else set()
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)} - shared
    return [p for p in model.parameters() if id(p) not in tables]


def _title(spec: Mapping[str, Any]) -> str:
    return f"the model {str(spec.get('path', spec.get('model_type')))!r}"


def _from_config(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int, seed: int) -> Any:
    config = model_config(spec, tokenizer, context)
    with torch.random.fork_rng(), _explained(spec):
        torch.manual_seed(seed)
        return _checked(
            transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False, dtype=torch.float32), spec
        )


def _checked(model: Any, spec: Mapping[str, Any]) -> Any:
    """Read two pairs of tokens: shapes that do not fit show now, and so does a model that sees later tokens."""
    model.eval()
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[0, 0], [0, 1]], device=model.device), use_cache=False).logits
    if not torch.isfinite(logits).all():
        raise InputError(
            f"{_title(spec)} should give finite numbers, found others: its training went wrong; choose another, or "
            "train it again with a lower learning rate"
        )
    if not torch.allclose(logits[0, 0], logits[1, 0], atol=1e-4):
        raise InputError(f"{_title(spec)} should read from left to right, but it sees later tokens; choose another")
    return model


def model_config(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int) -> Any:
    """
    Return the transformers configuration that `build_model` uses for a spec with a "model_type"; nothing is built.

    Raises
    ------
    InputError
        If the model type or a field is unknown, or the fields do not fit together, the tokenizer or the context.
    """
    kind = str(spec.get("model_type", ""))
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        near = _nearest(kind, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
        raise InputError(f"'model_type' should be a causal language model of transformers, found {kind!r}{near}")
    config_class = transformers.CONFIG_MAPPING[kind]
    known = set(_fields(config_class)) | set(config_class.attribute_map)
    given = {key: value for key, value in spec.items() if key != "model_type"}
    for key in given:
        if key in _FROM_TOKENIZER:
            raise InputError(f"the field {key!r} of {_title(spec)} is set from the tokenizer; remove it")
        if key not in known:
            raise InputError(f"{_title(spec)} has no field {key!r}{_nearest(key, known)}")
    special = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.bos, "pad_token_id": None}
    sizes = {"vocab_size": tokenizer.vocab_size, **_positions(known, given, context), **_shape(known, given)}
    with _explained(spec):
        config = config_class(**{**sizes, **special, **_no_dropout(config_class), **given})
    check_vocabulary(config.vocab_size, tokenizer, _title(spec))
    check_context(config, context, _title(spec))
    _check_heads(config, spec)
    return config


def _shape(known: set[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return widths that follow from those given: an architecture's defaults belong to its largest model."""
    found: dict[str, Any] = {}
    if "num_key_value_heads" in known and "num_attention_heads" in given:
        found["num_key_value_heads"] = given["num_attention_heads"]
    if "intermediate_size" in known and isinstance(given.get("hidden_size"), int):
        found["intermediate_size"] = 4 * given["hidden_size"]
    return found


def _positions(known: set[str], given: Mapping[str, Any], context: int) -> dict[str, int]:
    """Return the architecture's name for the longest context with its value, unless it was given."""
    names = [name for name in POSITIONS if name in known]
    return {} if not names or any(name in given for name in names) else {names[0]: context}


def _no_dropout(config_class: Any) -> dict[str, float]:
    fields = _fields(config_class).items()
    return {name: 0.0 for name, default in fields if name.endswith(("dropout", "pdrop")) and default}


def _fields(config_class: Any) -> dict[str, Any]:
    """Return the fields of a configuration with their defaults; before transformers 5 they were arguments."""
    if dataclasses.is_dataclass(config_class):
        return {f.name: f.default for f in dataclasses.fields(config_class)}
    parameters = inspect.signature(config_class.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"}


def _check_heads(config: Any, spec: Mapping[str, Any]) -> None:
    width, heads = getattr(config, "hidden_size", None), getattr(config, "num_attention_heads", None)
    groups = getattr(config, "num_key_value_heads", None)
    if isinstance(width, int) and isinstance(heads, int) and "head_dim" not in spec and (heads < 1 or width % heads):
        raise InputError(f"the hidden size of {_title(spec)} should be a multiple of its heads, found {width}, {heads}")
    if isinstance(heads, int) and isinstance(groups, int) and (groups < 1 or heads % groups):
        found = f"{heads} and {groups}"
        raise InputError(f"the heads of {_title(spec)} should be a multiple of its num_key_value_heads, found {found}")


def checkpoint_config(spec: Mapping[str, Any]) -> Any:
    """Return the transformers configuration of a checkpoint; InputError if it is no causal language model."""
    check_model_folder(folder := Path(spec["path"]))
    with _explained(spec):
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    names = {causal} if isinstance(causal, str) else set(causal or ())
    if not names or config.is_encoder_decoder or (config.architectures and not names & set(config.architectures)):
        found = ", ".join(config.architectures or [config.model_type])
        raise InputError(f"{_title(spec)} should be a causal language model, found {found}; choose another")
    return config.get_text_config()


def check_adapter(spec: Mapping[str, Any]) -> None:
    """Raise InputError if the adapter of a spec does not fit its checkpoint; no weights are read."""
    with _explained(spec), torch.device("meta"):
        config = transformers.AutoConfig.from_pretrained(
            str(spec["path"]), local_files_only=True, trust_remote_code=False
        )
        _adapted(transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False), spec, 0)


def _adapted(base: Any, spec: Mapping[str, Any], seed: int) -> Any:
    from mixwright.training.adapters import with_adapter

    with torch.random.fork_rng():
        return with_adapter(base, **spec["adapter"], seed=seed)


def _from_disk(spec: Mapping[str, Any], seed: int, on: Any) -> Any:
    folder = Path(spec["path"])
    if others := sorted(set(spec) - {"path", "adapter"}):
        raise InputError(f"a model from a path takes no other fields, found {others}; remove them")
    if (base := adapter_base(folder)) is not None and "adapter" not in spec:
        check_model_folder(folder, adapters=True)
        with _explained(spec):
            return _checked(_of_adapter(folder, base, on), spec)
    whole = _whole_from_disk(spec)
    return _adapted(whole, spec, seed) if "adapter" in spec else whole


def _of_adapter(folder: Path, base: Path, on: Any) -> Any:
    from mixwright.training.adapters import base_of, load_adapter, swap_adapter

    if on is not None and base_of(on) == base:
        return swap_adapter(on, folder)
    return load_adapter(_whole_from_disk({"path": str(base)}), folder)


def _whole_from_disk(spec: Mapping[str, Any]) -> Any:
    check_model_folder(folder := Path(spec["path"]))
    loader: Any = transformers.AutoModelForCausalLM
    with _explained(spec), no_bars():
        model, info = loader.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
        _checked(model, spec)
    if info["missing_keys"]:
        found = ", ".join(sorted(info["missing_keys"])[:3])
        raise InputError(
            f"{folder}: the checkpoint should hold all weights, but {found} ... are missing; save it again"
        )
    return model


@contextmanager
def _explained(spec: Mapping[str, Any]) -> Iterator[None]:
    """Turn the many errors of building a model into an InputError that names it."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, PermissionError, InputError):
        raise
    except Exception as error:  # configurations and files of weights fail in every way
        reason = " ".join(str(error).split()) or type(error).__name__
        advice = "copy or save the model again" if "path" in spec else "correct its description"
        raise InputError(f"{_title(spec)} cannot be built: {reason}; {advice}") from error


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing bars over ours."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
