"""The commands and their help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mixwright.cli import help_texts
from mixwright.cli.cite import cite
from mixwright.cli.formats import add_formats
from mixwright.cli.likelihoods import add_table
from mixwright.cli.options import Json, Quiet, command_line, output_of
from mixwright.cli.output import guarded
from mixwright.cli.piece import piece, print_pieces
from mixwright.cli.replay import replay
from mixwright.cli.runs import add_runs, open_report, show_read, show_run
from mixwright.cli.steer import steer
from mixwright.cli.tables.card import show_card
from mixwright.cli.tables.search import print_mixture
from mixwright.cli.watch.command import watch
from mixwright.cli.wrong_paths import check_shown
from mixwright.version import __version__

app = typer.Typer(
    name="mixwright",
    help=help_texts.TOP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mixwright {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and stop.", callback=_version, is_eager=True)
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Keep what stands before the command, for the command."""
    context.obj = (quiet, as_json)


@app.command(help=help_texts.DEMO)
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Folder of the run; an unfinished demo there is resumed.")] = Path(
        "runs/demo"
    ),
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser at the end.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright demo`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.demo.demo import run_demo

        with output.bars() as progress:
            quick = run_demo(folder, progress, command_line(), quick=True)
        if not output.as_json:  # one result on stdout: the last
            show_run(output, quick, folder)
        with output.bars() as progress:
            summary = run_demo(folder, progress, command_line())
        show_run(output, summary, folder)
        open_report(output, folder, open_it)


add_runs(app)
add_table(app)


@app.command(help=help_texts.SHOW)
def show(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A mixture.json, or the folder of a finished run.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With --card: the README.md to write into. Default: stdout.")
    ] = None,
    as_card: Annotated[
        bool, typer.Option("--card", help="Write a section for a model card: what was trained on, and the evidence.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright show`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        if as_card or file is not None:
            show_card(output, path, file, as_card)
            return
        if path.is_dir():
            from mixwright.experiment.core.run_folder import resuming
            from mixwright.experiment.core.stages import held_by_another
            from mixwright.experiment.engines.pieces import planned

            if not (path / "summary.json").exists() and (pieces := planned(path)):
                states = [piece.state() for piece in pieces]
                output.json(states)
                output.show(lambda console: print_pieces(states))
                output.note(f"the run is not finished; to resume it: {resuming(path)}")
                return
            show_read(output, path)
            if held_by_another(path):
                output.note("a command is at work in this run; this is what the last one that ended left")
            return
        from mixwright.mixture_file import MixtureFile

        check_shown(path)
        mixture = MixtureFile.read(path)
        output.json(json.loads(path.read_text(encoding="utf-8")))
        output.show(lambda console: print_mixture(console, mixture))


@app.command(help=help_texts.REPORT)
def report(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright report`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.core.summary import of_run, read_summary
        from mixwright.experiment.run import write_page

        with of_run(run):
            page = write_page(read_summary(run), run)
        output.json({"report": str(page.resolve())})
        output.show(lambda console: console.print(f"page: {page.resolve()}", markup=False, soft_wrap=True))
        open_report(output, run, open_it)


app.command(help=help_texts.WATCH)(watch)
app.command(help=help_texts.PIECE)(piece)
app.command(help=help_texts.STEER)(steer)
app.command(help=help_texts.REPLAY)(replay)
app.command(help=help_texts.CITE)(cite)
add_formats(app)
