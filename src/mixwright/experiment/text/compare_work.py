"""The pieces of a comparison of texts that run in processes of their own: proxies, searches, trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from mixwright.experiment.core.parallel import Report, Work, part_of
from mixwright.experiment.core.stages import Stage, folder_name, silent
from mixwright.experiment.text.compare_config import ArmConfig, CompareConfig
from mixwright.experiment.text.comparing.prepared import Prepared, of_seed, prepared, progress_of
from mixwright.experiment.text.comparing.training import training_work
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.mixtures import search_mixture
from mixwright.experiment.text.proxies.counts import count_notes, is_cut, most_counted, score_by_counts
from mixwright.experiment.text.proxies.neural import score_shard, score_target, shards_ahead, train_proxy
from mixwright.experiment.text.proxies.online import mean_weights, reference_of
from mixwright.experiment.text.proxies.scores import Scores, units_of
from mixwright.experiment.text.proxies.search_config import MethodConfig
from mixwright.search.table.table import LikelihoodTable
from mixwright.search.worst_regret import WorstRegret

Searched = dict[int, dict[str, dict[str | None, list[float]]]]  # by seed, arm and target


def unit_of(config: CompareConfig, arm: ArmConfig, target: Target) -> str:
    """Return what a row of the table is that an arm searches over."""
    units = units_of(config, target)
    return units[0] if units == ["answer"] else arm.likelihood or units[0]


def proxy_work(config: CompareConfig, folder: Path, seed: int, source: str, report: Report) -> None:
    """Train the proxy of a source with a seed."""
    opened = prepared(config, folder)
    wanted = next(s for s in opened.sources if s.name == source)
    train_proxy(config.with_seed(seed), of_seed(folder, seed), opened.tokenizer, wanted, progress_of(report))


def reference_work(config: CompareConfig, folder: Path, seed: int, number: int, report: Report) -> None:
    """Train the reference of an arm with a seed."""
    opened, own = prepared(config, folder), config.with_seed(seed)
    reference_of(own, of_seed(folder, seed), opened.tokenizer, opened.sources, config.arms[number], progress_of(report))


def proxy_run_work(config: CompareConfig, folder: Path, seed: int, number: int, report: Report) -> list[float]:
    """Return the weights that an arm's proxy run finds with a seed."""
    opened, own = prepared(config, folder), config.with_seed(seed)
    place, arm = of_seed(folder, seed), config.arms[number]
    return mean_weights(own, place, opened.tokenizer, opened.sources, opened.targets, arm, progress_of(report))


@dataclass(frozen=True)
class ArmEvidence:
    """One kind of proxies with one seed: the configuration that has them, the folder, and (target, unit) to score."""

    config: CompareConfig
    place: Path
    wanted: tuple[tuple[str, str], ...]

    def given(self, folder: Path) -> tuple[int, str]:
        """Return the seed and the folder, within that of the run, by which `evidence` has it."""
        return self.config.seed, self.place.relative_to(folder).as_posix()


def evidence(
    config: CompareConfig, folder: Path, sources: Sequence[TokenSource], targets: Sequence[Target], seed: int
) -> dict[Path, ArmEvidence]:
    """Return what the arms with a seed rest on, by folder; those with the same proxies share it."""
    found: dict[Path, ArmEvidence] = {}
    for arm in config.arms:
        if arm.searches:
            own = config.with_proxy(arm).with_seed(seed)
            place = _evidence_place(own, folder, sources)
            before = found[place].wanted if place in found else ()
            wanted = dict.fromkeys([*before, *((t.name, unit_of(config, arm, t)) for t in targets)])
            found[place] = ArmEvidence(own, place, tuple(wanted))
    return found


