"""What a comparison is made of: arms, and the cells that were trained (one arm, one seed, one mixture)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mixwright.compare.looks import Looks
from mixwright.errors import InputError

COLUMNS = ("arm", "seed", "mixture_for", "quantity", "measured_on", "value", "unit", "steps")
_FORMER = {"tokens": "amount", "search_tokens": "search_cost", "total_tokens": "total_cost"}
AVERAGE_OF_SOURCES = "average of sources"  # what is judged where there are no targets
WORST_SOURCE = "worst source"
AVERAGE_OF_TARGETS = "average of targets"
WORST_TARGET = "worst target"
DETECT = 0.01  # of the baseline: a difference that would be worth seeing


@dataclass(frozen=True)
class Quantity:
    """
    Something that is measured on a target or a source.

    Attributes
    ----------
    name
        As in reports: "held-out loss", "accuracy", "average precision".
    unit
        "nats per token", or "" for a share.
    higher
        Whether higher is better.
    """

    name: str
    unit: str = ""
    higher: bool = False

    @property
    def words(self) -> str:
        """Return what stands behind a number in a sentence."""
        return self.unit or self.name


LOSS = Quantity("held-out loss", "nats per token")


@dataclass(frozen=True)
class ArmInfo:
    """
    An arm: what is compared.

    Attributes
    ----------
    name
        Of the arm.
    kind
        uniform, natural, best_single, target_alone, search, mixture, weights or strategy.
    words
        What it is, in words.
    per_target
        Whether it has a mixture of its own for each target.
    """

    name: str
    kind: str
    words: str
    per_target: bool = False


@dataclass(frozen=True)
class Cell:
    """
    One training: an arm with a seed, and the target that its mixture is for (None: for all).

    Attributes
    ----------
    arm, seed, target
        Which.
    weights
        {source: share} that was asked, at the end of the training.
    values
        {quantity: {target: value}}, of held-out rows of the targets.
    source_loss
        {source: held-out loss}.
    source_values
        {quantity: {source: value}}: what is measured on held-out rows of the sources besides.
    curve
        [{"step", "amount", "loss": {target: value}}], on a part of the held-out rows, the same in all cells.
    steps, amount
        Of the training; the amount is in the unit of the comparison: tokens, pairs or rows.
    search_cost
        How much of the same model's training costs as much as finding this mixture did, in the same unit.
    epochs
        {source: how often it was gone through}.
    start
        {source: share} at the beginning, where it is not `weights`.
    notes
        Sentences that belong beside the result.
    clean
        {quantity: {target: value}} on those held-out rows alone that are in no source, where others are.
    sampling
        {source: share} that rows were drawn by, where the weights acted on the loss.
    questions
        {quantity: {target: [q]}}, what `values` are means of: a value of each held-out question, None if it has none.
    tasks
        [{"task", "metric", "higher", "value", ...}], what another evaluator measured of the model.
    """

    arm: str
    seed: int
    target: str | None
    weights: Mapping[str, float]
    values: Mapping[str, Mapping[str, float]]
    source_loss: Mapping[str, float] = field(default_factory=dict)
    curve: Sequence[Mapping[str, Any]] = ()
    steps: int = 0
    amount: int = 0
    search_cost: int = 0
    epochs: Mapping[str, float] = field(default_factory=dict)
    start: Mapping[str, float] | None = None
    notes: Sequence[str] = ()
    source_values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    clean: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sampling: Mapping[str, float] | None = None
    questions: Mapping[str, Mapping[str, Sequence[float | None]]] = field(default_factory=dict)
    tasks: Sequence[Mapping[str, Any]] = ()

    @property
    def total_cost(self) -> int:
        """Return what training and search cost together."""
        return self.amount + self.search_cost

    @property
    def most_epochs(self) -> float:
        """Return how often the source that was repeated most was gone through."""
        return max(self.epochs.values(), default=0.0)

    def of_sources(self, quantity: Quantity) -> Mapping[str, float]:
        """Return {source: value} of a quantity."""
        return self.source_loss if quantity.name == LOSS.name else self.source_values.get(quantity.name, {})

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cell:
        """Return the cell that `to_json` described, in this version or a former one."""
        curve = tuple(renamed(point) for point in values["curve"])
        tasks = tuple(values.get("tasks", ()))
        return cls(**{**renamed(values), "curve": curve, "notes": tuple(values["notes"]), "tasks": tasks})


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the names of today: schema 1 counted everything, also pairs, in fields named tokens."""
    return {_FORMER.get(name, name): value for name, value in values.items()}


def check_cells(cells: Sequence[Cell], arms: Sequence[ArmInfo], seeds: Sequence[int], targets: Sequence[str]) -> None:
    """Raise InputError unless each arm has one cell for each seed and each of its targets."""
    found = {(cell.arm, cell.seed, cell.target) for cell in cells}
    if len(found) < len(cells):
        raise InputError("each arm, seed and target should have one cell, found some twice")
    for arm in arms:
        for seed in seeds:
            for target in targets if arm.per_target else [None]:
                if (arm.name, seed, target) not in found:
                    place = f"arm {arm.name}, seed {seed}" + (f", target {target}" if target else "")
                    raise InputError(f"there should be a cell for {place}, found none; run the comparison again")


