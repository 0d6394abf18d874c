"""Tokenizers for pairs: of a run of `mixwright train`, or of any model folder of transformers; and where a model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.files.models import holds_model
from mixwright.files.pointers import refuse_pointers_in

_OWN_FILE = "mixwright_tokenizer.json"
_BYTES_BOS = "<|bos|>"
_FILES = (_OWN_FILE, "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def find_model(path: Path | str) -> Path:
    """
    Return the folder of a transformers model: the one given, or `model/` of a run of `mixwright train` or `prefer`.

    Raises
    ------
    InputError
        There is no model, one without all its weights, or an adapter alone.
    """
    path = Path(path)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            refuse_pointers_in(folder)
            if not holds_model(folder):
                raise InputError(
                    f"{folder}: there should be the weights of a model, found none, or a file that is cut off; copy "
                    "the folder again, or run again what made it"
                )
            return folder
    if not path.exists():
        raise InputError(f"{path}: there should be a model's folder or a run here, found nothing; check the path")
    for folder in (path, path / "model"):
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{path}: there should be a whole model, found an adapter in {folder}; merge it into its base "
                "(mixwright.preference.merge_adapter(PeftModel.from_pretrained(base, folder)).save_pretrained(...)) "
                "and give the folder of that"
            )
    unfinished = (path / ".mixwright-run").exists()
    advice = "the run is not finished: resume it first" if unfinished else "check the path"
    raise InputError(f"{path}: there should be a model (config.json) here or in {path / 'model'}, found none; {advice}")


def find_tokenizer(path: Path | str) -> Path:
    """
    Return the folder of a model's tokenizer: the model's own folder, or `tokenizer/` of its run.

    Raises
    ------
    InputError
        There is none.
    """
    path = Path(path)
    places = (path, path / "model", path / "tokenizer", path.parent / "tokenizer")
    for folder in places if path.name == "model" else places[:3]:
        if any((folder / name).is_file() for name in _FILES):
            refuse_pointers_in(folder)
            return folder
    raise InputError(
        f"{path}: there should be a tokenizer here or in {path / 'tokenizer'}, found none; give its folder"
    )


def load_pair_tokenizer(folder: Path | str, chat_template: str | None = None) -> Any:
    """
    Return a tokenizer of transformers for pairs, from a folder on this disk.

    A tokenizer of `mixwright train` (bytes, or its BPE) becomes a PreTrainedTokenizerFast with the same ids that puts
    the BOS before each text, as before each document in training; its BOS is its EOS too. Any other folder is what
    AutoTokenizer makes of it. Without a PAD the EOS serves: masks tell them apart. `save_pretrained` writes a folder
    that other tools load.

    Parameters
    ----------
    folder
        A tokenizer's or a model's folder, or a run of `mixwright train` or `mixwright prefer`.
    chat_template
        The text of a template (Jinja) in place of the tokenizer's own.

    Raises
    ------
    InputError
        There is no tokenizer, it is damaged, or it has no EOS.
    """
    folder = find_tokenizer(folder)
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", "preference") from None
    if (folder / _OWN_FILE).exists():
        tokenizer = _own(folder, transformers)
    else:
        tokenizer = _hugging_face(folder, transformers)
    if tokenizer.eos_token is None:
        raise InputError(f"{folder}: the tokenizer should have an EOS token, which ends answers, found none; add one")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def _hugging_face(folder: Path, transformers: Any) -> Any:
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every kind of error comes out of here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{folder}: there should be a Hugging Face tokenizer, loading it failed: {reason}") from None


def _own(folder: Path, transformers: Any) -> Any:
    """Return a tokenizer of `mixwright train` as one of transformers, with the same ids."""
    import tokenizers

    from mixwright.text.tokenizer import load_tokenizer

    own = load_tokenizer(folder)  # checks that it is whole
    if json.loads((folder / _OWN_FILE).read_text(encoding="utf-8"))["kind"] == "bytes":
        backend, bos = _byte_backend(tokenizers), str(_BYTES_BOS)
    else:
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        bos = str(backend.id_to_token(own.bos))
    before = tokenizers.processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, own.bos)])
    after = backend.post_processor
    backend.post_processor = before if after is None else tokenizers.processors.Sequence([after, before])
    loaded = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=bos)
    loaded.clean_up_tokenization_spaces = False
    return loaded


def _byte_backend(tokenizers: Any) -> Any:
    """Return a tokenizer whose ids are the bytes of UTF-8, and 256 the BOS."""
    vocabulary = {character: byte for byte, character in _byte_characters().items()}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens([_BYTES_BOS])
    return backend


def _byte_characters() -> dict[int, str]:
    """Return the character that stands for each byte in byte-level vocabularies (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in shown]
    return {**{byte: chr(byte) for byte in shown}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}
