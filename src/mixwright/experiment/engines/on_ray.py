"""Pieces on a Ray cluster: each a task that starts a process of its own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mixwright.errors import InputError, UnreachableError, missing_extra
from mixwright.experiment.engines.config import EngineConfig
from mixwright.experiment.engines.pieces import PIECES, Piece
from mixwright.experiment.engines.processes import GRACE, in_a_process

_FITS = 30.0  # seconds in which a node with what a piece needs should be there, or be on its way
_GONE = 600.0  # seconds in which no such node may be there or on its way, later


class RayCluster:
    """
    A Ray cluster.

    Parameters
    ----------
    engine
        Where it is, and what each piece needs.
    threads, ranks
        Of each process of a piece; the processes.

    Raises
    ------
    InputError
        It cannot be reached, or no node has what a piece needs.
    """

    poll = 0.5
    most = 5000

    def __init__(self, engine: EngineConfig, threads: int | None, ranks: int = 1) -> None:
        try:
            import ray
        except ImportError as error:
            raise missing_extra("ray", "ray") from error
        self._ray = ray
        needs = engine.needs(threads, ranks)
        self._needs = {"CPU": float(needs.cpus), "GPU": float(needs.gpus)}
        if needs.memory is not None:
            self._needs["memory"] = float(needs.memory)
        self._own = not ray.is_initialized()
        try:
            if self._own:
                self._connect(engine.address or "auto")
            self._check_fits()
        except BaseException:
            self.close()
            raise
        self._fitted = self._asked = time.monotonic()
        self._growing = False
        self._task = ray.remote(max_retries=0)(_in_a_process)
        self._refs: dict[Any, str] = {}

    def check(self) -> None:
        """Do nothing: what is here is connected."""

    def _connect(self, address: str) -> None:
        remedy = "start it (ray start --head), or correct engine: address"
        host, _, port = address.rpartition("://")[2].rpartition(":")
        if host and port.isdigit():
            try:
                socket.create_connection((host, int(port)), timeout=10).close()
            except OSError as error:
                raise InputError(
                    f"engine: a Ray cluster should be at {address}, found none ({error}); {remedy}"
                ) from None
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise InputError(
                f"engine: a Ray cluster should be at {address}, found none ({_first_line(error)}); {remedy}"
            ) from None

    def _check_fits(self) -> None:
        """See that a node has what a piece needs, or that one is asked for and on its way; InputError if neither."""
        until, asking = time.monotonic() + _FITS, None
        try:
            while not (self._fits() or (asking is not None and _grows(self._ray))):
                if time.monotonic() > until:
                    raise self._too_little()
                if asking is None:  # an autoscaler starts what tasks wait for
                    asking = self._ray.remote(_nothing).options(max_retries=0, **self._options()).remote()
                time.sleep(1)
        finally:
            if asking is not None:
                self._ray.cancel(asking)

    def _options(self) -> dict[str, float]:
        memory = {"memory": self._needs["memory"]} if "memory" in self._needs else {}
        return {"num_cpus": self._needs["CPU"], "num_gpus": self._needs["GPU"], **memory}

    def _nodes(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fits(self) -> bool:
        return any(all(node.get(what, 0.0) >= n for what, n in self._needs.items()) for node in self._nodes())

    def _too_little(self) -> InputError:
        nodes = self._nodes()
        found = {what: max((node.get(what, 0.0) for node in nodes), default=0.0) for what in self._needs}
        return InputError(
            f"engine: a node of the Ray cluster should have {_words(self._needs)}, found at most {_words(found)} on "
            f"{len(nodes)} nodes, and no other node on its way; lower ranks, cpus, gpus or memory, or add a node (or "
            "such a kind of node to the autoscaler)"
        )

    def _watch(self) -> None:
        """Look now and then whether a node still has what a piece needs; InputError if it has been away for long."""
        if (now := time.monotonic()) - self._asked < _FITS:
            return
        self._asked, self._growing = now, False
        if self._fits():
            self._fitted = now
        elif self._refs and _grows(self._ray):
            self._fitted, self._growing = now, True
        elif now - self._fitted > _GONE:
            raise self._too_little()

    def submit(self, pieces: Sequence[Piece]) -> None:
        """Hand pieces over."""
        task = self._task.options(**self._options())
        for piece in pieces:
            self._refs[task.remote(str(piece.folder.resolve()), piece.key)] = piece.key

    def ended(self) -> Mapping[str, str]:
        """Return the keys of pieces that ended since the last call, and why."""
        refs = list(self._refs)
        try:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
            self._watch()
        except InputError:
            raise
        except Exception as error:  # of Ray: its head is gone
            raise UnreachableError(
                f"engine: the Ray cluster should answer, found that it does not ({_first_line(error)}); start it "
                "again, then run the same command"
            ) from None
        return {self._refs.pop(ref): self._why(ref) for ref in ready}

    def _why(self, ref: Any) -> str:
        try:
            found = self._ray.get(ref)
        except Exception as error:  # of Ray: a worker or a node that died, a module that is not there
            return str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
        if found["folder"] is not None:
            raise InputError(
                f"{found['folder']} should be on storage that every node sees, found none on {found['host']}; put the "
                "run there (--run)"
            )
        return "" if found["status"] == 0 else f"its process on {found['host']} ended with status {found['status']}"

    def running(self) -> Collection[str]:
        """Return the keys of pieces that were handed over; claims say which are at work."""
        return self._refs.values()

    def waiting(self) -> str:
        """Say that no node has what a piece needs, where that is so."""
        if self._growing:
            return "waiting for a new node"
        return "no node has what a piece needs" if self._fitted < self._asked else ""

    def stop(self) -> None:
        """Cancel what was handed over, and give it some seconds to write what it has."""
        with suppress(Exception):  # of Ray: its head is gone, and what it had too
            for ref in self._refs:
                self._ray.cancel(ref, force=False)
            if self._refs:
                self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=GRACE)

    def close(self) -> None:
        """Leave the cluster, if it was joined here."""
        if self._own:
            self._ray.shutdown()


def _grows(ray: Any) -> bool:
    """Whether an autoscaler starts nodes now, as far as Ray says (it has two kinds, and no public word on either)."""
    try:
        from ray.autoscaler.v2.sdk import get_cluster_status
        from ray.experimental.internal_kv import _internal_kv_get

        found = get_cluster_status(ray.get_runtime_context().gcs_address)
        if found.pending_launches or found.pending_nodes:
            return True
        report = json.loads(_internal_kv_get("__autoscaling_status") or b"{}").get("autoscaler_report") or {}
        return bool(report.get("pending_launches") or report.get("pending_nodes"))
    except Exception:  # of Ray, whatever it is in its next version
        return False


def _nothing() -> None:
    """Wait for a node with what a piece needs, as a task does."""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else repr(error)


def _words(needs: Mapping[str, float]) -> str:
    words = [f"{needs['CPU']:g} CPUs", f"{needs['GPU']:g} GPUs"]
    return ", ".join([*words, f"{needs['memory'] / 2**30:.1f} GiB of memory"] if "memory" in needs else words)


def _in_a_process(folder: str, key: str) -> dict[str, Any]:
    """Do a piece on a node, as `mixwright piece`; say how its process ended, and a folder that is not there."""
    host = socket.gethostname()
    if not (Path(folder) / PIECES / key).is_dir():
        return {"host": host, "folder": folder, "status": None}
    return {"host": host, "folder": None, "status": in_a_process(Path(folder), key)}
