"""A bounded pool of redis-py's asyncio connections, for one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pyengine.optional import require
from pyengine.stores.redis.address import redis
from pyengine.stores.redis.exchange import Exchange
from pyengine.stores.redis.replies import ReplyError

aioredis: Any = require("redis.asyncio", "redis")


class AsyncLender:
    """The open connections of one loop; only its own coroutines may call.

    Parameters
    ----------
    make : callable
        Makes an unconnected connection, after asking where to.
    size : int
        Most connections that may be open.
    """

    def __init__(self, make: Callable[[], Awaitable[Any]], size: int) -> None:
        self.closed = False
        self._make = make
        self._free = asyncio.Semaphore(size)
        self._idle: list[Any] = []
        self._era = 0

    async def talk(self, exchange: Exchange) -> list[Any]:
        """Send commands and read their replies; a read is sent again if its connection turns out to be dead."""
        async with self._free:
            while True:
                era = self._era
                connection, used = await self._connected()
                try:
                    replies = await _talk(connection, exchange)
                except BaseException as error:
                    await connection.disconnect(nowait=True)
                    if used and not exchange.write and type(error) is redis.ConnectionError:
                        continue
                    raise
                if self.closed or era != self._era:
                    await connection.disconnect()
                else:
                    self._idle.append(connection)
                return replies

    async def forget(self) -> None:
        """Close idle connections now, and those in use when they come back."""
        self._era += 1
        while self._idle:
            await self._idle.pop().disconnect()

    async def close(self) -> None:
        """Close every connection."""
        self.closed = True
        await self.forget()

    async def _connected(self) -> tuple[Any, bool]:
        """Return a connection, and whether it served before."""
        while self._idle:
            connection = self._idle.pop()
            if not await _is_stale(connection):
                return connection, True
            await connection.disconnect(nowait=True)
        connection = await self._make()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection, False


async def _is_stale(connection: Any) -> bool:
    """Whether the server has closed an idle connection, or sent something that nobody asked for."""
    look = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return bool(await look())
    except (redis.RedisError, OSError):
        return True


async def _talk(connection: Any, exchange: Exchange) -> list[Any]:
    sent = 0
    for command in exchange.commands:
        await connection.send_packed_command(command, check_health=False)
        sent += exchange.replies_each
    replies = []
    for _ in range(sent):
        try:
            replies.append(await connection.read_response())
        except ReplyError as error:
            replies.append(error)
    return replies
