"""The command `mixwright train`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from mixwright.cli.options import Json, Quiet, command_line, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.training import print_training


def train(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="The YAML file with sources, model and weights or strategy.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--folder",  # torchrun takes --run for one of its own
            help="Where the training goes. Default: runs/NAME, NAME being that of the YAML file.",
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the YAML file (for editors) and stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright train`."""
    main = os.environ.get("RANK", "0") == "0"
    output = output_of(context, quiet or not main, as_json and main)
    with guarded(output):
        from mixwright.experiment.text.train_config import load_train_config, train_schema

        if schema:
            typer.echo(json.dumps(train_schema(), indent=2))
            return
        if config is None:
            raise typer.BadParameter("give the YAML file of the training; see: mixwright train --help")
        loaded = load_train_config(config)
        from mixwright.experiment.text.train import run_train

        folder = run or Path("runs") / config.stem
        with output.bars() as progress:
            summary = run_train(loaded, folder, progress, command_line())
        if main:
            output.json(summary)
            output.show(lambda console: print_training(console, summary, folder))
