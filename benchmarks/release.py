"""
Can a release be installed? Wheel and sdist, in clean environments; `make release-check` runs it.

`python benchmarks/release.py` builds both, installs the wheel for each Python of --pythons (one that is not here is
an error), runs `mixwright --version` and a search of a tiny table, and does the same with the sdist. It installs each
extra without torch or xgboost alone (others: --extras) and imports what it is for, tries the lowest versions of the
core and of five of them (others: --lowest), and checks a program with the types of the installed wheel. Extras with
torch and transformers also train on two texts. It needs `uv` (pip install uv) and a package index;
UV_TORCH_BACKEND=cpu takes torch's build for the CPU.
--parts chooses among build, python, sdist, extras, lowest, types. --keep adds what was measured to
benchmarks/results/rows/release.jsonl, so the table can be of several calls and machines; --write makes
benchmarks/results/release.md of the newest line of each check. Sizes are of a fresh environment, without pip.
"""

import argparse
import itertools
import json
import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKS = {
    "build": "sdist, and the wheel from it",
    "python": "installed, imported, a search; with `cli` the command too",
    "sdist": "the sdist in place of the wheel",
    "extras": "extra alone",
    "lowest": "lowest versions that are asked for",
    "types": "mypy on a program outside the tree",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
IMPORTS = {  # what each extra is for
    "": "import mixwright, numpy; mixwright.MixMin",
    "cli": "import mixwright.cli.app",
    "data": "import mixwright.files.parquet, pyarrow, zstandard",
    "report": "import mixwright.report, jinja2, plotly",
    "constraints": "import mixwright.constraints, scipy.optimize",
    "compare": "import mixwright.compare, scipy.stats",
    "lm": "import mixwright.training, torch, transformers, tokenizers, safetensors",
    "preference": "import mixwright.preference, peft, accelerate, datasets",
    "trl": "import trl, mixwright.integrations.transformers; trl.SFTTrainer",
    "stream": "import mixwright.stream, numba",
    "runs": "import mixwright.runs, sklearn, lightgbm",
    "lm_eval": "import lm_eval, mixwright.training",
    "stores": "import mixwright.files.stores, fsspec, s3fs, gcsfs, aiohttp",
    "grain": "import grain, mixwright.integrations.grain",
    "torchtitan": "import mixwright.integrations.torchtitan",
    "track": "import tensorboard, wandb, mlflow, trackio, mixwright.watching.trackers",
    "ray": "import ray, mixwright.cli.app",
    "tabular": "import xgboost, sklearn, mixwright.assays",
    "chem": "import rdkit, mixwright.assays",
}
GPU = (
    "lm",
    "preference",
    "trl",
    "lm_eval",
    "torchtitan",
    "tabular",
)  # where the index gives gigabytes for GPUs, unless constraints say otherwise
TRAINS = ("lm", "preference", "trl")
LOWEST = ("", "cli", "data", "report", "constraints", "runs")
TINY = """
import numpy as np, mixwright
logs = np.log(np.random.default_rng(0).dirichlet([1, 1, 1], 60))
table = mixwright.LikelihoodTable.from_array(logs, ["a", "b", "c"])
result = mixwright.MixMin().fit(table)
assert abs(sum(result.weights) - 1) < 1e-9 and result.gap < 1e-6
print(result.weights)
"""
TEXTS = """{"sources": {"a": "a.jsonl", "b": "b.jsonl"}, "tokenizer": "bytes", "strategy": "PiKE",
"model": {"model_type": "gpt_neox", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
"training": {"steps": 45, "batch_size": 4, "context": 16}}
"""
TYPED = """
import mixwright

table: mixwright.LikelihoodTable = mixwright.LikelihoodTable.from_file("scores.csv")
result = mixwright.MixMin().fit(table)
reveal_type(result.gap)
mixwright.MixMin(tolerance="small")
"""
ROWS = Path(__file__).with_name("results") / "rows" / "release.jsonl"
PAGE = Path(__file__).with_name("results") / "release.md"
HEAD = """# Installing a release

`python benchmarks/release.py --keep`, then `--write`: wheel and sdist are built and used in clean environments. Sizes
are of the whole environment, without pip. Other work shared the machines, and packages that were fetched before come
from a cache, so the seconds say little. "Lowest" is the lowest version of all that `pyproject.toml` asks for.
"""
NOTE = """**Found by it.** Type checkers saw `Any` for every name that is imported on first use, `mixwright.MixMin`
among them, since `__getattr__` tells them nothing. Stubs lie beside those packages now. torchtitan needs torch 2.8,
which it does not ask for: the extra does. A package that lacks something that it needs was called absent. With the
lowest pydantic, 2.7 then, no configuration could be read; the extra asks for 2.9.

**Sizes.** With Python 3.11 `lm` and what needs it, but `trl`, have torch's build for the CPU
(`--constraints constraints.txt`). With 3.14, and in the rows of lowest versions, they have what the index gives
on Linux: packages for GPUs, 4.5 GB more. torchtitan needs triton, which the build for the CPU does not bring.

**Not run here.** macOS and Windows."""


def called(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Return what a command prints; RuntimeError with the end of it where it fails."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=clean | environment, check=False
    )
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).strip().splitlines()[-12:]))
    return done.stdout


