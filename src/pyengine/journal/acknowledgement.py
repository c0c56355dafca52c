"""What a caller gets who wants to know when something is on the disk, without waiting for it now."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from pyengine.journal.waiters import FutureWaiter, LoopWaiter, Marks

if TYPE_CHECKING:
    from pyengine.journal.at_work import JournalAtWork


class Acknowledgement:
    """That everything up to a moment is on the disk: to be asked, waited for, awaited, or taken as a future.

    Attributes
    ----------
    seq : int
        Sequence number of the last event that had happened.

    Notes
    -----
    Thread-safety: any thread.
    """

    __slots__ = ("_journal", "_marks", "seq")

    def __init__(self, journal: JournalAtWork, seq: int, marks: Marks) -> None:
        self._journal = journal
        self._marks = marks
        self.seq = seq

    @property
    def done(self) -> bool:
        """Whether it is there already."""
        return self._journal.has(self.seq, self._marks)

    def result(self, timeout_s: float | None = None) -> int:
        """Wait for it, and return the sequence number.

        Raises
        ------
        JournalFailed, JournalClosed, JournalTimeout
            As `Journal.wait`.
        """
        if not self.done:
            self._journal.sleep(self.seq, timeout_s, barrier=self._barrier)
        return self.seq

    def future(self) -> Future[int]:
        """Return a future of `concurrent.futures` for it; its result is the sequence number."""
        waiter = FutureWaiter()
        self._register(waiter)
        return waiter.future

    def __await__(self) -> Generator[Any, None, int]:
        """Wait for it in a coroutine."""
        if not self.done:
            waiter = LoopWaiter()
            if not self._register(waiter):
                return self.seq
            yield from waiter.future
        return self.seq

    @property
    def _barrier(self) -> bool:
        """Whether definitions are waited for, which have no sequence number."""
        return not self._journal.has(0, self._marks)

    def _register(self, waiter: FutureWaiter | LoopWaiter) -> bool:
        """Have it told; True if that is still to come."""
        if self._journal.waiters.add(self.seq, waiter, barrier=self._barrier) is None:
            waiter.settle(self.seq, None)
            return False
        self._journal.bell.ring()
        return True

    def __repr__(self) -> str:
        """Show the number and whether it is there."""
        return f"<Acknowledgement of events up to {self.seq}: {'done' if self.done else 'pending'}>"
