"""Holding claims: a thread renews their leases, and a loss ends the work of the process that lost one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from mixwright.errors import InputError
from mixwright.files.claims import BEAT, Claim

_SIGNAL = getattr(signal, "SIGURG", None)  # ignored where nobody handles it: one that comes late does no harm
_HOLDERS: list[Holder] = []  # of the main thread, the innermost last


class ClaimLost(BaseException):
    """
    Somebody else took over what this process was at.

    It is neither an error of the work nor Ctrl-C, so that nobody keeps going, and nobody writes what there is.

    Parameters
    ----------
    claim
        The one that was lost.
    """

    def __init__(self, claim: Claim) -> None:
        super().__init__(f"somebody else took over {claim.folder}")
        self.claim = claim


class Holder:
    """
    A context in which claims that were taken are renewed; at its end they are released.

    A claim that was lost raises ClaimLost in the main thread at once, by a signal of its own: it comes through
    where Ctrl-C is ignored (`command &` in a script) and where the main thread waits for a lock. Without such a signal
    (Windows), or in another thread, `check` raises it.

    Parameters
    ----------
    claims
        What is held; more may be added.
    """

    def __init__(self, *claims: Claim) -> None:
        self._claims = list(claims)
        self._ended = threading.Event()
        self._owner = threading.get_ident()
        self._before: Any = None

    def __enter__(self) -> Holder:
        """Begin to renew the leases."""
        if _SIGNAL is not None and threading.current_thread() is threading.main_thread():
            with suppress(ValueError):  # an interpreter within another one has no signals
                self._before = signal.signal(_SIGNAL, _on_signal)
                _HOLDERS.append(self)
        self._beats = threading.Thread(target=self._renew, daemon=True, name="claims")
        self._beats.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Release what is held."""
        self._ended.set()
        self._beats.join(self._pause)
        for claim in self._claims:
            claim.release()
        if self in _HOLDERS:
            _HOLDERS.remove(self)
            signal.signal(_SIGNAL, self._before if self._before is not None else signal.SIG_DFL)  # type: ignore[arg-type]

    def add(self, claim: Claim) -> None:
        """Hold another claim, which was taken."""
        self._claims.append(claim)

    def release(self, claim: Claim) -> None:
        """Release a claim before the others."""
        self._claims.remove(claim)
        claim.release()

    def has(self, claim: Claim) -> bool:
        """Whether a claim is one of those that are held here."""
        return any(own is claim for own in self._claims)

    def check(self, now: bool = False) -> None:
        """
        Raise ClaimLost if a claim was lost; only in the thread that made this.

        Parameters
        ----------
        now
            Look into the folders of the claims; else what the last beat saw counts, as long as it is no lease ago.
        """
        if self._ended.is_set() or threading.get_ident() != self._owner:
            return
        for claim in self._claims:
            if claim.lost or ((now or claim.silent) and not claim.look()):
                raise ClaimLost(claim)

    @property
    def _pause(self) -> float:
        return min((claim.beat_seconds for claim in list(self._claims)), default=BEAT)

    def _renew(self) -> None:
        told = False
        while not self._ended.wait(self._pause):
            for claim in list(self._claims):
                claim.renew()
                if claim.lost and not told:
                    told = True
                    self._interrupt()

    def _interrupt(self) -> None:
        """Interrupt the main thread, once: what it does then must not be cut off again."""
        if self in _HOLDERS and not self._ended.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, _SIGNAL or 0)


@contextmanager
def alone(claim: Claim, lost: str) -> Iterator[None]:
    """
    Take a claim, waiting for it, and hold it; InputError with the words `lost` if it was lost meanwhile.

    Parameters
    ----------
    claim
        Not taken yet.
    lost
        What to say then. Another claim that was lost is for whoever holds it.
    """
    claim.take(wait=True)
    try:
        with Holder(claim):
            yield
    except ClaimLost as error:
        if error.claim is not claim:
            raise
        raise InputError(lost) from None


def _on_signal(number: int, frame: FrameType | None) -> None:
    for holder in reversed(_HOLDERS):
        holder.check()
    before = _HOLDERS[0]._before if _HOLDERS else None
    if callable(before):
        before(number, frame)
