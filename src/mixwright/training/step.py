"""One optimiser step: forward and backward on its micro-batches, and the update."""

from __future__ import annotations

from enum import Flag
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixwright.batch_losses import row_excess
from mixwright.training.batches import TokenBatch
from mixwright.training.model import default_device, torch
from mixwright.training.ranks import Ranks, whole
from mixwright.training.reference import ReferenceLosses
from mixwright.training.settings import TrainingSettings
from mixwright.watching.statistics import SampledStatistics

Array = NDArray[np.float64]
_BETAS = (0.9, 0.95)
_CLIP = 1.0


class StepLosses(NamedTuple):
    """
    What a step's rows lost, over all ranks.

    `counts` [k] rows with a finite loss; `sums` [k] of their losses (a row's: mean nats per token); `bad` [k] rows
    whose loss is not finite.
    """

    counts: Array
    sums: Array
    bad: Array

    @classmethod
    def of_rows(cls, source: NDArray[np.integer[Any]], losses: Array, k: int) -> StepLosses:
        """Return the sums of rows with sources [b] and losses [b]."""
        finite = np.isfinite(losses)
        parts = (finite, np.where(finite, losses, 0.0), ~finite)
        return cls(*(np.asarray(np.bincount(source, part, k), np.float64) for part in parts))

    @property
    def mean(self) -> float | None:
        """Return the mean over the rows with a finite loss; None without any."""
        return float(self.sums.sum() / self.counts.sum()) if self.counts.any() else None

    @property
    def shares(self) -> Array:
        """Return the share [k] of each source in the rows."""
        rows = self.counts + self.bad
        return rows / rows.sum()

    def by_source(self, names: tuple[str, ...]) -> dict[str, float]:
        """Return the mean loss of each source that had rows."""
        seen = np.flatnonzero(self.counts)
        return {names[i]: float(self.sums[i] / self.counts[i]) for i in seen}

    def plus(self, other: StepLosses) -> StepLosses:
        """Return the sums of both."""
        return StepLosses(*(a + b for a, b in zip(self, other, strict=True)))


def no_losses(k: int) -> StepLosses:
    """Return the sums of no rows."""
    return StepLosses(np.zeros(k), np.zeros(k), np.zeros(k))


class Asked(Flag):
    """What rank 0 asks of all ranks after a step: a checkpoint, or to follow what was ordered by hand."""

    NOTHING = 0
    SAVE = 1
    STEER = 2


class Gradient(NamedTuple):
    """
    What a step found.

    `losses` of the rows; `excess` [k], sums over the rows of their excess over a reference (0 without one); `norm` of
    the gradient before clipping; `asked`, what rank 0 asked all ranks for.
    """

    losses: StepLosses
    excess: Array
    norm: float
    asked: Asked

    @property
    def finite(self) -> bool:
        """Whether the step may be taken."""
        return bool(np.isfinite(self.norm)) and not self.losses.bad.any()


