"""Is the mixture worth it? The search and its baselines, trained alike and measured on held-out rows, over seeds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixwright.assays.arms import ARMS, Arm, ArmResult, Difference, baseline_arms, compare, held_out_labels, train_arm
from mixwright.assays.data import AssayTable, check_choice
from mixwright.assays.plan import AssayPlan
from mixwright.assays.search import AssaySearch, score_proxies, search_weights
from mixwright.assays.splits import Kind, check_seed, split_target
from mixwright.errors import InputError
from mixwright.search.inputs import checked_level
from mixwright.search.mixmin import MixMinResult

CALIBRATION_WORDS = {"none": "uncalibrated", "intercept": "calibrated"}


@dataclass(frozen=True, eq=False)
class SeedResult:
    """One seed of a comparison: its plan, the searches by calibration, the arms by name, and seconds by part."""

    seed: int
    plan: AssayPlan
    searches: dict[str, MixMinResult]
    arms: dict[str, ArmResult]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class AssayComparison:
    """
    Average precision of the arms on held-out rows of a target.

    Attributes
    ----------
    target
        The assay.
    seeds
        One result per seed: another seed is another split, other models, other folds.
    level
        Of the intervals.
    """

    target: str
    seeds: tuple[SeedResult, ...]
    level: float

    @property
    def average_precision(self) -> dict[str, float]:
        """Return the mean over seeds, by arm."""
        names = self.seeds[0].arms
        return {name: float(np.mean([s.arms[name].average_precision for s in self.seeds])) for name in names}

    def difference(self, arm: str = "search", over: str = "uniform") -> Difference:
        """
        Return the paired difference in average precision of two arms, with an interval.

        Raises
        ------
        InputError
            There is no such arm.
        """
        for name in (arm, over):
            if name not in self.seeds[0].arms:
                raise InputError(f"an arm should be one of {', '.join(self.seeds[0].arms)}, found {name!r}")
        return compare(
            [held_out_labels(s.plan) for s in self.seeds],
            [s.plan.table.molecules[s.plan.split.test] for s in self.seeds],
            [s.arms[arm].probability for s in self.seeds],
            [s.arms[over].probability for s in self.seeds],
            self.level,
        )

    @property
    def verdict(self) -> str:
        """Return one sentence on the search against uniform."""
        return self.difference("search", "uniform").verdict("uniform")


def search_arm_name(calibration: str, calibrations: Sequence[str]) -> str:
    """Return the name of a search's arm: the first calibration's is "search"."""
    return "search" if calibration == calibrations[0] else f"search_{CALIBRATION_WORDS[calibration]}"


def compare_arms(
    search: AssaySearch,
    table: AssayTable,
    *,
    split: Kind = "random",
    held_out: float = 0.25,
    duplicates: Literal["error", "drop"] = "error",
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[str] = ARMS,
    both_calibrations: bool = True,
    level: float = 0.9,
) -> AssayComparison:
    """
    Search and train the arms for each seed.

    Parameters
    ----------
    search
        The settings; its random_state is replaced by each seed.
    table
        The assays.
    split, held_out, duplicates
        As in `split_target`.
    seeds
        One split, one search and one training per arm for each.
    arms
        Which; uniform is always there.
    both_calibrations
        Also search, and train, with the calibration of proxies that `search` does not ask for.
    level
        Of the intervals.

    Raises
    ------
    InputError
        Before any work, for data or settings that are not as they should be.
    """
    own_seeds = _seeds(seeds)
    checked_level(level)
    for arm in (arms := [arms] if isinstance(arms, str) else arms):
        check_choice(arm, ARMS, "an arm")
    from sklearn.base import clone

    calibrations = [search.calibration]
    if both_calibrations:
        calibrations.append("none" if search.calibration == "intercept" else "intercept")
    wanted = list(dict.fromkeys(["uniform", *arms]))
    plans = []
    for seed in own_seeds:
        own = clone(search).set_params(random_state=seed)
        plans.append(own.plan(table, split_target(table, search.target, split, held_out, seed, duplicates)))
    results = [_one_seed(search, plan, calibrations, wanted) for plan in plans]
    return AssayComparison(table.name(search.target), tuple(results), level)


def _seeds(seeds: Sequence[int]) -> list[int]:
    """Return different seeds of at least 0."""
    if isinstance(seeds, int | np.integer):
        raise InputError(f"seeds should be a list of different numbers, found {seeds!r}; write [{seeds!r}] for one")
    checked = [check_seed(seed, "a seed") for seed in seeds]
    if not checked:
        raise InputError("there should be at least one seed, found none")
    if len(set(checked)) < len(checked):
        raise InputError(f"seeds should differ, found {checked}: the same seed again is no new evidence")
    return checked


def _one_seed(search: AssaySearch, plan: AssayPlan, calibrations: list[Any], wanted: list[str]) -> SeedResult:
    started = time.perf_counter()
    probabilities = score_proxies(plan, search.proxies)
    seconds = {"proxies": time.perf_counter() - started}
    started = time.perf_counter()
    searches = {
        calibration: search_weights(plan, probabilities, calibration, search.mixmin(), search.constraints)
        for calibration in calibrations
    }
    seconds["search"] = (time.perf_counter() - started) / len(calibrations)
    chosen = baseline_arms(plan, plan.log_likelihood(probabilities, calibrations[0]), wanted)
    if "search" in wanted:
        for calibration, found in searches.items():
            name = search_arm_name(calibration, calibrations)
            chosen.append(Arm(name, "search", plan.sources, tuple(found.weights.tolist())))
    trained = {arm.name: train_arm(plan, arm) for arm in chosen}
    seconds["final"] = trained["search" if "search" in wanted else "uniform"].seconds
    return SeedResult(plan.split.seed, plan, searches, trained, seconds)
