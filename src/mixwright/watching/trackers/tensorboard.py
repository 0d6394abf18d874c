"""TensorBoard: event files in the run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from mixwright.watching.trackers.tracker import About, Tracker

FOLDER = "tensorboard"
_SECONDS = 10  # between two looks of the disk at what was taken


class TensorBoard(Tracker):
    """
    Event files, by TensorBoard's own writer: nothing of TensorFlow or torch is needed.

    All numbers of a step are one event. A resumed run writes a file of its own, and marks what comes after its first
    step in the former one as void, as TensorBoard's readers expect it.
    """

    package = "tensorboard"

    @classmethod
    def load(cls) -> None:
        """Import the writer: the package alone imports next to nothing."""
        import_module("tensorboard.compat.proto.event_pb2")
        import_module("tensorboard.summary.writer.event_file_writer")

    def open(self, about: About, step: int) -> int:
        """Begin a file."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event, folder = Event, about.folder / FOLDER
        again = folder.is_dir()
        _wait_for_another_second(folder)
        self._file = EventFileWriter(str(folder), max_queue_size=1000, flush_secs=_SECONDS)
        if again:
            start = SessionLog(status=SessionLog.START)
            self._file.add_event(Event(step=step + 1, wall_time=time.time(), session_log=start))
        else:
            facts = {"name": about.name, "group": about.group, **about.facts, "config": about.config}
            self._text(0, "config", f"```\n{json.dumps(facts, indent=2, default=str)}\n```")
        about.ids[FOLDER] = str(folder)
        return step

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write an event."""
        event = self._at(step)
        for tag, value in values.items():
            event.summary.value.add(tag=tag, simple_value=value)
        self._file.add_event(event)

    def words(self, step: int, kind: str, text: str) -> None:
        """Write a text."""
        self._text(step, kind, text)

    def _text(self, step: int, tag: str, text: str) -> None:
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.compat.proto.types_pb2 import DT_STRING

        event = self._at(step)
        value = event.summary.value.add(tag=tag, tensor=TensorProto(dtype=DT_STRING, string_val=[text.encode()]))
        value.metadata.plugin_data.plugin_name = "text"
        self._file.add_event(event)

    def _at(self, step: int) -> Any:
        return self._event(step=step, wall_time=time.time())

    def flush(self) -> None:
        """Put on disk what was taken."""
        self._file.flush()

    def close(self, failed: bool) -> None:
        """End the file."""
        self._file.close()


def _wait_for_another_second(folder: Path) -> None:
    """Wait while a file of this second is there: readers go by the names, which begin with the second."""
    while any(folder.glob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.05)
