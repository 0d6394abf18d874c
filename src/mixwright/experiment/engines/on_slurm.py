"""Pieces under SLURM: an array script that is submitted, or only written."""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mixwright.errors import DryRun, InputError, UnreachableError
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.pieces import ARRAYS, LINES, PIECES, Piece
from mixwright.files import atomic_write

_SILENT = 600.0  # seconds in which SLURM may not answer, or refuse what it would take later
_MOST = 1000  # elements of an array; clusters commonly allow 1,001
_NEVER = {
    "BadConstraints",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSMaxWallDurationPerJobLimit",
    "QOSMaxCpuPerJobLimit",
    "QOSMaxMemoryPerJob",
    "AssocMaxCpuPerJobLimit",
    "AssocMaxWallDurationPerJobLimit",
}
_ID = re.compile(r"\d+_\d+")
_PLAIN = re.compile(r"[\w./%+=:,@-]+")
_LATER = re.compile(  # what SLURM says of a submission that may be taken later
    r"timed out|within a minute|unable to contact|connection refused|temporarily|try again|zero bytes|slurm_receive|"
    r"unexpected message|MaxSubmit|submit limit|resource temporarily",
    re.IGNORECASE,
)
_ENDED = {
    "CANCELLED",
    "TIMEOUT",
    "FAILED",
    "COMPLETED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "DEADLINE",
    "BOOT_FAIL",
}


class _Task(NamedTuple):
    """A task of an array, as `squeue` shows it; `id` is job_number."""

    id: str
    state: str
    reason: str
    name: str


class _FailedError(InputError):
    """A command of SLURM failed, or did not answer."""


