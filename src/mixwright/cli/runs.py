"""The commands that make runs, `mixwright search` to `mixwright prefer train`: one factory for all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli import help_texts, likelihoods, run_tables, run_trainings
from mixwright.cli.options import Engine, Json, Quiet, Track, command_line, engine_given, output_of, track_given
from mixwright.cli.output import Output, guarded, open_page
from mixwright.experiment.kinds import KINDS, of_summary

Schema = Annotated[
    bool, typer.Option("--schema", help="Print the JSON schema of the YAML file (for editors) and stop.")
]

QuickSearch = Annotated[
    bool,
    typer.Option(
        "--quick", help="Texts: a result in seconds, from count models in place of trained ones; no final runs."
    ),
]
OwnRows = Annotated[
    bool | None,
    typer.Option(
        "--own-rows/--no-own-rows",
        help="Assays: whether the target's own rows are a source. Default: as the YAML file says, else they are.",
    ),
]
_RUN = "Folder of the run. Default: runs/NAME, where NAME is the name of the YAML file."
_RUN_OF_TABLE = "Folder of the run. Default: runs/NAME, where NAME is the name of the file."


@dataclass(frozen=True)
class _Help:
    """What the help of a command says."""

    text: str
    config: str
    run: tuple[str, ...] = field(default=("--run",))


_RANKS = ("--run", "--folder")  # torchrun takes --run for one of its own options

_HELP = {
    "search": _Help(help_texts.SEARCH, "sources, targets and budgets"),
    "runs fit": _Help(help_texts.RUNS_FIT, "table, target, law and limits"),
    "compare": _Help(help_texts.COMPARE, "sources, targets, arms and budgets"),
    "train": _Help(help_texts.TRAIN, "sources, model and weights or strategy", _RANKS),
    "prefer sft": _Help(help_texts.PREFER_SFT, "model, sources of pairs and training settings"),
    "prefer specialists": _Help(help_texts.PREFER_SPECIALISTS, "model, sources of pairs and training settings", _RANKS),
    "prefer train": _Help(help_texts.PREFER_TRAIN, "model, sources of pairs and training settings", _RANKS),
}


def add_runs(app: typer.Typer) -> None:
    """Add the command of every kind of run; those of two words go into a group."""
    groups: dict[str, typer.Typer] = {"": app}
    for command in dict.fromkeys(kind.command for kind in KINDS):
        group, _, name = command.rpartition(" ")
        if group not in groups:
            groups[group] = typer.Typer(
                name=group,
                help=getattr(help_texts, group.upper()),
                no_args_is_help=True,
                rich_markup_mode=None,
                context_settings={"help_option_names": ["-h", "--help"]},
            )
            app.add_typer(groups[group])
        groups[group].command(name, help=_HELP[command].text)(_made(command))
    run_tables.add_plans(groups["runs"])
    run_trainings.add_trainings(groups["runs"])


def _made(command: str) -> Callable[..., None]:
    """Return the function of a command, whose parameters are its arguments and options."""
    about = _HELP[command]
    config_help = f"The YAML file with {about.config}."

    def run_command(
        context: typer.Context,
        config: Path | None = typer.Argument(None, metavar="CONFIG", help=config_help),  # noqa: B008
        run: Path | None = typer.Option(None, *about.run, help=_RUN),  # noqa: B008
        track: Track = None,
        schema: Schema = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        _do(command, context, config, run, schema, quiet, as_json, **track_given(track))

    def pieces_command(
        context: typer.Context,
        config: Path | None = typer.Argument(None, metavar="CONFIG", help=config_help),  # noqa: B008
        run: Path | None = typer.Option(None, *about.run, help=_RUN),  # noqa: B008
        engine: Engine = None,
        track: Track = None,
        schema: Schema = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        _do(command, context, config, run, schema, quiet, as_json, **engine_given(engine), **track_given(track))

    def search_command(
        context: typer.Context,
        config: Path | None = typer.Argument(None, metavar="CONFIG", help=config_help),  # noqa: B008
        run: Path | None = typer.Option(None, *about.run, help=_RUN),  # noqa: B008
        quick: QuickSearch = False,
        own_rows: OwnRows = None,
        engine: Engine = None,
        table: likelihoods.Table = None,
        source: likelihoods.Source = None,
        target: likelihoods.Target = None,
        values: likelihoods.ValuesOf = None,
        tokens: likelihoods.Tokens = None,
        prior: likelihoods.PriorOf = None,
        shrinkage: likelihoods.Shrinkage = None,
        floor: likelihoods.FloorOf = None,
        cap: likelihoods.Cap = None,
        size: likelihoods.Size = None,
        track: Track = None,
        schema: Schema = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        options = {"source": source, "target": target, "values": values, "tokens": tokens, "prior": prior}
        options |= {"shrinkage": shrinkage, "floor": floor, "cap": cap, "size": size}
        with guarded(output_of(context, quiet, as_json)):
            made = likelihoods.table_values(table, config, options)
        more: dict[str, Any] = _given(quick=quick or None, own_rows=own_rows)
        _do(
            command,
            context,
            table or config,
            run,
            schema,
            quiet,
            as_json,
            made,
            **more,
            **engine_given(engine),
            **track_given(track),
        )

    def fit_command(
        context: typer.Context,
        table: run_tables.Table = None,
        run: Path | None = typer.Option(None, *about.run, help=_RUN_OF_TABLE),  # noqa: B008
        target: run_tables.Target = None,
        guardrail: run_tables.Guardrail = None,
        law: run_tables.Law = None,
        weights: run_tables.WeightColumns = None,
        losses: run_tables.LossColumns = None,
        sources_file: run_tables.SourcesFile = None,
        metrics: run_tables.Metrics = None,
        key: run_tables.Key = None,
        tokens: run_tables.TokensOfRuns = None,
        scale: run_tables.Scale = None,
        prior: likelihoods.PriorOf = None,
        shrinkage: likelihoods.Shrinkage = None,
        floor: likelihoods.FloorOf = None,
        cap: likelihoods.Cap = None,
        size: likelihoods.Size = None,
        max_epochs: run_tables.MaxEpochs = None,
        track: Track = None,
        schema: Schema = False,
        quiet: Quiet = False,
        as_json: Json = False,
    ) -> None:
        options = {"target": target, "law": law, "weights": weights, "losses": losses, "sources_file": sources_file}
        options |= {"metrics": metrics, "key": key, "tokens": tokens, "scale": scale, "prior": prior}
        options |= {"shrinkage": shrinkage, "floor": floor, "cap": cap, "size": size, "max_epochs": max_epochs}
        options |= {"guardrail": guardrail}
        with guarded(output_of(context, quiet, as_json)):
            made = run_tables.fit_values(table, options)
        _do(command, context, table, run, schema, quiet, as_json, made, **track_given(track))

    own: dict[str, Callable[..., None]] = {"search": search_command, "runs fit": fit_command}
    own |= dict.fromkeys(("compare", "prefer specialists"), pieces_command)
    return own.get(command, run_command)


def _given(**options: bool | None) -> dict[str, bool]:
    """Return the options that are on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def _do(
    command: str,
    context: typer.Context,
    config: Path | None,
    run: Path | None,
    schema: bool,
    quiet: bool,
    as_json: bool,
    made: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """Do the run of a file, or that of the keys in `made`; `options` are keys that count in place of its own."""
    main = os.environ.get("RANK", "0") == "0"  # under torchrun one rank speaks
    output = output_of(context, quiet or not main, as_json and main)
    with guarded(output):
        from mixwright.experiment.run import drive, json_schema, load, make

        if schema:
            typer.echo(json.dumps(json_schema(command), indent=2))
            return
        if config is None:
            what = "a table or a YAML file" if command == "runs fit" else "the YAML file"
            raise typer.BadParameter(f"give {what}; see: mixwright {command} --help")
        loaded = load(command, config, **options) if made is None else make(command, {**made, **options})
        folder = run or Path("runs") / config.stem
        with output.bars() as progress:
            summary = drive(loaded, folder, progress, command_line())
        if main:
            show_run(output, summary, folder)


def show_run(output: Output, summary: dict[str, Any], folder: Path) -> None:
    """Show the result of a run, as JSON or as tables."""
    output.json(summary)
    table = of_summary(summary).get("table")
    output.show(lambda console: table(console, summary, folder))


def show_read(output: Output, folder: Path) -> None:
    """Show a finished run whose files may have been damaged since; InputError if they were."""
    from mixwright.experiment.core.summary import of_run, read_summary

    with of_run(folder):
        show_run(output, read_summary(folder), folder)


def open_report(output: Output, folder: Path, wanted: bool) -> None:
    """Open the page if that was asked for and can be done."""
    page = (folder / "report.html").resolve()
    if wanted and not open_page(page):
        output.note(f"no browser to open here; the page is {page}")
