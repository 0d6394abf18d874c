"""Sources and targets: checked before any work, then turned into tokens."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.experiment.core.searches import require_choice
from mixwright.experiment.core.stages import PLAN, Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig, SourceConfig, TargetConfig, TextConfig
from mixwright.experiment.text.models.checks import check_models
from mixwright.experiment.text.overlaps.documents import TargetDocuments, hash_of
from mixwright.experiment.text.source_files import (
    check_lengths,
    documents_of,
    lone_documents,
    named,
    one_document,
    part_of,
    part_of_source,
    source_documents,
)
from mixwright.files import atomic_write, folder_fingerprint
from mixwright.files.models import check_model_folder
from mixwright.files.opening import load_array
from mixwright.search.inputs import FEWEST_DOCUMENTS
from mixwright.search.mixmin import MixMin
from mixwright.text import (
    Question,
    Tokenizer,
    TokenPart,
    TokenStore,
    byte_tokenizer,
    is_held_out,
    load_tokenizer,
    read_questions,
    train_bpe,
    write_tokens,
)
from mixwright.text.readers import Reading, holds_text

_TARGET_SALT = "target"
_WHOLE = {"max_documents": None}  # a sample needs a reading of everything
PART = "part.json"  # of a part of a source that was split under way
HASHES = "hashes.npy"  # of the documents that are trained on
_BPE_CHARACTERS = 5_000_000  # of each source, from its start, that the BPE learns from


@dataclass(frozen=True)
class TokenSource:
    """A source as tokens: what is trained on, and what is held out (None if no document fell to that part)."""

    name: str
    train: TokenStore
    held_out: TokenStore | None


@dataclass(frozen=True)
class Target:
    """
    A target: the documents for the search and those that are held out, none of them in both, none twice.

    Parameters
    ----------
    name
        Its name.
    config
        What the configuration says.
    search, held_out
        Texts, or prompts and answers that are scored given the prompt.
    fingerprint
        Names the content and the split.
    notes
        What was left out of its files, in sentences.
    """

    name: str
    config: TargetConfig
    search: list[str] | list[Question]
    held_out: list[str] | list[Question]
    fingerprint: str
    notes: tuple[str, ...] = ()


def check_inputs(config: SearchConfig) -> None:
    """
    Check everything that can be checked before any work; nothing is written.

    Raises
    ------
    InputError
        A file is missing or its first row cannot be read, a name is unknown, or no weights are allowed.
    """
    names = list(config.sources)
    check_texts(config)
    with named(config.where("search")):
        config.search.check(names, config.search.prior, config.final.tokens)
        shrinkage: Any = config.search.shrinkage
        MixMin(shrinkage=shrinkage, tolerance=config.search.tolerance)
    if isinstance(config.search.prior, dict):
        _check_prior(config, names)
    for name, path in config.proxy.checkpoints.items():
        where = config.where("proxy", "checkpoints", name)
        if name not in config.sources:
            raise InputError(f"{where}: should be the name of a source, found {name!r}; sources: {', '.join(names)}")
        with named(where):
            check_model_folder(path, adapters=True)
    check_models(config)


def check_texts(config: TextConfig) -> None:
    """Raise InputError if the first row of a source or target cannot be read, or there is no tokenizer on disk."""
    for name, source in config.sources.items():
        _first(config.where("sources", name), partial(source_documents, source.model_copy(update=_WHOLE)))
    for name, target in config.targets.items():
        _first(config.where("targets", name), partial(_target_items, target.model_copy(update=_WHOLE)))
    if config.tokenizer.path is not None and not config.tokenizer.path.is_dir():
        where = config.where("tokenizer", "path")
        raise InputError(f"{where}: should be a folder with a tokenizer, found nothing at {config.tokenizer.path}")


def check_sizes(config: SearchConfig, sources: Sequence[TokenSource]) -> None:
    """Raise InputError if no weights are allowed with these numbers of tokens: epochs may limit them."""
    names = [source.name for source in sources]
    with named(config.where("search")):
        sizes = [source.train.tokens for source in sources]
        config.search.check(names, config.search.prior, config.final.tokens, sizes)


def check_choice(config: SearchConfig) -> None:
    """Raise InputError if a search has one source alone."""
    require_choice(config.where("sources"), list(config.sources), "add sources, or train on it with mixwright train")


def check_enough(config: SearchConfig, target: Target) -> None:
    """Raise InputError if a target has too few documents for what the search was asked for."""
    if config.search.shrinkage == "cv" and len(target.search) < FEWEST_DOCUMENTS:
        raise InputError(
            f"{config.where('targets', target.name)}: should have at least {FEWEST_DOCUMENTS} documents for the search "
            f"(shrinkage: cv), found {len(target.search)} and {len(target.held_out)} held out; give more documents, a "
            "smaller held_out, or search: {shrinkage: 0}"
        )


def _check_prior(config: SearchConfig, names: list[str]) -> None:
    prior = config.search.prior
    assert isinstance(prior, dict)
    where = config.where("search", "prior")
    if set(prior) != set(names):
        wrong = sorted(set(prior) ^ set(names))
        raise InputError(
            f"{where}: should give a weight to each source and to nothing else; look at {', '.join(wrong)}"
        )
    if not any(weight > 0 and config.search.caps.get(name, 1) > 0 for name, weight in prior.items()):
        raise InputError(f"{where}: should give weight to a source whose cap is not 0")
    if abs(sum(prior.values()) - 1) > 1e-6:
        raise InputError(f"{where}: the weights should sum to 1, found {sum(prior.values()):g}")


def _first(where: str, items: Callable[[], Iterator[Any]]) -> None:
    """Read the first item; an empty source is an error."""
    with named(where):
        next(items())


def _target_items(target: TargetConfig) -> Reading[Any]:
    """Return the documents or questions of a target."""
    if target.kind == "documents":
        return documents_of(target)
    return read_questions(target.path, prompt=target.prompt, at_most=target.max_documents)


def read_target(name: str, target: TargetConfig, where: str) -> Target:
    """Read a target and split it by the content of its documents; a document that is there twice counts once."""
    search: dict[Any, None] = {}
    held_out: dict[Any, None] = {}
    with named(where):
        items = _target_items(target)
        for item in items:
            text = item if isinstance(item, str) else _question_text(target, item)
            part = held_out if is_held_out(text, target.held_out, _TARGET_SALT) else search
            part[text if target.score == "joint" else item] = None  # jointly scored questions are documents
        for part, what in ((search, "for the search"), (held_out, "held out")):
            if not part:
                raise InputError(
                    f"there should be documents in both parts of the target, found none {what} "
                    f"(held_out: {target.held_out:g}); give more documents or change held_out{one_document(target)}"
                )
    digest = hashlib.sha256()
    for item in (*search, "\0", *held_out):
        digest.update(repr(item).encode())
    return Target(name, target, list(search), list(held_out), digest.hexdigest()[:16], tuple(items.notes))


def held_out_questions(target: Target) -> dict[str, Question]:
    """Return the held-out questions of a target by `held_out_texts`; none where it is made of documents."""
    config = target.config
    if config.kind != "questions":
        return {}
    kept: dict[str, Question] = {}
    for question in read_questions(config.path, prompt=config.prompt, at_most=config.max_documents):
        text = _question_text(config, question)
        if is_held_out(text, config.held_out, _TARGET_SALT):
            kept[text] = question
    return kept


def held_out_texts(target: Target) -> list[str]:
    """Return [d] the texts of a target's held-out rows."""
    return [row if isinstance(row, str) else _question_text(target.config, row) for row in target.held_out]


