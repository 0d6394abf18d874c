"""Encoded pairs as a source of the stream, with what a reference and a specialist make of them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixwright.errors import InputError
from mixwright.stream.sources.source import Source, as_rows

if TYPE_CHECKING:
    from torch import Tensor


class PairRow(NamedTuple):
    """
    A pair.

    Attributes
    ----------
    prompt, chosen, rejected
        int [t] tokens.
    rejected_prompt
        What stands before the rejected answer where that is something else (cut differently); None: the prompt.
    reference
        float32 [2], the reference's log-probabilities of the chosen and the rejected answer; None: not known.
    specialist
        The specialist's loss of the pair, nats; None: there is no specialist.
    """

    prompt: NDArray[Any]
    chosen: NDArray[Any]
    rejected: NDArray[Any]
    rejected_prompt: NDArray[Any] | None = None
    reference: NDArray[np.float32] | None = None
    specialist: float | None = None

    @property
    def tokens(self) -> int:
        """Return the tokens of the longer of its two rows."""
        other = self.prompt if self.rejected_prompt is None else self.rejected_prompt
        return max(len(self.prompt) + len(self.chosen), len(other) + len(self.rejected))


def token_row(encoded: Any, i: int) -> PairRow:
    """Return the tokens of a pair; each answer follows its own part of the prompt, where `encoded.sequence` says so."""
    if not hasattr(encoded, "sequence"):
        return PairRow(encoded.prompt(i), encoded.chosen(i), encoded.rejected(i))
    (one, begin), (other, other_begin) = encoded.sequence(i, "chosen"), encoded.sequence(i, "rejected")
    same = begin == other_begin and np.array_equal(one[:begin], other[:begin])
    return PairRow(one[:begin], one[begin:], other[other_begin:], None if same else other[:other_begin])


class PairRows(Source):
    """
    Encoded pairs as a source of the stream.

    Its fingerprint names the tokens and the numbers: a checkpoint is not resumed with another reference's or other
    specialists' numbers.

    Parameters
    ----------
    encoded
        EncodedPairs, or what has their `prompt(i)`, `chosen(i)`, `rejected(i)` (int [t]), `fingerprint` and a length
        (and `sequence(i, side)` where the two answers' prompts differ); `TokenPairs` for pairs that were tokenised
        elsewhere.
    reference
        [n, 2] log-probabilities of the reference (`reference_log_probabilities`); None for SimPO.
    specialist
        [n] losses of the source's specialist, nats (`score_pairs`); None: there is none.

    Raises
    ------
    InputError
        If there is no pair, an answer has no token, a shape is wrong or a number not finite: it names the pair.

    Examples
    --------
    >>> rows = PairRows(TokenPairs([[1, 2]], [[3]], [[4, 5]]), reference=[[-1.0, -2.0]])
    >>> rows.gather(np.array([0]))[0].rejected
    array([4, 5], dtype=int32)
    """

    def __init__(self, encoded: Any, reference: ArrayLike | None = None, specialist: ArrayLike | None = None) -> None:
        self.encoded, n = encoded, len(encoded)
        if n == 0:
            raise InputError("a source should have at least one pair, found none; leave it out, or look at its filters")
        self.reference = _numbers(reference, (n, 2), "the reference's log-probabilities", self.where)
        self.specialist = _numbers(specialist, (n,), "the specialist's losses", self.where)
        for i in range(n):
            for name in ("chosen", "rejected"):
                if len(getattr(encoded, name)(i)) == 0:
                    raise InputError(
                        f"each answer should have a token, found none in the {name} answer of pair {i} "
                        f"({self.where(i)}); leave the pair out, or raise max_length"
                    )

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.encoded)

    def gather(self, rows: NDArray[np.int64]) -> list[PairRow]:
        """Return pairs [m]; see Source."""
        return [self[i] for i in as_rows(rows, len(self)).tolist()]

    def __getitem__(self, i: int) -> PairRow:
        """Return a pair."""
        return token_row(self.encoded, i)._replace(
            reference=None if self.reference is None else self.reference[i],
            specialist=None if self.specialist is None else float(self.specialist[i]),
        )

    def where(self, row: int) -> str:
        """Return the file and the line of a pair, where they are known."""
        place = getattr(self.encoded, "place", None)
        return f"pair {row}" if place is None else str(place(row))

    def _content(self) -> bytes:
        digest = hashlib.sha256(str(self.encoded.fingerprint).encode())
        for name, values in (("reference", self.reference), ("specialist", self.specialist)):
            if values is not None:
                digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        return digest.digest()


class TokenPairs:
    """
    Pairs that were tokenised elsewhere: in TRL's data set they are prompt_ids, chosen_ids and rejected_ids.

    Parameters
    ----------
    prompt, chosen, rejected
        [n] of int [t]: an answer's tokens follow its prompt's.
    places
        [n] where each comes from, for messages.
    """

    def __init__(
        self,
        prompt: Sequence[ArrayLike],
        chosen: Sequence[ArrayLike],
        rejected: Sequence[ArrayLike],
        places: Sequence[str] | None = None,
    ) -> None:
        parts = [[_tokens(row, i) for i, row in enumerate(rows)] for rows in (prompt, chosen, rejected)]
        if len({len(rows) for rows in parts}) > 1 or (places is not None and len(places) != len(parts[0])):
            raise InputError(
                f"prompt, chosen and rejected should have one row per pair, found {[len(rows) for rows in parts]}"
            )
        self._prompt, self._chosen, self._rejected = parts
        self._places = places

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._prompt)

    def prompt(self, i: int) -> NDArray[np.int32]:
        """Return the prompt's tokens [t]."""
        return self._prompt[i]

    def chosen(self, i: int) -> NDArray[np.int32]:
        """Return the chosen answer's tokens [t]."""
        return self._chosen[i]

    def rejected(self, i: int) -> NDArray[np.int32]:
        """Return the rejected answer's tokens [t]."""
        return self._rejected[i]

    def place(self, i: int) -> str:
        """Return where a pair comes from."""
        return f"pair {i}" if self._places is None else self._places[i]

    @functools.cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name the tokens."""
        digest = hashlib.sha256()
        for rows in (self._prompt, self._chosen, self._rejected):
            for row in rows:
                digest.update(len(row).to_bytes(8, "little") + row.tobytes())
        return digest.hexdigest()[:16]


@dataclass
class PairBatch:
    """
    Pairs as the model sees them: rows of chosen answers first, then rows of rejected ones.

    Attributes
    ----------
    input_ids, attention_mask, completion_mask
        int64 [2b, t]: prompt and answer, padded on the right; 1 where there is a token; 1 where it is the answer's.
    lengths
        int64 [b, 2] tokens of the chosen and the rejected answer.
    """

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, rows: Sequence[PairRow], pad: int = 0) -> PairBatch:
        """Return the batch of rows that are PairRow."""
        answers = [row.chosen for row in rows] + [row.rejected for row in rows]
        prompts = [row.prompt for row in rows]
        prompts += [row.prompt if row.rejected_prompt is None else row.rejected_prompt for row in rows]
        width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = np.full((len(answers), width), pad, np.int64)
        mask, completion = np.zeros_like(ids), np.zeros_like(ids)
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            begin, end = len(prompt), len(prompt) + len(answer)
            ids[i, :begin], ids[i, begin:end] = prompt, answer
            mask[i, :end], completion[i, begin:end] = 1, 1
        lengths = np.array([len(answer) for answer in answers], np.int64).reshape(2, -1).T
        import torch

        return cls(*(torch.from_numpy(np.ascontiguousarray(each)) for each in (ids, mask, completion, lengths)))

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.lengths)

    def to(self, device: Any) -> PairBatch:
        """Return the batch on a device."""
        return PairBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def collate_pairs(pad: int = 0) -> Callable[[list[PairRow]], dict[str, Any]]:
    """
    Return a function from a list of PairRow to tensors.

    The tensors of `PairBatch` (input_ids, attention_mask, completion_mask [2b, t], lengths [b, 2]), and, where the
    rows have them, reference [b, 2] and specialist [b], float32.
    """
    return functools.partial(_collated, pad=pad)


def _collated(rows: list[PairRow], pad: int) -> dict[str, Any]:
    import torch

    found = dict(vars(PairBatch.of(rows, pad)))
    for name in ("reference", "specialist"):
        values = [getattr(row, name) for row in rows]
        if all(value is not None for value in values):
            found[name] = torch.from_numpy(np.array(values, np.float32))
    return found


def _numbers(values: ArrayLike | None, shape: tuple[int, ...], what: str, where: Any) -> NDArray[np.float32] | None:
    if values is None:
        return None
    try:
        array = np.array(values, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{what} should be numbers, found {values!r:.80}") from None
    if array.shape != shape:
        raise InputError(
            f"{what} should have the shape {list(shape)}, found {list(array.shape)}; were they made of these pairs?"
        )
    if bad := np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(1)).tolist():
        raise InputError(f"{what} should be finite, found {array[bad[0]].tolist()} for pair {bad[0]} ({where(bad[0])})")
    array.flags.writeable = False
    return array


def _tokens(row: ArrayLike, i: int) -> NDArray[np.int32]:
    array = np.asarray(row)
    if array.size == 0:
        return np.zeros(0, np.int32)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0:
        raise InputError(f"tokens of pair {i} should be whole numbers of at least 0, found {row!r:.80}")
    return array.astype(np.int32)
