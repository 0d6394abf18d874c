"""Doing one piece here: with a claim, so that nobody else does it, and with its result in the run folder."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.inputs import with_copies
from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.run_folder import command_of
from mixwright.experiment.core.stages import at_work, check_held, is_run
from mixwright.experiment.engines.pieces import Piece, check_planned
from mixwright.experiment.kinds import of_config
from mixwright.experiment.run import load
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost


def do_again(piece: Piece, config: RunConfig, report: Report) -> Any:
    """Do a piece in a process of this machine, also if it was done: what it left in stages is found there."""
    return _do(piece, config, report, trusted=False)


def do_piece(folder: Path, key: str, report: Report) -> Any:
    """
    Do a piece from its run folder alone, unless it is done; return what came of it.

    Raises
    ------
    InputError
        The folder is no run, there is no such piece, this process has other versions, or what the piece raised.
    """
    if not is_run(folder):
        found = "an empty or other folder" if folder.is_dir() else "nothing"
        raise InputError(
            f"{folder} should be a run folder, found {found} on {socket.gethostname()}; put it on storage that every "
            "worker sees under the same path"
        )
    piece = Piece.read(folder, key)
    try:
        piece.check_versions()
        config = with_copies(load(command_of(folder) or "", folder / "config.yaml"))
        check_planned(piece, config)
    except InputError as error:  # the head would otherwise see no reason, and try it again
        piece.fail(f"{error}", socket.gethostname(), correct=True)
        raise
    return _do(piece, config, report, trusted=True)


def _do(piece: Piece, config: RunConfig, report: Report, trusted: bool) -> Any:
    waits = not trusted  # a command of this machine, where nobody else would do it later
    while True:
        if trusted and (found := piece.result()) is not None:
            return found["value"]
        claim = Claim(piece.place)
        if not claim.try_take():  # somebody else is, or was, at it
            claim.take(wait=True, until=check_held)
            trusted = True
        try:
            with at_work(claim):
                if trusted and (found := piece.result()) is not None:
                    return found["value"]
                return _done_or_failed(piece, config, claim, report)
        except ClaimLost as lost:
            check_held()  # of the run that this belongs to
            if not waits:
                raise InputError(
                    f"{piece.name}: another worker took over {lost.claim.folder}, since this one stood still"
                ) from None
            trusted = True


def _done_or_failed(piece: Piece, config: RunConfig, claim: Claim, report: Report) -> Any:
    try:
        return _done(piece, config, claim, report)
    except Exception as error:
        piece.fail(f"{error}" or repr(error), socket.gethostname(), _to_correct(error))
        raise


def _to_correct(error: Exception) -> bool:
    """Whether the user has to correct something, so that another try would fail too; a bad node or disk may pass."""
    return isinstance(error, MissingExtraError) or (
        isinstance(error, InputError) and not isinstance(error.__cause__, OSError)
    )


def _done(piece: Piece, config: RunConfig, claim: Claim, report: Report) -> Any:
    started, function = time.monotonic(), of_config(config).get("pieces")[piece.what]

    def reported(share: float) -> None:
        check_held()
        claim.about |= {"share": round(share, 4), "seconds": round(time.monotonic() - started, 1)}
        report(share)

    value = function(config, piece.folder, *piece.arguments, reported)
    check_held(now=True)
    return piece.keep(value, time.monotonic() - started, socket.gethostname())


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a process that computes with a number of threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict(os.environ) | ({} if threads is None else dict.fromkeys(names, str(threads)))
