"""Neural proxies: one small language model per source, trained or taken as it is, and the targets scored by it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.experiment.core.parallel import Work
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.proxies.scores import Scores, Scoring, part_of
from mixwright.experiment.text.proxies.shards import Shards
from mixwright.files import folder_fingerprint
from mixwright.files.models import adapter_base, holds_model, model_fingerprint
from mixwright.search.table.table import LikelihoodTable
from mixwright.text import Tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.language_model import DivergedError, train
from mixwright.training.model import build_model
from mixwright.training.scoring import score
from mixwright.training.settings import TrainingSettings, described


@dataclass(frozen=True)
class Proxy:
    """
    A proxy model on disk.

    Parameters
    ----------
    source
        The source that it knows.
    model
        Folder of the model.
    fingerprint
        Names the model.
    tokens
        Tokens that it was trained on in this run; 0 for an existing checkpoint.
    """

    source: str
    model: Path
    fingerprint: str
    tokens: int


def settings_for(config: SearchConfig, tokens: int, proxy: bool = False) -> TrainingSettings:
    """Return the settings of a training of at least `tokens` tokens, as a proxy or as a final run."""

    def given(name: str) -> Any:
        return config.proxy_setting(name) if proxy else getattr(config.final, name)

    steps = max(1, -(-tokens // (given("batch_size") * given("context"))))
    every = 0 if proxy else config.final.evaluate_every or max(1, steps // 10)
    return TrainingSettings(
        steps=steps,
        batch_size=given("batch_size"),
        context=given("context"),
        learning_rate=given("learning_rate"),
        warmup=round(given("warmup") * steps),
        weight_decay=given("weight_decay"),
        seed=config.seed,
        evaluate_every=every,
        ema=None if proxy else config.final.ema,  # strategies see proxies and references as they are
    )


def model_inputs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names a model that training starts from: its settings, or the files of a folder."""
    if "path" in spec:
        return {**spec, "path": folder_fingerprint(spec["path"])}
    return dict(spec)


def train_proxies(
    config: SearchConfig, folder: Path, tokenizer: Tokenizer, sources: list[TokenSource], progress: Progress
) -> list[Proxy]:
    """Return one proxy per source; existing checkpoints are used as they are, trainings are resumed."""
    proxies = [
        train_proxy(config, folder, tokenizer, source, part_of(progress, "proxies", index, len(sources), source.name))
        for index, source in enumerate(sources)
    ]
    progress("proxies", 1000 * len(sources), 1000 * len(sources))
    return proxies


def train_proxy(
    config: SearchConfig, folder: Path, tokenizer: Tokenizer, source: TokenSource, progress: Progress
) -> Proxy:
    """Return the proxy of a source: an existing checkpoint as it is, or a training, which is resumed."""
    existing = config.proxy.checkpoints.get(source.name)
    if existing is not None:
        return Proxy(source.name, existing, model_fingerprint(existing), 0)
    settings, spec = settings_for(config, config.proxy.tokens, proxy=True), config.proxy_model().spec()
    stage = Stage(
        folder / "proxies" / folder_name(source.name),
        {
            "stage": "proxy",
            "model": model_inputs(spec),
            "settings": described(settings),
            "tokens": {source.name: source.train.fingerprint},
            "tokenizer": tokenizer.fingerprint,
        },
    )
    result = stage.result()
    if result is None:
        stage.begin()
        with named_rate(config, f"the proxy of {source.name}", proxy=True):
            trained = train(spec, {source.name: source.train}, [1.0], settings, stage.folder, tokenizer, progress)
        result = stage.finish({"tokens": trained.tokens, "seconds": trained.seconds})
    return Proxy(source.name, stage.folder / "model", stage.fingerprint, result["tokens"])


@contextmanager
def named_rate(config: SearchConfig, what: str, proxy: bool = False) -> Iterator[None]:
    """Name the key of the learning rate where a training diverges."""
    try:
        yield
    except DivergedError as error:
        given = proxy and config.proxy.learning_rate is not None
        where = config.where("proxy" if proxy else "final", "learning_rate")
        now = config.proxy.learning_rate if given else config.final.learning_rate
        source = ", that of final" if proxy and not given else ""
        raise InputError(f"{where}: {what}: {error} (now {now:g}{source})") from error


