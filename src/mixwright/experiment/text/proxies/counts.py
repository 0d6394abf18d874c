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
_LEAST, _MOST = 100_000, 50_000_000  # tokens counted of each source where max_tokens is not given
_UNEQUAL = 2.0  # times as many tokens as another source, from which a note says so
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
    most = most_counted(config, sources)
    prints = {source.name: _fingerprint(config, source.train, most) for source in sources}
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
        _fill(config, source, most, [scorings[i] for i in open_ones])
        for i in open_ones:
            seconds[i] += (time.monotonic() - started) / len(open_ones)
    progress("scores", len(sources), len(sources))
    return [scoring.finish(spent) for scoring, spent in zip(scorings, seconds, strict=True)]


def _fill(config: SearchConfig, source: TokenSource, most: int, scorings: Sequence[Scoring]) -> None:
    """Count a source and write its column into tables that lack it."""
    if not scorings:
        return
    with named(config.where_of_proxy()):
        model = count_ngrams(source.train, config.proxy.order, most, config.seed)
    for scoring in scorings:
        if (done := scoring.table.rows_done(source.name)) < scoring.table.n:
            scoring.table.append(source.name, model.score(scoring.rows)[done:])
        scoring.table.finish(source.name)


def most_counted(config: SearchConfig, sources: Sequence[TokenSource]) -> int:
    """
    Return how many tokens of each source are counted, at most.

    By default it is the same number for all: as many as the smallest source has. A model of more text is better for
    that reason alone, and would draw the weight to large sources; neural proxies too see the same number of tokens
    each. A very small source does not hold the others back: 100,000 of theirs are counted.
    """
    if config.proxy.max_tokens is not None:
        return config.proxy.max_tokens
    return min(max(min(source.train.tokens for source in sources), _LEAST), _MOST)


def is_cut(config: SearchConfig, sources: Sequence[TokenSource]) -> bool:
    """Whether a source has more tokens than are counted: then the models depend on the seed."""
    return max(source.train.tokens for source in sources) > most_counted(config, sources)


def counted_tokens(config: SearchConfig, sources: Sequence[TokenSource]) -> int:
    """Return how many tokens are counted, over all sources."""
    most = most_counted(config, sources)
    return sum(min(source.train.tokens, most) for source in sources)


def _fingerprint(config: SearchConfig, store: TokenStore, most: int) -> str:
    cut = [most, config.seed] if store.tokens > most else None
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
    """Return sentences about what count models rest on: parts of sources, and targets far from all sources."""
    return [*_amounts(config, sources), *_far(sources[0].train.vocab_size, scores)]


def _amounts(config: SearchConfig, sources: Sequence[TokenSource]) -> list[str]:
    """Return what to say of how much is counted: of parts of sources, and of small sources beside large ones."""
    most, notes = most_counted(config, sources), []
    cut = [source for source in sources if source.train.tokens > most]
    if cut and config.proxy.max_tokens is None:
        notes.append(
            f"count models rest on {most:,} tokens of each source, whole documents at random: a model of more text is "
            "better for that reason alone (proxy: max_tokens for another number)"
        )
    elif cut:
        notes += [
            f"the count model of {source.name} rests on {most:,} of its {source.train.tokens:,} tokens, whole "
            "documents at random (proxy: max_tokens)"
            for source in cut
        ]
    counted = {source.name: min(source.train.tokens, most) for source in sources}
    largest = max(counted.values())
    if few := {name: tokens for name, tokens in counted.items() if _UNEQUAL * tokens < largest}:
        found = ", ".join(f"{name} {tokens:,}" for name, tokens in list(few.items())[:5])
        notes.append(
            f"some count models rest on far fewer tokens than the largest one, which has {largest:,}: {found}; a model "
            "of less text is worse for that reason alone, so their weights may be too small"
        )
    return notes


def _far(vocab_size: int, scores: Sequence[Scores]) -> list[str]:
    """Return a note for each target on which even the best count model is little better than a guess."""
    guess, notes, seen = math.log(vocab_size), [], set[str]()
    for found in scores:
        name = found.table.target_names[0]
        least = min(found.losses) / (found.tokens / found.table.k)
        if least > _FAR * guess and name not in seen:
            notes.append(
                f"the target {name} is far from all sources: the best count model loses {least:.2f} nats per token on "
                f"it, a guess among all {vocab_size:,} tokens {guess:.2f}; do not rely on its weights"
            )
        seen.add(name)
    return notes
