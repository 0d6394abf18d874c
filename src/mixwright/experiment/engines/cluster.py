"""Pieces on a cluster: what is open is handed over, what ended is looked at, what failed is tried again."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from mixwright.errors import DryRun, InputError, UnreachableError
from mixwright.experiment.core.stages import PLAN, Progress, held_by_another
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.on_ray import RayCluster
from mixwright.experiment.engines.on_slurm import SlurmCluster
from mixwright.experiment.engines.pieces import LINES, Piece, is_current
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost

_DRAWN = 2.0  # seconds between two readings of the claims
_GLANCED = 30.0  # seconds between two looks at pieces that did not end
_AT_ONCE = 200  # pieces that are looked at then
_NAMED = 3  # failures that a message tells of


class Cluster(Protocol):
    """What the loop needs of a cluster."""

    poll: float  # seconds between two looks
    most: int  # pieces that it has at a time

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces over."""

    def ended(self) -> Mapping[str, str]:
        """Return the keys of pieces that ended since the last call, and where it is known why."""

    def running(self) -> Collection[str]:
        """Return the keys of pieces that are at work now, as far as the cluster says."""

    def waiting(self) -> str:
        """Return why pieces that were handed over do not begin, for people; empty where that is not known."""

    def stop(self) -> None:
        """Cancel what was handed over; raises nothing."""

    def close(self) -> None:
        """Leave the cluster."""


def on_cluster(config: Any) -> bool:
    """Whether the pieces of a run are done elsewhere than on this machine."""
    return getattr(config, "engine", None) is not None and config.engine.kind != "local"


def cluster_of(config: Any, threads: int | None, folder: Path, ranks: int = 1) -> Any:
    """Return the cluster that a run's engine names, for pieces of `ranks` processes; InputError if none is there."""
    engine: EngineConfig = config.engine
    if engine.kind == "ray":  # what a head that died had there ended with it
        return RayCluster(engine, threads, ranks)
    return SlurmCluster(engine, threads, folder, ranks, lambda key: is_current(folder, key, config))


