"""A training on texts: check, make tokens, train, measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from mixwright.compare.questions import ACCURACY
from mixwright.constraints.limits import Constraints
from mixwright.errors import InputError
from mixwright.experiment.core.arms import fixed_weights, strategy_of
from mixwright.experiment.core.config_parts import by_source
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.repeats import repeats
from mixwright.experiment.core.stages import PLAN, Progress
from mixwright.experiment.run import Run
from mixwright.experiment.text.evaluation import HeldOut
from mixwright.experiment.text.inputs import (
    TokenSource,
    about_documents,
    check_texts,
    make_tokenizer,
    open_sources,
    read_target,
    tokenize_sources,
)
from mixwright.experiment.text.models.checks import check_model
from mixwright.experiment.text.overlaps.contamination import Contamination
from mixwright.experiment.text.overlaps.input_notes import about_inputs, passes_over
from mixwright.experiment.text.questions.checks import check_lengths_of_choices, check_questions, few_questions
from mixwright.experiment.text.questions.harness import as_report, check_tasks, evaluated
from mixwright.experiment.text.questions.reports import means_of, report_of
from mixwright.experiment.text.reference import MadeReference, make_reference, reference_measure
from mixwright.experiment.text.source_files import check_sources, remember_checked
from mixwright.experiment.text.train_config import TrainConfig
from mixwright.experiment.text.under_way.other_sources import OtherSources
from mixwright.files import fingerprint
from mixwright.files.models import check_model_folder
from mixwright.mixture import Mixture
from mixwright.mixture_file import MixtureFile
from mixwright.steering.control import orders_of
from mixwright.steering.words import steering_notes
from mixwright.strategies import Static
from mixwright.strategy import Strategy
from mixwright.text import TokenStore, load_tokenizer
from mixwright.training.language_model import DivergedError, TrainingResult, train
from mixwright.training.loop import Evaluate
from mixwright.training.model import build_model
from mixwright.training.ranks import Ranks, started_ranks
from mixwright.training.reference import check_reference
from mixwright.training.settings import ema_notes
from mixwright.watching.reference import REPORTED, Reference, reads_reference
from mixwright.watching.row_weights import RowWeights, sampling_shares

LEVEL = 0.9  # of intervals over questions


class TextTrainingRun(Run[TrainConfig]):
    """
    A training on texts, on one rank or several.

    It leaves `metrics.jsonl` (a line per step), `decisions.jsonl` and `model/`.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.names = list(config.sources)

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"A training on {', '.join(self.names)}"

    @contextmanager
    def processes(self) -> Iterator[Ranks]:
        """Join the ranks that torchrun started."""
        training = self.config.training
        with started_ranks(training.parallel, bool(training.compile)) as self.ranks:
            yield self.ranks

    def check(self, progress: Progress) -> None:
        """Check the weights or the strategy and the model, and read all texts."""
        config = self.config
        self._check_weights()
        with named(config.where("training")):
            config.training.settings(config.seed)
        check_model(config, config.model, "training", "model")
        check_texts(config)
        check_questions(config, [read_target(n, t, config.where("targets", n)) for n, t in config.targets.items()])
        check_tasks(config.evaluate, config.where("evaluate"))
        self.prints = check_sources(config, self.folder, progress)

    def _check_weights(self) -> None:
        config, prior = self.config, self.config.prior
        with named(config.where("strategy" if config.strategy is not None else "weights")):
            strategy = strategy_of(config.arm, self.names, self._measured, config.sampling is not None)
            fixed = fixed_weights(config.arm, self.names, [1.0] * len(self.names))
        if config.reference is not None:
            where = config.where("reference")
            if strategy is None or not reads_reference(strategy):
                raise InputError(
                    f"{where}: should go with a strategy that reads {' or '.join(sorted(REPORTED))}, found "
                    f"{config.strategy!r}, which does not; remove it, or choose DoReMi or LossRatio"
                )
            if config.reference.path is not None:
                with named(where):
                    check_model_folder(config.reference.path)
        if isinstance(prior, dict) and (set(prior) != set(self.names) or abs(sum(prior.values()) - 1) > 1e-6):
            where = config.where("prior")
            raise InputError(f"{where}: should give each source a weight, with the sum 1, found {prior}; complete it")
        with named(config.where("constraints")):
            config.constraints.check(self.names, prior, 1.0)
        with named(config.where("sampling")):
            self._check_sampling(strategy or Static(fixed))

    def _check_sampling(self, strategy: Strategy[Any]) -> None:
        """Check the shares that need no sizes; `train` checks the others before its first step."""
        config, rows = self.config, dict.fromkeys(self.names, 1)
        if "natural" in (config.sampling, config.prior, config.weights):
            return
        prior = self._prior
        drawn = sampling_shares(config.sampling, rows, strategy, prior)
        if drawn is not None:
            RowWeights(Mixture(rows, strategy, prior=prior), drawn, config.training.settings(config.seed).steps)

    def prepare(self, progress: Progress) -> None:
        """Make the tokenizer and the tokens, which all ranks open."""
        remember_checked(self.folder, self.prints)
        for note in self._unweighted():
            progress(PLAN, 0, 1, note)
        tokenizer = make_tokenizer(self.config, self.folder, self.prints, progress)
        if self.config.reference is not None and self.config.reference.path is not None:
            with named(self.config.where("reference")):
                check_reference(
                    self.config.reference.path, tokenizer, self.config.training.context, self.config.model.spec()
                )
        tokenize_sources(self.config, self.folder, tokenizer, self.prints, progress)
        config = self.config
        targets = [read_target(n, target, config.where("targets", n)) for n, target in config.targets.items()]
        check_lengths_of_choices(config, targets, tokenizer, config.training.context)

    def plan(self) -> str:
        """Return how many tokens are trained on."""
        settings = self.config.training.settings(self.config.seed)
        tokens = settings.steps * settings.batch_size * settings.context
        return f"{settings.steps:,} steps, {tokens:,} tokens to train"

    _reference: MadeReference | None = None

    def work(self, progress: Progress) -> dict[str, Any]:
        """Train on every rank; measure, and return the summary without its head, on rank 0."""
        self._open()
        trained = self._train(progress)
        if not self.ranks.main:
            return {}
        self._measured_on(list(trained.weights))
        if trained.average is not None:  # the method's answer: what another training is given as its weights
            method = {"name": "average of a training's weights", "strategy": repr(self._strategy)}
            evidence = {"steps": trained.steps, "tokens": trained.tokens, "fingerprint": trained.fingerprint}
            evidence |= about_documents(self.config, self.sources)
            MixtureFile(
                tuple(trained.average), tuple(trained.average.values()), method=method, evidence=evidence
            ).write(self.folder / "mixture.json")
        model = build_model(
            {"path": str(trained.model_folder)}, self.tokenizer, self.settings.context, self.settings.seed
        )
        nats, tokens = self.held.documents(model)
        losses = {name: float(nats[name].sum() / tokens[name].sum()) for name in nats}
        answers = self.held.answers(model)
        tasks, of_tasks = self._of_tasks(model)
        entries = [*report_of(answers, LEVEL), *as_report(tasks, LEVEL)]
        questions = {"questions": entries} if entries else {}
        summary = {**self._summary(trained, losses, means_of(answers).get(ACCURACY.name, {})), **questions}
        epochs = {line["source"]: line["epochs"] for line in trained.ledger["sources"]}
        record = orders_of(self.folder)
        notes = [
            *steering_notes(record),
            *trained.notes,
            *of_tasks,
            *self._notes(),
            *repeats("the training", epochs, copies=passes_over(self.sources)),
        ]
        notes += self._notes_of_average(summary["held_out"])
        return {**summary, **({"steering": record} if record else {}), "notes": notes}

    def _of_tasks(self, model: Any) -> tuple[list[dict[str, Any]], list[str]]:
        """Return what another evaluator measures of the model, if one is asked for, and notes."""
        config, settings = self.config, self.settings
        if config.evaluate is None:
            return [], []
        where = config.where("evaluate")
        return evaluated(config.evaluate, where, model, self.tokenizer, settings.context, settings.batch_size)

    def _open(self) -> None:
        """Open what rank 0 prepared."""
        config = self.config
        self.tokenizer = load_tokenizer(self.folder / "tokenizer")
        self.sources = open_sources(self.names, self.folder)
        self.targets = [read_target(n, target, config.where("targets", n)) for n, target in config.targets.items()]
        self.held = self._held_out(self.sources)
        with named(config.where("strategy")):
            self.held.check_fed(self._strategy, config.held_out)
        self.settings = config.training.settings(config.seed)

    def _held_out(self, sources: Sequence[TokenSource]) -> HeldOut:
        training = self.config.training
        return HeldOut(self.targets, sources, self.tokenizer, training.context, training.batch_size)

    def _check_fed(self, strategy: Strategy[Any], names: Sequence[str]) -> None:
        """Raise InputError if some of these sources have no held-out documents to show a strategy that needs them."""
        self._held_out(open_sources(names, self.folder)).check_fed(strategy, self.config.held_out)

    def _measured_on(self, names: Sequence[str]) -> tuple[Mapping[str, Any], Evaluate]:
        """Measure these sources from now on; return the measures, and what evaluates a model."""
        if list(names) != [source.name for source in self.sources]:
            self.sources = open_sources(names, self.folder)
            self.held = self._held_out(self.sources)
        return self._measures, _Watch(self.held)

    def _train(self, progress: Progress) -> TrainingResult:
        stores = {source.name: source.train for source in self.sources}
        try:
            self._reference = self._made_reference(stores, progress)
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
                reference=self._over,
                sampling=self.config.sampling,
                others=OtherSources(self.folder, self._measured_on, self._check_fed),
                anew=False,
                track=self.track,
            )
        except DivergedError as error:
            where = self.config.where("training", "learning_rate")
            raise InputError(f"{where}: {error} (now {self.settings.learning_rate:g})") from error

    def _made_reference(self, stores: Mapping[str, TokenStore], progress: Progress) -> MadeReference | None:
        config, folder = self.config, self.folder / "reference" / "training"
        if config.reference is None:
            return None
        spec, ranks, clip = config.model.spec(), self.ranks, self._strategy.excess_clip
        return make_reference(
            config.reference, clip, spec, stores, self._prior, self.settings, folder, self.tokenizer,
            lambda stage, done, total, note="": progress("reference", done, total, note), ranks, anew=False,
        )  # fmt: skip

    @property
    def _over(self) -> Reference | None:
        """Return what excess is measured over, if the strategy needs excess losses; a held-out loss costs less."""
        return self._reference.reference if self._reference and "excess_loss" in self._strategy.needs else None

    def _unweighted(self) -> list[str]:
        """Return a sentence if fixed weights that were written out leave sources out."""
        given = self.config.weights
        names = [name for name in self.names if name not in given] if isinstance(given, dict) else []
        return [f"weights names no weight for {', '.join(names)}: nothing is drawn of what has none"] if names else []

    def _notes(self) -> list[str]:
        notes = self._unweighted() + about_inputs(self.config, self.targets, self.sources)
        notes += Contamination(self.folder, self.tokenizer, self.targets, self.sources).notes()
        notes += self.held.unreported(self._strategy)
        notes += few_questions(self.targets)
        if missing := [source.name for source in self.sources if source.held_out is None]:
            notes.append(
                f"no document of {', '.join(missing)} fell to the held-out part: losses there are not measured"
            )
        return notes

    def _notes_of_average(self, held_out: Mapping[str, Any]) -> list[str]:
        """Return a sentence if losses are of averaged weights, with the loss of the others where it is measured."""
        last, said = held_out.get("average_of_last_weights"), ema_notes(self.settings.ema)
        both = f"; the sources' average is {held_out['average']:.4f}, and {last:.4f} with those" if last else ""
        return [note + both for note in said]

    @property
    def _measured(self) -> frozenset[str]:
        """Return what is measured for the strategy: held-out losses of the sources, and of targets if any."""
        own = REPORTED if self.config.reference is not None else frozenset()
        if not self.config.targets:
            return own | {"eval_loss"}
        whole = self.config.training.parallel != "fsdp2"  # a gradient of a model in parts is in parts, too
        return own | {"eval_loss", "target_loss"} | ({"target_gram"} if whole else set())

    @cached_property
    def _strategy(self) -> Strategy[Any]:
        found = strategy_of(self.config.arm, self.names, self._measured, self.config.sampling is not None)
        if found is not None:
            return found
        sizes = [source.train.tokens for source in self.sources]
        return Static(fixed_weights(self.config.arm, self.names, sizes))

    @property
    def _prior(self) -> Any:
        return by_source(self.config.prior, self.names)

    @property
    def _constraints(self) -> Constraints | None:
        limits = self.config.constraints.constraints(float(self.settings.steps * self.settings.batch_size))
        return None if limits.empty else limits

    @property
    def _measures(self) -> dict[str, Any]:
        measures: dict[str, Any] = {"eval_loss": self.held.strategy_source_losses}
        if self.targets:
            measures["target_loss"] = self.held.strategy_target_losses
            if "target_gram" in self._measured:
                measures["target_gram"] = self.held.strategy_target_gram
        if self._reference:
            context = self.config.training.context
            measures["reference_loss"] = reference_measure(self._reference.reference, self.held, context)
        return measures

    def _summary(
        self, trained: TrainingResult, losses: Mapping[str, float], accuracy: Mapping[str, float]
    ) -> dict[str, Any]:
        """Return the summary without head and notes; losses (nats per token) and accuracy: of all held out."""
        config, curve = self.config, [_point(point) for point in trained.curve]
        held_out = curve[-1]["source_loss"]
        worst = max(held_out, key=lambda name: held_out[name], default=None)
        return {
            "strategy": repr(self._strategy),
            "fixed": config.weights is not None,
            "prior": self._prior,
            **({"sampling": trained.sampling} if trained.sampling else {}),
            "model": config.model.spec(),
            "training": config.training.model_dump(mode="json", exclude_none=True),
            **{name: getattr(trained, name) for name in ("steps", "tokens", "seconds", "flops", "skipped")},
            "sources": [_source(source, trained, curve[-1]) for source in self.sources],
            "held_out": {
                "average": sum(held_out.values()) / len(held_out) if held_out else None,
                "worst": None if worst is None else held_out[worst],
                "worst_source": worst,
                **_of_last_weights(trained.curve[-1]),
            },
            "targets": [{"name": n, "loss": loss, "accuracy": accuracy.get(n)} for n, loss in losses.items()],
            "curve": curve,
            **self._reference_summary(trained),
        }

    def _reference_summary(self, trained: TrainingResult) -> dict[str, Any]:
        """Return what the reference was, and what it cost beside the training."""
        made = self._reference
        if made is None:
            return {}
        given = self.config.reference and self.config.reference.path
        return {
            "reference": {
                "model": "trained on the prior" if given is None else str(given),
                "clip": made.reference.clip,
                "trained_tokens": made.tokens,
                "forward_tokens": trained.reference_tokens,
                "flops": made.flops + trained.reference_flops,
            }
        }


