"""A comparison of texts: proxies and searches by seed, then a training for each arm, seed and mixture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.compare import LOSS, ArmInfo, Cell, Quantity
from mixwright.compare.questions import OF_QUESTIONS
from mixwright.errors import InputError
from mixwright.experiment.core.arms import describe, fixed_weights, strategy_of
from mixwright.experiment.core.compare_config import BASELINES, SEARCHES, ArmConfig
from mixwright.experiment.core.comparison import ComparisonRun
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Work
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.engines.cluster import on_cluster
from mixwright.experiment.engines.engine import do_pieces
from mixwright.experiment.text.compare_config import CompareConfig
from mixwright.experiment.text.compare_work import (
    ArmEvidence,
    Searched,
    count_work,
    evidence,
    proxy_run_work,
    proxy_work,
    reference_work,
    score_works,
    search_work,
)
from mixwright.experiment.text.comparing.cost import Costs
from mixwright.experiment.text.comparing.prepared import forget
from mixwright.experiment.text.comparing.training import Training, check_begun, check_row_weights, training_work
from mixwright.experiment.text.inputs import (
    check_choice,
    check_enough,
    check_inputs,
    check_sizes,
    held_out_questions,
    make_tokenizer,
    read_target,
    tokenize_sources,
)
from mixwright.experiment.text.overlaps.contamination import Contamination
from mixwright.experiment.text.overlaps.input_notes import about_inputs, passes_over
from mixwright.experiment.text.proxies.cost import planned_proxies
from mixwright.experiment.text.proxies.counts import counted_tokens
from mixwright.experiment.text.proxies.online import (
    check_fed,
    check_method,
    check_reference_of,
    check_tokens_of_reference,
)
from mixwright.experiment.text.questions.checks import (
    check_lengths_of_choices,
    check_questions,
    few_questions,
    quantities_of,
)
from mixwright.experiment.text.questions.harness import check_tasks
from mixwright.experiment.text.questions.reports import mean_of, means_of
from mixwright.experiment.text.source_files import check_sources, remember_checked
from mixwright.strategies.registry import known as strategies
from mixwright.training.settings import ema_notes


class TextComparisonRun(ComparisonRun[CompareConfig]):
    """A comparison of texts at work."""

    @property
    def arms(self) -> list[ArmInfo]:
        """Return the arms as reports name them."""
        config = self.config
        several = len(config.targets) > 1
        return [
            self._with_proxies(arm, describe(arm, arm.likelihood or config.search.likelihood[0], several))
            for arm in config.arms
        ]

    def _with_proxies(self, arm: ArmConfig, info: ArmInfo) -> ArmInfo:
        """Say which proxies an arm rests on where they are count models."""
        own = self.config.with_proxy(arm).proxy
        return replace(info, words=f"{info.words}; {own.words}") if arm.searches and own.kind == "ngram" else info

    _count_notes: Sequence[str] = ()

    @property
    def level(self) -> float:
        """Return the confidence level of intervals."""
        return self.config.search.level

    def check(self, progress: Progress) -> None:
        """Read everything that is read, and check it; nothing is written."""
        config = self.config
        check_inputs(config)
        self.check_forecast()
        self._check_arms()
        self.targets = [read_target(name, t, config.where("targets", name)) for name, t in config.targets.items()]
        check_questions(config, self.targets)
        check_tasks(config.evaluate, config.where("evaluate"))
        if any(arm.searches for arm in config.arms):
            check_choice(config)
            for target in self.targets:
                check_enough(config, target)
        self._prints = check_sources(config, self.folder, progress)

    def prepare(self, progress: Progress) -> None:
        """Make the tokens, then check what depends on their number: limits, and whether the budgets are enough."""
        config = self.config
        remember_checked(self.folder, self._prints)
        self.tokenizer = make_tokenizer(config, self.folder, self._prints, progress)
        self.sources = tokenize_sources(config, self.folder, self.tokenizer, self._prints, progress)
        check_sizes(config, self.sources)
        check_tokens_of_reference(config, self.tokenizer)
        check_fed(config, self.tokenizer, self.sources, self.targets)
        self._check_held_out()
        check_lengths_of_choices(config, self.targets, self.tokenizer, config.final.context)
        known: dict[tuple[str, int, str | None], Training] = {}
        self._costs = Costs(config, self.tokenizer, self.sources, self.targets)
        for number, arm in enumerate(config.arms):
            for goal in self._goals(arm):
                self._costs.steps(number, arm, goal)
            if not (arm.searches or arm.proxy_run):
                known[arm.title, config.seed, None] = self._training(number, arm, config.seed, None, {})
        self._check_trainings(known)
        self.contamination = Contamination(self.folder, self.tokenizer, self.targets, self.sources, progress)

    def plan(self) -> str:
        """Return what proxies, scores and trainings take."""
        parts = []
        if self.config.neural:
            proxies = planned_proxies(self.config, list(self.config.sources))
            trained, scored = sum(p.tokens for p in proxies), sum(self._costs.scored.values()) * len(proxies)
            what = f"{len(proxies)} proxies ({trained:,} tokens to train, {scored:,} to score)"
            parts.append(f"for each of {self.planned_seeds} seeds {what}")
        if counts := self._counts():
            counted = sum(counted_tokens(found.config, self.sources) for found in counts)
            parts.append(f"{len(counts) * len(self.sources)} count models ({counted:,} tokens to count)")
        return "; ".join([*parts, super().plan()])

    def _counts(self) -> list[ArmEvidence]:
        """Return what arms with count models rest on, over all seeds."""
        every: dict[Path, ArmEvidence] = {}
        for seed in self.seeds:
            every |= evidence(self.config, self.folder, self.sources, self.targets, seed)
        return [found for found in every.values() if found.config.proxy.kind == "ngram"]

    def _check_arms(self) -> None:
        """Raise InputError if an arm names other sources, or cannot be trained; nothing is written."""
        config, names = self.config, list(self.config.sources)
        for number, arm in enumerate(config.arms):
            with named(config.where("arms", str(number))):
                fixed = fixed_weights(arm, names, [1.0] * len(names))
                self.check_forecast_of(arm, names, fixed)
                if isinstance(arm.strategy, str):
                    _check_name(arm.strategy)
                strategy_of(arm, names, config.measured)
                if arm.proxy_run:
                    check_method(config, arm)
                if arm.settings is not None:
                    arm.settings.check(names, arm.settings.prior, config.final.tokens)
        check_reference_of(config)
        check_begun(config, self.folder)

    def _check_trainings(self, wanted: Mapping[tuple[str, int, str | None], Training]) -> None:
        """Raise InputError if rows count too often, or an arm's sources cannot give its rows within max_epochs."""
        final = self.config.final
        every = {source.name: source.train.rows(final.context) for source in self.sources}
        for (arm, _, _), training in wanted.items():
            with named(self.config.where("arms", str(self.config.arms.index(self._arm(arm))))):
                check_row_weights(self.config, training, every)
        if final.max_epochs is None:
            return
        rows = [int(source.train.rows(final.context) * final.max_epochs) for source in self.sources]
        for (arm, seed, goal), training in wanted.items():
            weights, needed = training.weights or (1.0,) * len(rows), training.steps * final.batch_size
            able = sum(n for n, weight in zip(rows, weights, strict=True) if weight > 0)
            if able < needed:
                raise InputError(
                    f"{self.config.where('final', 'max_epochs')}: the sources that the arm {arm} uses"
                    f"{f' for {goal}' if goal else ''} (seed {seed}) should give {needed:,} rows within max_epochs "
                    f"{final.max_epochs:g}, found {able:,}; raise max_epochs, lower tokens, or remove the arm"
                )

    def _check_held_out(self) -> None:
        """Raise InputError if a source should be measured and has nothing to measure it on."""
        missing = [source.name for source in self.sources if source.held_out is None]
        if missing and not self.targets:
            raise InputError(
                f"{self.config.where('sources', missing[0])}: without targets each source should have held-out "
                f"documents, found none (held_out: {self.config.held_out:g}); raise held_out, or give more documents"
            )

    def cells(self, progress: Progress) -> list[Cell]:
        """Train proxies, search, train each arm with each seed; return the cells."""
        forget()
        limits = self.config.compute.limits()
        searched = self._search(progress)
        self._proxy_runs(searched, progress)
        wanted = {
            (arm.title, seed, goal): self._training(number, arm, seed, goal, searched)
            for number, arm in enumerate(self.config.arms)
            for seed in self.seeds
            for goal in self._goals(arm)
        }
        unique = list(dict.fromkeys(wanted.values()))
        self._check_trainings(wanted)
        works = [
            Work(
                f"{self._wanting(wanted, t)}, seed {t.seed}",
                training_work,
                (self.config, self.folder, t.given()),
                t.steps,
            )
            for t in unique
        ]
        found = [self._with_clean(result) for result in do_pieces(works, limits, progress, "trainings")]
        results = dict(zip(unique, found, strict=True))
        return [
            Cell.from_json(
                {
                    **results[training],
                    "arm": arm,
                    "seed": seed,
                    "target": goal,
                    "search_cost": self._costs.charge(self._arm(arm), goal),
                    "notes": [f"the arm {arm}, seed {seed}: {note}" for note in results[training]["notes"]],
                }
            )
            for (arm, seed, goal), training in wanted.items()
        ]

    def _with_clean(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a training's figures with those of documents that are in no source, in place of every one's."""
        documents, answers = result.pop("documents", {}), result.get("questions", {})  # none in former versions
        clean: dict[str, dict[str, float]] = {LOSS.name: {}, **{name: {} for name in answers}}
        kept = {target: self.contamination.clean(target) for target in documents}
        for target in (name for name, rows in kept.items() if rows.any() and not rows.all()):
            nats, tokens = (np.array(values)[kept[target]] for values in documents[target])
            clean[LOSS.name][target] = float(nats.sum() / tokens.sum())
            for quantity in (name for name, own in answers.items() if target in own):
                own = [one for one, keep in zip(answers[quantity][target], kept[target], strict=True) if keep]
                clean[quantity][target] = mean_of(own)
        result.pop("right", None)  # of former versions
        return {**result, "values": {**result["values"], **means_of(answers)}, "clean": clean}

    @property
    def held_out(self) -> dict[str, tuple[str, int, int]]:
        """Return which held-out documents of each target are in a source, how many in none, and all of them."""
        found = self.contamination
        clean = {t.name: found.clean(t.name) for t in self.targets}
        return {name: (found.doubt(name), int(own.sum()), own.size) for name, own in clean.items()}

    @property
    def source_names(self) -> list[str]:
        """Return the sources that have held-out documents."""
        return [source.name for source in self.sources if source.held_out is not None]

    @property
    def quantities(self) -> list[Quantity]:
        """Return what is measured on targets."""
        asked = [quantity for quantities in self._asked.values() for quantity in quantities]
        return [LOSS, *(quantity for quantity in OF_QUESTIONS if quantity in asked)]

    @cached_property
    def _asked(self) -> dict[str, list[Quantity]]:
        """Return {target of questions: what is measured on its questions}."""
        found = {target.name: quantities_of(target, held_out_questions(target)) for target in self.targets}
        return {name: quantities for name, quantities in found.items() if quantities}

    def notes(self, cells: Sequence[Cell]) -> list[str]:
        """Return sentences that belong beside the result."""
        said = about_inputs(self.config, self.targets, self.sources) + self.contamination.notes()
        if missing := [source.name for source in self.sources if source.held_out is None]:
            said.append(f"no document of {', '.join(missing)} fell to the held-out part: losses there are not measured")
        said += self.repeated(
            cells, "final: max_epochs sets one limit for all arms", "texts", passes_over(self.sources)
        )
        said += dict.fromkeys(self._count_notes)
        said += few_questions(self.targets) + ema_notes(self.config.final.ema)
        if not self.config.charge_search and any(arm.searches or arm.proxy_run for arm in self.config.arms):
            said.append("what finding the mixtures cost was not taken out of the budgets (charge_search: false)")
        return said

    def budget(self) -> dict[str, object]:
        """Return the budget of each arm, in tokens."""
        charged = any(self.config.charged(arm) for arm in self.config.arms)
        return {"amount": self.config.final.tokens, "charged": charged}

    def _arm(self, title: str) -> ArmConfig:
        return next(arm for arm in self.config.arms if arm.title == title)

    def _goals(self, arm: ArmConfig) -> list[str | None]:
        return list(self.config.targets) if arm.per_target else [None]

    def _wanting(self, wanted: dict[tuple[str, int, str | None], Training], training: Training) -> str:
        arm, _, goal = next(key for key, other in wanted.items() if other == training)
        return f"{arm} for {goal}" if goal else arm

    def _training(self, number: int, arm: ArmConfig, seed: int, goal: str | None, searched: Searched) -> Training:
        steps = self._costs.steps(number, arm, goal)
        if arm.strategy is not None:
            observed = self.config.observed
            own = arm.strategy, arm.prior, arm.sampling, observed(arm)
            same = (i for i, a in enumerate(self.config.arms) if (a.strategy, a.prior, a.sampling, observed(a)) == own)
            return Training(seed, None, next(same), steps, arm.drawn_by)
        names, sizes = list(self.config.sources), [source.train.tokens for source in self.sources]
        fixed = fixed_weights(arm, names, sizes)
        return Training(seed, fixed or tuple(searched[seed][arm.title][goal]), None, steps, arm.drawn_by)

    def _search(self, progress: Progress) -> Searched:
        """Return the weights that each arm found, by seed, arm and target."""
        if not any(arm.searches for arm in self.config.arms):
            return {}
        limits, config, folder = self.config.compute.limits(), self.config, self.folder
        works = [
            Work(f"the proxy of {n}", proxy_work, (config, folder, s, n))
            for s in (self.seeds if config.neural else [])
            for n in config.sources
        ]
        do_pieces(works, limits, progress, "proxies")
        works = [
            Work(f"the {found.config.proxy.words}", count_work, (config, folder, *found.given(folder)))
            for found in self._counts()
        ]
        self._count_notes = [note for notes in do_pieces(works, limits, progress, "counts") for note in notes]
        if on_cluster(config):
            do_pieces([w for s in self.seeds for w in score_works(config, folder, s)], limits, progress, "scores")
        works = [Work(f"the search, seed {seed}", search_work, (config, folder, seed)) for seed in self.seeds]
        searched: Searched = {}
        for seed, found in zip(self.seeds, do_pieces(works, limits, progress, "searches"), strict=True):
            for arm, goal, weights in found:
                searched.setdefault(seed, {}).setdefault(arm, {})[goal] = weights
        return searched

    def _proxy_runs(self, searched: Searched, progress: Progress) -> None:
        """Train the references that arms need, then add the weights that proxy runs find to those of searches."""
        limits, arms = self.config.compute.limits(), list(enumerate(self.config.arms))
        trained = {
            arm.prior: number
            for number, arm in reversed(arms)
            if (chosen := self.config.reference_of(arm)) is not None and chosen.path is None
        }
        for what, stage, work, numbers in (
            ("the reference", "references", reference_work, list(trained.values())),
            ("the proxy run of", "proxy runs", proxy_run_work, [n for n, arm in arms if arm.proxy_run]),
        ):
            wanted = [(seed, number) for seed in self.seeds for number in numbers]
            works = [
                Work(f"{what} {self.config.arms[n].title}, seed {s}", work, (self.config, self.folder, s, n))
                for s, n in wanted
            ]
            found = do_pieces(works, limits, progress, stage)
            for (seed, number), weights in zip(wanted, found, strict=True):
                if weights is not None:
                    searched.setdefault(seed, {})[self.config.arms[number].title] = {None: weights}


def _check_name(name: str) -> None:
    """Raise InputError, with the nearest name, if an arm's name is no baseline, no search and no strategy."""
    plain = {re.sub("[^a-z]", "", known.lower()): known for known in (*BASELINES, *SEARCHES, *strategies())}
    given = re.sub("[^a-z]", "", name.lower())
    if given not in {re.sub("[^a-z]", "", known.lower()) for known in strategies()}:
        near = get_close_matches(given, plain, n=1)
        meant = f"; did you mean {plain[near[0]]!r}?" if near else ""
        raise InputError(f"there is no arm {name!r}{meant} Known: {', '.join(plain.values())}, or a mixture.json")
