"""What the two stores in Redis have in common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Self

from pyengine._core.names import Names
from pyengine.errors import FieldError, FieldTypeError
from pyengine.store_errors import StoreClosed, StoreError
from pyengine.stores.interfaces import Flushed, StoreStats
from pyengine.stores.redis.connection import RedisConnection, ping
from pyengine.stores.redis.exchange import Answer, Steps
from pyengine.stores.redis.order_steps import OrderSteps
from pyengine.stores.redis.trade_steps import TradeSteps


def connection_of(given: RedisConnection | str | None, options: dict[str, Any]) -> tuple[RedisConnection, bool]:
    """Return the connection that a store uses, and whether the store made it and so has to close it."""
    if isinstance(given, RedisConnection):
        if options:
            raise FieldError("connection", given, f"a URL or None when {', '.join(options)} is given too")
        return given, False
    return RedisConnection(given, **options), True


class RedisStore:
    """A store in Redis: its connection, its names, and how it ends.

    Parameters
    ----------
    connection : RedisConnection
    owned : bool
        Whether `close` closes it.
    steps : OrderSteps or TradeSteps
    """

    name = "redis"

    def __init__(self, connection: RedisConnection, *, owned: bool, steps: OrderSteps | TradeSteps) -> None:
        self._connection = connection
        self._owned = owned
        self._definitions = steps.definitions
        self._watermarks = steps.watermarks
        self._counts = steps.counts
        self._clear = steps.clear
        self._closed = False

    @property
    def connection(self) -> RedisConnection:
        """The way to Redis."""
        return self._connection

    @property
    def address(self) -> str:
        """Where Redis is, without any password."""
        return self._connection.address

    @property
    def names(self) -> Names:
        """Tables of the users and instruments whose numbers arrays of records have."""
        return self._definitions.names

    @property
    def closed(self) -> bool:
        """Whether the store was closed."""
        return self._closed or self._connection.closed

    def attach_names(self, names: Names) -> None:
        """Take over the tables of an engine, which stay the engine's.

        Raises
        ------
        FieldTypeError
            They aren't Names.
        FieldError
            Something was stored already, or the store belongs to another engine.
        """
        self._definitions.attach(names)

    def connect(self) -> None:
        """See that Redis answers.

        Raises
        ------
        StoreUnavailable
            It doesn't; the text says why.
        """
        self.check_open()
        self._connection.connect()

    def ping(self) -> None:
        """See that Redis answers in the time that a read may take; errors as of `connect`."""
        self.run(ping(self.address))

    @property
    def read_deadline_s(self) -> float:
        """How long a read may take."""
        return self._connection.read_timeout_s

    def watermark(self, journal: str) -> int | None:
        """See `Watermarked.watermark`."""
        return self.run(self._watermarks.read(journal))

    def forget_watermark(self, journal: str) -> None:
        """See `Watermarked.forget_watermark`."""
        self.run(self._watermarks.forget(journal))

    def clear(self) -> None:
        """See `Clearable.clear`. Keys go one by one; what others write meanwhile may stay."""
        self.run(self._clear())

    def flush(self, layers: Collection[str] | None = None, timeout_s: float = 5.0) -> Flushed:  # noqa: ARG002
        """Return at once: whatever was accepted is in Redis, and as safe as Redis makes it."""
        self.check_open()
        return Flushed((self.name,) if layers is None or self.name in layers else ())

    def stats(self) -> StoreStats:
        """Return what the store has counted, and how many connections are open."""
        gauges = {"connections": float(self._connection.open_count), "connections_used": float(self._connection.lent_count)}
        return StoreStats(self.name, self._counts.as_dict(), gauges)

    def close(self) -> None:
        """Close the connections that the store opened itself."""
        self._closed = True
        if self._owned:
            self._connection.close()

    def check_open(self) -> None:
        """Raise StoreClosed if the store was closed."""
        if self.closed:
            raise StoreClosed(f"redis at {self.address}: the store must be open, was closed")

    def run(self, steps: Steps[Answer]) -> Answer:
        """Carry out an operation, blocking, and count it if it fails."""
        self.check_open()
        try:
            return self._connection.run(steps)
        except StoreError:
            self._counts.add("errors")
            raise

    async def run_async(self, steps: Steps[Answer]) -> Answer:
        """Carry out an operation on the running loop, and count it if it fails."""
        self.check_open()
        try:
            return await self._connection.run_async(steps)
        except StoreError:
            self._counts.add("errors")
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.address}{', closed' if self.closed else ''}>"


def seconds_of(name: str, value: Any) -> float:
    """Read a length of time."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FieldTypeError(name, value, "a number of seconds")
    if not 0 < value < 1e9:
        raise FieldError(name, value, "a number of seconds above 0")
    return float(value)
