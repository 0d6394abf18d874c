"""
Runs that are killed with -9 at random moments, resumed, and compared with runs that nobody disturbed.

`python benchmarks/kills.py 1000` makes a thousand kills over train, compare, prefer train, search and runs fit, with
models of some thousand parameters. Everything is imported once; each attempt is a fork of that process, which is killed
when it has used a random share of the processor time that the undisturbed run took: so a busy machine changes nothing.
A training keeps a checkpoint after each step. After some kills the run is left alone; then every result in its folder
(logs, tables, mixtures, weights of models, and the summary without times) should be that of the undisturbed run, byte
by byte; a page has times in it, so its lines are counted. Each such life is a line in
benchmarks/results/rows/kills.jsonl, so the campaign goes on where it was. `--write` makes
benchmarks/results/kills.md of the lines.
"""

import argparse
import hashlib
import html
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "experiment"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "preference"))

import numpy as np
import peft  # noqa: F401
import tiny
import tiny_pairs
import transformers.trainer  # noqa: F401

import mapping
from mixwright.experiment import drive, make

ROWS = mapping.rows_path("kills")
PAGE = Path(__file__).with_name("results") / "kills.md"
KILLS = 5  # of a run at most, before it is left alone
SOON = 1e-6  # seconds between checkpoints: one after every step
RESULTS = ("*.jsonl", "*.csv", "mixture.json", "whatif.json", "model/*.safetensors", "report.html")
TRAINING = {"steps": 12, "batch_size": 6, "context": 32, "learning_rate": 3e-3, "evaluate_every": 4, "observe_every": 3}


def configurations(data: Path) -> dict[str, dict]:
    """Write the data and return a configuration for each command."""
    tiny.write_tiny(data)
    texts = {key: value for key, value in tiny.SETTINGS.items() if key not in ("proxy", "final")}
    pairs = tiny_pairs.write_all(data)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([1, 1, 1], 24)
    losses = 2 + np.exp(-weights @ [2.0, 1.0, 0.0])
    lines = [
        f"r{i},{','.join(map(str, row))},{loss}" for i, (row, loss) in enumerate(zip(weights, losses, strict=True))
    ]
    (data / "runs.csv").write_text("\n".join(["run,w:web,w:code,w:law,loss:qa", *lines]) + "\n")
    compared = {"arms": ["uniform", "mixmin"], "seeds": 2, "charge_search": False, "compute": {"cores": 1}}
    return {
        "train": texts
        | {"strategy": {"name": "PiKE", "rule": "restoring"}, "training": TRAINING | {"checkpoint_every": SOON}},
        "compare": tiny.SETTINGS | {"search": {"shrinkage": 0.1}} | compared,
        "prefer train": pairs | {"training": tiny_pairs.TRAINING | {"checkpoint_every": SOON}},
        "search": tiny.SETTINGS | {"search": {"shrinkage": 0.1}},
        "runs fit": {"table": "runs.csv", "target": "qa", "law": "log_linear"},
    }


