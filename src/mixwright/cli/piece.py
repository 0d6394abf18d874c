"""`mixwright piece`: one piece of a run, for any scheduler; or which pieces a run has."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.errors import InputError

List = Annotated[bool, typer.Option("--list", help="Print the pieces that are not done, one in each line, and stop.")]


def piece(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="The piece, as --list names it.")] = None,
    list_them: List = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright piece`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.core.stages import is_run
        from mixwright.experiment.engines.pieces import planned

        if list_them:
            if not is_run(run):
                raise InputError(f"{run} should be the folder of a run, found none; check the path")
            states = [piece.state() for piece in planned(run)]
            output.json(states)
            if not output.as_json:
                print_pieces(states)
            return
        if key is None:
            raise typer.BadParameter("give the KEY of a piece, or --list; see: mixwright piece --help")
        signal.signal(signal.SIGTERM, _stop)
        with output.bars() as progress:
            value = _do(run, key, progress)
        output.json(_finite(value))


def _finite(value: Any) -> Any:
    """Return a value as JSON may have it: nothing in place of nan and infinity."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_pieces(states: Sequence[Mapping[str, Any]]) -> None:
    """Print the open pieces to stdout, to be read by programs too, and how many there are of each state to stderr."""
    for state in states:
        if state["state"] != "done":
            typer.echo("\t".join((state["key"], state["stage"], state["name"], _words(state))))
    counts = Counter(state["state"] for state in states)
    typer.echo(", ".join(f"{n} {state}" for state, n in counts.items()) or "no pieces are planned", err=True)


def _words(state: Mapping[str, Any]) -> str:
    """Return what a piece is doing: "running on node7, 40 %, about 3 min left", or why it failed."""
    words = f"{state['state']} on {state['host']}" if "host" in state else str(state["state"])
    if (share := state.get("share", 0.0)) > 0:
        from mixwright.report.words import duration

        words += f", {100 * share:.0f} %, about {duration(state['seconds'] * (1 - share) / share)} left"
    return f"{words}: {state['error'].splitlines()[-1]}" if state.get("error") else words


def _do(run: Path, key: str, progress: Any) -> Any:
    from mixwright.experiment.core.parallel import end_with
    from mixwright.experiment.core.stages import is_run
    from mixwright.experiment.engines.pieces import PARENT, Piece
    from mixwright.experiment.engines.work import do_piece, environment

    if is_run(run):
        wanted = environment(Piece.read(run, key).threads)
        if wanted != dict(os.environ) and not {"torch", "scipy"} & set(sys.modules):  # they read it when imported
            os.execve(sys.executable, [sys.executable, "-m", "mixwright.cli.main", *sys.argv[1:]], wanted)
    if PARENT in os.environ:
        threading.Thread(target=end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    return do_piece(run, key, lambda share: progress("piece", round(1000 * share), 1000))


def _stop(number: int, frame: Any) -> None:
    """Stop as with Ctrl-C, once: what the piece has is written."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
