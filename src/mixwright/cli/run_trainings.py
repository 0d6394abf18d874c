"""The commands `mixwright runs train` and `mixwright runs confirm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixwright.cli import help_texts
from mixwright.cli.likelihoods import pairs
from mixwright.cli.options import Engine, Json, Quiet, Track, command_line, engine_given, output_of, track_given
from mixwright.cli.output import guarded
from mixwright.cli.run_tables import next_fit
from mixwright.cli.tables.parts import print_line
from mixwright.cli.tables.runs import print_forecasts
from mixwright.report.runs.confirmed import forecast_words

_Plan = Annotated[Path, typer.Argument(metavar="PLAN", help="The .csv file that runs plan wrote.")]
_Fit = Annotated[Path, typer.Argument(metavar="FIT", help="The folder of a finished runs fit.")]
_Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The YAML file of a comparison without arms: sources, targets, model.")
]
_Table = Annotated[Path, typer.Option("--out", help="The table: a .csv file; one that exists is written over.")]
_Beside = Annotated[
    list[str] | None,
    typer.Option("--beside", metavar="NAME=MIXTURE.JSON", help="Another mixture that is trained too; repeat."),
]
_Seeds = Annotated[int, typer.Option("--seeds", min=2, help="Trainings of each mixture.")]


def add_trainings(group: typer.Typer) -> None:
    """Add the commands that train to the group `mixwright runs`."""
    group.command("train", help=help_texts.RUNS_TRAIN)(train_runs)
    group.command("confirm", help=help_texts.RUNS_CONFIRM)(confirm_fit)


def train_runs(
    context: typer.Context,
    plan: _Plan,
    config: _Config,
    run: Annotated[Path, typer.Option("--run", help="Folder of the trainings.")] = Path("runs/plan"),
    out: _Table = Path("runs.csv"),
    engine: Engine = None,
    track: Track = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright runs train`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.runs.training import train_plan

        with output.bars() as progress:
            table = train_plan(
                plan, config, run, out, progress, command_line(), **engine_given(engine), **track_given(track)
            )
        output.json({"table": str(out.resolve()), "runs": table.n, "targets": list(table.targets)})

        def show(console: Console) -> None:
            print_line(console, "trained", f"{table.n} runs, {len(table.targets)} targets")
            print_line(console, "table", str(out.resolve()))
            print_line(console, "next", next_fit(plan, out, table.targets[0]))

        output.show(show)


def confirm_fit(
    context: typer.Context,
    fit: _Fit,
    config: _Config,
    run: Annotated[Path, typer.Option("--run", help="Folder of the comparison.")] = Path("runs/confirm"),
    seeds: _Seeds = 3,
    beside: _Beside = None,
    engine: Engine = None,
    track: Track = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright runs confirm`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.runs.confirm import confirm

        others = {name: Path(path) for name, path in pairs("beside", beside or ()).items()}
        with output.bars() as progress:
            found = confirm(
                fit, config, run, seeds, others, progress, command_line(), **engine_given(engine), **track_given(track)
            )
        output.json(found)
        output.show(lambda console: _print_confirmed(console, found, run))


def _print_confirmed(console: Console, found: dict[str, Any], run: Path) -> None:
    print_forecasts(console, found["mixtures"], found)
    print_line(console, "forecast", forecast_words(found))
    print_line(console, "verdict", found["verdict"])
    print_line(console, "page", str((run / "report.html").resolve()))