def _question_text(config: TargetConfig, question: Question) -> str:
    """Return the text whose content says which part of the target a question belongs to."""
    between = "" if config.score == "joint" else "\0"
    return f"{question.prompt}{between}{question.answer}"


def make_tokenizer(config: TextConfig, folder: Path, prints: dict[str, str], progress: Progress) -> Tokenizer:
    """
    Return the tokenizer of a run; it is also in `tokenizer/` of the run folder.

    Parameters
    ----------
    config
        The configuration.
    folder
        The run folder.
    prints
        The fingerprint of each source's files.
    progress
        Called when it is done.
    """
    chosen = config.tokenizer
    inputs: dict[str, Any] = {"stage": "tokenizer", "kind": chosen.kind}
    if chosen.kind == "bpe":
        inputs |= {"vocab_size": chosen.vocab_size, "sources": prints, "split": config.held_out}
    elif chosen.path is not None:
        inputs |= {"path": folder_fingerprint(chosen.path)}
    stage = Stage(folder / "tokenizer", inputs)
    if stage.result(lambda place, _: load_tokenizer(place)) is None:
        progress("tokenizer", 0, 1, chosen.kind)
        stage.begin()
        if chosen.kind == "bytes":
            tokenizer = byte_tokenizer()
        elif chosen.path is not None:
            tokenizer = load_tokenizer(chosen.path)
        else:
            tokenizer = train_bpe(_bpe_texts(config), chosen.vocab_size)
        tokenizer.save(stage.folder)
        stage.finish({"vocab_size": tokenizer.vocab_size})
    progress("tokenizer", 1, 1, chosen.kind)
    return load_tokenizer(stage.folder)


