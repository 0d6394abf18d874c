"""What the files of a run say of it while it goes; nothing is written, and no claim is taken."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from mixwright.checks import is_number
from mixwright.decisions import LOG, TRAINER_RESTS
from mixwright.errors import InputError
from mixwright.experiment.core.run_folder import command_of
from mixwright.experiment.core.stages import head_of, is_run
from mixwright.experiment.engines.pieces import Piece, planned
from mixwright.experiment.live.logs import GrowingLog, LogCourse
from mixwright.files.claims import Claim, Owner
from mixwright.report.words import duration
from mixwright.steering.known import RECORD

RUNNING, FINISHED, STOPPED, UNKNOWN = "running", "finished", "stopped", "unknown"
_LOSS = "mixture/loss/"
_NAMES = b'"run": {'  # in decisions that name the sources: the first one, and the first one after each change
_TRAINS = "train"  # the stage whose steps metrics.jsonl has
_CHECKPOINTS = "checkpoint-*/trainer_state.json"
_TOLD = ("title", "plan", "note", "why", "ended")  # words in the claim of a run
_MOST = 1e100  # of a loss


@dataclass(frozen=True)
class RunState:
    """
    How far a run is.

    Parameters
    ----------
    folder, command, title
        Its folder, what is typed after `mixwright`, its heading.
    state
        running, finished, stopped (nobody is at work, and it is not finished), or unknown: a former version began it.
    host, silent
        Where it runs, and the seconds since it last said so.
    why
        Why it stopped, where that is known.
    plan, note
        What the run said beforehand that it takes, and what it said last of its stage.
    stages
        {name: [done, of, seconds left (None: unknown)]}, in their order.
    step, loss
        The last step of a training and its loss.
    weights, losses
        By source: in force, and the last training losses.
    weight_course, loss_course
        {"steps": [...], "values": [{source: number}]}.
    pieces
        As `Piece.state` gives them.
    left_out
        Which lines of the logs are damaged, in words; nothing: none that was read.
    """

    folder: str
    command: str
    title: str
    state: str
    host: str = ""
    silent: float | None = None
    why: str = ""
    plan: str = ""
    note: str = ""
    stages: dict[str, list[Any]] = field(default_factory=dict)
    step: int | None = None
    loss: float | None = None
    weights: dict[str, float] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    weight_course: dict[str, Any] = field(default_factory=dict)
    loss_course: dict[str, Any] = field(default_factory=dict)
    pieces: list[dict[str, Any]] = field(default_factory=list)
    left_out: str = ""

    @property
    def goes(self) -> bool:
        """Whether somebody is at work in the run."""
        return self.state == RUNNING or any(piece["state"] == "running" for piece in self.pieces)

    def ended(self, state: str) -> RunState:
        """Return the same in another state."""
        return replace(self, state=state)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON-able values."""
        return dict(vars(self))


