"""The sources of a run on preference pairs: read and split before any work, then turned into tokens once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.errors import InputError
from mixwright.experiment.core.errors import named
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.preference.config import PairSourceConfig, PreferDataConfig
from mixwright.files import file_fingerprint, fingerprint
from mixwright.preference.pairs.encode import EncodedPairs, encode_pairs
from mixwright.preference.pairs.pairs import Pairs, read_pairs
from mixwright.preference.pairs.splits import leaked_prompts, split_pairs
from mixwright.preference.pairs.tokenizers import find_tokenizer, load_pair_tokenizer

_SEED = 0  # of samples: every run takes the same one


@dataclass(frozen=True)
class PairSource:
    """A source of pairs: those that are trained on, and those held out; `separate`: of a file of their own."""

    name: str
    train: Pairs
    test: Pairs
    separate: bool = False


@dataclass(frozen=True)
class EncodedSource:
    """A source of pairs as tokens."""

    name: str
    train: EncodedPairs
    test: EncodedPairs


def read_sources(config: PreferDataConfig, progress: Progress) -> dict[str, PairSource]:
    """
    Read and split all sources, in order; nothing is written.

    Raises
    ------
    InputError
        Names the place in the configuration, the source, and the first bad row.
    """
    found = {}
    for index, (name, source) in enumerate(config.sources.items()):
        progress("read", index, len(config.sources), name)
        with named(config.where("sources", name)):
            found[name] = _read_source(name, source, config.held_out)
    progress("read", len(found), len(found))
    return found


def _read_source(name: str, source: PairSourceConfig, held_out: float) -> PairSource:
    options: dict[str, Any] = {
        "prompt": None if source.implicit_prompt else source.prompt,
        "chosen": source.chosen,
        "rejected": source.rejected,
        "join": source.join,
        "where": source.where,
        "invalid": source.invalid,
    }
    pairs = read_pairs(source.path, name, **options)
    if source.test is not None:
        train, test = pairs, read_pairs(source.test, name, **options)
    else:
        split = source.split
        by = None if split.by == "hash" or (split.by == "auto" and not _has_split(pairs, source)) else split.by
        by = "split" if by == "auto" else by
        train, test = split_pairs(pairs, by, held_out, train=split.train, test=split.test)
    # Scoring many held-out pairs beside few to train on would be most of the work, and nobody asked for it.
    most = source.max_pairs if source.max_held_out is None else source.max_held_out
    return PairSource(name, _sampled(train, source.max_pairs), _sampled(test, most), source.test is not None)


def _sampled(pairs: Pairs, most: int | None) -> Pairs:
    """Return a random sample of at most this many pairs, in their order: the same one in every run."""
    if most is None or most >= len(pairs):
        return pairs
    return pairs.select(np.sort(np.random.default_rng(_SEED).permutation(len(pairs))[:most]))


def _has_split(pairs: Pairs, source: PairSourceConfig) -> bool:
    values = set(pairs.columns.get("split", ()))
    return bool(values & set(source.split.train)) and bool(values & set(source.split.test))


def notes_of(sources: Mapping[str, PairSource], encoded: Mapping[str, EncodedSource]) -> list[str]:
    """Return what should be said beside the numbers: rows left out, pairs cut, prompts in both parts."""
    notes = [note for source in sources.values() for note in source.train.notes]
    notes += [f"{n} (held out)" for s in sources.values() if s.separate for n in s.test.notes]
    notes += [
        f"{note} ({part})"
        for source in encoded.values()
        for part, pairs in (("to train on", source.train), ("held out", source.test))
        for note in pairs.notes
    ]
    leaks = leaked_prompts({name: (source.train, source.test) for name, source in sources.items()})
    return [*notes, *(str(leak) for leak in leaks)]


def open_tokenizer(config: PreferDataConfig) -> Any:
    """Return the tokenizer of the model, as `load_pair_tokenizer` makes it, with the chat template that was given."""
    with named(config.where("tokenizer" if config.tokenizer is not None else "model")):
        tokenizer = load_pair_tokenizer(config.tokenizer or config.model)
    with named(config.where("pairs", "chat_template")):
        template = config.pairs.template()
    if template != "auto":
        tokenizer.chat_template = template
    return tokenizer


def tokenizer_fingerprint(config: PreferDataConfig) -> str:
    """Return 16 hex digits that name the tokenizer's files and the chat template."""
    folder = find_tokenizer(config.tokenizer or config.model)
    names = ("*token*", "vocab*", "merges*", "*.jinja", "chat_template*", "added_tokens*")
    files = sorted({path.name for name in names for path in folder.glob(name) if path.is_file()})
    return fingerprint([[name, file_fingerprint(folder / name)] for name in files] + [config.pairs.template()])


def encode_sources(
    config: PreferDataConfig, sources: Mapping[str, PairSource], tokenizer: Any, folder: Path, progress: Progress
) -> dict[str, EncodedSource]:
    """
    Return the sources as tokens, in order: out of `tokens/` of the run folder, or made again; nothing is written.

    Raises
    ------
    InputError
        Messages without a chat template, a prompt that is too long (where that is an error), no pair left in a part.
    """
    found, settings = {}, config.pairs.model_dump(mode="json", exclude={"chat_template"})
    stages = _stages(config, sources, folder)
    for index, (name, source) in enumerate(sources.items()):
        progress("tokens", index, len(sources), name)
        parts = {"train": source.train, "test": source.test}
        if (kept := _kept(stages[name])) is not None:
            found[name] = EncodedSource(name, **kept)
            continue
        with named(config.where("sources", name)):
            found[name] = EncodedSource(name, *(encode_pairs(p, tokenizer, **settings) for p in parts.values()))
    progress("tokens", len(found), len(found))
    return found


def keep_tokens(
    config: PreferDataConfig, sources: Mapping[str, PairSource], encoded: Mapping[str, EncodedSource], folder: Path
) -> None:
    """Write what `encode_sources` made to `tokens/` of the run folder, where it is not there yet."""
    for name, stage in _stages(config, sources, folder).items():
        if _kept(stage) is None:
            stage.begin()
            parts = {"train": encoded[name].train, "test": encoded[name].test}
            for part, pairs in parts.items():
                pairs.save(stage.folder / part)
            stage.finish({part: pairs.fingerprint for part, pairs in parts.items()})


def _kept(stage: Stage) -> dict[str, EncodedPairs] | None:
    """Return the parts that a stage has, or None if they are not there or damaged."""
    found: dict[str, EncodedPairs] = {}

    def load(folder: Path, result: dict[str, Any]) -> None:
        found.update({part: EncodedPairs.load(folder / part) for part in ("train", "test")})

    return None if stage.result(load) is None else found


def _stages(config: PreferDataConfig, sources: Mapping[str, PairSource], folder: Path) -> dict[str, Stage]:
    settings, print_ = config.pairs.model_dump(mode="json", exclude={"chat_template"}), tokenizer_fingerprint(config)
    found = {}
    for name, source in sources.items():
        prints = {"train": source.train.fingerprint, "test": source.test.fingerprint}
        inputs = {"stage": "pairs", "source": name, "tokenizer": print_, "pairs": prints, "settings": settings}
        found[name] = Stage(folder / "tokens" / folder_name(name), inputs)
    return found


def check_vocabulary(config: PreferDataConfig, tokenizer: Any, vocabulary: int) -> None:
    """Raise InputError if the tokenizer has more ids than the model has rows in its embedding."""
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{config.where('model')}: the model should have a vocabulary of at least {len(tokenizer)}, that of its "
            f"tokenizer, found {vocabulary}; use the model's own tokenizer"
        )
