"""The pieces of a comparison of texts that run in processes of their own: proxies, searches, trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from mixwright.compare import LOSS
from mixwright.experiment.core.arms import strategy_of
from mixwright.experiment.core.parallel import Report, part_of
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.compare_config import ArmConfig, CompareConfig
from mixwright.experiment.text.evaluation import MEASURED_TOKENS, HeldOut
from mixwright.experiment.text.inputs import Target, TokenSource, open_sources, read_target
from mixwright.experiment.text.mixtures import search_mixture
from mixwright.experiment.text.proxies.counts import count_notes, is_cut, most_counted, score_by_counts
from mixwright.experiment.text.proxies.neural import model_inputs, named_rate, score_target, settings_for, train_proxy
from mixwright.experiment.text.proxies.online import mean_weights, reference_of
from mixwright.experiment.text.proxies.scores import Scores, units_of
from mixwright.experiment.text.proxies.search_config import MethodConfig
from mixwright.experiment.text.questions.harness import evaluated, named_by
from mixwright.experiment.text.reference import reference_measure
from mixwright.files import fingerprint, folder_fingerprint
from mixwright.mixture import Mixture
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.worst_regret import WorstRegret
from mixwright.strategies import Static
from mixwright.text import Tokenizer, load_tokenizer
from mixwright.training.language_model import TrainingResult, train
from mixwright.training.model import build_model
from mixwright.training.settings import TrainingSettings, described
from mixwright.watching.row_weights import RowWeights, held_within, sampling_shares

Searched = dict[int, dict[str, dict[str | None, list[float]]]]  # by seed, arm and target
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


@dataclass(frozen=True)
class _Opened:
    """What was prepared, as the pieces of work see it."""

    tokenizer: Tokenizer
    sources: list[TokenSource]
    targets: list[Target]


def unit_of(config: CompareConfig, arm: ArmConfig, target: Target) -> str:
    """Return what a row of the table is that an arm searches over."""
    units = units_of(config, target)
    return units[0] if units == ["answer"] else arm.likelihood or units[0]


def proxy_work(config: CompareConfig, folder: Path, seed: int, source: str, report: Report) -> None:
    """Train the proxy of a source with a seed."""
    opened = _opened(config, folder)
    wanted = next(s for s in opened.sources if s.name == source)
    train_proxy(config.with_seed(seed), _of_seed(folder, seed), opened.tokenizer, wanted, _progress(report))


def reference_work(config: CompareConfig, folder: Path, seed: int, number: int, report: Report) -> None:
    """Train the reference of an arm with a seed."""
    opened, own = _opened(config, folder), config.with_seed(seed)
    reference_of(own, _of_seed(folder, seed), opened.tokenizer, opened.sources, config.arms[number], _progress(report))


def proxy_run_work(config: CompareConfig, folder: Path, seed: int, number: int, report: Report) -> list[float]:
    """Return the weights that an arm's proxy run finds with a seed."""
    opened, own = _opened(config, folder), config.with_seed(seed)
    place, arm = _of_seed(folder, seed), config.arms[number]
    return mean_weights(own, place, opened.tokenizer, opened.sources, opened.targets, arm, _progress(report))


@dataclass(frozen=True)
class ArmEvidence:
    """One kind of proxies with one seed: the configuration that has them, the folder, and (target, unit) to score."""

    config: CompareConfig
    place: Path
    wanted: tuple[tuple[str, str], ...]

    def given(self, folder: Path) -> tuple[int, str]:
        """Return the seed and the folder, within that of the run, by which `evidence` has it."""
        return self.config.seed, self.place.relative_to(folder).as_posix()


def evidence(
    config: CompareConfig, folder: Path, sources: Sequence[TokenSource], targets: Sequence[Target], seed: int
) -> dict[Path, ArmEvidence]:
    """Return what the arms with a seed rest on, by folder; those with the same proxies share it."""
    found: dict[Path, ArmEvidence] = {}
    for arm in config.arms:
        if arm.searches:
            own = config.with_proxy(arm).with_seed(seed)
            place = _evidence_place(own, folder, sources)
            before = found[place].wanted if place in found else ()
            wanted = dict.fromkeys([*before, *((t.name, unit_of(config, arm, t)) for t in targets)])
            found[place] = ArmEvidence(own, place, tuple(wanted))
    return found


def _evidence_place(config: CompareConfig, folder: Path, sources: Sequence[TokenSource]) -> Path:
    """Return the folder of what arms with these proxies rest on; count models of whole sources know no seed."""
    if config.proxy.kind == "neural":
        return _of_seed(folder, config.seed)
    cut = is_cut(config, sources)
    name = f"order_{config.proxy.order}" + (f"_{most_counted(config, sources)}" if cut else "")
    return (_of_seed(folder, config.seed) if cut else folder) / "ngram" / name