def attempt(command: str, values: dict, run: Path, share: float | None) -> tuple[str, float]:
    """Fork, do the run, and kill it after some seconds of processor time; return how it ended and its seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)
            log = os.open(run.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            drive(make(command, values, folder=run.parent.parent / "data"), run)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    with suppress(OSError):  # it did so itself and is at work
        os.setpgid(child, child)  # a kill may come before its first line
    clock, used = (~child << 3) | 2, 0.0  # of the processor time of another process, as in clock_getcpuclockid
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        used = time.clock_gettime(clock)
        if share is not None and used >= share:
            time.sleep(random.uniform(0, 0.005))  # also while it waits for the disk
            os.killpg(child, signal.SIGKILL)
            break
        time.sleep(0.001)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "done", -signal.SIGKILL: "killed"}.get(code, f"exit {code}"), used


def results(run: Path) -> dict[str, str]:
    """Return what names each result of a run."""
    found = {}
    whole = json.loads((run / "summary.json").read_text())
    command = html.escape(whole["command"])
    for path in sorted({path for pattern in RESULTS for path in run.rglob(pattern)} - {run / "report.html"}):
        found[str(path.relative_to(run))] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    if (run / "report.html").exists():
        found["report.html"] = str(len((run / "report.html").read_text().replace(command, "").splitlines()))
    found["summary.json"] = hashlib.sha256(json.dumps(tiny.without_times(whole)).encode()).hexdigest()[:16]
    return found


def life(command: str, values: dict, folder: Path, whole: dict[str, str], seconds: float, seed: int) -> dict:
    """Kill a run some times, leave it alone, and compare it; its folder stays if something differs."""
    random.seed(f"{command} {seed}")
    run, begun = folder / "run", time.monotonic()
    kills, ended, left = [], "killed", seconds
    while ended == "killed" and len(kills) < KILLS:
        moment = random.uniform(0, left)
        ended, _ = attempt(command, values, run, moment)
        if ended == "killed":
            kills.append(round(moment / seconds, 3))
    if ended == "killed":
        ended, _ = attempt(command, values, run, None)
    found = results(run) if ended == "done" else {}
    differ = sorted(name for name in whole | found if whole.get(name) != found.get(name)) if found else []
    row = {"command": command, "seed": seed, "kills": kills, "ended": ended, "differ": differ}
    return row | {"seconds": round(time.monotonic() - begun, 2), "machine": mapping.machine()}


def campaign(wanted: int, only: str | None, until: float | None) -> None:
    """Go on until there are as many kills as wanted, the same number for each command."""
    with tempfile.TemporaryDirectory(prefix="kills") as place:
        data = Path(place) / "data"
        data.mkdir()
        every = {name: values for name, values in configurations(data).items() if only in (None, name)}
        undisturbed = {}
        for name, values in every.items():
            run = Path(place) / f"whole {name}" / "run"
            run.parent.mkdir()
            ended, seconds = attempt(name, values, run, None)
            if ended != "done":
                sys.exit(f"{name} did not work undisturbed:\n{run.with_suffix('.log').read_text()[-2000:]}")
            undisturbed[name] = results(run), seconds
            print(
                f"{name}: {seconds:.2f} s of processor time undisturbed, {len(undisturbed[name][0])} results",
                flush=True,
            )
        while until is None or time.time() < until:
            rows = mapping.read_rows(ROWS)
            done = Counter({name: sum(len(row["kills"]) for row in rows if row["command"] == name) for name in every})
            name = min(done, key=lambda name: done[name])
            if sum(done.values()) >= wanted:
                break
            seed = sum(row["command"] == name for row in rows)
            folder = Path(place) / f"{name} {seed}"
            folder.mkdir()
            row = life(name, every[name], folder, *undisturbed[name], seed)
            mapping.add_rows(ROWS, [row])
            if row["ended"] != "done" or row["differ"]:
                kept = shutil.copytree(folder, Path(tempfile.gettempdir()) / f"killed-{name.replace(' ', '-')}-{seed}")
                print(f"{name}, life {seed}: {row['ended']}, differs in {row['differ']}; see {kept}", flush=True)
            shutil.rmtree(folder)


def page(rows: list[dict]) -> str:
    """Return the results as a page."""
    lines = [
        "# Kills",
        "",
        "Runs that are killed with -9 at random moments, resumed, and compared with runs that nobody disturbed:",
        "`python benchmarks/kills.py N`, then `--write`. Models have some thousand parameters; a training keeps a",
        "checkpoint after every step. A life is a run that was killed up to five times and then left alone. Its logs,",
        "tables, mixtures, weights of models and its summary without times should be those of the undisturbed run,",
        "byte by byte, and its page should have as many lines.",
        "",
        "| command | lives | kills | ended in an error | other results | moments of the kills, as shares of the run |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in dict.fromkeys(row["command"] for row in rows):
        own = [row for row in rows if row["command"] == name]
        moments = sorted(moment for row in own for moment in row["kills"])
        cells = (len(own), len(moments), sum(r["ended"] != "done" for r in own), sum(bool(r["differ"]) for r in own))
        spread = f"{moments[0]:.2f} to {moments[-1]:.2f}" if moments else ""
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {spread} |")
    wrong = [row for row in rows if row["ended"] != "done" or row["differ"]]
    lines += [
        "",
        f"In all {sum(len(row['kills']) for row in rows):,} kills. On {', '.join({r['machine'] for r in rows})}.",
    ]
    lines += [f"- {r['command']}, life {r['seed']}: {r['ended']}, other results: {r['differ']}" for r in wrong]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("kills", type=int, nargs="?", default=0)
    parser.add_argument("--only", help="one command, such as 'prefer train'")
    parser.add_argument("--minutes", type=float, help="stop after that time; call it again to go on")
    parser.add_argument("--write", action="store_true", help="write results/kills.md of the lines")
    options = parser.parse_args()
    if options.kills:
        campaign(options.kills, options.only, options.minutes and time.time() + 60 * options.minutes)
    if options.write:
        PAGE.write_text(page(mapping.read_rows(ROWS)))


if __name__ == "__main__":
    main()
