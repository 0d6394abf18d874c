"""The command `mixwright compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mixwright.cli.options import Json, Quiet, command_line, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.comparison import print_comparison


def compare(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The YAML file with sources, targets, arms and budgets.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Where the results go. Default: runs/NAME, NAME being that of the YAML file."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the YAML file (for editors) and stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright compare`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.text.compare_config import compare_schema, load_compare_config

        if schema:
            typer.echo(json.dumps(compare_schema(), indent=2))
            return
        if config is None:
            raise typer.BadParameter("give the YAML file of the comparison; see: mixwright compare --help")
        loaded = load_compare_config(config)
        from mixwright.experiment.core.comparison import run_compare

        folder = run or Path("runs") / config.stem
        with output.bars() as progress:
            summary = run_compare(loaded, folder, progress, command_line())
        output.json(summary)
        output.show(lambda console: print_comparison(console, summary, folder))