class Stepper:
    """
    Computes the gradient of a step and applies it.

    Parameters
    ----------
    model
        As it is trained: wrapped, where there are several ranks.
    settings, ranks
        How; among whom.
    k
        The number of sources.
    statistics
        What observes the sampled steps, or None.
    reference
        Gives the losses that the rows' excess is measured over, or None.
    """

    def __init__(
        self,
        model: Any,
        settings: TrainingSettings,
        ranks: Ranks,
        k: int,
        statistics: SampledStatistics | None,
        reference: ReferenceLosses | None = None,
    ) -> None:
        self.model, self._settings, self._ranks, self._k, self._statistics = model, settings, ranks, k, statistics
        self._reference = reference
        self._device = next(model.parameters()).device
        self._low = low_precision(settings)
        self.optimizer = _optimizer(model, settings.weight_decay)
        if statistics is not None:
            statistics.attach(model, self.optimizer)

    def regroup(self, k: int, statistics: SampledStatistics | None) -> None:
        """Go on with another number of sources; model and optimiser stay."""
        self._k, self._statistics = k, statistics
        if statistics is not None:
            statistics.attach(self.model, self.optimizer)

    def gradient(self, step: int, batch: TokenBatch, ask: Asked = Asked.NOTHING) -> Gradient:
        """
        Leave a step's gradient, clipped, in the parameters.

        Parameters
        ----------
        step
            From 0.
        batch
            This rank's rows.
        ask
            What rank 0 asks all ranks for; comes back on each.
        """
        seed = self._settings.seed * 1_000_003 + step + self._ranks.rank * 7_368_787_000_003
        self._seed(seed % 2**63)  # for dropout: a function of seed, step and rank
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._parts(batch)
        losses, excess = no_losses(self._k), np.zeros(self._k)
        for part in parts:
            with self._ranks.syncing(self.model, part is parts[-1]):
                own, above = self._backward(step, part)
            losses, excess = losses.plus(own), excess + above
        # FSDP2 has a part of the norm on each rank; `whole` adds them up
        norm = float(whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)))
        asked = np.array([float(ask.value if self._ranks.main else 0)])
        # losses and the request go in one sum: ranks meet once a step
        found = self._ranks.sum(np.concatenate([*losses, excess, asked]))
        *parts_of_losses, excess = np.split(found[:-1], 4)
        return Gradient(StepLosses(*parts_of_losses), excess, norm, Asked(int(found[-1])))

    def _seed(self, seed: int) -> None:
        """Do what torch.manual_seed does, which on a CPU takes a tenth of a small step: it notes who called it."""
        on_cpu = next(self.model.parameters()).device.type == "cpu"
        (torch.default_generator.manual_seed if on_cpu else torch.manual_seed)(seed)

    def update(self, rate: float) -> None:
        """Apply the gradient with a learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    def _parts(self, batch: TokenBatch) -> list[TokenBatch]:
        if self._settings.accumulate == 1 and self._statistics is None:
            return [batch]
        return batch.parts(self._settings.accumulate)

    def _backward(self, step: int, part: TokenBatch) -> tuple[StepLosses, Array]:
        """
        Add the gradient of a micro-batch, and return what its rows lost, with the sums [k] of their excess.

        Ranks average their gradients, so a row counts ranks / batch_size on its rank.
        """
        # before the model's own pass, which statistics watch
        reference = None if self._reference is None else self._reference.of(part)
        share = len(part.source) * self._ranks.size / self._settings.batch_size
        # the statistics need each row's weight in the loss that is differentiated
        weight: Any = None if share == 1 and part.factors is None else share / len(part.source)
        if part.factors is not None:
            weight = weight * part.factors[part.source]
        watched = self._statistics
        if watched is None:
            tokens = self._tokens_backward(part, share)
        else:
            with watched.observe(step, part.source, weight):
                tokens = self._tokens_backward(part, share)
        rows: Array = tokens.mean(1).cpu().numpy()
        losses = StepLosses.of_rows(part.source, rows, self._k)
        if reference is None or self._reference is None:
            return losses, np.zeros(self._k)
        excess = row_excess(tokens.cpu().numpy(), reference, self._reference.reference.clip)
        return losses, StepLosses.of_rows(part.source, excess, self._k).sums

    def _tokens_backward(self, part: TokenBatch, share: float) -> Any:
        """Return the tokens' losses, float64 [b, context], after the backward pass of their (weighted) mean x share."""
        tokens = torch.from_numpy(part.tokens).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._low):
            logits = self.model(input_ids=tokens[:, :-1], use_cache=False).logits
        answers = tokens[:, 1:].flatten()
        # float32: a sum of small differences would be lost in bfloat16
        losses = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), answers, reduction="none")
        counted = losses
        if part.factors is not None:
            factors = torch.from_numpy(part.factors[part.source]).to(losses)
            counted = losses * factors.repeat_interleave(len(losses) // len(factors))
        (counted.mean() * share).backward()
        return losses.detach().view(len(part.source), -1).double()


def low_precision(settings: TrainingSettings) -> bool:
    """Say whether a training computes in bfloat16, which needs no loss scale, unlike float16."""
    return settings.precision == "bfloat16" or (settings.precision == "auto" and default_device().type == "cuda")


def _optimizer(model: Any, weight_decay: float) -> Any:
    """Return AdamW that decays matrices only."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=_BETAS, fused=True)
