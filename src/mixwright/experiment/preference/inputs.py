"""What trainings on preference pairs start from: encoded pairs, the reference, and new models to train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import AdapterConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.preference.config import PreferDataConfig
from mixwright.experiment.preference.data import (
    EncodedSource,
    check_vocabulary,
    encode_sources,
    keep_tokens,
    notes_of,
    open_tokenizer,
    read_sources,
    tokenizer_fingerprint,
)
from mixwright.files import file_fingerprint, fingerprint
from mixwright.preference.pairs.tokenizers import find_model

_SAMPLE = 8  # pairs of each source by which a saved model is compared with the trained one
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "config.json", "adapter_config.json")


@dataclass
class Inputs:
    """
    Pairs as tokens, and the model that is the reference of all trainings.

    Attributes
    ----------
    sources
        The encoded pairs by name.
    tokenizer
        That of transformers.
    model
        Folder of the reference.
    adapter
        The LoRA that is trained; None: all parameters are.
    model_fingerprint, tokenizer_fingerprint
        Of their files.
    notes
        What became of the pairs, in sentences.
    layers, adapter_notes
        {name: how many} of the layers that the adapter is on; what to know of it, in sentences.
    keep
        Writes the tokens to the run folder, where later calls find them.
    """

    sources: Mapping[str, EncodedSource]
    tokenizer: Any
    model: Path
    adapter: AdapterConfig | None
    model_fingerprint: str
    tokenizer_fingerprint: str
    notes: list[str] = field(default_factory=list)
    layers: Mapping[str, int] = field(default_factory=dict)
    adapter_notes: list[str] = field(default_factory=list)
    keep: Callable[[], None] = lambda: None
    _base: Any = None

    @property
    def pad(self) -> int:
        """Return the token of padding."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def adapter_described(self) -> dict[str, Any] | None:
        """Return the adapter's settings, JSON-able."""
        return None if self.adapter is None else self.adapter.model_dump(mode="json")

    @property
    def adapter_summary(self) -> dict[str, Any] | None:
        """Return the adapter's settings and the layers that it is on, for summaries."""
        described = self.adapter_described
        return None if described is None else {**described, "layers": dict(self.layers)}

    def reference(self) -> Any:
        """Return the reference: kept in memory where adapters are trained on it, else loaded again."""
        if self.adapter is None:
            return on_device(load_model(self.model))
        if self._base is None:
            self._base = on_device(load_model(self.model, as_saved=True))
        return self._base

    def policy(self, seed: int) -> Any:
        """Return a new model to train: the reference, or the one base with a new adapter on it (the seed's)."""
        if self.adapter is None:
            return load_model(self.model)
        return with_adapter(self.reference(), self.adapter, seed)

    def forget(self) -> None:
        """Forget the base in memory: it is in parts."""
        self._base = None

    def trained(self, folder: Path) -> Any:
        """Return a model that was saved, as it is to be scored."""
        if not (folder / "adapter_config.json").exists():
            return on_device(load_model(folder))
        from peft import PeftModel

        return PeftModel.from_pretrained(self.reference(), folder)

    def save(self, model: Any, folder: Path, merge: bool = False) -> Any:
        """Write a model and its tokenizer, once reading it again gives the same loss; see `saving.save_model`."""
        from mixwright.preference.saving import save_model

        sample = [source.train.select(range(min(len(source.train), _SAMPLE))) for source in self.sources.values()]
        return save_model(model, self.tokenizer, folder, sample, merge)

    def release(self, model: Any) -> None:
        """Take the adapter off the base, which others are trained on."""
        if self.adapter is not None:
            self._base = model.unload()


def open_inputs(config: Any, folder: Path, progress: Progress) -> Inputs:
    """
    Read, split and encode the pairs of a configuration; nothing is written before `Inputs.keep`.

    Raises
    ------
    InputError
        As from `read_sources` and `encode_sources`; tokeniser or model do not fit.
    """
    with named(config.where("model")):
        model = find_model(config.model)
    pairs = read_sources(config, progress)
    tokenizer = open_tokenizer(config)
    check_vocabulary(config, tokenizer, vocabulary_of(config, model))
    adapted = {} if config.adapter is None else _check_adapter(config, model)
    encoded = encode_sources(config, pairs, tokenizer, folder, progress)
    _check_lengths(config, model, encoded)
    files = sorted({path for pattern in _WEIGHTS for path in model.glob(pattern)})
    prints = fingerprint([[path.name, file_fingerprint(path)] for path in files])
    return Inputs(
        encoded,
        tokenizer,
        model,
        config.adapter,
        prints,
        tokenizer_fingerprint(config),
        notes_of(pairs, encoded),
        **adapted,
        keep=lambda: keep_tokens(config, pairs, encoded, folder),
    )


def vocabulary_of(config: PreferDataConfig, model: Path) -> int:
    """Return how many tokens a model knows; InputError if transformers cannot read its config.json."""
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config().vocab_size)
    except Exception as error:  # of every kind
        raise InputError(
            f"{config.where('model')}: {model} should hold a model of transformers, reading it failed: {error}"
        ) from error


def _check_lengths(config: PreferDataConfig, model: Path, encoded: Mapping[str, EncodedSource]) -> None:
    """Raise InputError, which names the source, if a pair has more tokens than a model reads at once."""
    from transformers import AutoConfig

    from mixwright.training.model import check_context

    about = AutoConfig.from_pretrained(model, trust_remote_code=False).get_text_config()
    for name, source in encoded.items():
        with named(f"{config.where('pairs', 'max_length')}: source {name!r}"):
            check_context(about, max(source.train.longest, source.test.longest), f"the model {model.name}")


def _check_adapter(config: Any, folder: Path) -> dict[str, Any]:
    """
    Return `layers` and `adapter_notes` of Inputs; no number of the model is read.

    Raises
    ------
    InputError
        The adapter does not fit the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from mixwright.training.adapters import adapted_layers, adapter_notes

    with torch.device("meta"), named(config.where("adapter", "targets")):
        about = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        base = AutoModelForCausalLM.from_config(about, trust_remote_code=False)
        model = with_adapter(base, config.adapter, 0)
    return {"layers": adapted_layers(model), "adapter_notes": adapter_notes(model)}


def load_model(folder: Path, as_saved: bool = False) -> Any:
    """Return a causal language model, in float32 unless `as_saved`."""
    import torch
    from transformers import AutoModelForCausalLM

    from mixwright.training.model import no_bars

    try:
        with no_bars():
            dtype = "auto" if as_saved else torch.float32
            return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False, dtype=dtype)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} should hold a causal language model, loading it failed: {error}") from error


def with_adapter(base: Any, adapter: AdapterConfig, seed: int) -> Any:
    """Return a model with a new adapter, whose random part is the seed's."""
    from mixwright.training import adapters

    return adapters.with_adapter(base, adapter.targets, adapter.rank, adapter.alpha, adapter.dropout, seed)


def on_device(model: Any) -> Any:
    """Return a model where trainings would put it."""
    import torch

    return model.to("cuda") if torch.cuda.is_available() else model
