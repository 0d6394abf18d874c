"""A search of a table of likelihoods from beginning to end: read, search, hand out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.checks import by_name
from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.searches import (
    hand_out,
    require_choice,
    resting_on,
    search_entry,
    untrained_verdict,
    without_weights,
    without_width,
)
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.core.summary import stage_seconds
from mixwright.experiment.core.what_if import make_what_if_of_run, write_what_if_of_run
from mixwright.experiment.likelihoods.config import LikelihoodsConfig, LikelihoodTableConfig
from mixwright.experiment.run import Run
from mixwright.files import file_fingerprint
from mixwright.mixture_file import MixtureFile
from mixwright.search.inputs import FEWEST_DOCUMENTS
from mixwright.search.mixmin import MixMin
from mixwright.search.table.files import HEADER, is_table
from mixwright.search.table.table import LikelihoodTable
from mixwright.version import __version__

WORDS = "likelihoods that were given"  # what the search rests on


class LikelihoodSearchRun(Run[LikelihoodsConfig]):
    """A search of a table of likelihoods, one for each target; it leaves `mixture.json` and `whatif.json`."""

    @property
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""
        return f"A mixture for {', '.join(self.config.targets) or self.config.table.path.stem}"

    def check(self, progress: Progress) -> None:
        """Read the table, and check that the targets are in it and that the settings fit its sources."""
        config, started = self.config, time.perf_counter()
        with named(config.where("table")):
            self.table = read_given(config.table)
        require_choice(config.where("table"), self.table.sources, "add the likelihoods under other models")
        with named(config.where("targets")):
            self.parts = {name: self.table.select(name) for name in config.targets or self.table.target_names}
        with named(config.where("sizes")):
            self.sizes = by_name(config.sizes, self.table.sources, "sizes", None) if config.sizes else None
        self.search = self._checked_search()
        self.reading = time.perf_counter() - started

    def _checked_search(self) -> MixMin:
        """Return the search; InputError where it does not fit the sources, or a target has too few documents."""
        chosen = self.config.search
        if self.sizes is None and (chosen.prior == "natural" or chosen.max_epochs is not None):
            key = "prior" if chosen.prior == "natural" else "max_epochs"
            raise InputError(
                f"{self.config.where('search', key)}: this needs the sizes of the sources, found none; add "
                "sizes: {source: rows or tokens}"
            )
        shrinkage: Any = chosen.shrinkage
        with named(self.config.where("search")):
            search = MixMin(chosen.prior, shrinkage, chosen.tolerance)
            search.check(self.table.sources, self.sizes, chosen.constraints())
        for name, part in self.parts.items():
            documents = np.unique(part.documents[part.weights > 0]).size
            if shrinkage == "cv" and documents < FEWEST_DOCUMENTS:
                raise InputError(
                    f"{self.config.where('search', 'shrinkage')}: cv needs at least {FEWEST_DOCUMENTS} documents of "
                    f"each target, found {documents} of {name}; give a number (0: the exact optimum), or choose other "
                    "targets"
                )
        return search

    def plan(self) -> str:
        """Return how many likelihoods there are."""
        numbers = sum(part.n * part.k for part in self.parts.values())
        targets = f"{len(self.parts)} target" + ("s" if len(self.parts) > 1 else "")
        return f"{numbers:,} likelihoods of {self.table.k} sources and {targets} to search; nothing is trained"

    def work(self, progress: Progress) -> dict[str, Any]:
        """Search for each target, or take what is done; write `mixture.json` and `whatif.json`."""
        searches = []
        for index, name in enumerate(self.parts):
            progress("search", index, len(self.parts), name)
            searches.append(self._searched(name))
        progress("search", 1, 1)
        notes = hand_out(self.folder, [(name, self._stage(name).folder / "mixture.json") for name in self.parts])
        notes += without_width(searches)
        what_if = make_what_if_of_run(
            searches,
            list(self.parts.values()),
            None if self.sizes is None else np.array(self.sizes),
            self.config.search.constraints(),
            self.config.search.prior,
            self.config.seed,
        )
        write_what_if_of_run(self.folder, what_if)
        return self._summary(searches, notes)

    def _stage(self, target: str) -> Stage:
        """Return the search for a target, which depends on the table's content and on all settings."""
        config = self.config
        inputs = {
            "stage": "search",
            "data": file_fingerprint(_content(config.table.path)),
            "version": __version__,
            "table": config.table.model_dump(mode="json", exclude={"path"}),
            "target": target,
            "sizes": self.sizes,
            "seed": config.seed,
            "settings": config.search.model_dump(mode="json"),
        }
        return Stage(self.folder / "search" / folder_name(target), inputs)

    def _searched(self, target: str) -> dict[str, Any]:
        """Return a search's entry in the summary, with its weights; `mixture.json` is in the folder of its stage."""
        chosen, stage = self.config.search, self._stage(target)
        result = stage.result(lambda place, _: MixtureFile.read(place / "mixture.json"))
        if result is None:
            stage.begin()
            limits = chosen.constraints()
            found = self.search.fit(self.parts[target], sizes=self.sizes, constraints=limits, seed=self.config.seed)
            file = resting_on(found.to_file(level=chosen.level), WORDS)
            file.write(stage.folder / "mixture.json")
            result = stage.finish({**search_entry(found, file, target, chosen), "notes": list(found.notes)})
        return {**result, "mixture": "search" if len(self.parts) == 1 else f"search_{target}"}

    def _summary(self, searches: list[dict[str, Any]], notes: list[str]) -> dict[str, Any]:
        sizes: list[Any] = self.sizes or [None] * self.table.k
        seconds = {"table": round(self.reading, 3), **stage_seconds(self.folder, {"search": list(self.parts)})}
        return {
            "sources": [
                {"name": name, "documents": None, "tokens": size}
                for name, size in zip(self.table.sources, sizes, strict=True)
            ],
            "targets": [{"name": s["target"], "documents": s["documents"], "rows": s["rows"]} for s in searches],
            "proxies": WORDS,
            "searches": [{k: v for k, v in s.items() if k != "notes"} for s in without_weights(searches)],
            "mixtures": [{"name": s["mixture"], "kind": "search", "weights": s["weights"]} for s in searches],
            "runs": [],
            "comparisons": [],
            "cost": {"share": None, "seconds": seconds},
            "notes": notes + list(dict.fromkeys(note for search in searches for note in search["notes"])),
            "verdict": "\n".join(untrained_verdict(search, WORDS) for search in searches),
        }


