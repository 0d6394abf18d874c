"""The commands and their help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli import help_texts
from mixwright.cli.compare import compare
from mixwright.cli.formats import add_formats
from mixwright.cli.options import Json, Quiet, command_line
from mixwright.cli.options import output_of as _output
from mixwright.cli.output import Output, guarded, open_page
from mixwright.cli.prefer import prefer
from mixwright.cli.replay import replay
from mixwright.cli.tables.comparison import print_comparison
from mixwright.cli.tables.fine_tuning import print_fine_tuning
from mixwright.cli.tables.preference import print_preference, print_specialists
from mixwright.cli.tables.tables import print_mixture, print_summary
from mixwright.cli.tables.training import print_training
from mixwright.cli.train import train
from mixwright.cli.wrong_paths import check_shown
from mixwright.errors import InputError
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


_TABLES = {
    "comparison": print_comparison,
    "training": print_training,
    "preference": print_preference,
    "specialists": print_specialists,
    "fine-tuning": print_fine_tuning,
}


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
    folder: Annotated[Path, typer.Option(help="Where the run goes. An unfinished demo there goes on.")] = Path(
        "runs/demo"
    ),
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in the browser at the end.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright demo`."""
    output = _output(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.demo.demo import run_demo

        with output.bars() as progress:
            summary = run_demo(folder, progress, command_line())
        _show_run(output, summary, folder)
        _open(output, folder, open_it)


@app.command(help=help_texts.SEARCH)
def search(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The YAML file with sources, targets and budgets.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Where the run goes. Default: runs/NAME, NAME being that of the YAML file."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the YAML file (for editors) and stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright search`."""
    output = _output(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.text.config import json_schema, load_config

        if schema:
            typer.echo(json.dumps(json_schema(), indent=2))
            return
        if config is None:
            raise typer.BadParameter("give the YAML file of the search; see: mixwright search --help")
        loaded = load_config(config)
        folder = run or Path("runs") / config.stem
        with output.bars() as progress:
            summary = _run(loaded, folder, progress)
        _show_run(output, summary, folder)


@app.command(help=help_texts.SHOW)
def show(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A mixture.json, or the folder of a finished run.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright show`."""
    output = _output(context, quiet, as_json)
    with guarded(output):
        if path.is_dir():
            from mixwright.experiment.text.summary import read_summary

            _show_run(output, read_summary(path), path)
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
    output = _output(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.core.what_if import read_what_if_of_run
        from mixwright.experiment.text.summary import read_summary
        from mixwright.report import write_comparison, write_preference, write_report, write_training

        page, summary = run / "report.html", read_summary(run)
        if summary.get("kind") == "comparison":
            write_comparison(summary, page)
        elif summary.get("kind") == "training":
            write_training(summary, page, run)
        elif summary.get("kind") == "preference":
            write_preference(summary, page, run)
        elif summary.get("kind") in ("specialists", "fine-tuning"):
            raise InputError(f"{run} holds {summary['kind']}, which has no page; show it: mixwright show {run}")
        else:
            write_report(summary, page, read_what_if_of_run(run, summary))
        output.json({"report": str(page.resolve())})
        output.show(lambda console: console.print(f"page: {page.resolve()}", markup=False, soft_wrap=True))
        _open(output, run, open_it)


app.command(help=help_texts.COMPARE)(compare)
app.command(help=help_texts.TRAIN)(train)
app.command(help=help_texts.REPLAY)(replay)
app.add_typer(prefer)
add_formats(app)


def _run(config: Any, folder: Path, progress: Any) -> dict[str, Any]:
    """Do a search run of either kind: each loads what it needs, and no more."""
    if config.kind == "assays":
        from mixwright.experiment.assays.search import run_assays

        return run_assays(config, folder, progress, command_line())
    from mixwright.experiment.text.search import run_search

    return run_search(config, folder, progress, command_line())


def _show_run(output: Output, summary: dict[str, Any], folder: Path) -> None:
    """Show the result of a run, as JSON or as tables."""
    output.json(summary)
    shown = _TABLES.get(summary.get("kind", ""), print_summary)
    output.show(lambda console: shown(console, summary, folder))


def _open(output: Output, folder: Path, wanted: bool) -> None:
    """Open the page if that was asked for and can be done."""
    page = (folder / "report.html").resolve()
    if wanted and not open_page(page):
        output.note(f"no browser to open here; the page is {page}")
