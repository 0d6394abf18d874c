"""
Damaged files and states, read by every reader: each ends in what is in it or in one InputError.

`python benchmarks/fuzz.py 10000` damages what each reader of tests/files/test_damage.py,
tests/experiment/test_damaged_runs.py and tests/test_damaged_states.py reads, that often, by the same changes as the
tests. A case fails that ends in another error, in one that does not name the file, in a change of a file or of what
was to take the state, or that needs more than 20 s of the processor. Each part of 500 cases is a line in
benchmarks/results/rows/fuzz.jsonl, with its seed: so the campaign goes on where it was, and a failure is repeated with
`--only READER --seed S`. `--write` makes benchmarks/results/fuzz.md of the lines.
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "files"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "experiment"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))

import test_damage
import test_damaged_runs

import mapping
import test_damaged_states
from damage import check_one, random_file, random_values

ROWS = mapping.rows_path("fuzz")
PAGE = Path(__file__).with_name("results") / "fuzz.md"
PART = 500
Case = Callable[[Random, Path], None]
HEAD = """# Damaged files and states

`python benchmarks/fuzz.py 10000`, then `--write`: what each reader reads is damaged (bits and parts of the bytes, or
values of another kind, size or name, one to three changes a case), and the reader should give what is in it or one
InputError that names the file, and leave every file as it was. What takes a state should be as it was after it refused
one, and go on after it took one.

This campaign found, and tests hold since: a plan whose state owes millions of rows counted them one by one for hours;
counts and numbers of another kind in the states of strategies, gradient statistics and what a training observes ended
in errors of Python; a mixture's state without weights in force was taken; a mixture was asked for the step of a state
that was then refused. Before it, the same changes by hypothesis, 157,000 cases, found about 25 faults in the readers of
files (characters that YAML does not allow, endless nesting, numbers beyond 64 bits, errors that named no file).
A reader whose cases failed was fixed, and all its cases were run again. The rows are of several commits of two days.
"""


def of_file(target: test_damage.Target, rng: Random, place: Path) -> None:
    """Damage a file of a reader, in a folder of its own."""
    file, content = random_file(rng, target)
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        check_one(target, file, content, folder)
    finally:
        shutil.rmtree(folder)


def of_state(target: test_damaged_states.Stateful, rng: Random, _: Path) -> None:
    """Damage a state."""
    test_damaged_states.reads_or_refuses_state(target, random_values(rng, target.state()))


def readers() -> dict[str, Case]:
    """Return a case of each reader."""
    files = {
        **test_damage.TARGETS,
        **test_damaged_runs.TARGETS,
        "checkpoint of a training": test_damaged_states.CHECKPOINT,
    }
    found: dict[str, Case] = {name: partial(of_file, target) for name, target in files.items()}
    states = test_damaged_states.TARGETS.items()
    return found | {f"state of a {name}": partial(of_state, target) for name, target in states}


def part(name: str, case: Case, seed: int, place: Path) -> dict:
    """Return the line of a part; what failed is printed."""
    rng, failed, begun = Random(f"{name} {seed}"), [], time.process_time()
    for number in range(PART):
        try:
            with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                case(rng, place)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failed.append(f"case {number}: {type(error).__name__}: {error}"[:300])
            if len(failed) == 1:
                traceback.print_exc()
    seconds = round(time.process_time() - begun, 2)
    return {"reader": name, "seed": seed, "cases": PART, "failed": failed, "seconds": seconds}


def campaign(wanted: int, every: dict[str, Case], until: float | None) -> None:
    """Go on until each reader had its cases, those with the fewest first."""
    with tempfile.TemporaryDirectory(prefix="fuzz", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as place:
        while until is None or time.time() < until:
            rows = mapping.read_rows(ROWS)
            done = Counter({name: sum(row["cases"] for row in rows if row["reader"] == name) for name in every})
            name = min(done, key=lambda name: done[name])
            if done[name] >= wanted:
                break
            row = part(name, every[name], sum(row["reader"] == name for row in rows), Path(place))
            mapping.add_rows(ROWS, [row])
            if row["failed"]:
                print(f"{name}, seed {row['seed']}: {len(row['failed'])} failed; {row['failed'][0]}", flush=True)


def page(rows: list[dict]) -> str:
    """Return the results as a page."""
    lines = [HEAD, "| reader | cases | failed | processor ms a case |", "|---|---:|---:|---:|"]
    for name in dict.fromkeys(row["reader"] for row in rows):
        own = [row for row in rows if row["reader"] == name]
        cases = sum(row["cases"] for row in own)
        failed, cost = sum(len(row["failed"]) for row in own), 1000 * sum(row["seconds"] for row in own) / cases
        lines.append(f"| {name} | {cases:,} | {failed} | {cost:.1f} |")
    lines += ["", f"In all {sum(row['cases'] for row in rows):,} cases."]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("cases", type=int, nargs="?", default=0, help="of each reader")
    parser.add_argument("--only", nargs="*", choices=list(readers()), metavar="READER", help="such as 'mixture.json'")
    parser.add_argument("--seed", type=int, help="one part with this seed, which is not kept")
    parser.add_argument("--minutes", type=float, help="stop after that time; call it again to go on")
    parser.add_argument("--write", action="store_true", help="write results/fuzz.md of the lines")
    options = parser.parse_args()
    every = {name: case for name, case in readers().items() if options.only is None or name in options.only}
    if options.seed is not None:
        with tempfile.TemporaryDirectory() as place:
            for name, case in every.items():
                print(part(name, case, options.seed, Path(place)))
    if options.cases:
        campaign(options.cases, every, options.minutes and time.time() + 60 * options.minutes)
    if options.write:
        PAGE.write_text(page(mapping.read_rows(ROWS)))


if __name__ == "__main__":
    main()
