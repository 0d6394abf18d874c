"""
Per-sample logs of lm-evaluation-harness (`--log_samples`): `samples_TASK_DATE.jsonl` beside `results_DATE.json`.

A row is the right answer of a question given its prompt, or a whole text (output_type loglikelihood_rolling). Format
read from lm_eval 0.4.13: `evaluator.py` (what a sample holds) and `loggers/evaluation_tracker.py` (how it is written).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixwright.errors import InputError
from mixwright.files import fingerprint
from mixwright.files.rows import FoundRow, rows_of_file
from mixwright.search.table.logs.rows import LoggedRow, by_task, left_out, results_of, within

PATTERN = "samples_*.jsonl*"  # also packed
_NAME = re.compile(r"samples_(.+?)(?:_(\d{4}-\d\d-\d\dT[\d-]+(?:\.\d+)?))?\.jsonl(?:\.gz|\.zst)?")
_FILTER = "none"  # the others are of generated text
_MARKS = {"document": "doc_hash", "prompt": "prompt_hash", "right answer": "target_hash"}


def is_sample(row: dict[str, Any]) -> bool:
    """Return whether a row of JSON lines is a sample of the harness."""
    return "doc_id" in row and ("filtered_resps" in row or "resps" in row)


def read_lm_eval(source: str, files: Sequence[Path], notes: list[str]) -> Iterator[LoggedRow]:
    """
    Yield the rows of a source from its logs, one file for each task; what is left out goes to `notes`.

    Raises
    ------
    InputError
        Two logs of a task, half a log, or a sample without what is needed (file and line are named).
    """
    for task, path in by_task(source, files, lambda path: _named(path)[0]).items():
        date = _named(path)[1]
        results = results_of(path.with_name(f"results_{date}.json"), "lm-evaluation-harness")
        yield from _read_task(path, task, results, notes)


def _read_task(path: Path, task: str, results: Mapping[str, Any], notes: list[str]) -> Iterator[LoggedRow]:
    version, count, documents = within(results, "versions", task), 0, set()
    for found in rows_of_file(path):
        if isinstance(found.value, InputError):
            raise found.value
        documents.add(repr(found.value.get("doc_id")))  # once for each filter
        if found.value.get("filter", _FILTER) == _FILTER and not _is_generated(found):
            count += 1
            yield _row(found, task, version)
    unchecked = f"the version of {task} was not checked where no results_*.json is beside its log"
    note = left_out(task) if documents and not count else unchecked if version is None else ""
    if note and note not in notes:
        notes.append(note)
    _require_whole(path, task, len(documents), results)


def _row(found: FoundRow, task: str, version: Any) -> LoggedRow:
    """Return what a sample says of its right answer."""
    sample: Any = found.value
    try:
        answers = sample.get("filtered_resps") or [answer[0] for answer in sample["resps"]]
        scores = [_number(answer) for answer in answers]
        requests, right = _requests(sample), _right(sample, scores)
        marks = {name: sample.get(field) for name, field in _MARKS.items()}
        marks |= {"scored text": fingerprint(requests[right]), "task's version": version}
        return LoggedRow(found.place, task, sample["doc_id"], marks, scores[right])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InputError(
            f"{found.place}: this should be a sample of lm-evaluation-harness with doc_id, arguments, target and "
            f"filtered_resps, found {type(error).__name__}: {error}; run it with --log_samples"
        ) from None


def _requests(sample: dict[str, Any]) -> list[list[Any]]:
    """Return the texts of each request, the prompt first."""
    arguments = sample["arguments"]
    listed = arguments.values() if isinstance(arguments, dict) else arguments
    return [list(one.values()) if isinstance(one, dict) else list(one) for one in listed]


def _is_generated(found: FoundRow) -> bool:
    """Return whether a sample is of generated text: its second argument holds settings of the generation."""
    try:
        first = _requests(found.value)[0]  # type: ignore[arg-type]
    except (KeyError, IndexError, TypeError, AttributeError):
        return False  # has an error of its own
    return len(first) > 1 and isinstance(first[1], dict)


def _right(sample: dict[str, Any], scores: Sequence[float]) -> int:
    """
    Return which request is the right answer's; `scores`: the log-likelihoods of all.

    The harness logs `str(doc_to_target(doc))`: a position, or the text of a choice, which follows the prompt after a
    delimiter. Where it also asks for the choices without their prompts (acc_mutual_info), those come last. A text may
    fit several answers (winogrande's choices differ in their prompts alone), and a number may be a position and a text:
    then the accuracy that was logged says whether it is the likeliest one.
    """
    requests, target = _requests(sample), str(sample["target"])
    if len(requests) == 1:
        return 0
    answers = [i for i, request in enumerate(requests) if request[0]] or list(range(len(requests)))
    found = {i for i in answers if str(requests[i][1]).strip() == target.strip()}
    found |= {int(target)} & set(answers) if target.isdigit() else set()
    if not found:
        raise ValueError(f"target {target!r:.60}, which is none of the {len(answers)} answers nor the position of one")
    if len(found) > 1 and sample.get("acc") is not None:
        likeliest = max(answers, key=lambda i: scores[i])
        found = {i for i in found if (i == likeliest) == bool(sample["acc"])}
    if len(found) != 1:
        raise ValueError(f"target {target!r:.60}, which may be any of several answers; leave the log of this task out")
    return found.pop()


def _number(answer: Any) -> float:
    """Return the log-likelihood of an answer: [log-likelihood, whether it is greedy], or the number alone."""
    return float(answer[0] if isinstance(answer, list) else answer)


def _named(path: Path) -> tuple[str, str | None]:
    """Return the task and the date that the name of a log says."""
    named = _NAME.fullmatch(path.name)
    return (named[1], named[2]) if named else (path.name.partition(".")[0], None)


def _require_whole(path: Path, task: str, rows: int, results: Mapping[str, Any]) -> None:
    """Raise InputError if a log has other rows than the results of its run say."""
    wanted = within(results, "n-samples", task, "effective")
    if isinstance(wanted, int) and rows != wanted:
        raise InputError(
            f"{path}: the log should have {wanted:,} rows, as the results beside it say, found {rows:,}; copy it again"
        )