def _bpe_texts(config: TextConfig) -> Iterator[str]:
    """Yield the first part of each source's training documents."""
    for source in config.sources.values():
        size = 0
        for text in part_of_source(source, config.held_out, held_out=False):
            yield text
            size += len(text)
            if size > _BPE_CHARACTERS:
                break


def tokenize_sources(
    config: TextConfig, folder: Path, tokenizer: Tokenizer, prints: dict[str, str], progress: Progress
) -> list[TokenSource]:
    """Return the sources as tokens, in order; what is done is not done again."""
    if config.tokenizer.kind == "bpe":  # the others were there before the run
        check_lengths(config, tokenizer)
    for note in lone_documents(config):
        progress(PLAN, 0, 1, note)
    sources: list[TokenSource] = []
    drops = any(source.overlap == "drop" for source in config.sources.values())
    targets = [read_target(n, t, config.where("targets", n)) for n, t in config.targets.items()] if drops else []
    wanted = TargetDocuments([item for t in targets for item in (*t.search, *t.held_out)], tokenizer) if drops else None
    for index, (name, source) in enumerate(config.sources.items()):
        progress("tokens", index, len(config.sources), name)
        more = {"without": [target.fingerprint for target in targets]} if source.overlap == "drop" else {}
        stage = tokens_stage(config, folder, name, tokenizer, prints[name], **more)
        if stage.result(_check_tokens) is None:
            with named(config.where("sources", name)):
                dropped = wanted if source.overlap == "drop" else None
                _write_source(stage, name, source, config.held_out, tokenizer, dropped)
        sources += open_sources([name], folder)
        with named(config.where("sources", name)):
            for context in set(config.contexts.values()):
                sources[-1].train.rows(context)
    progress("tokens", len(sources), len(sources))
    return sources


def tokens_stage(config: TextConfig, folder: Path, name: str, tokenizer: Tokenizer, files: str, **more: Any) -> Stage:
    """Return the stage of a source's tokens; `files`: their fingerprint, `more`: further inputs."""
    inputs = {"stage": "tokens", "source": name, "files": files, "tokenizer": tokenizer.fingerprint}
    return Stage(folder / "tokens" / folder_name(name), {**inputs, "held_out": config.held_out, **more})


