"""The commands `export` and `import`: mixtures to and from other tools' formats."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli import help_texts
from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import Output, guarded
from mixwright.errors import InputError
from mixwright.formats import FORMATS, READABLE

_SEVERAL = "; ".join(f"{', '.join(made.forms)} ({name})" for name, made in FORMATS.items() if len(made.forms) > 1)
_Paths = Annotated[Path | None, typer.Option("--paths", help="A YAML file {source: path}.")]
_Path = Annotated[
    list[str] | None, typer.Option("--path", metavar="SOURCE=PATH", help="The path of one source; repeat.")
]
_Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]


def add_formats(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("export", help=help_texts.EXPORT)(export)
    app.command("import", help=help_texts.IMPORT)(import_)


def export(
    context: typer.Context,
    mixture: Annotated[Path, typer.Argument(metavar="MIXTURE", help="A mixture.json, or the .csv file of a plan.")],
    to: Annotated[
        str,
        typer.Option("--to", help=f"One of {', '.join(FORMATS)}."),
    ],
    paths: _Paths = None,
    path: _Path = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; of a plan a new folder. Default: stdout.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--form", help=f"Where a tool has several: {_SEVERAL}."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="For tools that draw at random.")] = 0,
    allow_loss: Annotated[
        bool,
        typer.Option("--allow-loss", help="Write although the tool cannot express all of it, and say what is lost."),
    ] = False,
    per_document: Annotated[
        bool,
        typer.Option(
            "--per-document",
            help="For a tool that draws documents: divide each weight by the mean length of its source's documents.",
        ),
    ] = False,
    force: _Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright export`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright import formats
        from mixwright.cli.wrong_paths import check_exported
        from mixwright.formats import check_free, form_of

        if mixture.suffix == ".csv":
            if per_document:
                raise InputError(f"{mixture} is a plan, which does not say how long documents are: no --per-document")
            _export_plan(output, mixture, to, out, _places(paths, path), form=form, seed=seed, allow_loss=allow_loss)
            return
        if out is not None:
            check_free(out, force)
        by_suffix = form_of(out, to)
        check_exported(mixture)
        options: dict[str, Any] = {"seed": seed, "allow_loss": allow_loss, "per_document": per_document}
        made = formats.export(mixture, to, _places(paths, path), form=form or by_suffix, **options)
        if out is not None:
            made.write(out, force)
        for note in made.notes:
            output.note(f"note: {note}")
        output.json({**asdict(made), "out": str(out.resolve()) if out else None})
        _say(output, out, made.text)


def _export_plan(
    output: Output, plan: Path, to: str, out: Path | None, places: dict[str, Any] | None, **options: Any
) -> None:
    """Write one file for each run of a plan."""
    from mixwright.runs.design.launch import export_plan

    if out is None:
        raise InputError(f"{plan} is a plan of several runs: give a new folder for their files (--out)")
    files, notes = export_plan(plan, to, out, places, **options)
    for note in notes:
        output.note(f"note: {note}")
    output.json({"out": str(out.resolve()), "files": list(files), "notes": list(notes)})
    text = f"written: {len(files)} files and index.csv in {out.resolve()}"
    output.show(lambda console: console.print(text, markup=False, soft_wrap=True, highlight=False))


def import_(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The other tool's file, - for stdin, or a blend in quotes.")
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The mixture.json to write. Default: stdout.")] = None,
    format: Annotated[
        str | None,
        typer.Option("--from", help=f"{', '.join(READABLE[:-1])} or {READABLE[-1]}."),
    ] = None,
    paths: _Paths = None,
    path: _Path = None,
    unit: Annotated[
        str | None,
        typer.Option("--unit", help="What the weights are shares of: rows or tokens. Default: what the tool counts."),
    ] = None,
    force: _Force = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright import`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright import formats
        from mixwright.formats import check_free

        if out is not None:
            check_free(out, force)
        places = _places(paths, path)
        mixture = formats.read(_stdin() if file == "-" else file, format, paths=places, unit=unit)
        for note in mixture.evidence.get("notes", ()):
            output.note(f"note: {note}")
        if out is not None:
            mixture.write(out)
        output.json(mixture.to_json())
        _say(output, out, json.dumps(mixture.to_json(), indent=2, ensure_ascii=False) + "\n")


def _say(output: Output, out: Path | None, text: str) -> None:
    """Write the text to stdout as it is, or say where it was written."""
    if out is not None:
        output.show(
            lambda console: console.print(f"written: {out.resolve()}", markup=False, soft_wrap=True, highlight=False)
        )
    elif not output.as_json:
        sys.stdout.write(text)


def _stdin() -> str:
    """Return what comes in, with a line break at its end so that it counts as text."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig") + "\n"
    except UnicodeDecodeError:
        raise InputError(
            "what comes in should be a mixture, found bytes that are not UTF-8; check the command"
        ) from None


def _places(paths: Path | None, path: list[str] | None) -> dict[str, Any] | None:
    """Return the places of --paths, those of --path before them."""
    if paths is None and not path:
        return None
    from mixwright.formats import read_places

    places = {} if paths is None else read_places(paths)
    given: dict[str, str] = {}
    for one in path or ():
        source, sign, place = one.partition("=")
        if not sign or not source or not place:
            raise InputError(f"--path should be SOURCE=PATH, found {one!r}; write --path web=data/web.jsonl")
        if source in given:
            raise InputError(
                f"--path should be given once for {source!r}, found two; a list of files goes into --paths"
            )
        given[source] = place
    return {**places, **given}
