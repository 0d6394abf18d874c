"""Specialists, and a generalist, on preference pairs from beginning to end."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Report, Work
from mixwright.experiment.core.stages import Progress, Stage, silent
from mixwright.experiment.engines.cluster import on_cluster
from mixwright.experiment.engines.engine import do_ahead
from mixwright.experiment.engines.pieces import spread_of
from mixwright.experiment.preference.arms import Weighting, described, fixed, followed, following
from mixwright.experiment.preference.checks import check_generalist, check_specialists
from mixwright.experiment.preference.inputs import open_inputs
from mixwright.experiment.preference.measures import Specialist
from mixwright.experiment.preference.specialists import SpecialistJob, Specialists
from mixwright.experiment.preference.summary import settings_of, specialists_summary, training_summary
from mixwright.experiment.preference.train_config import PreferConfig, SpecialistsConfig, SpecialistsRunConfig
from mixwright.experiment.preference.work import PairWork, curve_of, ranks_for
from mixwright.experiment.run import Run
from mixwright.files import fingerprint
from mixwright.files.models import holds_model
from mixwright.preference.fitting import forget_checkpoints
from mixwright.preference.losses import PairLoss
from mixwright.steering.control import orders_of
from mixwright.steering.words import steering_notes
from mixwright.training.ranks import ONE, Ranks, started_ranks


class _OnPairs(Run[PreferConfig]):
    """What specialists and generalists begin with: pairs, their reference, and how specialists are made."""

    settings: SpecialistsConfig
    ranks: Ranks = ONE

    @contextmanager
    def processes(self) -> Iterator[Ranks]:
        """Join the ranks that torchrun started."""
        with started_ranks() as ranks:
            self.ranks = ranks_for(self.config.training, ranks)
            yield self.ranks

    def _open(self, progress: Progress) -> None:
        """Read the pairs; nothing is written."""
        config = self.config
        with named(config.where("training", "batch_size")):
            config.training.settings(1, config.seed).check(self.ranks.size)
        inputs = open_inputs(config, self.folder, progress)
        loss = PairLoss(**config.loss.model_dump())
        self.pairs = PairWork(inputs, self.folder, config.training, loss, self.settings.target, self.ranks)
        self.specialists = Specialists(self.pairs, self.settings)

    def _join(self, progress: Progress) -> None:
        """Open on further ranks what the first one has opened, and score all pairs under the reference."""
        if not self.ranks.main:
            self._begin(silent)
        self.pairs.make_references(lambda share: progress("reference", round(1000 * share), 1000))

    @abstractmethod
    def _begin(self, progress: Progress) -> None:
        """Take the settings, and open the pairs."""

    def prepare(self, progress: Progress) -> None:
        """Keep the tokens, which all ranks open."""
        self.pairs.inputs.keep()

    def _trained(self, progress: Progress) -> dict[str, Specialist]:
        """Return the specialists of all sources."""
        names, seed, place, found = self.pairs.names, self.config.seed, self.folder / "specialists", {}
        for number, name in enumerate(names):
            report = _share(progress, "specialists", number, len(names), name)
            with named(self.config.where("specialists")):
                found[name] = self.specialists.get(SpecialistJob(name, seed, place, self.settings.keep, report))
        progress("specialists", 1000, 1000)
        return found

    def _planned(self) -> str:
        if self.settings.run:
            return ""
        cost = sum(self.specialists.cost_of(name, self.config.seed) for name in self.pairs.names)
        return f"specialists for {cost:,.0f} pairs (a pair that is only scored counts a third)"


class SpecialistsRun(_OnPairs):
    """A specialist for each source; it leaves `cache/` and, where they are kept, `specialists/NAME/whole/model`."""

    config: SpecialistsRunConfig

    @property
    def title(self) -> str:
        """Return the heading where the configuration gives none."""
        return f"Specialists of {', '.join(self.config.sources)}"

    def _begin(self, progress: Progress) -> None:
        self.settings = self.config.settings
        self._open(progress)

    def check(self, progress: Progress) -> None:
        """Read the pairs, and check that each source can have a specialist."""
        self._begin(progress)
        check_specialists(self.config, self.specialists, self.config.seed)

    def plan(self) -> str:
        """Return how many pairs the specialists cost."""
        return self._planned()

    def work(self, progress: Progress) -> dict[str, Any]:
        """Train the specialists, or the rest of them, and return the summary without its head, on the first rank."""
        self._join(progress)
        if self.ranks.main and (on_cluster(self.config) or spread_of(self.config) > 1):
            names = self.pairs.names
            works = [
                Work(f"the specialist {name}", specialist_piece, (self.config, self.folder, name)) for name in names
            ]
            do_ahead(works, progress, "specialists")
        found = self._trained(progress)
        measured = {name: self._of_kept(own) for name, own in found.items()} if self.settings.keep else {}
        if not self.ranks.main:
            return {}
        return {
            **settings_of(self.config, self.pairs, self.settings),
            **specialists_summary(self.pairs, found, measured),
        }

    def _of_kept(self, own: Specialist) -> dict[str, Any]:
        """Return what held-out pairs of every source are like under a specialist that is kept."""
        assert own.model is not None
        inputs = self.pairs.inputs
        model = inputs.trained(own.model)
        found = {name: measured.to_json() for name, measured in self.pairs.measure(model, None).items()}
        inputs.release(model)
        return found


def specialist_piece(config: SpecialistsRunConfig, folder: Path, name: str, report: Report, ranks: Ranks = ONE) -> None:
    """Train the specialist of a source, or the rest of it; every rank calls this."""
    run = SpecialistsRun(config, folder)
    run.settings, run.ranks = config.settings, ranks_for(config.training, ranks)
    run._open(silent)
    run.specialists.get(SpecialistJob(name, config.seed, folder / "specialists", run.settings.keep, report))


PIECES = {"specialist": specialist_piece}


class PreferenceTrainingRun(_OnPairs):
    """
    A generalist, with its specialists where it needs some.

    It leaves `model/`, `metrics.jsonl`, `decisions.jsonl` and `evaluation.jsonl`.
    """

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"A model of {', '.join(self.config.sources)}"

    def _begin(self, progress: Progress) -> None:
        self.weighting = _weighting(self.config)
        self.settings = self.config.specialists or SpecialistsConfig()
        self._open(progress)

    def check(self, progress: Progress) -> None:
        """Check the weights or the strategy, read the pairs, and check what will be trained on them."""
        self._begin(progress)
        if self._with_specialists:
            check_specialists(self.config, self.specialists, self.config.seed)
        check_generalist(self.config, self.pairs, self.weighting)

    @property
    def _with_specialists(self) -> bool:
        return self.weighting.gated or self.config.specialists is not None

    def plan(self) -> str:
        """Return how many pairs specialists and generalist are trained on."""
        pairs = self.pairs.steps * self.config.training.batch_size
        first = self._planned() if self._with_specialists else ""
        return f"{first}{'; ' if first else ''}{self.pairs.steps:,} steps, {pairs:,} pairs to train"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Train specialists and generalist, or the rest; return the summary without its head, on the first rank."""
        self._join(progress)
        found = self._trained(progress) if self._with_specialists else None
        result = self._generalist(found, progress)
        if not self.ranks.main:
            return {}
        record, summary = orders_of(self.folder), training_summary(self.pairs, found, result)
        return {
            **settings_of(self.config, self.pairs, self.config.specialists),
            "strategy": described(self.weighting),
            "fixed": self.weighting.fixed,
            **summary,
            **({"steering": record} if record else {}),
            "notes": [*steering_notes(record), *summary["notes"]],
        }

    def _generalist(self, found: Mapping[str, Specialist] | None, progress: Progress) -> dict[str, Any]:
        """Train the generalist and measure it; the result is kept in `trained/`."""
        stage, main = Stage(self.folder / "trained", self._made_from(found)), self.ranks.main
        result = self.ranks.shared(stage.result() if main and holds_model(self.folder / "model") else None)
        if result is not None:
            return dict(result)
        if main:
            stage.begin()
        settings = self.config.training.settings(self.pairs.steps, self.config.seed)
        with named(self.config.where("training")):
            trainer, model = self.pairs.train(
                self.weighting,
                settings,
                self.folder,
                found,
                watched=found,
                checkpoints=stage.folder,
                control=self.folder,
                report=lambda share: progress("train", round(1000 * share), 1000),
                track=self.track,
            )
        progress("train", 1000, 1000)
        measured = {name: own.to_json() for name, own in self.pairs.measure(model, found).items()}
        result = {**self.pairs.result(trainer, settings), "measured": measured, "curve": curve_of(self.folder)}
        if not main:
            return result
        self.pairs.inputs.save(model, self.folder / "model")
        result = stage.finish(result)
        forget_checkpoints(stage.folder)
        return result

    def _made_from(self, found: Mapping[str, Specialist] | None) -> dict[str, Any]:
        losses = None if found is None else [[own.train.tolist(), own.test.tolist()] for own in found.values()]
        inputs = self.pairs.inputs
        return {
            "stage": "generalist",
            "specialists": None if losses is None else fingerprint(losses),
            "tokens": {n: [s.train.fingerprint, s.test.fingerprint] for n, s in inputs.sources.items()},
            "reference": inputs.model_fingerprint,
            **followed(self.weighting),
        }


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
        config.constraints.check(names, config.prior)
    return weighting


def _share(progress: Progress, stage: str, number: int, parts: int, note: str) -> Report:
    return lambda share: progress(stage, min(round(1000 * (number + share) / parts), 999), 1000, note)
