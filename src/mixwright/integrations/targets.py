"""Targets in a Trainer: losses and inner products of gradients on rows of its held-out data, now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixwright.checks import unique_names
from mixwright.errors import InputError
from mixwright.gradients.distributed import sum_over_ranks, world_size
from mixwright.integrations.loss_weights import shifts_labels
from mixwright.integrations.row_losses import count_tokens, targets_of, token_nats
from mixwright.strategy import Strategy
from mixwright.watching.watcher import Measure

Array = NDArray[np.float64]
_ROWS = 64  # of each data set, from all over it
_READ = frozenset({"target_gram", "target_loss"})
_LABELS = ("labels", "shift_labels", "num_items_in_batch")


def target_measures(trainer: Any, targets: Any, sources: Sequence[str], strategy: Strategy[Any]) -> dict[str, Measure]:
    """
    Return the measures of `target_gram` [k, m] and `target_loss` [m]; none without targets.

    Parameters
    ----------
    trainer
        Its eval_dataset is {name: data set}, with the sources and the targets.
    targets
        m names, one name, or None.
    sources
        k names.
    strategy
        Of the mixture: it should read what is measured.

    Raises
    ------
    InputError
        The strategy reads nothing of targets, a data set is missing or has no length or no labels, or the gradients are
        in parts.
    """
    if targets is None:
        return {}
    names = unique_names([targets] if isinstance(targets, str) else targets)
    if not strategy.needs & _READ:
        raise InputError(
            f"targets should go with a strategy that reads {' or '.join(sorted(_READ))}, found {strategy!r}; leave it "
            "out, or use a strategy such as GRAPE"
        )
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise InputError("targets need whole gradients on each rank, found FSDP or DeepSpeed; use DDP, or no targets")
    measured = _Measured(trainer, names, tuple(sources))
    return {"target_gram": measured.gram, "target_loss": measured.losses}


class _Measured:
    """
    Up to 64 rows of each data set, which every rank goes through alone; what the ranks found is averaged.

    Nothing is drawn at random: neither dropout nor the state of the random numbers of the training changes.
    """

    def __init__(self, trainer: Any, targets: Sequence[str], sources: Sequence[str]) -> None:
        self._trainer, self._targets, self._sources = trainer, targets, sources
        held = trainer.eval_dataset
        for name in (*sources, *targets):
            if not isinstance(held, Mapping) or name not in held:
                raise InputError(
                    "with targets, the Trainer's eval_dataset should be {name: data set} with each source and target, "
                    f"found none of {name!r}; give held-out rows of it"
                )
            if not hasattr(held[name], "__len__") or not len(held[name]):
                raise InputError(f"eval_dataset[{name!r}] should have rows and a length, found none; give a list")
            self._counted(name)

    def gram(self, model: Any) -> Array:
        """Return [k, m], inner products of the gradients of a source's and of a target's loss, nats per token."""
        targets = [self._gradient(model, name) for name in self._targets]
        found = np.zeros((len(self._sources), len(targets)))
        for i, name in enumerate(self._sources):
            own = self._gradient(model, name)
            found[i] = [float(own @ target) for target in targets]
        return self._agreed(found)

    @torch.no_grad()
    def losses(self, model: Any) -> Array:
        """Return [m], the loss of each target, nats per token."""
        found = [sum(float(part) for part in self._parts(model, name)) for name in self._targets]
        return self._agreed(np.array(found))

    def _gradient(self, model: Any, name: str) -> Tensor:
        """Return the gradient of the loss of a data set, float64: one vector over the parameters that are trained."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        found = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
        for part in self._parts(model, name):
            grads = torch.autograd.grad(part, parameters, allow_unused=True, materialize_grads=True)
            found += torch.cat([grad.flatten() for grad in grads]).double().cpu()
        return found

    def _parts(self, model: Any, name: str) -> Any:
        """Yield losses, batch by batch, whose sum is the mean loss per token of a data set."""
        batches, total = self._counted(name)
        shifts, was_training = shifts_labels(self._trainer), model.training
        model.eval()
        try:
            for batch in batches:
                inputs = self._trainer._prepare_inputs(dict(batch))
                targets = targets_of(inputs, shifts)
                given = {key: value for key, value in inputs.items() if key not in _LABELS}
                with self._trainer.compute_loss_context_manager():
                    logits = model(**given).logits
                yield token_nats(logits, targets).sum() / total
        finally:
            model.train(was_training)

    def _counted(self, name: str) -> tuple[list[Any], int]:
        """Return the batches of a data set and how many tokens they have to predict; InputError if there are none."""
        batches, shifts = self._batches(name), shifts_labels(self._trainer)
        total = sum(int(count_tokens(targets_of(batch, shifts)).sum()) for batch in batches)
        if not total:
            raise InputError(f"eval_dataset[{name!r}] should have tokens to predict (labels), found none in its rows")
        return batches, total

    def _batches(self, name: str) -> list[Any]:
        rows, size = self._trainer.eval_dataset[name], self._trainer.args.per_device_eval_batch_size
        chosen = np.unique(np.linspace(0, len(rows) - 1, min(_ROWS, len(rows))).round().astype(int)).tolist()
        collate = self._trainer._get_collator_with_removed_columns(self._trainer.data_collator, "evaluation")
        with torch.random.fork_rng(devices=[]):  # a collator may draw
            torch.manual_seed(0)
            return [collate([rows[i] for i in chosen[start : start + size]]) for start in range(0, len(chosen), size)]

    def _agreed(self, values: Array) -> Array:
        """Return what all ranks found on the same rows: their mean, since the last digits may differ."""
        if world_size() == 1:
            return values
        found = sum_over_ranks(values.ravel(), self._trainer.args.device) / world_size()
        return np.asarray(found, np.float64).reshape(values.shape)
