"""A search over assays from beginning to end: proxies, search, final models."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.assays import classifiers
from mixwright.assays.arms import Arm, baseline_arms, held_out_labels, train_arm
from mixwright.assays.compare import search_arm_name
from mixwright.assays.data import AssayTable, missing_name
from mixwright.assays.files import assay_names, read_assays
from mixwright.assays.plan import AssayPlan, make_plan, with_same_sources
from mixwright.assays.search import evidence, search_weights
from mixwright.assays.splits import Split, split_target
from mixwright.assays.trial import CANDIDATES
from mixwright.errors import InputError
from mixwright.experiment.assays.config import AssaysConfig
from mixwright.experiment.assays.seed_run import SeedRun, TrainedArm
from mixwright.experiment.assays.summary import assay_search_entry, make_summary
from mixwright.experiment.core.config_parts import by_source
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Report, Work
from mixwright.experiment.core.searches import keep_verdict
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.experiment.engines.cluster import on_cluster
from mixwright.experiment.engines.engine import do_ahead
from mixwright.experiment.run import Run
from mixwright.files import atomic_write, explain_write_error
from mixwright.files.opening import load_array
from mixwright.mixture_file import MixtureFile
from mixwright.search.mixmin import MixMin
from mixwright.search.table.table import LikelihoodTable
from mixwright.version import __version__

_HELD_OUT = "held_out.npy"  # an arm's probabilities of a 1
_RULES = 2  # how folds, row weights and the choice are made; a change makes the stages of old runs start again


class AssaySearchRun(Run[AssaysConfig]):
    """A search over assays: for each seed proxies, a search and final models."""

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"A mixture of assays for {self.config.target}"

    def check(self, progress: Progress) -> None:
        """Read the table and split it for each seed."""
        started = time.perf_counter()
        self.table = read_table(self.config)
        self.reading = time.perf_counter() - started
        self.plans = check_plans(self.config, self.table)

    def plan(self) -> str:
        """Return how many models are trained."""
        proxies = sum(len(plan.sources) for plan in self.plans)
        finals = len(self.plans) * len(self.config.final.mixtures)
        calibrations = 2 if self.config.final.both_calibrations else 1
        tried = sum(calibrations * len(CANDIDATES) * self.config.proxy.folds for plan in self.plans if plan.own_rows)
        trials = f", up to {tried:,} trainings to choose between own and borrowed rows" if tried else ""
        seeds, plural = len(self.plans), "" if len(self.plans) == 1 else "s"
        trained = (
            f"{proxies:,} prox{'y' if proxies == 1 else 'ies'} (once for each fold), {finals:,} final models{trials}"
        )
        return f"{seeds} seed{plural}: {trained}"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Do all seeds; write `mixture.json`, `row_weights.parquet` and `whatif.json`."""
        digest, of = table_digest(self.table), len(self.plans)
        if on_cluster(self.config):
            names = [f"seed {plan.split.seed}" for plan in self.plans]
            own = [Work(name, seed_piece, (self.config, self.folder, i)) for i, name in enumerate(names)]
            do_ahead(own, progress, "seeds")
        works = [SeedWork(self.config, self.folder, plan, digest, progress, i, of) for i, plan in enumerate(self.plans)]
        runs = [work.do() for work in works]
        _hand_out(self.folder, runs[0])
        summary = make_summary(self.config, self.table, runs, self.reading)
        keep_verdict(self.folder, summary["verdict"])
        write_what_if_of_run(self.folder, _what_if(self.config, runs[0], summary["searches"]))
        return summary


def seed_piece(config: AssaysConfig, folder: Path, number: int, report: Report) -> None:
    """Do the seed of a number: proxies, search and final models."""
    table = read_table(config)
    plan = check_plans(config, table)[number]

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "proxies":
            report(0.9 * done / max(total, 1))

    SeedWork(config, folder, plan, table_digest(table), progress, 0, 1).do()


PIECES = {"seed": seed_piece}


def read_table(config: AssaysConfig) -> AssayTable:
    """Read the table of a configuration; faults name the file, the line and the key."""
    given = config.table
    labels = given.labels
    with named(config.where("table")):
        paths = given.path if isinstance(given.path, list) else [given.path]
        known = labels or assay_names(paths, given.assay)
    way_out = "correct the name"
    if given.assay is None and not labels:
        way_out += ", or, for a row per measurement, say which columns have its assay and its value (assay, value)"
    for key, names in config.assays_named.items():
        if missing := [name for name in names if name not in known]:
            raise InputError(f"{config.where(key)}: {missing_name(missing[0], known, 'an assay', way_out)}")
    if config.sources and not labels:  # read the columns that are used, and no others
        labels = [*config.sources, config.target]
    with named(config.where("table")):
        return read_assays(
            given.path,
            smiles=given.smiles or (None if given.features else "smiles"),
            features=given.features or None,
            labels=labels or None,
            ignore=given.ignore,
            coding=None if given.coding is None else given.coding.as_given(),
            assay=given.assay,
            value=given.value,
            threshold=given.threshold,
            active=given.active or "above",
            molecule=given.molecule,
            time=given.time,
            part=given.part,
            fingerprint=config.fingerprints(),
            standardise=given.standardise,
            invalid_smiles=given.invalid_smiles,
        )


