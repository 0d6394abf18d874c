"""Tables of runs: the options of `mixwright runs fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixwright.cli.likelihoods import pair, yaml_value
from mixwright.errors import InputError

Table = Annotated[
    Path | None,
    typer.Argument(metavar="TABLE", help="A .csv or .parquet file with a row per run; or a YAML file with all keys."),
]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", help="What should be low; repeat: the mean counts. Default: the only one."),
]
Guardrail = Annotated[
    list[str] | None,
    typer.Option("--guardrail", metavar="TARGET=SHARE", help="What may get worse by at most a share; repeat."),
]
Law = Annotated[
    list[str] | None,
    typer.Option(
        "--law",
        help="auto (the least error out of fold), linear, log_linear, exposure, gaussian_process, trees or bimix; "
        "repeat to choose among several.",
    ),
]
WeightColumns = Annotated[
    str | None, typer.Option("--weights", metavar="PREFIX", help="Columns of the weights. Default: w:")
]
LossColumns = Annotated[
    str | None, typer.Option("--losses", metavar="PREFIX", help="Columns of the losses. Default: loss:")
]
SourcesFile = Annotated[
    Path | None, typer.Option("--sources-file", help="File with the columns source and available_tokens.")
]
Metrics = Annotated[
    Path | None, typer.Option("--metrics", help="A second file with the losses, where TABLE has the weights alone.")
]
Key = Annotated[str | None, typer.Option("--key", help="Column that names the runs.")]
TokensOfRuns = Annotated[
    str | None, typer.Option("--tokens", help="Tokens of each run: a column, or a number. For exposures.")
]
Scale = Annotated[str | None, typer.Option("--scale", help="The scale that is fitted, where the table has several.")]
MaxEpochs = Annotated[
    str | None, typer.Option("--max-epochs", help="How often a source may be repeated: a number, or {SOURCE: NUMBER}.")
]
_CONFIGS = (".yaml", ".yml")


def fit_values(table: Path | None, options: dict[str, Any]) -> dict[str, Any] | None:
    """
    Return the configuration that TABLE and its options stand for; None for a YAML file, which has all keys.

    Raises
    ------
    InputError
        Options beside a YAML file, or an option that is not NAME=VALUE.
    """
    given = {name: value for name, value in options.items() if value}
    if table is None or table.suffix in _CONFIGS or table.is_dir():
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')} goes with a table; in a YAML file write a key")
        return None
    columns: dict[str, Any] = {key: given[key] for key in ("weights", "losses", "key") if key in given}
    columns |= {key: str(given[of]) for key, of in (("metrics", "metrics"), ("sources", "sources_file")) if of in given}
    if "tokens" in given:
        columns["tokens"] = yaml_value("tokens", given["tokens"])
    values: dict[str, Any] = {"table": {"path": str(table), **columns}, "search": limits_of(given)}
    values |= {key: given[key] for key in ("target", "law", "scale") if key in given}
    values["guardrails"] = dict(pair("guardrail", text) for text in given.get("guardrail", ()))
    return values | {"sizes": dict(pair("size", text) for text in given.get("size", ()))}


def limits_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration on prior, shrinkage and limits that options stand for."""
    plain = ("prior", "shrinkage", "max_epochs")
    found = {key: yaml_value(key.replace("_", "-"), given[key]) for key in plain if key in given}
    return found | {f"{key}s": dict(pair(key, text) for text in given[key]) for key in ("floor", "cap") if key in given}
