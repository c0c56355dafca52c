"""A bounded pool of redis-py's connections: lent out, taken back, and never more open than it may hold.

redis-py's own pools have one deadline for all their connections; reads and writes have different ones here and share a bound.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyengine.stores.redis.address import redis

Connection = Any
"""A connection of redis-py, of whatever class."""


class Exhausted(redis.ConnectionError):  # type: ignore[misc]  # redis-py is loaded at run time
    """All connections were in use for too long."""


@dataclass(frozen=True, slots=True)
class Loan:
    """A connection in somebody's hands.

    Attributes
    ----------
    connection : Connection
    write : bool
        Whether it has the deadlines of writes.
    era : int
        How often the lender had forgotten its connections when this one was made.
    used : bool
        Whether it served before, so that the server may have closed it meanwhile.
    """

    connection: Connection
    write: bool
    era: int
    used: bool


class Lender:
    """The open connections of one process.

    Parameters
    ----------
    make : callable
        Makes an unconnected connection, for writes if its argument is true.
    size : int
        Most connections that may be open.

    Notes
    -----
    Thread-safety: any thread may borrow and give back.
    """

    def __init__(self, make: Callable[[bool], Connection], size: int) -> None:
        self.process_id = os.getpid()
        self._make = make
        self._size = size
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: dict[bool, list[Connection]] = {False: [], True: []}
        self._lent = 0
        self._closed = False
        self._era = 0

    def borrow(self, *, write: bool, timeout_s: float) -> Loan:
        """Return a connection that is connected; one that the server has closed is opened again.

        Raises
        ------
        redis.RedisError
            None was free in time, or the server can't be reached.
        """
        if not self._free.acquire(timeout=timeout_s):
            raise Exhausted(f"all {self._size} connections were in use for {timeout_s} s")
        connection = surplus = None
        with self._lock:
            self._lent += 1
            era = self._era
            if self._idle[write]:
                connection = self._idle[write].pop()
            elif self._lent + len(self._idle[not write]) > self._size:
                surplus = self._idle[not write].pop(0)
        try:
            if surplus is not None:
                surplus.disconnect()
            used = connection is not None and not _is_stale(connection)
            if not used:
                if connection is not None:
                    connection.disconnect()
                connection = self._make(write)
                connection.connect()
        except BaseException:
            if connection is not None:
                connection.disconnect()
            self._put(None, write=write, era=era)
            raise
        return Loan(connection, write, era, used)

    def give_back(self, loan: Loan) -> None:
        """Take back a connection after an exchange that went well."""
        self._put(loan.connection, write=loan.write, era=loan.era)

    def drop(self, loan: Loan) -> None:
        """Take back a connection that nobody can use any more."""
        loan.connection.disconnect()
        self._put(None, write=loan.write, era=loan.era)

    def forget(self) -> None:
        """Close idle connections now, and lent ones when they come back: they lead to the wrong server."""
        with self._lock:
            self._era += 1
            idle = [*self._idle[False], *self._idle[True]]
            self._idle = {False: [], True: []}
        for connection in idle:
            connection.disconnect()

    def close(self) -> None:
        """Close idle connections now, and lent ones when they come back."""
        self._closed = True
        self.forget()

    @property
    def open_count(self) -> int:
        """Number of connections, lent or idle."""
        with self._lock:
            return self._lent + len(self._idle[False]) + len(self._idle[True])

    @property
    def lent_count(self) -> int:
        """Number of connections in use."""
        return self._lent

    def _put(self, connection: Connection | None, *, write: bool, era: int) -> None:
        with self._lock:
            self._lent -= 1
            kept = connection is not None and not self._closed and era == self._era
            if kept:
                self._idle[write].append(connection)
        if connection is not None and not kept:
            connection.disconnect()
        self._free.release()


def _is_stale(connection: Connection) -> bool:
    """Whether the server has closed an idle connection, or sent something that nobody asked for."""
    try:
        return bool(connection.can_read())
    except redis.RedisError:
        return True