def check_plans(config: AssaysConfig, table: AssayTable) -> list[AssayPlan]:
    """
    Return the plan of each seed, with the same sources; nothing is trained or written.

    Raises
    ------
    InputError
        A split, a source, the classifier, a prior or a bound that does not fit.
    """
    model, first = config.classifier.model(config.threads), config.seed

    def plan(split: Split, sources: Sequence[str] | None) -> AssayPlan:
        return make_plan(
            table,
            split,
            sources,
            model=model,
            folds=config.proxy.folds,
            own_rows=config.own_rows,
            unusable=config.unusable,
            seed=split.seed,
        )

    chosen = config.split
    splits = [
        split_target(table, config.target, chosen.kind, chosen.held_out, seed, chosen.duplicates)
        for seed in range(first, first + chosen.seeds)
    ]
    plans = with_same_sources(plan, splits, config.sources or None)
    names = plans[0].sources
    with named(config.where("search")):
        config.search.check(names, sizes=plans[0].sizes)
    _prior(config, names)
    return plans


def _prior(config: AssaysConfig, names: tuple[str, ...]) -> Any:
    """Return MixMin's prior; InputError if one of its sources is unknown."""
    prior = config.search.prior
    if not isinstance(prior, dict):
        return prior
    if unknown := [name for name in prior if name not in names]:
        raise InputError(f"{config.where('search', 'prior')}: there is no source {unknown[0]!r}; correct the name")
    return by_source(prior, names)


def table_digest(table: AssayTable) -> str:
    """Return 16 hex digits that name the table's content."""
    digest = hashlib.sha256(repr((table.assays, sorted(table.described.items()))).encode())
    parts: list[Any] = [table.labels, table.molecules, table.scaffolds, table.times]
    features = table.features
    parts += [features.data, features.indices, features.indptr] if hasattr(features, "tocsr") else [features]
    for part in parts:
        digest.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:16]


