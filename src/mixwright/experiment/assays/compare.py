"""A comparison of assays: for each target and seed proxies, a search and a final model for each arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.assays.arms import Arm, baseline_arms, held_out_labels
from mixwright.assays.data import AssayTable
from mixwright.assays.judge import MOST_SHARED, few_positives, most_shared
from mixwright.assays.plan import AssayPlan
from mixwright.compare import ArmInfo, Cell, Quantity, paired_differences
from mixwright.errors import InputError
from mixwright.experiment.assays.config import CompareAssaysConfig
from mixwright.experiment.assays.search import SeedWork, check_plans, read_table, table_digest
from mixwright.experiment.assays.summary import held_out_counts
from mixwright.experiment.core.arms import describe, fixed_weights
from mixwright.experiment.core.compare_config import ArmConfig
from mixwright.experiment.core.comparison import ComparisonRun
from mixwright.experiment.core.config_parts import WeightsConfig
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Report, Work
from mixwright.experiment.core.stages import Progress, folder_name
from mixwright.experiment.engines.engine import do_pieces
from mixwright.report.words import base_rate

PRECISION = Quantity("average precision", "", higher=True)
LOG_LOSS = Quantity("log loss", "nats per molecule")


class AssayComparisonRun(ComparisonRun[CompareAssaysConfig]):
    """A comparison of assays at work; each seed has its own split, folds, proxies and models."""

    unit = "rows"

    @property
    def arms(self) -> list[ArmInfo]:
        """Return the arms: each target has models of its own, whatever the weights."""
        several = len(self.config.targets) > 1
        return [replace(describe(arm, "molecule", several), per_target=True) for arm in self.config.arms]

    @property
    def quantities(self) -> list[Quantity]:
        """Return what is measured."""
        return [PRECISION, LOG_LOSS]

    @property
    def source_names(self) -> list[str]:
        """Return none: losses of sources are not measured here."""
        return []

    @property
    def level(self) -> float:
        """Return the confidence level of intervals."""
        return self.config.search.level

    def check(self, progress: Progress) -> None:
        """Read the table, split it for each target and seed; nothing is written."""
        progress("read", 0, 1)
        self.check_forecast()
        table = read_table(self.config.whole())
        self.plans: dict[str, list[AssayPlan]] = {}
        for target in self.config.targets:
            with named(self.config.where("targets")):
                table.column(target)
            self.plans[target] = check_plans(self.config.for_target(target), table)
        for number, arm in enumerate(self.config.arms):
            for plans in self.plans.values():
                with named(self.config.where("arms", str(number))):
                    plan = _plan_of(arm, self.config.own_rows, plans[0])
                    fixed_weights(arm, plan.sources, plan.sizes.tolist())
                    if arm.search is not None:
                        (arm.settings or self.config.search).check(plan.sources, sizes=plan.sizes)
        self._check_splits()
        progress("read", 1, 1)

    def _check_splits(self) -> None:
        """Raise InputError if the seeds of a target hold out the same molecules: repeats are no evidence."""
        for target, plans in self.plans.items():
            held = [np.unique(plan.table.molecules[plan.split.test]) for plan in plans]
            if len(held) > 1 and (shared := most_shared(held)) > MOST_SHARED:
                raise InputError(
                    f"{self.config.where('split')}: the seeds of a comparison should hold out different molecules, "
                    f"found {shared:.0%} shared for {target} (a time or column split is the same for every seed); use "
                    "split: {kind: random}, or mixwright search, which takes its interval over molecules then"
                )

    def cells(self, progress: Progress) -> list[Cell]:
        """Do every target and seed; return the cells."""
        _TABLE.clear()
        wanted = [(target, number, seed) for target in self.config.targets for number, seed in enumerate(self.seeds)]
        works = [
            Work(f"{target}, seed {seed}", assay_work, (self.config, self.folder, target, number))
            for target, number, seed in wanted
        ]
        made = do_pieces(works, self.config.compute.limits(), progress, "cells")
        return [Cell.from_json(values) for cells in made for values in cells]

    def work(self, progress: Progress) -> dict[str, Any]:
        """Make all cells; beside an average precision stands how many held-out rows have a 1."""
        summary = super().work(progress)
        advised = []
        for measure in summary["measures"]:
            if measure["name"] in self.plans and measure["quantity"] == PRECISION.name:
                measure["about"] = base_rate(*held_out_counts(self.plans[measure["name"]][: len(self.seeds)]))
                advised += self._alone(measure)
        whole = {"verdict": ". ".join([*advised, summary["verdict"]]), "notes": [*advised, *summary["notes"]]}
        return {**summary, **whole}

    def _alone(self, measure: Mapping[str, Any]) -> list[str]:
        """Return what to do, the target alone or a mixture that was searched, from the corrected test between them."""
        alone = [arm.title for arm in self.config.arms if arm.baseline == "target_alone"]
        searched = [arm.title for arm in self.config.arms if arm.search is not None]
        if not alone or not searched:
            return []
        values, level, error = measure["values"], self.level, self.config.error
        judged = paired_differences(
            list(values.values()), list(values), alone[0], level, error, higher=True, looks=self.config.looks
        )
        target, found = measure["name"], {d.arm: d for d in judged if d.arm in searched}
        better = [arm for arm, d in found.items() if d.p <= error]
        if better:
            best = max(better, key=lambda arm: found[arm].difference)
            return [f"Train with {best} ({target}): it is better than the target alone"]
        if all(d.p_worse <= error for d in found.values()):
            return [f"Train on the target alone ({target}): it is better than {' and '.join(searched)}"]
        if all(d.p_worse <= error or values[arm] == values[alone[0]] for arm, d in found.items()):
            return [f"Train on the target alone ({target}): the search chose it"]
        open_ = [arm for arm, d in found.items() if d.p_worse > error]
        return [f"Train on the target alone ({target}) or with {' or '.join(open_)}: neither is surely better"]

    def notes(self, cells: Sequence[Cell]) -> list[str]:
        """Return what the table and plans have to say: few positives, sources that were left out, duplicates."""
        said: list[str] = []
        for target, plans in self.plans.items():
            few = few_positives(*held_out_counts(plans[: len(self.seeds)]))
            own = [*([few] if few else []), *plans[0].notes, *plans[0].split.notes]
            said += [*plans[0].table.notes, *(f"{target}: {note}" for note in own)]
        return list(dict.fromkeys(said))

    def budget(self) -> Mapping[str, Any] | None:
        """Return None: every arm has the same model, and as many rows as its sources hold."""
        return None


def assay_work(
    config: CompareAssaysConfig, folder: Path, target: str, number: int, report: Report
) -> list[dict[str, Any]]:
    """Return the cells of a target with its seed of a number, as JSON-able values."""
    own = config.for_target(target)
    table = _table(config)
    plan = check_plans(own, table)[number]
    names = {arm.title: arm for arm in config.arms}
    trained = _Arms(own, folder / "targets" / folder_name(target), plan, _DIGEST[0], report, config.own_rows).do(names)
    return [cell.to_json() for cell in trained]


PIECES = {"cells": assay_work}
_TABLE: dict[str, AssayTable] = {}
_DIGEST: list[str] = []


def _table(config: CompareAssaysConfig) -> AssayTable:
    """Return the table; read once in each process."""
    key = config.model_dump_json()
    if key not in _TABLE:
        _TABLE.clear()
        _TABLE[key] = read_table(config.whole())
        _DIGEST[:] = [table_digest(_TABLE[key])]
    return _TABLE[key]


def _plan_of(arm: ArmConfig, by_default: bool, plan: AssayPlan) -> AssayPlan:
    """Return the plan of an arm: without the target's own rows, its last source, where they are not wanted."""
    wanted = by_default if arm.own_rows is None else arm.own_rows
    return plan if wanted else plan.without_own_rows()


