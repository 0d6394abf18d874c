"""From tables of likelihoods to mixtures: the search itself, and the mixtures that it has to beat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.experiment.core.searches import resting_on, search_entry
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import TokenSource, about_documents
from mixwright.mixture_file import MixtureFile
from mixwright.search.mixmin import MixMin
from mixwright.search.table.table import LikelihoodTable
from mixwright.version import __version__


@dataclass(frozen=True)
class NamedMixture:
    """A mixture of a run: `kind` is uniform, natural, best_single or search; extra_tokens are trained on top."""

    name: str
    kind: str
    weights: tuple[float, ...]
    target: str | None = None
    extra_tokens: int = 0


def search_name(config: SearchConfig, target: str, unit: str) -> str:
    """Return the name of a search's mixture: as short as it can be in this run."""
    parts = ["search"]
    if len(config.targets) > 1:
        parts.append(target)
    if len(config.search.likelihood) > 1 and unit != "answer":
        parts.append(unit)
    return "_".join(parts)


def search_mixture(
    config: SearchConfig,
    folder: Path,
    sources: list[TokenSource],
    table: LikelihoodTable,
    target: str,
    progress: Progress,
) -> dict[str, Any]:
    """
    Return a search's entry in the summary, with its weights.

    Also written: `search/TARGET/UNIT/mixture.json`.
    """
    chosen = config.search
    sizes = [source.train.tokens for source in sources]
    inputs = {
        "stage": "search",
        "data": table.data_fingerprint,
        "version": __version__,
        "proxies": [[source, table.fingerprints.get(source)] for source in table.sources],
        "sizes": sizes,
        "seed": config.seed,
        "settings": chosen.model_dump(mode="json", exclude={"likelihood"}),
        "budget": config.final.tokens if chosen.max_epochs is not None and chosen.budget is None else None,
    }
    stage = Stage(folder / "search" / folder_name(target) / table.unit, inputs)
    result = stage.result(lambda place, _: MixtureFile.read(place / "mixture.json"))
    if result is None:
        stage.begin()
        progress("search", 0, 1, f"per {table.unit}")
        shrinkage: Any = chosen.shrinkage
        found = MixMin(prior=chosen.prior, shrinkage=shrinkage, tolerance=chosen.tolerance).fit(
            table,
            sizes=sizes,
            constraints=chosen.constraints(config.final.tokens),
            seed=config.seed,
        )
        file = found.to_file([source.name for source in sources], level=chosen.level)
        file = replace(file, evidence={**file.evidence, **about_documents(config, sources)})
        if config.proxy.kind == "ngram":
            file = resting_on(file, config.proxy.words)
        file.write(stage.folder / "mixture.json")
        result = stage.finish(search_entry(found, file, target, chosen))
    progress("search", 1, 1)
    return {**result, "mixture": search_name(config, target, table.unit)}


def baselines(config: SearchConfig, sources: list[TokenSource], best: dict[str, int]) -> list[NamedMixture]:
    """
    Return the mixtures that the search has to beat.

    Parameters
    ----------
    config
        Says which are wanted.
    sources
        The sources.
    best
        For each target the position of the source whose proxy has the least loss on it.
    """
    k = len(sources)
    sizes = np.array([source.train.tokens for source in sources], np.float64)
    made: list[NamedMixture] = []
    for kind in config.final.mixtures:
        if kind == "uniform":
            made.append(NamedMixture("uniform", kind, tuple([1 / k] * k)))
        elif kind == "natural":
            made.append(NamedMixture("natural", kind, tuple((sizes / sizes.sum()).tolist())))
        elif kind == "best_single":
            for target, position in best.items():
                name = "best_single" if len(best) == 1 else f"best_single_{target}"
                weights = tuple(float(i == position) for i in range(k))
                made.append(NamedMixture(name, kind, weights, target))
    return made
