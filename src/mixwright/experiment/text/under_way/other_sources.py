"""Sources that come to a training under way: their tokens are made beside it, for the step at which they come."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.experiment.core.stages import Progress, Stage, folder_name, silent
from mixwright.experiment.text.config import SourceConfig
from mixwright.experiment.text.inputs import HASHES, PART, open_sources, tokenize_sources, tokens_stage
from mixwright.experiment.text.overlaps.documents import hash_of
from mixwright.experiment.text.source_files import check_sources, part_of_source
from mixwright.experiment.text.train_config import TrainConfig
from mixwright.files import atomic_write, fingerprint, write_json
from mixwright.files.stores import local
from mixwright.strategy import Strategy
from mixwright.text import Tokenizer, TokenPart, TokenStore, load_tokenizer, write_tokens


class OtherSources:
    """
    The sources in a run folder, for `train`.

    Parameters
    ----------
    run
        The folder.
    measured
        Returns the measures of sources, and what evaluates a model on them.
    check_fed
        Raises InputError if there is nothing to measure for a strategy of these sources.
    """

    def __init__(
        self,
        run: Path,
        measured: Callable[[Sequence[str]], tuple[Mapping[str, Any], Any]],
        check_fed: Callable[[Strategy[Any], Sequence[str]], None],
    ) -> None:
        self._run, self.measured, self.check_fed = run, measured, check_fed

    def store(self, name: str) -> TokenStore:
        """Return the tokens of a source, or of a part of one; InputError if there are none."""
        if not (self._run / "tokens" / folder_name(name) / "done.json").exists():
            raise InputError(
                f"there should be tokens of {name!r} in {self._run}, found none; give its files to mixwright steer "
                f"{self._run}: --add {name}=PATH, or --split SOURCE={name}:PATH,..."
            )
        return open_sources([name], self._run)[0].train


def make_tokens(config: TrainConfig, run: Path, name: str, path: Path, progress: Progress = silent) -> None:
    """
    Make the tokens of a source that is to be added to a run.

    Raises
    ------
    InputError
        The files cannot be read, or the run has, or had, a source of this name.
    """
    place = run / "tokens" / folder_name(name)
    used = InputError(
        f"{name!r} is a source of the run, or was one; to add it again, leave the path out, and give other data "
        "another name"
    )
    if name in config.sources or (place / PART).exists():
        raise used
    one = config.model_copy(update={"sources": {name: SourceConfig.model_validate({"path": local(path).absolute()})}})
    tokenizer, prints = _tokenizer(run), check_sources(one, run, progress)
    if _of_others(tokens_stage(one, run, name, tokenizer, prints[name])):
        raise used
    tokenize_sources(one, run, tokenizer, prints, progress)


def make_parts(config: TrainConfig, run: Path, whole: str, paths: Mapping[str, Path]) -> None:
    """
    Make the parts of a source of a run: each document belongs to the part whose files have its text.

    Raises
    ------
    InputError
        A document is in no part, a part has none, or the source cannot be split.
    """
    if whole not in config.sources:
        close = difflib.get_close_matches(whole, list(config.sources), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"a source of {run / 'config.yaml'} should be split, found {whole!r}{hint}")
    source, fraction = config.sources[whole], config.held_out
    if source.overlap == "drop":
        raise InputError(f"the source {whole!r} leaves documents out (overlap: drop), and cannot be split")
    named = {
        part: source.model_copy(update={"path": local(path).absolute(), "max_documents": None})
        for part, path in paths.items()
    }
    tokenizer = _tokenizer(run)
    held: dict[str, list[tuple[int, str]]] = {}
    chosen: dict[str, list[tuple[int, str]]] = {}
    for held_out in (False, True):
        texts = {
            part: {hash_of(text) for text in part_of_source(each, fraction, held_out)} for part, each in named.items()
        }
        found = _sorted_out(whole, part_of_source(source, fraction, held_out), texts)
        (held if held_out else chosen).update(found)
    _check_complete(run, whole, chosen)
    stages = {part: _stage_of_part(run, whole, part, chosen[part]) for part in paths}
    for part, stage in stages.items():
        _write_part(stage, whole, part, chosen[part], [text for _, text in held[part]], tokenizer)


def _sorted_out(whole: str, texts: Any, parts: Mapping[str, set[int]]) -> dict[str, list[tuple[int, str]]]:
    """Return the numbers and texts of the documents that each part has."""
    found: dict[str, list[tuple[int, str]]] = {part: [] for part in parts}
    for number, text in enumerate(texts):
        name = hash_of(text)
        part = next((part for part, own in parts.items() if name in own), None)
        if part is None:
            raise InputError(
                f"each document of {whole!r} should be in the files of a part, found none for {text[:40]!r}; add a "
                "part with the rest"
            )
        found[part].append((number, text))
    return found


def _check_complete(run: Path, whole: str, chosen: Mapping[str, list[tuple[int, str]]]) -> None:
    store = open_sources([whole], run)[0].train
    if isinstance(store, TokenPart) or store.documents != sum(map(len, chosen.values())):
        raise InputError(f"the files of {whole!r} should be those that the run has read, found others; restore them")
    if empty := [part for part, own in chosen.items() if not own]:
        raise InputError(f"the part {empty[0]!r} should have documents of {whole!r}, found none; check its files")


def _of_others(stage: Stage) -> bool:
    """Return whether the folder of a stage holds what was made from other inputs: the run may be reading it."""
    return stage.result() is None and (stage.folder / "done.json").exists()


def _numbers(own: Sequence[tuple[int, str]]) -> NDArray[np.int64]:
    return np.array([number for number, _ in own], np.int64)


def _stage_of_part(run: Path, whole: str, part: str, own: list[tuple[int, str]]) -> Stage:
    """Return the stage that makes a part; InputError if another source, or another part, has its name."""
    inputs = {"stage": "part", "of": whole, "documents": fingerprint(_numbers(own).tolist())}
    stage = Stage(run / "tokens" / folder_name(part), inputs)
    if _of_others(stage):
        raise InputError(
            f"the part should have a name of its own, found {part!r}, which is a source of the run, or was one; give "
            "it another name"
        )
    return stage


def _write_part(
    stage: Stage, whole: str, part: str, own: list[tuple[int, str]], held: list[str], tokenizer: Tokenizer
) -> None:
    if stage.result() is not None:
        return
    place = stage.folder
    stage.begin()
    for name, values in (
        ("documents.npy", _numbers(own)),
        (HASHES, np.unique(np.array([hash_of(t) for _, t in own], np.uint64))),
    ):
        with atomic_write(place / name, "wb") as handle:
            np.save(handle, values, allow_pickle=False)
    if held:
        write_tokens(place / "held_out", chain(held), tokenizer, {"source": part})
    write_json(place / PART, {"of": whole})
    stage.finish({"documents": len(own), "held_out_documents": len(held)})


def _tokenizer(run: Path) -> Tokenizer:
    if not (run / "tokenizer" / "done.json").exists():
        raise InputError(f"{run} should have its tokenizer, found none yet; wait until it trains")
    return load_tokenizer(run / "tokenizer")
