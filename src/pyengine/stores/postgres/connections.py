"""The connections of a pool, on the loop that they belong to.

asyncpg has a pool too, but that one asks the server to reset a connection after each use, which doubles the time of a get, and
doesn't know how old a connection is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pyengine.store_errors import StoreClosed, StoreUnavailable
from pyengine.stores.postgres.driver import Connection

_CLOSE_S = 1.0


@dataclass(slots=True, eq=False)
class Lease:
    """A connection that one call has for itself.

    Attributes
    ----------
    connection : asyncpg.Connection
    born_s : float
        When it was opened, in the loop's time.
    prepared : set of str
        What was set up in its session, such as staging tables.
    """

    connection: Connection
    born_s: float
    prepared: set[str] = field(default_factory=set)


class Connections:
    """Open connections, the idle ones among them, and who waits for one. Everything but the counts is for the loop only.

    Parameters
    ----------
    name : str
        For messages.
    connect : callable
        Opens a connection.
    most, spare : int
        How many there may be, and how many stay while nobody needs them.
    max_lifetime_s : float
        Age at which a connection is replaced; 0 for none.
    wait_s : float
        How long to wait for one while all are in use.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Awaitable[Connection]],
        *,
        most: int,
        spare: int,
        max_lifetime_s: float,
        wait_s: float,
    ) -> None:
        self._name = name
        self._connect = connect
        self._most = most
        self._spare = spare
        self._max_lifetime_s = max_lifetime_s
        self._wait_s = wait_s
        self._idle: list[Lease] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[Lease | None]] = deque()
        self._goodbyes: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def gauges(self) -> dict[str, float]:
        """How many there are, as of now."""
        idle = len(self._idle)
        return {
            "connections_open": self._open,
            "connections_idle": idle,
            "connections_used": self._open - idle,
            "connections_waited_for": len(self._waiting),
        }

    async def acquire(self) -> Lease:
        """Take an idle connection, or open one, or wait for one.

        Raises
        ------
        StoreUnavailable
            All were in use for too long.
        StoreClosed
            The pool was closed meanwhile.
        """
        deadline_s = 0.0
        while True:
            if self._closed:
                raise StoreClosed(f"{self._name}: the pool was closed")
            lease = self._take_idle()
            if lease is None and self._open < self._most:
                lease = await self._grow()
            if lease is None:
                deadline_s = deadline_s or asyncio.get_running_loop().time() + self._wait_s
                lease = await self._wait(deadline_s)
            if lease is not None:
                return lease

    def release(self, lease: Lease, *, sound: bool = True) -> None:
        """Give a connection back; one that is in an unknown state is cut off instead."""
        if not sound or lease.connection.is_closed() or lease.connection.is_in_transaction():
            lease.connection.terminate()
            self._lost()
        elif self._closed or self._is_old(lease):
            self._retire(lease)
        elif not self._wake(lease):
            if len(self._idle) >= self._spare:
                self._retire(lease)
            else:
                self._idle.append(lease)
                self._sweep_later()

    def cut_idle(self) -> None:
        """Cut off all idle connections, because the server that they led to is probably gone."""
        while self._idle:
            self._idle.pop().connection.terminate()
            self._lost()

    async def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        while self._idle:
            self._retire(self._idle.pop())
        while self._wake(None):
            """Whoever waits finds the pool closed."""
        if self._goodbyes:
            await asyncio.wait(self._goodbyes)

    def _take_idle(self) -> Lease | None:
        while self._idle:
            lease = self._idle.pop()
            if not lease.connection.is_closed():
                return lease
            self._lost()
        return None

    def _is_old(self, lease: Lease) -> bool:
        return self._max_lifetime_s > 0 and asyncio.get_running_loop().time() - lease.born_s >= self._max_lifetime_s

    async def _grow(self) -> Lease:
        self._open += 1
        try:
            connection = await self._connect()
        except BaseException:
            self._lost()
            raise
        return Lease(connection, asyncio.get_running_loop().time())

    async def _wait(self, deadline_s: float) -> Lease | None:
        """Wait for a connection, or for room to open one, which is None."""
        waiter: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout_at(deadline_s):
                return await waiter
        except BaseException as error:
            given = waiter.result() if waiter.done() and not waiter.cancelled() else None
            if given is not None:
                self.release(given)
            if isinstance(error, TimeoutError):
                most = f"all {self._most} connections were in use for {self._wait_s} s"
                raise StoreUnavailable(f"{self._name}: {most}") from None
            raise
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _wake(self, lease: Lease | None) -> bool:
        """Hand a connection, or room for one, to who has waited longest; tell whether there was anybody."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(lease)
                return True
        return False

    def _lost(self) -> None:
        self._open -= 1
        self._wake(None)

    def _retire(self, lease: Lease) -> None:
        """Say goodbye to the server without letting anybody wait for it."""
        task = asyncio.get_running_loop().create_task(self._say_goodbye(lease))
        self._goodbyes.add(task)
        task.add_done_callback(self._goodbyes.discard)
        self._lost()

    @staticmethod
    async def _say_goodbye(lease: Lease) -> None:
        try:
            await lease.connection.close(timeout=_CLOSE_S)
        except Exception:  # noqa: BLE001  a goodbye that nobody hears is none the less one
            lease.connection.terminate()

    def _sweep_later(self) -> None:
        if self._sweeper is None and self._max_lifetime_s > 0:
            self._sweeper = asyncio.get_running_loop().call_later(self._max_lifetime_s / 2, self._sweep)

    def _sweep(self) -> None:
        """Close idle connections that are too old, so that they don't stay for ever when nobody calls."""
        self._sweeper = None
        old = [lease for lease in self._idle if self._is_old(lease)]
        self._idle = [lease for lease in self._idle if lease not in old]
        for lease in old:
            self._retire(lease)
        if self._idle:
            self._sweep_later()
