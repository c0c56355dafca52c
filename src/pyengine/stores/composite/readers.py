"""A few threads that read for others, so that a backend that hangs takes no more than the deadline of whoever asked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_WAITING = 1000

Job = tuple["Future[Any]", Callable[[], Any]]


class Busy(Exception):
    """Too many calls are waiting."""


class Readers:
    """Daemon threads, started as they are needed. Thread-safety: any thread.

    Parameters
    ----------
    name : str
        Of the layer.
    most : int
        Threads at a time; a call that hangs occupies one until it ends.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self.start_anew()

    def start_anew(self) -> None:
        """Forget threads and calls; in a forked child they don't exist."""
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made. A future that is cancelled before its turn is never run.

        Raises
        ------
        Busy
            So many calls wait already that this one couldn't be answered in time.
        """
        if self._jobs.qsize() >= _WAITING:
            raise Busy(f"is busy: {_WAITING} reads are waiting already")
        future: Future[T] = Future()
        self._jobs.put((future, call))
        if not self._idle.acquire(blocking=False):
            with self._lock:
                if self._started < self._most:
                    self._started += 1
                    thread = threading.Thread(
                        target=_work, args=(self._jobs, self._idle), name=f"pyengine-{self._name}-reader", daemon=True
                    )
                    thread.start()
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        with self._lock:
            for _ in range(self._started):
                self._jobs.put(None)
            self._started = 0


def _work(jobs: SimpleQueue[Job | None], idle: threading.Semaphore) -> None:
    while (job := jobs.get()) is not None:
        future, call = job
        del job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001  goes to whoever asked
                future.set_exception(error)
        del future, call
        idle.release()
