"""lm-evaluation-harness as an evaluator of final models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import NormalDist
from typing import Any, cast

import numpy as np

from mixwright.errors import InputError, missing_extra
from mixwright.experiment.text.questions.evaluate_config import EvaluateConfig
from mixwright.files import file_fingerprint
from mixwright.text import Tokenizer
from mixwright.text.target_rows import TargetRows
from mixwright.training.model import torch
from mixwright.training.scoring import evaluate

_SCORED = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")
_DEVIATION = "_stderr"


def check_tasks(config: EvaluateConfig | None, where: str) -> None:
    """Load the tasks; raise an error if the package is missing, or a task is unknown, without data, or generates."""
    if config is not None:
        _tasks(config, where)


def named_by(config: EvaluateConfig) -> dict[str, Any]:
    """Return what names the results: what is asked, the files of own tasks, and the version of the harness."""
    files = None if config.task_files is None else file_fingerprint(config.task_files)
    return {**config.model_dump(mode="json"), "task_files": files, "version": version("lm_eval")}


def evaluated(
    config: EvaluateConfig, where: str, model: Any, tokenizer: Tokenizer, context: int, batch_size: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """
    Return what the harness measures of a model: an entry for each task, or group, and metric; and notes.

    Returns
    -------
    list of dict
        {"task", "metric", "higher", "value", "stderr", "documents"}; stderr is None where the harness gives none.
    list of str
        A sentence for each metric that is not finite and therefore has no entry.

    Raises
    ------
    InputError
        The harness fails on a task.
    """
    manager, adapted = _tasks(config, where), _adapted(model, tokenizer, context, batch_size)
    every = [entry for name in config.lm_eval for entry in _entries(_found(config, where, name, adapted, manager))]
    unique = {(entry["task"], entry["metric"]): entry for entry in every}  # a task may be in a group as well
    finite = [entry for entry in unique.values() if math.isfinite(entry["value"])]
    notes = [
        f"{entry['metric']} on {entry['task']} is {entry['value']}: it is left out"
        for entry in unique.values()
        if not math.isfinite(entry["value"])
    ]
    return finite, notes


def _found(config: EvaluateConfig, where: str, name: str, adapted: Any, manager: Any) -> Mapping[str, Any]:
    """Return what the harness reports of a task."""
    from lm_eval import simple_evaluate

    try:
        found = simple_evaluate(
            model=adapted,
            tasks=[name],
            limit=config.limit,
            task_manager=manager,
            log_samples=False,
            bootstrap_iters=1000,
        )
    except Exception as error:  # whatever a task, its metrics or its data raise
        raise InputError(
            f"{where}: lm-evaluation-harness should evaluate the task {name}, found {_reason(error)}; correct the task "
            "or remove it, and run again in the same folder: trained models are kept"
        ) from error
    return cast(Mapping[str, Any], found)


def _entries(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = []
    for task, numbers in found["results"].items():
        higher = found["higher_is_better"].get(task, {})
        for key, value in numbers.items():
            metric, _, selection = key.partition(",")
            if selection and not metric.endswith(_DEVIATION) and isinstance(value, int | float | np.number):
                error = numbers.get(f"{metric}{_DEVIATION},{selection}")
                known = isinstance(error, int | float | np.number) and math.isfinite(error)
                entries.append(
                    {
                        "task": task,
                        "metric": metric if selection == "none" else f"{metric} ({selection})",
                        "higher": bool(higher.get(metric, True)),
                        "value": float(value),
                        "stderr": float(error) if known else None,
                        "documents": int(numbers.get("sample_len") or _documents(found, task)),
                    }
                )
    return entries


def _reason(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]:.200}" if lines else type(error).__name__


def as_report(entries: Sequence[Mapping[str, Any]], level: float) -> list[dict[str, Any]]:
    """Return the entries as those of question sets; intervals from the harness's standard errors."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    report = []
    for own in entries:
        error = own["stderr"]
        ends = (None, None) if error is None else (own["value"] - z * error, own["value"] + z * error)
        about = {"name": own["task"], "quantity": own["metric"], "unit": "", "higher": own["higher"], "level": level}
        report.append({**about, "value": own["value"], "low": ends[0], "high": ends[1], "questions": own["documents"]})
    return report


