"""Pieces of a run on disk: what is to be done, who is at it, and what came of it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from mixwright.checks import is_number
from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.parallel import Work
from mixwright.experiment.kinds import of_config
from mixwright.files import atomic_write, fingerprint, write_json
from mixwright.files.claims import Claim
from mixwright.files.stores.copies import in_view
from mixwright.version import __version__

LINES = 5  # of a log, in a message
PARENT = "MIXWRIGHT_PARENT"  # the process that a piece ends with, where one started it
PIECES = "pieces"  # folder in that of the run
ARRAYS = "arrays"  # folder in that one: what was submitted to SLURM, and its logs
_AHEAD = "ahead.json"  # {"threads": of the pieces that a run does ahead}
_PLAN = "plan.json"  # {stage: [keys]} of the command that is, or was last, at work
_LEFT = {"piece.json", "result.json"}
_PACKAGES = ("numpy", "torch", "transformers", "tokenizers", "peft", "accelerate", "scikit-learn", "xgboost", "scipy")
_NO_MATTER = (  # keys of a configuration that no piece depends on
    *(("title",), ("engine",), ("track",), ("seeds",), ("over",), ("error",), ("detect",), ("forecast",)),
    *(("compute", "cores"), ("compute", "memory"), ("training", "checkpoint_every")),
)


@dataclass(frozen=True)
class Piece:
    """
    One piece of a run.

    Parameters
    ----------
    folder
        The run folder.
    key
        Names all that it depends on.
    stage, name
        What people call it: "trainings", "uniform, seed 3".
    what, arguments
        Its row in the table of pieces of its kind of run, and what is given to that function; JSON-able.
    size
        What it weighs in the progress.
    threads
        Each of its processes computes with; None: as many as there are.
    ranks
        Its processes.
    """

    folder: Path
    key: str
    stage: str
    name: str
    what: str
    arguments: list[Any]
    size: float = 1.0
    threads: int | None = None
    ranks: int = 1

    @property
    def place(self) -> Path:
        """Return the folder of the piece."""
        return self.folder / PIECES / self.key

    @property
    def log(self) -> Path:
        """Return the file of what it wrote to the terminal, where it was done by a process of its own."""
        return self.place / "log.txt"

    def write(self) -> None:
        """Write its description, unless it is there."""
        own = {k: v for k, v in vars(self).items() if k not in ("folder", "key")}
        path, values = self.place / "piece.json", {**own, "versions": versions()}
        if _read(path) != json.loads(json.dumps(values)):
            write_json(path, values, durable=False)

    @classmethod
    def read(cls, folder: Path, key: str) -> Piece:
        """Read a description; InputError if there is none."""
        if (found := _described(folder, key)) is None:
            known = ", ".join(piece.key for piece in planned(folder)[:3]) or "none"
            raise InputError(f"{folder} should have a piece {key}, found {known}; see: mixwright piece {folder} --list")
        return found

    def check_versions(self) -> None:
        """Raise InputError if this process has other versions than the one that planned the piece."""
        there, own = (_read(self.place / "piece.json") or {}).get("versions", {}), versions()
        if differ := [
            f"{name} {there[name]} there, {own.get(name)} here" for name in there if there[name] != own.get(name)
        ]:
            raise InputError(
                f"the piece {self.name} should be done with the versions that planned it, found {'; '.join(differ)}; "
                "install the same ones for the command and its workers"
            )

    def result(self) -> dict[str, Any] | None:
        """Return what came of it: `value`, `seconds` and `host`; None as long as it is not done."""
        found = _read(self.place / "result.json")
        return found if found is not None and "value" in found and _fits(found, host=str, seconds=float) else None

    def failure(self) -> dict[str, Any] | None:
        """Return why the last try failed: `error`, `host`, and whether it is one that the user can `correct`."""
        found = _read(self.place / "failed.json")
        return found if found is not None and _fits(found, error=str, host=str, correct=bool) else None

    def keep(self, value: Any, seconds: float, host: str) -> Any:
        """Write what came of it, and return the value as everybody will read it."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        record = {"value": value, "seconds": round(seconds, 3), "host": host, "when": when}
        text = json.dumps(record, default=lambda number: number.item())  # numbers of numpy; nan may be among them
        with atomic_write(self.place / "result.json") as handle:
            handle.write(text + "\n")
        self.forget_failure()
        return json.loads(text)["value"]

    def fail(self, error: str, host: str, correct: bool) -> None:
        """Write why a try failed; on a full disk that cannot be kept, and the error itself says it."""
        try:
            write_json(self.place / "failed.json", {"error": error, "host": host, "correct": correct})
        except (InputError, OSError):
            return

    def forget_failure(self) -> None:
        """Forget the failure of a former try."""
        (self.place / "failed.json").unlink(missing_ok=True)

    def state(self, claim: Claim | None = None) -> dict[str, Any]:
        """Return how far it is: `state` (done, running, failed, open), and what belongs to it; `claim`: to look at."""
        about = {"key": self.key, "stage": self.stage, "name": self.name}
        if (found := self.result()) is not None:
            return {**about, "state": "done", "host": found["host"], "seconds": found["seconds"]}
        claim = claim or Claim(self.place)
        if (owner := claim.owner()) is not None and claim.held():
            told = (
                {"share": owner.share, "seconds": owner.about["seconds"]} if _fits(owner.about, seconds=float) else {}
            )
            return {**about, "state": "running", "host": owner.host, **told}
        if (failed := self.failure()) is not None:
            return {**about, "state": "failed", "host": failed["host"], "error": failed["error"]}
        return {**about, "state": "open"}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fits(found: Mapping[str, Any], **kinds: type) -> bool:
    """Whether fields are there and of their kinds; `float`: seconds or the like, a number of 0 to 1e12."""
    numbers = {name for name, kind in kinds.items() if kind is float}
    return all(isinstance(found.get(name), kind) for name, kind in kinds.items() if name not in numbers) and all(
        is_number(found.get(name)) and 0 <= found[name] <= 1e12 for name in numbers
    )