class Watched:
    """
    A run that is looked at again and again; what was read once is not read again.

    Parameters
    ----------
    folder
        Of the run, or the output_dir of a transformers Trainer: its log of decisions and its checkpoints are read.

    Raises
    ------
    InputError
        It is no run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.of_trainer = not is_run(folder) and is_trainers(folder)
        if not is_run(folder) and not self.of_trainer:
            found = "none" if not folder.exists() else "a file" if not folder.is_dir() else "another folder"
            raise InputError(f"{folder} should be the folder of a run, found {found}; check the path, or begin the run")
        self.folder = folder
        self._head = head_of(folder, reads_only=True)
        self._metrics = GrowingLog(folder / "metrics.jsonl")
        self._decisions = GrowingLog(folder / LOG, mark=_NAMES)
        self._pieces: dict[str, Piece] = {}
        self._done: dict[str, dict[str, Any]] = {}
        self._claims: dict[str, Claim] = {}  # kept: who reads sees a death by beats that are missing
        self._forget_losses()
        self._forget_weights()

    def _forget_losses(self) -> None:
        self._losses = LogCourse(held=False)
        self._step: int | None = None
        self._loss: float | None = None

    def _forget_weights(self) -> None:
        self._weights = LogCourse(held=True)
        self._sources: list[str] = []

    def look(self, own: Mapping[str, Any] | None = None) -> RunState:
        """
        Return how far the run is now.

        Parameters
        ----------
        own
            What this process, which does the run, says of it; None: what its claim says.
        """
        if self.of_trainer:
            return self._look_at_trainer()
        owner = None if own is not None else self._head.last_owner()
        about = own if own is not None else _told(owner.about) if owner is not None else {}
        if not is_run(self.folder):
            raise InputError(f"{self.folder} was the folder of a run, found that it is gone; check its storage")
        self._read_logs()
        stages = {name: list(found) for name, found in about.get("stages", {}).items()}
        if self._step is not None and _TRAINS in stages:  # the log is newer than a beat
            done, of, left = stages[_TRAINS]
            stages[_TRAINS] = [max(done, min(self._step, of)), of, left]
        return RunState(
            str(self.folder),
            command_of(self.folder) or "",
            about.get("title") or self._title(),
            RUNNING if own is not None else self._state(owner),
            "" if owner is None else owner.host,
            None if owner is None else max(self._head.age(), 0.0),
            about.get("why", ""),
            about.get("plan", ""),
            about.get("note", ""),
            stages,
            self._step,
            self._loss,
            self._weights.last,
            self._losses.last,
            self._weights.to_json(),
            self._losses.to_json(),
            list(self._states()),
            self._left_out(),
        )

    def _look_at_trainer(self) -> RunState:
        """Return what the folder of a transformers Trainer holds; nobody says there that a training is at work."""
        if not is_trainers(self.folder):
            raise InputError(f"{self.folder} was a Trainer's output_dir, found that it is gone; check its storage")
        self._read_logs()
        saved, written = last_checkpoint(self.folder)
        done, of = saved.get("global_step", 0), saved.get("max_steps")
        goes_on = (self._step or 0) > done  # after the newest checkpoint, which may have been the last of fewer steps
        self._step = max(done, self._step or 0) or None
        silent = max(time.time() - max(written, _written(self.folder / LOG)), 0.0)
        finished = bool(of) and done >= of and not goes_on
        state = FINISHED if finished else RUNNING if silent < TRAINER_RESTS else STOPPED
        return RunState(
            str(self.folder),
            "",
            f"The Trainer in {self.folder.absolute().name}",
            state,
            silent=silent,
            why=f"nothing was written for {duration(silent)}" if state == STOPPED else "",
            stages={_TRAINS: [min(self._step or 0, of), of, None]} if of and (finished or done < of) else {},
            step=self._step,
            weights=self._weights.last,
            losses=self._losses.last,
            weight_course=self._weights.to_json(),
            loss_course=self._losses.to_json(),
            left_out=self._left_out(),
        )

    def _state(self, owner: Owner | None) -> str:
        if owner is not None and owner.held and self._head.held():
            return RUNNING
        finished = (self.folder / "summary.json").exists()
        if owner is None:  # of a version without claims, or damaged
            return FINISHED if finished else UNKNOWN
        ended = owner.about.get("ended", FINISHED if finished and not owner.held else STOPPED)
        return FINISHED if finished and ended == FINISHED else STOPPED

    def _title(self) -> str:
        try:
            return str(json.loads((self.folder / "summary.json").read_text(encoding="utf-8"))["title"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return f"The run in {self.folder.absolute().name}"

    def _read_logs(self) -> None:
        anew, lines = self._metrics.more()
        if anew:
            self._forget_losses()
        for line in lines:
            self._metrics.damaged += not self._take_step(line)
        anew, lines = self._decisions.more()
        if anew:
            self._forget_weights()
        for line in lines:
            self._decisions.damaged += not self._decide(line)

    def _left_out(self) -> str:
        logs = (("metrics.jsonl", self._metrics.damaged), (LOG, self._decisions.damaged))
        return "; ".join(
            f"{count:,} damaged {'line' if count == 1 else 'lines'} of {name}" for name, count in logs if count
        )

    def _take_step(self, line: Mapping[str, Any]) -> bool:
        """Take in a line of metrics.jsonl; return whether it is one of a training, or of something else."""
        step, loss, losses = line.get("step"), line.get("loss"), _source_losses(line)
        if step is None:
            return True
        if not _is_step(step) or losses is None or not (loss is None or _is_value(loss)):
            return False
        if losses:
            self._losses.add(step, losses)
        self._step, self._loss = step, self._loss if loss is None else float(loss)
        return True

    def _decide(self, line: Mapping[str, Any]) -> bool:
        """Take in a decision and return True; what is damaged in it, or of unknown sources, is left out: False."""
        run, seen, begins = (line.get(name) for name in ("run", "observation", "begins"))
        run, whole = run if isinstance(run, Mapping) else {}, isinstance(run, Mapping | None)
        if "sources" in run:
            named = run["sources"]
            known = isinstance(named, list) and all(isinstance(name, str) for name in named)
            self._sources = named if known and len(set(named)) == len(named) else []
        prior, weights = self._shares(run.get("prior")), self._shares(line.get("weights"))
        if prior and not self._weights.steps:
            self._weights.add(0, prior)
        if weights and _is_step(begins):
            self._weights.add(begins, weights)
        whole &= bool(weights) and _is_step(begins) and (bool(prior) or run.get("prior") is None)
        if not self.of_trainer:  # metrics.jsonl has the losses
            return whole
        step, losses = (seen.get("step"), seen.get("loss")) if isinstance(seen, Mapping) else (None, None)
        if not _is_step(step) or not isinstance(losses, list | None):
            return False
        found = dict(zip(self._sources, losses or (), strict=False))
        self._losses.add(step + 1, {name: float(loss) for name, loss in found.items() if _is_value(loss)})
        self._step = step + 1
        return whole and all(loss is None or _is_value(loss) for loss in losses or ())

    def _shares(self, found: Any) -> dict[str, float]:
        """Return a list of shares by the names of the sources; nothing where it is no list of as many shares."""
        if not isinstance(found, list) or len(found) != len(self._sources):
            return {}
        fits = all(is_number(share) and 0 <= share <= 1 for share in found)
        return dict(zip(self._sources, map(float, found), strict=True)) if fits else {}

    def _states(self) -> Iterator[dict[str, Any]]:
        """Yield how far the pieces are; those that are done are not asked again."""
        for piece in planned(self.folder, self._pieces):
            self._pieces[piece.key] = piece
            if piece.key not in self._done:
                claim = self._claims.setdefault(piece.key, Claim(piece.place, reads_only=True))
                state = piece.state(claim)
                if state["state"] != "done":
                    yield state
                    continue
                self._done[piece.key] = state
            yield self._done[piece.key]


def is_trainers(folder: Path) -> bool:
    """Say whether a folder is the output_dir of a transformers Trainer with a mixture, outside any run."""
    own = any((folder / name).exists() for name in (LOG, RECORD)) or any(folder.glob(_CHECKPOINTS))
    return own and not any(map(is_run, folder.absolute().parents))


def last_checkpoint(folder: Path) -> tuple[dict[str, Any], float]:
    """Return the steps of a Trainer's newest checkpoint, and when it was written; nothing before there is one."""
    newest = max(folder.glob(_CHECKPOINTS), key=_written, default=None)
    try:
        state = {} if newest is None else json.loads(newest.read_text(encoding="utf-8"))
        numbers = {key: state.get(key) for key in ("global_step", "max_steps")}
    except (OSError, ValueError, AttributeError, RecursionError):  # it is being written, or damaged
        numbers = {}
    return {key: value for key, value in numbers.items() if _is_step(value)}, _written(newest)


