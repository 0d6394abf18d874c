"""Trainings that are to be done, and their file."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.mixture_file import MixtureFile
from mixwright.runs.design.candidates import DIGITS

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Planned:
    """
    What the file of a plan says of some runs: what each is for, and what it takes.

    kinds: {run: kind}. tokens: of all runs together; final_tokens: of the training that they stand for; None where not
    known. scales: the names of the scales.
    """

    kinds: dict[str, str]
    tokens: float | None
    final_tokens: float | None
    scales: tuple[str, ...]


def purposes(columns: Mapping[str, Sequence[Any]]) -> Planned | None:
    """Return what columns that `RunPlan.write` wrote say, losses added or not; None for columns that it did not."""
    if not {"run", "kind", "repeat_of"} <= set(columns):
        return None
    kinds = dict(zip(map(str, columns["run"]), (str(kind) for kind in columns["kind"]), strict=True))
    tokens, final = _floats(columns.get("tokens")), _floats(columns.get("epoch_budget_tokens"))
    scales = tuple(sorted({str(name) for name in columns.get("scale", ()) if name}))
    return Planned(kinds, sum(tokens) if tokens else None, max(final) if final else None, scales)


def _floats(values: Sequence[Any] | None) -> list[float]:
    """Return numbers; none where one is missing."""
    try:
        found = [float(value) for value in values or ()]
    except (TypeError, ValueError):
        return []
    return found if np.isfinite(found).all() else []


@dataclass(frozen=True, eq=False)
class RunPlan:
    """
    Trainings that are to be done.

    Attributes
    ----------
    sources
        k names.
    weights
        [n, k], each row with sum 1.
    runs
        n names.
    kinds
        n words: what each run is for (anchors by name, "design", "repeat").
    repeats
        n: the run whose mixture this one repeats, or None.
    tokens
        That each run is trained on; None where not said.
    final_tokens
        Of the training that the runs stand for: they repeat each source as often as it will; None where not said.
    sizes
        [k] tokens that exist of each source, or None.
    gain
        How much more they tell than as many random mixtures. I-optimal: the variance of a smooth law's predictions that
        is left after random ones, over that after these. D-optimal: how many times as many random mixtures would tell
        as much of the laws' coefficients. None where nothing was designed, or mixtures are fewer than coefficients.
    notes
        Sentences that belong beside the plan.
    """

    sources: tuple[str, ...]
    weights: Array
    runs: tuple[str, ...]
    kinds: tuple[str, ...]
    repeats: tuple[str | None, ...]
    tokens: float | None = None
    final_tokens: float | None = None
    sizes: Array | None = None
    gain: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    @property
    def cost(self) -> float | None:
        """Return the tokens of all runs together."""
        return None if self.tokens is None else self.n * self.tokens

    @property
    def subsets(self) -> Array | None:
        """Return [k], the tokens of each source that runs may draw from: they repeat it as the final run will."""
        if self.sizes is None or self.tokens is None or self.final_tokens is None:
            return None
        return self.sizes * (self.tokens / self.final_tokens)

    def mixture(self, run: str) -> MixtureFile:
        """Return what mixture.json holds for one run, which every format of `mixwright export` can be made of."""
        i = self.runs.index(run)
        method = {"name": "plan", "run": run, "kind": self.kinds[i]}
        return MixtureFile(self.sources, tuple(self.weights[i].tolist()), "tokens", method)

    def write(self, path: str | PathLike[str], targets: Sequence[str] = (), scale: str = "") -> None:
        """
        Write a .csv file with a row per run, which `RunTable.from_file` reads once its losses are there.

        Parameters
        ----------
        path
            A file that does not exist yet: one that does may have losses in it.
        targets
            Names of empty columns for the losses.
        scale
            A word for the model's size, where tables of several sizes are to be joined.

        Raises
        ------
        InputError
            The file exists or cannot be written.
        """
        if Path(path).exists():
            raise InputError(f"{path} should be a new file, found one that exists; choose another name, or remove it")
        columns: dict[str, list[Any]] = {"run": list(self.runs), "kind": list(self.kinds)}
        columns["repeat_of"] = [name or "" for name in self.repeats]
        if scale:
            columns["scale"] = [scale] * self.n
        if self.tokens is not None:
            columns["tokens"] = [f"{self.tokens:.12g}"] * self.n
        if self.final_tokens is not None:
            columns["epoch_budget_tokens"] = [f"{self.final_tokens:.12g}"] * self.n
        columns |= {f"w:{name}": [f"{w:.{DIGITS}g}" for w in self.weights[:, i]] for i, name in enumerate(self.sources)}
        columns |= {f"loss:{name}": [""] * self.n for name in targets}
        with atomic_write(Path(path)) as handle:
            rows = csv.writer(handle, lineterminator="\n")
            rows.writerow(columns)
            rows.writerows(zip(*columns.values(), strict=True))
