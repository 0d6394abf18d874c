"""The pieces of a comparison on preference pairs that run in processes of their own: specialists, then arms."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.compare import AVERAGE_OF_SOURCES
from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.stages import Progress, Stage, silent
from mixwright.experiment.preference.arms import (
    Weighting,
    checked_share,
    described,
    fixed,
    followed,
    following,
    start_of,
)
from mixwright.experiment.preference.compare_config import ComparePreferenceConfig, PreferenceArmConfig
from mixwright.experiment.preference.inputs import open_inputs
from mixwright.experiment.preference.measures import HeldOutPairs, PairMeasures, Specialist
from mixwright.experiment.preference.specialists import SpecialistJob, Specialists
from mixwright.experiment.preference.work import PairWork, curve_of, ranks_for
from mixwright.files import atomic_write, fingerprint
from mixwright.files.opening import load_arrays
from mixwright.preference.fitting import forget_checkpoints
from mixwright.preference.losses import PairLoss
from mixwright.preference.merges import merge
from mixwright.preference.specialists import overfit_note
from mixwright.training.model import no_bars
from mixwright.training.ranks import ONE, Ranks

_HELD_OUT = "held_out.npz"
_OPEN: dict[Path, Specialists] = {}


def opened(
    config: ComparePreferenceConfig, folder: Path, progress: Progress = silent, ranks: Ranks = ONE
) -> Specialists:
    """Return the specialists of a comparison, with pairs and reference; read once in each process."""
    if folder not in _OPEN:
        _OPEN.clear()
        loss, settings = PairLoss(**config.loss.model_dump()), config.of_specialists
        inputs, training = open_inputs(config, folder, progress), config.training
        work = PairWork(inputs, folder, training, loss, settings.target, ranks_for(training, ranks))
        _OPEN[folder] = Specialists(work, settings)
    return _OPEN[folder]


def forget() -> None:
    """Forget what was read in this process: it may have been made again."""
    _OPEN.clear()


def weighting_of(config: ComparePreferenceConfig, arm: PreferenceArmConfig) -> Weighting | None:
    """Return how an arm mixes; None for one that trains no generalist."""
    names = list(config.sources)
    if not arm.trains:
        return None
    if arm.strategy is not None:
        return following(arm.strategy, names, prior=arm.prior, clip=arm.clip, train_on=arm.train_on)
    return fixed(arm.baseline or arm.weights or "uniform", names)


def needs_specialists(config: ComparePreferenceConfig, arm: PreferenceArmConfig) -> bool:
    """Whether there is no arm without specialists."""
    weighting = weighting_of(config, arm)
    return weighting is None or weighting.gated


def steps_of(config: ComparePreferenceConfig, folder: Path, arm: PreferenceArmConfig, cost: float) -> int:
    """Return the steps of an arm, after what its specialists cost where that is charged."""
    steps = opened(config, folder).work.steps
    if not (arm.trains and cost and config.charged(arm)):
        return steps
    return checked_share(steps, config.training.batch_size, cost, f"the arm {arm.title}")


def specialist_work(
    config: ComparePreferenceConfig, folder: Path, seed: int, name: str, report: Report, ranks: Ranks = ONE
) -> tuple[float, str | None]:
    """Train a specialist with a seed; return what it cost, in pairs, and a sentence if it learned them by heart."""
    maker = opened(config, folder, ranks=ranks)
    found = maker.get(SpecialistJob(name, seed, _of_seed(folder, seed), _kept(config), report))
    return found.pairs, overfit_note(name, found.train, found.test, maker.work.loss)


def _kept(config: ComparePreferenceConfig) -> bool:
    return config.keep_models or any(not arm.trains for arm in config.arms)


def _of_seed(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}" / "specialists"


def arm_work(
    config: ComparePreferenceConfig,
    folder: Path,
    seed: int,
    number: int,
    steps: int,
    over: bool,
    report: Report,
    ranks: Ranks = ONE,
) -> dict[str, Any]:
    """Train and measure an arm with a seed; return the fields of a `Cell` that do not depend on its name."""
    opened(config, folder, ranks=ranks)
    return _ArmWork(config, folder, seed, config.arms[number], steps).do(over, report)


PIECES = {"specialist": specialist_work, "arm": arm_work}


class _ArmWork:
    def __init__(
        self, config: ComparePreferenceConfig, folder: Path, seed: int, arm: PreferenceArmConfig, steps: int
    ) -> None:
        self._config, self._folder, self._seed, self._arm = config, folder, seed, arm
        self._maker = opened(config, folder)
        self._work = self._maker.work
        self._ranks = self._work.ranks
        self._weighting = weighting_of(config, arm)
        self._settings = config.training.settings(steps, seed)
        self._known: dict[str, Specialist] | None = None
        inputs = self._inputs()
        self._stage = Stage(folder / "trainings" / fingerprint(inputs), inputs)

    def _specialists(self) -> dict[str, Specialist]:
        if self._known is None:
            place, keep = _of_seed(self._folder, self._seed), not self._arm.trains
            jobs = {name: SpecialistJob(name, self._seed, place, keep) for name in self._config.sources}
            self._known = {name: self._maker.get(job) for name, job in jobs.items()}
        return self._known

    def do(self, over: bool, report: Report) -> dict[str, Any]:
        """Return the figures; `over`: with the excess over the specialists."""
        known = (self._stage.result(), _read(self._stage.folder / _HELD_OUT)) if self._ranks.main else (None, None)
        result, pairs = self._ranks.shared(known)
        if result is None or pairs is None:
            if self._ranks.main:
                self._stage.begin()
            result, pairs = self._made(report)
        report(1.0)
        measured = {
            name: PairMeasures.of(own, self._specialists()[name].test if over else None) for name, own in pairs.items()
        }
        values = {"preference accuracy": {name: own.accuracy for name, own in measured.items()}}
        if over:
            values["excess over the specialist"] = {name: _known(own.excess) for name, own in measured.items()}
        kept = {key: value for key, value in result.items() if key != "seconds"}
        losses = {name: own.loss for name, own in measured.items()}
        return {**kept, "values": {}, "source_loss": losses, "source_values": values}

    def _made(self, report: Report) -> tuple[dict[str, Any], dict[str, HeldOutPairs]]:
        if self._weighting is None:
            result, model = self._of_specialists(), None
            model = self._work.inputs.trained(self._model_folder())
        else:
            result, model = self._trained(self._weighting, report)
        pairs = self._work.held_out(model)
        self._work.inputs.release(model)
        if self._ranks.main:
            _write(self._stage.folder / _HELD_OUT, pairs)
            result = self._stage.finish(result)
            forget_checkpoints(self._stage.folder)
            if self._arm.specialist is None and not self._config.keep_models:
                shutil.rmtree(self._stage.folder / "model", ignore_errors=True)
        return result, pairs

    def _model_folder(self) -> Path:
        """Return the folder of the specialist, or of the merge, which is made."""
        models = {name: own.model for name, own in self._specialists().items()}
        if self._arm.specialist is not None:
            return _known(models[self._arm.specialist])
        folder = self._stage.folder / "model"
        if self._ranks.main:
            self._merge({name: _known(path) for name, path in models.items()}, folder)
        self._ranks.wait()
        return folder

    def _merge(self, models: Mapping[str, Path], folder: Path) -> None:
        with no_bars():
            merge(
                self._work.inputs.model,
                models,
                _known(self._arm.merge),
                folder,
                weights=self._arm.weights,
                density=self._arm.density,
                seed=self._seed,
            )

    def _of_specialists(self) -> dict[str, Any]:
        """Return the figures of an arm that is made of specialists, but for what is measured."""
        names, training = list(self._config.sources), self._config.training
        chosen = names if self._arm.specialist is None else [self._arm.specialist]
        given = self._arm.weights or dict.fromkeys(chosen, 1.0)
        whole = sum(abs(value) for value in given.values()) or 1.0
        pairs = {name: len(self._work.inputs.sources[name].train) for name in chosen}
        own = {name: self._config.of_specialists.total_steps(n, training.batch_size) for name, n in pairs.items()}
        epochs = {name: own[name] * training.batch_size / pairs[name] if name in own else 0.0 for name in names}
        steps = own[self._arm.specialist] if self._arm.specialist is not None else 0
        return {
            "weights": {name: abs(given.get(name, 0.0)) / whole for name in names},
            "curve": [],
            "steps": steps,
            "amount": steps * training.batch_size,
            "epochs": epochs,
            "start": None,
        }

    def _trained(self, weighting: Weighting, report: Report) -> tuple[dict[str, Any], Any]:
        folder, batch = self._stage.folder, self._settings.batch_size
        specialists = self._specialists() if weighting.gated else None
        with self._config.tracked(folder, self._folder, writes=self._ranks.main, seed=self._seed) as track:
            trainer, model = self._work.train(
                weighting,
                self._settings,
                folder,
                specialists,
                watched=None,
                report=lambda share: report(0.9 * share),
                track=track,
            )
        if self._config.keep_models and self._ranks.main:
            self._work.inputs.save(model, folder / "model")
        found = self._work.result(trainer, self._settings)
        sizes = {name: len(source.train) for name, source in self._work.inputs.sources.items()}
        start = None if weighting.fixed else start_of(weighting, self._work.names, sizes)
        curve = [
            {
                "step": point["step"],
                "amount": point["step"] * batch,
                "loss": {AVERAGE_OF_SOURCES: float(np.mean([own["loss"] for own in point["sources"].values()]))},
            }
            for point in curve_of(folder)
        ]
        return {
            "weights": found["weights"],
            "start": start,
            "curve": curve,
            "steps": found["steps"],
            "amount": found["pairs"],
            "epochs": {name: own["epochs"] for name, own in found["drawn"].items()},
        }, model

    def _inputs(self) -> dict[str, Any]:
        """Return all that the result depends on."""
        config, work, arm = self._config, self._work, self._arm
        settings = {k: v for k, v in vars(self._settings).items() if k != "checkpoint_seconds"}
        training = config.training.model_dump(include={"clip", "train_on", "observe_every", "lag", "max_epochs"})
        training |= config.training.model_dump(include={"evaluate_every", "evaluate_pairs"})
        inputs = {
            "stage": "arm",
            "content": {name: work.content(name) for name in work.names},
            "loss": work.loss.fingerprint,
            "adapter": work.inputs.adapter_described,
            "settings": settings,
            "threads": config.compute.threads,
        }
        if self._weighting is None:
            own = [arm.specialist, arm.merge, arm.density, arm.weights]
            return {**inputs, "made_of": own, "specialists": self._specialist_prints()}
        weights = [described(self._weighting), _plain(self._weighting.options)]
        specialists = [config.of_specialists.target, self._specialist_prints()] if self._weighting.gated else None
        return {
            **inputs,
            "weights": weights,
            "training": training,
            "specialists": specialists,
            **followed(self._weighting),
        }

    def _specialist_prints(self) -> dict[str, str]:
        return {name: fingerprint([own.train.tolist(), own.test.tolist()]) for name, own in self._specialists().items()}


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str | list) else repr(value) for name, value in options.items()}


def _known(value: Any) -> Any:
    assert value is not None
    return value


def _write(path: Path, pairs: Mapping[str, HeldOutPairs]) -> None:
    """Keep losses and margins of held-out pairs: the excess is over specialists that may come later."""
    arrays = {f"{name}/{i}": own[i] for name, own in pairs.items() for i in range(3)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    with atomic_write(path, "wb") as handle:
        handle.write(buffer.getbuffer())


def _read(path: Path) -> dict[str, HeldOutPairs] | None:
    try:
        file = load_arrays(path)
        names = [key[:-2] for key in file if key.endswith("/0")]
        return {name: HeldOutPairs(*(file[f"{name}/{i}"] for i in range(3))) for name in names}
    except Exception:  # a damaged archive fails in many ways; whatever it is, the numbers are made again
        return None