def build(folder: Path) -> float:
    """Build the sdist, and the wheel from it; check what is in them; return the MiB of the wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    called("uv", "build", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("mixwright/py.typed", "mixwright/report/style.css", "mixwright/report/search/page.html"):
        assert part in names, f"{part} is not in {wheel.name}"
    assert not [name for name in names if name.startswith("tests/")]
    return wheel.stat().st_size / 2**20


def installed(folder: Path, python: str, wheel: Path, extra: str, *options: str) -> Path:
    """Make an environment with the wheel in it and return its Python."""
    shutil.rmtree(folder, ignore_errors=True)
    called("uv", "venv", "--quiet", "--python", python, folder)
    own = folder / "bin" / "python"
    what = f"mixwright{f'[{extra}]' if extra else ''} @ {wheel.resolve().as_uri()}"
    called("uv", "pip", "install", "--quiet", "--python", own, *options, what)
    return own


def asked(extra: str) -> list[str]:
    """Return what pyproject.toml asks for: named themselves, since uv takes the lowest of what it is told directly."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    for what in project["optional-dependencies"][extra] if extra else []:
        own = re.fullmatch(r"mixwright\[(.*)\]", what)  # an extra that takes in others
        found += [deep for name in own[1].split(",") for deep in asked(name)] if own else [what]
    return list(dict.fromkeys(found))


