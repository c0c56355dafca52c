"""The thread that writes a journal, and what wakes it. It doesn't keep the journal alive while it sleeps."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyengine.journal.at_work import JournalAtWork

_MANY = 2048
_SHORTEST_NAP_S = 0.25e-3
_LONGEST_NAP_S = 2e-3


class Bell:
    """One sleeper, any number of others who wake it.

    Whoever rings has said before what there is to do. Whoever sleeps listens first, then looks whether there is something to do,
    and only then sleeps: so nothing is missed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listens = False

    def ring(self) -> None:
        """Wake the sleeper, if there is one."""
        if self._listens:
            self._listens = False
            with contextlib.suppress(RuntimeError):
                self._lock.release()

    def listen(self) -> None:
        """Be woken from now on."""
        self._lock.acquire(blocking=False)
        self._listens = True

    def sleep(self, seconds: float) -> None:
        """Wait for the bell, at most so long."""
        self._lock.acquire(timeout=seconds)
        self._listens = False


def write_on(journal_of: weakref.ref[JournalAtWork]) -> None:
    """Write until the journal is closed, or gone with its engine."""
    while True:
        journal = journal_of()
        if journal is None:
            return
        count = 0 if journal.is_led() else journal.step()
        if count < 0:
            return
        if count <= _MANY and not journal.is_awaited():
            # Nobody waits: what comes within the next moment goes into the same commit. Each time this thread wakes up it takes
            # the GIL and a processor from somebody, so it does that often only if the ring would be full otherwise.
            nap_s = _SHORTEST_NAP_S if count > journal.lull else _LONGEST_NAP_S
            bell = journal.bell
            bell.listen()
            if journal.is_awaited():
                continue
            del journal
            bell.sleep(nap_s)
        else:
            del journal
