"""A run from its configuration to its page: `load` or `make` a configuration, then `drive` it."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter, ValidationError

from mixwright.errors import InputError
from mixwright.experiment.core.config_parts import RunConfig
from mixwright.experiment.core.errors import explain
from mixwright.experiment.core.inputs import changed_inputs, check_pinned, naming_addresses, pin, with_copies
from mixwright.experiment.core.run_folder import check_no_run, check_same, config_text, is_finished
from mixwright.experiment.core.stages import PLAN, Progress, check_folder, check_held, open_run, silent
from mixwright.experiment.core.summary import SCHEMA, read_summary
from mixwright.experiment.core.yaml import YamlFile, read_yaml
from mixwright.experiment.engines.cluster import check_engine
from mixwright.experiment.engines.pieces import forget_plan, tidy
from mixwright.experiment.engines.ranks import check_ranks
from mixwright.experiment.kinds import KINDS, Kind, of_command, of_config, of_summary
from mixwright.experiment.live.telling import REPORT, telling
from mixwright.files import write_json
from mixwright.report.page import write
from mixwright.version import __version__
from mixwright.watching.trackers.tracked import NOBODY, Tracked, notes_of, records_of
from mixwright.watching.trackers.tracker import check_trackers

Config = TypeVar("Config", bound=RunConfig)
Annotate = Callable[[dict[str, Any]], list[str]]


class Processes(Protocol):
    """The processes of a run; one that trains on several ranks has `mixwright.training.ranks.Ranks`."""

    @property
    def main(self) -> bool:
        """Whether this process writes."""

    def shared(self, value: Any) -> Any:
        """Return the main process's value on every one."""


class OneProcess:
    """A run in one process."""

    main = True

    def shared(self, value: Any) -> Any:
        """Return the value."""
        return value


