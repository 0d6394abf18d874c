"""The specialists of a run on preference pairs: trained, taken out of the cache, or those of another run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.experiment.core.parallel import Report, part_of
from mixwright.experiment.core.stages import Stage, folder_name
from mixwright.experiment.preference.measures import Specialist
from mixwright.experiment.preference.train_config import SpecialistsConfig
from mixwright.experiment.preference.work import PairWork
from mixwright.files.models import holds_model
from mixwright.preference.fitting import forget_checkpoints
from mixwright.preference.pairs.rows import PairRows
from mixwright.preference.specialists import LOSSES, SpecialistCache, fold_of_pairs, train_specialist
from mixwright.training.model import no_bars

Array = NDArray[np.float32]
Rows = NDArray[np.int64]
_FORWARD = 1 / 3  # the cost of scoring a pair, in pairs trained on: a forward pass without the backward one


def nothing(share: float) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class SpecialistJob:
    """
    A specialist that is wanted.

    Attributes
    ----------
    name, seed
        Its source, and the seed of its training.
    place
        Folder of the trainings; the model is in `place/NAME/whole/model` where `keep` is true.
    keep
        Whether its model is wanted besides its losses.
    report
        Called with the share that is done.
    """

    name: str
    seed: int
    place: Path
    keep: bool = False
    report: Report = nothing

    def folder(self, part: str) -> Path:
        """Return the folder of a part of its work: "whole", or "fold_0", ..."""
        return self.place / folder_name(self.name) / part

    @property
    def model(self) -> Path:
        """Return the folder of its model."""
        return self.folder("whole") / "model"


@dataclass(frozen=True)
class _Part:
    """One training of a job: its label and place, the pairs that it sees, and those that it scores."""

    label: str | int
    place: str
    seen: Rows
    scored: Rows


@dataclass
class Specialists:
    """
    The specialists of a run.

    Parameters
    ----------
    work
        Pairs, reference and training.
    settings
        How specialists are trained, or from which run they are taken.
    """

    work: PairWork
    settings: SpecialistsConfig = field(default_factory=SpecialistsConfig)

    def get(self, job: SpecialistJob) -> Specialist:
        """Return a specialist: trained, or the rest of it, or out of the cache."""
        if self.settings.run is not None:
            return self._of_run(job.name, self.settings.run)
        made_of = self._made_of(job)
        found = self.work.cached(LOSSES, made_of, lambda: not job.keep or holds_model(job.model))
        if found is None:
            found = self._made(job, made_of)
        job.report(1.0)
        return Specialist(found["train"], found["test"], float(found["cost"][0]), job.model if job.keep else None)

    def _of_run(self, name: str, run: Path) -> Specialist:
        """Return a specialist of another run; InputError if reference, tokeniser, loss or pairs differ."""
        content = self.work.content(name)
        wanted = {key: content[key] for key in ("reference", "tokeniser", "rows")} | {
            "loss": self.work.loss.fingerprint
        }
        found = SpecialistCache(run / "cache").need(LOSSES, name, wanted)
        model = SpecialistJob(name, 0, run / "specialists").model
        return Specialist(found["train"], found["test"], float(found["cost"][0]), model if holds_model(model) else None)

    def _made_of(self, job: SpecialistJob) -> dict[str, Any]:
        """Return all that the losses of a specialist depend on."""
        how = self._how(len(self.work.inputs.sources[job.name].train), job.seed)
        return {
            **self.work.content(job.name),
            "loss": self.work.loss.fingerprint,
            "folds": self.settings.folds,
            "settings": {k: v for k, v in vars(how).items() if k not in ("checkpoint_seconds", "precision")},
            "adapter": self.work.inputs.adapter_described,
        }

    def _how(self, pairs: int, seed: int) -> Any:
        return self.work.training.settings(self._steps(pairs), seed, self.settings.learning_rate)

    def _steps(self, pairs: int) -> int:
        return self.settings.total_steps(pairs, self.work.training.batch_size)

    def cost_of(self, name: str, seed: int) -> float:
        """Return what a source's specialist will cost, as `Specialist.pairs` says it afterwards."""
        source = self.work.inputs.sources[name]
        n = len(source.train)
        scored = np.array([n])
        if self.settings.folds > 1:
            scored = np.bincount(fold_of_pairs(source.train, self.settings.folds, seed))
        return sum(self._cost(n - m * (len(scored) > 1), m, len(source.test)) for m in scored.tolist())

    def _cost(self, seen: int, scored: int, held_out: int) -> float:
        """Return what one costs that is trained on some pairs and scores others, in pairs trained on."""
        return self._steps(seen) * self.work.training.batch_size + _FORWARD * (scored + held_out)

    def _made(self, job: SpecialistJob, made_of: Mapping[str, Any]) -> dict[str, Array]:
        """Train what is not trained yet, and keep the losses: of each pair by a specialist that did not see it."""
        source, crossed = self.work.inputs.sources[job.name], self.settings.folds > 1
        parts = list(self._parts(job))
        train, test, cost = np.full(len(source.train), np.nan, np.float32), [], 0.0
        for number, part in enumerate(parts):
            found = self._trained(job, made_of, part, part_of(job.report, number, len(parts)))
            if crossed and part.label == "whole":
                continue  # its model alone is wanted
            cost += float(found["cost"][0])
            train[part.scored] = found["train"]
            test.append(found["test"])
        losses = np.mean(test, 0, dtype=np.float64)
        return self.work.keep(LOSSES, job.name, made_of, train=train, test=losses, cost=[cost])

    def _parts(self, job: SpecialistJob) -> Iterator[_Part]:
        """Yield the trainings of a job: one on all pairs, or one for each fold, and the whole one if it is kept."""
        pairs = self.work.inputs.sources[job.name].train
        every = np.arange(len(pairs))
        if self.settings.folds == 1 or job.keep:
            yield _Part("whole", "whole", every, every)
        if self.settings.folds > 1:
            fold = fold_of_pairs(pairs, self.settings.folds, job.seed)
            for i in range(self.settings.folds):
                yield _Part(i, f"fold_{i}", np.flatnonzero(fold != i), np.flatnonzero(fold == i))

    def _trained(self, job: SpecialistJob, made_of: Mapping[str, Any], part: _Part, report: Report) -> dict[str, Array]:
        """Do one training of a job, or the rest of it; return the losses of the pairs that it scores."""
        own = {**made_of, "part": part.label}
        stage = Stage(job.folder(part.place), {"stage": "specialist", **own})
        keep = job.keep and part.label == "whole"
        found, main = self.work.cached("part", own, lambda: not keep or holds_model(job.model)), self.work.ranks.main
        if found is None:
            if main:
                stage.begin()
            model = self._model(job, part, stage.folder, report)
            values = self._scores(job.name, part, model)
            if keep and main:
                self.work.inputs.save(model, job.model)
            found = self.work.keep("part", job.name, own, **values)
            self.work.inputs.release(model)
            if main:
                stage.finish({"steps": self._steps(len(part.seen))})
        if main:
            forget_checkpoints(stage.folder)
        self.work.ranks.wait()
        return found

    def _model(self, job: SpecialistJob, part: _Part, folder: Path, report: Report) -> Any:
        work, (reference, _) = self.work, self.work.reference(job.name)
        seen = work.inputs.sources[job.name].train.select(part.seen)
        rows = PairRows(seen, None if reference is None else reference[part.seen])
        progress: Callable[[int, int], None] = lambda done, total: report(0.9 * done / total)  # noqa: E731
        how, model = self._how(len(part.seen), job.seed), work.inputs.policy(job.seed)
        with no_bars():
            model = train_specialist(
                model, job.name, rows, how, folder, work.loss, progress, work.inputs.pad, work.ranks
            )
        return work.whole(model, job.seed)

    def _scores(self, name: str, part: _Part, model: Any) -> dict[str, Any]:
        """Return the losses of the pairs that a part scores, and of those held out; and what it cost."""
        source, (reference, held) = self.work.inputs.sources[name], self.work.reference(name)
        own = None if reference is None else reference[part.scored]
        return {
            "train": self.work.scores(model, source.train.select(part.scored), own).loss,
            "test": self.work.scores(model, source.test, held).loss,
            "cost": [self._cost(len(part.seen), len(part.scored), len(source.test))],
        }
