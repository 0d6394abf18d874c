"""A mixture in a script with a transformers Trainer, or a subclass of it (TRL)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.checks import whole_number
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.integrations.loss_weights import check_normaliser
from mixwright.integrations.reference import TrainerReference, trainer_reference
from mixwright.integrations.targets import target_measures
from mixwright.integrations.trainer_mixture import TOKENS, TrainerMixture, excess_token_means, token_means
from mixwright.integrations.watched import control_folder
from mixwright.mixture import Mixture
from mixwright.mixture_file import MixtureFile
from mixwright.simplex import normalise
from mixwright.strategies import Static, from_config
from mixwright.strategies.registry import is_known
from mixwright.strategy import Strategy
from mixwright.stream import MixtureLoader, Plan, Sources, open_source
from mixwright.stream.batches import Batch
from mixwright.stream.trainer import attach, check_width, language_model_inputs
from mixwright.watching.row_weights import RowWeights, held_within, sampling_shares
from mixwright.watching.statistics import SampledStatistics, level_for
from mixwright.watching.watcher import Measure, Watcher

__all__ = ["TrainerMixture", "use_mixture"]

_SHARES = ("uniform", "natural")


def use_mixture(
    trainer: Any,
    sources: Mapping[str, Any],
    weights: Any,
    *,
    sampling: Any = None,
    reference: Any = None,
    targets: str | Sequence[str] | None = None,
    prior: str | PathLike[str] | MixtureFile | Mapping[str, float] | Sequence[float] = "uniform",
    lag: int | None = None,
    constraints: Constraints | None = None,
    log: str | PathLike[str] | None = None,
    observe_every: int = 10,
    statistics: str | Mapping[str, Any] | None = "auto",
    statistics_steps: int = 1,
    measures: Mapping[str, Measure] | None = None,
    non_finite: str = "stop",
    context: int | None = None,
    plan: Mapping[str, Any] | None = None,
    num_workers: int | None = None,
    ahead: int = 2,
    collate: str | Callable[[list[Any]], Any] | None = None,
    inputs: Callable[[Batch], Any] | None = None,
    control: bool | str | PathLike[str] = True,
) -> TrainerMixture:
    """
    Let a Trainer draw its rows from sources by weights, which may follow the training.

    Call it between making the Trainer (any train_dataset, or none) and `train()`. A batch of a step has
    per_device_train_batch_size x gradient_accumulation_steps x ranks rows, shared out among the sources. The losses of
    each source's rows come from the logits of the training's own forward pass; gradient statistics, on sampled steps
    alone and only for a strategy that reads them, from its own backward pass. Every rank has the same weights.
    Stream, Mixture and what waits for the next observation are in each checkpoint's trainer_state.json. Each line that
    the Trainer logs gets mixture/loss/NAME (nats per token since the last line), mixture/weight/NAME, mixture/entropy
    (nats), mixture/alarms, and statistics: so they reach whatever `report_to` says.

    Parameters
    ----------
    trainer
        Before `train()`; `max_steps` must be set. Its methods training_step, compute_loss and log are wrapped.
    sources
        By name: what `open_source` opens, or a Source. Rows are token arrays, or what `collate` or `inputs` make the
        model's inputs of.
    weights
        Numbers by name or in the order of the sources; "uniform", or "natural" (by rows); a MixtureFile, or the path of
        a mixture.json; a strategy, its name or its configuration; or a Mixture, which then has its own prior, lag,
        constraints and log.
    sampling
        What rows are drawn by, while the weights act on the loss: {source: share}, [k], "uniform", "natural" or
        "prior". Each row's part of the Trainer's loss then counts weight / share (`RowWeights`). None: rows are drawn
        by the weights (by the prior where a strategy acts on the loss alone).
    reference
        For a strategy that reads excess_loss or reference_loss (DoReMi, LossRatio, AMAR, ...): the folder of a causal
        language model with this training's tokenizer, or a `mixwright.training.Reference`, which says where excess is
        clipped (by default as the strategy asks). It is asked once for each row; its losses are kept by the row's
        content in reference_losses of the Trainer's output folder.
    targets
        For a strategy that reads target_gram or target_loss (GRAPE, DoGE(objective="targets")): names of data sets in
        eval_dataset, which is {name: rows} and has the sources, too. At each observation, up to 64 rows of each go
        through a forward and backward pass. Report results on other rows.
    prior, lag, constraints, log
        Of the Mixture; the prior may also be a MixtureFile or its path. lag None: 8 steps, or more if workers read
        further ahead. The log is written by rank 0.
    observe_every
        Steps between two observations.
    statistics
        "auto": where the strategy reads gradient statistics, at the level that it needs. None: never. Or options of
        GradientStatistics, always; `{"optimizer": True}` is the metric of the Trainer's Adam.
    statistics_steps
        How many steps before an observation, its own included, take statistics.
    measures
        {field of Observation: model -> array}: measured when an observation is due, the same on every rank.
        Held-out losses need none if eval_dataset is a dict that has the sources' names.
    non_finite
        What happens before the optimiser's step if a source's loss is not finite: "stop" (an error names the source),
        "skip" (the step), "keep" (go on). The source's loss is nan in the observation.
    context
        Tokens per row, for sources of tokens.
    plan
        More arguments of Plan: max_epochs, exhausted, unit, lengths, co_locate, seed (by default the Trainer's
        data_seed or seed), ...
    num_workers, ahead
        Worker processes (None: the Trainer's dataloader_num_workers) and batches that each reads ahead.
    collate
        Makes a dict of a list of rows, in the worker: a function, or "trainer" for the Trainer's data_collator.
    inputs
        Makes the model's inputs of a Batch; None: the dict that `collate` made, or input_ids and labels of tokens.
    control
        The folder with the `control.yaml` that changes the weights of the training under way (`mixwright steer`); True:
        the Trainer's output_dir. False: it is not steered.

    Returns
    -------
    callback
        Its `mixture`, `loader`, `batches` and `observation` can be looked at.

    Raises
    ------
    InputError
        Before the first step: settings of the Trainer that do not fit (it names them), a strategy that needs what
        nothing here reports, a lag that is too short, a model with a parameter that the statistics do not cover, ...
    """
    check_trainer(trainer)
    args, opened = trainer.args, _open(sources, context)
    workers = (
        args.dataloader_num_workers if num_workers is None else whole_number(num_workers, "the number of workers", 0)
    )
    # 1 + ceil: what workers read ahead is planned before the last step is observed
    least = 1 - (-workers * whole_number(ahead, "ahead", 1) // args.gradient_accumulation_steps)
    weights = weights_of_file(weights, context, plan or {}, opened.names)
    prior = weights_of_file(prior, context, plan or {}, opened.names, whole=False)
    weights = weights if isinstance(weights, Mixture) else _strategy(weights, opened)
    strategy, start = (weights.strategy, weights.prior) if isinstance(weights, Mixture) else (weights, prior)
    drawn = sampling_shares(sampling, opened.sizes, strategy, start)
    if drawn is not None and not isinstance(weights, Mixture):
        constraints = held_within(constraints, opened.sizes, drawn)
    settings = {"prior": prior, "lag": lag, "constraints": constraints, "log": log}
    mixture = make_mixture(weights, opened, settings, max(8, least))
    row_weights = None if drawn is None else RowWeights(mixture, drawn, args.max_steps)
    # every rank decides the same; one log is enough
    if args.process_index:
        mixture.log = None
    every = whole_number(observe_every, "observe_every", 1)
    taken = _statistics(mixture, statistics, whole_number(statistics_steps, "statistics_steps", 1), every)
    rows = trainer._train_batch_size * args.gradient_accumulation_steps * args.world_size
    over = trainer_reference(trainer, reference, mixture.strategy, context, _is_sft(trainer))
    measures = {**target_measures(trainer, targets, opened.names, mixture.strategy), **(measures or {})}
    watcher = _watcher(mixture, every, rows, measures, taken, _held_out(trainer, mixture), over)
    _check_watching(trainer, watcher, non_finite, "sampling" if drawn is None else "loss")
    options: dict[str, Any] = {"seed": args.seed if args.data_seed is None else args.data_seed}
    options |= {"co_locate": _together(trainer, taken), **(plan or {})}
    loader = MixtureLoader(
        opened,
        Plan(opened.sizes, mixture if drawn is None else drawn, batch_size=rows, **options),
        args.process_index,
        args.world_size,
        accumulate=args.gradient_accumulation_steps,
        num_workers=workers,
        ahead=ahead,
        sort_by_source=taken is not None,
        collate=_collate(trainer, collate),
    )
    if inputs is None and collate is None:
        _check_rows(opened, trainer.model)
    if inputs is None:
        inputs = _as_they_are if collate is not None else _masked if _is_sft(trainer) else None
    fused, steered_in = _is_sft(trainer), control_folder(control, trainer)
    callback = TrainerMixture(trainer, loader, watcher, non_finite, fused, row_weights, steered_in, over)
    return attach(trainer, callback, inputs)


def _watcher(
    mixture: Mixture,
    every: int,
    rows: int,
    measures: Mapping[str, Measure] | None,
    statistics: SampledStatistics | None,
    held_out: bool,
    reference: TrainerReference | None,
) -> Watcher:
    """Return what adds up the steps of a Trainer; with a reference, excess losses too, if the strategy needs them."""
    more = dict(measures or {})
    if reference is not None and held_out:
        more.setdefault("reference_loss", lambda model: reference.held_out(mixture.sources))
    names: Sequence[str] = TOKENS
    fields = token_means
    if reference is not None and "excess_loss" in mixture.strategy.needs:
        names, fields = (*TOKENS, "excess"), excess_token_means
    return Watcher(mixture, every, rows, names, fields, measures=more, statistics=statistics, held_out=held_out)


def _open(sources: Any, context: int | None) -> Sources:
    if isinstance(sources, Sources):
        return sources
    if not isinstance(sources, Mapping):
        raise InputError(f"sources should be a mapping from names to sources, found {type(sources).__name__}")
    opened = {}
    for name, what in sources.items():
        try:
            opened[name] = open_source(what, context)
        except InputError as error:
            raise InputError(f"the source {name!r}: {error}") from error
    return Sources(opened)


def _check_rows(sources: Sources, model: Any) -> None:
    """Raise InputError unless rows of each source can be the model's inputs without a function that makes them."""
    for name in (name for name in sources.names if len(sources[name])):
        rows = sources[name].gather(np.zeros(1, np.int64))
        row = rows if isinstance(rows, Mapping) else rows[0]
        if "input_ids" not in row if isinstance(row, Mapping) else isinstance(row, str | bytes):
            found = f"rows with {', '.join(map(repr, row))}" if isinstance(row, Mapping) else "texts"
            raise InputError(
                f"the source {name!r} should have rows of tokens, found {found}; write texts as tokens "
                "(mixwright.text.write_tokens), or give collate= or inputs=, which make the model's inputs"
            )
        if not isinstance(row, Mapping) or "position_ids" not in row:
            shape = np.shape(row["input_ids"] if isinstance(row, Mapping) else row)
            check_width(model, shape[-1] if shape else 1, f"rows of the source {name!r}")


def make_mixture(weights: Any, sources: Sources, settings: Mapping[str, Any], lag: int) -> Mixture:
    """Return the Mixture; made of weights or a strategy, with those `settings` that are not None, if it is none."""
    if isinstance(weights, Mixture):
        default = {"prior": "uniform"}
        given = {n for n, v in settings.items() if v is not None and not (isinstance(v, str) and v == default.get(n))}
        if given:
            raise InputError(f"a Mixture has its own {', '.join(sorted(given))}; give it there")
        return weights
    more = {n: v for n, v in settings.items() if v is not None}
    return Mixture(sources.sizes, _strategy(weights, sources), **{"lag": lag, **more})


def _strategy(weights: Any, sources: Sources) -> Strategy[Any]:
    """Return the strategy of numbers, of a name or of a configuration; a strategy as it is."""
    numbers = isinstance(weights, Mapping) and "name" not in weights
    if numbers or isinstance(weights, list | tuple | np.ndarray):
        return Static(_in_order(weights, sources.names) if numbers else weights)
    if isinstance(weights, str) and weights in _SHARES:
        rows = [sources.sizes[name] if weights == "natural" else 1 for name in sources.names]
        return Static(normalise(rows, "the sources' rows"))
    return from_config(weights, sources.names)


def weights_of_file(
    given: Any, context: int | None, plan: Mapping[str, Any], names: Sequence[str], whole: bool = True
) -> Any:
    """
    Return the weights of a mixture.json by source, what is none as it is; rows of one length are tokens' shares.

    Raises
    ------
    InputError
        It is the folder of a run, it names another source than `names`, or it lacks one (if it should be `whole`).
    """
    if isinstance(given, PathLike) or (isinstance(given, str) and given not in _SHARES and not is_known(given)):
        _check_no_folder(Path(given))
    if not (isinstance(given, MixtureFile | PathLike) or (isinstance(given, str) and given.endswith(".json"))):
        return given
    file = given if isinstance(given, MixtureFile) else MixtureFile.read(given)
    if set(file.sources) - set(names) or (whole and set(names) - set(file.sources)):
        title = "the mixture" if isinstance(given, MixtureFile) else str(given)
        raise InputError(
            f"{title} should be a mixture of the sources {list(names)}, found {list(file.sources)}; give the sources "
            "their names there, or the mixture of these sources"
        )
    if file.unit != plan.get("unit", "rows") and context is None:
        raise InputError(
            f"the mixture's weights are shares of {file.unit}; give plan={{'unit': {file.unit!r}, ...}}, as for Plan"
        )
    return dict(zip(file.sources, file.weights, strict=True))


def _check_no_folder(path: Path) -> None:
    """Raise InputError for the folder of a run in place of its mixture."""
    if os.path.isdir(path):  # False for a text that can be no path
        inside = f"give {path / 'mixture.json'}" if (path / "mixture.json").exists() else "it has none"
        raise InputError(
            f"a mixture should be a mixture.json, weights or a strategy, found the folder {path}; {inside}"
        )


def _in_order(weights: Mapping[str, float], names: tuple[str, ...]) -> list[float]:
    if set(weights) != set(names):
        raise InputError(f"weights should name the sources {list(names)}, found {list(weights)}")
    return [weights[name] for name in names]


def _statistics(mixture: Mixture, wanted: Any, steps: int, every: int) -> SampledStatistics | None:
    """Return how statistics are taken; None if they are not."""
    if steps > every:
        raise InputError(f"statistics_steps should be at most observe_every ({every}), found {steps}")
    if wanted is None:
        return None
    if isinstance(wanted, Mapping):
        return SampledStatistics(mixture.k, every, steps, wanted)
    if wanted != "auto":
        raise InputError(f"statistics should be 'auto', None or options of GradientStatistics, found {wanted!r}")
    level = level_for(mixture.strategy.needs | mixture.strategy.uses)
    return None if level is None else SampledStatistics(mixture.k, every, steps, {"level": level})


def _held_out(trainer: Any, mixture: Mixture) -> bool:
    return isinstance(trainer.eval_dataset, Mapping) and set(mixture.sources) <= set(trainer.eval_dataset)


def _together(trainer: Any, statistics: SampledStatistics | None) -> int:
    """Return how many rows of a source should stand side by side for the statistics to be known."""
    rows: int = trainer._train_batch_size
    if statistics is None:
        return 1
    if statistics.level == "micro-batch":
        return rows
    return 2 if rows % 2 == 0 else 1


def check_trainer(trainer: Any) -> None:
    """Raise InputError for a Trainer under whose settings a plan's steps are not its steps; TypeError if it is none."""
    from transformers import Trainer

    if not isinstance(trainer, Trainer):
        raise TypeError(
            f"trainer should be a transformers.Trainer, found {type(trainer).__name__}; make the Trainer first"
        )
    args = trainer.args
    if isinstance(getattr(trainer, "mixture_callback", None), TrainerMixture):
        raise InputError("a Trainer should have one mixture, found a second call of use_mixture; make a new Trainer")
    if args.max_steps <= 0:
        raise InputError(f"the Trainer's max_steps should be set (the stream has no epochs), found {args.max_steps}")
    if args.n_gpu > 1:
        raise InputError(f"there should be one process per GPU, found {args.n_gpu} GPUs in this one; use torchrun")
    if args.auto_find_batch_size:
        raise InputError("auto_find_batch_size should be False: the plan has a fixed number of rows in a step")
    sizes = {name: getattr(trainer, f"get_{name}_size", lambda: 1)() for name in ("tp", "cp", "sp")}
    if max(sizes.values()) > 1:
        raise InputError(
            f"each rank should have rows of its own, found {sizes} ranks that share rows (tensor, context or sequence "
            "parallelism); use data parallelism (DDP, FSDP)"
        )
    if args.use_liger_kernel or "chunked" in str(getattr(args, "loss_type", "")):
        raise InputError(
            f"the loss should be computed from logits, which the losses per source need, found use_liger_kernel="
            f"{args.use_liger_kernel} and loss_type={getattr(args, 'loss_type', None)!r}; use False, and 'nll'"
        )


def _check_watching(trainer: Any, watcher: Watcher, non_finite: str, apply: str) -> None:
    args, statistics = trainer.args, watcher.statistics
    if non_finite not in ("stop", "skip", "keep"):
        raise InputError(f"non_finite should be 'stop', 'skip' or 'keep', found {non_finite!r}")
    watcher.mixture.check(watcher.given, apply, draw="carry")
    if apply == "loss":
        check_normaliser(trainer)
    if trainer.is_deepspeed_enabled and (statistics is not None or non_finite == "skip"):
        raise InputError("DeepSpeed has no gradients to observe or to skip; use DDP or FSDP, or statistics=None")
    if statistics is None:
        return
    if args.label_smoothing_factor:
        raise InputError("label_smoothing_factor should be 0 with gradient statistics; or give statistics=None")
    if trainer._train_batch_size < 2 and statistics.level != "micro-batch":
        raise InputError(
            "per_device_train_batch_size should be at least 2 with gradient statistics (norms come from pairs of "
            "rows), found 1; use more rows and fewer accumulation steps"
        )
    statistics.check(trainer.model)


def _collate(trainer: Any, collate: Any) -> Callable[[list[Any]], Any] | None:
    if collate is None or callable(collate):
        return collate
    if collate != "trainer":
        raise InputError(f"collate should be a function of a list of rows, or 'trainer', found {collate!r}")
    return trainer.data_collator


def _is_sft(trainer: Any) -> bool:
    return any(cls.__module__.startswith("trl.") for cls in type(trainer).__mro__)


def _masked(batch: Batch) -> dict[str, Any]:
    """Return the inputs of a causal language model with a mask, which TRL counts tokens by."""
    inputs = language_model_inputs(batch)
    if "attention_mask" not in inputs and "position_ids" not in inputs:
        inputs["attention_mask"] = inputs["input_ids"].new_ones(inputs["input_ids"].shape)
    return inputs


def _as_they_are(batch: Batch) -> dict[str, Any]:
    return dict(batch.inputs)
