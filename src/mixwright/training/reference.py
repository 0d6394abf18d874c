"""A reference model for a training: its loss of each token, one forward pass per row, kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.checks import check_context
from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.models import adapter_base
from mixwright.text.tokenizer import Tokenizer, load_tokenizer, tokenizer_folder
from mixwright.text.tokens import TokenStore
from mixwright.training.batches import TokenBatch
from mixwright.training.model import build_model, forward_flops, no_bars, torch, transformers
from mixwright.watching.kept_losses import KEY, KeptLosses
from mixwright.watching.reference import Reference

Array = NDArray[np.float32]


def check_reference(folder: Path | str, tokenizer: Tokenizer, context: int, spec: Mapping[str, Any]) -> None:
    """
    Check that a model's token losses can be compared with those of a training; the model is not loaded.

    Its tokenizer is looked for in its folder, and in `tokenizer` beside it, where runs have theirs. Without one, its
    vocabulary should be as large as the tokenizer's, or as that of the model in training (`spec`), which may be padded.

    Raises
    ------
    InputError
        The model was trained with another tokenizer, has another vocabulary, or reads too few tokens at once.
    """
    folder = Path(folder)
    advice = (
        "give a reference that was trained with this tokenizer, or use the reference's own (tokenizer: {path: ...})"
    )
    own = _tokenizer_of(folder)
    if own is not None and own.fingerprint != tokenizer.fingerprint:
        raise InputError(f"the reference {folder} should have the tokenizer of this training, found another; {advice}")
    config = _config_of(folder)
    size, bos = getattr(config, "vocab_size", tokenizer.vocab_size), getattr(config, "bos_token_id", None)
    trained = getattr(_config_of(Path(spec["path"])), "vocab_size", size) if "path" in spec else tokenizer.vocab_size
    if size < tokenizer.vocab_size or (own is None and size not in (tokenizer.vocab_size, trained)):
        raise InputError(
            f"the reference {folder} should have the vocabulary of this training ({tokenizer.vocab_size}), found "
            f"{size}; {advice}"
        )
    if own is None and bos is not None and bos != tokenizer.bos:
        raise InputError(
            f"the reference {folder} should begin documents with token {tokenizer.bos}, as this training does, found "
            f"{bos}; {advice}"
        )
    check_context(config, context, f"the reference {folder}")


def _config_of(folder: Path) -> Any:
    try:
        with no_bars():
            return transformers.AutoConfig.from_pretrained(
                str(adapter_base(folder) or folder), local_files_only=True, trust_remote_code=False
            )
    except Exception as error:  # configurations fail in every way
        reason = " ".join(str(error).split())
        raise InputError(f"{folder}: there should be a model (config.json), reading it failed: {reason}") from error


def _tokenizer_of(folder: Path) -> Tokenizer | None:
    """Return the tokenizer that a model came with; None if there is none."""
    own = tokenizer_folder(folder)
    return None if own is None else load_tokenizer(own)


class ReferenceLosses:
    """
    The reference's loss of each token of the rows that a training draws.

    A row goes through the model when it is first drawn, with the rows of its micro-batch; then its losses come from a
    file that is named by the content they were made from.

    Parameters
    ----------
    reference
        The model.
    stores
        The sources.
    tokenizer, context
        Make the rows.
    folder
        Where the files are.
    low
        Whether the training, and so the reference, computes in bfloat16.
    rank
        Each rank has files of its own: what it reads then depends on its own rows alone.
    """

    def __init__(
        self,
        reference: Reference,
        stores: Mapping[str, TokenStore],
        tokenizer: Tokenizer,
        context: int,
        folder: Path,
        low: bool = False,
        rank: int = 0,
    ) -> None:
        self.reference, self._tokenizer, self._context, self._low = reference, tokenizer, context, low
        self._names = list(stores)
        self._kept = []
        for store in stores.values():
            made_of = [reference.fingerprint, store.fingerprint, context, low]
            self._kept.append(KeptLosses(folder / f"{fingerprint(made_of)}-rank{rank}.losses"))

    @cached_property
    def _model(self) -> Any:
        # loaded at the first row that is not known; it draws no random number, so the training's are left as they are
        model = build_model({"path": str(self.reference.path)}, self._tokenizer, self._context, 0)
        return model.eval().requires_grad_(False)

    @property
    def tokens(self) -> int:
        """Return how many tokens went through the reference on this rank: those of all rows that are kept."""
        return sum(kept.tokens for kept in self._kept)

    def flops(self, tokens: int) -> float:
        """Return the operations of the reference's forward pass over `tokens` tokens: a third of a training's."""
        return forward_flops(self._model, tokens)

    def of(self, batch: TokenBatch) -> Array:
        """Return float32 [b, context]: the losses, nats, of the tokens that follow each position of the rows."""
        keys = [int(row).to_bytes(KEY, "little") for row in batch.row]
        places = {i: np.flatnonzero(batch.source == i) for i in np.unique(batch.source).tolist()}
        known = all(self._kept[i].has([keys[at] for at in here]) for i, here in places.items())
        # the whole micro-batch, also where some rows are known: a resumed training computes the same numbers
        losses = None if known else self._computed(batch)
        found = np.empty((len(batch.row), self._context), np.float32)
        for i, here in places.items():
            own = [keys[at] for at in here]
            if losses is not None:
                self._kept[i].add(own, losses[here])
            found[here] = self._kept[i].read(own)
        return found

    def flush(self) -> None:
        """Put what is kept on disk: a checkpoint relies on it."""
        for kept in self._kept:
            kept.flush()

    def close(self) -> None:
        """Close the files."""
        for kept in self._kept:
            kept.close()

    def _computed(self, batch: TokenBatch) -> Array:
        device = self._model.device
        tokens = torch.from_numpy(batch.tokens).to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self._low):
            logits = self._model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
            losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        found: Array = losses.view(len(batch.source), -1).cpu().numpy()
        if bad := np.flatnonzero(~np.isfinite(found).all(1)).tolist():
            raise InputError(
                f"the reference {self.reference.path} should give finite losses, found others in row "
                f"{batch.row[bad[0]]} of {self._names[batch.source[bad[0]]]}; choose another reference"
            )
        return found
