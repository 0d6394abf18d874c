"""Configuration of the model that a run over texts starts from, its adapter, and the tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from mixwright.experiment.core.config_parts import Adapter, FilePath, Part, not_bool
from mixwright.text.tokenizer import is_of_bytes, tokenizer_folder


class TokenizerConfig(Part):
    """How text becomes tokens. `tokenizer: bytes` is short for `{kind: bytes}`."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["bytes", "bpe", "path"] = Field(
        default="bytes",
        description="bytes: one token per byte, nothing to train. bpe: trained on the sources. path: a tokenizer of "
        "the transformers library from a folder on this disk.",
    )
    vocab_size: Annotated[int, BeforeValidator(not_bool), Field(ge=258)] = Field(
        default=4096, description="Size of the vocabulary (bpe only)."
    )
    path: FilePath | None = Field(default=None, description="Folder of the tokenizer (kind: path only).")

    @model_validator(mode="after")
    def _path_where_needed(self) -> TokenizerConfig:
        if (self.kind == "path") != (self.path is not None):
            raise ValueError("kind: path and path: FOLDER go together; give both or neither")
        return self


class ModelConfig(Part):
    """
    A language model: an architecture of the transformers library with its settings, or a model on disk.

    Settings besides `model_type` go to the transformers configuration as they are (hidden_size, num_hidden_layers ...).
    `model: FOLDER` is short for `{path: FOLDER}`.
    """

    model_config = ConfigDict(extra="allow")
    shorthand: ClassVar[str | None] = "path"
    model_type: str | None = Field(
        default=None, description="Architecture, such as gpt_neox or llama; trained from scratch."
    )
    path: FilePath | None = Field(
        default=None, description="Folder of a model to start from, in the transformers format."
    )
    adapter: Adapter = Field(  # not in the config.yaml of former runs
        default=None,
        description="With path: none (all parameters are trained) or {rank, ...}: LoRA on the model, which stays as it "
        "is. What is saved is the adapter.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> ModelConfig:
        if (self.model_type is None) == (self.path is None):
            raise ValueError("give model_type (with its settings) or path, one of the two")
        if self.path is None and self.adapter is not None:
            raise ValueError("adapter is for a model on disk: give its folder (path), or remove adapter")
        if self.path is not None and self.model_extra:
            raise ValueError(f"a model from a path has its own settings, found {sorted(self.model_extra)}; remove them")
        return self

    def spec(self) -> dict[str, Any]:
        """Return what `mixwright.training` builds the model from."""
        return self.model_dump(mode="json", exclude_none=True)


def with_own_tokenizer(values: Any, folder: Path) -> Any:
    """
    Return the values of a file with the tokenizer of the model on disk that it starts from, where it names none.

    A tokenizer of bytes is the default already. `folder`: where relative paths start.
    """
    if not isinstance(values, Mapping) or "tokenizer" in values:
        return values
    proxy = values.get("proxy")
    for model in (values.get("model"), proxy.get("model") if isinstance(proxy, Mapping) else None):
        path = model.get("path") if isinstance(model, Mapping) else model
        own = tokenizer_folder(folder / Path(path).expanduser()) if isinstance(path, str | Path) else None
        if own is not None:
            return {**values, "tokenizer": "bytes" if is_of_bytes(own) else {"kind": "path", "path": str(own)}}
    return values
