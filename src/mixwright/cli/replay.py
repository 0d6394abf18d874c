"""The command `mixwright replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.cli.tables.parts import SHOWN, print_line, print_table, print_title
from mixwright.decisions import DecisionLog
from mixwright.decisions import replay as replayed_weights
from mixwright.errors import InputError
from mixwright.files.opening import read_text
from mixwright.files.yaml_text import load_yaml
from mixwright.report.words import percent


def replay(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or its decisions.jsonl.")],
    strategy: Annotated[
        str, typer.Option(metavar="STRATEGY", help="A name, parameters in YAML, or a YAML file with them.")
    ],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright replay`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.decisions import read_decisions
        from mixwright.strategies import from_config

        log = read_decisions(run)
        made = from_config(strategy_of_text(strategy), log.sources)
        weights = replayed_weights(log, made)
        output.json(_result(log, repr(made), weights))
        output.show(lambda console: _print(console, log, repr(made), weights))


def strategy_of_text(text: str) -> Any:
    """Return what was given after --strategy: a name, or a mapping."""
    import yaml

    is_file = text.endswith((".yaml", ".yml"))
    where = text if is_file else "--strategy"
    try:
        value = load_yaml(read_text(Path(text), "a YAML file with a strategy") if is_file else text)
    except yaml.YAMLError as error:
        raise InputError(f"{where} should be a name or a mapping in YAML, found {text!r} ({error})") from None
    if is_file and isinstance(value, dict) and set(value) == {"strategy"}:
        value = value["strategy"]
    return value


def _result(log: DecisionLog, strategy: str, weights: Any) -> dict[str, Any]:
    return {
        "sources": list(log.sources),
        "recorded_strategy": log.strategy,
        "strategy": strategy,
        "steps": [obs.step for obs in log.observations],
        "begins": log.begins.tolist(),
        "recorded": log.weights.tolist(),
        "replayed": weights.tolist(),
        "distance": _distance(log, weights).tolist(),
    }


def _distance(log: DecisionLog, weights: Any) -> Any:
    """Return how much of a batch would have been of other sources, at each update."""
    return np.abs(weights - log.weights).sum(1) / 2


def _print(console: Console, log: DecisionLog, strategy: str, weights: Any) -> None:
    first, last = log.observations[0].step, log.observations[-1].step
    print_title(console, f"Weights on {len(weights)} observations (steps {first} to {last})")
    means = log.weights.mean(0), weights.mean(0), log.weights[-1], weights[-1]
    order = np.argsort(-weights[-1], kind="stable")
    rows = [[log.sources[i], *(percent(float(column[i])) for column in means)] for i in order]
    print_table(console, ["source", "recorded mean", "replayed mean", "recorded last", "replayed last"], rows, SHOWN)
    distance = _distance(log, weights)
    apart = f"{percent(float(distance.mean()))} of a batch on average, at most {percent(float(distance.max()))}"
    print_line(console, "recorded", log.strategy or "not named in the log")
    print_line(console, "replayed", strategy)
    print_line(console, "difference", apart)
    print_line(console, "note", "this is a dry run: the observations come from training with the recorded weights")
