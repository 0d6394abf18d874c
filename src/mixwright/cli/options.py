"""Options that commands share."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer

from mixwright.cli.output import Output
from mixwright.files.yaml_text import load_yaml
from mixwright.watching.trackers.tracker import TRACKERS

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress and no tables; errors are still shown.")]
Json = Annotated[bool, typer.Option("--json", help="Write the result as JSON to stdout, and nothing else there.")]

Engine = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="Where the pieces are done, in place of the file's engine: local, ray, slurm, or '{kind: slurm, ...}'.",
    ),
]


Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help=f"A tracker that follows the run, in place of the file's track: {', '.join(TRACKERS)}; repeat.",
    ),
]


def output_of(context: typer.Context, quiet: bool, as_json: bool) -> Output:
    """Return where a command's words go; options may stand before the command, too."""
    before = context.obj or (False, False)
    return Output(quiet or before[0], as_json or before[1])


def command_line() -> str:
    """Return the command as it was typed."""
    return shlex.join(["mixwright", *sys.argv[1:]])


def track_given(names: list[str] | None) -> dict[str, Any]:
    """Return the trackers of the command line as the file would have them; none where they are not given."""
    return {"track": names} if names else {}


def engine_given(text: str | None) -> dict[str, Any]:
    """Return the engine of the command line as the file would have it; none where it is not given."""
    if text is None:
        return {}
    import yaml

    try:
        return {"engine": load_yaml(text)}
    except yaml.YAMLError:
        return {"engine": text}