def _evidence_place(config: CompareConfig, folder: Path, sources: Sequence[TokenSource]) -> Path:
    """Return the folder of what arms with these proxies rest on; count models of whole sources know no seed."""
    if config.proxy.kind == "neural":
        return of_seed(folder, config.seed)
    cut = is_cut(config, sources)
    name = f"order_{config.proxy.order}" + (f"_{most_counted(config, sources)}" if cut else "")
    return (of_seed(folder, config.seed) if cut else folder) / "ngram" / name


def count_work(config: CompareConfig, folder: Path, seed: int, place: str, report: Report) -> list[str]:
    """Count the sources and score the targets; return sentences about what that rests on."""
    opened = prepared(config, folder)
    found = evidence(config, folder, opened.sources, opened.targets, seed)[folder / place]
    return count_notes(found.config, opened.sources, _count_scores(opened, found, report))


def _count_scores(opened: Prepared, found: ArmEvidence, report: Report) -> list[Scores]:
    """Return the scores of count models, in the order of what is wanted; what is there is not counted again."""
    by_name = {target.name: target for target in opened.targets}
    wanted = [(by_name[name], unit) for name, unit in found.wanted]
    return score_by_counts(found.config, found.place, opened.tokenizer, opened.sources, wanted, progress_of(report))


def search_work(
    config: CompareConfig, folder: Path, seed: int, report: Report
) -> list[tuple[str, str | None, list[float]]]:
    """Score the targets, and return the weights that each arm finds with a seed: its name, the target, the weights."""
    opened = prepared(config, folder)
    every = evidence(config, folder, opened.sources, opened.targets, seed)
    scores: dict[tuple[Path, str, str], Scores] = {}
    for number, (place, found) in enumerate(every.items()):
        part = part_of(report, number, 2 * len(every))
        made = (_neural_scores if found.config.proxy.kind == "neural" else _count_scores)(opened, found, part)
        scores |= {(place, *row): score for row, score in zip(found.wanted, made, strict=True)}
    arms = [arm for arm in config.arms if arm.searches]
    weights: list[tuple[str, str | None, list[float]]] = []
    for number, arm in enumerate(arms):
        own = config.with_proxy(arm).with_seed(seed)
        place = _evidence_place(own, folder, opened.sources)
        by_target = {t.name: scores[place, t.name, unit_of(config, arm, t)] for t in opened.targets}
        found_for = _found(own, of_seed(folder, seed), opened, arm, by_target)
        weights += [(arm.title, goal, found_weights) for goal, found_weights in found_for.items()]
        report(0.5 + 0.5 * (number + 1) / len(arms))
    return weights


def _neural_scores(opened: Prepared, found: ArmEvidence, report: Report) -> list[Scores]:
    own, place, tokenizer = found.config, found.place, opened.tokenizer
    proxies = [train_proxy(own, place, tokenizer, s, progress_of(lambda share: None)) for s in opened.sources]
    by_name, scores = {target.name: target for target in opened.targets}, []
    for number, (name, unit) in enumerate(found.wanted):
        part = part_of(report, number, len(found.wanted))
        scores.append(score_target(own, place, tokenizer, proxies, by_name[name], unit, progress_of(part)))
    return scores


def score_works(config: CompareConfig, folder: Path, seed: int) -> list[Work]:
    """Return the pieces that score the targets of neural proxies with a seed, which are there."""
    opened, works = prepared(config, folder), []
    for found in evidence(config, folder, opened.sources, opened.targets, seed).values():
        own, place, by_name = found.config, found.place, {target.name: target for target in opened.targets}
        if own.proxy.kind != "neural":
            continue
        proxies = [train_proxy(own, place, opened.tokenizer, s, silent) for s in opened.sources]
        for name, unit in found.wanted:

            def made(source: str, first: int, last: int, name: str = name, unit: str = unit) -> Work:
                what = f"{name} per {unit} by {source}, from chunk {first}, seed {seed}"
                return Work(what, score_work, (config, folder, seed, source, name, unit, first, last), last - first)

            works += shards_ahead(own, place, opened.tokenizer, proxies, by_name[name], unit, made)
    return works


