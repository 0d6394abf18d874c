"""A training from beginning to end: check, make tokens, train, measure, then summary and page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.experiment.core.arms import fixed_weights, strategy_of
from mixwright.experiment.core.same_folder import check_same
from mixwright.experiment.core.stages import Progress, check_folder, open_run, silent
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import (
    Source,
    Target,
    check_model,
    check_texts,
    make_tokenizer,
    open_sources,
    overlaps,
    read_target,
    repeated,
    tokenize_sources,
)
from mixwright.experiment.text.source_files import check_sources, named, remember_checked
from mixwright.experiment.text.train_config import TrainConfig, dumped, train_text
from mixwright.experiment.text.train_summary import make_training_summary
from mixwright.files import fingerprint, write_json
from mixwright.report import write_training
from mixwright.strategies import Static
from mixwright.strategy import Strategy
from mixwright.text import Tokenizer, load_tokenizer
from mixwright.training.language_model import DivergedError, TrainingResult, train
from mixwright.training.model import build_model
from mixwright.training.ranks import Ranks, started_ranks

_MAY_DIFFER = (("title",), ("training", "checkpoint_every"), ("training", "parallel"))


def run_train(
    config: TrainConfig, folder: Path | str, progress: Progress = silent, command: str = "mixwright.run_train"
) -> dict[str, Any]:
    """
    Do a training, or the rest of one, and return its summary.

    Stopped in whatever way and called again it goes on, and on a CPU ends with the same model bit by bit. Under
    torchrun every rank calls it.

    Parameters
    ----------
    config
        From `load_train_config` or `make_train_config`.
    folder
        The run folder: a new one, an empty one, or one of the same training.
    progress
        Called as `progress(stage, done, total, note)`, on rank 0 alone.
    command
        What the summary says the training was made with.

    Returns
    -------
    dict
        `summary.json`; beside it are `metrics.jsonl` (a line per step), `decisions.jsonl`, `model/` and `report.html`.

    Raises
    ------
    InputError
        The configuration does not fit the data, the model or the folder, which holds another training, or the loss
        stopped being finite.
    """
    folder = Path(folder)
    names = list(config.sources)
    with named(config.where("strategy" if config.strategy is not None else "weights")):
        strategy_of(config.arm, names, _measured(bool(config.targets)))
        fixed_weights(config.arm, names, [1.0] * len(names))
    prior = config.prior
    if isinstance(prior, dict) and (set(prior) != set(names) or abs(sum(prior.values()) - 1) > 1e-6):
        where = config.where("prior")
        raise InputError(f"{where}: should give each source a weight, with the sum 1, found {prior}; complete it")
    with named(config.where("constraints")):
        plenty = [1e300] * len(names)  # epochs are checked once the rows are counted
        given = [prior[name] for name in names] if isinstance(prior, dict) else None
        config.constraints.constraints(1.0).allowed(names, plenty, given)
    with named(config.where("training")):
        config.training.settings(config.seed)
    check_model(config, config.model, config.training.context, "model")
    with started_ranks(config.training.parallel) as ranks, _prepared(config, folder, progress, ranks) as work:
        return work.do(progress, command)


@contextmanager
def _prepared(config: TrainConfig, folder: Path, progress: Progress, ranks: Ranks) -> Iterator[_Work]:
    """Yield what is prepared on rank 0, which holds the run folder; an error there is one on all ranks."""
    if not ranks.main:
        if problem := ranks.shared(None):
            raise InputError(problem)
        yield _Work.opened(config, folder, ranks)
        return
    told = False
    try:
        check_folder(folder)
        check_same(dumped(config), folder, may_differ=_MAY_DIFFER)
        check_texts(config)
        targets = _targets(config)
        prints = check_sources(config, folder, progress)
        with open_run(folder, train_text(config)):
            remember_checked(folder, prints)
            tokenizer = make_tokenizer(config, folder, prints, progress)
            sources = tokenize_sources(config, folder, tokenizer, prints, progress)
            told = True
            ranks.shared(None)
            yield _Work(config, folder, ranks, tokenizer, sources, targets)
    except InputError as error:
        if not told:
            ranks.shared(str(error))
        raise


def _targets(config: TrainConfig) -> list[Target]:
    return [read_target(name, target, config.where("targets", name)) for name, target in config.targets.items()]


class _Work:
    """One training at work."""

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        ranks: Ranks,
        tokenizer: Tokenizer,
        sources: list[Source],
        targets: list[Target],
    ) -> None:
        self.config, self.folder, self.ranks, self.tokenizer = config, folder, ranks, tokenizer
        self.sources, self.targets, self.names = sources, targets, [s.name for s in sources]
        self.held = HeldOut(targets, sources, tokenizer, config.training.context, config.training.batch_size)
        self.settings = config.training.settings(config.seed)

    @classmethod
    def opened(cls, config: TrainConfig, folder: Path, ranks: Ranks) -> _Work:
        """Return what rank 0 prepared."""
        sources = open_sources(list(config.sources), folder)
        return cls(config, folder, ranks, load_tokenizer(folder / "tokenizer"), sources, _targets(config))

    def do(self, progress: Progress, command: str) -> dict[str, Any]:
        """Train and measure; on rank 0 write the summary and the page."""
        trained = self._train(progress)
        if not self.ranks.main:
            return {}
        model = build_model(
            {"path": str(trained.model_folder)}, self.tokenizer, self.settings.context, self.settings.seed
        )
        nats, tokens = self.held.documents(model)
        losses = {name: float(nats[name].sum() / tokens[name].sum()) for name in nats}
        measured = {"target_loss": losses, "accuracy": self.held.accuracy(model)}
        notes = repeated(self.sources) + overlaps(self.targets, self.sources) + self.held.untold(self._strategy)
        if missing := [source.name for source in self.sources if source.held_out is None]:
            notes.append(
                f"no document of {', '.join(missing)} fell to the held-out part: losses there are not measured"
            )
        how = {"strategy": repr(self._strategy), "fixed": self.config.weights is not None, "prior": self._prior}
        summary = make_training_summary(self.config, command, self.sources, trained, measured, how)
        summary["notes"] += notes
        write_json(self.folder / "summary.json", summary)
        write_training(summary, self.folder / "report.html", self.folder)
        progress("report", 1, 1)
        return summary

    def _train(self, progress: Progress) -> TrainingResult:
        stores = {source.name: source.train for source in self.sources}
        try:
            return train(
                self.config.model.spec(),
                stores,
                self._strategy,
                self.settings,
                self.folder,
                self.tokenizer,
                progress,
                _Watch(self.held),
                prior=self._prior,
                measures=self._measures,
                constraints=self._constraints,
                ranks=self.ranks,
                anew=False,
            )
        except DivergedError as error:
            where = self.config.where("training", "learning_rate")
            raise InputError(f"{where}: {error} (now {self.settings.learning_rate:g})") from error

    @property
    def _strategy(self) -> Strategy[Any]:
        found = strategy_of(self.config.arm, self.names, _measured(bool(self.targets)))
        if found is not None:
            return found
        sizes = [source.train.tokens for source in self.sources]
        return Static(fixed_weights(self.config.arm, self.names, sizes))

    @property
    def _prior(self) -> Any:
        prior = self.config.prior
        return [prior[name] for name in self.names] if isinstance(prior, dict) else prior

    @property
    def _constraints(self) -> Constraints | None:
        limits = self.config.constraints.constraints(float(self.settings.steps * self.settings.batch_size))
        return None if limits.empty else limits

    @property
    def _measures(self) -> dict[str, Any]:
        measures: dict[str, Any] = {"eval_loss": self.held.told_source_losses}
        if self.targets:
            measures["target_loss"] = self.held.told_target_losses
        return measures


class _Watch:
    """The held-out losses of sources and targets, as points of the curve."""

    def __init__(self, held: HeldOut) -> None:
        self._held, self.fingerprint = held, fingerprint(held.fingerprints)

    def __call__(self, model: Any) -> Mapping[str, float]:
        sources, targets = self._held.source_losses(model), self._held.target_losses(model)
        return {**{f"source {n}": v for n, v in sources.items()}, **{f"target {n}": v for n, v in targets.items()}}


def _measured(targets: bool) -> frozenset[str]:
    """Return what a training measures for its strategy: held-out losses of the sources, and of targets if any."""
    return frozenset({"eval_loss", "target_loss"}) if targets else frozenset({"eval_loss"})
