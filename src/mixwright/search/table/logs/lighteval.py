"""
Details of lighteval (`--save-details`): `details_TASK_DATE.parquet`, a row of doc, model_response, metric per example.

A row is the right answer of a question given its prompt. Format read from lighteval 0.13: `logging/info_loggers.py`
(DetailsLogger), `tasks/requests.py` (Doc) and `models/model_output.py` (ModelResponse).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.parquet import parquet_rows
from mixwright.search.table.logs.rows import LoggedRow, by_task, left_out, results_of, within

PATTERN = "details_*.parquet"
_COLUMNS = ("doc", "model_response")
_NAME = re.compile(r"details_(.+?)(?:_\d{4}-\d\d-\d\dT[\d-]+(?:\.\d+)?)?\.parquet")


def read_lighteval(source: str, files: Sequence[Path], notes: list[str]) -> Iterator[LoggedRow]:
    """
    Yield the rows of a source from its details, one file for each task; what is left out goes to `notes`.

    Raises
    ------
    InputError
        Two files of a task, or a row without what is needed (file and row are named).
    """
    for task, path in by_task(source, files, _task_of).items():
        scored, version = False, _version(path, task)
        for number, row in parquet_rows(path, _COLUMNS):
            if within(row, "model_response", "logprobs"):
                scored = True
                yield _row(f"{path}, row {number}", task, version, row)
        if not scored:
            notes.append(left_out(task))


def _task_of(path: Path) -> str:
    named = _NAME.fullmatch(path.name)
    return named[1] if named else path.stem


def _version(path: Path, task: str) -> Any:
    """Return the version of a task by the results of the same run, details/MODEL/DATE/ -> results/MODEL/; or None."""
    parts, date = path.parts, path.parent.name
    at = max((i for i, part in enumerate(parts) if part == "details"), default=0)
    results = results_of(Path(*parts[:at], "results", *parts[at + 1 : -2], f"results_{date}.json"), "lighteval")
    return within(results, "config_tasks", task, "version")


def _row(place: str, task: str, version: Any, row: dict[str, Any]) -> LoggedRow:
    doc, response = row["doc"], row["model_response"]
    try:
        gold = doc["gold_index"]
        right = gold[0] if isinstance(gold, list) and len(gold) == 1 else gold
        marks = {
            "prompt": fingerprint(response.get("input") or [doc.get("instruction"), doc["query"]]),
            "right answer": fingerprint(right),
            "examples in the prompt": fingerprint([shot["query"] for shot in doc.get("fewshot_samples") or ()]),
            "answers": fingerprint(doc["choices"]),
            "number of tokens cut off": response.get("truncated_tokens_count"),
            "task's version": version,
        }
        return LoggedRow(place, task, doc["id"], marks, float(response["logprobs"][right]))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{place}: this should be a row of lighteval's details with doc (query, choices, one gold_index) and "
            f"model_response (logprobs), found {type(error).__name__}: {error}; run it with --save-details"
        ) from None
