"""Who waits for which event to be on the disk: threads, futures, and coroutines, thousands of them at one lock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol

Marks = tuple[int, int, int]
"""How many instruments, users, and changes of users' modes."""


class Waiter(Protocol):
    """Somebody who waits."""

    def settle(self, seq: int, failure: Exception | None) -> None:
        """Hear that it is done, or that it never will be."""


class ThreadWaiter:
    """A thread, asleep on a lock of its own."""

    __slots__ = ("_lock", "failure")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.failure: Exception | None = None

    def sleep(self, timeout_s: float) -> bool:
        """Wait; False when the time is over."""
        return self._lock.acquire(timeout=timeout_s)

    def settle(self, seq: int, failure: Exception | None) -> None:  # noqa: ARG002  the thread knows what it waits for
        """Wake the thread."""
        self.failure = failure
        self._lock.release()


class FutureWaiter:
    """A future of `concurrent.futures`."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: Future[int] = Future()

    def settle(self, seq: int, failure: Exception | None) -> None:
        """Give it its result, the sequence number."""
        if not self.future.set_running_or_notify_cancel():
            return
        if failure is None:
            self.future.set_result(seq)
        else:
            self.future.set_exception(failure)


class LoopWaiter:
    """A coroutine; those of one loop are woken together."""

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[int] = self.loop.create_future()

    def settle(self, seq: int, failure: Exception | None) -> None:
        """Give the future its result. Only in the loop's own thread."""
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(seq)
        else:
            self.future.set_exception(failure)


Entry = tuple[int, int, Any]


class Waiters:
    """All who wait for a journal.

    Attributes
    ----------
    durable : int
        Sequence number of the last event that is on the disk.
    failure : Exception or None
        Why nothing will be any more.

    Notes
    -----
    Thread-safety: any thread.
    """

    def __init__(self, durable: int) -> None:
        self.durable = durable
        self.failure: Exception | None = None
        self.lock = threading.Lock()
        self._heap: list[Entry] = []
        self._barriers: list[Entry] = []
        self._turns = itertools.count()

    def wait_below(self, seq: int) -> bool:
        """Whether somebody waits for an event below a number, or for a commit. O(1)."""
        with self.lock:
            return bool(self._barriers or (self._heap and self._heap[0][0] < seq))

    def add(self, seq: int, waiter: Waiter, *, barrier: bool = False) -> Entry | None:
        """Have somebody wait for an event, or for a whole commit that begins from now on. None: it is done already."""
        with self.lock:
            if self.failure is not None:
                raise self.failure.with_traceback(None)
            if seq <= self.durable and not barrier:
                return None
            entry = (seq, next(self._turns), waiter)
            if barrier:
                self._barriers.append(entry)
            else:
                heapq.heappush(self._heap, entry)
            return entry

    def forget(self, entry: Entry) -> None:
        """Have somebody not wait any more. O(those who wait)."""
        with self.lock:
            if entry in self._heap:
                self._heap.remove(entry)
                heapq.heapify(self._heap)
            elif entry in self._barriers:
                self._barriers.remove(entry)

    def take_barriers(self) -> list[Entry]:
        """Take those who wait for a commit that begins now."""
        if not self._barriers:
            return []
        with self.lock:
            taken, self._barriers = self._barriers, []
        return taken

    def settle(self, durable: int, barriers: list[Entry]) -> None:
        """Let go who waited for events up to this one, and who waited for this commit."""
        done: list[Entry] = []
        with self.lock:
            self.durable = durable
            for entry in barriers:
                if entry[0] <= durable:
                    done.append(entry)
                else:
                    heapq.heappush(self._heap, entry)
            while self._heap and self._heap[0][0] <= durable:
                done.append(heapq.heappop(self._heap))
        _tell(done, None)

    def dismiss(self, failure: Exception, barriers: Iterable[Entry] = ()) -> None:
        """Tell those who wait now that it can't be done for now; who comes later may wait again."""
        with self.lock:
            done = [*barriers, *self._heap, *self._barriers]
            self._heap, self._barriers = [], []
        _tell(done, failure)

    def fail(self, failure: Exception, barriers: Iterable[Entry] = ()) -> None:
        """Tell everybody, now and later, that nothing will be durable any more. The first failure stays."""
        with self.lock:
            if self.failure is None:
                self.failure = failure
            done = [*barriers, *self._heap, *self._barriers]
            self._heap, self._barriers = [], []
        _tell(done, failure)


def _tell(done: list[Entry], failure: Exception | None) -> None:
    loops: dict[asyncio.AbstractEventLoop, list[Entry]] = {}
    for entry in done:
        waiter = entry[2]
        if isinstance(waiter, LoopWaiter):
            loops.setdefault(waiter.loop, []).append(entry)
        else:
            waiter.settle(entry[0], failure)
    for loop, entries in loops.items():
        try:
            loop.call_soon_threadsafe(_settler(entries, failure))
        except RuntimeError:
            # The loop was closed, and with it everybody who waited in it.
            continue


def _settler(entries: list[Entry], failure: Exception | None) -> Callable[[], None]:
    def settle() -> None:
        for seq, _, waiter in entries:
            waiter.settle(seq, failure)

    return settle