def _described(folder: Path, key: str) -> Piece | None:
    """Return a piece as its file describes it; None where that is not there, damaged or of a former version."""
    if Path(key).name != key or (found := _read(folder / PIECES / key / "piece.json")) is None:
        return None
    found.pop("versions", None)
    try:
        piece = Piece(folder, key, **found)
    except TypeError:
        return None
    fits = _fits(vars(piece), stage=str, name=str, what=str, arguments=list, size=float, ranks=int)
    return piece if fits and isinstance(piece.threads, int | None) else None


def versions() -> dict[str, str | None]:
    """Return the versions that results depend on; builds for other accelerators count as the same."""
    return {"mixwright": __version__, **{package: _version(package) for package in _PACKAGES}}


@cache
def _version(package: str) -> str | None:
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None


def plan(works: Sequence[Work], threads: int | None, stage: str) -> list[Piece]:
    """Return the pieces of works, whose arguments begin with configuration and run folder; describe them there."""
    config, folder = works[0].arguments[:2]
    names = {function: name for name, function in of_config(config).get("pieces").items()}
    pieces = []
    for work in works:
        what, arguments = names[work.function], list(work.arguments[2:])
        key = _key(what, arguments, threads, config)  # ranks are no part of it, as the engine is none
        pieces.append(Piece(folder, key, stage, work.name, what, arguments, work.size, threads, ranks_of(work)))
    for piece in pieces:
        piece.write()
    keys = {**(_read(folder / PIECES / _PLAN) or {}), stage: [piece.key for piece in pieces]}
    write_json(folder / PIECES / _PLAN, keys, durable=False)
    return pieces


def spread_of(config: RunConfig) -> int:
    """Return the ranks of those pieces of a run that can be spread."""
    engine = getattr(config, "engine", None)
    return 1 if engine is None else int(engine.spread)


def ranks_of(work: Work) -> int:
    """Return the ranks of a piece: those that the engine names, if it can be spread."""
    kind = of_config(work.arguments[0])
    spread = [kind.get("pieces")[name] for name in kind.spread]
    return spread_of(work.arguments[0]) if work.function in spread else 1