def _written(path: Path | None) -> float:
    try:
        return 0.0 if path is None else path.stat().st_mtime
    except OSError:
        return 0.0


def _source_losses(line: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the losses by source in a line of metrics.jsonl, of texts or of pairs; None where one is damaged."""
    found = line.get("source_loss")
    if not isinstance(found, Mapping):
        found = {name[len(_LOSS) :]: value for name, value in line.items() if name.startswith(_LOSS)}
    known = {str(name): value for name, value in found.items() if value is not None}
    fits = all(map(_is_value, known.values()))
    return {name: float(value) for name, value in known.items()} if fits else None


def _is_step(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_value(value: object) -> TypeGuard[float]:
    """Whether a value is a number that a picture can have: its range should not be infinite."""
    return is_number(value) and abs(value) <= _MOST


def _told(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a claim says of a run, without what is damaged."""
    words = {name: about[name] for name in _TOLD if isinstance(about.get(name), str)}
    stages, found = {}, about.get("stages")
    for name, numbers in found.items() if isinstance(found, Mapping) else ():
        if isinstance(numbers, list) and len(numbers) == 3 and all(_is_value(n) and n >= 0 for n in numbers[:2]):
            stages[name] = [*numbers[:2], numbers[2] if _is_value(numbers[2]) else None]
    return {**words, "stages": stages}
