"""Forget finished orders in memory after a while, so that memory holds what is open and what is recent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self

from pyengine.errors import FieldError
from pyengine.store_errors import StoreClosed
from pyengine.stores.interfaces import StoreStats

_log = logging.getLogger("pyengine.stores.cleanup")

_NS_A_SECOND = 1_000_000_000
_OLDEST_NS = -(2**63)


class RemovesFinished(Protocol):
    """A store that can forget finished orders, as `InMemoryOrderStore` does."""

    def remove_finished(self, *, older_than_ns: int) -> int:
        """Forget finished orders that were last changed before a time, and return how many there were."""
        ...


class OrderCleanup:
    """A thread that makes a store forget orders which finished a while ago; open ones stay however old they are.

    Parameters
    ----------
    store : InMemoryOrderStore or composite
        A composite forgets them in its memory only.
    age_s : float
        How long ago an order must have finished. One that was saved without a time counts as old.
    interval_s : float
        How often the store is cleaned up.
    clock : callable
        Returns the time now in nanoseconds, on the clock that the orders' times come from.

    Notes
    -----
    It runs from `start` to `close`, and ends by itself when the store is closed. Thread-safe.
    """

    def __init__(
        self, store: RemovesFinished, *, age_s: float, interval_s: float, clock: Callable[[], int] = time.time_ns
    ) -> None:
        for name, value in (("age_s", age_s), ("interval_s", interval_s)):
            # Written so that NaN is refused too.
            if not 0 < value < float("inf"):
                raise FieldError(name, value, "a positive number of seconds")
        self._store = store
        self._age_ns = round(age_s * _NS_A_SECOND)
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._counts = {"runs": 0, "removed": 0, "errors": 0}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Start the thread; once started, another call does nothing."""
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="pyengine-order-cleanup", daemon=True)
                self._thread.start()
        return self

    def clean(self) -> int:
        """Clean up once, now, and return how many orders were forgotten.

        Raises
        ------
        StoreClosed
            The store was closed.
        """
        removed = self._store.remove_finished(older_than_ns=max(self._clock() - self._age_ns, _OLDEST_NS))
        with self._lock:
            self._counts["runs"] += 1
            self._counts["removed"] += removed
        return removed

    def stats(self) -> StoreStats:
        """Return how often it ran, how many orders it made the store forget, and how often that failed."""
        with self._lock:
            return StoreStats("cleanup", counts=dict(self._counts))

    def close(self) -> None:
        """Stop the thread and wait until it has ended; the store stays open. Closing twice is closing once."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    @property
    def running(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            try:
                removed = self.clean()
            except StoreClosed:
                return
            except Exception:  # noqa: BLE001  whatever it was, memory would fill up unnoticed without the next attempt
                with self._lock:
                    self._counts["errors"] += 1
                _log.exception("finished orders could not be removed; trying again in %g s", self._interval_s)
            else:
                if removed:
                    _log.info("removed %d finished orders from memory", removed)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *exception: object) -> None:
        """Stop it."""
        self.close()
