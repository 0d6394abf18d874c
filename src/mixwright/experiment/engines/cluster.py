"""Pieces on a cluster: what is open is handed over, what ended is looked at, what failed is tried again."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mixwright.errors import InputError
from mixwright.experiment.core.stages import PLAN, Progress, held_by_another
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.on_ray import RayCluster
from mixwright.experiment.engines.on_slurm import SlurmCluster
from mixwright.experiment.engines.pieces import LINES, Piece
from mixwright.files.claims import Claim

_DRAWN = 2.0  # seconds between two readings of the claims
_NAMED = 3  # failures that a message tells of


class Cluster(Protocol):
    """What the loop needs of a cluster."""

    poll: float  # seconds between two looks

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces over."""

    def ended(self) -> Mapping[str, str]:
        """Return the keys of pieces that ended since the last call, and where it is known why."""

    def running(self) -> Collection[str]:
        """Return the keys of pieces that are at work now, as far as the cluster says."""

    def stop(self) -> None:
        """Cancel what was handed over."""


def on_cluster(config: Any) -> bool:
    """Whether the pieces of a run are done elsewhere than on this machine."""
    return getattr(config, "engine", None) is not None and config.engine.kind != "local"


def cluster_of(engine: EngineConfig, threads: int | None, folder: Path) -> Any:
    """Return the cluster that an engine names, which is there; InputError if it is not."""
    return RayCluster(engine, threads) if engine.kind == "ray" else SlurmCluster(engine, threads, folder)


def check_engine(config: Any, folder: Path) -> None:
    """Raise InputError if the engine of a run that is not finished is not installed, or not there."""
    if on_cluster(config) and not (folder / "summary.json").exists():
        cluster = cluster_of(config.engine, None, folder)
        try:
            cluster.check()
        finally:
            cluster.close()


def do_on(cluster: Cluster, pieces: Sequence[Piece], tries: int, progress: Progress, stage: str) -> None:
    """
    Do all pieces that have no result yet.

    Raises
    ------
    InputError
        Some failed in each of their tries, or in a way that another try would not change; the others are done.
    """
    _Loop(cluster, pieces, tries, progress, stage).do()


class _Loop:
    def __init__(self, cluster: Cluster, pieces: Sequence[Piece], tries: int, progress: Progress, stage: str) -> None:
        self._cluster, self._most, self._progress, self._stage = cluster, tries, progress, stage
        self._pieces = {piece.key: piece for piece in pieces}
        self._left = {key: piece for key, piece in self._pieces.items() if piece.result() is None}
        self._tried: Counter[str] = Counter()
        self._failed: dict[str, str] = {}
        self._shares: dict[str, float] = {}
        self._drawn = 0.0

    def do(self) -> None:
        self._draw()
        try:
            self._submit(list(self._left.values()))
            while self._left:
                self._look()
                if time.monotonic() - self._drawn >= _DRAWN:
                    self._draw()
                if self._left:
                    time.sleep(self._cluster.poll)
        except BaseException:
            # a command that took the run over has taken over what was handed to the cluster, too
            if not held_by_another(next(iter(self._pieces.values())).folder):
                self._cluster.stop()
            raise
        if self._failed:
            raise InputError(self._end())
        self._progress(self._stage, 1000, 1000)

    def _submit(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            piece.forget_failure()
        if pieces:
            self._cluster.submit(pieces)

    def _look(self) -> None:
        again = []
        for key, why in self._cluster.ended().items():
            if (piece := self._left.get(key)) is None:
                continue
            _refresh(piece)
            if piece.result() is not None or self._gives_up(piece, why):
                del self._left[key]
            else:
                again.append(piece)
        self._submit(again)

    def _gives_up(self, piece: Piece, why: str) -> bool:
        """Count a try that failed, and say so; return whether it was the last one."""
        self._tried[piece.key] += 1
        failure = piece.failure() or {}
        said, tried = (
            failure.get("error") or "\n".join(part for part in (why, _tail(piece)) if part),
            self._tried[piece.key],
        )
        where = f" on {failure['host']}" if failure.get("host") else ""
        last = said.strip().splitlines()[-1] if said.strip() else "it left no result"
        if failure.get("correct") or tried >= self._most:
            self._failed[piece.key] = f"{piece.name}{where} (try {tried} of {self._most}): {said.strip() or last}"
            return True
        self._progress(PLAN, 0, 1, f"{piece.name} failed{where}, try {tried} of {self._most}: {last}")
        return False

    def _end(self) -> str:
        ended = list(self._failed.values())
        more = f"; and {len(ended) - _NAMED} more (mixwright piece RUN --list)" if len(ended) > _NAMED else ""
        return (
            f"{len(ended)} of {len(self._pieces)} {self._stage} failed: {'; '.join(ended[:_NAMED])}{more}; the others "
            "are saved: correct that and run the same command again"
        )

    def _draw(self) -> None:
        """Report how far all are, and where some are at work."""
        self._drawn, hosts = time.monotonic(), []
        for key in [key for key in self._cluster.running() if key in self._left][:200]:
            if (owner := Claim(self._left[key].place).owner()) is not None:
                self._shares[key] = max(self._shares.get(key, 0.0), float(owner.about.get("share", 0.0)))
                hosts.append(owner.host)
        total = sum(piece.size for piece in self._pieces.values())
        done = sum(p.size * (self._shares.get(k, 0.0) if k in self._left else 1.0) for k, p in self._pieces.items())
        finished = len(self._pieces) - len(self._left) - len(self._failed)
        note = f"{finished} of {len(self._pieces)}"
        if hosts:
            note += f", {len(hosts)} at work on {', '.join(list(dict.fromkeys(hosts))[:3])}"
        self._progress(self._stage, min(round(1000 * done / total), 999), 1000, note)


def _refresh(piece: Piece) -> None:
    """Make an NFS client ask for a folder again: what it remembers of it ends with a change of its own."""
    probe = piece.place / f".look.{os.getpid()}.tmp"
    try:
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError:
        return


def _tail(piece: Piece) -> str:
    """Return the last lines that a piece wrote to its log."""
    try:
        text = piece.log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-LINES:])
