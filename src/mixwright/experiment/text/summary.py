"""What a run found: `summary.json`, all that the page and the commands read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixwright.compare.documents import Comparison, compare
from mixwright.errors import InputError
from mixwright.experiment.core.stages import folder_name
from mixwright.version import __version__

if TYPE_CHECKING:
    from mixwright.experiment.text.config import SearchConfig
    from mixwright.experiment.text.final_runs import FinalRun
    from mixwright.experiment.text.inputs import Source, Target
    from mixwright.experiment.text.mixtures import NamedMixture

SCHEMA = 1


def make_summary(
    config: SearchConfig,
    command: str,
    targets: Sequence[Target],
    sources: Sequence[Source],
    searches: Sequence[dict[str, Any]],
    mixtures: Sequence[NamedMixture],
    runs: Sequence[FinalRun],
) -> dict[str, Any]:
    """Return the summary of a run, without its cost."""
    comparisons = _comparisons(targets, runs, config.search.level)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "title": config.title or "A mixture for " + ", ".join(config.targets),
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": config.seed,
        "sources": [{"name": s.name, "documents": s.train.documents, "tokens": s.train.tokens} for s in sources],
        "targets": [_target_entry(target, searches, runs) for target in targets],
        "searches": [{key: value for key, value in s.items() if key not in ("weights", "seconds")} for s in searches],
        "mixtures": [{"name": m.name, "kind": m.kind, "weights": list(m.weights)} for m in mixtures],
        "runs": [run.entry() for run in runs],
        "comparisons": comparisons,
        "verdict": _verdict(searches, comparisons),
    }


def _target_entry(target: Target, searches: Sequence[dict[str, Any]], runs: Sequence[FinalRun]) -> dict[str, Any]:
    """Return what the summary says about a target."""
    return {
        "name": target.name,
        "documents": len(target.search),
        "rows": next(search["rows"] for search in searches if search["target"] == target.name),
        "held_out_documents": len(target.held_out),
        "held_out_tokens": int(runs[0].lengths[target.name].sum()) if runs else None,
    }


def _comparisons(targets: Sequence[Target], runs: Sequence[FinalRun], level: float) -> list[dict[str, Any]]:
    """Return every mixture over uniform; and, on its own target, what was searched over the mixtures it has to beat."""
    entries: list[dict[str, Any]] = []
    for target in targets:
        for run in runs:
            for other in runs:
                if run is other or not _is_compared(run.mixture, other.mixture, target.name):
                    continue
                nats, other_nats, tokens = run.nats[target.name], other.nats[target.name], run.lengths[target.name]
                found = compare(nats, other_nats, tokens, other.mixture.name, level)
                entries.append(_comparison_entry(target.name, run.mixture.name, found))
    return entries


def _is_compared(mixture: NamedMixture, other: NamedMixture, target: str) -> bool:
    """Say whether a mixture is compared with another on a target."""
    if other.name == "uniform":
        return True
    own = {mixture.target, other.target} <= {None, target}
    return own and mixture.kind == "search" and other.kind != "search"


def _comparison_entry(target: str, mixture: str, found: Comparison) -> dict[str, Any]:
    return {
        "target": target,
        "mixture": mixture,
        "over": found.over,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "level": found.level,
        "verdict": found.verdict,
    }


def _verdict(searches: Sequence[dict[str, Any]], comparisons: list[dict[str, Any]]) -> str:
    """Return one sentence about the first search: after training if there was one."""
    first = searches[0]
    own = [c for c in comparisons if c["mixture"] == first["mixture"] and c["target"] == first["target"]]
    over_uniform = next((c["verdict"] for c in own if c["over"] == "uniform"), None)
    if over_uniform is None:
        return f"{first['mixture']}: {first['verdict']}; from the proxy models, not checked by training"
    parts = [f"{first['mixture']} on {first['target']}: {over_uniform}"]
    others: dict[str, list[str]] = {}
    for comparison in own:
        if comparison["over"] != "uniform":
            word = comparison["verdict"].partition(f" {comparison['over']}")[0].removesuffix(" than").strip()
            others.setdefault(word, []).append(comparison["over"])
    parts += [f"{word} than {' and '.join(names)}" for word, names in others.items() if "unverified" not in word]
    return "; ".join(parts)


def stage_seconds(folder: Path, used: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """
    Return the time that each kind of stage took, over all commands that worked on the run.

    Parameters
    ----------
    folder
        The run folder.
    used
        For each kind of stage the names (of sources, targets or mixtures) that the run has now.
    """
    seconds: dict[str, float] = {}
    for kind, names in used.items():
        folders = [folder / kind / folder_name(name) for name in names] or [folder / kind]
        records = sorted(record for place in folders for record in place.rglob("done.json"))
        seconds[kind] = round(sum(map(_seconds_of, records)), 3)
    return seconds


def _seconds_of(record: Path) -> float:
    try:
        return float(json.loads(record.read_text(encoding="utf-8"))["result"]["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def read_summary(folder: Path | str) -> dict[str, Any]:
    """
    Return the summary of a finished run.

    Raises
    ------
    InputError
        The folder is no run, or the run is not finished.
    """
    folder = Path(folder)
    path = folder / "summary.json"
    if folder.is_file():
        advice = f"give {folder.parent}" if (folder.parent / "summary.json").exists() else "check the path"
        raise InputError(f"{folder} should be the folder of a run, found a file; {advice}")
    if not folder.is_dir():
        raise InputError(f"there should be a run folder at {folder}, found nothing; check the path")
    if not path.exists():
        if (folder / "config.yaml").exists():
            text = (folder / "config.yaml").read_text(encoding="utf-8", errors="replace")
            named = re.search(r"Go on with: mixwright ([a-z ]+) THIS_FILE", text)
            command = named[1] if named else "search"
            raise InputError(
                f"the run {folder} is not finished; go on with: mixwright {command} {folder}/config.yaml --run {folder}"
            )
        runs = sorted(str(found.parent) for found in folder.glob("*/summary.json"))
        advice = f"there are runs in it, give one: {', '.join(runs[:3])}" if runs else "check the path"
        raise InputError(f"{folder} should be a run (a folder with summary.json), found none; {advice}")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}; run the search again to write it anew") from error
    if not isinstance(summary, dict) or not isinstance(summary.get("schema"), int):
        raise InputError(f"{path} is no summary of mixwright; run the search again to write it anew")
    if summary["schema"] > SCHEMA:
        raise InputError(f"{path} was written by a newer mixwright (schema {summary['schema']}); upgrade this one")
    return summary
