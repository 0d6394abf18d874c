"""A comparison on preference pairs: specialists for each seed, then a model for each arm and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixwright.compare import AVERAGE_OF_SOURCES, LOSS, WORST_SOURCE, ArmInfo, Cell, Quantity
from mixwright.experiment.core.comparison import ComparisonRun
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.parallel import Work
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.engines.engine import do_pieces
from mixwright.experiment.preference.checks import check_generalist, check_specialists
from mixwright.experiment.preference.compare_config import ComparePreferenceConfig, PreferenceArmConfig
from mixwright.experiment.preference.compare_work import (
    arm_work,
    forget,
    needs_specialists,
    opened,
    specialist_work,
    steps_of,
    weighting_of,
)
from mixwright.experiment.preference.specialists import Specialists

PAIR_LOSS = Quantity(LOSS.name, "nats per pair")
ACCURACY = Quantity("preference accuracy", "", higher=True)
EXCESS = Quantity("excess over the specialist", "nats per pair")


class PreferenceComparisonRun(ComparisonRun[ComparePreferenceConfig]):
    """A comparison on preference pairs at work."""

    unit = "pairs"

    def __init__(self, config: ComparePreferenceConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self._costs: dict[tuple[int, str], float] = {}  # of each specialist, in pairs
        self._by_heart: dict[str, str] = {}  # {source: a sentence}, of the first seed whose specialist over-fitted

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"{len(self.config.arms)} arms on preference pairs of {len(self.config.sources)} sources"

    @property
    def arms(self) -> list[ArmInfo]:
        """Return the arms as reports name them."""
        return [ArmInfo(arm.title, arm.kind, _words(arm)) for arm in self.config.arms]

    @property
    def level(self) -> float:
        """Return the confidence level of intervals."""
        return self.config.level

    @property
    def quantities(self) -> list[Quantity]:
        """Return none: there are no targets."""
        return []

    @property
    def source_names(self) -> list[str]:
        """Return the sources."""
        return list(self.config.sources)

    @property
    def source_quantities(self) -> list[Quantity]:
        """Return what is measured on held-out pairs of the sources."""
        return [PAIR_LOSS, ACCURACY, *([EXCESS] if self._specialists else [])]

    @property
    def judged(self) -> Sequence[tuple[str, str]]:
        """Return what verdicts are about: the average loss, and the source that is furthest behind."""
        worst = (EXCESS.name if self._specialists else PAIR_LOSS.name, WORST_SOURCE)
        return ((PAIR_LOSS.name, AVERAGE_OF_SOURCES), worst)

    @property
    def _specialists(self) -> bool:
        config = self.config
        return config.specialists is not None or any(needs_specialists(config, arm) for arm in config.arms)

    def check(self, progress: Progress) -> None:
        """Check the arms, read all pairs, open tokeniser and model; nothing is written."""
        self.check_forecast()
        for number, arm in enumerate(self.config.arms):
            with named(self.config.where("arms", str(number))):
                weighting_of(self.config, arm)
        forget()
        job = opened(self.config, self.folder, progress)
        for seed in self.seeds if self._specialists else ():
            check_specialists(self.config, job, seed)
        for number, arm in enumerate(self.config.arms):
            with named(self.config.where("arms", str(number))):
                costs = [self._cost_ahead(arm, job, seed) for seed in self.seeds]
                steps = [steps_of(self.config, self.folder, arm, cost) for cost in costs]
            if (weighting := weighting_of(self.config, arm)) is not None:
                check_generalist(self.config, job.work, weighting, max(steps))

    def prepare(self, progress: Progress) -> None:
        """Keep the tokens, and score all pairs under the reference."""
        work = opened(self.config, self.folder, progress).work
        work.inputs.keep()
        work.make_references(lambda share: progress("reference", round(1000 * share), 1000))

    def cells(self, progress: Progress) -> list[Cell]:
        """Train all specialists and arms, or those that are not there yet; return the cells."""
        config, limits = self.config, self.config.compute.limits()
        if self._specialists:
            wanted = [(seed, name) for seed in self.seeds for name in config.sources]
            works = [
                Work(f"the specialist {name}, seed {seed}", specialist_work, (config, self.folder, seed, name))
                for seed, name in wanted
            ]
            made = do_pieces(works, limits, progress, "specialists")
            self._costs = {key: cost for key, (cost, _) in zip(wanted, made, strict=True)}
            for (seed, name), (_, note) in zip(wanted, made, strict=True):
                if note:
                    self._by_heart.setdefault(name, f"seed {seed}: {note}")
        cells = [(seed, number) for seed in self.seeds for number in range(len(config.arms))]
        works = []
        for seed, number in cells:
            arm, cost = config.arms[number], self._cost(config.arms[number], seed)
            with named(config.where("arms", str(number))):
                steps = steps_of(config, self.folder, arm, cost)
            size = float(steps) if arm.trains else 0.05 * steps + 1
            name = f"the arm {arm.title}, seed {seed}"
            works.append(Work(name, arm_work, (config, self.folder, seed, number, steps, self._specialists), size))
        made = do_pieces(works, limits, progress, "arms")
        return [
            Cell.from_json(
                {
                    "arm": config.arms[number].title,
                    "seed": seed,
                    "target": None,
                    "search_cost": round(self._cost(config.arms[number], seed)),
                    "notes": (),
                    **own,
                }
            )
            for (seed, number), own in zip(cells, made, strict=True)
        ]

    def _cost(self, arm: PreferenceArmConfig, seed: int) -> float:
        if arm.specialist is not None or not needs_specialists(self.config, arm):
            return 0.0
        return sum(self._costs[seed, name] for name in self.config.sources)

    def _cost_ahead(self, arm: PreferenceArmConfig, specialists: Specialists, seed: int) -> float:
        if not (arm.trains and needs_specialists(self.config, arm)):
            return 0.0
        return sum(specialists.cost_of(name, seed) for name in self.config.sources)

    def notes(self, cells: Sequence[Cell]) -> list[str]:
        """Return what became of the pairs, and what it takes to read the costs."""
        notes = list(opened(self.config, self.folder).work.inputs.notes)
        notes += self.repeated(cells, "training: max_epochs sets one limit for all arms", "pairs")
        if self._specialists:
            whole = sum(self._costs.values()) / len(self.seeds)
            charged = any(self.config.charged(arm) for arm in self.config.arms if needs_specialists(self.config, arm))
            how = (
                "taken off the steps of arms that need them"
                if charged
                else "on top of the steps of arms that need them"
            )
            notes.append(
                f"the specialists of a seed cost as much as training on {whole:,.0f} pairs (a pair that is only scored "
                f"counts a third), {how}; the excess of every arm is over the specialists of its own seed"
            )
        notes += self._by_heart.values()
        return notes

    def budget(self) -> Mapping[str, Any]:
        """Return the pairs that each arm may train on."""
        work = opened(self.config, self.folder).work
        charged = any(self.config.charged(arm) for arm in self.config.arms if needs_specialists(self.config, arm))
        return {"amount": work.steps * self.config.training.batch_size, "charged": charged}


def _words(arm: PreferenceArmConfig) -> str:
    own = {} if arm.weights is None else {"weights": arm.weights}
    words = {
        "pooled": "pairs drawn in proportion to the sources' sizes",
        "uniform": "pairs drawn with equal shares",
        "normalised": "drawn by size, weighted so that each source's mean loss counts the same",
        "specialist": f"trained on {arm.specialist} alone",
        "merge": f"the specialists of the seed merged by {arm.merge}"
        + "".join(f", {name} {value}" for name, value in {"density": arm.density, **own}.items() if value is not None),
        "weights": "the weights given in the configuration",
        "strategy": f"weights that follow a strategy: {arm.strategy}, from {arm.prior}",
    }
    return words[arm.kind]
