"""Losses of preference pairs: log-probabilities of answers, and DPO, IPO or SimPO out of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.preference.heads import Head
from mixwright.preference.pairs.rows import PairBatch, token_row
from mixwright.training.ranks import ONE, Ranks

Array = NDArray[np.float32]
KINDS = ("sigmoid", "ipo", "simpo")


@dataclass(frozen=True)
class PairLoss:
    r"""
    The loss of a preference pair, in nats: that a model prefers the chosen answer more than a reference does.

    With the log-probabilities c and r of the chosen and the rejected answer (sums over their tokens), c0 and r0 the
    reference's, |c| and |r| the answers' tokens:

        sigmoid (DPO)   -log sigmoid(m),                m = beta ((c - c0) - (r - r0))
        ipo             (m / beta - 1 / (2 beta))^2,    m = beta ((c - c0) / |c| - (r - r0) / |r|)
        simpo           -log sigmoid(m - gamma),        m = beta (c / |c| - r / |r|)

    m is the margin; the pair is right where it is above 0.

    Parameters
    ----------
    kind
        "sigmoid", "ipo" (its beta is the tau of the paper; averaged over tokens, as TRL does), or "simpo", which needs
        no reference.
    beta
        Above 0. SimPO's paper uses 2 and more, since its log-probabilities are means.
    gamma
        The margin that "simpo" asks for, at least 0 (TRL's `simpo_gamma`, the paper's gamma).

    References
    ----------
    Rafailov et al., "Direct Preference Optimization", 2023; Azar et al., "A General Theoretical Paradigm to Understand
    Learning from Human Preferences", 2023; Meng, Xia, Chen, "SimPO", 2024.

    Examples
    --------
    >>> found = PairLoss().of(torch.tensor([-3.0]), torch.tensor([-4.0]), torch.tensor([[-3.0, -4.0]]))
    >>> round(found.loss.item(), 4), found.margin.item()
    (0.6931, 0.0)
    """

    kind: str = "sigmoid"
    beta: float = 0.1
    gamma: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.kind not in KINDS:
            raise InputError(f"the loss should be one of {', '.join(map(repr, KINDS))}, found {self.kind!r}")
        for name, least in (("beta", math.ulp(0.0)), ("gamma", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                at = "above 0" if name == "beta" else "of at least 0"
                raise InputError(f"{name} of the loss should be a number {at}, found {value!r}")

    @property
    def needs_reference(self) -> bool:
        """Whether the log-probabilities of a reference are part of the loss."""
        return self.kind != "simpo"

    @property
    def at_reference(self) -> float | None:
        """Return the loss of every pair under the reference itself, nats; None for "simpo", which has none."""
        return {"sigmoid": math.log(2), "ipo": 1 / (2 * self.beta) ** 2}.get(self.kind)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name the loss."""
        gamma = {"gamma": float(self.gamma)} if self.kind == "simpo" else {}
        return fingerprint({"kind": self.kind, "beta": float(self.beta), **gamma})

    def of(
        self, chosen: Tensor, rejected: Tensor, reference: Tensor | None = None, lengths: Tensor | None = None
    ) -> PairLosses:
        """
        Return the losses and margins [b] of pairs.

        Parameters
        ----------
        chosen, rejected
            [b] log-probabilities of the answers, sums over their tokens.
        reference
            [b, 2], the reference's of the chosen and the rejected answer.
        lengths
            [b, 2] tokens of the answers; "ipo" and "simpo" divide by them.

        Raises
        ------
        InputError
            If the loss needs a reference or lengths and there are none.
        """
        both = torch.stack([chosen, rejected], 1)
        if self.needs_reference:
            if reference is None:
                raise InputError(
                    f"the loss {self.kind!r} needs the reference's log-probabilities, found none; give "
                    "reference_log_probabilities(model, ...) of the model before training, or use 'simpo'"
                )
            both = both - reference.to(both)
        if self.kind != "sigmoid":
            if lengths is None:
                raise InputError(f"the loss {self.kind!r} needs the tokens of the answers, found none; give lengths")
            # an answer without tokens has the log-probability 0, whatever its length
            both = both / lengths.to(both).clamp(min=1)
        difference = both[:, 0] - both[:, 1]
        margin = self.beta * difference
        if self.kind == "ipo":
            return PairLosses((difference - 1 / (2 * self.beta)) ** 2, margin)
        # logsigmoid and not log(sigmoid): margins of -100 occur, where exp overflows
        return PairLosses(-logsigmoid(margin - (self.gamma if self.kind == "simpo" else 0)), margin)


class PairLosses(NamedTuple):
    """Losses [b] of pairs, nats, and their margins [b]: tensors."""

    loss: Tensor
    margin: Tensor


def answer_log_probabilities(model: Any, batch: PairBatch) -> Tensor:
    """
    Return the log-probabilities of the chosen and the rejected answers, [b, 2] of at least float32: sums over tokens.

    The model's head sees the positions alone that predict a token of an answer, and its logits are widened to float32
    piece by piece. The first token of a row is never scored: nothing precedes it.

    Parameters
    ----------
    model
        A causal language model of transformers, also one of peft, under autocast, or wrapped (DDP).
    """
    # the head takes most of the memory (positions x vocabulary): prompts and padding need none of it
    wanted = batch.completion_mask[:, 1:].bool()  # position t predicts the token t + 1
    head = Head(model, wanted, batch.input_ids[:, 1:][wanted])
    with head.watched():
        outputs = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    values = head.values(outputs["logits"] if isinstance(outputs, dict) else outputs.logits)
    # back to their places, since rows have different numbers of answer tokens
    tokens = values.new_zeros(wanted.shape).masked_scatter(wanted, values)
    # a batch holds all chosen answers, then all rejected ones
    return torch.stack(tokens.sum(1).chunk(2), 1)