class _Arms:
    def __init__(
        self,
        config: CompareAssaysConfig,
        folder: Path,
        plan: AssayPlan,
        digest: str,
        report: Report,
        own_rows: bool,
    ) -> None:
        self._config, self._folder, self._plan, self._digest = config, folder, plan, digest
        self._report, self._own_rows = report, own_rows

    def do(self, arms: Mapping[str, ArmConfig]) -> list[Cell]:
        """Return a cell for each arm."""
        plan = self._plan
        work = self._work(self._config, self._folder, plan)
        probabilities = None
        if any(arm.searches for arm in arms.values()):
            probabilities, _ = work.proxies()
        self._report(0.6)
        cells = []
        for done, (name, arm) in enumerate(arms.items()):
            chosen = self._arm(name, arm, work, probabilities)
            trained = work.final(chosen)
            labels = held_out_labels(plan)
            clipped = np.clip(np.where(labels == 1, trained.probability, 1 - trained.probability), 1e-7, 1.0)
            own = plan.split.target
            values = {
                PRECISION.name: {own: trained.average_precision},
                LOG_LOSS.name: {own: float(-np.log(clipped).mean())},
            }
            weights = dict(zip(chosen.sources, chosen.weights, strict=True))
            cells.append(Cell(name, plan.split.seed, own, weights, values))
            self._report(0.6 + 0.4 * (done + 1) / len(arms))
        return cells

    def _work(self, config: CompareAssaysConfig, folder: Path, plan: AssayPlan) -> SeedWork:
        def silent(stage: str, done: int, total: int, note: str = "") -> None:
            if stage == "proxies":
                self._report(0.6 * done / max(total, 1))

        return SeedWork(config, folder, plan, self._digest, silent, 0, 1)

    def _arm(self, name: str, arm: ArmConfig, work: SeedWork, probabilities: np.ndarray | None) -> Arm:
        plan = _plan_of(arm, self._own_rows, self._plan)
        fixed = fixed_weights(arm, plan.sources, plan.sizes.tolist())
        if fixed is not None:
            return Arm(name, arm.kind, plan.sources, fixed)
        if arm.baseline == "target_alone":
            return Arm(name, arm.kind, (plan.split.target,), (1.0,))
        assert probabilities is not None
        calibration = self._config.proxy.calibration
        if arm.search is not None:
            settings = arm.settings or WeightsConfig(**self._config.search.model_dump())
            own = self._config.model_copy(update={"search": settings})
            searching = self._work(own, self._folder / "arms" / folder_name(name), plan)
            found = searching.search(probabilities[:, : len(plan.sources)], calibration)
            return Arm(name, arm.kind, plan.sources, tuple(found["weights"]))
        logs = self._plan.log_likelihood(probabilities, calibration)
        (best,) = baseline_arms(self._plan, logs, ["best_single"])
        return Arm(name, arm.kind, best.sources, best.weights)
