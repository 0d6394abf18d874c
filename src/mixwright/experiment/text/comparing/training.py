"""The trainings of a comparison of texts: one for each arm, seed and mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixwright.compare import LOSS
from mixwright.experiment.core.arms import strategy_of
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.stages import Stage, inputs_of
from mixwright.experiment.text.compare_config import ArmConfig, CompareConfig
from mixwright.experiment.text.comparing.prepared import Prepared, of_seed, prepared, progress_of
from mixwright.experiment.text.evaluation import MEASURED_TOKENS, HeldOut
from mixwright.experiment.text.proxies.neural import model_inputs, named_rate, settings_for
from mixwright.experiment.text.proxies.online import reference_of
from mixwright.experiment.text.questions.harness import evaluated, named_by
from mixwright.experiment.text.reference import MadeReference, reference_measure
from mixwright.files import fingerprint
from mixwright.files.models import model_fingerprint
from mixwright.mixture import Mixture
from mixwright.strategies import Static
from mixwright.strategies.registry import check_named_before
from mixwright.strategy import check_revisions, recorded
from mixwright.training.language_model import TrainingResult, train
from mixwright.training.model import build_model
from mixwright.training.ranks import ONE, Ranks
from mixwright.training.settings import TrainingSettings, described
from mixwright.watching.row_weights import RowWeights, held_within, sampling_shares
from mixwright.watching.statistics import followed

_TRAINED = 0.9  # share of a training's work that is training; the rest is measuring


@dataclass(frozen=True)
class Training:
    """
    One training: seed, weights [k] or (None) the number of the arm whose strategy gives them, and steps.

    `sampling`: what rows are drawn by where the weights act on the loss, as `ArmConfig.drawn_by`.
    """

    seed: int
    weights: tuple[float, ...] | None
    strategy: int | None
    steps: int
    sampling: str | tuple[tuple[str, float], ...] | None = None

    def given(self) -> list[Any]:
        """Return it as JSON-able values, from which `of` makes it again."""
        return [self.seed, self.weights, self.strategy, self.steps, self.sampling]

    @classmethod
    def of(cls, given: Sequence[Any]) -> Training:
        """Return the training that was given as values."""
        seed, weights, strategy, steps, sampling = given
        if isinstance(sampling, list | tuple):
            sampling = tuple((str(name), float(share)) for name, share in sampling)
        return cls(seed, None if weights is None else tuple(weights), strategy, steps, sampling)

    @property
    def shares(self) -> Any:
        """Return `sampling` as a training takes it."""
        return dict(self.sampling) if isinstance(self.sampling, tuple) else self.sampling


def check_row_weights(config: CompareConfig, training: Training, rows: Mapping[str, int]) -> None:
    """Raise InputError if rows of a training are drawn by shares of their own, and one would count too often."""
    names = list(rows)
    arm = None if training.strategy is None else config.arms[training.strategy]
    strategy = strategy_of(arm, names, config.measured) if arm else Static(list(training.weights or ()))
    prior = arm.prior if arm else "uniform"
    if training.sampling is not None and strategy is not None:
        drawn = sampling_shares(training.shares, rows, strategy, prior)
        if drawn is not None:
            limits = held_within(None, rows, drawn) if arm else None
            RowWeights(Mixture(rows, strategy, prior=prior, constraints=limits), drawn, training.steps)


def check_begun(config: CompareConfig, folder: Path) -> None:
    """Raise InputError if trainings in a run folder followed another form of an arm's rule than this version has."""
    begun = [inputs_of(path.parent) for path in sorted(folder.glob("trainings/*/begin.json"))]
    arms = [repr(strategy_of(other, list(config.sources), config.measured)) for other in config.arms]
    for number, arm in enumerate(config.arms):
        if (strategy := strategy_of(arm, list(config.sources), config.measured)) is None:
            continue
        metric = config.observed(arm)["statistics_metric"]
        now = followed(strategy, metric)
        for inputs in begun:
            before = str((inputs.get("strategy") or [None])[0])
            if before not in arms:
                with named(config.where("arms", str(number))):
                    check_named_before(before, strategy, f"the arm {arm.title} in {folder}")
            if inputs.get("strategy") == [repr(strategy), arm.prior] and _metric(inputs) == metric:
                with named(config.where("arms", str(number))):
                    check_revisions(inputs.get("revisions", {}), now, f"the arm {arm.title} in {folder}")


