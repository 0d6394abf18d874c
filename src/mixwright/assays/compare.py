"""Is the mixture worth it? The search and its baselines, trained the same way, on held-out rows and over seeds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from mixwright.assays.arms import ARMS, Arm, ArmResult, Array, baseline_arms, held_out_labels, train_arm
from mixwright.assays.data import AssayTable, check_choice
from mixwright.assays.judge import Difference, HeldOutRows, Judge, advice
from mixwright.assays.plan import AssayPlan, with_same_sources
from mixwright.assays.search import AssaySearch, score_proxies, search_weights
from mixwright.assays.splits import Kind, Split, check_seed, split_target
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
        return self._judge.differences(judged_arms(self.seeds[0].arms, arm), over)[arm]

    @cached_property
    def _judge(self) -> Judge:
        return judge_of([(s.plan, {name: a.probability for name, a in s.arms.items()}) for s in self.seeds], self.level)

    @property
    def verdict(self) -> str:
        """Return what to do, and how the search differs from the arms that decide that."""
        return verdict(self._judge, list(self.seeds[0].arms), self.target)


def judge_of(seeds: Iterable[tuple[AssayPlan, Mapping[str, Array]]], level: float) -> Judge:
    """Return the judge of the arms of some seeds, from each seed's plan and {arm: probabilities [n_test]}."""
    held = [
        HeldOutRows(held_out_labels(plan), plan.table.molecules[plan.split.test], probability)
        for plan, probability in seeds
    ]
    return Judge(held, level)


def verdict(judge: Judge, arms: Sequence[str], target: str) -> str:
    """Return what to do; then the search over the arm that decides that with figures, over the rest in words."""
    family = judged_arms(arms)
    over = {name: judge.differences(family, name)["search"] for name in family if name != "search"}
    alone = over.get("target_alone")
    said = "target_alone" if alone is not None and alone.word == "worse" else "uniform"
    words: dict[str, list[str]] = {}
    for name, found in over.items():
        if name != said and found.word != "unverified":
            words.setdefault(found.word, []).append(name)
    parts = [f"{advice(target, over)}. search on {target}: {over[said].verdict(said)}"]
    return "; ".join(parts + [f"{word} than {_joined(names)}" for word, names in words.items()])


def _joined(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def judged_arms(arms: Iterable[str], of: str = "search") -> list[str]:
    """Return the arms that are judged together: all but searches with another calibration, unless it is about one."""
    return [name for name in arms if name == of or not name.startswith("search_")]


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

    def plan(part: Split, sources: Sequence[str] | None) -> AssayPlan:
        own = clone(search).set_params(random_state=part.seed)
        return (own if sources is None else own.set_params(sources=sources)).plan(table, part)

    splits = [split_target(table, search.target, split, held_out, seed, duplicates) for seed in own_seeds]
    plans = with_same_sources(plan, splits, None)
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
    found = {
        calibration: search_weights(plan, probabilities, calibration, search.mixmin(), search.constraints)
        for calibration in calibrations
    }
    searches = {calibration: result for calibration, (result, _) in found.items()}
    seconds["search"] = (time.perf_counter() - started) / len(calibrations)
    chosen = baseline_arms(plan, plan.log_likelihood(probabilities, calibrations[0]), wanted)
    if "search" in wanted:
        for calibration, result in searches.items():
            name = search_arm_name(calibration, calibrations)
            chosen.append(Arm(name, "search", plan.sources, tuple(result.weights.tolist())))
    trained = {arm.name: train_arm(plan, arm) for arm in chosen}
    seconds["final"] = trained["search" if "search" in wanted else "uniform"].seconds
    return SeedResult(plan.split.seed, plan, searches, trained, seconds)
