"""
Can a release be installed? Wheel and sdist, in clean environments; `make release-check` runs it.

`python benchmarks/release.py` builds both, installs the wheel for each Python that is found, runs `mixwright --version`
and a search of a tiny table, installs each extra without torch or xgboost alone (others: --extras) and imports what it
is for, tries the lowest versions of the core and of five of them, and checks a program with the types of the installed
wheel. It needs `uv` (pip install uv) and a package index.
--parts chooses among build, python, extras, lowest, types; --extras among the extras; --write writes
benchmarks/results/release.md with what was measured. Sizes are of a fresh environment, without pip.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
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
    "lm_eval",
    "torchtitan",
    "tabular",
)  # where the index gives gigabytes for GPUs, unless constraints say otherwise
LOWEST = ("", "cli", "data", "report", "constraints", "runs")
TINY = """
import numpy as np, mixwright
logs = np.log(np.random.default_rng(0).dirichlet([1, 1, 1], 60))
table = mixwright.LikelihoodTable.from_array(logs, ["a", "b", "c"])
result = mixwright.MixMin().fit(table)
assert abs(sum(result.weights) - 1) < 1e-9 and result.gap < 1e-6
print(result.weights)
"""
TYPED = """
import mixwright

table: mixwright.LikelihoodTable = mixwright.LikelihoodTable.from_file("scores.csv")
result = mixwright.MixMin().fit(table)
reveal_type(result.gap)
mixwright.MixMin(tolerance="small")
"""
NOTE = """**Found by it.** Type checkers saw `Any` for every name that is imported on first use, `mixwright.MixMin`
among them, since `__getattr__` tells them nothing. Stubs lie beside those packages now, and the row on types
is of a wheel with them.

**Not run here.** Python 3.14 (none on this machine); macOS and Windows; the extras `stores`, `ray`, `grain`,
`track` and `chem` alone; `lm`, `preference`, `lm_eval`, `torchtitan` and `tabular`, for which the index gives
gigabytes for GPUs; the lowest versions of all of these. `make release-check RELEASE_ARGS="--parts extras
--extras lm --constraints constraints.txt"` tries one."""


def called(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    """Return what a command prints; RuntimeError with the end of it where it fails."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=clean | environment, check=False
    )
    if done.returncode:
        raise RuntimeError("\n".join((done.stdout + done.stderr).strip().splitlines()[-12:]))
    return done.stdout


def build(folder: Path) -> Path:
    """Build the sdist, and the wheel from it; check what is in them; return the wheel."""
    shutil.rmtree(folder, ignore_errors=True)
    called("uv", "build", "--out-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for part in ("mixwright/py.typed", "mixwright/report/style.css", "mixwright/report/search/page.html"):
        assert part in names, f"{part} is not in {wheel.name}"
    assert not [name for name in names if name.startswith("tests/")]
    return wheel


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
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]


def size(folder: Path) -> float:
    """Return the MiB of an environment."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 2**20


def used(own: Path, extra: str, folder: Path) -> None:
    """Import what an extra is for; search a tiny table; run the command where it is."""
    called(own, "-c", IMPORTS[extra], cwd=folder)
    called(own, "-c", TINY, cwd=folder)
    if extra in ("cli", "lm"):
        assert re.match(r"mixwright \d", called(own.parent / "mixwright", "--version", cwd=folder))


def measured(part: str, python: str, extra: str, work, notes: list[dict]) -> None:
    """Do a check and note how long it took and how it ended."""
    began = time.monotonic()
    try:
        found = work()
        result = "passed"
    except (RuntimeError, AssertionError, OSError) as error:
        found, result = None, f"failed: {error}"
    row = {"part": part, "python": python, "extra": extra, "seconds": time.monotonic() - began, "mib": found}
    notes.append(row | {"result": result})
    print(json.dumps(notes[-1]), flush=True)


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


def found_pythons() -> list[str]:
    """Return the Python that is installed for each version, as a path."""
    found = []
    for version in PYTHONS:
        own = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), key=_patch)
        try:
            found.append(
                str(own[-1]) if own else called("uv", "python", "find", "--no-python-downloads", version).strip()
            )
        except RuntimeError:
            print(f"no Python {version} here", flush=True)
    return found


def version_of(python: str) -> str:
    return called(python, "-c", "import platform; print(platform.python_version())").strip()


def page(notes: list[dict]) -> str:
    lines = ["# Installing a release", "", (__doc__ or "").strip().splitlines()[0], ""]
    lines += [f"`python benchmarks/release.py --write`, {time.strftime('%Y-%m-%d')}, {platform.system()}", ""]
    lines += ["| check | Python | extra | seconds | MiB | result |", "|---|---|---|---:|---:|---|"]
    for row in notes:
        mib = "" if row["mib"] is None else f"{row['mib']:,.0f}"
        result = " ".join(row["result"].replace("|", "/").split())[:300]
        lines.append(f"| {row['part']} | {row['python']} | {row['extra']} | {row['seconds']:.0f} | {mib} | {result} |")
    return "\n".join(lines) + "\n\n" + NOTE + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--parts", default="build,python,extras,lowest,types")
    parser.add_argument("--extras", default=",".join(name for name in IMPORTS if name and name not in GPU))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "release")
    parser.add_argument(
        "--constraints", type=Path, help="versions for the extras: constraints.txt pins torch for the CPU"
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    parts, notes = options.parts.split(","), []
    if "build" in parts:
        measured("build", platform.python_version(), "", lambda: build(options.out / "dist") and None, notes)
    wheel = next((options.out / "dist").glob("*.whl"))
    pythons = found_pythons()
    limits = ["--constraint", str(options.constraints)] if options.constraints else []
    with tempfile.TemporaryDirectory() as room:
        place = Path(room) / "environment"
        for python in pythons if "python" in parts else ():
            for extra in ("", "cli"):
                measured(
                    "python",
                    version_of(python),
                    extra,
                    lambda p=python, e=extra: check_install(place, p, wheel, e),
                    notes,
                )
        newest = pythons[-1]
        for extra in options.extras.split(",") if "extras" in parts and options.extras else ():
            measured(
                "extra",
                version_of(newest),
                extra,
                lambda e=extra: check_install(place, newest, wheel, e, *limits),
                notes,
            )
        for extra in LOWEST if "lowest" in parts else ():
            low = ("--resolution", "lowest-direct", *asked(extra))
            measured(
                "lowest",
                version_of(pythons[0]),
                extra,
                lambda e=extra, r=low: check_install(place, pythons[0], wheel, e, *r),
                notes,
            )
        if "types" in parts:
            measured("types", version_of(newest), "", lambda: check_types(place, newest, wheel), notes)
    if options.write:
        (ROOT / "benchmarks" / "results" / "release.md").write_text(page(notes))
    return int(any(row["result"] != "passed" for row in notes))


if __name__ == "__main__":
    sys.exit(main())
