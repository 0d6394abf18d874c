"""The proxy models and what they say about the target: one column of likelihoods per source."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import Target, TokenSource, encode
from mixwright.files import file_fingerprint, fingerprint
from mixwright.search.table.table import LikelihoodTable
from mixwright.text import Question, Tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.language_model import DivergedError, train
from mixwright.training.model import build_model, training_flops
from mixwright.training.scoring import score
from mixwright.training.settings import TrainingSettings, described

_BLOCK = 1 << 16


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
    )


def model_inputs(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names a model that training starts from: its settings, or the files of a folder."""
    if "path" in spec:
        return {**spec, "path": file_fingerprint(spec["path"])}
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
        return Proxy(source.name, existing, file_fingerprint(existing), 0)
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


def planned_proxies(config: SearchConfig, names: Sequence[str]) -> list[Proxy]:
    """Return what the proxies will be, as far as their cost goes, before any is trained."""
    settings, known = settings_for(config, config.proxy.tokens, proxy=True), config.proxy.checkpoints
    tokens = settings.steps * settings.batch_size * settings.context
    return [Proxy(n, known.get(n, Path()), "", 0 if n in known else tokens) for n in names]


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


def part_of(progress: Progress, name: str, index: int, parts: int, label: str) -> Progress:
    """Return a progress for part `index` of the equal parts of a stage, each worth 1000."""

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        progress(name, 1000 * index + round(1000 * done / max(total, 1)), 1000 * parts, f"{label} {note}".strip())

    return report


def units_of(config: SearchConfig, target: Target) -> list[str]:
    """Return what the rows of a target's tables are; an answer that is scored alone is one row."""
    if target.config.kind == "questions" and target.config.score == "answer":
        return ["answer"]
    return list(config.search.likelihood)


def target_rows(items: list[Any], tokenizer: Tokenizer, context: int, unit: str) -> TargetRows:
    """Return the rows of a part of a target: of texts, or of answers given their prompts."""
    encoded = encode(tokenizer, items)
    if items and isinstance(items[0], Question):
        return TargetRows.from_questions(encoded, context, "answer", tokenizer.bos)
    return TargetRows.from_documents(encoded, context, unit, tokenizer.bos)


@dataclass(frozen=True)
class Scores:
    """
    What the proxies say about a target.

    Parameters
    ----------
    table
        The likelihoods.
    losses
        [k], the loss of the whole target under each proxy, nats.
    tokens
        Tokens that all proxies together scored.
    """

    table: LikelihoodTable
    losses: list[float]
    tokens: int


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

    Scores are written block by block; what is written is not scored again.
    """
    rows = target_rows(target.search, tokenizer, config.proxy_setting("context"), unit)
    data = fingerprint([target.fingerprint, tokenizer.fingerprint, rows.fingerprint])
    prints = {proxy.source: proxy.fingerprint for proxy in proxies}
    name = folder_name(target.name)
    stage = Stage(folder / "scores" / name / unit, {"stage": "scores", "data": data, "proxies": list(prints.items())})
    path = folder / "table" / name / unit
    _drop_other(path, list(prints), data)
    table = LikelihoodTable.create(
        path,
        list(prints),
        documents=rows.documents,
        target_names=[target.name],
        unit=unit,
        fingerprints=prints,
        data_fingerprint=data,
    )
    result = stage.result() if table.complete else None
    if result is None:
        stage.begin()
        for index, proxy in enumerate(proxies):
            if proxy.source in table.missing:
                report = part_of(progress, "", index, len(proxies), f"per {unit}, {proxy.source}")
                _fill_column(config, table, proxy, tokenizer, rows, report)
        tokens = int(rows.document_tokens.sum()) * len(proxies)
        result = stage.finish({"losses": proxy_losses(table), "tokens": tokens})
    progress("", 1, 1)
    return Scores(table, result["losses"], result["tokens"])


def proxy_losses(table: LikelihoodTable) -> list[float]:
    """Return the loss of all rows under each proxy [k], nats."""
    total = np.zeros(table.k)
    for start in range(0, table.n, _BLOCK):
        stop = min(start + _BLOCK, table.n)
        total -= table.weights[start:stop] @ table.block(start, stop)
    return [float(value) for value in total]


def _drop_other(path: Path, names: list[str], data: str) -> None:
    """Remove a table that was made of other data or for other sources, or cannot be read."""
    if not (path / "table.json").exists():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        table = LikelihoodTable.open(path)
        same = list(table.sources) == names and table.data_fingerprint == data
        del table
    except InputError:  # cut off or damaged: scored again
        same = False
    if not same:
        shutil.rmtree(path)


def _fill_column(
    config: SearchConfig, table: LikelihoodTable, proxy: Proxy, tokenizer: Tokenizer, rows: TargetRows, report: Progress
) -> None:
    """Score the rows of a column that are not there yet."""
    start = table.rows_done(proxy.source)
    if start < table.n:
        model = trained_model(proxy.model, f"the proxy of {proxy.source}", tokenizer, rows.context, proxy.tokens > 0)
        done = start
        for block in score(model, rows, config.proxy_setting("batch_size"), start):
            table.append(proxy.source, block)
            done += len(block)
            report("", done, table.n)
    table.finish(proxy.source)


def trained_model(folder: Path, what: str, tokenizer: Tokenizer, context: int, own: bool = True) -> Any:
    """
    Return a model that this run trained, which is `folder` in the folder of its stage; or somebody's checkpoint.

    Raises
    ------
    InputError
        It cannot be read. The stage of an own one is then removed, so that the same command trains it again: models may
        be deleted to save space, and are trained again only if they are needed.
    """
    try:
        return build_model({"path": str(folder)}, tokenizer, context, 0)
    except InputError as error:
        if not own:
            raise
        shutil.rmtree(folder.parent)
        raise InputError(
            f"the model of {what} is missing or damaged ({error}); what was left of it is removed: run the same "
            "command again, which trains it again"
        ) from error


def flops_per_token(spec: Mapping[str, Any], tokenizer: Tokenizer, context: int) -> float:
    """Return the operations of training a model on one token."""
    return training_flops(build_model(spec, tokenizer, context, 0), 1)


def proxy_cost(config: SearchConfig, tokenizer: Tokenizer, proxies: list[Proxy], scored: int) -> tuple[int, float]:
    """
    Return the tokens that the proxies were trained on, and the operations of training and scoring.

    Scoring is a forward pass: a third of a training step.
    """
    context = config.proxy_setting("context")
    trained = sum(proxy.tokens for proxy in proxies)
    flops = 0.0
    for proxy in proxies:  # those trained here have one size
        if proxy.tokens == 0:
            per_token = flops_per_token({"path": str(proxy.model)}, tokenizer, context)
            flops += per_token * scored / len(proxies) / 3
    if trained:
        per_token = flops_per_token(config.proxy_model().spec(), tokenizer, context)
        share = sum(proxy.tokens > 0 for proxy in proxies) / len(proxies)
        flops += per_token * (trained + scored * share / 3)
    return trained, flops
