"""What the maps share: rows that were trained, one JSON line each, in a file that a kill may have cut off."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from pathlib import Path


def rows_path(name: str) -> Path:
    """Return the file of what a map trained."""
    return Path(__file__).with_name("results") / "rows" / f"{name}.jsonl"


def read_rows(path: Path) -> list[dict]:
    """Return what was trained; a last line that was cut off is not there."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.splitlines()]


def add_rows(path: Path, rows: Iterable[dict]) -> None:
    """Add rows after the last whole line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def machine() -> str:
    """Return what is computed on."""
    import torch

    return f"{platform.machine()}, torch {torch.__version__}"
