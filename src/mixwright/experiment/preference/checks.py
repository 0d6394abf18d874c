"""What can be known of trainings on preference pairs before the first of them starts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.preference.arms import Weighting, start_of
from mixwright.experiment.preference.specialists import SpecialistJob, Specialists
from mixwright.experiment.preference.work import PairWork
from mixwright.preference.mixtures import check_rows
from mixwright.preference.specialists import fold_of_pairs


def check_specialists(config: RunConfig, specialists: Specialists, seed: int) -> None:
    """
    Raise InputError if specialists cannot be had: those of another run do not fit, or a source has too few prompts.

    Parameters
    ----------
    config
        Says where its keys stand, for the messages.
    specialists
        How they are trained, or where they are taken from.
    seed
        That of the specialists.
    """
    settings, work = specialists.settings, specialists.work
    with named(config.where("specialists")):
        for name, source in work.inputs.sources.items():
            if settings.run is not None:
                specialists.get(SpecialistJob(name, seed, work.folder))
            elif settings.folds > 1:
                with named(f"source {name!r}"):
                    fold_of_pairs(source.train, settings.folds, seed)


def check_generalist(config: RunConfig, work: PairWork, weighting: Weighting, steps: int | None = None) -> None:
    """
    Raise InputError if a generalist's steps cannot be made: too small for its sources, or more than there are pairs.

    Parameters
    ----------
    config, work
        Says where its keys stand; pairs and settings.
    weighting
        How it mixes.
    steps
        Its steps. Default: those of the configuration.
    """
    training, sizes = work.training, {name: len(source.train) for name, source in work.inputs.sources.items()}
    start = start_of(weighting, work.names, sizes)
    with named(config.where("training")):
        if not weighting.fixed and "sampling" not in weighting.weights.apply:
            check_rows(training.batch_size, list(start.values()), "loss", None)
        asked = (steps or work.steps) * training.batch_size
        _check_epochs({name: sizes[name] for name in sizes if start[name] > 0}, training.max_epochs, asked)


def _check_epochs(sizes: Mapping[str, int], most: float | None, asked: int) -> None:
    if most is None:
        return
    there = sum(math.floor(most * size + 1e-9) for size in sizes.values())  # as the plan counts them
    if there < asked:
        raise InputError(
            f"max_epochs should leave enough pairs for all steps ({asked:,}), found {there:,} with {most:g} epochs; "
            "raise it, or train for fewer steps"
        )