def size(folder: Path) -> float:
    """Return the MiB of an environment."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 2**20


def used(own: Path, extra: str, folder: Path) -> None:
    """Import what an extra is for; search a tiny table; run the command where it is."""
    called(own, "-c", IMPORTS[extra], cwd=folder)
    called(own, "-c", TINY, cwd=folder)
    command = own.parent / "mixwright"
    if extra in ("cli", *TRAINS):
        assert re.match(r"mixwright \d", called(command, "--version", cwd=folder))
        assert "AdapterConfig" in json.loads(called(command, "search", "--schema", cwd=folder))["$defs"]
    if extra in TRAINS:
        for name, line in (("a", "one two three four"), ("b", "alpha beta gamma delta")):
            (folder / f"{name}.jsonl").write_text(
                "".join(json.dumps({"text": f"{line} {i}"}) + "\n" for i in range(400))
            )
        (folder / "train.yaml").write_text(TEXTS)
        called(command, "train", "train.yaml", "--run", "trained", cwd=folder)
        assert (folder / "trained" / "decisions.jsonl").read_text(), "no decision of PiKE"
        shutil.rmtree(folder / "trained")


def measured(part: str, python: str, extra: str, work: Callable[[], float | None], keep: bool) -> bool:
    """Do a check, and print how long it took and how it ended; return whether it passed."""
    began = time.monotonic()
    try:
        found = work()
        result = "passed"
    except (RuntimeError, AssertionError, OSError) as error:
        found, result = None, f"failed: {(str(error) or repr(error)).splitlines()[-1]}"
    row = {"part": part, "python": python, "extra": extra, "seconds": time.monotonic() - began, "mib": found}
    line = json.dumps(row | {"result": result, "version": version(), "date": time.strftime("%Y-%m-%d")})
    print(line, flush=True)
    if keep:
        with ROWS.open("a") as file:
            file.write(line + "\n")
    return result == "passed"


def version() -> str:
    return runpy.run_path(str(ROOT / "src" / "mixwright" / "version.py"))["__version__"]


def check_install(folder: Path, python: str, wheel: Path, extra: str, *options: str) -> float:
    own = installed(folder, python, wheel, extra, *options)
    found = size(folder)
    used(own, extra, folder.parent)
    shutil.rmtree(folder)
    return found


def check_types(folder: Path, python: str, wheel: Path) -> None:
    """Let mypy read a program outside the tree: it sees the types, and the mistake."""
    own = installed(folder, python, wheel, "")
    called("uv", "pip", "install", "--quiet", "--python", own, "mypy")
    (folder.parent / "program.py").write_text(TYPED)
    try:
        called(own, "-m", "mypy", "--strict", "program.py", cwd=folder.parent)
    except RuntimeError as error:
        said = str(error)
    else:
        raise AssertionError("mypy found no mistake")
    assert re.search(r'Revealed type is "(builtins\.)?float"', said), said
    assert 'has incompatible type "str"' in said, said
    assert "Found 1 error" in said, said


def _patch(python: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", python.parts[-3])]


def found_python(wanted: str) -> str:
    """Return the Python that is installed for a version, as a path."""
    own = sorted(Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python"), key=_patch)
    try:
        return str(own[-1]) if own else called("uv", "python", "find", "--no-python-downloads", wanted).strip()
    except RuntimeError:
        sys.exit(f"no Python {wanted} here: nothing was tried; install it, or name those that are here: --pythons 3.11")


def version_of(python: str) -> str:
    return called(python, "-c", "import platform; print(platform.python_version())").strip()


def checks(options: argparse.Namespace, parts: list[str]) -> Iterator[tuple[str, str, str, Callable[[], float | None]]]:
    """Yield what is wanted: its part, Python, extra and work."""
    if "build" in parts:
        yield "build", sys.executable, "", partial(build, options.out / "dist")
    if not set(parts) - {"build"}:
        return
    wheel = next((options.out / "dist").glob("*.whl"), None) or sys.exit("there is no wheel: add build to --parts")
    pythons = options.found
    limits = ["--constraint", str(options.constraints)] if options.constraints else []
    with tempfile.TemporaryDirectory() as room:
        install = partial(check_install, Path(room) / "environment")
        if "python" in parts:
            for python, extra in itertools.product(pythons, ("", "cli")):
                yield "python", python, extra, partial(install, python, wheel, extra)
        if "sdist" in parts:
            (sdist,) = (options.out / "dist").glob("*.tar.gz")
            yield "sdist", pythons[0], "", partial(install, pythons[0], sdist, "")
        for extra in options.extras.split(",") if "extras" in parts else ():
            yield "extras", pythons[-1], extra, partial(install, pythons[-1], wheel, extra, *limits)
        for extra in options.lowest.split(",") if "lowest" in parts else ():
            low = ("--resolution", "lowest-direct", *asked(extra))
            yield "lowest", pythons[0], extra, partial(install, pythons[0], wheel, extra, *low)
        if "types" in parts:
            yield "types", pythons[-1], "", partial(check_types, Path(room) / "environment", pythons[-1], wheel)


def page(rows: list[dict]) -> str:
    """Return the newest line of each check of the newest version as a page."""
    newest = {(row["part"], row["python"], row["extra"]): row for row in rows if row["version"] == rows[-1]["version"]}
    lines = [HEAD, f"Version {rows[-1]['version']}, on {platform.system()}.", ""]
    lines += ["| check | Python | extra | day | seconds | MiB | result |", "|---|---|---|---|---:|---:|---|"]
    for row in sorted(newest.values(), key=lambda row: list(CHECKS).index(row["part"])):
        result = " ".join(row["result"].replace("|", "/").split())[:300]
        mib = f"{row['mib']:,.1f}" if row["mib"] else ""
        cells = CHECKS[row["part"]], row["python"], row["extra"], row["date"], f"{row['seconds']:.0f}", mib, result
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + NOTE + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--parts", default=",".join(CHECKS))
    parser.add_argument("--pythons", default=",".join(PYTHONS), help="extras and types: the last; lowest: the first")
    parser.add_argument("--extras", default=",".join(name for name in IMPORTS if name and name not in GPU))
    parser.add_argument("--lowest", default=",".join(LOWEST), help="extras whose lowest versions are tried")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--constraints", type=Path, help="for the extras: constraints.txt pins torch for the CPU")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts, passed = [part for part in options.parts.split(",") if part], True
    if unknown := set(parts) - set(CHECKS):
        parser.error(f"--parts are among {', '.join(CHECKS)}, found {', '.join(unknown)}")
    options.found = [found_python(wanted) for wanted in options.pythons.split(",")] if set(parts) - {"build"} else []
    for part, python, extra, work in checks(options, parts):
        passed &= measured(part, version_of(python), extra, work, options.keep)
    if options.write:
        PAGE.write_text(page([json.loads(line) for line in ROWS.read_text().splitlines()]))
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