def count_work(config: CompareConfig, folder: Path, seed: int, place: str, report: Report) -> list[str]:
    """Count the sources and score the targets; return sentences about what that rests on."""
    opened = _opened(config, folder)
    found = evidence(config, folder, opened.sources, opened.targets, seed)[folder / place]
    return count_notes(found.config, opened.sources, _count_scores(opened, found, report))


def _count_scores(opened: _Opened, found: ArmEvidence, report: Report) -> list[Scores]:
    """Return the scores of count models, in the order of what is wanted; what is there is not counted again."""
    by_name = {target.name: target for target in opened.targets}
    wanted = [(by_name[name], unit) for name, unit in found.wanted]
    return score_by_counts(found.config, found.place, opened.tokenizer, opened.sources, wanted, _progress(report))


def search_work(
    config: CompareConfig, folder: Path, seed: int, report: Report
) -> list[tuple[str, str | None, list[float]]]:
    """Score the targets, and return the weights that each arm finds with a seed: its name, the target, the weights."""
    opened = _opened(config, folder)
    every = evidence(config, folder, opened.sources, opened.targets, seed)
    scores: dict[tuple[Path, str, str], Scores] = {}
    for number, (place, found) in enumerate(every.items()):
        part = part_of(report, number, 2 * len(every))
        made = (_neural_scores if found.config.proxy.kind == "neural" else _count_scores)(opened, found, part)
        scores |= {(place, *row): score for row, score in zip(found.wanted, made, strict=True)}
    arms = [arm for arm in config.arms if arm.searches]
    weights: list[tuple[str, str | None, list[float]]] = []
    for number, arm in enumerate(arms):
        own = config.with_proxy(arm).with_seed(seed)
        place = _evidence_place(own, folder, opened.sources)
        by_target = {t.name: scores[place, t.name, unit_of(config, arm, t)] for t in opened.targets}
        found_for = _found(own, _of_seed(folder, seed), opened, arm, by_target)
        weights += [(arm.title, goal, found_weights) for goal, found_weights in found_for.items()]
        report(0.5 + 0.5 * (number + 1) / len(arms))
    return weights


def _neural_scores(opened: _Opened, found: ArmEvidence, report: Report) -> list[Scores]:
    own, place, tokenizer = found.config, found.place, opened.tokenizer
    proxies = [train_proxy(own, place, tokenizer, s, _progress(lambda share: None)) for s in opened.sources]
    by_name, scores = {target.name: target for target in opened.targets}, []
    for number, (name, unit) in enumerate(found.wanted):
        part = part_of(report, number, len(found.wanted))
        scores.append(score_target(own, place, tokenizer, proxies, by_name[name], unit, _progress(part)))
    return scores


def _found(
    config: CompareConfig, place: Path, opened: _Opened, arm: ArmConfig, by_target: Mapping[str, Scores]
) -> dict[str | None, list[float]]:
    """Return an arm's weights by target."""
    k = len(opened.sources)
    if arm.baseline == "best_single":
        return {t: np.eye(k)[int(np.argmin(s.losses))].tolist() for t, s in by_target.items()}
    given = arm.settings or config.search
    settings = given.model_dump(exclude={"likelihood"})
    folder = place / "arms" / folder_name(arm.title)
    if arm.search == "worst_regret":
        return {None: _worst_regret(config, arm, folder, opened, [s.table for s in by_target.values()])}
    own = config.model_copy(update={"search": MethodConfig(**settings, likelihood=["chunk"])})
    silent = _progress(lambda share: None)
    return {t: search_mixture(own, folder, opened.sources, s.table, t, silent)["weights"] for t, s in by_target.items()}


def _worst_regret(
    config: CompareConfig, arm: ArmConfig, folder: Path, opened: _Opened, tables: Sequence[LikelihoodTable]
) -> list[float]:
    """Return the weights with the least worst regret over all targets; `worst_regret/mixture.json` is written."""
    chosen, names = arm.settings or config.search, [s.name for s in opened.sources]
    inputs = {
        "stage": "worst regret",
        "tables": [[t.data_fingerprint, t.fingerprints] for t in tables],
        "settings": chosen.model_dump(mode="json", exclude={"likelihood"}),
        "seed": config.seed,
        "budget": config.final.tokens,
    }
    stage = Stage(folder / "worst_regret", inputs)
    result = stage.result()
    if result is None:
        stage.begin()
        shrinkage = 0.0 if isinstance(chosen.shrinkage, str) else float(chosen.shrinkage)
        found = WorstRegret(shrinkage=shrinkage, prior=chosen.prior).fit(
            _joined(tables),
            constraints=chosen.constraints(config.final.tokens),
            sizes=[s.train.tokens for s in opened.sources],
            seed=config.seed,
        )
        found.save(stage.folder / "mixture.json", names)
        result = stage.finish({"weights": found.weights.tolist(), "gap": float(found.gap)})
    return cast(list[float], result["weights"])


