"""Doing the pieces of a run with the engine that its configuration names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from mixwright.experiment.core.parallel import Limits, Work, run_all
from mixwright.experiment.core.stages import Progress
from mixwright.experiment.engines.cluster import cluster_of, do_on, on_cluster
from mixwright.experiment.engines.pieces import Piece, pinned_threads, plan, ranks_of
from mixwright.experiment.engines.ranks import do_on_ranks, has_gpus
from mixwright.experiment.engines.work import do_again


def do_pieces(works: Sequence[Work], limits: Limits, progress: Progress, stage: str) -> list[Any]:
    """
    Do pieces of a run and return what came of them, in order, as JSON gives it back.

    Parameters
    ----------
    works
        The arguments of each begin with the run's configuration and folder; the rest is JSON-able. Each may be done
        again at any time, and then finds what it left in the run folder.
    limits
        Processes, threads and memory, where they are done on this machine.
    progress, stage
        As for `run_all`.

    Raises
    ------
    InputError
        As `run_all` does.
    """
    if not works:
        return []
    config = works[0].arguments[0]
    if on_cluster(config):
        threads = config.engine.threads(limits.threads)
        return _on_cluster(config, plan(works, threads, stage), threads, progress, stage)
    pieces = plan(works, limits.threads, stage)
    here = [
        Work(w.name, do_again if piece.ranks == 1 else do_on_ranks, (piece, config), w.size)
        for w, piece in zip(works, pieces, strict=True)
    ]
    return run_all(here, _at_a_time(limits, max(piece.ranks for piece in pieces)), progress, stage)


def _at_a_time(limits: Limits, ranks: int) -> Limits:
    """Return limits at which the ranks of all pieces at work fit: on GPUs one piece, which has all that it needs."""
    if ranks == 1:
        return limits
    return replace(limits, processes=1 if has_gpus() else max(1, limits.processes // ranks))


def do_ahead(works: Sequence[Work], progress: Progress, stage: str) -> None:
    """
    Do as pieces what a run does one after another otherwise: it then finds the stages done.

    Each computes with as many threads as the process that began the run, unless the engine says how many cores it has:
    last digits depend on that. Ranks of a piece share those threads.
    """
    if works:
        config, folder = works[0].arguments[:2]
        threads = config.engine.cpus or max(1, pinned_threads(folder, _threads()) // ranks_of(works[0]))
        do_pieces(works, Limits(threads=threads), progress, stage)


def _threads() -> int:
    try:
        import torch
    except ImportError:
        return os.cpu_count() or 1
    return int(torch.get_num_threads())


def _on_cluster(config: Any, pieces: list[Piece], threads: int | None, progress: Progress, stage: str) -> list[Any]:
    if any(piece.result() is None for piece in pieces):
        ranks = max(piece.ranks for piece in pieces)
        with closing(cluster_of(config, threads, pieces[0].folder, ranks)) as cluster:
            do_on(cluster, pieces, config.engine.tries, progress, stage)
    progress(stage, 1000, 1000)
    return [(piece.result() or {})["value"] for piece in pieces]
