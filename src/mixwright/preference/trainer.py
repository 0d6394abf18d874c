"""A trainer of preferences over sources: pairs drawn or weighted by a mixture that may follow the training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import Trainer

from mixwright.checks import whole_number
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.integrations.transformers import check_trainer
from mixwright.integrations.watched import control_folder
from mixwright.mixture import Mixture
from mixwright.preference.arguments import (
    check_choices,
    check_options,
    check_sources,
    loss_of,
    with_steps,
    without_dropout,
)
from mixwright.preference.checkpoints import last_complete_checkpoint
from mixwright.preference.evaluation import evaluated, held_out_sources
from mixwright.preference.losses import PairLoss, PairLosses, answer_log_probabilities
from mixwright.preference.mixtures import applied, baseline, check_rows, mixture_of, trained_on
from mixwright.preference.pairs.rows import PairBatch, PairRows, collate_pairs
from mixwright.preference.steps import SUMS, PairSettings, PreferenceSteps, pair_inputs
from mixwright.simplex import normalise
from mixwright.stream import MixtureLoader, Plan, Sources
from mixwright.stream.trainer import attach
from mixwright.watching.watcher import Watcher, excess_means, row_means

__all__ = ["PreferenceTrainer", "last_complete_checkpoint", "normalised_weights"]


class PreferenceTrainer(Trainer):
    r"""
    DPO, IPO or SimPO on the pairs of several sources, so that none is left behind (AutoMixAlign), or by fixed weights.

    A transformers Trainer: arguments, callbacks, checkpoints, `report_to`, DDP and peft's models work as usual. A step
    has B = per_device_train_batch_size x gradient_accumulation_steps x ranks pairs, drawn from the sources by a plan.
    With the loss l of a pair and its specialist's loss s (`PairRows.specialist`), the excess is e = l - s, clipped at
    0, and the step's loss is

        (1 / B) sum over the step's pairs of  w e,      with the gradient  w [e > 0] grad l

    - apply="sampling": pairs are drawn by the weights, w = 1 (AMA-S)
    - apply="loss": pairs are drawn by the prior, and w = alpha_i B / n_i, with n_i the source's pairs among the
      step's B, of all ranks and micro-batches (AMA-R)

    After each step the strategy gets each source's mean loss and mean excess over all ranks and micro-batches. Each
    line of the log has, by source, mixture/{loss, excess, gate, accuracy, margin, weight, epochs}/NAME: means over the
    pairs since the last line; the share of pairs that were trained on; the weight in force; how often the source was
    gone through.

    Parameters
    ----------
    model
        A causal language model of transformers, or one of peft.
    args
        TrainingArguments, or TRL's DPOConfig, whose beta and loss_type are the loss if none is given. Without
        max_steps, num_train_epochs counts the pairs of all sources together.
    sources
        {name: PairRows}. Specialists' losses in all or in none: without, there is no gate and no excess.
    weights
        A strategy, its name or configuration; numbers by name or in order; a MixtureFile or its path; a Mixture; or one
        of "pooled" (pairs drawn by the sources' sizes, as from one file), "uniform", and "source-normalised" (drawn by
        size, weighted such that the mean loss of each source counts the same).
    loss
        None: the loss of a DPOConfig, else DPO with beta = .1. Reference and specialists have the same one.
    clip
        Where e becomes 0: "example" below 0 of a pair; "source" where the mean of the step's pairs of the source, of
        all ranks and micro-batches, is below 0; "none". With several micro-batches "source" takes a pass without
        gradients over them first: about a third more time.
    train_on
        "excess" (gated, as above), or "loss": the gradient is w grad l, and the clipped excess moves the weights alone
        (DoReMi's way). None: "excess" if the strategy needs the excess; so baselines and Group DRO train on the loss,
        also where there are specialists to compare with.
    apply
        "sampling" or "loss"; None: "sampling" if the strategy allows it.
    counts
        With apply="loss", what n_i is: "batch", the pairs that there are; or "expected", B x the share they are drawn
        with. Then w is alpha_i over that share, also where a small source is not in every step.
    prior, lag, constraints, log
        Of the Mixture. lag None: 1, more if workers read ahead. A prior is "uniform" by default.
    observe_every
        Steps between two observations.
    plan
        More arguments of Plan: max_epochs, exhausted, seed (by default the Trainer's data_seed or seed), draw (by
        default what the strategy is right for).
    non_finite
        What happens before the optimiser's step if a pair's loss is not finite: "stop" (an error names the pair), or
        "skip" the step.
    eval_dataset
        {name: PairRows} or PairRows. eval_NAME_loss, _accuracy, _margin, and with specialists _excess; eval_loss is
        their mean over names.
    pad_token_id
        What padding is made of; the model does not see it. None: the tokenizer's, the model's, or 0.
    num_workers, ahead
        Worker processes (None: dataloader_num_workers), and batches that each reads ahead.
    disable_dropout
        None: what a DPOConfig says, else True.
    control
        The folder with the `control.yaml` that changes the weights of the training under way (`mixwright steer`); True:
        output_dir. False: it is not steered.
    **more
        For transformers' Trainer: processing_class, callbacks, optimizers, ...

    Attributes
    ----------
    mixture, loader
        The Mixture, and the loader that is trained on.
    steps
        The callback that watches the steps: its `observation` is the last one, its `weights` the current step's.

    Raises
    ------
    InputError
        Before the first step: no reference, a strategy that needs an excess without specialists, an option of DPOConfig
        that there is not, settings that do not fit.

    Notes
    -----
    Checkpoints hold the stream, the Mixture and the sums that wait: on a CPU a resumed training equals an
    uninterrupted one, bit by bit. `train(resume_from_checkpoint=True)` takes the newest complete one.
    """

    def __init__(
        self,
        model: Any,
        args: Any,
        sources: Mapping[str, PairRows],
        weights: Any,
        *,
        loss: PairLoss | None = None,
        clip: str = "example",
        train_on: str | None = None,
        apply: str | None = None,
        counts: str | None = None,
        prior: str | Sequence[float] | None = None,
        lag: int | None = None,
        constraints: Constraints | None = None,
        log: str | PathLike[str] | None = None,
        observe_every: int = 1,
        plan: Mapping[str, Any] | None = None,
        non_finite: str = "stop",
        eval_dataset: Any = None,
        pad_token_id: int | None = None,
        num_workers: int | None = None,
        ahead: int = 2,
        disable_dropout: bool | None = None,
        control: bool | str | PathLike[str] = True,
        **more: Any,
    ) -> None:
        check_options(args, model)
        check_choices(clip=clip, train_on=train_on, apply=apply, counts=counts, non_finite=non_finite)
        self.pair_loss = loss_of(args) if loss is None else loss
        specialists = check_sources(sources, self.pair_loss)
        held_out = held_out_sources(eval_dataset, self.pair_loss)
        if disable_dropout or (disable_dropout is None and getattr(args, "disable_dropout", True)):
            without_dropout(model)
        super().__init__(model, with_steps(args, sources), eval_dataset=held_out or None, **more)
        self._check_kind()
        self.pad_token_id, self._steered_in = _padding(self, pad_token_id), control_folder(control, self)
        opened, workers = Sources(sources), self._workers(num_workers)
        weights, apply, counts, prior = baseline(weights, apply, counts, prior)
        given = {"prior": prior, "lag": lag, "constraints": constraints, "log": log}
        self.mixture = self._mixture(weights, opened, given, workers, ahead)
        ways = {"clip": clip, "counts": counts or "batch", "non_finite": non_finite}
        settings = self._settings(train_on, apply, observe_every, specialists, **ways)
        watched = set(opened.names) <= set(held_out)
        self._attach(opened, settings, self._plan_options(plan or {}), watched, num_workers=workers, ahead=ahead)

    def _check_kind(self) -> None:
        """Raise InputError for a Trainer whose steps cannot be watched."""
        self.model_accepts_loss_kwargs = False  # the loss is a mean over the micro-batch: the Trainer divides it
        check_trainer(self)
        if self.is_deepspeed_enabled:
            raise InputError("DeepSpeed takes its step before the losses of all ranks are checked; use DDP or FSDP")

    def _workers(self, given: int | None) -> int:
        return self.args.dataloader_num_workers if given is None else whole_number(given, "num_workers", 0)

    def _mixture(self, weights: Any, opened: Sources, given: dict[str, Any], workers: int, ahead: int) -> Mixture:
        """Return the Mixture, whose lag covers what workers read ahead; rank 0 alone keeps its log."""
        least = 1 - (-workers * whole_number(ahead, "ahead", 1) // self.args.gradient_accumulation_steps)
        mixture = mixture_of(weights, opened, given, least)
        if self.args.process_index:
            mixture.log = None
        return mixture

    def _settings(
        self, train_on: str | None, apply: str | None, observe_every: int, specialists: bool, **ways: str
    ) -> PairSettings:
        return PairSettings(
            train_on=trained_on(self.mixture, train_on),
            apply=applied(self.mixture, apply),
            observe_every=whole_number(observe_every, "observe_every", 1),
            specialists=specialists,
            loss=self.pair_loss.fingerprint,
            **ways,
        )

    def _attach(
        self, opened: Sources, settings: PairSettings, options: Mapping[str, Any], held_out: bool, **reading: Any
    ) -> None:
        """Make the loader and what watches the steps, and put them in the Trainer's place."""
        watcher = self._watcher(settings, options["draw"], held_out)
        drawn: Any = self.mixture if settings.apply == "sampling" else self.mixture.prior
        self.loader = MixtureLoader(
            opened,
            Plan(opened.sizes, drawn, batch_size=self._rows, **options),
            self.args.process_index,
            self.args.world_size,
            accumulate=self.args.gradient_accumulation_steps,
            collate=collate_pairs(self.pad_token_id),
            **reading,
        )
        steps = PreferenceSteps(self, self.loader, watcher, settings, self._steered_in)
        self.steps = attach(self, steps, pair_inputs)

    @property
    def _rows(self) -> int:
        return int(self._train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size)

    def _plan_options(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        draw = "carry" if "carry" in self.mixture.strategy.draw else "iid"
        return {"seed": seed, "draw": draw, **plan}

    def _watcher(self, settings: PairSettings, draw: str, held_out: bool) -> Watcher:
        """Return what watches the steps, after checking that the strategy gets what it needs."""
        fields = excess_means if settings.specialists else row_means
        watcher = Watcher(self.mixture, settings.observe_every, self._rows, SUMS, fields, held_out=held_out)
        if "excess_loss" in self.mixture.strategy.needs and not settings.specialists:
            raise InputError(
                f"{type(self.mixture.strategy).__name__} needs the excess over specialists, found no specialist's "
                "losses; give PairRows(..., specialist=) in every source, or use GroupDRO"
            )
        self.mixture.check(watcher.given, settings.apply, draw)
        check_rows(self._rows, self.mixture.prior, settings.apply, settings.counts)
        return watcher

    def pair_losses(self, model: Any, inputs: Mapping[str, Tensor]) -> PairLosses:
        """Return losses and margins [b] of a batch of pairs: `collate_pairs`'s tensors."""
        batch = PairBatch(*(inputs[name] for name in PairBatch.__dataclass_fields__))
        chosen, rejected = answer_log_probabilities(model, batch).unbind(1)
        return self.pair_loss.of(chosen, rejected, inputs.get("reference"), batch.lengths)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean over a micro-batch's pairs of what is differentiated."""
        found = self.pair_losses(model, inputs)
        value = self.steps.value(found, inputs)
        return (value, {"loss": found.loss, "margin": found.margin}) if return_outputs else value

    def train(self, resume_from_checkpoint: Any = None, *arguments: Any, **more: Any) -> Any:
        """Train; True: from the newest complete checkpoint of the output folder."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(str(self.args.output_dir))
            if resume_from_checkpoint is None:
                raise InputError(
                    f"{self.args.output_dir} should hold a complete checkpoint to resume from, found none; leave "
                    "resume_from_checkpoint out, or give last_complete_checkpoint(folder), which may be None"
                )
        return super().train(resume_from_checkpoint, *arguments, **more)

    def log(self, logs: dict[str, float], *more: Any, **named: Any) -> None:
        """Log, with the mixture's numbers beside the training's."""
        if "loss" in logs:
            logs = {**logs, **self.steps.to_log()}
        super().log(logs, *more, **named)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """
        Return held-out loss, accuracy, margin and, with specialists, excess: by name, and their means over the names.

        Parameters
        ----------
        eval_dataset
            {name: PairRows} or PairRows; None: the trainer's own.
        """
        began = time.time()
        named: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(named, str):
            named = {named: held_out_sources(self.eval_dataset, self.pair_loss)[named]}
        named = held_out_sources(named, self.pair_loss)
        if not named:
            raise InputError("there should be pairs to evaluate on, found none; give eval_dataset={name: PairRows}")
        found = {name: evaluated(self, rows) for name, rows in named.items()}
        metrics: dict[str, float] = {}
        for name, means in found.items():
            start = f"{metric_key_prefix}_{name}" if name else metric_key_prefix
            metrics |= {f"{start}_{what}": value for what, value in means.items()}
        if "" not in found:
            for what in next(iter(found.values())):
                metrics[f"{metric_key_prefix}_{what}"] = float(np.mean([m.get(what, np.nan) for m in found.values()]))
        metrics[f"{metric_key_prefix}_runtime"] = round(time.time() - began, 4)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def normalised_weights(sizes: Mapping[str, int] | Sequence[int]) -> NDArray[np.float64]:
    """
    Return a weight per pair of each source, [k], with which all sources count the same if pairs are drawn by size.

    It is (1 / k) / (n_i / n), n_i of n pairs being the source's: what "source-normalised" weighs pairs by.

    Examples
    --------
    >>> normalised_weights({"code": 300, "honest": 100})
    array([0.66666667, 2.        ])
    """
    values = list(sizes.values()) if isinstance(sizes, Mapping) else list(sizes)
    shares = normalise(values, "sizes")
    if not shares.all():
        raise InputError(f"sizes should be above 0, found {values}; leave an empty source out")
    return 1 / (len(shares) * shares)


def _padding(trainer: Trainer, given: int | None) -> int:
    if given is not None:
        return whole_number(given, "pad_token_id", 0)
    holders = (getattr(trainer, "processing_class", None), getattr(trainer.model, "config", None))
    found = [getattr(holder, "pad_token_id", None) for holder in holders]
    return next((int(each) for each in found if each is not None and int(each) >= 0), 0)
