"""Specialists, and a generalist, on preference pairs from beginning to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.same_folder import check_same
from mixwright.experiment.core.stages import Progress, Stage, check_folder, open_run, silent
from mixwright.experiment.preference.arms import described, fixed, following
from mixwright.experiment.preference.checks import check_generalist, check_specialists
from mixwright.experiment.preference.config import config_text, dumped
from mixwright.experiment.preference.inputs import open_inputs
from mixwright.experiment.preference.summary import specialists_summary, training_summary
from mixwright.experiment.preference.train_config import PreferConfig, SpecialistsConfig
from mixwright.experiment.preference.work import Specialist, Weighting, Work, curve_of, save_model
from mixwright.experiment.text.source_files import named
from mixwright.files import fingerprint, write_json
from mixwright.preference.fitting import forget_checkpoints
from mixwright.preference.losses import PairLoss
from mixwright.report import write_preference

MAY_DIFFER = (("title",), ("training", "checkpoint_every"), ("specialists", "keep"))
_SPECIALISTS = "specialists"


def run_specialists(
    config: PreferConfig, folder: Path | str, progress: Progress = silent, command: str = "mixwright.run_specialists"
) -> dict[str, Any]:
    """
    Train a specialist for each source, or the rest of them, and keep what they make of the pairs.

    Stopped in whatever way and called again it goes on, source by source and within one, with the same numbers.

    Parameters
    ----------
    config
        From `load_prefer_config(PreferConfig, path)`; weights and strategy do not matter here.
    folder
        The run folder: a new one, an empty one, or one of the same configuration.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the run was made with.

    Returns
    -------
    dict
        `summary.json`; beside it are `cache/` and, where they are kept, `specialists/NAME/whole/model`.

    Raises
    ------
    InputError
        The configuration does not fit the data, the model or the folder, which holds another run.
    """
    config = (
        config if config.specialists is not None else config.model_copy(update={"specialists": SpecialistsConfig()})
    )
    assert config.specialists is not None
    if config.specialists.run is not None:
        raise InputError(f"{config.where('specialists', 'run')}: the specialists are trained here; remove the key run")
    bare = config.model_copy(update={"weights": None, "strategy": None})
    with _opened(
        bare, Path(folder), progress, "run of specialists", "mixwright prefer specialists", None, True
    ) as work:
        found = _specialists(work, config, progress)
        measured = {}
        if config.specialists.keep:
            measured = {name: _of_kept(work, own) for name, own in found.items()}
        summary = specialists_summary(config, command, work, found, measured)
        write_json(work.folder / "summary.json", summary)
        return summary


def run_prefer_train(
    config: PreferConfig, folder: Path | str, progress: Progress = silent, command: str = "mixwright.run_prefer_train"
) -> dict[str, Any]:
    """
    Train a generalist, with its specialists where it needs some, or the rest of that.

    Arguments as of `run_specialists`.

    Returns
    -------
    dict
        `summary.json`; beside it are `model/`, `metrics.jsonl`, `decisions.jsonl`, `evaluation.jsonl`, `report.html`.

    Raises
    ------
    InputError
        As from `run_specialists`, and if the strategy cannot be used; all that is said before anything is trained.
    """
    weighting = _weighting(config)
    wanted = _wants_specialists(config, weighting)
    with _opened(
        config, Path(folder), progress, "training on pairs", "mixwright prefer train", weighting, wanted
    ) as work:
        found = _specialists(work, config, progress) if wanted else None
        result = _generalist(work, config, weighting, found, progress)
        summary = training_summary(config, command, work, found, result, described(weighting), weighting.fixed)
        write_json(work.folder / "summary.json", summary)
        write_preference(summary, work.folder / "report.html", work.folder)
        progress("report", 1, 1)
        return summary


def _weighting(config: PreferConfig) -> Weighting:
    names = list(config.sources)
    if config.strategy is None:
        if config.weights is None:
            raise InputError(
                "the configuration should have weights (pooled, uniform, normalised, {source: weight}) or a strategy, "
                "found none; add one"
            )
        return fixed(config.weights, names)
    limits = config.constraints.constraints()
    with named(config.where("strategy")):
        weighting = following(config.strategy, names, prior=config.prior, constraints=None if limits.empty else limits)
    with named(config.where("constraints")):
        given = [config.prior[name] for name in names] if isinstance(config.prior, dict) else None
        limits.allowed(names, [1e300] * len(names), given)
    return weighting


def _wants_specialists(config: PreferConfig, weighting: Weighting) -> bool:
    return weighting.gated or config.specialists is not None


@contextmanager
def _opened(
    config: PreferConfig,
    folder: Path,
    progress: Progress,
    what: str,
    command: str,
    weighting: Weighting | None,
    specialists: bool,
) -> Iterator[Work]:
    """Yield what is prepared in the run folder, which is held; what does not fit is said before that is written to."""
    check_folder(folder)
    check_same(dumped(config), folder, what, ("training", "loss"), MAY_DIFFER)
    inputs = open_inputs(config, folder, progress)
    work = Work(inputs, folder, config.training, config.specialists, PairLoss(**config.loss.model_dump()))
    if specialists:
        check_specialists(config, work, config.seed)
    if weighting is not None:
        check_generalist(config, work, weighting)
    with open_run(folder, config_text(config, command)):
        inputs.keep()
        work.make_references(lambda share: progress("reference", round(1000 * share), 1000))
        yield work


def _specialists(work: Work, config: PreferConfig, progress: Progress) -> dict[str, Specialist]:
    """Return the specialists of all sources."""
    keep, found = config.specialists is not None and config.specialists.keep, {}
    for number, name in enumerate(work.names):
        report = _share(progress, "specialists", number, len(work.names), name)
        with named(config.where("specialists")):
            found[name] = work.specialist(name, config.seed, work.folder / _SPECIALISTS, keep, report)
    progress("specialists", 1000, 1000)
    return found


def _of_kept(work: Work, own: Specialist) -> dict[str, Any]:
    """Return what a specialist that is kept makes of all held-out pairs."""
    assert own.model is not None
    model = work.inputs.trained(own.model)
    found = {name: measured.to_json() for name, measured in work.measure(model, None).items()}
    work.inputs.release(model)
    return found


def _generalist(
    work: Work, config: PreferConfig, weighting: Weighting, found: Mapping[str, Specialist] | None, progress: Progress
) -> dict[str, Any]:
    """Train the generalist and measure it; the result is kept in `trained/`."""
    inputs = {
        "stage": "generalist",
        "specialists": None
        if found is None
        else fingerprint([[s.train.tolist(), s.test.tolist()] for s in found.values()]),
        "tokens": {n: [s.train.fingerprint, s.test.fingerprint] for n, s in work.inputs.sources.items()},
        "reference": work.inputs.model_fingerprint,
    }
    stage = Stage(work.folder / "trained", inputs)
    result = stage.result()
    if result is not None and (work.folder / "model").exists():
        return result
    stage.begin()
    settings = config.training.settings(work.steps, config.seed)
    with named(config.where("training")):
        trainer, model = work.train(
            weighting,
            settings,
            work.folder,
            found,
            watched=found,
            checkpoints=stage.folder,
            report=lambda share: progress("train", round(1000 * share), 1000),
        )
    progress("train", 1000, 1000)
    measured = {name: own.to_json() for name, own in work.measure(model, found).items()}
    result = {**work.result(trainer, settings), "measured": measured, "curve": curve_of(work.folder)}
    save_model(model, work.inputs.tokenizer, work.folder / "model")
    result = stage.finish(result)
    forget_checkpoints(stage.folder)
    return result


def _share(progress: Progress, stage: str, number: int, parts: int, note: str) -> Callable[[float], None]:
    return lambda share: progress(stage, min(round(1000 * (number + share) / parts), 999), 1000, note)
