"""The pieces of a search over texts, which a cluster does ahead of the run: proxies, scores, final runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixwright.experiment.core.parallel import Report, Work
from mixwright.experiment.core.stages import Progress, silent
from mixwright.experiment.engines.engine import do_ahead
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.final_runs import FinalRuns
from mixwright.experiment.text.inputs import Target, TokenSource, open_sources, read_target
from mixwright.experiment.text.mixtures import NamedMixture
from mixwright.experiment.text.proxies.neural import score_shard, shards_ahead, train_proxies, train_proxy
from mixwright.text import Tokenizer, load_tokenizer
from mixwright.training.ranks import ONE, Ranks


def proxies_ahead(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: list[TokenSource],
    wanted: Sequence[tuple[Target, str]],
    progress: Progress,
) -> None:
    """Train the proxies, then score what is wanted, (target, unit) each, in shards."""
    trained = [name for name in config.sources if name not in config.proxy.checkpoints]
    works = [Work(f"the proxy of {name}", proxy_piece, (config, folder, name)) for name in trained]
    do_ahead(works, progress, "proxies")
    proxies, works = train_proxies(config, folder, tokenizer, sources, silent), []
    for target, unit in wanted:

        def made(source: str, first: int, last: int, name: str = target.name, unit: str = unit) -> Work:
            what = f"{name} per {unit} by {source}, from chunk {first}"
            return Work(what, score_piece, (config, folder, source, name, unit, first, last), size=last - first)

        works += shards_ahead(config, folder, tokenizer, proxies, target, unit, made)
    do_ahead(works, progress, "scores")


def final_runs_ahead(config: SearchConfig, folder: Path, mixtures: Sequence[NamedMixture], progress: Progress) -> None:
    """Train and measure each mixture; those with the same weights once."""
    unique = {(mixture.weights, mixture.extra_tokens): mixture for mixture in reversed(mixtures)}
    works = [
        Work(
            f"the final run of {m.name}",
            final_piece,
            (config, folder, m.name, m.kind, m.weights, m.target, m.extra_tokens),
        )
        for m in mixtures
        if unique[m.weights, m.extra_tokens] is m
    ]
    do_ahead(works, progress, "final runs")


def proxy_piece(config: SearchConfig, folder: Path, source: str, report: Report) -> None:
    """Train the proxy of a source."""
    tokenizer, sources, _ = _opened(config, folder, [])
    train_proxy(config, folder, tokenizer, next(s for s in sources if s.name == source), _progress(report))


def score_piece(
    config: SearchConfig, folder: Path, source: str, target: str, unit: str, first: int, last: int, report: Report
) -> None:
    """Score some chunks of a target under the proxy of a source, which is there."""
    tokenizer, sources, _ = _opened(config, folder, [])
    proxy = train_proxy(config, folder, tokenizer, next(s for s in sources if s.name == source), silent)
    score_shard(config, folder, tokenizer, proxy, (target, unit, first, last), _progress(report))


def final_piece(
    config: SearchConfig,
    folder: Path,
    name: str,
    kind: str,
    weights: Sequence[float],
    target: str | None,
    extra_tokens: int,
    report: Report,
    ranks: Ranks = ONE,
) -> None:
    """Train and measure a mixture; every rank calls this."""
    tokenizer, sources, targets = _opened(config, folder, list(config.targets))

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "final runs":
            report(0.9 * done / max(total, 1))

    runs = FinalRuns(config, folder, tokenizer, sources, targets, progress, ranks)
    runs.run([NamedMixture(name, kind, tuple(weights), target, extra_tokens)])


def _opened(
    config: SearchConfig, folder: Path, targets: Sequence[str]
) -> tuple[Tokenizer, list[TokenSource], list[Target]]:
    read = [read_target(name, config.targets[name], config.where("targets", name)) for name in targets]
    return load_tokenizer(folder / "tokenizer"), open_sources(list(config.sources), folder), read


def _progress(report: Report) -> Progress:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        report(done / max(total, 1))

    return progress


PIECES: dict[str, Any] = {"proxy": proxy_piece, "scores": score_piece, "final run": final_piece}