def _metric(inputs: Mapping[str, Any]) -> str:
    return str(inputs.get("settings", {}).get("statistics_metric", "plain"))


def training_work(
    config: CompareConfig, folder: Path, given: Sequence[Any], report: Report, ranks: Ranks = ONE
) -> dict[str, Any]:
    """
    Train as `Training.given` says and measure; return the fields of a `Cell` that do not depend on the arm.

    Every rank calls this; the first one measures, and the others return nothing.
    """
    opened, training = prepared(config, folder), Training.of(given)
    return _TrainingWork(config.with_seed(training.seed), folder, training, opened, ranks).do(report)


class _TrainingWork:
    def __init__(self, config: CompareConfig, folder: Path, training: Training, opened: Prepared, ranks: Ranks) -> None:
        self._config, self._training, self._opened, self._ranks = config, training, opened, ranks
        arm = None if training.strategy is None else config.arms[training.strategy]
        self._names = [source.name for source in opened.sources]
        self._arm = arm
        self._strategy = strategy_of(arm, self._names, config.measured) if arm else None
        self._held = HeldOut(
            opened.targets, opened.sources, opened.tokenizer, config.final.context, config.final.batch_size
        )
        self._settings = training_settings(config, training.steps, arm)
        self._chosen = config.reference_of(arm) if arm else None
        self._folder, self._place = folder, of_seed(folder, training.seed)
        inputs = self._inputs()
        self._stage = Stage(folder / "trainings" / fingerprint(inputs), inputs)

    def do(self, report: Report) -> dict[str, Any]:
        """Train, measure, and return the figures."""
        result, trained = self._trained(report)
        if not self._ranks.main:
            return {}
        if trained is not None:
            result = self._stage.finish(self._measured(trained))
        assert result is not None
        if trained is None and self._held.lacks(result.get("questions", {})):
            model = self._model(self._stage.folder / "model")  # trained by a former version
            result = self._stage.finish({**result, "questions": self._held.answers(model)})
        result = self._with_tasks(result)
        report(1.0)
        return {key: value for key, value in result.items() if key != "seconds"}

    def _trained(self, report: Report) -> tuple[dict[str, Any] | None, TrainingResult | None]:
        """Return the figures if they are there, or else the training, which every rank does."""
        main = self._ranks.main
        result = self._ranks.shared(self._stage.result() if main else None)
        if result is not None:
            return result, None
        if main:
            self._stage.begin()
            self._reference()  # made before it is read on every rank
        self._ranks.wait()
        return None, self._train(report)

    def _with_tasks(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result with what another evaluator measures, if one is asked for; what was measured is kept."""
        asked, config = self._config.evaluate, self._config
        known = result.get("tasks", {"asked": None, "found": []})
        if asked is None:
            return {**result, "tasks": []}
        if known["asked"] != (key := named_by(asked)):
            model, final = self._model(self._stage.folder / "model"), config.final
            tokenizer, where = self._opened.tokenizer, config.where("evaluate")
            found, notes = evaluated(asked, where, model, tokenizer, final.context, final.batch_size)
            known = {"asked": key, "found": found, "notes": notes}
            result = self._stage.finish({**result, "tasks": known})
        return {**result, "tasks": known["found"], "notes": [*result["notes"], *known["notes"]]}

    def _inputs(self) -> dict[str, Any]:
        weights = self._training.weights or (None,) * len(self._names)
        strategy = [repr(self._strategy), self._arm.prior] if self._arm else None
        return {
            "stage": "training",
            "model": model_inputs(self._config.model.spec()),
            "settings": described(self._settings),
            "sources": [
                [source.name, source.train.fingerprint, weight]
                for source, weight in zip(self._opened.sources, weights, strict=True)
                if weight != 0
            ],
            "strategy": strategy,
            **({} if self._training.sampling is None else {"sampling": self._training.sampling}),
            **self._reference_inputs(),
            **recorded(followed(self._strategy, self._settings.statistics_metric) if self._strategy else {}),
            "tokenizer": self._opened.tokenizer.fingerprint,
            "held_out": self._held.fingerprints,
            "source_tokens": MEASURED_TOKENS,
            "threads": self._config.compute.threads,
        }

    def _reference_inputs(self) -> dict[str, Any]:
        """Return what names the reference, if there is one."""
        if self._chosen is None or self._arm is None:
            return {}
        if self._chosen.path is not None:
            return {"reference": [model_fingerprint(self._chosen.path), self._chosen.clip]}
        settings = settings_for(self._config, self._chosen.tokens or self._config.proxy.tokens, proxy=True)
        model = model_inputs(self._config.proxy_model().spec())
        return {"reference": [model, described(settings), self._arm.prior, self._chosen.clip]}

    def _train(self, report: Report) -> TrainingResult:
        stores = {source.name: source.train for source in self._opened.sources}
        weights: Any = self._strategy if self._training.weights is None else list(self._training.weights)
        if self._training.sampling is not None and self._strategy is None:
            weights = Static(weights)  # only what a strategy gives can act on the loss
        measures: dict[str, Any] = self._held.strategy_measures(self._strategy)
        made = self._reference()
        if made is not None:
            measures["reference_loss"] = reference_measure(made.reference, self._held, self._config.final.context)
        excess = made is not None and self._strategy is not None and "excess_loss" in self._strategy.needs
        tracked = self._config.tracked(self._stage.folder, self._folder, writes=self._ranks.main)
        with named_rate(self._config, "a training of the comparison"), tracked as track:
            return train(
                self._config.model.spec(),
                stores,
                weights,
                self._settings,
                self._stage.folder,
                self._opened.tokenizer,
                progress_of(lambda share: report(_TRAINED * share)),
                self._held.watch,
                prior=self._arm.prior if self._arm else "uniform",
                measures=measures,
                reference=made.reference if made is not None and excess else None,
                sampling=self._training.shares,
                ranks=self._ranks,
                track=track,
            )

    def _reference(self) -> MadeReference | None:
        """Return the reference of the arm, which is made if it is not there; None if it has none."""
        if self._arm is None:
            return None
        return reference_of(self._config, self._place, self._opened.tokenizer, self._opened.sources, self._arm)

    def _model(self, folder: Path) -> Any:
        path = {"path": str(folder)}
        return build_model(path, self._opened.tokenizer, self._config.final.context, self._config.seed)

    def _measured(self, trained: TrainingResult) -> dict[str, Any]:
        context = self._config.final.context
        model = self._model(trained.model_folder)
        nats, tokens = self._held.documents(model)
        ledger = {line["source"]: line for line in trained.ledger["sources"]}
        start = None
        if self._arm is not None:
            rows = {s.name: float(s.train.rows(context)) for s in self._opened.sources}
            whole = sum(rows.values())
            start = {n: rows[n] / whole if self._arm.prior == "natural" else 1 / len(rows) for n in rows}
        return {
            "weights": {name: trained.weights.get(name, 0.0) for name in self._names},
            "start": start,
            **({"sampling": trained.sampling} if trained.sampling else {}),
            "values": {LOSS.name: {name: float(nats[name].sum() / tokens[name].sum()) for name in nats}},
            "documents": {name: [nats[name].tolist(), tokens[name].tolist()] for name in nats},
            "questions": self._held.answers(model),
            "source_loss": self._held.measured_source_losses(model),
            "curve": self._held.curve(trained.curve),
            "steps": trained.steps,
            "tokens": trained.tokens,
            "epochs": {name: ledger[name]["epochs"] if name in ledger else 0.0 for name in self._names},
            "notes": [*trained.notes, *(self._held.unreported(self._strategy) if self._strategy else [])],
        }


def training_settings(config: CompareConfig, steps: int, arm: ArmConfig | None = None) -> TrainingSettings:
    """Return the settings of a training; points of curves are at the same steps in all arms."""
    base, final = settings_for(config, config.final.tokens), config.final
    return replace(
        base,
        steps=steps,
        warmup=round(final.warmup * steps),
        max_epochs=final.max_epochs,
        lag=final.lag,
        statistics_steps=final.statistics_steps,
        **config.observed(arm),
    )
