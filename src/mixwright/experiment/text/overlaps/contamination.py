"""Which documents of targets are also in sources, and what that means for a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.core.stages import Progress, Stage, folder_name, silent
from mixwright.experiment.text.inputs import HASHES, Target, TokenSource
from mixwright.experiment.text.overlaps.documents import TargetDocuments
from mixwright.files.opening import load_array
from mixwright.text import Tokenizer
from mixwright.text.shingles import SHARE, shingle_size

_PARTS = ("held_out", "search")
_MANY = 0.1  # share of the search's documents that makes what the proxies say doubtful
_EFFECTS = {"held_out": "mixtures with much of it look better", "search": "its proxy looks better"}
_WORDS = {"held_out": "held-out", "search": "search"}


@dataclass(frozen=True)
class Overlap:
    """The documents of one part of a target (held_out or search) that are in a source: [d] booleans, never both."""

    target: str
    part: str
    source: str
    exact: NDArray[np.bool_]
    near: NDArray[np.bool_]

    @property
    def either(self) -> NDArray[np.bool_]:
        """Return [d], the documents that are in the source, word for word or nearly."""
        return self.exact | self.near

    @property
    def words(self) -> str:
        """Say how many documents are in which source."""
        exact, near = int(self.exact.sum()), int(self.near.sum())
        how = "word for word" if not near else f"{exact:,} word for word and {near:,} nearly"
        how = how if exact else "nearly word for word"
        return (
            f"{exact + near:,} of {self.exact.size:,} {_WORDS[self.part]} documents of the target {self.target} are "
            f"also in source {self.source}, {how}"
        )


class Contamination:
    """
    All overlaps of a run; one pass over the tokens of each source, which a run folder remembers.

    Parameters
    ----------
    folder, tokenizer, targets, sources
        The run.
    progress
        Called as `progress(stage, done, total, note)`.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        targets: Sequence[Target],
        sources: Sequence[TokenSource],
        progress: Progress = silent,
    ) -> None:
        self._targets, self.overlaps = {t.name: t for t in targets}, list[Overlap]()
        for index, source in enumerate(sources if targets else ()):
            progress("overlaps", index, len(sources), source.name)
            found = _looked_up(folder, tokenizer, targets, source)
            for target in targets:
                for part in _PARTS:
                    size = len(getattr(target, part))
                    masks = [_mask(found[target.name][part][kind], size) for kind in ("exact", "near")]
                    if masks[0].any() or masks[1].any():
                        self.overlaps.append(Overlap(target.name, part, source.name, *masks))
        progress("overlaps", 1, 1)

    def clean(self, target: str, part: str = "held_out") -> NDArray[np.bool_]:
        """Return [d], the documents of a part of a target that are in no source."""
        clean = np.ones(len(getattr(self._targets[target], part)), bool)
        for overlap in self._of(target, part):
            clean &= ~overlap.either
        return clean

    def doubt(self, target: str, part: str = "held_out") -> str:
        """Return a clause about the source that has most documents of a part of a target; empty if none has any."""
        found = max(self._of(target, part), key=lambda o: int(o.either.sum()), default=None)
        return found.words if found else ""

    def doubt_of_search(self, target: str) -> str:
        """Return why what proxies say of a target is unverified; empty where few of the search's documents overlap."""
        clean = self.clean(target, "search")
        return self.doubt(target, "search") if (~clean).sum() > _MANY * clean.size else ""

    def notes(self, parts: Sequence[str] = _PARTS) -> list[str]:
        """Return a sentence for each target and source that share documents of these parts of the target."""
        return [
            f"{overlap.words}: {_EFFECTS[overlap.part]} than it should; overlap: drop at this source leaves them out"
            for target in self._targets
            for overlap in (o for o in self.overlaps if o.target == target and o.part in parts)
        ]

    def _of(self, target: str, part: str) -> list[Overlap]:
        return [o for o in self.overlaps if (o.target, o.part) == (target, part)]


def _looked_up(folder: Path, tokenizer: Tokenizer, targets: Sequence[Target], source: TokenSource) -> dict[str, Any]:
    """Return {target: {part: {"exact" or "near": positions}}} of a source, from the run folder if it is there."""
    inputs = {
        "stage": "overlaps",
        "source": source.train.fingerprint,
        "targets": [[target.name, target.fingerprint] for target in targets],
        "tokenizer": tokenizer.fingerprint,
        "shingle": [shingle_size(tokenizer.vocab_size), SHARE],
    }
    stage = Stage(folder / "overlaps" / folder_name(source.name), inputs)
    result = stage.result()
    if result is None:
        stage.begin()
        hashes = load_array(source.train.folder.parent / HASHES)
        items = [item for target in targets for part in _PARTS for item in getattr(target, part)]
        masks = TargetDocuments(items, tokenizer).found(hashes, source.train.data)
        found: dict[str, Any] = {}
        start = 0
        for target in targets:
            for part in _PARTS:
                stop = start + len(getattr(target, part))
                where = [np.flatnonzero(mask[start:stop]).tolist() for mask in masks]
                found.setdefault(target.name, {})[part] = dict(zip(("exact", "near"), where, strict=True))
                start = stop
        result = stage.finish({"targets": found})
    return dict(result["targets"])


def _mask(positions: Sequence[int], size: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[list(positions)] = True
    return mask
