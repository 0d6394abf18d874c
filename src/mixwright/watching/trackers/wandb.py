"""Weights & Biases: sent to its server, or kept in files (WANDB_MODE=offline)."""

from __future__ import annotations

import json
import netrc
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mixwright.errors import InputError
from mixwright.watching.trackers.tracker import PROJECT, About, Tracker

_SECONDS = 60.0  # that a run waits at its end for what is not sent yet, where the user says nothing else


class WeightsAndBiases(Tracker):
    """
    A run of wandb in the project WANDB_PROJECT, which its id names again when it is resumed.

    The server has the last step of a run that goes on there. Offline each process writes a file of its own, with the
    same id; the former ones are read for their last step, since the last block of a process that was killed is lost.
    """

    package = "wandb"

    @classmethod
    def check(cls) -> None:
        """Raise InputError if runs would be sent and nobody is logged in, or if nothing would be kept."""
        import wandb

        settings = wandb.setup().settings
        if settings.mode == "disabled":
            raise InputError(
                "wandb should keep the run, found WANDB_MODE=disabled, which keeps nothing; keep runs in files with "
                "WANDB_MODE=offline, or remove wandb"
            )
        if settings.mode not in ("online", "run", "shared") or settings.api_key or _logged_in(settings.base_url):
            return
        raise InputError(
            f"wandb should be logged in, found no key for {settings.base_url}; run `wandb login`, keep runs in files "
            "with WANDB_MODE=offline, or remove wandb"
        )

    def open(self, about: About, step: int) -> int:
        """Begin a run, or go on with it."""
        import wandb

        again = "wandb" in about.ids
        own = about.ids.setdefault("wandb", secrets.token_hex(4))
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=about.name,
            group=about.group,
            id=own,
            resume="allow",
            reinit="create_new",
            config={**about.facts, "mixwright": dict(about.config)},
            settings=_settings(wandb),
        )
        if self._run.offline:
            return _last(Path(self._run.dir).parents[1], own) if again else 0
        return max(int(self._run.starting_step) - 1, 0)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers."""
        self._run.log(dict(values), step=step)

    def words(self, step: int, kind: str, text: str) -> None:
        """Log a text beside the numbers of the step, or of the last one: wandb takes nothing for earlier steps."""
        self._run.log({kind: text}, step=step or None)

    def keep(self, path: Path) -> None:
        """Keep a file as an artifact."""
        import wandb

        artifact = wandb.Artifact(f"{path.stem}-{self._run.id}", type=path.stem)
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, failed: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=int(failed))


def history(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines {name: value} of a file of an offline run: records of LevelDB's log, of wandb's own protocol."""
    from wandb.proto.wandb_internal_pb2 import Record

    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        if record.HasField("history"):
            yield {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def _records(data: bytes, block: int = 32768) -> Iterator[bytes]:
    """Yield the whole records; each part has a sum, its size and its place: whole, first, between, last."""
    at, parts = 7, b""  # behind wandb's own head
    while at + 7 <= len(data):
        if (left := block - at % block) < 7:
            at += left
            continue
        size, place = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts = (b"" if place in (1, 2) else parts) + data[at + 7 : at + 7 + size]
        at += 7 + size
        if place in (1, 4) and at <= len(data):
            yield parts


def _last(folder: Path, own: str) -> int:
    """Return the last step in the files of an offline run's processes."""
    files = folder.glob(f"*-{own}/run-{own}.wandb")
    return max((int(line["_step"]) for path in files for line in history(path)), default=0)


def _settings(wandb: Any) -> Any:
    """Return settings that leave the terminal alone, and that end a run though its server is away."""
    given = wandb.setup().settings
    own: dict[str, Any] = {"console": "off", "silent": True}
    if not getattr(given, "finish_timeout", 1.0):  # 0: for ever; older versions have none
        own |= {"finish_timeout": _SECONDS, "finish_timeout_raises": True}
    return wandb.Settings(**own)


def _logged_in(address: str) -> bool:
    """Whether there is a key for a server, where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    home = Path.home()
    for path in (os.environ.get("NETRC") or home / ".netrc", home / "_netrc"):
        try:
            if netrc.netrc(str(path)).authenticators(urlparse(address).hostname or address):
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False
