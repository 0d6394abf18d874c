"""The commands `mixwright prefer ...`: fine-tuning, specialists and a generalist on preference pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli import help_texts
from mixwright.cli.options import Json, Quiet, command_line, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.fine_tuning import print_fine_tuning
from mixwright.cli.tables.preference import print_preference, print_specialists

prefer = typer.Typer(
    name="prefer",
    help=help_texts.PREFER,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Config = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="The YAML file with model, sources of pairs and how to train.")
]
Run = Annotated[
    Path | None, typer.Option("--run", help="Where the run goes. Default: runs/NAME, NAME being that of the YAML file.")
]
Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON schema of the YAML file (for editors) and stop.")
]


@prefer.command(help=help_texts.PREFER_SFT)
def sft(
    context: typer.Context,
    config: Config = None,
    run: Run = None,
    schema: Schema = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright prefer sft`."""

    def do(loaded: Any, folder: Path, progress: Any) -> dict[str, Any]:
        from mixwright.experiment.preference.sft import run_sft

        return run_sft(loaded, folder, progress, command_line())

    def kind() -> Any:
        from mixwright.experiment.preference.config import SftConfig

        return SftConfig

    _do(context, config, run, schema, quiet, as_json, do, print_fine_tuning, kind)


def _generalist() -> Any:
    from mixwright.experiment.preference.train_config import PreferConfig

    return PreferConfig


@prefer.command(help=help_texts.PREFER_SPECIALISTS)
def specialists(
    context: typer.Context,
    config: Config = None,
    run: Run = None,
    schema: Schema = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright prefer specialists`."""

    def do(loaded: Any, folder: Path, progress: Any) -> dict[str, Any]:
        from mixwright.experiment.preference.train import run_specialists

        return run_specialists(loaded, folder, progress, command_line())

    _do(context, config, run, schema, quiet, as_json, do, print_specialists)


@prefer.command(help=help_texts.PREFER_TRAIN)
def train(
    context: typer.Context,
    config: Config = None,
    run: Run = None,
    schema: Schema = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright prefer train`."""

    def do(loaded: Any, folder: Path, progress: Any) -> dict[str, Any]:
        from mixwright.experiment.preference.train import run_prefer_train

        return run_prefer_train(loaded, folder, progress, command_line())

    _do(context, config, run, schema, quiet, as_json, do, print_preference)


def _do(
    context: typer.Context,
    config: Path | None,
    run: Path | None,
    schema: bool,
    quiet: bool,
    as_json: bool,
    do: Callable[[Any, Path, Any], dict[str, Any]],
    shown: Callable[..., None],
    kind: Callable[[], Any] = _generalist,
) -> None:
    """Read the configuration, do the run and show what came out."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.preference.config import load_prefer_config, prefer_schema

        if schema:
            typer.echo(json.dumps(prefer_schema(kind()), indent=2))
            return
        if config is None:
            raise typer.BadParameter(f"give the YAML file; see: {context.command_path} --help")
        loaded = load_prefer_config(kind(), config)
        folder = run or Path("runs") / config.stem
        with output.bars() as progress:
            summary = do(loaded, folder, progress)
        output.json(summary)
        output.show(lambda console: shown(console, summary, folder))
