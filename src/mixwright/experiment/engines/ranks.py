"""Pieces of several ranks: what is checked before any work, and who starts the ranks and waits for them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, missing_extra
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.stages import check_held
from mixwright.experiment.engines.cluster import on_cluster
from mixwright.experiment.engines.pieces import PARENT, Piece, spread_of
from mixwright.experiment.engines.processes import command, in_a_process
from mixwright.experiment.kinds import of_config
from mixwright.files.claims import Claim


def check_ranks(config: RunConfig, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Raise InputError if the pieces of a run that is not finished cannot have the ranks that its engine names."""
    ranks = spread_of(config)
    if (folder / "summary.json").exists() or (ranks == 1 and not on_cluster(config)):
        return
    if (found := environment.get("WORLD_SIZE", "1")) != "1":
        raise InputError(
            f"{config.where('engine')}: the command that hands pieces over should be one process, found {found} ranks; "
            "start it without torchrun: engine: {ranks: N} gives ranks to the pieces"
        )
    if ranks > 1:
        _check_shared_out(config, ranks)
        _check_torch(config, ranks)


def _check_shared_out(config: RunConfig, ranks: int) -> None:
    """Raise InputError if nothing can be spread over ranks, or a step cannot be shared out to them."""
    steps = config.shared_out()
    if not steps:
        raise InputError(
            f"{config.where('engine', 'ranks')}: ranks should go with trainings of final models, arms or specialists, "
            f"found a {of_config(config).noun} without; its pieces are one process each: remove ranks"
        )
    for key, (batch_size, accumulate) in steps.items():
        if batch_size % (ranks * accumulate):
            raise InputError(
                f"{config.where(*key)}: batch_size should be a multiple of ranks x accumulate "
                f"({ranks} x {accumulate}), found {batch_size}; change one of them"
            )


def _check_torch(config: RunConfig, ranks: int) -> None:
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "lm") from error
    where = config.where("engine", "ranks")
    if not torch.distributed.is_available():
        raise InputError(
            f"{where}: this torch was built without distributed, which ranks need; install another one, or remove ranks"
        )
    if not on_cluster(config):
        from mixwright.experiment.core.errors import named
        from mixwright.training.ranks import check_devices

        with named(where):
            check_devices(ranks)


def has_gpus() -> bool:
    """Whether this machine has GPUs that torch can use."""
    import torch

    return bool(torch.cuda.is_available())


def do_on_ranks(piece: Piece, config: RunConfig, report: Report) -> Any:
    """Do a piece of several ranks on this machine, unless it is done: in processes that end with this one."""

    def look() -> None:
        check_held()
        owner = Claim(piece.place).owner()
        report(0.0 if owner is None else owner.share)

    if piece.result() is None:
        piece.forget_failure()
        status = in_a_process(piece.folder, piece.key, look)
        if piece.result() is None:
            raise ended(piece, f"its process ended with status {status}")
    report(1.0)
    return (piece.result() or {})["value"]


def ended(piece: Piece, why: str) -> InputError:
    """Return the error of a piece that left no result."""
    said = (piece.failure() or {}).get("error") or f"{why}; see {piece.log}"
    return InputError(f"{piece.name}: {said}")


def start_ranks(piece: Piece) -> Any:
    """
    Start the ranks of a piece as torchrun does, with this process as their agent, and return what came of it.

    Raises
    ------
    InputError
        What a rank raised, or one ended.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    _, module, *arguments = command(piece.folder, piece.key)
    os.environ[PARENT] = str(os.getpid())  # ranks end with their agent, in whatever way
    try:
        main(["--standalone", "--nproc-per-node", str(piece.ranks), "-m", module, *arguments])
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        raise ended(piece, f"rank {rank} ended with status {first.exitcode}") from None
    if (found := piece.result()) is None:
        raise ended(piece, "its ranks left no result")
    return found["value"]
