"""The page of a training on preference pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import atomic_write
from mixwright.report.page import document


def write_preference(summary: Mapping[str, Any], path: Path | str, folder: Any = None) -> Path:
    """Stub."""
    return Path(path)