def _tasks(config: EvaluateConfig, where: str) -> Any:
    """Return the task manager of the harness, once each task is known to load and to score log-likelihoods."""
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise missing_extra("lm_eval", "lm_eval") from None
    folder = None if config.task_files is None else str(config.task_files)
    if config.task_files is not None and not config.task_files.is_dir():
        raise InputError(f"{where}: task_files should be a folder with YAML files, found none at {folder}")
    manager = TaskManager(include_path=folder)
    if unknown := [name for name in config.lm_eval if name not in manager.all_tasks]:
        raise InputError(
            f"{where}: lm_eval should name tasks of lm-evaluation-harness, found {', '.join(unknown)}; see: lm-eval ls "
            "tasks, or give the folder of your own as task_files"
        )
    for name in config.lm_eval:
        try:
            loaded = manager.load([name])["tasks"]
        except Exception as error:  # whatever a data set or its hub raises
            raise InputError(
                f"{where}: the task {name} should load its data, found {_reason(error)}; check the network, or give "
                "the task with data of your own in task_files"
            ) from None
        if wrong := [task for task, own in loaded.items() if own.get_config("output_type") not in _SCORED]:
            raise InputError(
                f"{where}: tasks should score log-likelihoods, found {wrong[0]}, which generates text; remove {name}"
            )
    return manager


def _documents(found: Mapping[str, Any], task: str) -> int:
    return int(found.get("n-samples", {}).get(task, {}).get("effective", 0))


def _adapted(model: Any, tokenizer: Tokenizer, context: int, batch_size: int) -> Any:
    """Return a model as the harness wants it: a BOS stands before each text, and long prompts lose their start."""
    from lm_eval.api.model import TemplateLM

    class Adapted(TemplateLM):
        eot_token_id = tokenizer.bos
        max_length = context
        tokenizer_name = "mixwright"

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            return [int(token) for token in tokenizer.encode([string])[0]]

        def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
            pairs = [(_without(read, tokenizer.bos), own[-context:]) for _, read, own in requests]
            rows = TargetRows.from_questions(pairs, context, "answer", tokenizer.bos)
            nats = evaluate(model, rows, batch_size).nats
            return list(zip((-nats).tolist(), greedy(model, rows, batch_size), strict=True))

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            texts = [self.tok_encode(request.args[0]) for request in requests]
            rows = TargetRows.from_documents(texts, context, "chunk", tokenizer.bos)
            return [-float(own) for own in evaluate(model, rows, batch_size).nats]

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            raise InputError("tasks should score log-likelihoods, found one that generates text; remove it")

    return Adapted()


def _without(read: list[int], bos: int) -> list[int]:
    """Return a prompt without a BOS at its start: every row has one already."""
    return read[1:] if read[:1] == [bos] else read


def greedy(model: Any, rows: TargetRows, batch_size: int) -> list[bool]:
    """Return, for each chunk, whether each of its scored tokens is the one that the model finds likeliest."""
    lengths, found = np.diff(rows.ends), np.zeros(len(rows.skip), bool)
    order = np.argsort(-lengths, kind="stable")
    for begin in range(0, len(order), batch_size):
        chunks = order[begin : begin + batch_size]
        ids = np.full((len(chunks), int(lengths[chunks].max()) + 1), rows.bos, np.int64)
        for line, chunk in zip(ids, chunks, strict=True):
            line[1 : 1 + lengths[chunk]] = rows.tokens[rows.ends[chunk] : rows.ends[chunk + 1]]
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(ids[:, :-1]).to(model.device), use_cache=False).logits
        places = np.arange(ids.shape[1] - 1)
        scored = (places >= rows.skip[chunks, None]) & (places < lengths[chunks, None])
        found[chunks] = ((logits.argmax(-1).cpu().numpy() == ids[:, 1:]) | ~scored).all(1)
    return [bool(own) for own in found]
