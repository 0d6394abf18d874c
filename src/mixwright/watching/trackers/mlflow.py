"""MLflow: a server or a local store (MLFLOW_TRACKING_URI)."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mixwright.errors import InputError
from mixwright.watching.trackers.tracker import PROJECT, About, Tracker

_SECONDS = 1.0  # between two writes: one for each step takes longer than a small step
_MOST = 1000  # numbers that MLflow takes at once
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")
_REACH = 3.0  # seconds for a server to take a connection; MLflow itself tries for four minutes
_TEXT = 4000  # characters of a tag
_PORTS = {"http": 80, "https": 443}
_FILES = ("decisions.jsonl",)


class MLflow(Tracker):
    """
    A run of MLflow in the experiment MLFLOW_EXPERIMENT_NAME, which its id names again when it is resumed.

    What comes within a second is written at once. Names have `_` in place of characters that MLflow does not take.
    Sentences are tags, the last one of each kind; the whole log of decisions is an artifact at the end.
    """

    package = "mlflow"

    @classmethod
    def load(cls) -> None:
        """Import MLflow, which tells its makers nothing."""
        _mlflow()

    @classmethod
    def check(cls) -> None:
        """Raise InputError if runs would go into a folder of files, and this version of MLflow takes none."""
        address = _uri()
        if urlsplit(address).scheme not in ("", "file") or address.startswith(("databricks", "uc")):
            return
        try:
            _client()
        except Exception as error:
            said = " ".join(str(error).split())[:60]
            raise InputError(
                f"mlflow's MLFLOW_TRACKING_URI should name a server or a database, found {address}, which this version "
                f"of mlflow refuses ({said} ...); write MLFLOW_TRACKING_URI=sqlite:///mlflow.db, or remove mlflow"
            ) from error

    @classmethod
    def reach(cls) -> None:
        """Raise InputError if a server is named, and nothing takes a connection there; a proxy is not asked."""
        address = _uri()
        place = urlsplit(address)
        proxies, host = getproxies(), place.hostname
        if place.scheme not in _PORTS or not host:
            return
        if {place.scheme, "all"} & set(proxies) and not proxy_bypass(host):
            return
        try:
            socket.create_connection((host, place.port or _PORTS[place.scheme]), timeout=_REACH).close()
        except OSError as error:
            raise InputError(
                f"mlflow's server should answer at {place.scheme}://{place.netloc.rpartition('@')[2]} "
                f"(MLFLOW_TRACKING_URI), found none ({error}); start it, set another address, or remove mlflow"
            ) from error

    @classmethod
    def prepare(cls) -> None:
        """Make the store and the experiment: several processes at once could not."""
        cls.reach()
        _experiment(_client())

    def open(self, about: About, step: int) -> int:
        """Begin a run, or go on with it."""
        self.reach()
        self._client, self._folder = _client(), about.folder
        self._names: dict[str, str] = {}
        self._waiting: list[Any] = []
        self._tags: dict[str, str] = {}
        self._sent = time.monotonic()
        if "mlflow" in about.ids:
            self._id = about.ids["mlflow"]
            self._client.update_run(self._id, status="RUNNING")
            return self._last()
        tags = {"group": about.group, **{key: str(value) for key, value in about.facts.items()}}
        self._id = self._client.create_run(_experiment(self._client), run_name=about.name, tags=tags).info.run_id
        self._client.log_dict(self._id, dict(about.config), "config.yaml")
        about.ids["mlflow"] = self._id
        return 0

    def _last(self) -> int:
        known = self._client.get_run(self._id).data.metrics
        key = next((key for key in ("learning_rate", "loss") if key in known), None)
        return max((m.step for m in self._client.get_metric_history(self._id, key)), default=0) if key else 0

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers, and write them if it is time to."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(self._name(key), value, now, step) for key, value in values.items()]
        if time.monotonic() - self._sent >= _SECONDS:
            self.flush()

    def words(self, step: int, kind: str, text: str) -> None:
        """Take a sentence as a tag."""
        self._tags[kind] = text[:_TEXT]

    def flush(self) -> None:
        """Write what waits; the numbers of a step stay together where they are not too many."""
        from mlflow.entities import RunTag

        waiting, tags = self._waiting, [RunTag(key, text) for key, text in self._tags.items()]
        self._waiting, self._tags, self._sent = [], {}, time.monotonic()
        while waiting or tags:
            some = _whole_steps(waiting)
            self._client.log_batch(self._id, metrics=waiting[:some], tags=tags)
            waiting, tags = waiting[some:], []

    def keep(self, path: Path) -> None:
        """Keep a file as an artifact."""
        self._client.log_artifact(self._id, str(path))

    def close(self, failed: bool) -> None:
        """Write the rest, and end the run."""
        self.flush()
        for name in _FILES:
            if (self._folder / name).is_file():
                self._client.log_artifact(self._id, str(self._folder / name))
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _name(self, key: str) -> str:
        """Return a name that MLflow takes, another one for each key."""
        if key not in self._names:
            parts = [part if part.strip(".") else "_" for part in _NOT_ALLOWED.sub("_", key).split("/")]
            name = "/".join(parts)[:200]
            taken = set(self._names.values())
            self._names[key] = next(n for i in range(len(taken) + 1) if (n := name + f"_{i}" * bool(i)) not in taken)
        return self._names[key]


def _whole_steps(metrics: list[Any]) -> int:
    """Return how many of the first numbers go together: whole steps, if a step has no more than can."""
    if len(metrics) <= _MOST:
        return len(metrics)
    first = next((n for n in range(_MOST, 0, -1) if metrics[n].step != metrics[n - 1].step), None)
    return first or _MOST


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell its makers what is used
    return import_module("mlflow")


def _uri() -> str:
    return str(_mlflow().get_tracking_uri())


def _client() -> Any:
    return _mlflow().MlflowClient()


def _experiment(client: Any) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))
