"""Tokens on disk: written once in bounded memory, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files import explain_write_error, write_json
from mixwright.files.pointers import refuse_pointer
from mixwright.text.tokenizer import Tokenizer

_SCHEMA = 1
_BATCH_CHARACTERS = 1 << 20
_OFFSET = np.dtype("<i8")


def is_held_out(text: str, fraction: float, salt: str = "") -> bool:
    """Say whether a document belongs to the held-out share; by its content and the salt: the same in every run."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


class TokenStore:
    """
    The tokens of one source on disk; a BOS stands before each document.

    Attributes
    ----------
    folder, name
        Where it is; the source's name (`meta["source"]`, else the folder's name).
    documents, tokens
        How many; the BOS of each document counts.
    data
        Unsigned integers [tokens], memory-mapped: the documents end to end.
    offsets
        int64 [documents + 1], memory-mapped: where each document's BOS is.
    bos, fingerprint, tokenizer_fingerprint, meta
        The BOS id; names of the tokens and of the tokenizer that made them; what `write_tokens` was given.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder, self.meta = folder, dict(header["meta"])
        self.name = str(self.meta.get("source", folder.name))
        self.documents, self.tokens = int(header["documents"]), int(header["tokens"])
        self.bos, self.vocab_size = int(header["bos"]), int(header["vocab_size"])
        self.fingerprint, self.tokenizer_fingerprint = str(header["fingerprint"]), str(header["tokenizer"])
        self.data = _map(folder / "tokens.bin", np.dtype(header["dtype"]), self.tokens)
        self.offsets = _map(folder / "offsets.bin", _OFFSET, self.documents + 1)

    @classmethod
    def open(cls, folder: Path | str) -> TokenStore:
        """Open what `write_tokens` wrote; InputError if it is missing, damaged, cut off or of a newer version."""
        folder = Path(folder)
        path = folder / "meta.json"
        if not path.exists():
            raise InputError(f"{folder}: there should be tokens (meta.json), found none; write them again")
        try:
            header = json.loads(path.read_text(encoding="utf-8"))
            if header["schema"] > _SCHEMA:
                raise InputError(f"{path}: made by a newer version (schema {header['schema']}); update mixwright")
            return cls(folder, header)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"{path}: the description of the tokens is damaged ({error!r}); write them again"
            ) from None

    def document(self, index: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the ids of a document, without its BOS."""
        return self.data[self.offsets[index] + 1 : self.offsets[index + 1]]

    def rows(self, context: int) -> int:
        """Return how many rows of `context` tokens there are; InputError if there is not even one."""
        count = (self.tokens - 1) // context
        if count < 1:
            found = f"{self.tokens} in {self.folder}"
            raise InputError(
                f"the source {self.name!r} should have at least {context + 1} tokens (one context and the token after "
                f"it), found {found}; add text, lower the context or remove the source"
            )
        return count

    def row(self, index: int, context: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return row `index`, [context + 1]: inputs, and the same shifted by one; rows share their end tokens."""
        return self.gather(np.asarray([index]), context)[0]

    def gather(self, indices: NDArray[np.integer[Any]], context: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the rows [m, context + 1] of `indices` [m], in one read."""
        size = self.data.itemsize
        windows = as_strided(self.data, (self.rows(context), context + 1), (context * size, size), writeable=False)
        return np.asarray(windows[indices])


class TokenPart(TokenStore):
    """
    Some documents of a token store, as a source of their own: their rows stay rows of the store.

    A row of the store belongs to the part that has the document of its first token.

    Parameters
    ----------
    name, whole
        The name of the part; the store.
    chosen
        int64 [n], the documents.
    folder
        Where the tokens of a source would be: what else is known of the part is beside it.
    table
        Which row of the store each row is; None: in the store's order.
    """

    def __init__(
        self,
        name: str,
        whole: TokenStore,
        chosen: NDArray[np.int64],
        folder: Path,
        table: NDArray[np.int64] | None = None,
    ) -> None:
        self.name, self.whole, self.folder, self._chosen, self._table = name, whole, folder, chosen, table
        self.documents, self.meta = len(chosen), {"source": name}
        self.offsets = np.concatenate([[0], np.cumsum(whole.offsets[chosen + 1] - whole.offsets[chosen])])
        self.tokens, self.bos, self.vocab_size = int(self.offsets[-1]), whole.bos, whole.vocab_size
        self.tokenizer_fingerprint = whole.tokenizer_fingerprint
        digest = hashlib.sha256(f"{whole.fingerprint} ".encode() + np.asarray(chosen, _OFFSET).tobytes())
        self.fingerprint = digest.hexdigest()[:16]

    def __getattr__(self, name: str) -> Any:
        """Return `data`, the documents end to end: in memory, and only if something asks."""
        if name != "data":
            raise AttributeError(name)
        ends = self.whole.offsets
        self.data = np.concatenate([self.whole.data[ends[i] : ends[i + 1]] for i in self._chosen.tolist()])
        return self.data

    def rows_of_whole(self, context: int) -> NDArray[np.int64]:
        """Return which rows of the store belong to the part, in order."""
        first = np.arange(self.whole.rows(context), dtype=np.int64) * context
        document = np.searchsorted(self.whole.offsets, first, side="right") - 1
        mine = np.zeros(self.whole.documents, bool)
        mine[self._chosen] = True
        return np.flatnonzero(mine[document])

    def laid_out(self, table: NDArray[np.int64]) -> TokenPart:
        """Return the part with its rows in another order."""
        return TokenPart(self.name, self.whole, self._chosen, self.folder, table)

    def rows(self, context: int) -> int:
        """Return how many rows there are."""
        return len(self._rows(context))

    def gather(self, indices: NDArray[np.integer[Any]], context: int) -> NDArray[np.unsignedinteger[Any]]:
        """Return the rows [m, context + 1] of `indices` [m], in one read."""
        return self.whole.gather(self._rows(context)[indices], context)

    def _rows(self, context: int) -> NDArray[np.int64]:
        return self.rows_of_whole(context) if self._table is None else self._table


def _map(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    expected, found = length * dtype.itemsize, path.stat().st_size if path.exists() else 0
    if found != expected:
        refuse_pointer(path)
        raise InputError(f"{path}: there should be {expected} bytes, found {found}; write the tokens again")
    return np.memmap(path, dtype, "r", shape=(length,))


def write_tokens(
    folder: Path | str, documents: Iterable[str], tokenizer: Tokenizer, meta: Mapping[str, Any] | None = None
) -> TokenStore:
    """
    Write documents as tokens to a folder, in bounded memory; the folder is complete or absent.

    Parameters
    ----------
    folder
        Replaced if it exists, once the new one is complete.
    documents
        Read once, in order.
    tokenizer
        Ids are stored in 16 bits if its vocabulary allows, else in 32.
    meta
        JSON-able facts to keep; "source" is the name used in errors.

    Raises
    ------
    InputError
        If there is no document, or the folder cannot be written.
    """
    folder = Path(folder)
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        header = _write_data(temporary, documents, tokenizer)
        if not header["documents"]:
            raise InputError(f"{folder}: there should be at least one document, found none; check the source")
        write_json(temporary / "meta.json", {"schema": _SCHEMA, **header, "meta": dict(meta or {})})
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return TokenStore.open(folder)


def _write_data(folder: Path, documents: Iterable[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """Write tokens.bin and offsets.bin; return the header."""
    dtype = np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")
    digest, total, count = hashlib.sha256(), 0, 0
    with open(folder / "tokens.bin", "wb") as tokens, open(folder / "offsets.bin", "wb") as offsets:
        offsets.write(np.zeros(1, _OFFSET).tobytes())
        for batch in _batches(documents):
            encoded = tokenizer.encode(batch)
            joined = np.concatenate([part for ids in encoded for part in ([tokenizer.bos], ids)]).astype(dtype)
            ends = total + np.cumsum([len(ids) + 1 for ids in encoded])
            tokens.write(joined.tobytes())
            offsets.write(ends.astype(_OFFSET).tobytes())
            digest.update(joined.tobytes())
            total, count = int(ends[-1]), count + len(batch)
    names = {"dtype": dtype.str, "bos": tokenizer.bos, "vocab_size": tokenizer.vocab_size}
    digest.update(f"{count} {dtype.str} {tokenizer.bos}".encode())
    prints = {"tokenizer": tokenizer.fingerprint, "fingerprint": digest.hexdigest()[:16]}
    return {"documents": count, "tokens": total, **names, **prints}


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    """Group documents into lists of about a million characters."""
    batch: list[str] = []
    size = 0
    for text in documents:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