def open_sources(names: Sequence[str], folder: Path) -> list[TokenSource]:
    """Return the sources of a run whose tokens are written."""
    sources = []
    for name in names:
        place = folder / "tokens" / folder_name(name)
        held = place / "held_out"
        train = _open_part(name, folder) if (place / PART).exists() else TokenStore.open(place / "train")
        sources.append(TokenSource(name, train, TokenStore.open(held) if held.exists() else None))
    return sources


def _open_part(name: str, folder: Path) -> TokenPart:
    place = folder / "tokens" / folder_name(name)
    of = json.loads((place / PART).read_text(encoding="utf-8"))["of"]
    whole = TokenStore.open(folder / "tokens" / folder_name(of) / "train")
    return TokenPart(name, whole, load_array(place / "documents.npy"), place / "train")


def _check_tokens(folder: Path, result: Mapping[str, Any]) -> None:
    """Raise an error if the tokens of a source are not whole; runs of former versions do not say what is held out."""
    TokenStore.open(folder / "train")
    load_array(folder / HASHES)
    if (folder / "held_out").exists() or result.get("held_out_documents"):
        TokenStore.open(folder / "held_out")


def _write_source(
    stage: Stage,
    name: str,
    source: SourceConfig,
    fraction: float,
    tokenizer: Tokenizer,
    dropped: TargetDocuments | None,
) -> None:
    """Write the two parts of a source, without what is `dropped`; a document's content says which part it is in."""
    stage.begin()
    hashes, sizes = array("Q"), array("Q")  # 16 bytes a document
    about: dict[str, Any] = {"source": name}

    def kept() -> Iterator[str]:
        left_out, reading = 0, source_documents(source)
        texts = part_of(reading, fraction, held_out=False)
        for text, clean in dropped.without(texts) if dropped else ((text, True) for text in texts):
            if clean:
                hashes.append(hash_of(text))
                sizes.append(len(text))
                yield text
            left_out += not clean
        if left_out and not hashes:
            raise InputError(
                "all its documents are also in a target, or contain one of its documents (overlap: drop); remove the "
                f"source, or keep them{one_document(source)}"
            )
        said = [f"left out {left_out:,} documents that are also in a target (overlap: drop)"] if left_out else []
        if reading.notes or said:  # known only now; the tokens are described once they are written
            about["left_out"] = [*reading.notes, *said]
        if copied := _copied(np.array(hashes, np.uint64), np.array(sizes, np.float64)):
            about["copied"] = copied

    store = write_tokens(stage.folder / "train", kept(), tokenizer, about)
    with atomic_write(stage.folder / HASHES, "wb") as handle:
        np.save(handle, np.unique(np.array(hashes, np.uint64)), allow_pickle=False)
    rest, held = part_of_source(source, fraction, held_out=True), 0
    if (first := next(rest, None)) is not None:
        held = write_tokens(stage.folder / "held_out", chain([first], rest), tokenizer, {"source": name}).documents
    stage.finish({"documents": store.documents, "tokens": store.tokens, "held_out_documents": held})


def _copied(hashes: NDArray[np.uint64], sizes: NDArray[np.float64]) -> float:
    """Return the share of a source's text that is in documents which are copies of earlier ones, word for word."""
    _, first = np.unique(hashes, return_index=True)
    return float(1 - sizes[first].sum() / sizes.sum()) if len(first) < len(hashes) else 0.0


def about_documents(config: TextConfig, sources: Sequence[TokenSource]) -> dict[str, Any]:
    """Return what mixture.json says of documents, for tools that draw them: mean lengths, how files of text are cut."""
    ways = {}
    for name, source in config.sources.items():
        with suppress(InputError):  # the files may be gone by now: their tokens are what counts
            if source.kind != "questions" and holds_text(source.path):
                ways[name] = source.sample_by or "document"
    lengths = {source.name: source.train.tokens / source.train.documents for source in sources}
    return {"tokens_per_document": lengths, **({"sample_by": ways} if ways else {})}
