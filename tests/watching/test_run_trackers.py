"""Trackers get the lines that a run writes down: the same numbers, no step twice, and never an error of theirs."""

import json
import os
import socket
import sys
import time
import types
import warnings
from pathlib import Path
from threading import Event

import pytest

from event_files import read_events
from mixwright.errors import AlarmWarning, InputError
from mixwright.watching.trackers.records import numbers_of, statistics_of
from mixwright.watching.trackers.tracked import RECORD, Tracked, notes_of
from mixwright.watching.trackers.tracker import TRACKERS, About, check_trackers, tracker_of


def line(step, **more):
    return {"step": step, "loss": 2.0 + step / 7, "source_loss": {"a": 1 / step}, "weights": {"a": 0.25}, **more}


def followed(folder: Path, *names) -> Tracked:
    facts, config = {"arm": "first", "seed": 0}, {"sources": ["a"]}
    return Tracked(names, About("first, seed 0", "group", folder, facts, config))


def test_numbers_have_names_in_our_words():
    found = numbers_of({"step": 1, "grad_norm": 2.0, "mixture/weight/a/b": 0.5, "loss": None, "skipped": ["a"]})
    assert found == {"gradient_norm": 2.0, "weight/a/b": 0.5}
    seen = {"observation": {"grad_sq_norm": [1.0, None], "loss": [3.0, 4.0]}, "entropy": 0.5}
    assert statistics_of(seen, ("a", "b")) == {"entropy": 0.5, "grad_sq_norm/a": 1.0}


def test_a_tracker_that_is_not_installed_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"line 3: tensorboard should be installed.*pip install") as caught:
        check_trackers(["tensorboard"], "line 3")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("error", ["ImportError('no libx,\\n as it seems')", "RuntimeError('no libx, as it seems')"])
def test_a_package_that_is_there_and_broken_is_said_before_any_work(tmp_path, monkeypatch, name, error):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(f"raise {error}\n")
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError) as caught:
        check_trackers([name], "line 3")
    assert str(caught.value).startswith(
        f"line 3: the package {name!r} is installed, but could not be imported (no libx, as it seems); install"
    )
    assert "\n" not in str(caught.value)


def test_settings_that_keep_nothing_or_are_not_taken_are_said_before_any_work(tmp_path, monkeypatch):
    def refusing():
        raise ValueError("mode\n  should be online")

    made = {name: types.ModuleType(name) for name in ("wandb", "mlflow")}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: True)
    made["wandb"].setup = lambda: types.SimpleNamespace(settings=types.SimpleNamespace(mode="disabled"))
    with pytest.raises(InputError, match=r"line 3: wandb should keep the run, found WANDB_MODE=disabled.*offline"):
        check_trackers(["wandb"], "line 3")
    made["wandb"].setup = refusing
    with pytest.raises(InputError, match=r"wandb should take its settings, found ValueError: mode should be online;"):
        check_trackers(["wandb"], "line 3")
    made["mlflow"].get_tracking_uri = lambda: f"file://{tmp_path}/mlruns"
    made["mlflow"].MlflowClient = refusing
    with pytest.raises(InputError, match=r"line 3: mlflow's MLFLOW_TRACKING_URI .*found file:.*sqlite:///mlflow\.db"):
        check_trackers(["mlflow"], "line 3")
    made["mlflow"].MlflowClient = object  # an older one
    check_trackers(["mlflow"], "line 3")


def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch):
    took = []

    class Failing:
        def open(self, about, step):
            about.ids["tensorboard"] = "here"
            return step

        def numbers(self, step, values):
            took.append(step)
            if step == 2:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr("mixwright.watching.trackers.tracked.tracker_of", lambda name: Failing)
    with warnings.catch_warnings(record=True) as said, followed(tmp_path, "tensorboard") as tracked:
        warnings.simplefilter("always")
        tracked.begin(0)
        for step in range(1, 5):
            tracked.line(line(step))
    assert took == [1, 2]
    assert [(each.category, "No space left" in str(each.message)) for each in said] == [(AlarmWarning, True)]
    assert json.loads((tmp_path / RECORD).read_text())["ids"] == {"tensorboard": "here"}
    assert notes_of([json.loads((tmp_path / RECORD).read_text())]) == tracked.notes
    assert "No space left" in tracked.notes[0]


