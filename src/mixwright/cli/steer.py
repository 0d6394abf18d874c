"""The command `mixwright steer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mixwright.cli.options import Json, Quiet, output_of
from mixwright.cli.output import guarded
from mixwright.cli.replay import strategy_of_text
from mixwright.cli.tables.parts import Column, print_line, print_table, print_title
from mixwright.errors import InputError
from mixwright.steering.control import orders_of
from mixwright.steering.orders import CONTROL, Order, add_order, check_order, parts_of_file
from mixwright.steering.words import order_words

_SHARES = "SOURCE=SHARE,..."


def steer(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or the output_dir of a Trainer.")],
    weights: Annotated[
        str | None,
        typer.Option(
            metavar=_SHARES, help="Weights in place of the strategy's; strategy: those of the strategy again."
        ),
    ] = None,
    pin: Annotated[
        str | None, typer.Option(metavar=_SHARES, help="Hold sources at shares; the strategy goes on over the rest.")
    ] = None,
    unpin: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="Let a pinned source go; may be repeated.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="STRATEGY", help="Another strategy, as for mixwright replay.")
    ] = None,
    add: Annotated[
        str | None,
        typer.Option(metavar="SOURCE=PATH", help="Add a source from its files; one that was removed: its name alone."),
    ] = None,
    weight: Annotated[
        float | None, typer.Option(metavar="SHARE", help="The weight of the added source. Default: by the prior.")
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="SOURCE", help="Remove a source; may be repeated.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="SOURCE=PART:PATH,...", help="Split a source into parts; their files have its documents."),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last order that is not undone.")] = False,
    at: Annotated[
        int | None, typer.Option(min=0, help="The first step of the change. Default: as soon as the run can.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Parse and do `mixwright steer`."""
    output = output_of(context, quiet, as_json)
    with guarded(output):
        from mixwright.experiment.core.run_folder import check_unfinished, trained_sources

        names = trained_sources(run)
        values: dict[str, Any] = {
            "weights": weights if weights in (None, "strategy") else _shares(weights, "--weights"),
            "pin": None if pin is None else _shares(pin, "--pin"),
            "unpin": unpin or None,
            "strategy": None if strategy is None else strategy_of_text(strategy),
            "undo": undo or None,
            "add": None if add is None else {add.partition("=")[0].strip(): weight},
            "remove": remove or None,
            "split": None if split is None else _parts(split),
        }
        given = [name for name, value in values.items() if value is not None]
        if len(given) > 1:
            raise InputError(f"give one change at a time, found {' and '.join(f'--{name}' for name in given)}")
        if weight is not None and add is None:
            raise InputError("--weight is of an added source; give --add, or change weights with --weights")
        if not given and at is not None:
            raise InputError("--at needs a change; give --weights, --pin, --unpin, --strategy or --undo")
        if given:
            check_unfinished(run)
            _add(run, Order(given[0], values[given[0]], at), names, add, split)
        lines = _account(run)
        output.json({"control": str((run / CONTROL).resolve()), "orders": lines})
        output.show(lambda console: _print(console, run, lines))


def _add(run: Path, order: Order, names: list[str], add: str | None, split: str | None) -> None:
    """Add an order to the control file; new sources get their tokens first."""
    if not order.changes_sources:
        add_order(run, order, names)
        return
    from mixwright.experiment.core.run_folder import command_of

    check_order(run, order, names)  # before the work
    if command_of(run) != "train":
        raise InputError("only runs of mixwright train can change their sources; start another training")
    from mixwright.experiment import load
    from mixwright.experiment.core.inputs import check_pinned, copies_of, naming_addresses, with_copies
    from mixwright.experiment.text.under_way.other_sources import make_parts, make_tokens
    from mixwright.files.stores.copies import copies_in

    config: Any = load("train", run / "config.yaml")
    name, _, path = (add or "").partition("=")
    if path:
        make_tokens(config, run, name.strip(), Path(path.strip()))
    if split is not None:
        with naming_addresses(), copies_in(copies_of(run)):  # the documents of the version that the run reads
            pinned = with_copies(config, run)
            check_pinned(pinned, run)
            make_parts(pinned, run, split.partition("=")[0].strip(), _part_paths(split))
    add_order(run, order, names)


def _part_paths(text: str) -> dict[str, Path]:
    """Return the path of each part in a text such as code=python:py.jsonl,rust:rs.jsonl."""
    _, _, parts = text.partition("=")
    found = {}
    for part in parts.split(","):
        name, _, path = part.partition(":")
        if not name.strip() or not path.strip() or name.strip() in found:
            raise InputError(f"--split should be such as code=python:py.jsonl,rust:rs.jsonl, found {text!r}")
        found[name.strip()] = Path(path.strip())
    return found


def _parts(text: str) -> dict[str, list[str]]:
    return {text.partition("=")[0].strip(): list(_part_paths(text))}


def _shares(text: str | None, option: str) -> dict[str, float]:
    """Return the shares in a text such as code=.3,books=.7."""
    found: dict[str, float] = {}
    for part in (text or "").split(","):
        name, _, share = part.rpartition("=")
        try:
            number = float(share)
        except ValueError:
            number = float("nan")
        if not name.strip() or number != number or name.strip() in found:
            raise InputError(f"{option} should be shares such as code=0.3,books=0.7, found {text!r}")
        found[name.strip()] = number
    return found


def _account(run: Path) -> list[dict[str, Any]]:
    """Return what the run took from its control file, and then the orders that it has not read yet."""
    record = orders_of(run)
    waiting = parts_of_file(run)[0][sum("order" in line for line in record) :]
    late = {"late": True} if (run / "summary.json").exists() else {}
    return [*record, *({"order": order.to_json(), **late} for order in waiting)]


def _state(line: Mapping[str, Any]) -> str:
    if "ignored" in line:
        return f"ignored: {line['ignored']}"
    waits = "the run ended before it read it" if "late" in line else "the run has not read it yet"
    return f"holds from step {line['at']}" if "at" in line else waits


def _print(console: Console, run: Path, lines: list[dict[str, Any]]) -> None:
    print_title(console, f"Orders for {run}")
    if not lines:
        print_line(console, "note", "there are none; see mixwright steer --help")
        return
    rows = [[order_words(line["order"]) if "order" in line else "(the file)", _state(line)] for line in lines]
    print_table(console, ["order", Column("what the run does", sentences=True)], rows)
