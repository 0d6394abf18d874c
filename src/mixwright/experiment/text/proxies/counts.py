"""Count models as proxies: an n-gram model of each source, counted in seconds, and the targets scored by it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.inputs import Target, TokenSource
from mixwright.experiment.text.proxies.scores import Scores, Scoring
from mixwright.files import fingerprint
from mixwright.text import Tokenizer, TokenStore
from mixwright.text.ngram import count_ngrams

_VERSION = 1  # of the count models; a change counts everything again
_BLOCK = 1 << 20  # tokens
_FAR = 0.9  # share of a uniform guess's loss from which a target counts as far from every source


def score_by_counts(
    config: SearchConfig,
    folder: Path,
    tokenizer: Tokenizer,
    sources: Sequence[TokenSource],
    wanted: Sequence[tuple[Target, str]],
    progress: Progress,
) -> list[Scores]:
    """
    Return the likelihoods under the count model of each source, for each (target, unit) that is wanted.

    A source is counted once, scores everything, and is forgotten: one model is in memory at a time. What is kept, and
    not done again, is a column of the tables.

    Raises
    ------
    InputError
        The order is above what the documents of a source allow, or no token of a target occurs in any source; before
        anything is counted.
    """
    prints = {source.name: _fingerprint(config, source.train) for source in sources}
    context = config.proxy_setting("context")
    scorings = [Scoring(folder, tokenizer, target, unit, context, prints) for target, unit in wanted]
    if any(scoring.missing for scoring in scorings):
        _check_order(config, sources)
        _check_overlap(config, sources, scorings)
    seconds = [0.0] * len(scorings)
    for index, source in enumerate(sources):
        progress("scores", index, len(sources), f"counting {source.name}")
        open_ones = [i for i, scoring in enumerate(scorings) if source.name in scoring.missing]
        started = time.monotonic()
        _fill(config, source, [scorings[i] for i in open_ones])
        for i in open_ones:
            seconds[i] += (time.monotonic() - started) / len(open_ones)
    progress("scores", len(sources), len(sources))
    return [scoring.finish(spent) for scoring, spent in zip(scorings, seconds, strict=True)]


def _fill(config: SearchConfig, source: TokenSource, scorings: Sequence[Scoring]) -> None:
    """Count a source and write its column into tables that lack it."""
    if not scorings:
        return
    with named(config.where_of_proxy()):
        model = count_ngrams(source.train, config.proxy.order, config.proxy.max_tokens, config.seed)
    for scoring in scorings:
        if (done := scoring.table.rows_done(source.name)) < scoring.table.n:
            scoring.table.append(source.name, model.score(scoring.rows)[done:])
        scoring.table.finish(source.name)


def is_cut(config: SearchConfig, source: TokenSource) -> bool:
    """Whether a source has more tokens than are counted: then its model depends on the seed."""
    return source.train.tokens > config.proxy.max_tokens


def counted_tokens(config: SearchConfig, sources: Sequence[TokenSource]) -> int:
    """Return how many tokens are counted, over all sources."""
    return sum(min(source.train.tokens, config.proxy.max_tokens) for source in sources)


def _fingerprint(config: SearchConfig, store: TokenStore) -> str:
    cut = [config.proxy.max_tokens, config.seed] if store.tokens > config.proxy.max_tokens else None
    return fingerprint(["ngram", _VERSION, config.proxy.order, cut, store.fingerprint])


def _check_order(config: SearchConfig, sources: Sequence[TokenSource]) -> None:
    for source in sources:
        longest = int(np.diff(source.train.offsets).max()) - 1
        if config.proxy.order > longest + 1:
            raise InputError(
                f"{config.where_of_proxy('order')}: should be at most {longest + 1}, found {config.proxy.order}: the "
                f"longest document of the source {source.name} has {longest} tokens; lower the order or add text"
            )


def _check_overlap(config: SearchConfig, sources: Sequence[TokenSource], scorings: Sequence[Scoring]) -> None:
    """Raise InputError if no token of a target is in any source; one block of tokens is enough for most."""
    left = {scoring.target.name: np.unique(scoring.rows.tokens) for scoring in scorings}
    for source in sources:
        for start in range(0, source.train.tokens, _BLOCK):
            block = np.unique(source.train.data[start : start + _BLOCK])
            left = {name: ids for name, ids in left.items() if not np.isin(ids, block).any()}
            if not left:
                return
    name = next(iter(left))
    raise InputError(
        f"{config.where('targets', name)}: a target should share tokens with the sources, found none that occurs in "
        "any: count models say nothing about it; check the files and the tokenizer, or use proxy: neural"
    )


def count_notes(config: SearchConfig, sources: Sequence[TokenSource], scores: Sequence[Scores]) -> list[str]:
    """Return sentences about what count models rest on: samples of large sources, and targets far from all sources."""
    notes = [
        f"the count model of {source.name} rests on {config.proxy.max_tokens:,} of its {source.train.tokens:,} tokens, "
        "whole documents at random (proxy: max_tokens)"
        for source in sources
        if is_cut(config, source)
    ]
    guess, seen = math.log(sources[0].train.vocab_size), set[str]()
    for found in scores:
        name = found.table.target_names[0]
        least = min(found.losses) / (found.tokens / found.table.k)
        if least > _FAR * guess and name not in seen:
            notes.append(
                f"the target {name} is far from all sources: the best count model loses {least:.2f} nats per token on "
                f"it, a guess among all {sources[0].train.vocab_size:,} tokens {guess:.2f}; do not rely on its weights"
            )
        seen.add(name)
    return notes
