"""Likelihoods from elsewhere: the options of `mixwright search --table`, and the command `mixwright table import`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from mixwright.checks import unique_names
from mixwright.cli import help_texts
from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.parts import Column, print_line, print_table, print_title
from mixwright.errors import InputError
from mixwright.files.yaml_text import load_yaml
from mixwright.report.words import count, number

if TYPE_CHECKING:
    from mixwright.search.table.table import LikelihoodTable

Table = Annotated[
    Path | None,
    typer.Option(
        "--table",
        help="In place of CONFIG: a .parquet or .csv file with a column of log-likelihoods per source, or the folder "
        "of a table. The options below go with it.",
    ),
]
Source = Annotated[
    list[str] | None, typer.Option("--source", metavar="NAME[=COLUMN]", help="A column that is a source; repeat.")
]
Target = Annotated[list[str] | None, typer.Option("--target", help="A target of the table; repeat. Default: all.")]
ValuesOf = Annotated[
    str | None,
    typer.Option("--values", help="What the numbers are: log_likelihood, loss, bits, perplexity or probability."),
]
Tokens = Annotated[
    str | None, typer.Option("--tokens", help="The column with the tokens of each row: numbers are means per token.")
]
PriorOf = Annotated[str | None, typer.Option("--prior", help="uniform, natural, or {SOURCE: WEIGHT, ...}.")]
Shrinkage = Annotated[str | None, typer.Option("--shrinkage", help="cv, or a number of at least 0.")]
FloorOf = Annotated[list[str] | None, typer.Option("--floor", metavar="SOURCE=WEIGHT", help="The least; repeat.")]
Cap = Annotated[list[str] | None, typer.Option("--cap", metavar="SOURCE=WEIGHT", help="The largest; repeat.")]
Size = Annotated[list[str] | None, typer.Option("--size", metavar="SOURCE=TOKENS", help="For natural; repeat.")]


_Logs = Annotated[
    list[str],
    typer.Argument(metavar="[SOURCE=]LOG...", help="For each source a folder or a file of logs.", show_default=False),
]
_Out = Annotated[Path, typer.Option("--out", help="The folder of the table: a new or an empty one.")]
_OneTarget = Annotated[
    str | None, typer.Option("--target", help="Take all tasks as one target of this name. Default: a target per task.")
]


def add_table(app: typer.Typer) -> None:
    """Add the group of commands about tables to the application."""
    group = typer.Typer(
        name="table",
        help=help_texts.TABLE,
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.callback()(lambda: None)  # a group, although it has one command
    group.command("import", help=help_texts.TABLE_IMPORT)(import_logs)
    app.add_typer(group)


def import_logs(
    context: typer.Context,
    logs: _Logs,
    out: _Out,
    target: _OneTarget = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright table import`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.search.table.files import require_free
        from mixwright.search.table.logs.read import read_logs

        require_free(out)
        table = read_logs(_named_logs(logs), target)
        table.save(out)
        output.json(
            {
                "table": str(out.resolve()),
                "rows": table.n,
                "sources": list(table.sources),
                "targets": list(table.target_names),
                "notes": list(table.notes),
            }
        )
        output.show(lambda console: _print(console, table, out))


def _print(console: Console, table: LikelihoodTable, out: Path) -> None:
    """Print what was read: for each target its rows, and the loss of the source that suits it best."""
    from mixwright.report.what_if.tables import best_singles

    rows = []
    for name in table.target_names:
        part = table.select(name)
        losses = best_singles(part)
        best = int(losses.argmin())
        rows.append([name, count(part.n), table.sources[best], number(float(losses[best]))])
    print_title(console, f"Log-likelihoods of {table.n:,} rows under {table.k} source{'s' if table.k > 1 else ''}")
    print_table(
        console, ["target", "rows", Column("best single source", words=True), "its loss, nats per row"], rows, 30
    )
    for note in table.notes:
        print_line(console, "note", note)
    print_line(console, "table", str(out.resolve()))
    print_line(console, "next", f"mixwright search --table {out}")


def _named_logs(logs: Sequence[str]) -> dict[str, str] | list[str]:
    """Return {source: path} where sources are named, else the paths."""
    pairs = [text.partition("=") for text in logs]
    named = [bool(sign) and not Path(text).exists() for text, (_, sign, _) in zip(logs, pairs, strict=True)]
    if not any(named):
        return list(logs)
    if not all(named):
        raise InputError(f"either each log or none should have a name SOURCE=, found {logs[named.index(False)]!r}")
    sources = unique_names([name for name, _, _ in pairs])
    return {source: path for source, (_, _, path) in zip(sources, pairs, strict=True)}


def table_values(table: Path | None, config: Path | None, options: dict[str, Any]) -> dict[str, Any] | None:
    """
    Return the configuration that `--table` and its options stand for; None without them.

    Raises
    ------
    InputError
        Options without `--table`, a configuration beside it, or an option that is not NAME=VALUE.
    """
    given = {name: value for name, value in options.items() if value}
    if table is None:
        if given:
            raise InputError(f"--{next(iter(given))} goes with --table; in CONFIG write it as a key")
        return None
    if config is not None:
        raise InputError(f"give CONFIG or --table, not both; in {config} the table is kind: likelihoods and table:")
    columns = pairs("source", given.get("source", ()), "")
    search: dict[str, Any] = {key: yaml_value(key, given[key]) for key in ("prior", "shrinkage") if key in given}
    search |= {f"{key}s": pairs(key, given[key]) for key in ("floor", "cap") if key in given}
    tokens = yaml_value("tokens", given["tokens"]) if "tokens" in given else None
    described = {"path": str(table), "values": given.get("values"), "tokens": tokens, "sources": columns or None}
    return {
        "kind": "likelihoods",
        "table": {key: value for key, value in described.items() if value is not None},
        "targets": given.get("target", []),
        "sizes": pairs("size", given.get("size", ())),
        "search": search,
    }


def pairs(option: str, texts: Sequence[str], default: str | None = None) -> dict[str, str]:
    """Return {name: value} of an option that was given several times; InputError if a name comes twice."""
    found = [pair(option, text, default) for text in texts]
    names = [name for name, _ in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--{option} should have each name once, found {twice[0]!r} twice; remove one")
    return dict(found)


def pair(option: str, text: str, default: str | None = None) -> tuple[str, str]:
    """Return the parts of NAME=VALUE; without =VALUE the name stands for both, if that is allowed."""
    name, sign, value = text.partition("=")
    if name and (value or (default is not None and not sign)):
        return name, value or name
    raise InputError(
        f"--{option} should be {'NAME=VALUE' if default is None else 'NAME or NAME=COLUMN'}, found {text!r}"
    )


def yaml_value(option: str, text: str) -> Any:
    """Return what an option stands for as the value of a key."""
    import yaml

    with suppress(ValueError):
        return float(text)  # also 1e4, which is a text in YAML 1.1
    try:
        return load_yaml(text)
    except yaml.YAMLError:
        raise InputError(f"--{option} should be a value as in a YAML file, found {text!r}; check the braces") from None