def check_engine(config: Any, folder: Path) -> None:
    """Raise InputError if the engine of a run that is not finished is not installed, or not there, or has no room."""
    if on_cluster(config) and not (folder / "summary.json").exists():
        if compute := getattr(config, "compute", None):
            config.engine.threads(compute.threads)
        cluster = cluster_of(config, None, folder, config.engine.spread)
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
        self._folder, self._every = pieces[0].folder, len({piece.key for piece in pieces})
        self._left = {piece.key: piece for piece in pieces if piece.result() is None}
        self._waiting = deque(self._left)  # to be handed over
        self._out: set[str] = set()  # handed over
        self._seen: Iterator[str] = iter(())  # of those, the ones whose results are looked at in turn
        self._tried: Counter[str] = Counter()
        self._failed: dict[str, str] = {}
        self._reached: dict[str, float] = {}  # the share at the end of the last try
        self._size = sum({piece.key: piece.size for piece in pieces}.values())
        self._open = sum(piece.size for piece in self._left.values())
        self._drawn, self._glanced = 0.0, time.monotonic()

    def do(self) -> None:
        self._draw()
        try:
            while self._left:
                self._hand_over()
                self._look()
                if time.monotonic() - self._drawn >= _DRAWN:
                    self._draw()
                if self._left:
                    time.sleep(self._cluster.poll)
        except BaseException as error:
            # a command that took the run over has taken over what was handed to the cluster, too
            if not isinstance(error, ClaimLost | UnreachableError | DryRun) and not held_by_another(self._folder):
                self._cluster.stop()
            raise
        if self._out:  # somebody else did what these were to do
            self._cluster.stop()
        if self._failed:
            raise InputError(self._end())
        self._progress(self._stage, 1000, 1000)

    def _hand_over(self) -> None:
        """Fill up what the cluster has, once half of it is done: what it must be asked about stays small."""
        if self._waiting and len(self._out) <= self._cluster.most // 2:
            count = min(self._cluster.most - len(self._out), len(self._waiting))
            self._submit(
                [self._left[key] for key in (self._waiting.popleft() for _ in range(count)) if key in self._left]
            )

    def _submit(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            piece.forget_failure()
        self._out |= {piece.key for piece in pieces}
        if pieces:
            self._cluster.submit(pieces)

    def _look(self) -> None:
        again = []
        for key, why in self._cluster.ended().items():
            self._out.discard(key)
            if (piece := self._left.get(key)) is None:
                continue
            _refresh(piece)
            if piece.result() is not None or self._gives_up(piece, why):
                self._close(piece)
            else:
                again.append(piece)
        if time.monotonic() - self._glanced >= _GLANCED:
            self._glance()
        self._submit(again)

    def _close(self, piece: Piece) -> None:
        del self._left[piece.key]
        self._open -= piece.size

    def _glance(self) -> None:
        """Look at some pieces that did not end: another scheduler may have done them."""
        self._glanced = time.monotonic()
        keys = list(islice(self._seen, _AT_ONCE))
        if len(keys) < _AT_ONCE:
            self._seen = iter(list(self._left))
        for piece in [self._left[key] for key in keys if key in self._left]:
            if piece.result() is not None:
                self._close(piece)

    def _gives_up(self, piece: Piece, why: str) -> bool:
        """Say that a try failed, and count it unless it advanced; return whether it was the last one."""
        failure, advanced = piece.failure() or {}, self._advanced(piece)
        self._tried[piece.key] += not advanced
        tried = self._tried[piece.key]
        said = str(failure.get("error") or "\n".join(part for part in (why, _tail(piece)) if part)).strip()
        where = f" on {failure['host']}" if failure.get("host") else ""
        last = said.splitlines()[-1] if said else "it left no result"
        if failure.get("correct") or tried >= self._most:
            self._failed[piece.key] = f"{piece.name}{where} (try {max(tried, 1)} of {self._most}): {said or last}"
            return True
        counted = (
            f"it goes on from {100 * self._reached[piece.key]:.0f} %" if advanced else f"try {tried} of {self._most}"
        )
        self._progress(PLAN, 0, 1, f"{piece.name} failed{where}, {counted}: {last}")
        return False

    def _advanced(self, piece: Piece) -> bool:
        """Whether a try came further than those before: one that is cut off by its time is no failure then."""
        owner = Claim(piece.place).last_owner()
        share = 0.0 if owner is None else owner.share
        advanced = share > self._reached.get(piece.key, 0.0)
        self._reached[piece.key] = max(share, self._reached.get(piece.key, 0.0))
        return advanced

    def _end(self) -> str:
        ended = list(self._failed.values())
        more = f"; and {len(ended) - _NAMED} more (mixwright piece RUN --list)" if len(ended) > _NAMED else ""
        return (
            f"{len(ended)} of {self._every} {self._stage} failed: {'; '.join(ended[:_NAMED])}{more}; the others "
            "are saved: correct that and run the same command again"
        )

    def _draw(self) -> None:
        """Report how far all are, and where some are at work or why they wait."""
        hosts, begun = [], 0.0
        for key in islice((key for key in self._cluster.running() if key in self._left), _AT_ONCE):
            if (owner := Claim(self._left[key].place).owner()) is not None:
                begun += self._left[key].size * owner.share
                hosts.append(owner.host)
        done = (self._size - self._open + begun) / self._size
        note = f"{self._every - len(self._left) - len(self._failed)} of {self._every}"
        if hosts:
            note += f", {len(hosts)} at work on {', '.join(list(dict.fromkeys(hosts))[:3])}"
        if why := self._cluster.waiting():
            note += f", {why}"
        self._progress(self._stage, min(round(1000 * done), 999), 1000, note)
        self._drawn = time.monotonic()


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
