"""
Scoring a target on a cluster: each piece scores some chunks under one proxy, and columns are made of what they leave.

Where a shard begins and ends does not matter: it has whole windows of batches, so its numbers equal those of a pass
over all rows, to the last digit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixwright.errors import InputError
from mixwright.experiment.core.parallel import Work
from mixwright.experiment.core.stages import Progress, Stage, folder_name
from mixwright.experiment.text.config import SearchConfig
from mixwright.experiment.text.proxies.scores import Scoring
from mixwright.files import atomic_write
from mixwright.text.target_rows import TargetRows
from mixwright.training.scoring import WINDOW, chunk_values, row_values

_TOKENS = 4_000_000  # of a shard, unless the engine says otherwise: seconds on a GPU, minutes on a core
_BLOCK = 1 << 20  # values of a shard that are read at a time
Made = Callable[[str, int, int], Work]  # the piece of a source, the first chunk and the one after the last


class Shards:
    """
    The shards of one target and unit, in the folder of a run or of its seed, while their table is not complete.

    Parameters
    ----------
    config, folder
        Of the run, or of one of its seeds.
    target, unit
        Whose rows are scored.
    """

    def __init__(self, config: SearchConfig, folder: Path, target: str, unit: str) -> None:
        self._place = folder / "shards" / folder_name(target) / unit
        self._batch = config.proxy_setting("batch_size")
        engine = getattr(config, "engine", None)
        self._tokens = _TOKENS if engine is None or engine.shard is None else engine.shard

    def plan(self, scoring: Scoring, made: Made) -> list[Work]:
        """Keep the rows where the pieces find them, and return the pieces of all columns that are not there."""
        if not scoring.missing:
            return []
        stage = Stage(self._place / "rows", {"stage": "rows", "rows": scoring.rows.fingerprint})
        if stage.result(lambda folder, _: TargetRows.load(folder)) is None:
            stage.begin()
            scoring.rows.save(stage.folder)
            stage.finish({"rows": scoring.rows.n})
        return [made(source, *chunks) for source in scoring.missing for chunks in self._cuts(scoring.rows)]

    def score(
        self,
        source: str,
        proxy: str,
        chunks: tuple[int, int],
        model_of: Callable[[TargetRows], Any],
        progress: Progress,
    ) -> None:
        """
        Score chunks, from one to that after the last, under the proxy of a source, unless that is done.

        Parameters
        ----------
        source, proxy
            The source, and the fingerprint of its proxy.
        chunks
            The first one, and the one after the last.
        model_of
            Returns the model that scores rows; it is not read where it is not needed.
        progress
            Called after each window.
        """
        rows = TargetRows.load(self._place / "rows")
        stage, (first, last) = self._stage(rows, source, proxy, chunks), chunks
        if stage.result(_check) is not None:
            return
        stage.begin()
        model, values, done = model_of(rows), 0, 0
        with atomic_write(stage.folder / "values.f64", "wb") as file:
            for block in chunk_values(model, rows, self._batch, first, last):
                file.write(block.tobytes())
                values, done = values + len(block), done + 1
                progress("", done * WINDOW * self._batch, last - first)
        stage.finish({"values": values})

    def blocks(self, rows: TargetRows, source: str, proxy: str, start_row: int) -> Iterator[NDArray[np.float64]] | None:
        """Return the log-likelihoods from a row on, in blocks; None where a shard is missing."""
        stages = [self._stage(rows, source, proxy, chunks) for chunks in self._cuts(rows)]
        if any(stage.result(_check) is None for stage in stages):
            return None
        return row_values(rows, (block for stage in stages for block in _read(stage.folder)), 0, start_row)

    def remove(self) -> None:
        """Remove what the table has now."""
        shutil.rmtree(self._place, ignore_errors=True)

    def _cuts(self, rows: TargetRows) -> list[tuple[int, int]]:
        """Return the first chunk, and the one after the last, of each shard: whole windows, of enough tokens."""
        last, cuts = len(rows.ends) - 1, [0]
        for chunk in range(WINDOW * self._batch, last, WINDOW * self._batch):
            if rows.ends[chunk] - rows.ends[cuts[-1]] >= self._tokens:
                cuts.append(chunk)
        return list(pairwise([*cuts, last]))

    def _stage(self, rows: TargetRows, source: str, proxy: str, chunks: tuple[int, int]) -> Stage:
        inputs = {"stage": "shard", "rows": rows.fingerprint, "proxy": proxy, "batch_size": self._batch}
        return Stage(self._place / folder_name(source) / f"{chunks[0]}", {**inputs, "chunks": list(chunks)})


def _check(folder: Path, result: dict[str, Any]) -> None:
    size = (folder / "values.f64").stat().st_size
    if size != 8 * result["values"]:
        raise InputError(f"{folder} should have {result['values']} numbers, found {size} bytes")


def _read(folder: Path) -> Iterator[NDArray[np.float64]]:
    with open(folder / "values.f64", "rb") as file:
        while data := file.read(8 * _BLOCK):
            yield np.frombuffer(data)