class SeedWork:
    """One seed at work: proxies, searches, final models, each kept once it is done."""

    def __init__(
        self, config: AssaysConfig, folder: Path, plan: AssayPlan, digest: str, progress: Progress, index: int, of: int
    ) -> None:
        self.config, self.folder, self.plan, self.progress = config, folder, plan, progress
        self.index, self.of, self.name = index, of, f"seed_{plan.seed}"
        self.inputs = {
            "data": digest,
            "version": __version__,
            "target": config.target,
            "sources": list(plan.sources),
            "split": config.split.model_dump(mode="json", exclude={"seeds"}),
            "model": classifiers.describe(plan.model),
            "folds": config.proxy.folds,
            "seed": plan.seed,
            "rules": _RULES,
            "libraries": _libraries(),
        }

    def do(self) -> SeedRun:
        """Do all stages."""
        probabilities, scored = self.proxies()
        calibrations: list[Any] = [self.config.proxy.calibration]
        if self.config.final.both_calibrations:
            calibrations.append("none" if calibrations[0] == "intercept" else "intercept")
        searches: dict[str, dict[str, Any]] = {c: self.search(probabilities, c) for c in calibrations}
        logs = self.plan.log_likelihood(probabilities, calibrations[0])
        arms = baseline_arms(self.plan, logs, self.config.final.mixtures)
        for calibration, found in searches.items():
            name = search_arm_name(calibration, calibrations)
            arms.append(Arm(name, "search", self.plan.sources, tuple(found["weights"])))
        trained = {}
        for number, arm in enumerate(arms):
            self._report("final", number, len(arms), arm.name)
            trained[arm.name] = self.final(arm)
        self._report("final", len(arms), len(arms))
        seconds = {"proxies": scored, "search": searches[calibrations[0]]["seconds"]}
        return SeedRun(self.plan.seed, self.plan, searches, trained, seconds, probabilities)

    def _report(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Report how far a stage is, over all seeds."""
        self.progress(stage, self.index * total + done, self.of * total, note)

    def proxies(self) -> tuple[np.ndarray, float]:
        """Return the probability of a 1 under each proxy [n_train, k], and the seconds that training took."""
        plan, k = self.plan, len(self.plan.sources)
        stage = Stage(self.folder / "proxies" / self.name, {"stage": "proxies", "unit": "row", **self.inputs})
        done = stage.result(lambda place, _: LikelihoodTable.open(place / "table").require_complete())
        if done is None:
            stage.begin()
            table = LikelihoodTable.create(stage.folder / "table", plan.sources, documents=plan.documents, unit="row")
            for source in table.missing:
                self._report("proxies", k - len(table.missing), k, source)
                started = time.perf_counter()
                column = plan.log_likelihood(plan.probabilities(source)[:, None])[:, 0]
                table.append(source, column[table.rows_done(source) :])
                table.finish(source)
                _add_seconds(stage.folder / "seconds.txt", time.perf_counter() - started)
            done = stage.finish({"seconds": _sum_seconds(stage.folder / "seconds.txt")})
        self._report("proxies", k, k)
        likelihood = np.exp(LikelihoodTable.open(stage.folder / "table").block(0, len(plan.labels)))
        return np.where(plan.labels[:, None] == 1, likelihood, 1 - likelihood), float(done["seconds"])

    def search(self, probabilities: np.ndarray, calibration: Any) -> dict[str, Any]:
        """Return a search's entry in the summary, with its weights; `mixture.json` is beside it in its folder."""
        plan, chosen = self.plan, self.config.search
        settings = chosen.model_dump(mode="json")
        inputs = {"stage": "search", "unit": "row", **self.inputs, "settings": settings, "calibration": calibration}
        stage = Stage(self.folder / "search" / self.name / calibration, inputs)
        result = stage.result(lambda place, _: MixtureFile.read(place / "mixture.json"))
        if result is None:
            stage.begin()
            self._report("search", 0, 1, calibration)
            shrinkage: Any = chosen.shrinkage
            mixmin = MixMin(_prior(self.config, plan.sources), shrinkage, chosen.tolerance)
            found, trial = search_weights(plan, probabilities, calibration, mixmin, chosen.constraints())
            file = found.to_file(plan.sources, level=chosen.level)
            file.write(stage.folder / "mixture.json")
            result = stage.finish(assay_search_entry(self.config, plan, found, file, calibration, trial))
        self._report("search", 1, 1)
        return result

    def final(self, arm: Arm) -> TrainedArm:
        """Return a trained arm, with its probabilities for the held-out rows."""
        inputs = {"stage": "final", **self.inputs, "arm": [list(arm.sources), list(arm.weights)]}
        stage = Stage(self.folder / "final" / self.name / folder_name(arm.name), inputs)
        result = stage.result(lambda place, _: self._held_out(place))
        if result is None:
            stage.begin()
            made = train_arm(self.plan, arm)
            with atomic_write(stage.folder / _HELD_OUT, "wb") as handle:
                np.save(handle, made.probability, allow_pickle=False)
            if isinstance(self.plan.model, classifiers.Booster) and arm.kind == "search":
                made.fitted.save_model(stage.folder / "model.json")
            figures = {"average_precision": made.average_precision, "seconds": made.seconds, "rows": made.rows}
            result = stage.finish(figures)
        found = self._held_out(stage.folder)
        return TrainedArm(arm, found, result["average_precision"], result["seconds"], result["rows"])

    def _held_out(self, folder: Path) -> np.ndarray:
        """Return an arm's probabilities for the held-out rows [n_test]; ValueError for another number of them."""
        found: np.ndarray = load_array(folder / _HELD_OUT)
        if found.shape != held_out_labels(self.plan).shape:
            raise ValueError(f"{folder / _HELD_OUT} has the shape {found.shape}")
        return found


def _what_if(config: AssaysConfig, first: SeedRun, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the what-if part of the first seed's main search: its weights are those that are handed out."""
    calibration: Any
    calibration, found = next(iter(first.searches.items()))
    search = {**found, "mixture": entries[0]["mixture"]}
    table = evidence(first.plan, first.probabilities, calibration)
    sizes = np.asarray(first.plan.sizes, np.float64)
    chosen = config.search
    return make_what_if_of_run([search], [table], sizes, chosen.constraints(), chosen.prior, config.seed)


def _libraries() -> dict[str, str]:
    import sklearn

    try:
        import xgboost
    except ImportError:
        return {"sklearn": sklearn.__version__}
    return {"sklearn": sklearn.__version__, "xgboost": xgboost.__version__}


def _add_seconds(path: Path, seconds: float) -> None:
    """Add a line to the record of how long proxies took: it survives a stop."""
    try:
        with open(path, "a", encoding="utf-8") as handle:
            handle.write(f"{seconds:.4f}\n")
    except OSError as error:
        raise explain_write_error(path, error) from error


def _sum_seconds(path: Path) -> float:
    return round(sum(float(line) for line in path.read_text(encoding="utf-8").split()), 3) if path.exists() else 0.0


def _hand_out(folder: Path, first: SeedRun) -> None:
    """Write what is used after the search: mixture.json and row_weights.parquet, of the first seed's search."""
    calibration = next(iter(first.searches))
    made = folder / "search" / f"seed_{first.seed}" / calibration / "mixture.json"
    with atomic_write(folder / "mixture.json") as handle:
        handle.write(made.read_text(encoding="utf-8"))
    import pyarrow as pa
    from pyarrow import parquet

    plan = first.plan
    rows = plan.rows_of(first.searches[calibration]["weights"])
    names = pa.array(plan.sources)
    columns = {
        "row": plan.table.rows[rows.row],
        "source": pa.DictionaryArray.from_arrays(pa.array(rows.source.astype(np.int32)), names),
        "label": rows.label,
        "sample_weight": rows.weight,
    }
    if plan.table.molecule_names:
        texts = np.array(plan.table.molecule_names, dtype=object)[plan.table.molecules[rows.row]]
        columns["molecule"] = pa.array(texts.tolist())
    with atomic_write(folder / "row_weights.parquet", "wb") as handle:
        parquet.write_table(pa.table(columns), handle, compression="zstd")
