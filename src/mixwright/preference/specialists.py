"""Specialists: a model per source, trained on it alone; its losses are what the others' excess is measured over."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files import atomic_write, fingerprint
from mixwright.files.opening import load_arrays
from mixwright.preference.pairs.rows import PairRows

Array = NDArray[np.float32]
REFERENCE, LOSSES = "reference", "losses"
_VERSION = 1
_WORDS = {
    "reference": "reference model",
    "tokeniser": "tokeniser",
    "rows": "encoded pairs",
    "loss": "loss",
    "precision": "precision",
}


class SpecialistCache:
    """
    Log-probabilities of the reference and losses of specialists, each under the content that it was made of.

    A file is named by the fingerprint of all that its numbers depend on, so other models, tokenisers, pairs, losses or
    settings never meet old numbers. It is complete or absent.

    Parameters
    ----------
    folder
        Where the files are.

    Examples
    --------
    >>> import tempfile
    >>> cache = SpecialistCache(tempfile.mkdtemp())
    >>> made_of = {"reference": "1f", "tokeniser": "2a", "rows": "77", "loss": "9c"}
    >>> _ = cache.put(LOSSES, "helpful", made_of, loss=np.array([0.4, 0.7]))
    >>> cache.get(LOSSES, made_of)["loss"]
    array([0.4, 0.7], dtype=float32)
    >>> cache.get(LOSSES, made_of | {"tokeniser": "2b"}) is None
    True
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def get(self, kind: str, made_of: Mapping[str, Any]) -> dict[str, Array] | None:
        """Return the arrays that were made of this content; None if there are none, or the file is damaged."""
        return _read(self._path(kind, made_of))

    def put(self, kind: str, source: str, made_of: Mapping[str, Any], **arrays: Any) -> dict[str, Array]:
        """Keep arrays, float32, and return them."""
        values = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        about = {"kind": kind, "source": source, "made_of": dict(made_of), "arrays": sorted(values)}
        with atomic_write(self._path(kind, made_of), "wb") as handle:
            np.savez(handle, about=np.array(json.dumps(about)), **values)  # type: ignore[arg-type]
        return values

    def need(self, kind: str, source: str, made_of: Mapping[str, Any]) -> dict[str, Array]:
        """
        Return the arrays that someone else made of this content; fields that `made_of` does not name may be any.

        Raises
        ------
        InputError
            There are none for this source, or they were made of something else: it says of what.
        """
        found = [about for path in sorted(self.folder.glob(f"{kind}-*.npz")) if (about := _about(path))]
        own = [about["made_of"] for about in found if about["source"] == source]
        for other in own:
            if all(other.get(name) == value for name, value in made_of.items()):
                if (arrays := self.get(kind, other)) is not None:
                    return arrays
                raise InputError(f"{self._path(kind, other)} is damaged; run mixwright prefer specialists again")
        if not own:
            raise InputError(
                f"{self.folder} should have the {_kind_words(kind)} of the source {source!r}, found none; run "
                "mixwright prefer specialists on this configuration"
            )
        nearest = min(own, key=lambda other: sum(other.get(name) != value for name, value in made_of.items()))
        name = next(name for name, value in made_of.items() if nearest.get(name) != value)
        raise InputError(
            f"the {_kind_words(kind)} of the source {source!r} in {self.folder} should be of the "
            f"{_WORDS.get(name, name)} {made_of[name]}, "
            f"found {nearest.get(name)}; run mixwright prefer specialists on this configuration"
        )

    def _path(self, kind: str, made_of: Mapping[str, Any]) -> Path:
        return self.folder / f"{kind}-{fingerprint({'version': _VERSION, **made_of})}.npz"


def _kind_words(kind: str) -> str:
    return "specialist's losses" if kind == LOSSES else "reference's log-probabilities"


def _read(path: Path) -> dict[str, Array] | None:
    try:
        file = load_arrays(path)
        return {name: file[name] for name in json.loads(str(file["about"]))["arrays"]}
    except Exception:  # a damaged archive fails in many ways; whatever it is, the numbers are made again
        return None


def _about(path: Path) -> dict[str, Any] | None:
    try:
        about = json.loads(str(load_arrays(path, "about")["about"]))
    except Exception:  # as above
        return None
    return about if isinstance(about, dict) else None