class PairScores(NamedTuple):
    """
    What a model makes of pairs, float32.

    Attributes
    ----------
    loss, margin
        [n], nats.
    log_probabilities
        [n, 2] of the chosen and the rejected answer.
    """

    loss: Array
    margin: Array
    log_probabilities: Array


def score_pairs(
    model: Any,
    encoded: Any,
    loss: PairLoss,
    reference: NDArray[Any] | None = None,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    *,
    precision: torch.dtype | None = None,
    pad: int = 0,
    ranks: Ranks = ONE,
) -> PairScores:
    """
    Return the losses of all pairs under a model, without dropout and gradients.

    Parameters
    ----------
    model
        As for `answer_log_probabilities`; its mode (train, eval) is put back.
    encoded
        EncodedPairs, or what has their `prompt(i)`, `chosen(i)`, `rejected(i)` and a length.
    loss
        Which loss.
    reference
        [n, 2] log-probabilities of the reference, if the loss needs them.
    batch_size
        Pairs at once; pairs of similar length go together, to save padding.
    progress
        Called with the number of pairs that were done, after each batch.
    precision
        torch.bfloat16 or torch.float16: under autocast, as a training with bf16 or fp16 would see them.
    pad
        The token that padding is made of; the model does not see it.
    ranks
        Who does it: each rank scores some batches, and all get the losses of all pairs.

    Raises
    ------
    InputError
        If a loss is not finite: it names the pair.
    """
    scores = log_probabilities(model, encoded, batch_size, progress, precision, pad, ranks)
    lengths = np.array([[len(encoded.chosen(i)), len(encoded.rejected(i))] for i in range(len(encoded))])
    given = None if reference is None else torch.from_numpy(np.array(reference, np.float32))
    chosen, rejected = torch.from_numpy(scores).unbind(1)
    found = loss.of(chosen, rejected, given, torch.from_numpy(lengths.reshape(-1, 2)))
    if bad := np.flatnonzero(~np.isfinite(found.loss.numpy())).tolist():
        raise InputError(
            f"the loss of each pair should be finite, found {found.loss[bad[0]].item()} for "
            f"{place_of(encoded, bad[0])}; the numbers of the model or the reference are damaged"
        )
    return PairScores(found.loss.numpy(), found.margin.numpy(), scores)


def reference_log_probabilities(
    model: Any,
    encoded: Any,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    *,
    precision: torch.dtype | None = None,
    pad: int = 0,
    ranks: Ranks = ONE,
) -> Array:
    """
    Return the log-probabilities of all answers under the model before training, float32 [n, 2]; as `score_pairs`.

    Of a model of peft the adapter is off: the reference is the base model.

    Raises
    ------
    InputError
        If one is not finite: it names the pair.
    """
    # an adapter that was just made changes nothing, but one that was loaded does
    off: AbstractContextManager[Any] = model.disable_adapter() if hasattr(model, "peft_config") else nullcontext()
    with off:
        found = log_probabilities(model, encoded, batch_size, progress, precision, pad, ranks)
    if bad := np.flatnonzero(~np.isfinite(found).all(1)).tolist():
        raise InputError(
            f"the reference's log-probabilities should be finite, found {found[bad[0]].tolist()} for "
            f"{place_of(encoded, bad[0])}; the model's numbers are damaged"
        )
    return found


@torch.no_grad()
def log_probabilities(
    model: Any,
    encoded: Any,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
    precision: torch.dtype | None = None,
    pad: int = 0,
    ranks: Ranks = ONE,
) -> Array:
    """Return the log-probabilities of all answers under a model, float32 [n, 2]; arguments as of `score_pairs`."""
    rows = [token_row(encoded, i) for i in range(len(encoded))]
    # the longest first: if memory is short, that shows at once
    order = sorted(range(len(rows)), key=lambda i: -rows[i].tokens)
    batches = [order[begin : begin + batch_size] for begin in range(0, len(rows), batch_size)]
    found = np.zeros((len(rows), 2), np.float32)
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        for turn in range(0, len(batches), ranks.size):
            own = batches[turn + ranks.rank : turn + ranks.rank + 1]
            # a rank without a batch of its own takes part: a model in parts needs every one
            at = own[0] if own else batches[0]
            batch = PairBatch.of([rows[i] for i in at], pad).to(device)
            with nullcontext() if precision is None else torch.autocast(device.type, precision):
                values = answer_log_probabilities(model, batch).float().cpu().numpy()
            if own:
                found[at] = values
            if progress is not None:
                progress(min((turn + ranks.size) * batch_size, len(rows)))
    finally:
        model.train(training)
    # zeros but for a rank's own pairs: the sum is exact
    return found if ranks.size == 1 else ranks.sum(found.astype(np.float64)).astype(np.float32)


def place_of(encoded: Any, i: int) -> str:
    """Return where a pair comes from, for messages."""
    place = getattr(encoded, "place", None)
    return f"pair {i}" + (f" ({place(i)})" if place is not None else "")