def _joined(tables: Sequence[LikelihoodTable]) -> LikelihoodTable:
    first, start, documents = tables[0], 0, []
    for table in tables:
        _, numbers = np.unique(table.documents, return_inverse=True)
        documents.append(numbers + start)
        start += int(numbers.max()) + 1
    return LikelihoodTable.from_array(
        np.concatenate([t.block(0, t.n) for t in tables]),
        first.sources,
        documents=np.concatenate(documents),
        weights=np.concatenate([t.weights for t in tables]),
        targets=np.concatenate([np.full(t.n, i) for i, t in enumerate(tables)]),
        target_names=[t.target_names[0] for t in tables],
        unit=first.unit,
        values="log_likelihood",
    )


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


def training_work(config: CompareConfig, folder: Path, given: Sequence[Any], report: Report) -> dict[str, Any]:
    """Train as `Training.given` says and measure; return the fields of a `Cell` that do not depend on the arm."""
    opened, training = _opened(config, folder), Training.of(given)
    return _TrainingWork(config.with_seed(training.seed), folder, training, opened).do(report)


class _TrainingWork:
    def __init__(self, config: CompareConfig, folder: Path, training: Training, opened: _Opened) -> None:
        self._config, self._training, self._opened = config, training, opened
        arm = None if training.strategy is None else config.arms[training.strategy]
        self._names = [source.name for source in opened.sources]
        self._arm = arm
        self._strategy = strategy_of(arm, self._names, config.measured) if arm else None
        self._held = HeldOut(
            opened.targets, opened.sources, opened.tokenizer, config.final.context, config.final.batch_size
        )
        self._settings = training_settings(config, training.steps, arm)
        self._chosen = config.reference_of(arm) if arm else None
        self._place = _of_seed(folder, training.seed)
        inputs = self._inputs()
        self._stage = Stage(folder / "trainings" / fingerprint(inputs), inputs)

    def do(self, report: Report) -> dict[str, Any]:
        """Train, measure, and return the figures."""
        result = self._stage.result()
        if result is None:
            self._stage.begin()
            trained = self._train(report)
            result = self._stage.finish(self._measured(trained))
        elif self._held.lacks(result.get("questions", {})):
            model = self._model(self._stage.folder / "model")  # trained by a former version
            result = self._stage.finish({**result, "questions": self._held.answers(model)})
        result = self._with_tasks(result)
        report(1.0)
        return {key: value for key, value in result.items() if key != "seconds"}

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
            return {"reference": [folder_fingerprint(self._chosen.path), self._chosen.clip]}
        settings = settings_for(self._config, self._chosen.tokens or self._config.proxy.tokens, proxy=True)
        model = model_inputs(self._config.proxy_model().spec())
        return {"reference": [model, described(settings), self._arm.prior, self._chosen.clip]}

    def _train(self, report: Report) -> TrainingResult:
        stores = {source.name: source.train for source in self._opened.sources}
        weights: Any = self._strategy if self._training.weights is None else list(self._training.weights)
        if self._training.sampling is not None and self._strategy is None:
            weights = Static(weights)  # only what a strategy gives can act on the loss
        measures: dict[str, Any] = self._held.strategy_measures(self._strategy)
        made = None
        if self._arm is not None:
            made = reference_of(self._config, self._place, self._opened.tokenizer, self._opened.sources, self._arm)
        if made is not None:
            measures["reference_loss"] = reference_measure(made.reference, self._held, self._config.final.context)
        excess = made is not None and self._strategy is not None and "excess_loss" in self._strategy.needs
        with named_rate(self._config, "a training of the comparison"):
            return train(
                self._config.model.spec(),
                stores,
                weights,
                self._settings,
                self._stage.folder,
                self._opened.tokenizer,
                _progress(lambda share: report(_TRAINED * share)),
                self._held.watch,
                prior=self._arm.prior if self._arm else "uniform",
                measures=measures,
                reference=made.reference if made is not None and excess else None,
                sampling=self._training.shares,
            )

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


def _of_seed(folder: Path, seed: int) -> Path:
    return folder / f"seed_{seed}"


_OPEN: dict[Path, _Opened] = {}


def _opened(config: CompareConfig, folder: Path) -> _Opened:
    """Return what was prepared in a run folder; read once in each process."""
    if folder not in _OPEN:
        _OPEN.clear()
        targets = [read_target(name, t, config.where("targets", name)) for name, t in config.targets.items()]
        sources = open_sources(list(config.sources), folder)
        _OPEN[folder] = _Opened(load_tokenizer(folder / "tokenizer"), sources, targets)
    return _OPEN[folder]


def forget() -> None:
    """Forget what was read in this process: it may have been prepared again."""
    _OPEN.clear()


def _progress(report: Report) -> Progress:
    return lambda stage, done, total, note="": report(done / max(total, 1))


PIECES = {
    "proxy": proxy_work,
    "counts": count_work,
    "search": search_work,
    "reference": reference_work,
    "proxy run": proxy_run_work,
    "training": training_work,
}
