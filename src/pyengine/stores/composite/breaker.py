"""A circuit breaker: after some failures in a row nobody calls the backend any more, but for one probe at a time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half-open"


class Breaker:
    """Says who may call a backend, and learns from how the calls end.

    Parameters
    ----------
    failures : int
        So many in a row open it.
    pause_s : float
        From opening to the first probe. Each probe that fails doubles it.
    longest_pause_s : float
        What the pause grows to.
    clock : callable
        Monotonic seconds.

    Notes
    -----
    Whoever `allow` said yes to must report with `succeeded`, `failed` or `gave_back`, once. Thread-safety: any thread.
    """

    def __init__(
        self,
        failures: int = 3,
        pause_s: float = 0.5,
        longest_pause_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._failures = failures
        self._first_pause_s = pause_s
        self._longest_pause_s = longest_pause_s
        self._clock = clock
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything: closed, no failures."""
        self._lock = threading.Lock()
        self._state = CLOSED
        self._in_a_row = 0
        self._pause_s = self._first_pause_s
        self._next_probe = 0.0
        self.opened_at = 0.0

    @property
    def state(self) -> str:
        """Return "closed", "open" or "half-open", which is while a probe is out."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether anybody may call."""
        return self._state == CLOSED

    @property
    def probe_in_s(self) -> float:
        """Seconds until the next probe may go out; 0 when the breaker isn't open."""
        return max(0.0, self._next_probe - self._clock()) if self._state == OPEN else 0.0

    def allow(self, now: bool = False) -> bool:
        """Whether to call. When open, the first who asks after the pause (or says `now`) is the probe, and nobody else."""
        with self._lock:
            if self._state == CLOSED:
                return True
            if self._state == OPEN and (now or self._clock() >= self._next_probe):
                self._state = HALF_OPEN
                return True
            return False

    def succeeded(self) -> bool:
        """Report an answer, whatever it was; return whether that closed the breaker."""
        with self._lock:
            was_closed = self._state == CLOSED
            self._state = CLOSED
            self._in_a_row = 0
            self._pause_s = self._first_pause_s
            return not was_closed

    def failed(self) -> bool:
        """Report that no answer came; return whether that opened the breaker, which was closed."""
        with self._lock:
            self._in_a_row += 1
            if self._state == HALF_OPEN:
                self._open(min(2 * self._pause_s, self._longest_pause_s))
                return False
            if self._state == CLOSED and self._in_a_row >= self._failures:
                self._open(self._first_pause_s)
                self.opened_at = self._clock()
                return True
            return False

    def gave_back(self) -> None:
        """Report that the call wasn't made after all."""
        with self._lock:
            if self._state == HALF_OPEN:
                self._state = OPEN

    def trip(self) -> bool:
        """Open at once, because a call hangs; return whether that opened it."""
        with self._lock:
            if self._state != CLOSED:
                return False
            self._open(self._first_pause_s)
            self.opened_at = self._clock()
            return True

    def _open(self, pause_s: float) -> None:
        self._state = OPEN
        self._pause_s = pause_s
        # Some spread, so that many processes don't come back in the same instant.
        self._next_probe = self._clock() + pause_s * random.uniform(0.8, 1.2)  # noqa: S311  nothing secret