class _Watch:
    """The held-out losses of sources and targets, as points of the curve."""

    def __init__(self, held: HeldOut) -> None:
        self._held, self.fingerprint = held, fingerprint(held.fingerprints)

    def __call__(self, model: Any) -> Mapping[str, float]:
        sources, targets = self._held.source_losses(model), self._held.target_losses(model)
        return {**{f"source {n}": v for n, v in sources.items()}, **{f"target {n}": v for n, v in targets.items()}}


def _point(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point of the curve with the losses of sources and targets apart."""
    parts: dict[str, dict[str, float]] = {"source": {}, "target": {}}
    for key, value in point["loss"].items():
        kind, _, name = key.partition(" ")
        parts[kind][name] = value
    kept = {key: point[key] for key in ("step", "tokens", "train_loss", "source_train_loss")}
    return {**kept, "source_loss": parts["source"], "target_loss": parts["target"]}


def _of_last_weights(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the average over the sources of the last step's weights, where averaged ones are measured."""
    losses = [v for key, v in point.get("last_weights_loss", {}).items() if key.startswith("source ")]
    return {"average_of_last_weights": sum(losses) / len(losses)} if losses else {}


def _source(source: TokenSource, trained: TrainingResult, last: Mapping[str, Any]) -> dict[str, Any]:
    line = next(line for line in trained.ledger["sources"] if line["source"] == source.name)
    return {
        "name": source.name,
        "documents": source.train.documents,
        "tokens": source.train.tokens,
        "last_weight": trained.weights[source.name],
        **({} if trained.average is None else {"average_weight": trained.average[source.name]}),
        **({"sampling": trained.sampling[source.name]} if trained.sampling else {}),
        "asked": line["asked"],
        "drawn": line["drawn"],
        "rows": line["rows"],
        "epochs": line["epochs"],
        "held_out_loss": last["source_loss"].get(source.name),
    }