def csv_text(
    cells: Iterable[Cell],
    quantities: Sequence[Quantity],
    source_quantities: Sequence[Quantity] = (LOSS,),
    unit: str = "tokens",
) -> str:
    """
    Return the cells as CSV: a row for each number, with as many digits as it takes to read it back exactly.

    The columns of costs are named by their unit: tokens, search_tokens and total_tokens, or pairs, ...
    """
    handle = io.StringIO()
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow([*COLUMNS, unit, f"search_{unit}", f"total_{unit}", "most_epochs"])
    for cell in cells:
        cost = [cell.steps, cell.amount, cell.search_cost, cell.total_cost, repr(float(cell.most_epochs))]
        for quantity, on, value in _numbers(cell, quantities, source_quantities):
            measured = [quantity.name, on, repr(float(value)), quantity.unit]
            writer.writerow([cell.arm, cell.seed, cell.target or "", *measured, *cost])
    return handle.getvalue()


def _numbers(
    cell: Cell, quantities: Sequence[Quantity], of_sources: Sequence[Quantity]
) -> Iterator[tuple[Quantity, str, float]]:
    for quantity in quantities:
        for target, value in cell.values.get(quantity.name, {}).items():
            yield quantity, f"target {target}", value
    for quantity in of_sources:
        for source, value in cell.of_sources(quantity).items():
            yield quantity, f"source {source}", value
    for own in cell.tasks:
        yield Quantity(own["metric"], "", own["higher"]), f"task {own['task']}", own["value"]


def tables_of_tasks(rows: Mapping[str, Sequence[Cell]]) -> list[tuple[str, Quantity, dict[str, list[float]]]]:
    """Return (task, quantity, {arm: values by seed}) for what another evaluator measured in every cell of the arms."""
    every = [{(own["task"], own["metric"]): own for own in cell.tasks} for cells in rows.values() for cell in cells]
    tables = []
    for (task, metric), first in (every[0] if every else {}).items():
        if all((task, metric) in found for found in every):
            values = iter(found[task, metric]["value"] for found in every)
            table = {arm: [next(values) for _ in cells] for arm, cells in rows.items()}
            tables.append((task, Quantity(metric, "", first["higher"]), table))
    return tables


@dataclass(frozen=True)
class Comparison:
    """
    The settings and findings of a comparison.

    Attributes
    ----------
    arms, seeds, targets, sources
        What was compared, on what; `arms` in the order of reports.
    cells
        One for each arm, seed and target of its own.
    quantities
        What was measured on targets; the first one is what verdicts are about.
    source_quantities
        What was measured on sources; the first one is the held-out loss.
    judged
        Without targets: the (quantity, measure) of verdicts, a measure being a source, their average or the worst.
    over
        The arm that the others are compared with.
    level, error
        Of intervals; chance of a false "better" over all arms of a measure.
    unit
        What trainings are counted in: tokens, pairs or rows.
    held_out
        {target: (clause, clean, all)} for targets of documents: which of the held-out ones are in a source, in words
        (empty if none is), how many are in none, and how many there are.
    looks
        Where seeds are added until verdicts are decided: the looks that are allowed for.
    detect
        A difference that would be worth seeing, as a share of the baseline's value.
    """

    arms: Sequence[ArmInfo]
    seeds: Sequence[int]
    targets: Sequence[str]
    sources: Sequence[str]
    cells: Sequence[Cell]
    quantities: Sequence[Quantity] = (LOSS,)
    source_quantities: Sequence[Quantity] = (LOSS,)
    judged: Sequence[tuple[str, str]] = ((LOSS.name, AVERAGE_OF_SOURCES),)
    over: str = "uniform"
    level: float = 0.9
    error: float = 0.05
    unit: str = "tokens"
    held_out: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    looks: Looks | None = None
    detect: float = DETECT

    def __post_init__(self) -> None:
        """Check that no cell is missing."""
        for arm in self.arms:
            if arm.per_target and not self.targets:
                raise InputError(f"the arm {arm.name} has a mixture for each target, but there are no targets")
        check_cells(self.cells, self.arms, self.seeds, self.targets)

    @property
    def goals(self) -> Sequence[str]:
        """Return the names of the loss curves: the targets, or without any the average of the sources."""
        return self.targets or (AVERAGE_OF_SOURCES,)

    def cell(self, arm: ArmInfo, seed: int, target: str | None) -> Cell:
        """Return the cell of an arm for a target: its own one, where the arm has one per target."""
        wanted = (arm.name, seed, target if arm.per_target else None)
        return next(c for c in self.cells if (c.arm, c.seed, c.target) == wanted)