def test_a_tracker_that_failed_and_goes_on_after_a_resume_is_no_longer_said_to_get_nothing(tmp_path, monkeypatch):
    took, full = [], [True]

    class Filling:
        def open(self, about, step):
            return max(took, default=0)

        def numbers(self, step, values):
            if full[0] and step == 2:
                raise OSError(28, "No space left on device")
            took.append(step)

        def words(self, step, kind, text):
            pass

        def close(self, failed):
            pass

    monkeypatch.setattr("mixwright.watching.trackers.tracked.tracker_of", lambda name: Filling)
    notes = []
    for first, last, is_full in ((1, 3, True), (4, 5, False), (6, 6, False)):
        full[0] = is_full
        with warnings.catch_warnings(), followed(tmp_path, "tensorboard") as tracked:
            warnings.simplefilter("ignore", AlarmWarning)
            tracked.begin(first - 1)
            for step in range(first, last + 1):
                tell(tracked, tmp_path, step)
        notes.append(notes_of([json.loads((tmp_path / RECORD).read_text())]))
        assert notes[-1] == tracked.notes
    assert took == [1, 2, 2, 3, 4, 5, 6]  # step 2 also has the statistics of a decision
    assert "failed and got nothing from then on (OSError" in notes[0][0]
    assert notes[1] == notes[2] == [
        "the tracker tensorboard failed and went on after a resume (OSError: [Errno 28] No space left on device); it "
        "has every step, but may lack held-out losses that were measured in between"
    ]  # fmt: skip


class Hanging:
    """A tracker whose server takes a connection and never answers; made up by `hanging`."""

    let_go: Event
    at: str
    took: list

    @classmethod
    def prepare(cls):
        cls.wait("prepare")

    @classmethod
    def wait(cls, where):
        if where == cls.at:
            cls.let_go.wait(60)

    def open(self, about, step):
        self.wait("open")
        return step

    def numbers(self, step, values):
        self.took.append(step)

    def flush(self):
        pass

    def close(self, failed):
        self.wait("close")


@pytest.fixture(params=["prepare", "open", "close"])
def hanging(request, monkeypatch):
    made = type("Made", (Hanging,), {"let_go": Event(), "at": request.param, "took": []})
    monkeypatch.setattr("mixwright.watching.trackers.tracked.tracker_of", lambda name: made)
    for name, seconds in {"_PREPARE": 0.2, "_OPEN": 0.4, "_FLUSH": 0.1, "_END": 0.8}.items():
        monkeypatch.setattr(f"mixwright.watching.trackers.tracked.{name}", seconds)
    yield made
    made.let_go.set()


def test_a_tracker_that_hangs_holds_no_run_and_is_noted_at_the_end(tmp_path, hanging):
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as said, followed(tmp_path, "tensorboard") as tracked:
        warnings.simplefilter("always")
        tracked.prepare()
        tracked.begin(0)
        tracked.line(line(1))
        tracked.flush()
    assert time.monotonic() - start < 5
    texts = [str(each.message) for each in said]
    if hanging.at == "prepare":
        assert "the trackers (tensorboard) did not answer for 0 s; the run goes on" in texts.pop(0)
    assert len(texts) == 1
    assert "tensorboard failed and got nothing from then on (no answer at the end of the run" in texts[0]
    assert tracked.notes == notes_of([json.loads((tmp_path / RECORD).read_text())])
    assert "no answer at the end" in tracked.notes[0]
    hanging.let_go.set()  # it answers while other trainings of the process go on: it has all
    assert tracked._aside.wait(10)
    assert hanging.took == [1]
    assert tracked.notes == notes_of([json.loads((tmp_path / RECORD).read_text())]) == []