def fold_of_pairs(encoded: Any, folds: int, seed: int = 0) -> NDArray[np.int64]:
    """
    Return the fold [n] of each pair, 0 to folds - 1: pairs with the same prompt have the same one.

    Folds are as equal in size as the prompts allow.

    Parameters
    ----------
    encoded
        EncodedPairs.
    folds
        How many, at least 2.
    seed
        Which prompts go together.

    Raises
    ------
    InputError
        There are fewer different prompts than folds.
    """
    groups: dict[bytes, list[int]] = {}
    for i in range(len(encoded)):
        groups.setdefault(np.asarray(encoded.prompt(i), np.int64).tobytes(), []).append(i)
    if len(groups) < folds:
        raise InputError(
            f"a source should have at least as many different prompts as folds ({folds}), found {len(groups)}; use "
            "fewer folds"
        )
    order = sorted(groups, key=lambda prompt: hashlib.sha256(f"{seed} ".encode() + prompt).digest())
    found, sizes = np.zeros(len(encoded), np.int64), np.zeros(folds, np.int64)
    for prompt in sorted(order, key=lambda prompt: -len(groups[prompt])):
        fold = int(sizes.argmin())
        found[groups[prompt]] = fold
        sizes[fold] += len(groups[prompt])
    return found


def targets_of(losses: Array, target: str = "pair") -> Array:
    """Return what a generalist's losses [n] are compared with: each pair's own loss, or the source's mean."""
    if target not in ("pair", "source_mean"):
        raise InputError(f"target should be 'pair' or 'source_mean', found {target!r}")
    return np.full_like(losses, losses.mean(dtype=np.float64)) if target == "source_mean" else losses


def overfit_note(name: str, train: Array, held_out: Array, loss: Any) -> str | None:
    """
    Return a sentence if a specialist learned its own pairs by heart; None otherwise.

    That is so where more than half of what it learned on its pairs is missing on those held out, beyond two standard
    errors. Without a known loss of the model it started from (SimPO) half of its loss on its pairs is the measure.

    Parameters
    ----------
    name
        Of its source.
    train, held_out
        [n], [m] its losses, nats.
    loss
        `PairLoss`.

    Examples
    --------
    >>> from mixwright.preference.losses import PairLoss
    >>> overfit_note("code", np.full(90, 0.43), np.full(10, 0.75), PairLoss())[:49]
    'the specialist of code learned its pairs by heart'
    >>> overfit_note("code", np.full(90, 0.43), np.full(10, 0.5), PairLoss()) is None
    True
    """
    own, other = float(train.mean(dtype=np.float64)), float(held_out.mean(dtype=np.float64))
    start = loss.at_reference
    learned = own if start is None else start - own
    error = math.sqrt(train.var(dtype=np.float64) / len(train) + held_out.var(dtype=np.float64) / len(held_out))
    if other - own <= max(0.5 * learned, 2 * error):
        return None
    before = "" if start is None else f" (before training: {start:.2f})"
    return (
        f"the specialist of {name} learned its pairs by heart: loss {own:.2f} on them, {other:.2f} on held-out "
        f"pairs{before}; the excess over it is too large, and draws weight to {name}: train specialists for fewer "
        "steps, or use folds: 5"
    )


def train_specialist(
    model: Any,
    name: str,
    rows: PairRows,
    settings: Any,
    folder: Path | str,
    loss: Any,
    progress: Callable[[int, int], None] = lambda done, total: None,
    pad: int = 0,
    ranks: Any = None,
) -> Any:
    """
    Train a model on one source alone, or the rest of a training that was stopped, and return it.

    Parameters
    ----------
    model
        The reference, or the reference with a new adapter; trained in place.
    name, rows
        The source; its rows without a specialist's losses.
    settings
        `FitSettings`.
    folder, progress
        As for `fit`.
    loss
        `PairLoss`, the same as the generalist's.
    pad
        The token of padding.
    ranks
        `Ranks` that train it together; None: this process.
    """
    from mixwright.preference.fitting import fit
    from mixwright.training.ranks import ONE

    bare = PairRows(rows.encoded, rows.reference)
    options: dict[str, Any] = {"pad_token_id": pad, "ranks": ranks or ONE}
    return fit(model, {name: bare}, [1.0], settings, folder, loss, progress=progress, **options).model