def read_given(given: LikelihoodTableConfig) -> LikelihoodTable:
    """
    Return the table that a configuration names, complete and checked.

    Raises
    ------
    InputError
        It is missing, damaged, incomplete or no table, a column is not there, or its numbers are no log-likelihoods.
    """
    columns = given.columns
    if given.path.is_dir():
        for key in ("values", "tokens", "unit"):
            if getattr(given, key) is not None:
                raise InputError(f"there should be no key {key} for the folder of a table, which says it; remove it")
        if not is_table(given.path):
            raise InputError(
                f"{given.path} should be the folder of a table, found one without {HEADER}; logs of other programs are "
                "read with mixwright table import"
            )
        table = LikelihoodTable.open(given.path)
        table.require_complete()
    elif not given.path.suffix and not given.path.exists():
        raise InputError(
            f"{given.path}: there should be a table here, a file or a folder, found nothing; check the path"
        )
    else:
        names = None if columns is None else list(columns.values())
        unit = given.unit or "row"
        table = LikelihoodTable.from_file(
            given.path, sources=names, values=given.values, tokens=given.tokens, unit=unit
        )
    table = table if columns is None else table.with_sources(columns)
    table.check()
    return table


def _content(path: Path) -> Path:
    """Return the file that changes whenever a table does: a folder's header has the checksums of all others."""
    return path / HEADER if path.is_dir() else path
