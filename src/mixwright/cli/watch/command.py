"""The command `mixwright watch`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import Output, guarded

if TYPE_CHECKING:
    from mixwright.experiment.live.look import RunState, Watched

_PAUSE = 2.0  # seconds between two looks
_SHARE = 0.05  # of the processor that looks may take

Serve = Annotated[
    bool, typer.Option("--serve", help="Serve the page, on this machine alone (127.0.0.1), until Ctrl-C.")
]
Port = Annotated[
    int | None, typer.Argument(metavar="[PORT]", min=1, max=65535, help="Of --serve. Default: one that is free.")
]


def watch(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    port: Port = None,
    serve: Serve = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright watch`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.live.look import FINISHED, Watched

        _check(run, port, serve, output)
        watched = Watched(run)
        if output.as_json:
            output.json(watched.look().to_json())
            return
        try:
            seen = _follow(watched, output, serve, port)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        _end(output, seen, watched.of_trainer)
        if seen.state != FINISHED:
            raise typer.Exit(1)


def _check(run: Path, port: int | None, serve: bool, output: Output) -> None:
    """Raise an error if options do not go together."""
    if port is not None and not serve:
        raise typer.BadParameter(f"{port} is the port of --serve; give both: mixwright watch {run} --serve {port}")
    if serve and output.as_json:
        raise typer.BadParameter("--json is the state of this moment, and --serve goes on; give one of them")
    if serve and output.quiet and port is None:
        raise typer.BadParameter("--quiet does not say which port --serve takes; give one: --serve PORT")


def _follow(watched: Watched, output: Output, serve: bool, port: int | None) -> RunState:
    """Show the run until nobody is at work in it; with `serve` until Ctrl-C."""
    from mixwright.experiment.live.pace import Rests

    with ExitStack() as stack:
        served: Callable[[RunState], None] = lambda seen: None  # noqa: E731
        if serve:
            from mixwright.cli.watch.server import PageServer

            server = stack.enter_context(PageServer(watched.folder, port or 0))
            served = server.show
            server.show(watched.look())
            server.answer("/")  # a package that pages need is missed now
            output.note(f"page: {server.address} (Ctrl-C ends this)")
        draw = _drawing(output, stack)
        rests = Rests(_PAUSE, _SHARE)
        while True:
            with rests.counted():
                seen = watched.look()
                served(seen)
                draw(seen)
            if not seen.goes and not serve:
                return seen
            time.sleep(rests.seconds)


def _drawing(output: Output, stack: ExitStack) -> Callable[[RunState], None]:
    """Return what shows a run: a picture that changes on a terminal, lines in a log, nothing when quiet."""
    if output.quiet:
        return lambda seen: None
    from mixwright.cli.watch.screen import Picture, RunLines

    if not output.stdout.is_terminal:
        return RunLines(output.stdout)
    return stack.enter_context(Picture(output.stdout))


def _end(output: Output, seen: RunState, of_trainer: bool) -> None:
    from mixwright.experiment.core.run_folder import resuming
    from mixwright.experiment.live.look import FINISHED, UNKNOWN
    from mixwright.report.live.view import lead

    if seen.left_out:
        output.note(f"left out: {seen.left_out}")
    if of_trainer:
        resumes = "it ended, or observes more rarely. To resume it: trainer.train(resume_from_checkpoint=True)"
        output.note(lead(seen.to_json()) + ("" if seen.state == FINISHED else f"; {resumes}"))
    elif seen.state == FINISHED:
        output.note(f"finished; the result: mixwright show {seen.folder}")
    elif seen.state == UNKNOWN:
        output.note(
            f"{seen.folder} was begun by an earlier version, which does not say whether a command is at work; this is "
            f"what its files hold. To resume it: {resuming(Path(seen.folder))}"
        )
    else:
        why = f" ({seen.why})" if seen.why else ""
        output.note(f"stopped{why}: no command is at work. To resume it: {resuming(Path(seen.folder))}")