class SlurmCluster:
    """
    A cluster under SLURM.

    Each array has a name of its own, and a file of that name has its keys: so it is found again by its name, also
    where the answer to `sbatch` was lost, or where somebody submitted the script of a dry run.

    Parameters
    ----------
    engine
        What each piece needs.
    threads
        Of each process of a piece.
    folder
        The run folder; arrays that a former command submitted there, and that are still there, are taken over.
    ranks
        The processes of a piece.
    current
        Whether a key is of the configuration of now; tasks of others are cancelled.
    """

    most = 5 * _MOST

    poll = 5.0

    def __init__(
        self,
        engine: EngineConfig,
        threads: int | None,
        folder: Path,
        ranks: int = 1,
        current: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self._engine, self._threads, self._ranks, self._current = engine, threads, ranks, current
        self._place = folder.resolve() / PIECES / ARRAYS
        _check_place(folder.resolve())
        self._tasks: dict[str, str] = {}  # {job_number: key}
        self._names: set[str] = set()
        self._running: set[str] = set()
        self._pieces: list[Piece] = []  # handed over, and not in a script yet
        self._done: set[str] = set()  # of these, those that somebody did meanwhile
        self._unsent: list[Path] = []  # scripts that SLURM did not take yet
        self._asked_for: set[str] = set()  # names of scripts that it was asked to take
        self._looked = self._ran = False
        self._why_waiting = ""
        self._failing: dict[str, float] = {}  # {command: since when it fails each time}

    def check(self) -> None:
        """Raise InputError if SLURM is not there."""
        if not self._engine.dry_run:
            _called("sbatch", "--version")

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces over, but for those that a former command has handed over."""
        self._pieces += pieces
        if self._engine.dry_run:
            self._dry_run()
        with self._patience("sbatch"):
            self._send()

    def _dry_run(self) -> NoReturn:
        with suppress(InputError):  # no SLURM here, perhaps
            self._take_over()
        scripts = self._scripts()
        lines = "\n".join(f"  sbatch {shlex.quote(str(script))}" for script in scripts)
        count = sum(len(_keys(script)) for script in scripts)
        queued = f" besides the {len(self._tasks)} that SLURM has" if self._tasks else ""
        said = f"To submit them:\n{lines}\nthen run" if scripts else "Wait for those, then run"
        raise DryRun(f"{count} pieces are open{queued}, nothing was submitted. {said} the same command again", scripts)

    def _take_over(self) -> None:
        """Find the arrays that former commands, or people, submitted; cancel tasks of a former configuration."""
        if self._looked:
            return
        keys = {path.stem: _keys(path) for path in self._place.glob("*.txt")}
        found = {task: keys[task.name][int(task.id.partition("_")[2])] for task in self._asked(keys)}
        self._tasks |= {task.id: key for task, key in found.items() if self._current(key)}
        self._names |= {task.name for task in found}
        former = [task.id for task in found if task.id not in self._tasks]
        if former and not self._engine.dry_run:
            at_work = {_job(task) for task in self._tasks}
            with suppress(InputError):  # they refuse to start
                _called("scancel", *sorted({task if _job(task) in at_work else _job(task) for task in former}))
        self._looked = True

    def _send(self) -> None:
        """Submit what was handed over; what SLURM does not take is left for the next time."""
        self._take_over()
        self._unsent += self._scripts()
        while self._unsent:
            script = self._unsent[0]
            job = self._found(script.stem) or self._submitted(script)
            self._tasks |= {f"{job}_{i}": key for i, key in enumerate(_keys(script))}
            self._names.add(script.stem)
            self._unsent.pop(0)

    def _scripts(self) -> list[Path]:
        """Write the scripts of the pieces that were handed over and that no array has."""
        there = set(self._tasks.values())
        wanted, self._pieces = [piece for piece in self._pieces if piece.key not in there], []
        done = {piece.key for piece in wanted if piece.result() is not None}  # while SLURM did not answer
        wanted, self._done = [piece for piece in wanted if piece.key not in done], self._done | done
        return [self._written(wanted[start : start + _MOST]) for start in range(0, len(wanted), _MOST)]

    def _found(self, name: str) -> str | None:
        """Return the job of an array that SLURM took without saying so."""
        if name not in self._asked_for:
            return None
        return next((_job(task.id) for task in self._asked([name])), None)

    def _submitted(self, script: Path) -> str:
        self._asked_for.add(script.stem)
        try:
            return _called("sbatch", "--parsable", str(script)).strip().partition(";")[0]
        except _FailedError as error:
            if self._tasks or _LATER.search(str(error)):
                raise
            raise InputError(f"{error}; correct that") from None  # nothing is at work, and another try would fail too

    def _written(self, pieces: Sequence[Piece]) -> Path:
        """Write the keys and the script of an array; return the script's path."""
        name = f"mixwright-{secrets.token_hex(4)}"
        script = self._place / f"{name}.sh"
        with atomic_write(script.with_suffix(".txt")) as handle:
            handle.write("".join(f"{piece.key}\n" for piece in pieces))
        with atomic_write(script) as handle:
            handle.write(array_script(self._engine, self._threads, self._place, name, len(pieces), self._ranks))
        return script

    @contextmanager
    def _patience(self, command: str) -> Iterator[None]:
        """Bear that SLURM does not answer, for a while: a server that restarts does not end a run of days."""
        try:
            yield
            self._failing.pop(command, None)
        except _FailedError as error:
            now, self._why_waiting = time.monotonic(), f"{error}"
            began = self._failing.setdefault(command, now)
            if command == "sbatch" and self._tasks:  # own pieces are at work, and may be what it is full of
                self._failing[command] = now
            elif now - began > _SILENT:
                raise UnreachableError(
                    f"{error}; correct that, or try again later: what was submitted goes on, and is found again"
                ) from None

    def ended(self) -> Mapping[str, str]:
        """Return the keys of pieces whose task is gone, and the last line of its log."""
        gone: dict[str, str] = {}
        with self._patience("squeue"):
            active = {task.id: task for task in self._asked(self._names)}
            self._judge([task for task in active.values() if task.id in self._tasks])
            self._running = {
                key for task, key in self._tasks.items() if task in active and active[task].state == "RUNNING"
            }
            gone = {task: key for task, key in self._tasks.items() if task not in active}
            self._forget(gone, {task.name for task in active.values()})
        with self._patience("sbatch"):
            self._send()
        done, self._done = self._done, set()
        return {key: self._why(task) for task, key in gone.items()} | dict.fromkeys(done, "")

    def _forget(self, gone: Collection[str], active: Collection[str]) -> None:
        """Forget tasks that are gone, and remove the scripts of arrays without any; logs are kept."""
        for task in gone:
            del self._tasks[task]
        for name in self._names - set(active):
            for suffix in (".txt", ".sh"):
                (self._place / f"{name}{suffix}").unlink(missing_ok=True)
        self._names &= set(active)

    def _judge(self, tasks: Sequence[_Task]) -> None:
        """See why tasks wait; raise InputError if that would be for ever."""
        waiting = Counter(task.reason for task in tasks if task.state == "PENDING")
        self._ran = self._ran or any(task.state == "RUNNING" for task in tasks)
        (reason, count) = waiting.most_common(1)[0] if waiting else ("", 0)
        self._why_waiting = f"{waiting.total()} wait ({reason})" if count else ""
        never = next((reason for reason in waiting if reason in _NEVER), None)
        if never and not self._ran:  # where one ran, others can: its nodes are down for a while
            raise InputError(
                f"engine: SLURM should have a node and a limit for each piece, found that it never starts one "
                f"({never}); lower time, ranks, cpus, gpus or memory, or choose another partition"
            )

    def _asked(self, names: Collection[str]) -> list[_Task]:
        """Return the tasks of arrays that SLURM still has."""
        if not names:
            return []
        text = _called("squeue", "-h", "-r", "-o", "%i|%T|%r|%j", f"--name={','.join(sorted(names))}")
        tasks = [_Task(*line.split("|")) for line in text.splitlines() if line.count("|") == 3]
        return [t for t in tasks if t.state not in _ENDED and t.name in names and _ID.fullmatch(t.id)]

    def _why(self, task: str) -> str:
        """Return what SLURM wrote into the log of a task, such as that its time was over; else the log's last lines."""
        job, _, number = task.partition("_")
        try:
            text = (self._place / f"{job}_{number}.log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return f"its task {task} left no log: the nodes should see the run folder under the same path"
        every = [line for line in text.splitlines() if line.strip()]
        lines = [line for line in every if line.startswith(("slurmstepd", "srun", "/"))]
        return lines[-1] if lines else "\n".join(every[-LINES:])

    def running(self) -> Collection[str]:
        """Return the keys of pieces whose tasks run."""
        return self._running

    def waiting(self) -> str:
        """Return the most common reason for which tasks wait, or what SLURM said last where it does not answer."""
        return self._why_waiting

    def stop(self) -> None:
        """Cancel the arrays, as far as SLURM answers: what stopped the command is what its user should read."""
        jobs = {_job(task) for task in self._tasks}
        with suppress(InputError):
            if lost := [script.stem for script in self._unsent if script.stem in self._asked_for]:
                jobs |= {_job(task.id) for task in self._asked(lost)}
        with suppress(InputError):
            if jobs:
                _called("scancel", *sorted(jobs))

    def close(self) -> None:
        """Do nothing: there is no connection."""


def _job(task: str) -> str:
    return task.partition("_")[0]


def _keys(script: Path) -> list[str]:
    """Return the keys of an array, in the order of its tasks."""
    return script.with_suffix(".txt").read_text(encoding="utf-8").split()


def _check_place(run: Path) -> None:
    """Raise InputError if the lines of a script cannot have the path of a run."""
    if found := [c for c in str(run) if c in "\"'\\" or not c.isprintable()]:
        raise InputError(
            f"{str(run)!r} should be a path without quotation marks, backslashes and line breaks for engine: slurm, "
            f"found {found[0]!r}; choose another folder (--run)"
        )


def array_script(engine: EngineConfig, threads: int | None, place: Path, name: str, count: int, ranks: int = 1) -> str:
    """Return the script of an array, one piece for each element; the keys are in `place/NAME.txt`."""
    most = "" if engine.array is None else f"%{engine.array}"
    needs = engine.needs(threads, ranks)
    options: dict[str, Any] = {
        "job-name": name,
        "array": f"0-{count - 1}{most}",
        "output": _quoted(f"{str(place).replace('%', '%%')}/%A_%a.log"),
        "open-mode": "append",
        "partition": engine.partition,
        "time": engine.time,
        "nodes": 1 if ranks > 1 else None,
        "cpus-per-task": needs.cpus,
        "gpus": needs.gpus or None,
        "mem": None if needs.memory is None else f"{max(1, needs.memory // 2**20)}M",
        "signal": "B:TERM@30",
    }
    head = [f"#SBATCH --{key}={value}" for key, value in options.items() if value is not None]
    run, keys = place.parent.parent, place / f"{name}.txt"
    return "\n".join(
        [
            "#!/bin/bash",
            *head,
            "#SBATCH --no-requeue",
            f"MIXWRIGHT={shlex.quote(f'{shlex.quote(sys.executable)} -m mixwright.cli.main')}",
            *(engine.setup or []),
            f'KEY=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {shlex.quote(str(keys))})',
            f'eval "exec $MIXWRIGHT" piece {shlex.quote(shlex.quote(str(run)))} "$KEY" --quiet',
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Return a value as SLURM reads it from a script: in quotation marks where it has blanks, or what it may take."""
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def _called(*line: str) -> str:
    """Return what a command of SLURM prints; InputError if it is not there or fails."""
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise InputError(
            f"engine: kind: slurm needs the command {line[0]}, found none on this machine; run this on a login node of "
            "the cluster, or give dry_run: true"
        ) from None
    except subprocess.TimeoutExpired:
        raise _FailedError(f"engine: SLURM should answer {line[0]} within a minute, found that it does not") from None
    if done.returncode:
        raise _FailedError(f"engine: {line[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