def score_work(
    config: CompareConfig,
    folder: Path,
    seed: int,
    source: str,
    target: str,
    unit: str,
    first: int,
    last: int,
    report: Report,
) -> None:
    """Score some chunks of a target under the proxy of a source with a seed."""
    opened = prepared(config, folder)
    found = next(
        e
        for e in evidence(config, folder, opened.sources, opened.targets, seed).values()
        if e.config.proxy.kind == "neural"
    )
    wanted = next(s for s in opened.sources if s.name == source)
    proxy = train_proxy(found.config, found.place, opened.tokenizer, wanted, silent)
    score_shard(found.config, found.place, opened.tokenizer, proxy, (target, unit, first, last), progress_of(report))


def _found(
    config: CompareConfig, place: Path, opened: Prepared, arm: ArmConfig, by_target: Mapping[str, Scores]
) -> dict[str | None, list[float]]:
    """Return an arm's weights by target."""
    k = len(opened.sources)
    if arm.baseline == "best_single":
        return {t: np.eye(k)[int(np.argmin(s.losses))].tolist() for t, s in by_target.items()}
    given = arm.settings or config.search
    settings = given.model_dump(exclude={"likelihood"})
    folder = place / "arms" / folder_name(arm.title)
    if arm.search == "worst_regret":
        return {None: _worst_regret(config, arm, folder, opened, [s.table for s in by_target.values()])}
    own = config.model_copy(update={"search": MethodConfig(**settings, likelihood=["chunk"])})
    silent = progress_of(lambda share: None)
    return {t: search_mixture(own, folder, opened.sources, s.table, t, silent)["weights"] for t, s in by_target.items()}


def _worst_regret(
    config: CompareConfig, arm: ArmConfig, folder: Path, opened: Prepared, tables: Sequence[LikelihoodTable]
) -> list[float]:
    """Return the weights with the least worst regret over all targets; `worst_regret/mixture.json` is written."""
    chosen, names = arm.settings or config.search, [s.name for s in opened.sources]
    inputs = {
        "stage": "worst regret",
        "tables": [[t.data_fingerprint, t.fingerprints] for t in tables],
        "settings": chosen.model_dump(mode="json", exclude={"likelihood"}),
        "seed": config.seed,
        "budget": config.final.tokens,
    }
    stage = Stage(folder / "worst_regret", inputs)
    result = stage.result()
    if result is None:
        stage.begin()
        shrinkage = 0.0 if isinstance(chosen.shrinkage, str) else float(chosen.shrinkage)
        found = WorstRegret(shrinkage=shrinkage, prior=chosen.prior).fit(
            _joined(tables),
            constraints=chosen.constraints(config.final.tokens),
            sizes=[s.train.tokens for s in opened.sources],
            seed=config.seed,
        )
        found.save(stage.folder / "mixture.json", names)
        result = stage.finish({"weights": found.weights.tolist(), "gap": float(found.gap)})
    return cast(list[float], result["weights"])


def _joined(tables: Sequence[LikelihoodTable]) -> LikelihoodTable:
    first, start, documents = tables[0], 0, []
    for table in tables:
        _, numbers = np.unique(table.documents, return_inverse=True)
        documents.append(numbers + start)
        start += int(numbers.max()) + 1
    return LikelihoodTable.from_array(
        np.concatenate([t.block(0, t.n) for t in tables]),
        first.sources,
        documents=np.concatenate(documents),
        weights=np.concatenate([t.weights for t in tables]),
        targets=np.concatenate([np.full(t.n, i) for i, t in enumerate(tables)]),
        target_names=[t.target_names[0] for t in tables],
        unit=first.unit,
        values="log_likelihood",
    )


PIECES = {
    "proxy": proxy_work,
    "counts": count_work,
    "scores": score_work,
    "search": search_work,
    "reference": reference_work,
    "proxy run": proxy_run_work,
    "training": training_work,
}
