"""Pieces under SLURM: an array script that is submitted, or only written."""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mixwright.errors import DryRun, InputError
from mixwright.experiment.engines.config import EngineConfig, size_of
from mixwright.experiment.engines.pieces import LINES, PIECES, Piece
from mixwright.files import atomic_write, write_json

_SILENT = 600.0  # seconds in which SLURM may not answer
_MOST = 1000  # elements of an array; clusters commonly allow 1,001
_NEVER = {
    "BadConstraints",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "QOSMaxWallDurationPerJobLimit",
}
_NEVER |= {"QOSMaxCpuPerJobLimit", "QOSMaxMemoryPerJob", "AssocMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit"}


class SlurmCluster:
    """
    A cluster under SLURM.

    Parameters
    ----------
    engine
        What each piece needs.
    threads
        Of each piece.
    folder
        The run folder; arrays that a former command submitted there, and that are still there, are taken over.
    """

    def __init__(self, engine: EngineConfig, threads: int | None, folder: Path, poll: float = 5.0) -> None:
        self._engine, self._threads, self.poll = engine, threads, poll
        self._place = folder.resolve() / PIECES / "arrays"
        self._tasks: dict[str, str] = {}  # {job_number: key}
        self._names: set[str] = set()
        self._running: set[str] = set()
        self._answered = time.monotonic()
        if not engine.dry_run:
            self._take_over()

    def check(self) -> None:
        """Raise InputError if SLURM is not there."""
        if not self._engine.dry_run:
            _called("sbatch", "--version")

    def _take_over(self) -> None:
        arrays = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in self._place.glob("*.json")}
        active = self._active(arrays)
        for name, known in arrays.items():
            tasks = {f"{known['job']}_{i}": key for i, key in enumerate(known["keys"])}
            if own := {task: key for task, key in tasks.items() if task in active}:
                self._tasks |= own
                self._names.add(name)

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces over, but for those that a former command has handed over."""
        there = set(self._tasks.values())
        wanted = [piece for piece in pieces if piece.key not in there]
        scripts = [self._written(wanted[start : start + _MOST]) for start in range(0, len(wanted), _MOST)]
        if self._engine.dry_run:
            lines = "\n".join(f"  sbatch {shlex.quote(str(script))}" for script in scripts)
            raise DryRun(
                f"{len(wanted)} pieces are open, nothing was submitted. To submit them:\n{lines}\nthen run the same "
                "command again"
            )
        for script in scripts:
            keys = script.with_suffix(".txt").read_text(encoding="utf-8").split()
            job = _called("sbatch", "--parsable", str(script)).strip().partition(";")[0]
            write_json(script.with_suffix(".json"), {"job": job, "keys": keys})
            self._tasks |= {f"{job}_{i}": key for i, key in enumerate(keys)}
            self._names.add(script.stem)

    def _written(self, pieces: Sequence[Piece]) -> Path:
        """Write the keys and the script of an array; return the script's path."""
        name = f"mixwright-{secrets.token_hex(4)}"
        script = self._place / f"{name}.sh"
        with atomic_write(script.with_suffix(".txt")) as handle:
            handle.write("".join(f"{piece.key}\n" for piece in pieces))
        with atomic_write(script) as handle:
            handle.write(array_script(self._engine, self._threads, self._place, name, len(pieces)))
        return script

    def ended(self) -> Mapping[str, str]:
        """Return the keys of pieces whose task is gone, and the last line of its log."""
        try:
            active = self._active(self._names)
        except InputError:  # a head that restarts does not end a run of days
            if time.monotonic() - self._answered > _SILENT:
                raise
            return {}
        self._answered = time.monotonic()
        if never := next(
            (reason for state, reason in active.values() if state == "PENDING" and reason in _NEVER), None
        ):
            raise InputError(
                f"engine: SLURM should have a node and a limit for each piece, found that it never starts one "
                f"({never}); lower time, cpus, gpus or memory, or choose another partition"
            )
        self._running = {key for task, key in self._tasks.items() if active.get(task, ("", ""))[0] == "RUNNING"}
        gone = [task for task in self._tasks if task not in active]
        return {self._tasks.pop(task): self._why(task) for task in gone}

    def _active(self, names: Collection[str]) -> dict[str, tuple[str, str]]:
        """Return {job_number: (state, reason)} of the tasks of arrays that SLURM still has."""
        if not names:
            return {}
        text = _called("squeue", "-h", "-r", "-o", "%i|%T|%r", f"--name={','.join(sorted(names))}")
        rows = [line.split("|") for line in text.splitlines() if line.count("|") == 2]
        return {
            task: (state, reason) for task, state, reason in rows if state not in ("CANCELLED", "TIMEOUT", "FAILED")
        }

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

    def stop(self) -> None:
        """Cancel the arrays, as far as SLURM answers: what stopped the command is what its user should read."""
        if jobs := sorted({task.partition("_")[0] for task in self._tasks}):
            with suppress(InputError):
                _called("scancel", *jobs)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def array_script(engine: EngineConfig, threads: int | None, place: Path, name: str, count: int) -> str:
    """Return the script of an array, one piece for each element; the keys are in `place/NAME.txt`."""
    most = "" if engine.array is None else f"%{engine.array}"
    memory = None if engine.memory is None else f"{max(1, (size_of(engine.memory) or 0) // 2**20)}M"
    options: dict[str, Any] = {
        "job-name": name,
        "array": f"0-{count - 1}{most}",
        "output": _quoted(f"{place}/%A_%a.log"),
        "open-mode": "append",
        "partition": engine.partition,
        "time": engine.time,
        "cpus-per-task": engine.cpus or threads or 1,
        "gpus": engine.gpus or None,
        "mem": memory,
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
    """Return a value as SLURM reads it from a script: in quotation marks where it has blanks."""
    return f'"{text}"' if any(c.isspace() for c in text) else text


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
        raise InputError(
            f"engine: SLURM should answer {line[0]} within a minute, found that it does not; try again"
        ) from None
    if done.returncode:
        raise InputError(f"engine: {line[0]} failed: {done.stderr.strip() or done.stdout.strip()}; correct that")
    return done.stdout
