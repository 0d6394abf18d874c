"""What the maps share: rows that were trained, one JSON line each in a file that a kill may cut off; their judge."""

from __future__ import annotations

import json
import platform
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mixwright.compare.statistics import PairedDifference, paired_differences
from summaries import Interval, table
from svg import COLOURS

Row = dict[str, Any]
Differences = dict[str, PairedDifference]  # by arm
SAME = 2e-3  # nats; less than seeds scatter, more than another processor should make of its rounding


def rows_path(name: str) -> Path:
    """Return the file of what a map trained."""
    return Path(__file__).with_name("results") / "rows" / f"{name}.jsonl"


def read_rows(path: Path, **only: str) -> list[Row]:
    """Return what was trained, where these keys have these values; a last line that was cut off is not there."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    rows = [json.loads(line) for line in whole.splitlines()]
    return [row for row in rows if all(row[key] == value for key, value in only.items())]


def add_rows(path: Path, rows: Iterable[Row]) -> None:
    """Add rows after the last whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def keep_new(path: Path, rows: list[Row], keys: tuple[str, ...]) -> None:
    """
    Add the rows that are not there; `keys` say which are the same training.

    What was trained again, such as uniform beside an arm that was missing, should have the losses that are kept: else
    the difference of the new arm to it would be one of two machines or versions. Then nothing is added.
    """
    kept = {tuple(row[key] for key in keys): row for row in read_rows(path)}
    new = []
    for row in rows:
        if (old := kept.get(tuple(row[key] for key in keys))) is None:
            new.append(row)
        elif (apart := max(abs(old["loss"][name] - loss) for name, loss in row["loss"].items())) > SAME:
            raise SystemExit(
                f"{row['arm']}, seed {row['seed']}: trained again, its losses are up to {apart:.4f} from those of "
                f"{path.name} ({old.get('machine')}); remove the rows of {row['regime']}, half {row['half']}, "
                "to train all arms again"
            )
    add_rows(path, new)


def machine() -> str:
    """Return what is computed on."""
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{where}, torch {torch.__version__}"


def named(arm: str | dict) -> str:
    """Return the name of an arm."""
    return arm if isinstance(arm, str) else arm["name"]


def done_arms(rows: Iterable[Row], seeds: int) -> set[str]:
    """Return the arms that have a row for each seed."""
    return {arm for arm, number in Counter(row["arm"] for row in rows).items() if number >= seeds}


def judged(rows: list[Row], value: Callable[[Row], float], higher: bool = False) -> Differences:
    """Return what each arm has more than uniform, judged over all arms together; all should have the same seeds."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    found = {(row["arm"], row["seed"]): value(row) for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    if missing := [f"{arm}, seed {seed}" for arm in arms for seed in seeds if (arm, seed) not in found]:
        raise SystemExit(f"every arm should have the seeds {seeds}, found none for {'; '.join(missing)}; run it again")
    values = np.array([[found[arm, seed] for seed in seeds] for arm in arms])
    return {d.arm: d for d in paired_differences(values, arms, unit="", higher=higher)}


def by_regime(rows: list[Row], order: Iterable[str]) -> dict[str, list[Row]]:
    """Return the rows of each regime that has some, in this order."""
    found = {regime: [row for row in rows if row["regime"] == regime] for regime in order}
    return {regime: own for regime, own in found.items() if own}


def grid(found: dict[str, Differences], corner: str = "") -> list[str]:
    """Return a table: a row for each arm, a column for each regime or measure."""
    arms = dict.fromkeys(arm for differences in found.values() for arm in differences)
    return table(corner, found, {arm: [_cell(each.get(arm)) for each in found.values()] for arm in arms})


def _cell(d: PairedDifference | None) -> str:
    """Return a difference; in bold and with its word if it was shown."""
    if d is None:
        return ""
    shown = d.word in ("better", "worse")
    return f"**{d.difference:+.3f} {d.word}**" if shown else f"{d.difference:+.3f}"


def means(found: dict[str, list[Row]], value: Callable[[Row], float | None]) -> list[str]:
    """Return a table of means over seeds, by arm and regime; a column in which nothing has a value is not there."""
    values = {
        regime: [(row["arm"], one) for row in rows if (one := value(row)) is not None] for regime, rows in found.items()
    }
    values = {regime: own for regime, own in values.items() if own}
    cells = {
        arm: [_mean([one for name, one in own if name == arm]) for own in values.values()]
        for arm in dict.fromkeys(name for own in values.values() for name, _ in own)
    }
    return table("", values, cells)


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f}" if values else ""


def by_arm(found: dict[str, Differences]) -> dict[str, list[Interval]]:
    """Return what to draw: a panel for each arm, with its difference in each regime."""
    arms = dict.fromkeys(arm for differences in found.values() for arm in differences)
    return {
        arm: [(r, COLOURS[0], d[arm].difference, d[arm].low, d[arm].high) for r, d in found.items() if arm in d]
        for arm in arms
    }
