"""Tokenizers: bytes, a byte-level BPE trained on the sources, or a Hugging Face one from disk."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError, missing_extra
from mixwright.files import fingerprint, write_json
from mixwright.files.pointers import refuse_pointers_in

_OWN_FILE = "mixwright_tokenizer.json"
_FILES = (_OWN_FILE, "tokenizer.json", "tokenizer_config.json")
_BOS = "<|bos|>"


class Tokenizer(ABC):
    """
    Text to token ids and back.

    Attributes
    ----------
    vocab_size
        All ids are below it, that of `bos` too.
    bos
        The id that stands before each document.
    fingerprint
        16 hex digits; tokenizers with the same one give the same ids.
    """

    vocab_size: int
    bos: int
    fingerprint: str

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Return the ids of each text, int32, without special tokens; what looks like one in a text is text."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens left out."""

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write the tokenizer to a folder, from which `load_tokenizer` reads it."""


class _Bytes(Tokenizer):
    """Ids 0-255 are the bytes of UTF-8; 256 is the BOS."""

    vocab_size, bos = 257, 256
    fingerprint = fingerprint({"kind": "bytes"})

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(int(i) for i in ids if i < 256).decode(errors="replace")

    def save(self, folder: Path | str) -> None:
        write_json(Path(folder) / _OWN_FILE, {"kind": "bytes", "fingerprint": self.fingerprint})


class _Backend(Tokenizer):
    """A tokenizer of the tokenizers library with the id of its BOS."""

    def __init__(self, backend: Any, bos: int) -> None:
        backend.no_padding()
        backend.no_truncation()
        backend.encode_special_tokens = True
        self._backend, self.bos = backend, bos
        self.vocab_size = max(max(backend.get_vocab(with_added_tokens=True).values()), bos) + 1
        content = f"{backend.to_str()}\n{bos}"
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()[:16]

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, np.int32) for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        return str(self._backend.decode([int(i) for i in ids], skip_special_tokens=True))

    def save(self, folder: Path | str) -> None:
        folder = Path(folder)
        token = self._backend.id_to_token(self.bos)
        write_json(folder / "tokenizer.json", json.loads(self._backend.to_str()))
        names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": token, "eos_token": token}
        write_json(folder / "tokenizer_config.json", names)
        write_json(folder / _OWN_FILE, {"kind": "tokenizers", "bos": self.bos, "fingerprint": self.fingerprint})


def byte_tokenizer() -> Tokenizer:
    """Return the tokenizer whose ids are the bytes of UTF-8, with 256 as the BOS (vocabulary 257)."""
    return _Bytes()


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """
    Train a byte-level BPE; the same texts give the same tokenizer.

    Parameters
    ----------
    texts
        What to learn the merges from; read once.
    vocab_size
        Ids wanted, at least 257 (256 bytes and the BOS); few texts can give fewer.

    Raises
    ------
    InputError
        If `vocab_size` is too small or there is no text.
    """
    if vocab_size < 257:
        raise InputError(f"a BPE vocabulary should have at least 257 ids (256 bytes and a BOS), found {vocab_size}")
    library = _tokenizers()
    backend = library.Tokenizer(library.models.BPE())
    backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[_BOS],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    count = 0

    def counted() -> Iterable[str]:
        nonlocal count
        for text in texts:
            count += bool(text)
            yield text

    backend.train_from_iterator(counted(), trainer)
    if not count:
        raise InputError("a BPE should be trained on at least one text, found none; check the sources")
    return _Backend(backend, backend.token_to_id(_BOS))


def tokenizer_folder(model: Path | str) -> Path | None:
    """Return the folder of the tokenizer that a model came with, its own or `tokenizer` beside it; None without one."""
    places = (Path(model), Path(model).parent / "tokenizer")
    return next((place for place in places if any((place / name).is_file() for name in _FILES)), None)


def is_of_bytes(folder: Path | str) -> bool:
    """Return whether a folder holds the tokenizer of bytes."""
    try:
        return bool(json.loads((Path(folder) / _OWN_FILE).read_text(encoding="utf-8"))["kind"] == "bytes")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """
    Read a tokenizer from disk: one saved by `save`, or a Hugging Face one (its BOS, else its EOS, starts documents).

    Raises
    ------
    InputError
        If the folder is missing, holds no tokenizer, or the tokenizer has neither BOS nor EOS.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there should be a folder with a tokenizer, found nothing; check the path")
    refuse_pointers_in(folder)
    if (folder / _OWN_FILE).exists():
        return _load_own(folder)
    return _load_hugging_face(folder)


def _load_own(folder: Path) -> Tokenizer:
    try:
        settings = json.loads((folder / _OWN_FILE).read_text(encoding="utf-8"))
        if settings["kind"] == "bytes":
            return byte_tokenizer()
        tokenizer = _Backend(_tokenizers().Tokenizer.from_file(str(folder / "tokenizer.json")), settings["bos"])
        expected = settings["fingerprint"]
    except ImportError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        raise InputError(f"{folder}: the saved tokenizer is damaged ({error}); make it again") from None
    if tokenizer.fingerprint != expected:
        found = f"fingerprint {tokenizer.fingerprint}, not {expected}"
        raise InputError(f"{folder}: tokenizer.json was changed after it was saved ({found}); make it again")
    return tokenizer


def _load_hugging_face(folder: Path) -> Tokenizer:
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", "lm") from None
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # every kind of error comes out of here
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{folder}: there should be a Hugging Face tokenizer, loading it failed: {reason}") from None
    bos = loaded.bos_token_id if loaded.bos_token_id is not None else loaded.eos_token_id
    if bos is None:
        raise InputError(f"{folder}: the tokenizer should have a BOS or an EOS token, found neither; add one to it")
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise InputError(f"{folder}: the tokenizer should have a fast form (tokenizer.json), found none; convert it")
    return _Backend(_tokenizers().Tokenizer.from_str(backend.to_str()), int(bos))


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise missing_extra("tokenizers", "lm") from None
    return tokenizers
