"""Trainings as tables in the terminal: on text, on preference pairs, of specialists, and fine-tuning before them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from mixwright.cli.tables.parts import SHOWN, Column, print_ends, print_line, print_table, print_title
from mixwright.cli.tables.questions import print_answers
from mixwright.report.words import count, duration, number, percent

_SHARES = ("last_weight", "asked", "drawn")


def print_training(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a training: each source's weight, share, epochs and loss, the targets, where the page is.

    Parameters
    ----------
    console : Console
        Where to.
    summary : mapping
        What `summary.json` of a training holds.
    folder : Path
        Of the run.
    """
    print_title(console, summary["title"])
    apart = ("sampling",) if summary.get("sampling") else ()  # rows were drawn by it, and weights acted on the loss
    shares = (_SHARES[0], *apart, *_SHARES[1:])
    rows = [
        [s["name"], *(percent(s[key]) for key in shares), number(s["epochs"], 2), number(s["held_out_loss"])]
        for s in summary["sources"]
    ]
    columns: list[str | Column] = [
        "source",
        "last weight",
        *apart,
        Column("asked", spare=True),
        "drawn",
        "epochs",
        "held-out loss",
    ]
    print_table(console, columns, rows, SHOWN, "the page has all")
    for target in summary["targets"]:
        right = (
            ""
            if target["accuracy"] is None or summary.get("questions")
            else f", right answers {percent(target['accuracy'])}"
        )
        print_line(console, "target", f"{target['name']}: {number(target['loss'])} nats per token{right}")
    print_answers(console, summary.get("questions", ()))
    held = summary["held_out"]
    if held["average"] is not None:
        worst = f"worst {number(held['worst'])} ({held['worst_source']})"
        print_line(console, "held-out", f"average {number(held['average'])}, {worst} nats per token")
    acting = "; they weighed the loss" if apart else ""
    print_line(console, "weights", ("fixed" if summary["fixed"] else summary["strategy"]) + acting)
    print_line(console, "trained", _trained(summary, "tokens"))
    more = {}
    if "average_weight" in summary["sources"][0]:
        mean = ", ".join(f"{s['name']} {percent(s['average_weight'])}" for s in summary["sources"])
        print_line(console, "answer", f"the mean of the weights: {mean}")
        more = {"mixture": "mixture.json"}
    if "reference" in summary:
        cost = summary["reference"]
        spent = f"{count(cost['trained_tokens'])} tokens to train it, " if cost["trained_tokens"] else ""
        print_line(console, "reference", f"{cost['model']}; {spent}{count(cost['forward_tokens'])} tokens through it")
    print_ends(console, summary, folder, model="model", **more, page="report.html")


def print_preference(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """
    Print the result of a training on pairs: weights, epochs and held-out numbers of each source, where the page is.

    It takes the parameters of `print_training`.
    """
    print_title(console, summary["title"])
    rows = []
    for source in summary["sources"]:
        held = source["held_out"]
        shares = [percent(source["last_weight"]), percent(source["drawn"]), number(source["epochs"], 2)]
        over = [number(held[key]) for key in ("excess", "gap")] if summary["specialists"] else []
        rows.append([source["name"], *shares, number(held["loss"]), percent(held["accuracy"]), *over])
    more: list[str | Column] = ["excess", Column("gap", spare=True)] if summary["specialists"] else []
    columns: list[str | Column] = ["source", "weight", Column("drawn", spare=True), "epochs", "loss", "accuracy", *more]
    print_table(console, columns, rows, SHOWN, "the page has all")
    for key in ("loss", "accuracy", "excess"):
        if found := summary["held_out"].get(key):
            say, unit = (percent, "") if key == "accuracy" else (number, ", nats per pair")
            worst = f"worst {say(found['worst'])} ({found['worst_source']})"
            print_line(console, key, f"average {say(found['average'])}, {worst}{unit}")
    print_line(console, "weights", f"{summary['strategy']}{' (fixed)' if summary['fixed'] else ''}")
    cost = summary["cost"]["specialist_pairs"]
    also = f"; its specialists cost as much as {count(cost)} pairs" if cost else ""
    print_line(console, "trained", _trained(summary, "pairs") + also)
    print_ends(console, summary, folder, model="model", page="report.html")


def print_specialists(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print what specialists reach on their own sources, and what they cost; parameters as of `print_training`."""
    print_title(console, summary["title"])
    rows = [
        [
            source["name"],
            count(source["pairs"]),
            number(source["train_loss"]),
            number(source["held_out_loss"]),
            count(source["cost"]),
            "kept" if source["model"] else "dropped",
        ]
        for source in summary["sources"]
    ]
    columns: list[str | Column] = [
        "source",
        "pairs",
        "training loss",
        "held-out loss",
        "cost in pairs",
        Column("model", words=True),
    ]
    print_table(console, columns, rows, SHOWN)
    print_ends(console, summary, folder, cache="cache")


def print_fine_tuning(console: Console, summary: Mapping[str, Any], folder: Path) -> None:
    """Print each source's share, epochs, and held-out loss before and after; parameters as of `print_training`."""
    print_title(console, summary["title"])
    rows = []
    for source in summary["sources"]:
        counts = [count(source["pairs"]), percent(source["drawn"]), number(source["epochs"], 2)]
        losses = [number(source[key]) for key in ("held_out_loss_before", "held_out_loss")]
        rows.append([source["name"], *counts, count(source["held_out_pairs"]), *losses])
    columns: list[str | Column] = [
        "source",
        "pairs",
        "drawn",
        "epochs",
        Column("held-out pairs", spare=True),
        "loss before",
        "after",
    ]
    console.print("Held-out loss of the chosen answers, nats per token")
    print_table(console, columns, rows, SHOWN)
    held = summary["held_out"]
    print_line(console, "held-out", f"average {number(held['before'])} before, {number(held['after'])} after")
    print_line(console, "trained", _trained(summary, "rows"))
    print_ends(console, summary, folder, model="model")


def _trained(summary: Mapping[str, Any], amount: str) -> str:
    return f"{count(summary[amount])} {amount}, {count(summary['steps'])} steps, {duration(summary['seconds'])}"