def test_a_server_of_mlflow_that_is_away_is_said_within_seconds(tmp_path, monkeypatch):
    address = []
    monkeypatch.setattr("mixwright.watching.trackers.mlflow._uri", lambda: address[-1])
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    kind = tracker_of("mlflow")
    for local in (f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path), "databricks"):
        address.append(local)
        kind.reach()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address.append(f"http://name:secret@127.0.0.1:{server.getsockname()[1]}/base")
        kind.reach()
    with pytest.raises(InputError, match=r"should answer at http://127\.0\.0\.1:\d+ .*refused.*start it") as caught:
        kind.reach()
    assert "secret" not in str(caught.value)
    with warnings.catch_warnings(record=True) as said, followed(tmp_path, "mlflow") as tracked:
        warnings.simplefilter("always")
        tracked.prepare()
        tracked.begin(0)
    assert len(said) == len(tracked.notes) == 1
    assert "refused" in tracked.notes[0]
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    monkeypatch.setattr("mixwright.watching.trackers.tracker.find_spec", lambda name: True)
    with pytest.raises(InputError, match="line 3: mlflow's server should answer"):
        check_trackers(["mlflow"], "line 3")
    check_trackers(["mlflow"], "line 3", begun=True)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    kind.reach()


def test_nothing_is_told_or_written_without_trackers(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with followed(tmp_path) as tracked:
            tracked.begin(0)
            tracked.line(line(1))
            tracked.result(tmp_path / "report.html", "better")
    assert not list(tmp_path.iterdir())


SPEAKS = """
import sys, threading

def init(project, **options):
    print("* Trackio project initialized")
    print("a warning", file=sys.stderr)
    other = threading.Thread(target=options["config"]["another"])
    other.start()
    other.join()
    return sys.modules[__name__]

def finish():
    print("* Run finished")
"""


def test_trackio_is_kept_from_stdout_and_nobody_else_is(tmp_path, monkeypatch, capsys):
    spoken = types.ModuleType("trackio")
    exec(SPEAKS, vars(spoken))
    monkeypatch.setitem(sys.modules, "trackio", spoken)
    about = About("first", "group", tmp_path, {"another": lambda: sys.stdout.write("of another thread\n")})
    tracker = tracker_of("trackio")()
    tracker.open(about, 0)
    tracker.close(False)
    assert capsys.readouterr() == ("of another thread\n", "a warning\n")
    spoken.finish()  # somebody else's
    assert capsys.readouterr().out == "* Run finished\n"


class Reader:
    """Reads back what a tracker has: {name: [(step, value)]}, and sentences by kind."""

    def tensorboard(self, folder):
        return read_events(folder / "tensorboard")

    def mlflow(self, folder):
        from mlflow import MlflowClient

        client = MlflowClient()
        (run,) = client.search_runs([client.get_experiment_by_name("mixwright").experiment_id])
        assert run.data.tags["group"] == "group"
        assert run.data.tags["mlflow.runName"] == "first, seed 0"
        history = {key: client.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
        numbers = {key: [(m.step, m.value) for m in own] for key, own in history.items()}
        return numbers, {kind: [run.data.tags[kind]] for kind in ("decision", "alarm", "verdict")}

    def trackio(self, folder):
        import sqlite3

        from trackio.sqlite_storage import SQLiteStorage

        with sqlite3.connect(SQLiteStorage.get_project_db_path("mixwright")) as base:
            rows = base.execute("select step, metrics, run_name from metrics order by id").fetchall()
        assert len({name for *_, name in rows}) == 1
        return _of_rows((step, json.loads(metrics)) for step, metrics, _ in rows)

    def wandb(self, folder):
        from mixwright.watching.trackers.wandb import history

        lines = [line for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")) for line in history(path)]
        return _of_rows((line["_step"], line) for line in lines)


def keeps(name, folder, page):
    """Whether a tracker has a page as an artifact: as a file, or offline in wandb as a record that it sends later."""
    if name != "wandb":
        found = [path for path in folder.rglob("*") if path.is_file() and path != page]
        return page.read_bytes() in [path.read_bytes() for path in found]
    from wandb.proto.wandb_internal_pb2 import Record

    from mixwright.watching.trackers.wandb import _records

    files = [path.read_bytes() for path in folder.glob("wandb/offline-run-*/*.wandb")]
    records = [Record.FromString(data) for file in files for data in _records(file)]
    found = [record.artifact for record in records if record.HasField("artifact")]
    return [(each.type, [entry.path for entry in each.manifest.contents]) for each in found] == [
        (page.stem, [page.name])
    ]


def _of_rows(rows):
    numbers, words = {}, {}
    for step, values in rows:
        for key, value in values.items():
            if isinstance(value, str):
                words.setdefault(key, []).append(value)
            elif not key.startswith("_"):
                numbers.setdefault(key, []).append((step, value))
    return numbers, words


@pytest.fixture(params=list(TRACKERS))
def tracker(request, tmp_path, monkeypatch):
    """The name of a tracker that is installed and keeps what it gets in this folder, and what reads it."""
    pytest.importorskip(request.param)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_DIR": tmp_path,
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "TRACKIO_DIR": tmp_path / "trackio",
    }.items():
        monkeypatch.setenv(name, str(value))
    if request.param == "trackio":  # it looks at its folder when it is imported
        monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
        monkeypatch.setattr("trackio.utils.ARTIFACTS_DIR", tmp_path / "trackio" / "artifacts", raising=False)
        monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", tmp_path / "trackio")
    return request.param, getattr(Reader(), request.param)


DECISION = {"decision": 0, "begins": 4, "weights": [0.25, 0.75], "entropy": 0.5, "remarks": {"alarm": "b is lost"},
            "run": {"sources": ["a", "b"]}, "observation": {"step": 1, "grad_sq_norm": [1.0, 2.0]}}  # fmt: skip


def tell(tracked, folder, step):
    """Write a step down, and tell it."""
    for name, written in (("metrics.jsonl", line(step)), ("decisions.jsonl", DECISION if step == 2 else None)):
        if written is not None:
            with open(folder / name, "a") as handle:
                handle.write(json.dumps(written) + "\n")
    tracked.line(line(step))
    if step == 2:
        tracked.decision(("a", "b"), DECISION)


def killed(folder, name):
    tracked = followed(folder, name)
    tracked.begin(0)
    for step in range(1, 5):
        tell(tracked, folder, step)
        if step == 2:
            tracked.flush()
            tracked.measured({"step": 2, "loss": {"source a": 1.5}})
    tracked._aside.wait(60)


def test_what_a_tracker_has_equals_the_lines_also_after_a_resume(tmp_path, tracker):
    name, read = tracker
    if (child := os.fork()) == 0:  # a process that is killed after step 4, its last checkpoint is of step 2
        try:
            killed(tmp_path, name)
        finally:
            os._exit(9)
    os.waitpid(child, 0)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:2]))
    with followed(tmp_path, name) as again:
        again.begin(2)
        again.measured({"step": 2, "loss": {"source a": 1.5}})
        for step in range(3, 7):
            tell(again, tmp_path, step)
        (tmp_path / "report.html").write_text("<html></html>")
        again.result(tmp_path / "report.html", "no better than uniform")
    assert keeps(name, tmp_path, tmp_path / "report.html") == (name != "tensorboard")
    numbers, words = read(tmp_path)
    expected = {"loss": [2.0 + s / 7 for s in range(1, 7)], "loss/a": [1 / s for s in range(1, 7)],
                "weight/a": [0.25] * 6}  # fmt: skip
    for key, values in expected.items():
        assert [step for step, _ in numbers[key]] == [1, 2, 3, 4, 5, 6], key
        assert [value for _, value in numbers[key]] == pytest.approx(values, rel=1e-7 if name == "tensorboard" else 0)
    assert numbers["grad_sq_norm/b"] == [(2, 2.0)]
    assert numbers["held_out_loss/a"] == [(2, 1.5)]
    assert words["decision"] == ["after step 2, from step 5 on: a 0.25, b 0.75"]
    assert words["alarm"] == ["after step 2: b is lost"]
    assert words["verdict"] == ["no better than uniform"]