def score_target(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    proxies: list[Proxy],
    target: Target,
    unit: str,
    progress: Progress,
) -> Scores:
    """
    Return the likelihoods of a target's rows under each proxy.

    Scores are written block by block; what is written is not scored again, nor what pieces of a cluster scored.
    """
    scoring = _scoring(config, folder, tokenizer, proxies, target, unit)
    shards = Shards(config, folder, target.name, unit)
    model = None
    for index, proxy in enumerate(proxies):
        if proxy.source in scoring.missing:
            report = part_of(progress, "", index, len(proxies), f"per {unit}, {proxy.source}")
            model = _fill_column(config, scoring.table, proxy, tokenizer, scoring.rows, report, model, shards)
    scores = scoring.finish()
    shards.remove()
    progress("", 1, 1)
    return scores


def shards_ahead(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    proxies: list[Proxy],
    target: Target,
    unit: str,
    made: Callable[[str, int, int], Work],
) -> list[Work]:
    """
    Return the pieces that score a target ahead of `score_target`.

    Parameters
    ----------
    config, folder, tokenizer, proxies, target, unit
        As there.
    made
        Returns the piece of a source, from a chunk to the one after its last; the piece calls `score_shard`.
    """
    scoring = _scoring(config, folder, tokenizer, proxies, target, unit, ahead=True)
    return Shards(config, folder, target.name, unit).plan(scoring, made)


def _scoring(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    proxies: list[Proxy],
    target: Target,
    unit: str,
    ahead: bool = False,
) -> Scoring:
    prints = {proxy.source: proxy.fingerprint for proxy in proxies}
    return Scoring(folder, tokenizer, target, unit, config.proxy_setting("context"), prints, ahead)


def score_shard(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    proxy: Proxy,
    shard: tuple[str, str, int, int],
    progress: Progress,
) -> None:
    """Score a part of a target: its name, the unit, the first chunk and the one after the last."""
    target, unit, first, last = shard
    what, own = f"the proxy of {proxy.source}", proxy.tokens > 0
    Shards(config, folder, target, unit).score(
        proxy.source,
        proxy.fingerprint,
        (first, last),
        lambda rows: trained_model(proxy.model, what, tokenizer, rows.context, own),
        progress,
    )


def _fill_column(
    config: SearchConfig,
    table: LikelihoodTable,
    proxy: Proxy,
    tokenizer: Tokenizer,
    rows: TargetRows,
    report: Progress,
    before: Any,
    shards: Shards,
) -> Any:
    """Score the rows of a column that are not there yet; return the model, whose base the next adapter may share."""
    start, model = table.rows_done(proxy.source), before
    if start < table.n:
        blocks = shards.blocks(rows, proxy.source, proxy.fingerprint, start)
        if blocks is None:
            what, own = f"the proxy of {proxy.source}", proxy.tokens > 0
            model = trained_model(proxy.model, what, tokenizer, rows.context, own, before)
            blocks = score(model, rows, config.proxy_setting("batch_size"), start)
        done = start
        for block in blocks:
            table.append(proxy.source, block)
            done += len(block)
            report("", done, table.n)
    table.finish(proxy.source)
    return model


def _base_that_is_gone(folder: Path) -> Path | None:
    """Return the base of a whole adapter where no whole model is there any more; else None."""
    if not holds_model(folder) or (base := adapter_base(folder)) is None or holds_model(base):
        return None
    return base


def trained_model(folder: Path, what: str, tokenizer: Tokenizer, context: int, own: bool = True, on: Any = None) -> Any:
    """
    Return a model that this run trained, which is `folder` in the folder of its stage; or somebody's checkpoint.

    `on`: a model that came from here before, and is not needed any more; see `build_model`.

    Raises
    ------
    InputError
        It cannot be read. The stage of an own one is then removed, so that the same command trains it again: models may
        be deleted to save space, and are trained again only if they are needed. An adapter whose base is not there is
        whole, and stays.
    """
    if own and (base := _base_that_is_gone(folder)) is not None:
        raise InputError(
            f"the model of {what} is an adapter of {base}, which should be there, found no whole model; put it back "
            "(the adapter is kept)"
        )
    try:
        return build_model({"path": str(folder)}, tokenizer, context, 0, on)
    except InputError as error:
        if not own:
            raise
        shutil.rmtree(folder.parent)
        raise InputError(
            f"the model of {what} is missing or damaged ({error}); what was left of it is removed: run the same "
            "command again, which trains it again"
        ) from error
