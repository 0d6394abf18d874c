"""Doing one piece here: with a claim, so that nobody else does it, and with its result in the run folder."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixwright.errors import InputError, MissingExtraError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.inputs import check_pinned, copies_of, with_copies
from mixwright.experiment.core.parallel import Report
from mixwright.experiment.core.run_folder import command_of
from mixwright.experiment.core.stages import at_work, check_held, is_run
from mixwright.experiment.engines.pieces import Piece, check_planned
from mixwright.experiment.engines.ranks import start_ranks
from mixwright.experiment.kinds import of_config
from mixwright.experiment.run import load
from mixwright.files.claims import Claim
from mixwright.files.holder import ClaimLost
from mixwright.files.stores.copies import copies_in

if TYPE_CHECKING:
    from mixwright.training.ranks import Ranks


def do_again(piece: Piece, config: RunConfig, report: Report) -> Any:
    """Do a piece in a process of this machine, also if it was done: what it left in stages is found there."""
    return _do(piece, config, report, trusted=False)


def do_piece(folder: Path, key: str, report: Report) -> Any:
    """
    Do a piece from its run folder alone, unless it is done; return what came of it.

    A piece of several ranks starts them, and is their agent. Under torchrun this is one of them: every rank calls this,
    the first one has the claim and keeps the result, and the others return None.

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
    with copies_in(copies_of(folder)):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return _on_a_rank(piece, report)
        if piece.ranks == 1:
            return _do(piece, _planned_config(piece), report, trusted=True)
        done = piece.result()
        return start_ranks(piece) if done is None else done["value"]


def _planned_config(piece: Piece) -> RunConfig:
    """Return the run's configuration, after checking that it and this process are those that the piece is for."""
    try:
        piece.check_versions()
        config = _config(piece)
        check_planned(piece, config)
    except InputError as error:  # the head would otherwise see no reason, and try it again
        piece.fail(f"{error}", socket.gethostname(), correct=True)
        raise
    return config


def _config(piece: Piece) -> RunConfig:
    config: RunConfig = with_copies(load(command_of(piece.folder) or "", piece.folder / "config.yaml"), piece.folder)
    check_pinned(config, piece.folder)
    return config


def _on_a_rank(piece: Piece, report: Report) -> Any:
    """Do a rank's part of a piece that torchrun started."""
    from mixwright.training.ranks import started_ranks

    if piece.ranks == 1:
        raise InputError(
            f"{piece.name} is done by one process, found {os.environ['WORLD_SIZE']} ranks; start it without torchrun"
        )
    with started_ranks() as ranks:
        if not ranks.main:
            return _follow(piece, ranks)
        begun = []

        def begin() -> None:
            begun.append(True)
            ranks.shared(True)

        try:
            piece.forget_failure()
            return _do(piece, _planned_config(piece), report, True, ranks, begin)
        finally:
            if not begun:  # it is done, or cannot be: the others have nothing to do
                ranks.shared(False)


def _follow(piece: Piece, ranks: Ranks) -> None:
    """Do the part of a rank besides the first one, once that one has the claim."""
    if not ranks.shared(None):
        return
    try:
        config = _config(piece)
        of_config(config).get("pieces")[piece.what](config, piece.folder, *piece.arguments, lambda share: None, ranks)
    except Exception as error:
        _keep_failure(piece, error, first=True)
        raise


def _do(
    piece: Piece,
    config: RunConfig,
    report: Report,
    trusted: bool,
    ranks: Ranks | None = None,
    begin: Callable[[], None] = lambda: None,
) -> Any:
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
                begin()
                return _done_or_failed(piece, config, claim, report, ranks)
        except ClaimLost as lost:
            check_held()  # of the run that this belongs to
            if not waits:
                raise InputError(
                    f"{piece.name}: another worker took over {lost.claim.folder}, since this one stood still"
                ) from None
            trusted = True


def _done_or_failed(piece: Piece, config: RunConfig, claim: Claim, report: Report, ranks: Ranks | None) -> Any:
    try:
        return _done(piece, config, claim, report, () if ranks is None else (ranks,))
    except Exception as error:
        _keep_failure(piece, error, first=ranks is not None)
        raise


def _keep_failure(piece: Piece, error: Exception, first: bool) -> None:
    """Write why a try failed; `first`: unless another rank did, since what one raises disturbs the others."""
    if not (first and piece.failure()):
        piece.fail(f"{error}" or repr(error), socket.gethostname(), _to_correct(error))


def _to_correct(error: Exception) -> bool:
    """Whether the user has to correct something, so that another try would fail too; a bad node or disk may pass."""
    return isinstance(error, MissingExtraError) or (
        isinstance(error, InputError) and not isinstance(error.__cause__, OSError)
    )


def _done(piece: Piece, config: RunConfig, claim: Claim, report: Report, more: tuple[Any, ...]) -> Any:
    started, function = time.monotonic(), of_config(config).get("pieces")[piece.what]

    config.begin_piece(piece.name)

    def reported(share: float) -> None:
        check_held()
        claim.about |= {"share": round(share, 4), "seconds": round(time.monotonic() - started, 1)}
        report(share)

    value = function(config, piece.folder, *piece.arguments, reported, *more)
    check_held(now=True)
    return piece.keep(value, time.monotonic() - started, socket.gethostname())


def environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a process that computes with a number of threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict(os.environ) | ({} if threads is None else dict.fromkeys(names, str(threads)))