class Run(ABC, Generic[Config]):
    """
    A run of one kind at work.

    Parameters
    ----------
    config
        Its configuration.
    folder
        The run folder.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder

    track: Tracked = NOBODY  # of the process that writes

    @property
    @abstractmethod
    def title(self) -> str:
        """Return the heading of the report where the configuration gives none."""

    @abstractmethod
    def check(self, progress: Progress) -> None:
        """Read everything; raise InputError for what does not fit. Nothing is written."""

    @abstractmethod
    def work(self, progress: Progress) -> dict[str, Any]:
        """
        Do all stages, or those that are not done, and return the summary without its head.

        Processes besides the main one return nothing.
        """

    def prepare(self, progress: Progress) -> None:
        """Make what further processes need before they can begin; the main process alone does this."""

    def plan(self) -> str:
        """Return what the work will take, in counts, for people to read before it begins; empty where it is little."""
        return ""

    def processes(self) -> AbstractContextManager[Processes]:
        """Start, or join, the processes that share the work."""
        return nullcontext(OneProcess())


def load(command: str, path: Path | str, **options: Any) -> Any:
    """
    Read the YAML file of a run and check it; no data is opened.

    Parameters
    ----------
    command
        What is typed after `mixwright`: "search", "compare", "train", "prefer sft", "prefer specialists" or
        "prefer train". The key `kind` of the file says what the sources are.
    path
        The YAML file.
    **options
        Keys that count in place of those of the file, such as `quick=True`.

    Raises
    ------
    InputError
        Names the file, the line, the key, what was found and what to do.
    """
    check_no_run(Path(path))
    file = read_yaml(path)
    if not isinstance(file.value, dict):
        raise InputError(
            f"{path} should hold keys such as {_first_keys(command)}, found {_found(file.value)}; see: "
            f"mixwright {command} --help"
        )
    return make(command, {**file.value, **options}, file)


def make(
    command: str, values: Mapping[str, Any], file: YamlFile | None = None, folder: Path | str | None = None
) -> Any:
    """
    Check a configuration given as nested dictionaries.

    Parameters
    ----------
    command
        As for `load`.
    values
        What the YAML file would hold.
    file
        Where it was read from, for the messages.
    folder
        Where relative paths start. Default: the folder of `file`, or else the current one.

    Raises
    ------
    InputError
        Something is missing, unknown or not as it should be; all faults are named.
    """
    model = _kind_of_values(command, values, file).get("config")
    start = Path(folder or (file.path.parent if file else ".")).resolve()
    try:
        config = model.model_validate(dict(values), context={"folder": start})
    except ValidationError as error:
        raise InputError(explain(model, error, file, values)) from error
    config._file = file
    config.check_together()
    return config


def _kind_of_values(command: str, values: Mapping[str, Any], file: YamlFile | None) -> Kind:
    """Return the row that the key `kind` chooses; InputError if it, or another key, is of other data."""
    kinds = of_command(command)
    if not kinds:
        raise ValueError(f"there is no command {command!r}")
    data = values.get("kind", kinds[0].data)
    chosen = next((kind for kind in kinds if kind.data == data), None)
    if chosen is None:
        *first, last = (kind.data for kind in kinds)
        should = " or ".join([", ".join(first), last] if first else [last])
        others = [f"mixwright {kind.command}" for kind in KINDS if kind.data == data]
        advice = f", or use {' or '.join(others)}" if others else ""
        raise InputError(f"{_where(file, 'kind')}: kind should be {should}, found {data!r}; correct it{advice}")
    if "kind" not in values:
        _check_default(command, chosen, kinds[1:], values, file)
    return chosen


def _check_default(
    command: str, chosen: Kind, others: list[Kind], values: Mapping[str, Any], file: YamlFile | None
) -> None:
    """Raise InputError if a file without the key `kind` has a key that other data must have."""
    own = chosen.get("config").model_fields
    if not others or set(values) <= set(own):
        return
    for other in others:
        fields = other.get("config").model_fields
        keys = [key for key in values if key in fields and key not in own and fields[key].is_required()]
        near = {key: difflib.get_close_matches(key, set(own) - set(values), 1, cutoff=0.8) for key in keys}
        if sure := [key for key in keys if not near[key]]:  # no misspelt key of the default kind
            needing = [o.data for o in others if sure[0] in o.get("config").model_fields]
            advice = "add it" if len(needing) == 1 else "add one of them"
            raise InputError(
                f"{_where(file, sure[0])}: a {command} with this key needs the key kind: {' or '.join(needing)}; "
                f"{advice}"
            )
        for key in keys:
            raise InputError(
                f"{_where(file, key)}: there is no key {key!r} here; did you mean {near[key][0]!r}? (for {other.data} "
                f"add kind: {other.data})"
            )


def _found(value: Any) -> str:
    """Say what a file holds that has no keys."""
    if value is None:
        return "nothing (the file is empty)"
    return "a list" if isinstance(value, list) else f"only {value!r:.60}"


def _where(file: YamlFile | None, key: str) -> str:
    return file.where((key,)) if file else f"key {key}"


def _first_keys(command: str) -> str:
    """Return two keys that a configuration of a command has, for a message."""
    fields = of_command(command)[0].get("config").model_fields
    keys = [key for key in ("model", "sources", "targets", "arms", "weights") if key in fields]
    required = [key for key in keys if fields[key].is_required()]
    keys = required + [key for key in keys if key not in required] or [k for k, f in fields.items() if f.is_required()]
    return " and ".join(f"{key}:" for key in keys[:2])


def json_schema(command: str) -> dict[str, Any]:
    """Return the JSON schema of a command's YAML file, for editors: of all its data."""
    models = [kind.get("config") for kind in of_command(command)]
    if len(models) == 1:
        return dict(models[0].model_json_schema(mode="validation"))
    union = models[0]
    for model in models[1:]:
        union = union | model
    adapter: TypeAdapter[Any] = TypeAdapter(union)
    return {"title": f"mixwright {command}", **adapter.json_schema(mode="validation")}


