"""Calls that are done one after another in a thread of their own, so that nobody waits for them."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread


class Aside:
    """
    A thread that does calls in the order in which they come. It ends with the process, whatever is left then.

    Examples
    --------
    >>> done, aside = [], Aside()
    >>> for number in range(3):
    ...     aside.do(lambda number=number: done.append(number))
    >>> aside.wait(10), done
    (True, [0, 1, 2])
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._thread: Thread | None = None

    def do(self, call: Callable[[], object]) -> None:
        """Do a call later; it raises nothing."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name="trackers", daemon=True)
            self._thread.start()
        self._calls.put(call)

    def wait(self, seconds: float) -> bool:
        """Wait until all calls so far are done; return whether they are."""
        if self._thread is None:
            return True
        done = Event()
        self._calls.put(done.set)
        return done.wait(seconds)

    def _work(self) -> None:
        while True:
            self._calls.get()()
