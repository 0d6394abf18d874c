"""Reading logs of other programs: which program wrote them, and which source each is of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path

from mixwright.errors import InputError
from mixwright.files.kinds import LINES, kind_of
from mixwright.files.listing import list_files
from mixwright.files.rows import rows_of_file
from mixwright.search.table.logs import json_lines, lighteval, lm_eval
from mixwright.search.table.logs.rows import JoinedRows, LoggedRow
from mixwright.search.table.table import LikelihoodTable

LogPath = str | PathLike[str]


def read_logs(logs: Mapping[str, LogPath] | Sequence[LogPath], target: str | None = None) -> LikelihoodTable:
    """
    Return the table of what other programs have scored, joined row by row over all sources.

    Three kinds are known by their content: per-sample logs of lm-evaluation-harness (`--log_samples`), details of
    lighteval (`--save-details`), and JSON lines `{id, model, token_logprobs or logprob, tokens}`. Of an answer, the row
    is the right one given its prompt. Each task is a target.

    Parameters
    ----------
    logs
        {source: folder or file}, or a list of them: their names, or the models that JSON lines name, are the sources.
    target
        Take the rows of all tasks as those of one target with this name.

    Raises
    ------
    InputError
        Nothing is there, a log is of another kind, or the sources did not score the same rows: other prompts, lengths,
        versions of a task, or half a log. File, row and source are named.
    MissingExtraError
        pyarrow, which reads lighteval's details, is not installed.

    Examples
    --------
    >>> rows = '{"id": 1, "model": "web", "logprob": -2.5}', '{"id": 1, "model": "books", "logprob": -3.0}'
    >>> _ = Path("scores.jsonl").write_text("\\n".join(rows))
    >>> read_logs(["scores.jsonl"]).block(0, 1)
    array([[-2.5, -3. ]])
    """
    given: list[tuple[str | None, Path]]
    if isinstance(logs, Mapping):
        given = [(source, Path(path)) for source, path in logs.items()]
    else:
        given = [(None, Path(path)) for path in logs]
    _require_different(given)
    joined = JoinedRows()
    for source, path in given:
        kind, files = _files(path)
        for name, row in _rows(kind, source, path, files, joined.notes):
            joined.add(name, row if target is None else _of_one_target(row, target))
    try:
        return joined.table()
    except InputError as error:
        raise InputError(f"{', '.join(str(path) for _, path in given[:3])}: {error}") from None


def _require_different(given: Sequence[tuple[str | None, Path]]) -> None:
    """Raise InputError if a log is given twice: one model cannot be two sources."""
    seen: dict[Path, str | None] = {}
    for source, path in given:
        if (place := path.resolve()) in seen:
            named = f" for {seen[place]!r} and {source!r}" if source else " twice"
            raise InputError(f"{path} should be given once, found it{named}; give each source its own log")
        seen[place] = source


def _of_one_target(row: LoggedRow, target: str) -> LoggedRow:
    document = None if row.document is None else (row.target, row.document)
    return row._replace(target=target, key=(row.target, row.key), document=document)


def _rows(
    kind: str, source: str | None, path: Path, files: Sequence[Path], notes: list[str]
) -> Iterator[tuple[str, LoggedRow]]:
    """Yield (source, row) of what one path stands for."""
    if kind == "json_lines":
        yield from json_lines.read_json_lines(source, files)
        return
    name = source or path.name.partition(".")[0]
    read = lm_eval.read_lm_eval if kind == "lm_eval" else lighteval.read_lighteval
    for row in read(name, files, notes):
        yield name, row


def _files(path: Path) -> tuple[str, list[Path]]:
    """Return which program wrote what lies at a path, and the files; InputError where that is not known."""
    if path.is_dir():
        for kind, pattern in (("lm_eval", lm_eval.PATTERN), ("lighteval", lighteval.PATTERN)):
            if found := sorted(path.rglob(pattern)):
                return kind, found
    files = list(list_files(path, kinds=LINES).files)
    if not files:
        raise InputError(
            f"{path}: there should be samples_*.jsonl (lm-evaluation-harness), details_*.parquet (lighteval) or .jsonl "
            "files, found none; check the path"
        )
    if kind_of(files[0]) == ".parquet":
        return "lighteval", files
    first = next(islice(rows_of_file(files[0]), 1), None)
    sample = first is not None and isinstance(first.value, dict) and lm_eval.is_sample(first.value)
    return "lm_eval" if sample else "json_lines", files