def check_planned(piece: Piece, config: RunConfig) -> None:
    """Raise InputError if the run's configuration or data are others than those that a piece was planned with."""
    if _key(piece.what, piece.arguments, piece.threads, config) != piece.key:
        raise InputError(
            f"the piece {piece.name} should be of the configuration and the data of {piece.folder}, found that one of "
            "them changed since it was planned; run the command of the run again, which plans its pieces again"
        )


def is_current(folder: Path, key: str, config: RunConfig) -> bool:
    """Whether a piece that was handed over once is one of the configuration and the data of now."""
    try:
        piece = Piece.read(folder, key)
    except (InputError, TypeError):  # TypeError: of a former version, with other fields
        return False
    return _key(piece.what, piece.arguments, piece.threads, config) == key


def _key(what: str, arguments: list[Any], threads: int | None, config: RunConfig) -> str:
    return fingerprint([what, arguments, threads, _depends(config)])


def planned(folder: Path, known: Mapping[str, Piece] = MappingProxyType({})) -> list[Piece]:
    """Return the pieces that the command at work in a run, or the last one, planned so far; `known` are not read."""
    stages = _read(folder / PIECES / _PLAN) or {}
    every = [key for keys in stages.values() if isinstance(keys, list) for key in keys if isinstance(key, str)]
    found = [known[key] if key in known else _described(folder, key) for key in every]
    return [piece for piece in found if piece is not None]


def tidy(folder: Path, config: RunConfig) -> None:
    """
    Leave of the pieces of a finished run what they were and what came of them, and logs in which something is written.

    Pieces of former configurations, data or versions go whole; those that a former command did for these ones stay.
    """
    stages = _read(folder / PIECES / _PLAN) or {}
    kept = {key for keys in stages.values() if isinstance(keys, list) for key in keys if isinstance(key, str)}
    places = [path for path in (folder / PIECES).glob("*/") if path.name != ARRAYS]
    for place in places:
        if place.name not in kept and not is_current(folder, place.name, config):
            shutil.rmtree(place, ignore_errors=True)
    for path in [p for place in places for p in place.glob("*")] + list((folder / PIECES / ARRAYS).glob("*.log")):
        with suppress(OSError):
            if path.name not in _LEFT and not (path.suffix in (".txt", ".log") and path.stat().st_size):
                path.unlink()


def forget_plan(config: RunConfig, folder: Path) -> None:
    """Forget which pieces a former command planned, and what its data were; what came of the pieces is kept."""
    config._digest = None
    (folder / PIECES / _PLAN).unlink(missing_ok=True)


def pinned_threads(folder: Path, wanted: int) -> int:
    """Return the threads of pieces that a run does ahead: those of the first command, on whatever machine that was."""
    path = folder / PIECES / _AHEAD
    found = _read(path) or {}
    if not isinstance(found.get("threads"), int):
        found = {"threads": wanted}
        write_json(path, found)
    return int(found["threads"])


def _depends(config: RunConfig) -> str:
    """
    Name what all pieces of a run depend on: its configuration, size and time of the files in it, and versions.

    The files are looked at once for each command: a source may be a folder of a million.
    """
    if config._digest is None or config._digest[0] != id(config):  # a copy with changes has another
        values = {name: getattr(config, name) for name in type(config).model_fields if (name,) not in _NO_MATTER}
        config._digest = (id(config), fingerprint([_without(config.dumped()), sorted(_files(values)), versions()]))
    return config._digest[1]


def _without(values: Mapping[str, Any], key: tuple[str, ...] = ()) -> dict[str, Any]:
    kept = {}
    for name, value in values.items():
        here = (*key, name)
        if here not in _NO_MATTER:
            kept[name] = _without(value, here) if isinstance(value, Mapping) else value
    return kept


def _files(value: Any) -> Iterator[list[Any]]:
    if isinstance(value, BaseModel):
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, Path) and (copy := in_view(value)) is not None:  # a version, the same on every machine
        yield [copy, 0, 0]
    elif isinstance(value, Path):
        inside = [p for p in value.rglob("*") if p.is_file()] if value.is_dir() else [value]
        for path in inside:
            try:
                found = os.stat(path)
            except OSError:
                continue
            yield [str(path), found.st_size, found.st_mtime_ns]
    elif isinstance(value, Mapping):
        yield from _files(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _files(part)