def drive(
    config: RunConfig,
    folder: Path | str,
    progress: Progress = silent,
    command: str = "mixwright.experiment.drive",
    annotate: Annotate | None = None,
) -> dict[str, Any]:
    """
    Do a run, or the rest of one, and return its summary.

    Stopped in whatever way and called again, it resumes: a stage whose inputs did not change is not done again, and the
    results are the same. Under torchrun every rank calls this.

    Parameters
    ----------
    config
        From `load` or `make`.
    folder
        The run folder: a new one, an empty one, or one of the same run.
    progress
        Called as `progress(stage, done, total, note)`.
    command
        What the summary says the run was made with.
    annotate
        Given the summary, returns sentences that are added to its notes.

    Returns
    -------
    dict
        What `summary.json` holds; empty on ranks besides the first.

    Raises
    ------
    InputError
        The configuration does not fit the data, the model or the folder. Everything is read before anything is written.
    """
    kind, folder = of_config(config), Path(folder)
    run: Run[Any] = kind.get("run")(config, folder)
    with run.processes() as processes:
        if not processes.main:
            if problem := processes.shared(None):
                raise InputError(problem)
            run.config = with_copies(config, folder)
            check_pinned(run.config, folder)
            return run.work(progress)
        with naming_addresses(), _announced(processes) as begin:
            check_folder(folder)
            values = config.dumped()
            check_same(kind, values, folder)
            check_ranks(config, folder)
            check_engine(config, folder)
            if not is_finished(folder, values):
                check_trackers(config.track or (), config.where("track"), begun=(folder / "config.yaml").exists())
            run.config = with_copies(config, folder, progress)
            run.check(progress)
            held = _opened(run, kind, folder, config_text(kind, values), progress)
            with held as progress, config.tracked(folder, folder) as run.track:
                run.track.prepare()
                forget_plan(config, folder)
                others = pin(run.config, folder)
                run.prepare(progress)
                if plan := run.plan():
                    progress(PLAN, 0, 1, plan)
                begin()
                summary = {**_head(kind, run, command), **run.work(progress)}
                run.track.flush()
                others += [*changed_inputs(folder), *(known := notes_of(records_of(folder) if config.track else ()))]
                summary["notes"] = [*summary.get("notes", ()), *(annotate(summary) if annotate else ()), *others]
                check_held(now=True)
                write_json(folder / "summary.json", summary)
                tidy(folder, run.config)
                if kind.page is not None:
                    run.track.result(write_page(summary, folder), summary.get("verdict"))
                run.track.end()  # a tracker may also fail there
                if late := [note for note in run.track.notes if note not in known]:
                    summary["notes"] += late
                    check_held(now=True)
                    write_json(folder / "summary.json", summary)
                    if kind.page is not None:
                        write_page(summary, folder)
                if kind.page is not None:
                    progress(REPORT, 1, 1)
                return summary


@contextmanager
def _opened(run: Run[Any], kind: Kind, folder: Path, text: str, progress: Progress) -> Iterator[Progress]:
    """Hold the run folder, and yield the progress that ends the work of a command that lost it, and tells others."""
    title, page = run.config.title or run.title, kind.page is not None

    def former() -> None:
        write_page(read_summary(folder), folder)

    with (
        open_run(folder, text, progress) as claim,
        telling(claim, folder, title, page, former, _held(progress)) as told,
    ):
        yield told


def _held(progress: Progress) -> Progress:
    """Return a progress that ends the work, by ClaimLost, if another command took the run over."""

    def report(stage: str, done: int, total: int, note: str = "") -> None:
        check_held()
        progress(stage, done, total, note)

    return report


@contextmanager
def _announced(processes: Processes) -> Iterator[Callable[[], None]]:
    """Yield what lets the other processes begin; an error before that ends them all with the same message."""
    begun = False

    def begin() -> None:
        nonlocal begun
        begun = True
        processes.shared(None)

    try:
        yield begin
    except InputError as error:
        if not begun:
            processes.shared(str(error))
        raise


def _head(kind: Kind, run: Run[Any], command: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "task": kind.task,
        "data": kind.data,
        **({} if kind.label is None else {"kind": kind.label}),
        "version": __version__,
        "title": run.config.title or run.title,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": run.config.seed,
    }


def write_page(summary: Mapping[str, Any], folder: Path) -> Path:
    """
    Write the page of a finished run and return its path.

    Raises
    ------
    InputError
        Runs of this kind have no page.
    """
    kind = of_summary(summary)
    if kind.page is None:
        raise InputError(f"{folder} holds {kind.label}, which has no page; show it: mixwright show {folder}")
    return write(kind.page, summary, folder)
